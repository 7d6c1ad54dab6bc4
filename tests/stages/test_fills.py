"""Merging fills on a real warehouse: every fill once, from the best source that shows it, whatever happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.errors import StateError, StoreBusy
from backfill.stages import fills as stage
from backfill.stages import matching
from backfill.stages.fills import FillMerge, merge_fills
from backfill.stages.imports import portions_of
from backfill.stages.shapes import keyless_id, price_of
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse, open_warehouse
from tests.quiet import Kept
from tests.stages.planted import put, token

TRACKS = ("chain_fills", "goldsky_fills", "clob_fills", "data_api_fills", "dome_fills")
T0 = 1_777_000_000
MAKERS = tuple("0x" + digit * 40 for digit in "abc")


@dataclass(frozen=True)
class Fact:
    """A fill as it happened: the `log`-th of its transaction, the `turn`-th of its order there."""

    tx: str
    order: str
    token: int
    maker: str
    side: str
    shares: int
    usdc: int
    log: int
    turn: int
    turns: int

    @property
    def what(self) -> tuple[Any, ...]:
        return self.tx, self.token, self.maker, self.side, self.shares


def hash32(kind: str, number: int) -> str:
    return f"0x{kind.encode().hex():0>8}{number:056x}"


def row(fact: Fact, **more: Any) -> dict[str, Any]:
    """What every source says of it."""
    return {
        "token_id": str(fact.token),
        "maker": fact.maker,
        "side": fact.side,
        "shares_micro": fact.shares,
        "usdc_micro": fact.usdc,
        "price": price_of(fact.usdc, fact.shares),
        "timestamp": T0 + int(fact.tx[-4:], 16),
        "tx_hash": fact.tx,
        **more,
    }


def keyed(fact: Fact, source: str, **more: Any) -> dict[str, Any]:
    fill_id = f"{fact.tx}_{fact.order}"
    return row(fact, fill_id=fill_id, order_hash=fact.order, taker=MAKERS[0], source=source, **more)


def chain(facts: Sequence[Fact], source: str = "chain") -> list[dict[str, Any]]:
    """The first fill of an order in a transaction has the plain id, further ones their log's."""
    return [
        keyed(fact, source, log_index=fact.log, block_number=7, exchange_version=2)
        | ({"fill_id": f"{fact.tx}_{fact.order}_{fact.log}"} if fact.turn else {})
        for fact in facts
    ]


def last_kept(facts: Sequence[Fact], source: str) -> list[dict[str, Any]]:
    """A source whose later fill of an order overwrites the earlier one."""
    return [keyed(fact, source) for fact in facts if fact.turn == fact.turns - 1]


def keyless(facts: Sequence[Fact], source: str, off: int = 0) -> list[dict[str, Any]]:
    """A source without orders, whose dollars are computed from a price; equal rows are numbered."""
    seen: Counter[str] = Counter()
    rows = []
    for fact in facts:
        usdc = max(1, fact.usdc + (off if fact.shares % 2 else -off))
        stem = keyless_id(fact.tx, fact.token, fact.side, fact.maker, fact.shares, usdc)
        found = row(fact, fill_id=f"{stem}_{seen[stem]}", source=source)
        rows.append(found | {"usdc_micro": usdc, "price": price_of(usdc, fact.shares)})
        seen[stem] += 1
    return rows


def seen_by(source: str, facts: Sequence[Fact], off: int) -> list[dict[str, Any]]:
    """The rows of a source for the fills of a transaction."""
    name = source.removesuffix("_fills")
    match name:
        case "chain":
            return chain(facts)
        case "data_api" | "import_data_api":
            return keyless(facts, name, off)
        case "dome":
            return [
                each | {"usdc_micro": each["usdc_micro"] + off, "block_number": None} for each in chain(facts, name)
            ]
        case "clob":
            return [] if any(fact.turns > 1 for fact in facts) else [keyed(fact, name) for fact in facts]
        case _:
            return last_kept(facts, name)


