"""What the fills look like: impossible values, copies, unknown tokens, lopsided shares, empty months.

Each check is held against the limits in the config. Every check runs a second time in the same run, on rows of our own
making with a fault planted among them, through the same queries; there it has to fail, and all the others must not.
"""

from __future__ import annotations

import copy
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from backfill import files
from backfill.config import Config, Quality
from backfill.stages import faults
from backfill.stages.gates import Control, percent
from backfill.tracks.chain_abi import EXCHANGES
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

FIRST_DAY = 1_661_990_400
"""2022-09-01: the first exchange was made later that month."""
CUTOVER = 1_777_374_000
"""2026-04-28 11:00 UTC: trading moved to the second version of the exchange."""
CLOCKS_DIFFER_S = 900
MOST_SHARES, MOST_USDC = 10**15, 10**14
"""A billion shares and a hundred million dollars, in millionths: more in one fill is absurd."""
PART = 2_500_000
"""Rows whose ids are compared at once."""

BAD: Mapping[str, str] = {
    "price_range": "a price outside 0..1",
    "price_zero": "a price of exactly 0",
    "price_one": "a price of exactly 1",
    "size_zero": "no shares, or no dollars",
    "size_absurd": "more than a billion shares or a hundred million dollars",
    "empty_values": "an empty text where there is no value, or token 0",
    "too_early": "a time before September 2022, when there was no exchange",
    "in_future": "a time that is still to come",
    "bad_addresses": "an address that is none",
    "bad_hashes": "a hash that is none, or an id of another transaction",
    "price_wrong": "a price that is not dollars by shares, cut off",
    "wrong_version": "the exchange's version does not go with the time",
}
"""Checks of single rows: none may have the fault, beyond `quality.bad_rows`."""
COPIES: Mapping[str, str] = {
    "duplicates": "an id that stands there already",
    "duplicate_facts": "a fill of the same order, under another id",
}


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `passed` is None when there is nothing to judge; `threshold` is a limit, or both ends of a range."""

    name: str
    passed: bool | None
    value: float | int | None
    threshold: Any
    detail: str
    examples: Sequence[str] = ()


@dataclass(slots=True)
class Figures:
    """What was counted: by check, by month, by source; `parts` are totals of the rows."""

    bad: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    months: list[dict[str, Any]] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    mixed: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome, and where it was written."""

    table: str
    at: str
    checks: list[Check]
    controls: list[Control]
    figures: Figures
    paths: list[str]

    @property
    def passed(self) -> bool:
        """Whether no check failed, and every planted fault was caught."""
        return all(check.passed is not False for check in self.checks) and all(each.caught for each in self.controls)

    def document(self) -> dict[str, Any]:
        """The JSON of `quality`."""
        found = self.figures
        return {
            "passed": self.passed,
            "table": self.table,
            "at": self.at,
            "checks": [
                {
                    "name": check.name,
                    "passed": check.passed,
                    "value": check.value,
                    "threshold": check.threshold,
                    "detail": check.detail,
                    "examples": list(check.examples),
                }
                for check in self.checks
            ],
            "controls": [{"name": control.name, "caught": control.caught} for control in self.controls],
            "totals": {**found.tokens, **found.totals, "equal_facts_of_different_kinds": found.mixed},
            "months": found.months,
            "sources": found.sources,
            "reports": self.paths,
        }


@dataclass(frozen=True, slots=True)
class Place:
    """The table that is looked at. `staged`: rows of different sources may be the same fill."""

    database: str
    table: str
    staged: bool = False


async def run_quality(config: Config, warehouse: Warehouse, *, staging: bool = False) -> Report:
    """Look at the fills in production (or in staging), and write the reports.

    Raises:
        TrackHeld: another one is at work.
    """
    names, now = warehouse.names, int(time.time())
    place = Place(names.staging, "clob_fills_v2", True) if staging else Place(names.production, "clob_fills")
    with files.held(config.run.checkpoint_dir / "quality.lock", what="quality"):
        figures = await measure(warehouse, place, now)
        controls = await plant(warehouse, now)
    at = f"{dt.datetime.fromtimestamp(now, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
    name = f"quality-{'staging-' if staging else ''}{at[:10]}"
    paths = [str(config.root / "reports" / f"{name}.{ending}") for ending in ("md", "json")]
    checks = judge(figures, config.quality)
    report = Report(f"{place.database}.{place.table}", at, checks, controls, figures, paths)
    _write(config, name, report)
    return report


def _write(config: Config, name: str, report: Report) -> None:
    folder = config.root / "reports"
    files.replace(folder / f"{name}.md", ("\n".join(markdown(report)) + "\n").encode())
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    files.replace(folder / f"{name}.json", orjson.dumps(report.document(), option=options))


# --- counting


async def measure(warehouse: Warehouse, place: Place, now: int) -> Figures:
    """Count everything in a table."""
    found = Figures()
    for piece in _PIECES.values():
        await piece(_Asker(warehouse, place, now), found)
    return found


