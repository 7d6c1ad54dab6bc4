"""Our client: what comes back, and which error means what."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import orjson
import pytest
from pydantic import SecretStr

from backfill.config import Config, Run, WarehouseConfig
from backfill.errors import StoreBusy, WarehouseUnusable
from backfill.warehouse import answers
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.discovery import ServerInfo

HUGE = 2**256 - 1
TABLE = """
CREATE TABLE {staging:Identifier}.t (id UInt256, n UInt64, s Nullable(String)) ENGINE = ReplacingMergeTree ORDER BY id
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1
"""


@pytest.fixture
async def table(warehouse: Warehouse) -> Warehouse:
    await warehouse.execute(TABLE)
    return warehouse


def rows(*ids: int) -> bytes:
    return b"\n".join(orjson.dumps({"id": str(number), "n": number % 7, "s": None}) for number in ids)


async def count(warehouse: Warehouse) -> int:
    return int(await warehouse.fetch_value("SELECT count() FROM {staging:Identifier}.t"))


async def test_ping_tells_the_version(warehouse: Warehouse) -> None:
    assert (await warehouse.ping()).startswith("26.9.")


async def test_long_integers_and_decimals_come_as_strings_and_counts_as_int(table: Warehouse) -> None:
    await table.insert("staging.t", rows(HUGE), columns=("id", "n", "s"))
    (row,) = await table.fetch("SELECT id, n, s, toDecimal64('1.5', 9) AS d FROM {staging:Identifier}.t")
    assert row == {"id": str(HUGE), "n": str(HUGE % 7), "s": None, "d": "1.5"}
    assert await table.fetch_value("SELECT id FROM {staging:Identifier}.t") == str(HUGE)
    assert await table.fetch_value("SELECT count() FROM {staging:Identifier}.t") == 1
    assert await table.fetch_value("SELECT toNullable(toInt64(-5))") == -5
    assert await table.fetch_value("SELECT '5'") == "5"
    assert await table.fetch_value("SELECT 1 WHERE 0") is None


async def test_ids_are_strings_in_streamed_json_too(warehouse: Warehouse) -> None:
    pieces = [piece async for piece in warehouse.stream("SELECT toUInt256(5) AS id", fmt="JSONEachRow")]
    assert b"".join(pieces) == b'{"id":"5"}\n'


async def test_the_same_token_writes_once_and_another_token_writes_again(table: Warehouse) -> None:
    for token in ("a", "a", "b", "a"):
        await table.insert("staging.t", rows(1, 2), token=token)
    assert await count(table) == 4


async def test_an_insert_of_tens_of_megabytes_arrives_whole(table: Warehouse) -> None:
    body = b"".join(b"%d\t%d\tsome text that takes room\n" % (number, number) for number in range(600_000))
    assert len(body) > 20_000_000
    await table.insert("staging.t", body, fmt="TSV")
    assert await count(table) == 600_000


async def test_an_insert_that_fails_while_writing_is_not_acknowledged(warehouse: Warehouse) -> None:
    await warehouse.execute(
        "CREATE TABLE {staging:Identifier}.small (a UInt64, CONSTRAINT low CHECK a < 5) ENGINE = MergeTree ORDER BY a"
    )
    with pytest.raises(WarehouseUnusable) as caught:
        await warehouse.insert("staging.small", b"1\n9\n", fmt="TSV")
    assert caught.value.code == 469
    await warehouse.execute(
        "CREATE TABLE {staging:Identifier}.parts (a UInt64) ENGINE = MergeTree ORDER BY a PARTITION BY a"
    )
    with pytest.raises(WarehouseUnusable, match="Too many partitions"):
        await warehouse.insert("staging.parts", b"\n".join(b"%d" % number for number in range(300)), fmt="TSV")
    for table in ("small", "parts"):
        assert await warehouse.fetch_value(f"SELECT count() FROM {{staging:Identifier}}.{table}") == 0


async def test_many_inserts_at_once_all_arrive(table: Warehouse) -> None:
    async with asyncio.TaskGroup() as group:
        for part in range(40):
            group.create_task(table.insert("staging.t", rows(*range(part * 100, part * 100 + 100)), token=str(part)))
    assert await count(table) == 4000


async def test_a_query_does_not_hold_up_the_others(warehouse: Warehouse) -> None:
    slow = "SELECT sum(sleepEachRow(0.05)) FROM numbers(40) SETTINGS max_block_size = 1, max_threads = 1"
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(warehouse.fetch(slow))
        await asyncio.sleep(0)
        for _ in range(20):
            assert await warehouse.fetch_value("SELECT 1") == 1
        assert not waiting.done()


async def test_database_names_come_from_the_configuration(server: ServerInfo) -> None:
    config = Config(
        warehouse=WarehouseConfig(
            url=server.url, user=server.user, password=SecretStr(server.password), staging="elsewhere"
        )
    )
    async with open_warehouse(config) as warehouse:
        await warehouse.execute("CREATE DATABASE {staging:Identifier} ENGINE = Atomic")
        await warehouse.execute(TABLE)
        await warehouse.insert("staging.t", rows(1))
        assert await warehouse.fetch_value("SELECT count() FROM elsewhere.t") == 1
        await warehouse.execute("DROP DATABASE elsewhere SYNC")


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELECT * FROM no_such_table", 60), ("SELEC", 62), ("SELECT throwIf(1)", 395), ("DROP DATABASE no_such_db", 81)],
)
async def test_what_waiting_does_not_mend_stops_with_its_code(warehouse: Warehouse, sql: str, code: int) -> None:
    with pytest.raises(WarehouseUnusable, match=f"Code: {code}\\. ") as caught:
        await warehouse.execute(sql)
    assert caught.value.code == code
    assert "\n" not in str(caught.value) and "version" not in str(caught.value)


@pytest.mark.parametrize(
    ("sql", "settings"),
    [
        ("SELECT count() FROM system.numbers", {"max_execution_time": "0.05"}),
        ("SELECT groupArray(number) FROM numbers(10000000)", {"max_memory_usage": 1_000_000}),
    ],
)
async def test_time_and_memory_limits_mean_wait(warehouse: Warehouse, sql: str, settings: dict[str, object]) -> None:
    with pytest.raises(StoreBusy, match="Code: "):
        await warehouse.fetch(sql, settings=settings)


async def test_a_streamed_answer_that_breaks_off_raises_its_reason(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseUnusable) as caught:
        async for _ in warehouse.stream("SELECT throwIf(number = 3000000) FROM numbers(10000000)"):
            pass
    assert caught.value.code == 395


def remote(url: str) -> Config:
    return Config(warehouse=WarehouseConfig(url=url, password=SecretStr("s3cret")))


async def test_nobody_there_means_wait_and_the_password_stays_unsaid() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    async with open_warehouse(remote(f"http://127.0.0.1:{port}")) as warehouse:
        with pytest.raises(StoreBusy, match="cannot be reached") as caught:
            await warehouse.ping()
        with pytest.raises(StoreBusy):
            await warehouse.insert("staging.t", b"{}")
        with pytest.raises(StoreBusy):
            await anext(warehouse.stream("SELECT 1"))
    assert "s3cret" not in str(caught.value)


async def test_a_refused_password_stops(server: ServerInfo) -> None:
    async with open_warehouse(remote(server.url)) as warehouse:
        with pytest.raises(WarehouseUnusable, match="BACKFILL_WAREHOUSE__PASSWORD") as caught:
            await warehouse.ping()
    assert caught.value.code == 516
    assert "s3cret" not in str(caught.value)


@pytest.fixture
async def impostor() -> AsyncIterator[str]:
    """Something that speaks HTTP, but is no ClickHouse."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_an_address_that_is_no_clickhouse_stops(impostor: str) -> None:
    async with open_warehouse(remote(impostor)) as warehouse:
        with pytest.raises(WarehouseUnusable, match=r"warehouse\.url"):
            await warehouse.ping()