@st.composite
def transactions(draw: st.DrawFn, number: int) -> list[Fact]:
    """The fills of one token in one transaction: a few orders, each filled up to three times, sometimes alike."""
    tx, fill_token = hash32("tx", number), token(draw(st.integers(0, 3)))
    facts: list[Fact] = []
    for place in range(draw(st.integers(1, 3))):
        maker, side = draw(st.sampled_from(MAKERS)), draw(st.sampled_from(("BUY", "SELL")))
        turns = draw(st.sampled_from((1, 1, 1, 2, 3)))
        for turn in range(turns):
            shares = draw(st.sampled_from((1_000_000, 2_000_001, 30_000_000)))
            usdc = draw(st.sampled_from((400_000, 600_000)))
            order = hash32("or", 10 * number + place)
            facts.append(Fact(tx, order, fill_token, maker, side, shares, usdc, len(facts), turn, turns))
    return facts


WHOLE = {"chain_fills", "data_api_fills", "dome_fills", "import_data_api"}
"""Sources that show every fill of a transaction that they show at all."""
SOURCES = (*TRACKS, "import_goldsky", "import_data_api")


@dataclass(frozen=True)
class Story:
    """Transactions, who sees each, and in which of three batches; where the merge between them is cut short."""

    world: list[list[Fact]]
    seen: list[dict[str, int]]
    off: int
    cuts: list[int]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    world = [draw(transactions(number)) for number in range(draw(st.integers(1, 12)))]
    turn = st.integers(0, 2)
    seen = [draw(st.dictionaries(st.sampled_from(SOURCES), turn, min_size=1, max_size=4)) for _ in world]
    return Story(world, seen, draw(st.integers(0, 3)), draw(st.lists(st.integers(0, 40), max_size=3)))


def expected(story: Story) -> Counter[tuple[Any, ...]]:
    """What production is to show: each fill that anybody sees, from the best that does."""
    rank = {source: place for place, source in enumerate(SOURCES)}
    found: Counter[tuple[Any, ...]] = Counter()
    for facts, seen in zip(story.world, story.seen, strict=True):
        for fact in facts:
            sees = [source for source in seen if any(other is fact for other in _visible(source, facts))]
            if sees:
                found[(*fact.what, plain(min(sees, key=rank.__getitem__)))] += 1
    return found


def _visible(source: str, facts: Sequence[Fact]) -> Iterable[Fact]:
    if source in WHOLE:
        return facts
    if source == "clob_fills":
        return [] if any(fact.turns > 1 for fact in facts) else facts
    return [fact for fact in facts if fact.turn == fact.turns - 1]


async def stage_rows(warehouse: Warehouse, track: str, rows: list[dict[str, Any]]) -> None:
    for each in rows:
        await put(warehouse, "staging.clob_fills_v2", [each | {"track": track, "unit": 0}])


async def put_all(warehouse: Warehouse, rows: list[dict[str, Any]]) -> None:
    if rows:
        await warehouse.insert("staging.clob_fills_v2", b"\n".join(map(orjson.dumps, rows)))


async def stored(warehouse: Warehouse) -> list[dict[str, Any]]:
    return await warehouse.fetch("SELECT * EXCEPT ingested_at FROM polymarket.clob_fills ORDER BY fill_id, token_id")


def plain(source: str) -> str:
    """A source, whether it was read or imported."""
    return source.removesuffix("_fills").removeprefix("import_")


def either(rows: Counter[tuple[Any, ...]], story: Story) -> Counter[tuple[Any, ...]]:
    """Dome names the log of an order's further fill, Goldsky does not: where both see one, either may be shown."""
    unclear = {
        facts[0].tx
        for facts, seen in zip(story.world, story.seen, strict=True)
        if "dome_fills" in seen and any(fact.turns > 1 for fact in facts)
    }
    found: Counter[tuple[Any, ...]] = Counter()
    for key, count in rows.items():
        found[(*key[:-1], "either") if key[0] in unclear and key[-1] in ("dome", "goldsky") else key] += count
    return found


