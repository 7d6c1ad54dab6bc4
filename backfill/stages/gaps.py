"""What is missing, as far as can be told from here, and the command that fetches it.

| kind | what |
|---|---|
| hole | a track has read what lies before and behind, but not this: time, blocks, or a token's or market's time |
| unread | a known token whose fills nobody was asked for, all or some of the time |
| short | the source counts more rows of a token than it has shown: how an answer shows that was cut off unsaid |
| silent | hours without any row where the day before and the day behind have more than 50 an hour |
| unmerged | rows that a track has staged and production does not have |

*Short* and *silent* are suspicions. When the same was asked for by a second plan and nothing else came, the source is
believed: Goldsky keeps one row where an order is filled twice in one transaction, and sometimes nobody trades. Such
gaps are told apart (`believed`) and are none.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from backfill.config import Config
from backfill.stages.holes import HOUR, MANY, between, blocks_within, outside, silences
from backfill.stages.horizon import seconds
from backfill.stages.imports import portions_of
from backfill.tracks import catalog
from backfill.tracks.track import Window
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

PORTION = 1_000_000
"""Rows that are compared at once."""
NEARLY = 0.8
"""A stretch was asked for again when so much of it was: blocks are known by time only about."""
COUNTED = "goldsky_fills"
"""The track whose source says how many rows it has of each token."""
OF_SOME = ("clob_fills",)
"""Tracks whose windows are about one account."""
TIMED = {"fills": "clob_fills", "transfers": "erc1155_transfers"}
"""Datasets in which an hour without a row is strange, and their tables."""
STAGED = {"fills": "clob_fills_v2", "transfers": "erc1155_transfers_v2"}
MERGE = "backfill merge-fills"
ORDER = ("blocks", "all", "token", "condition")
"""Which track is asked again about a stretch of time: one that needs few requests for it."""


class Gap(NamedTuple):
    """Something that is missing. `start` and `end` are unix seconds, half-open; None where they are not known.

    `rows`: how many are missing, or were to be expected; None where that is not known.
    """

    kind: str
    dataset: str
    source: str
    key: str
    start: int | None
    end: int | None
    rows: int | None
    detail: str
    command: str

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        found = self._asdict()
        start, end = found.pop("start"), found.pop("end")
        return {**found, "from": start and text(start), "to": end and text(end)}


@dataclass(slots=True)
class Gaps:
    """What was found; `believed` was asked for a second time, and stayed."""

    gaps: list[Gap] = field(default_factory=list)
    believed: list[Gap] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "gaps": [gap.document() for gap in self.gaps],
            "total": len(self.gaps),
            "believed": [gap.document() for gap in self.believed],
        }


def text(moment: int) -> str:
    """A moment as the commands take it."""
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def command(
    dataset: str,
    track: str = "",
    *,
    since: int | None = None,
    until: int | None = None,
    token: str = "",
    more: str = "",
) -> str:
    """The words that fetch something."""
    words = ["backfill run", dataset]
    words += [f"--track {track}"] if track else []
    words += [f"--token {token}"] if token else []
    words += [more] if more else []
    words += [f"--since {text(since)}"] if since is not None else []
    words += [f"--until {text(until)}"] if until is not None else []
    return " ".join(words)


async def find_gaps(config: Config, warehouse: Warehouse, *, note: Callable[[str], None] = lambda _: None) -> Gaps:
    """Look everywhere; nothing is changed, and nobody outside is asked.

    Raises:
        WarehouseUnusable: the warehouse refuses.
    """
    return await _Search(config, warehouse, note).run()


@dataclass(slots=True)
class _Search:
    config: Config
    warehouse: Warehouse
    note: Callable[[str], None]
    found: Gaps = field(default_factory=Gaps)
    reached: dict[str, Window] = field(default_factory=dict)
    kinds: dict[str, tuple[str, str]] = field(default_factory=dict)

    async def run(self) -> Gaps:
        for row in await self._rows("sync_status"):
            if row["covered_from"] is not None and row["covered_to"] is not None:
                self.reached[row["source"]] = Window(int(row["covered_from"]), int(row["covered_to"]))
        for row in await self._rows("tracks_with_windows"):
            self.kinds[row["source"]] = (row["dataset"], row["kind"])
        for what, search in (
            ("windows that were read", self._holes),
            ("tokens that nobody was asked for", self._unread),
            ("tokens of which rows are missing", self._short),
            ("hours without rows", self._silent),
            ("staged rows that are not in production", self._unmerged),
        ):
            self.note(f"looking at {what}")
            await search()
        return self.found

    # --- holes

    async def _holes(self) -> None:
        for row in await self._rows("interrupted_windows"):
            for window in between(row["stretches"]):
                if row["kind"] == "blocks":
                    await self._blocks_hole(row["dataset"], row["source"], window)
                else:
                    self._hole(row, window)

    def _hole(self, row: Mapping[str, Any], window: Window) -> None:
        dataset, source, kind, key = (row[name] for name in ("dataset", "source", "kind", "key"))
        start, end = window
        more = f"--wallet {key}" if kind == "wallet" else ""
        # Without a time, a run reads each key from its first hole on, and asks for the others only what is new.
        asked = (
            command(dataset, source) if kind == "token" else command(dataset, source, since=start, until=end, more=more)
        )
        what = "time" if kind == "all" else kind
        self.found.gaps.append(
            Gap("hole", dataset, source, key, start, end, None, f"{what} not read between windows that were", asked)
        )

    async def _blocks_hole(self, dataset: str, source: str, window: Window) -> None:
        (row,) = await self._rows("block_times", low=window.start, high=window.end)
        known = self.reached.get(source)
        # A moment before the first block asks for a little more than is missing, one behind it for less.
        start = int(row["before"]) or (known and known.start)
        end = int(row["behind"]) + 1 if int(row["behind"]) else known and known.end
        detail = f"{window.end - window.start:,} blocks not read between blocks that were"
        key, asked = f"{window.start}-{window.end}", command(dataset, source, since=start, until=end)
        self.found.gaps.append(Gap("hole", dataset, source, key, start, end, None, detail, asked))

    # --- tokens

    async def _unread(self) -> None:
        start = seconds(self.config.run.history_from)
        fills = [name for name in catalog.DATASETS["fills"] if name in self.reached and name not in OF_SOME]
        end = max((self.reached[name].end for name in fills), default=int(time.time()))
        whole = [self.reached[name] for name in fills if self.kinds.get(name, ("", ""))[1] in ("all", "blocks")]
        lows, highs = [window.start for window in whole], [window.end for window in whole]
        told = {(gap.key, gap.start, gap.end) for gap in self.found.gaps if gap.kind == "hole"}
        arguments = {"start": start, "end": end, "lows": lows, "highs": highs}
        for row in await self._rows("unread_tokens", **arguments):
            for window in outside(row["stretches"], Window(start, int(row["until"]))):
                if (row["key"], *window) not in told:
                    detail = "never asked for" if not row["stretches"] else "asked for only some of the time"
                    asked = command("fills")
                    self.found.gaps.append(Gap("unread", "fills", "", row["key"], *window, None, detail, asked))

    async def _short(self) -> None:
        if COUNTED not in self.reached:
            return
        window = Window(seconds(self.config.run.history_from), self.reached[COUNTED].end)
        source = {"dataset": "fills", "source": COUNTED}
        spread = await self._rows("density_spread", **source)
        portions = portions_of({int(row["first_byte"]): int(row["rows"]) for row in spread}, limit=PORTION)
        found: list[tuple[Gap, int]] = []
        for low, high in dict.fromkeys((portion.low, portion.high) for portion in portions):
            arguments = {**source, "low": int(low), "high": int(high), "start": window.start, "end": window.end}
            found += [self._short_one(row, window) for row in await self._rows("short_tokens", **arguments)]
        for gap, asked in sorted(found, key=lambda each: (-(each[0].rows or 0), each[0].key)):
            (self.found.gaps if asked < 2 else self.found.believed).append(gap)

    def _short_one(self, row: Mapping[str, Any], window: Window) -> tuple[Gap, int]:
        counted, staged = int(row["counted"]), int(row["staged"])
        # From a little earlier, so that the second asking is not taken for the first one.
        since = window.start - max(HOUR, self.config.sync.overlap_s)
        detail = f"short by {counted - staged:,}: {counted:,} counted by the source, {staged:,} staged"
        asked = command("fills", COUNTED, token=row["key"], since=since, until=window.end)
        return Gap("short", "fills", COUNTED, row["key"], *window, counted - staged, detail, asked), int(row["asked"])

    # --- hours

    async def _silent(self) -> None:
        for dataset, table in TIMED.items():
            rows = await self._rows("hourly_rows", table=table)
            for window, expected in silences({int(row["hour"]): int(row["rows"]) for row in rows}):
                await self._silence(dataset, window, expected)

    async def _silence(self, dataset: str, window: Window, expected: int) -> None:
        source = self._reader(dataset, window)
        bounds = {"low": window.start, "high": window.end}
        if await self._value("staged_between", table=STAGED[dataset], **bounds):
            return  # its rows are only not merged yet: told elsewhere
        detail = f"no row, where about {expected:,} were to be expected (more than {MANY} an hour around it)"
        # Without a source its rows around it were imported, and what the files lacked nobody has asked for.
        asked = command(dataset, source or "", since=window.start, until=window.end)
        gap = Gap("silent", dataset, source or "", "", *window, expected, detail, asked)
        again = source is not None and await self._asked_again(dataset, source, window)
        (self.found.believed if again else self.found.gaps).append(gap)

    def _reader(self, dataset: str, window: Window) -> str | None:
        """The track to ask about a stretch: one that has read it, and needs few requests for it."""
        able = [
            (ORDER.index(kind), name)
            for name, (of, kind) in self.kinds.items()
            if of == dataset and kind in ORDER and name not in OF_SOME and name in self.reached
            if self.reached[name].start <= window.start and window.end <= self.reached[name].end
        ]
        return min(able)[1] if able else None

    async def _asked_again(self, dataset: str, source: str, window: Window) -> bool:
        """Whether two plans have asked for a stretch, the second for at least half of the keys of the first."""
        if self.kinds[source][1] == "blocks":
            bounds = {"low": window.start, "high": window.end}
            (row,) = await self._rows("blocks_between", table=TIMED[dataset], **bounds)
            edges = [(int(row[name]), int(row[f"{name}_at"])) for name in ("before", "behind")]
            if not all(number for number, _ in edges):
                return False
            window = blocks_within(edges[0], edges[1], window)
        rows = await self._rows(
            "asked_over", dataset=dataset, source=source, low=window.start, high=window.end, share=NEARLY
        )
        return len(rows) > 1 and 2 * int(rows[1]["keys"]) >= int(rows[0]["keys"])

    # --- staged, but not in production

    async def _unmerged(self) -> None:
        await self._unmerged_fills()
        async for dataset, row in self._others():
            if rows := int(row["rows"]):
                detail = f"{rows:,} rows staged, but not in production"
                start, end = int(row["low"]), int(row["high"])
                self.found.gaps.append(Gap("unmerged", dataset, "", "", start, end, rows, detail, command(dataset)))

    async def _unmerged_fills(self) -> None:
        spread = await self._rows("fills_spread")
        known = await self._value("merged_into_this", database=self.warehouse.names.production)
        portions = portions_of({int(row["first_byte"]): int(row["rows"]) for row in spread}, limit=PORTION)
        for number, portion in enumerate(portions, start=1):
            for row in await self._rows("unmerged_fills", **portion._asdict()):
                self.found.gaps.append(self._unmerged_token(row, bool(known)))
            self.note(f"portion {number} of {len(portions)} compared with production")

    def _unmerged_token(self, row: Mapping[str, Any], merged: bool) -> Gap:
        rows, track, start, end = int(row["rows"]), str(row["track"]), int(row["low"]), int(row["high"])
        if not merged or int(row["fresh"]) == rows:
            asked = MERGE  # it takes them without being asked for them again
        else:
            asked = command("fills", track, token=row["key"] if track == COUNTED else "", since=start, until=end)
        detail = f"{rows:,} rows staged by {track}, but not in production"
        return Gap("unmerged", "fills", track, row["key"], start, end, rows, detail, asked)

    async def _others(self) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        (bounds,) = await self._rows("transfer_bounds")
        low, high, rows = int(bounds["low"]), int(bounds["high"]) + 1, int(bounds["rows"])
        pieces = -(-rows // PORTION)
        for start, end in pairwise([low + (high - low) * place // pieces for place in range(pieces)] + [high]):
            yield "transfers", (await self._rows("unmerged_transfers", low=start, high=end))[0]
        parts = -(-await self._value("count_activity") // PORTION)
        for part in range(parts):
            yield "activity", (await self._rows("unmerged_activity", parts=parts, part=part))[0]

    # --- words to the warehouse

    async def _rows(self, name: str, **arguments: object) -> Sequence[Mapping[str, Any]]:
        return await self.warehouse.fetch(queries.load(name), arguments)

    async def _value(self, name: str, **arguments: object) -> int:
        return int(await self.warehouse.fetch_value(queries.load(name), arguments))