@pytest.mark.parametrize(
    ("status", "code", "body", "kind"),
    [
        (500, "243", "Code: 243. DB::Exception: Cannot reserve 1.00 MiB. (NOT_ENOUGH_SPACE)", StoreBusy),
        (500, "252", "Code: 252. DB::Exception: Too many parts (300). (TOO_MANY_PARTS)", StoreBusy),
        (500, "76", "Code: 76. DB::Exception: Cannot open, errno: 28, strerror: No space left on device", StoreBusy),
        (500, None, "Code: 202. DB::Exception: Too many simultaneous queries", StoreBusy),
        (502, None, "<html>bad gateway</html>", StoreBusy),
        (503, None, "", StoreBusy),
        (404, None, "<html>not found</html>", WarehouseUnusable),
        (403, "497", "Code: 497. DB::Exception: Not enough privileges. (ACCESS_DENIED)", WarehouseUnusable),
        (400, "62", "Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR)", WarehouseUnusable),
    ],
)
def test_a_refusal_says_wait_or_stop(status: int, code: str | None, body: str, kind: type[Exception]) -> None:
    assert type(answers.from_response(status, code, body)) is kind


def test_only_the_first_line_of_a_long_text_is_kept() -> None:
    text = "Code: 1. DB::Exception: " + "x" * 1000 + " (NAME) (version 26.9.2.1)\nstack 1\nstack 2"
    assert len(answers.first_line(text)) < 500
    assert "stack" not in answers.first_line(text)


async def test_a_data_directory_that_cannot_be_made_stops(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(WarehouseUnusable, match="data directory"):
        async with open_warehouse(Config(run=Run(data_dir=blocked))):
            pass
