"""Do the sources agree? Each pair of tracks, row by row, where both have read.

What is compared are the rows that stand in windows which both tracks have covered; so a row that only one of them shows
is missing at the other. Which rows are the same fill is said in `matching`, as when fills are merged. A fill that one
source lacks because it keeps a single row for an order in a transaction, and shows the other fill of that order, is
counted apart (`explained`), and is no disagreement.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from backfill import files
from backfill.config import Config
from backfill.stages import matching
from backfill.stages.imports import portions_of
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

PRECEDENCE = ("chain_fills", "goldsky_fills", "clob_fills", "data_api_fills", "dome_fills")
PORTION = 500_000
"""Rows that are compared at once."""
SHOWN = 50
KINDS = ("differ", "only_ours", "only_theirs", "explained")
_SCRATCH = ("reconcile_cover", "reconcile_rows", "reconcile_open")
_TOLD = ("fill_id", "token_id", "maker", "side", "shares_micro", "usdc_micro", "fee_micro", "timestamp", "tx_hash")


class Disagreement(NamedTuple):
    """A fill that two sources do not show alike; a side that lacks it is None."""

    kind: str
    ours: Mapping[str, Any] | None
    theirs: Mapping[str, Any] | None


@dataclass(slots=True)
class Pair:
    """Two tracks, the better one first, and what comparing them came to. Times are unix seconds of compared rows."""

    ours: str
    theirs: str
    rows_ours: int = 0
    rows_theirs: int = 0
    matched: int = 0
    found: Counter[str] = field(default_factory=Counter)
    first: int | None = None
    last: int | None = None

    @property
    def agreement(self) -> float | None:
        """Share of the fills that both show alike; None without any."""
        judged = self.matched + sum(self.found[kind] for kind in KINDS if kind != "explained")
        return self.matched / judged if judged else None

    def document(self, variance: float) -> dict[str, Any]:
        """For `--json`."""
        share = self.agreement
        return {
            "ours": self.ours,
            "theirs": self.theirs,
            "from": self.first and text(self.first),
            "to": self.last and text(self.last),
            "rows_ours": self.rows_ours,
            "rows_theirs": self.rows_theirs,
            "matched": self.matched,
            **{kind: self.found[kind] for kind in KINDS},
            "agreement": None if share is None else round(share, 6),
            "passed": None if share is None else 1 - share <= variance,
        }


@dataclass(slots=True)
class Reconciliation:
    """All pairs; `first` holds the first disagreements, the rest is in the reports."""

    variance: float
    pairs: list[Pair] = field(default_factory=list)
    first: list[dict[str, Any]] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    disagreements: int = 0
    reports: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool | None:
        """Whether no pair differs by more than is allowed; None when there is none to compare."""
        judged = [share for share in (pair.agreement for pair in self.pairs) if share is not None]
        return all(1 - share <= self.variance for share in judged) if judged else None

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "passed": self.passed,
            "variance": self.variance,
            "pairs": [pair.document(self.variance) for pair in self.pairs],
            "window_unknown": self.unknown,
            "disagreements": self.disagreements,
            "first": self.first,
            "reports": self.reports,
        }


def text(moment: int) -> str:
    """A moment as people read it."""
    return f"{dt.datetime.fromtimestamp(moment, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


async def reconcile_fills(
    config: Config, warehouse: Warehouse, *, note: Callable[[str], None] = lambda _: None
) -> Reconciliation:
    """Compare the staged fills of every pair of tracks, and write the reports.

    Raises:
        TrackHeld: another comparison is going on.
    """
    with files.held(config.run.checkpoint_dir / "reconcile.lock", what="reconcile"):
        return await _Comparison(config, warehouse, note, Reconciliation(config.gates.reconcile_variance)).run()


@dataclass(slots=True)
class _Comparison:
    config: Config
    warehouse: Warehouse
    note: Callable[[str], None]
    result: Reconciliation

    async def run(self) -> Reconciliation:
        for table in _SCRATCH:
            await self._do(f"prepare_{table}")
        for kind in ("key", "condition", "account", "blocks"):
            await self._do(f"cover_by_{kind}")
        found = await self._fetch("reconcile_tracks")
        self.result.unknown = [row["track"] for row in found if not int(row["known"])]
        known = sorted((row["track"] for row in found if int(row["known"])), key=_rank)
        folder = self.config.root / "reports"
        with _Report(folder, self.result) as report:
            for ours, theirs in combinations(known, 2):
                self.result.pairs.append(pair := Pair(ours, theirs))
                await self._compare(pair, report)
        for table in _SCRATCH:
            await self._do("clear_reconcile", table=table)
        return self.result

    async def _compare(self, pair: Pair, report: _Report) -> None:
        both = {"ours": pair.ours, "theirs": pair.theirs}
        spread = await self._fetch("reconcile_spread", **both)
        portions = portions_of({int(row["first_byte"]): int(row["rows"]) for row in spread}, limit=PORTION)
        for number, portion in enumerate(portions, start=1):
            for table in _SCRATCH[1:]:
                await self._do("clear_reconcile", table=table)
            await self._do("gather_reconcile_rows", **both, **portion._asdict())
            await self._do("find_reconcile_open", slack=matching.SLACK)
            await self._tally(pair)
            async for rows in self._transactions():
                for found in compared(rows, pair):
                    report.add(pair, found)
            self.note(f"{pair.ours} and {pair.theirs}: portion {number} of {len(portions)}")

    async def _tally(self, pair: Pair) -> None:
        (row,) = await self._fetch("tally_reconcile")
        pair.rows_ours += int(row["rows_ours"])
        pair.rows_theirs += int(row["rows_theirs"])
        pair.matched += int(row["agreed"])
        if int(row["rows_ours"]) + int(row["rows_theirs"]):
            first, last = int(row["first"]), int(row["last"])
            pair.first = first if pair.first is None else min(pair.first, first)
            pair.last = last if pair.last is None else max(pair.last, last)

    async def _transactions(self) -> AsyncIterator[list[dict[str, Any]]]:
        held: list[dict[str, Any]] = []
        rest = b""
        async for piece in self.warehouse.stream(queries.load("open_reconcile_rows"), fmt="JSONEachRow"):
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                row = orjson.loads(line)
                if held and (held[0]["token_id"], held[0]["tx_hash"]) != (row["token_id"], row["tx_hash"]):
                    yield held
                    held = []
                held.append(row)
        if held:
            yield held

    async def _fetch(self, name: str, **arguments: object) -> list[dict[str, Any]]:
        return await self.warehouse.fetch(queries.load(name), arguments)

    async def _do(self, name: str, **arguments: object) -> None:
        await self.warehouse.execute(queries.load(name), arguments)


def _rank(track: str) -> tuple[int, str]:
    return (PRECEDENCE.index(track) if track in PRECEDENCE else len(PRECEDENCE)), track


# --- one transaction, pure


def compared(rows: Sequence[Mapping[str, Any]], pair: Pair) -> Iterator[Disagreement]:
    """What two sources do not show alike in one transaction; `pair` counts it, and what they do."""
    ours = [_row(row) for row in rows if not int(row["theirs"])]
    theirs = [_row(row) for row in rows if int(row["theirs"])]
    partners = matching.pairs(ours, theirs)
    for at, row in enumerate(theirs):
        if at not in partners:
            yield _counted(pair, _alone("only_theirs", row, ours, theirs))
        elif row.facts == ours[partners[at]].facts or matching.near(ours[partners[at]], row):
            pair.matched += 1
        else:
            yield _counted(pair, Disagreement("differ", ours[partners[at]].raw, row.raw))
    for place, row in enumerate(ours):
        if place not in partners.values():
            yield _counted(pair, _alone("only_ours", row, theirs, ours))


def _alone(kind: str, row: matching.Row, others: Sequence[matching.Row], own: Sequence[matching.Row]) -> Disagreement:
    """A row without a partner: explained where the other source shows a single fill of an order that has several."""
    there = sum(matching.same_orders(row, other) for other in others)
    here = sum(matching.same_orders(row, other) for other in own)
    named = "explained" if there == 1 and here > 1 else kind
    return Disagreement(named, row.raw, None) if kind == "only_ours" else Disagreement(named, None, row.raw)


def _counted(pair: Pair, found: Disagreement) -> Disagreement:
    pair.found[found.kind] += 1
    return found


def _row(raw: Mapping[str, Any]) -> matching.Row:
    return matching.read_row({**raw, "rank": 0, "stored": 0, "content": 0})


# --- the reports


class _Report:
    """Both reports, written as the disagreements are found, and put in place when they are whole."""

    def __init__(self, folder: Path, result: Reconciliation) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._result = result
        self._paths = [folder / f"reconcile-fills.{ending}" for ending in ("md", "json")]
        self._beside = [path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in self._paths]
        self._stack = contextlib.ExitStack()
        self._open: list[IO[bytes]] = []

    def __enter__(self) -> _Report:
        self._open = [self._stack.enter_context(path.open("wb")) for path in self._beside]
        self._open[0].write(b"# Fills: where the sources disagree\n\n")
        self._open[1].write(b'{"disagreements": [')
        return self

    def add(self, pair: Pair, found: Disagreement) -> None:
        """Note one; explained ones are in the report too, but are not among those that are shown."""
        sides = {"ours": told(found.ours), "theirs": told(found.theirs)}
        row = {"pair": f"{pair.ours}/{pair.theirs}", "kind": found.kind, **sides}
        number = self._result.disagreements + sum(each.found["explained"] for each in self._result.pairs)
        if found.kind != "explained":
            self._result.disagreements += 1
            if len(self._result.first) < SHOWN:
                self._result.first.append(row)
            number += 1
        self._open[0].write(("\n".join(lines_of(row)) + "\n").encode())
        self._open[1].write((b",\n" if number > 1 else b"\n") + orjson.dumps(row))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is None:
                self._finish()
        if kind is not None:
            for path in self._beside:
                path.unlink(missing_ok=True)
            return
        for beside, path in zip(self._beside, self._paths, strict=True):
            beside.rename(path)

    def _finish(self) -> None:
        self._result.reports = [str(path) for path in self._paths]
        summary = self._result.document()
        for name in ("first", "disagreements"):
            summary.pop(name)
        summary |= {"total": self._result.disagreements, "at": text(int(time.time()))}
        self._open[0].write(("\n".join(["", *table(self._result)]) + "\n").encode())
        self._open[1].write(b"\n], " + orjson.dumps(summary, option=orjson.OPT_INDENT_2)[1:] + b"\n")


def told(raw: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The columns of a row that the reports show."""
    return None if raw is None else {name: raw[name] for name in _TOLD}


