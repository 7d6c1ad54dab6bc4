"""What the kill test has found once, held fast in small: each of these failed before it was mended."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import aiohttp
import orjson
import pytest

from backfill.config import Config, Limit, Run
from backfill.engine.limits import STALL_S, RateGate
from backfill.engine.model import Lane, Unit
from backfill.errors import Unreadable
from backfill.sources.client import open_session
from backfill.tracks.dome_tokens import DomeTokens
from backfill.tracks.goldsky_tokens import GoldskyTokens
from backfill.warehouse import launcher
from backfill.warehouse.client import open_warehouse
from backfill.warehouse.discovery import Place
from backfill.warehouse.migrate import migrate_up

CONDITION = "0x" + "ab" * 32


async def test_a_request_is_sent_once_even_when_a_kept_connection_was_closed() -> None:
    seen = 0

    async def once_then_hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b""):
            try:
                await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            seen += 1
            writer.write(answer)
        writer.transport.abort()

    server = await asyncio.start_server(once_then_hang_up, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, open_session(stamped=True) as session:
        async with session.get(url) as answer:
            await answer.read()
        with pytest.raises(aiohttp.ClientError):
            async with session.get(url) as answer:
                await answer.read()
    assert seen == 2, "a third arrival would be one that nobody has booked"


async def test_the_first_answers_of_a_process_count_as_late_in_full(tmp_path: Path) -> None:
    now = 100.0
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        waits.append(seconds)
        now += seconds

    gate = RateGate([Limit(requests=3, seconds=1)], tmp_path / "log", clock=lambda: now, sleep=sleep)
    bookings = [await gate.admit() for _ in range(3)]
    stood_still = STALL_S * 0.7
    now += stood_still
    for booking in bookings:
        booking.answered()
    await gate.admit()
    gate.close()
    assert sum(waits) >= 0.999, "they may have arrived just now, so a whole window has to pass"


@pytest.mark.parametrize(
    ("lane", "body"),
    [
        (
            DomeTokens(),
            {
                "markets": [
                    {"condition_id": CONDITION, "side_a": {"id": "7"}, "side_b": {"id": "8"}},
                    {"condition_id": "broken", "side_a": {"id": "9"}, "side_b": {"id": "10"}},
                ],
                "pagination": {"total": 2, "has_more": False},
            },
        ),
        (
            GoldskyTokens("activity/1"),
            {
                "data": {
                    "positions": [
                        {"id": "7", "condition": CONDITION, "outcomeIndex": "0"},
                        {"id": "8", "condition": "broken", "outcomeIndex": "0"},
                    ]
                }
            },
        ),
    ],
)
def test_an_answer_to_another_question_is_not_an_answer(lane: Lane, body: object) -> None:
    with pytest.raises(Unreadable, match="another question"):
        lane.parse(Unit(0, ("1", "2")), None, orjson.dumps(body))


async def test_an_insert_whose_rows_never_came_into_place_is_not_dropped_as_a_repetition(tmp_path: Path) -> None:
    """What a kill -9 between the note of an insert's name and the move of its rows leaves behind."""
    config = Config(run=Run(data_dir=tmp_path))
    rows = orjson.dumps({"token_id": "1", "condition_id_norm": "a" * 64, "outcome_index": 0, "source": "x", "unit": 0})
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        await warehouse.insert("staging.clob_asset_map_dome", rows, token="t")
        await warehouse.insert("staging.clob_asset_map_goldsky", rows, token="t")
    await asyncio.to_thread(launcher.stop, tmp_path)
    take_away(tmp_path, "clob_asset_map_dome")
    async with open_warehouse(config) as warehouse:
        for table in ("clob_asset_map_dome", "clob_asset_map_goldsky"):
            await warehouse.insert(f"staging.{table}", rows, token="t")
            assert await warehouse.fetch_value(f"SELECT count() FROM staging.{table}") == 1
    await asyncio.to_thread(launcher.stop, tmp_path)


def take_away(data: Path, table: str) -> None:
    """Remove a table's parts, and leave its note of inserts."""
    home = Place.of(data).store / "data" / "staging" / table
    (part,) = home.resolve().glob("all_*")
    shutil.rmtree(part)