def shown(rows: Iterable[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    keys = ("tx_hash", "token_id", "maker", "side", "shares_micro")
    return Counter(
        (
            row["tx_hash"],
            int(row["token_id"]),
            row["maker"],
            row["side"],
            int(row["shares_micro"]),
            plain(row["source"]),
        )
        for row in rows
        if all(row[key] for key in keys)
    )


class Cut(Exception):
    """The merge ends here."""


async def merge_until(warehouse: Warehouse, calls: int) -> None:
    """A merge that does so many statements that change something, and no more."""
    left, execute = calls, warehouse.execute

    async def counted(*args: Any, **more: Any) -> None:
        nonlocal left
        if left == 0:
            raise Cut
        left -= 1
        await execute(*args, **more)

    warehouse.execute = counted  # type: ignore[method-assign]
    try:
        await merge_fills(warehouse, Kept())
    except Cut:
        pass
    finally:
        warehouse.execute = execute  # type: ignore[method-assign]


async def emptied(warehouse: Warehouse) -> None:
    for table in ("polymarket.clob_fills", "staging.clob_fills_v2", "staging.fills_merged", "staging.fill_merges"):
        await warehouse.execute(f"TRUNCATE TABLE {table}")


async def play(warehouse: Warehouse, story: Story) -> None:
    """Imports first; then three batches of staged rows, with a merge, perhaps cut short, after each."""
    await emptied(warehouse)
    for turn in range(3):
        staged: list[dict[str, Any]] = []
        for facts, seen in zip(story.world, story.seen, strict=True):
            for source, due in sorted(seen.items()):
                rows = seen_by(source, facts, story.off)
                if not source.startswith("import"):
                    staged += [each | {"track": source, "unit": 0} for each in rows if due == turn]
                elif turn == 0:
                    await put(warehouse, "production.clob_fills", rows)
        for half in (staged[::2], staged[1::2]):
            await put_all(warehouse, half)
        if turn < len(story.cuts):
            await merge_until(warehouse, story.cuts[turn])
    await merge_fills(warehouse, Kept())


# Not made smaller when it fails: every try is a few merges, and there are thousands of tries.
@settings(max_examples=8, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
@given(story=stories())
async def test_production_is_the_multiset_of_the_truth(config: Config, story: Story) -> None:
    for seen in story.seen:
        if "import_goldsky" in seen:
            seen.pop("import_data_api", None)
    async with open_warehouse(config) as warehouse:
        await play(warehouse, story)
        found = await stored(warehouse)
        assert either(shown(found), story) == either(expected(story), story)
        assert max(Counter(row["fill_id"] for row in found).values(), default=1) == 1, "duplicates"
        assert await merge_fills(warehouse, Kept()) == FillMerge(0, 0, 0, len(found))
        # All that is staged is looked at again, and nothing changes.
        await warehouse.execute("TRUNCATE TABLE staging.fills_merged")
        again = await merge_fills(warehouse, Kept())
        assert (again.added, again.replaced, await stored(warehouse)) == (0, 0, found)


FACT = Fact(hash32("tx", 1), hash32("or", 1), token(0), MAKERS[1], "BUY", 2_000_000, 900_000, 0, 0, 1)


def twice(first: int = 900_000, second: int = 900_000) -> list[Fact]:
    """An order filled twice in one transaction."""
    return [
        Fact(FACT.tx, FACT.order, FACT.token, FACT.maker, FACT.side, FACT.shares, usdc, turn, turn, 2)
        for turn, usdc in enumerate((first, second))
    ]


async def ids(warehouse: Warehouse) -> dict[str, tuple[str, int]]:
    return {row["fill_id"]: (row["source"], int(row["usdc_micro"])) for row in await stored(warehouse)}


@pytest.mark.parametrize("better_first", [True, False])
@pytest.mark.parametrize("place", range(4))
async def test_the_better_of_two_sources_is_shown(warehouse: Warehouse, place: int, better_first: bool) -> None:
    better, worse = TRACKS[place : place + 2]
    order = (better, worse) if better_first else (worse, better)
    for track in order:
        await stage_rows(warehouse, track, seen_by(track, [FACT], 1))
        await merge_fills(warehouse, Kept())
    assert [row["source"] for row in await stored(warehouse)] == [better.removesuffix("_fills")]


async def test_what_the_chain_calls_a_further_fill_is_what_goldsky_kept(warehouse: Warehouse) -> None:
    facts = twice(500_000, 700_000)
    plain = f"{FACT.tx}_{FACT.order}"
    await stage_rows(warehouse, "goldsky_fills", last_kept(facts, "goldsky"))
    await merge_fills(warehouse, Kept())
    assert await ids(warehouse) == {plain: ("goldsky", 700_000)}
    await stage_rows(warehouse, "chain_fills", chain(facts))
    done = await merge_fills(warehouse, Kept())
    assert await ids(warehouse) == {plain: ("chain", 500_000), f"{plain}_1": ("chain", 700_000)}
    assert (done.added, done.replaced) == (1, 1)


async def test_equal_rows_without_orders_count_as_often_as_they_come(warehouse: Warehouse) -> None:
    await stage_rows(warehouse, "goldsky_fills", [keyed(FACT, "goldsky")])
    await stage_rows(warehouse, "data_api_fills", keyless([FACT, FACT, FACT], "data_api"))
    await merge_fills(warehouse, Kept())
    assert Counter(row["source"] for row in await stored(warehouse)) == {"goldsky": 1, "data_api": 2}


async def test_like_amounts_of_other_dollars_are_another_fill(warehouse: Warehouse) -> None:
    dear = Fact(FACT.tx, FACT.order, FACT.token, FACT.maker, FACT.side, FACT.shares, 1_800_000, 0, 0, 1)
    await stage_rows(warehouse, "goldsky_fills", [keyed(FACT, "goldsky")])
    await stage_rows(warehouse, "data_api_fills", keyless([dear], "data_api"))
    await merge_fills(warehouse, Kept())
    assert len(await stored(warehouse)) == 2


async def test_what_came_twice_is_merged_as_it_came_last(warehouse: Warehouse) -> None:
    first = keyed(FACT, "goldsky")
    await stage_rows(warehouse, "goldsky_fills", [first, first | {"usdc_micro": 800_000}])
    await merge_fills(warehouse, Kept())
    assert await ids(warehouse) == {first["fill_id"]: ("goldsky", 800_000)}
    await stage_rows(warehouse, "goldsky_fills", [first | {"usdc_micro": 850_000}])
    await merge_fills(warehouse, Kept())
    assert await ids(warehouse) == {first["fill_id"]: ("goldsky", 850_000)}


async def test_an_import_that_says_no_less_stays_as_it_is(warehouse: Warehouse) -> None:
    same = keyed(FACT, "goldsky")
    await put(warehouse, "production.clob_fills", [same | {"source": "import_goldsky"}])
    await stage_rows(warehouse, "goldsky_fills", [same])
    assert (await merge_fills(warehouse, Kept())).replaced == 0
    await stage_rows(warehouse, "chain_fills", chain([FACT]))
    assert (await merge_fills(warehouse, Kept())).replaced == 1
    assert [row["log_index"] for row in await stored(warehouse)] == [0]


async def test_a_better_row_that_is_no_longer_staged_keeps_its_place(warehouse: Warehouse) -> None:
    await put(warehouse, "production.clob_fills", chain([FACT]))
    await stage_rows(warehouse, "goldsky_fills", [keyed(FACT, "goldsky")])
    await stage_rows(warehouse, "data_api_fills", keyless([FACT], "data_api", 2))
    assert (await merge_fills(warehouse, Kept())).replaced == 0
    assert [row["source"] for row in await stored(warehouse)] == ["chain"]


async def test_more_replacements_than_allowed_are_refused_before_one_is_made(warehouse: Warehouse) -> None:
    other = Fact(hash32("tx", 2), hash32("or", 2), token(1), MAKERS[1], "BUY", 2_000_000, 900_000, 0, 0, 1)
    new = Fact(hash32("tx", 3), hash32("or", 3), token(1), MAKERS[1], "BUY", 2_000_000, 900_000, 0, 0, 1)
    await stage_rows(warehouse, "goldsky_fills", last_kept([FACT, other], "goldsky"))
    await merge_fills(warehouse, Kept())
    await stage_rows(warehouse, "chain_fills", chain([FACT, other, new]))
    with pytest.raises(StateError, match=r"2 rows would be replaced.*"):
        await merge_fills(warehouse, Kept(), most_replaced=1)
    assert Counter(row["source"] for row in await stored(warehouse)) == {"goldsky": 2, "chain": 1}
    assert (await merge_fills(warehouse, Kept(), most_replaced=None)).replaced == 2
    assert Counter(row["source"] for row in await stored(warehouse)) == {"chain": 3}


async def test_a_dry_run_counts_and_changes_nothing(warehouse: Warehouse) -> None:
    await stage_rows(warehouse, "goldsky_fills", last_kept([FACT], "goldsky"))
    await merge_fills(warehouse, Kept())
    await stage_rows(warehouse, "chain_fills", chain(twice(500_000, 900_000)))
    await stage_rows(warehouse, "data_api_fills", keyless(twice(500_000, 900_000), "data_api"))
    before = await stored(warehouse)
    told = await merge_fills(warehouse, Kept(), dry_run=True)
    assert await stored(warehouse) == before
    done = await merge_fills(warehouse, Kept())
    assert (told.fresh, told.added, told.replaced) == (done.fresh, done.added, done.replaced) == (4, 1, 1)


async def test_production_that_was_emptied_is_filled_again(warehouse: Warehouse) -> None:
    await stage_rows(warehouse, "goldsky_fills", [keyed(FACT, "goldsky")])
    await merge_fills(warehouse, Kept())
    await warehouse.execute("TRUNCATE TABLE polymarket.clob_fills")
    assert (await merge_fills(warehouse, Kept())).added == 1


async def test_a_staging_table_that_begins_anew_hides_nothing(warehouse: Warehouse) -> None:
    await stage_rows(warehouse, "goldsky_fills", [keyed(FACT, "goldsky")])
    await merge_fills(warehouse, Kept())
    await warehouse.execute("DROP TABLE IF EXISTS staging.kept SYNC")
    await warehouse.execute("CREATE TABLE staging.kept AS staging.clob_fills_v2")
    await warehouse.execute("EXCHANGE TABLES staging.kept AND staging.clob_fills_v2")
    other = Fact(hash32("tx", 9), hash32("or", 9), token(2), MAKERS[0], "SELL", 5, 3, 0, 0, 1)
    later = keyed(other, "goldsky") | {"ingested_at": T0 + 10**7}
    await stage_rows(warehouse, "goldsky_fills", [later])
    blocks = await warehouse.fetch_value("SELECT max(_block_number) FROM staging.clob_fills_v2")
    assert blocks == 1, "the point of this test is a number that was there before"
    assert (await merge_fills(warehouse, Kept())).added == 1
    await warehouse.execute("EXCHANGE TABLES staging.kept AND staging.clob_fills_v2")
    await warehouse.execute("DROP TABLE staging.kept SYNC")


async def test_doubles_that_came_from_elsewhere_are_taken_out(warehouse: Warehouse) -> None:
    other = Fact(hash32("tx", 2), FACT.order, token(1), MAKERS[1], "BUY", 2_000_000, 900_000, 0, 0, 1)
    for facts in ([FACT], [FACT, other]):
        await put(warehouse, "production.clob_fills", last_kept(facts, "import_goldsky"))
    await stage_rows(warehouse, "goldsky_fills", [keyed(FACT, "goldsky")])
    log = Kept()
    await merge_fills(warehouse, log)
    assert len(await stored(warehouse)) == 2
    assert log.of("fills_compacted") == [{"duplicates": 1}]


Work = Callable[[], Awaitable[Any]]


async def test_a_statement_whose_answer_was_lost_is_done_once(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage_rows(warehouse, "goldsky_fills", [keyed(FACT, "goldsky")])
    await stage_rows(warehouse, "chain_fills", chain(twice(1, 2)))
    execute, told = warehouse.execute, set[str]()

    async def unlucky(sql: str, *args: Any, **more: Any) -> None:
        await execute(sql, *args, **more)
        if sql not in told:
            told.add(sql)
            raise StoreBusy("the answer was lost", uncertain=True)

    async def at_once(_: float) -> None: ...

    monkeypatch.setattr(warehouse, "execute", unlucky)
    monkeypatch.setattr("backfill.warehouse.patience.FIRST_WAIT_S", 0.001)
    await merge_fills(warehouse, Kept())
    assert len(await stored(warehouse)) == 2 and len(told) > 10


async def test_it_waits_for_what_an_earlier_one_has_left_running(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage_rows(warehouse, "goldsky_fills", [keyed(FACT, "goldsky")])
    turns, fetch_value = 3, warehouse.fetch_value

    async def busy(sql: str, *args: Any) -> Any:
        nonlocal turns
        if sql == queries.load("fill_merges_still_running") and turns:
            turns -= 1
            assert not await stored(warehouse)
            return 1
        return await fetch_value(sql, *args)

    monkeypatch.setattr(warehouse, "fetch_value", busy)
    monkeypatch.setattr(stage, "WAIT_S", 0.001)
    log = Kept()
    assert (await merge_fills(warehouse, log)).added == 1
    assert turns == 0 and log.of("waiting_for_earlier_merge")


async def test_many_portions_come_to_the_same(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backfill.stages.fills.PORTION", 7)
    monkeypatch.setattr("backfill.stages.fills.LINES_AT_ONCE", 3)
    facts = [
        Fact(hash32("tx", n // 2), hash32("or", n), token(n % 3), MAKERS[n % 3], "BUY", 10**6 + n, 10**5, n, 0, 1)
        for n in range(60)
    ]
    real, spread = portions_of, []

    def small(found: dict[int, int], *, limit: int) -> Any:
        spread.append(real(found, limit=stage.PORTION))
        return spread[-1]

    monkeypatch.setattr(stage, "portions_of", small)
    await put(warehouse, "staging.clob_fills_v2", [r | {"track": "goldsky_fills"} for r in last_kept(facts, "goldsky")])
    assert (await merge_fills(warehouse, Kept())).added == 60
    await put(
        warehouse, "staging.clob_fills_v2", [r | {"track": "data_api_fills"} for r in keyless(facts, "data_api", 1)]
    )
    await put(warehouse, "staging.clob_fills_v2", [r | {"track": "chain_fills"} for r in chain(facts[:40])])
    done = await merge_fills(warehouse, Kept())
    assert (done.fresh, done.added, done.replaced, done.rows) == (100, 0, 40, 60)
    assert Counter(row["source"] for row in await stored(warehouse)) == {"chain": 40, "goldsky": 20}
    assert max(len(each) for each in spread) > 3


# --- matching alone


def told(rows: Sequence[dict[str, Any]], layer: str, rank: int, held: bool = False) -> list[matching.Row]:
    def content(row: dict[str, Any]) -> int:
        return hash(tuple(sorted({**row, "source": plain(row["source"])}.items())))

    return [
        matching.Row(
            fill_id=row["fill_id"],
            order=row.get("order_hash", ""),
            maker=row["maker"],
            side=row["side"],
            shares=row["shares_micro"],
            usdc=row["usdc_micro"],
            layer=layer,
            rank=rank,
            stored=held,
            content=content(row),
            raw=row,
        )
        for row in rows
    ]


@settings(max_examples=300, deadline=None)
@given(transactions(1), st.sets(st.sampled_from(TRACKS), min_size=1), st.sampled_from(SOURCES), st.integers(0, 3))
def test_a_transaction_settles_and_stays(facts: list[Fact], tracks: set[str], source: str, off: int) -> None:
    staged = [r for t in TRACKS if t in tracks for r in told(seen_by(t, facts, off), t, TRACKS.index(t))]
    rank = TRACKS.index(source) if source in TRACKS else 6
    held = told(seen_by(source, facts, off), "", rank, held=True)
    change = matching.settled([*staged, *held])
    kept = {r.fill_id: r for r in held if r.fill_id not in change.departures}
    now = [*kept.values(), *change.arrivals]
    assert len({r.fill_id for r in now}) == len(now)
    known = {*tracks, source}
    whole = bool(known & WHOLE)
    last = bool(known - {*WHOLE, "clob_fills"})
    single = all(fact.turns == 1 for fact in facts)
    wanted = facts if whole or ("clob_fills" in known and single) else [f for f in facts if f.turn == f.turns - 1]
    if whole or last or single:
        assert Counter((r.maker, r.side, r.shares) for r in now) == Counter((f.maker, f.side, f.shares) for f in wanted)
    again = matching.settled([*staged, *(r._replace(layer="", stored=True) for r in now)])
    assert again == matching.Change([], [])