def lines_of(row: Mapping[str, Any]) -> list[str]:
    """A disagreement for people, both rows under each other."""
    words = {"differ": "differ", "only_ours": "only here", "only_theirs": "only there", "explained": "explained"}
    lines = [f"- {row['pair']}: {words[row['kind']]}"]
    for name, side in zip(row["pair"].split("/"), ("ours", "theirs"), strict=True):
        if row[side] is None:
            lines.append(f"  - {name}: –")
        else:
            r = row[side]
            lines.append(
                f"  - {name}: {r['fill_id']} {r['side']} {int(r['shares_micro']) / 1e6:f} shares for "
                f"{int(r['usdc_micro']) / 1e6:f} dollars, token {r['token_id']}, maker {r['maker']}, {r['timestamp']}"
            )
    return lines


def table(result: Reconciliation) -> list[str]:
    """The pairs as a table in Markdown."""
    told = ["| pair | rows | matched | differ | only here | only there | explained | agreement |", "|---" * 8 + "|"]
    for pair in result.pairs:
        share = "–" if pair.agreement is None else f"{pair.agreement:.4%}"
        counts = " | ".join(f"{pair.found[kind]:,}" for kind in KINDS)
        rows = f"{pair.rows_ours:,} / {pair.rows_theirs:,}"
        told.append(f"| {pair.ours} / {pair.theirs} | {rows} | {pair.matched:,} | {counts} | {share} |")
    return told