async def _count_rows(ask: _Asker, found: Figures) -> None:
    found.bad |= dict.fromkeys(BAD, 0)
    for row in await ask("quality_rows"):
        found.bad[row["name"]], found.examples[row["name"]] = int(row["rows"]), row["examples"]


async def _count_totals(ask: _Asker, found: Figures) -> None:
    (totals,) = await ask("quality_totals")
    found.totals = {name: int(value) for name, value in totals.items()}
    found.sources = [{**row, "rows": int(row["rows"])} for row in await ask("quality_sources")]


async def _count_tokens(ask: _Asker, found: Figures) -> None:
    (tokens,) = await ask("quality_tokens")
    found.tokens = {name: int(value) for name, value in tokens.items()}


async def _count_months(ask: _Asker, found: Figures) -> None:
    found.months = [{**row, "rows": int(row["rows"]), "buys": int(row["buys"])} for row in await ask("quality_months")]


async def _count_copies(ask: _Asker, found: Figures) -> None:
    (size,) = await ask("quality_size")
    parts = max(1, -(-int(size["rows"]) // PART))
    found.bad |= {**dict.fromkeys(COPIES, 0), "cross_tokens": 0, "equal_rows": 0}
    found.mixed = 0
    for part in range(parts):
        (repeats,) = await ask("quality_repeats", parts=parts, part=part)
        (twins,) = await ask("quality_twins", parts=parts, part=part)
        _add(found, "duplicates", repeats["repeats"], repeats["examples"])
        _add(found, "cross_tokens", repeats["across"], repeats["across_examples"])
        _add(found, "duplicate_facts", twins["certain"], twins["examples"])
        _add(found, "equal_rows", twins["equal"], twins["equal_examples"])
        found.mixed += int(twins["mixed"])


def _add(found: Figures, name: str, count: Any, examples: list[str]) -> None:
    found.bad[name] += int(count)
    found.examples[name] = [*found.examples.get(name, []), *examples][:3]


_Piece = Callable[["_Asker", Figures], Awaitable[None]]
_PIECES: Mapping[str, _Piece] = {
    "rows": _count_rows,
    "totals": _count_totals,
    "tokens": _count_tokens,
    "months": _count_months,
    "copies": _count_copies,
}
_NEEDED = {
    **dict.fromkeys(BAD, "rows"),
    **dict.fromkeys((*COPIES, "cross_tokens", "equal_rows"), "copies"),
    **dict.fromkeys(("side_share", "taker_share"), "totals"),
    "unmapped_share": "tokens",
    "empty_months": "months",
}
"""What has to be counted for a check."""


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks the queries of this stage about one table."""

    warehouse: Warehouse
    place: Place
    now: int

    async def __call__(self, name: str, **more: object) -> list[dict[str, Any]]:
        sql = queries.load(name)
        known: dict[str, object] = {
            "place": self.place.database,
            "table": self.place.table,
            "staged": int(self.place.staged),
            "now": self.now + CLOCKS_DIFFER_S,
            "first_day": FIRST_DAY,
            "cutover": CUTOVER,
            "most_shares": MOST_SHARES,
            "most_usdc": MOST_USDC,
            "exchanges": [each.address for each in EXCHANGES],
            **more,
        }
        used = {key: value for key, value in known.items() if f"{{{key}:" in sql}
        settings = {"final": 1} if self.place.staged else None
        return await self.warehouse.fetch(sql, used, settings=settings)


# --- judging

_NO_FILLS = "no fills are there"
_TAKERS = "are a taker's own order"


def judge(found: Figures, limits: Quality) -> list[Check]:
    """Hold what was counted against the limits; pure."""
    rows = found.totals["rows"]
    checks = [_limited(found, name, limits.bad_rows, why) for name, why in BAD.items()]
    checks += [_limited(found, name, limits.duplicates, why) for name, why in COPIES.items()]
    checks.append(_limited(found, "cross_tokens", limits.duplicates, "an id that stands under two tokens"))
    if not rows:
        checks = [Check(check.name, None, None, check.threshold, _NO_FILLS) for check in checks]
    known_takers = rows - found.totals["no_taker"]
    takers = _ranged("taker_share", found.totals["taker_rows"], known_takers, limits.taker_share, _TAKERS)
    checks += [
        _equal(found, limits),
        _unmapped(found, limits),
        _ranged("side_share", found.totals["buys"], rows, limits.side_share, "of the fills buy"),
        takers if known_takers or not rows else replace(takers, detail="no fill names its taker"),
        _months(found, limits),
    ]
    return checks


def _limited(found: Figures, name: str, limit: int, why: str) -> Check:
    count = found.bad[name]
    return Check(name, count <= limit, count, limit, f"{count:,} rows: {why}", found.examples.get(name, ()))


def _equal(found: Figures, limits: Quality) -> Check:
    name, count, rows = "equal_rows", found.bad["equal_rows"], found.totals["rows"]
    if not rows:
        return Check(name, None, None, limits.equal_share, _NO_FILLS)
    share = count / rows
    detail = f"{count:,} rows: the same as another of their transaction, and no order tells whether it is a copy"
    examples = found.examples.get(name, ())
    return Check(name, share <= limits.equal_share, round(share, 6), limits.equal_share, detail, examples)


def _unmapped(found: Figures, limits: Quality) -> Check:
    name, tokens, unmapped = "unmapped_share", found.tokens["tokens"], found.tokens["unmapped_tokens"]
    if not tokens:
        return Check(name, None, None, limits.unmapped_share, _NO_FILLS)
    share = unmapped / tokens
    fills = percent(found.tokens["unmapped_rows"], found.totals["rows"])
    detail = f"{unmapped:,} of {tokens:,} tokens, {fills} of the fills"
    return Check(name, share <= limits.unmapped_share, round(share, 6), limits.unmapped_share, detail)


def _ranged(name: str, part: int, whole: int, ends: tuple[float, float], what: str) -> Check:
    if not whole:
        return Check(name, None, None, list(ends), _NO_FILLS)
    share = part / whole
    return Check(name, ends[0] <= share <= ends[1], round(share, 6), list(ends), f"{percent(part, whole)} {what}")


def _months(found: Figures, limits: Quality) -> Check:
    empty = empty_months([row["month"] for row in found.months])
    if not found.months:
        return Check("empty_months", None, None, limits.empty_months, _NO_FILLS)
    shown = ", ".join(empty[:12]) + (", …" if len(empty) > 12 else "")
    detail = f"without fills: {shown}" if empty else f"{found.months[0]['month']} to {found.months[-1]['month']}"
    return Check("empty_months", len(empty) <= limits.empty_months, len(empty), limits.empty_months, detail)


def empty_months(months: Sequence[str]) -> list[str]:
    """The months (YYYY-MM) between the first and the last that are not there."""
    numbers = {int(month[:4]) * 12 + int(month[5:]) - 1 for month in months}
    if not numbers:
        return []
    missing = sorted(set(range(min(numbers), max(numbers))) - numbers)
    return [f"{number // 12:04}-{number % 12 + 1:02}" for number in missing]


# --- the controls


async def plant(warehouse: Warehouse, now: int) -> list[Control]:
    """Whether nothing fails where there is no fault, and each check where its fault is planted."""
    place = Place(warehouse.names.staging, "quality_control")
    tokens = [int(row["token_id"]) for row in await warehouse.fetch(queries.load("quality_mapped"))]
    # With an empty map every token is unknown, planted or not.
    excused = set() if tokens else {"unmapped_share"}
    await warehouse.execute(queries.load("prepare_quality_control"))
    try:
        await _put(warehouse, place, faults.rows("", tokens, now))
        good = await measure(warehouse, place, now)
        controls = [Control("no_fault", not _failed(good) - excused)]
        for fault in faults.FAULTS:
            await _put(warehouse, place, faults.rows(fault, tokens, now))
            found = copy.deepcopy(good)
            await _PIECES[_NEEDED[fault]](_Asker(warehouse, place, now), found)
            controls.append(Control(fault, fault in _failed(found)))
    finally:
        await warehouse.execute(queries.load("drop_quality_control"))
    return controls


async def _put(warehouse: Warehouse, place: Place, rows: Sequence[Mapping[str, Any]]) -> None:
    await warehouse.execute(queries.load("clear_quality_control"))
    await warehouse.insert(f"staging.{place.table}", b"\n".join(map(orjson.dumps, rows)))


def _failed(found: Figures) -> set[str]:
    """By the limits that a config has when nobody changes them: those of this one may be wider than any fault."""
    return {check.name for check in judge(found, Quality()) if check.passed is False}


# --- the report


def markdown(report: Report) -> list[str]:
    """The report for people."""
    word = {True: "pass", False: "**FAIL**", None: "n/a"}
    told = [f"# Quality of {report.table}, {report.at}", "", "passed" if report.passed else "**not passed**", ""]
    told += ["| check | | value | limit | |", "|---|---|---|---|---|"]
    for check in report.checks:
        value = "–" if check.value is None else f"{check.value:g}"
        told.append(f"| {check.name} | {word[check.passed]} | {value} | {check.threshold} | {check.detail} |")
    for check in report.checks:
        if check.examples and check.passed is not None:
            told += ["", f"{check.name}, for example:", *(f"- `{each}`" for each in check.examples)]
    caught = sum(control.caught for control in report.controls)
    told += ["", f"Planted faults caught: {caught} of {len(report.controls)}."]
    told += [f"- not caught: {control.name}" for control in report.controls if not control.caught]
    totals = report.document()["totals"]
    told += ["", "| total | |", "|---|---|", *(f"| {name} | {value:,} |" for name, value in totals.items())]
    told += ["", "| source | version | rows |", "|---|---|---|"]
    told += [f"| {row['source']} | {row['version'] or '–'} | {row['rows']:,} |" for row in report.figures.sources]
    told += ["", "| month | rows | of these buy |", "|---|---|---|"]
    told += [
        f"| {row['month']} | {row['rows']:,} | {percent(row['buys'], row['rows'])} |" for row in report.figures.months
    ]
    return told
