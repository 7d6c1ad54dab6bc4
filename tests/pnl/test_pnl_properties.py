"""Random histories through the warehouse and through the slow reference: the same to the last micro-unit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import orjson
import pytest

from backfill.config import Config
from backfill.log import configure
from backfill.stages.rebuild import Rebuilt, rebuild
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from tests.pnl.histories import LONGEST, START, History, collect, ended, load
from tests.pnl.reference import FOREVER, Books, Place, keep

HISTORIES = 250
TABLES = ("outcome_positions_v2", "trade_cashflows_v3", "wallet_token_pnl", "wallet_unrealized_pnl_v2")
Rows = dict[str, dict[Place, dict[str, Any]]]


@cache
def histories() -> Sequence[History]:
    """The same for all tests."""
    found = collect(HISTORIES)
    assert len(found) >= HISTORIES * 9 // 10
    return found


async def rebuilt(warehouse: Warehouse, config: Config, **options: Any) -> Rebuilt:
    log = configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")
    return await rebuild(warehouse, config, log, **options)


async def computed(warehouse: Warehouse) -> Rows:
    """What the tables say."""
    found: Rows = {}
    for table in TABLES:
        rows = await warehouse.fetch(f"SELECT * FROM polymarket.{table}")
        found[table] = {(row["wallet"], row["condition_id_norm"], int(row["outcome_idx"])): row for row in rows}
        assert len(found[table]) == len(rows)
    return found


def expected(told: Iterable[History], until: int = FOREVER) -> dict[str, dict[Place, dict[str, Any]]]:
    """What the reference says, in the columns of the tables."""
    found: dict[str, dict[Place, dict[str, Any]]] = {table: {} for table in TABLES}
    for history in told:
        books = keep(history.markets, history.events, until)
        for place in books.lines:
            found["outcome_positions_v2"][place] = _position(books, place)
            found["trade_cashflows_v3"][place] = _cashflow(books, place)
            found["wallet_token_pnl"][place] = _profit(books, place)
            if not books.ending(place[1]) and books.lines[place].net:
                value, cost = books.paper(place)
                on_paper = None if value is None else value - cost
                found["wallet_unrealized_pnl_v2"][place] = {
                    "value_micro": value,
                    "cost_micro": cost,
                    "unrealized_pnl_micro": on_paper,
                }
    return found


def _position(books: Books, place: Place) -> dict[str, Any]:
    line = books.lines[place]
    return {
        "net_shares_micro": line.net,
        "bought_micro": line.bought,
        "sold_micro": line.sold,
        "fee_shares_micro": line.fee_shares,
        "split_micro": line.split,
        "merged_micro": line.merged,
        "converted_micro": line.converted,
        "redeemed_micro": line.redeemed,
        "transferred_micro": line.transferred,
        "fills": line.fills,
    }


def _cashflow(books: Books, place: Place) -> dict[str, Any]:
    line = books.lines[place]
    return {
        "cashflow_micro": line.trade_cash + line.redemptions,
        "proceeds_micro": line.proceeds,
        "costs_micro": line.costs,
        "fees_micro": line.fees,
        "fees_unknown": line.fees_unknown,
        "splits_micro": line.splits,
        "merges_micro": line.merges,
        "conversions_micro": line.conversions,
        "redemptions_micro": line.redemptions,
    }


def _profit(books: Books, place: Place) -> dict[str, Any]:
    line = books.lines[place]
    return {
        "resolved": int(books.ending(place[1]) is not None),
        "trade_cash_micro": line.trade_cash,
        "leftover_micro": line.net + line.redeemed,
        "payout_micro": books.payout(place),
        "realized_cash_micro": books.cash(place),
        "tracked_micro": line.tracked,
        "avg_price_micro": line.average,
        "realized_avg_cost_micro": line.realized,
        "realized_dome_micro": line.realized_dome,
    }


def differences(found: Rows, wanted: Mapping[str, Mapping[Place, Mapping[str, Any]]]) -> list[str]:
    """Every column of every row that is not as the reference has it."""
    told = []
    for table in TABLES:
        told += [f"{table} {place}: only one side has it" for place in found[table].keys() ^ wanted[table].keys()]
        for place in found[table].keys() & wanted[table].keys():
            row = found[table][place]
            for column, value in wanted[table][place].items():
                if (None if row[column] is None else int(row[column])) != value:
                    told.append(f"{table}.{column} {place}: {row[column]} instead of {value}")
    return told


def explained(told: list[str]) -> str:
    """The first differences, and the shortest history that has one."""
    if not told:
        return ""
    guilty = [each for each in histories() if any(each.wallets[0][:10] in line for line in told)]
    shortest = min(guilty, key=lambda each: len(each.events))
    return "\n".join([*[line for line in told if shortest.wallets[0][:10] in line][:8], *map(str, shortest)])


async def test_random_histories_agree_with_the_reference(warehouse: Warehouse, config: Config) -> None:
    await load(warehouse, histories())
    told = await rebuilt(warehouse, config)
    assert told.everything and set(told.events) == {
        "split", "buy", "get", "receive", "sell", "convert", "merge", "give", "redeem",
    }  # fmt: skip
    wanted = expected(histories())
    found = differences(await computed(warehouse), wanted)
    assert not found, explained(found)
    assert all(len(wanted[table]) > HISTORIES for table in TABLES)


async def test_decimals_say_the_same(warehouse: Warehouse, config: Config) -> None:
    from decimal import Decimal

    await load(warehouse, histories()[:40])
    await rebuilt(warehouse, config)
    found = await computed(warehouse)
    pairs = [("outcome_positions_v2", "net_shares", "net_shares_micro")]
    pairs += [("trade_cashflows_v3", "cashflow_usdc", "cashflow_micro")]
    pairs += [("wallet_unrealized_pnl_v2", "unrealized_pnl_usd", "unrealized_pnl_micro")]
    for table, decimal, micro in pairs:
        for row in found[table].values():
            assert (row[decimal] is None) == (row[micro] is None)
            assert row[micro] is None or Decimal(row[decimal]) * 10**6 == int(row[micro])
    by_wallet: dict[str, int] = {}
    for place, row in found["wallet_token_pnl"].items():
        by_wallet[place[0]] = by_wallet.get(place[0], 0) + int(row["realized_cash_micro"])
    rows = await warehouse.fetch("SELECT * FROM polymarket.wallet_pnl_summary_final")
    assert {row["wallet"]: Decimal(row["realized_pnl_usd"]) * 10**6 for row in rows} == by_wallet


async def test_a_moment_of_the_past(warehouse: Warehouse, config: Config) -> None:
    await load(warehouse, histories())
    await rebuilt(warehouse, config)
    moment = START + LONGEST // 3
    await rebuilt(warehouse, config, cutoff=moment)
    found = differences(await computed(warehouse), expected(histories(), moment))
    assert not found, explained(found)
    (state,) = await warehouse.fetch(
        "SELECT uniq(cutoff) AS many, toUnixTimestamp(any(cutoff)) AS at FROM polymarket.rebuild_state FINAL"
    )
    assert (int(state["many"]), int(state["at"])) == (1, moment)
    assert (await rebuilt(warehouse, config)).everything
    assert not differences(await computed(warehouse), expected(histories()))


async def test_what_comes_later_touches_only_those_whom_it_concerns(warehouse: Warehouse, config: Config) -> None:
    """Rows of a few, the payout of another, a token mapped late: the others are taken over as they are."""
    early, late = histories()[:150], histories()[150:200]
    unended = [each._replace(markets=tuple(m._replace(ending=None) for m in each.markets)) for each in early]
    await load(warehouse, [*unended[:3], *early[3:]])
    await load(warehouse, late, events=slice(0, 4))
    await rebuilt(warehouse, config)
    assert (await rebuilt(warehouse, config)).nothing
    endings = [ended(market) for each in early[:3] for market in each.markets if market.ending]
    await warehouse.insert("production.market_resolutions_final", b"\n".join(map(orjson.dumps, endings)))
    await load(warehouse, late, events=slice(4, None))
    told = await rebuilt(warehouse, config)
    assert not told.everything and 0 < told.changed <= 2 * (len(late) + 3)
    found = differences(await computed(warehouse), expected([*early, *late]))
    assert not found, explained(found)


async def test_rows_that_go_and_tokens_that_change_hands_are_noticed(warehouse: Warehouse, config: Config) -> None:
    told = histories()[:60]
    await load(warehouse, told)
    await rebuilt(warehouse, config)
    gone = next(each for each in told if len(each.events) > 2 and any("merge" in str(e) for e in each.events))
    for table, column in (("clob_fills", "maker"), ("ctf_activity", "wallet"), ("erc1155_transfers", "operator")):
        sql = f"DELETE FROM polymarket.{table} WHERE startsWith({column}, '{gone.wallets[0][:10]}')"
        await warehouse.execute(sql)
    moved = next(each for each in told if each is not gone and any("BUY" in str(e) for e in each.events))
    condition = moved.markets[0].condition
    swapped = f"condition_id_norm = '{condition}'"
    await warehouse.execute(
        f"ALTER TABLE polymarket.ctf_token_map UPDATE outcome_index = 1 - outcome_index WHERE {swapped}",
        settings={"mutations_sync": 2},
    )
    again = await rebuilt(warehouse, config)
    assert not again.everything and 0 < again.changed <= 4
    kept = [each for each in told if each not in (gone, moved)]
    found = await computed(warehouse)
    ours = {each.wallets[0][:10] for each in kept}
    assert not any(place[0][:10] == gone.wallets[0][:10] for place in found["outcome_positions_v2"])
    for table in TABLES:
        found[table] = {place: row for place, row in found[table].items() if place[0][:10] in ours}
    assert not differences(found, expected(kept))


async def test_portions_do_not_matter(warehouse: Warehouse, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backfill.stages.rebuild.PORTION", 60)
    monkeypatch.setattr("backfill.stages.rebuild.TOKENS", 50)
    await load(warehouse, histories()[:80])
    await rebuilt(warehouse, config)
    assert not differences(await computed(warehouse), expected(histories()[:80]))


async def test_each_target_alone(warehouse: Warehouse, config: Config) -> None:
    """A target that was built before is not built anew with another, and none is taken for what it is not."""
    await load(warehouse, histories()[:30])
    assert set((await rebuilt(warehouse, config, targets=["positions"])).rows) == {"positions"}
    found = await computed(warehouse)
    assert found["outcome_positions_v2"] and not found["trade_cashflows_v3"] and not found["wallet_token_pnl"]
    assert (await rebuilt(warehouse, config, targets=["positions"])).nothing
    assert (await rebuilt(warehouse, config, targets=["cashflows", "pnl"])).everything
    assert not differences(await computed(warehouse), expected(histories()[:30]))
    assert (await rebuilt(warehouse, config)).nothing


async def test_a_dry_run_changes_nothing(warehouse: Warehouse, config: Config) -> None:
    await load(warehouse, histories()[:10])
    told = await rebuilt(warehouse, config, dry_run=True)
    assert told.everything and told.changed > 0 and not told.rows
    assert not any((await computed(warehouse)).values())
    assert (await rebuilt(warehouse, config)).everything


async def test_a_crash_before_the_note_has_all_computed_anew(
    warehouse: Warehouse, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state of a past moment is swapped in, and then the lights go out: it must not pass for the present."""
    await load(warehouse, histories()[:40])
    await rebuilt(warehouse, config)
    real = queries.load

    def cut(name: str) -> str:
        if name == "note_rebuilt":
            raise RuntimeError("the lights go out")
        return real(name)

    with monkeypatch.context() as patch:
        patch.setattr(queries, "load", cut)
        with pytest.raises(RuntimeError):
            await rebuilt(warehouse, config, cutoff=START + 3)
    assert (await rebuilt(warehouse, config)).everything
    assert not differences(await computed(warehouse), expected(histories()[:40]))


BUGS: dict[str, tuple[str, Callable[[str], str]]] = {
    "micro-units taken for dollars": (
        "add_fill_events",
        lambda sql: sql.replace("  f.usdc_micro,\n", "  intDiv(f.usdc_micro, 1000000),\n"),
    ),
    "outcome index off by one": (
        "add_token_pnl",
        lambda sql: sql.replace("c.numerators[outcome_idx + 1]", "c.numerators[outcome_idx]"),
    ),
    "losers with the wrong sign": (
        "add_token_pnl",
        lambda sql: sql.replace("trade_cash + paid, 0)", "if(numerator = 0, -trade_cash, trade_cash + paid), 0)"),
    ),
    "fills counted for the taker as well": (
        "add_fill_events",
        lambda sql: sql.replace("  f.maker, m.", "  who, m.")
        .replace("WHERE f.token_id", "ARRAY JOIN [f.maker, assumeNotNull(f.taker)] AS who\nWHERE f.token_id")
        .replace("AND f.maker NOT IN", "AND who NOT IN"),
    ),
    "a split payout taken for a win": (
        "add_token_pnl",
        lambda sql: sql.replace("intDiv(toInt256(leftover) * numerator, toInt256(greatest(c.denominator, 1)))",
                                "if(numerator > 0, toInt256(leftover), toInt256(0))"),
    ),
    "a fee in shares taken for dollars": (
        "add_fill_events",
        lambda sql: sql.replace("ifNull(f.fee_asset = 'shares', ", "ifNull(f.fee_asset = 'shares' AND 0, "),
    ),
    "no splits": ("add_split_events", lambda sql: sql.replace("IN ('split', 'merge')", "IN ('merge')")),
    "sells of more than there is": (
        "fold_rebuild_rows",
        lambda sql: sql.replace("least(e.7, a.3)", "e.7"),
    ),
    "division that rounds down": (
        "add_get_events",
        lambda sql: sql.replace("intDiv(\n    intDiv", "-1 + intDiv(\n    intDiv"),
    ),
    "redemptions that burn nothing": ("add_redeem_events", lambda sql: sql.replace("NOT told AND named[o + 1]", "0")),
    "contracts taken for wallets": (
        "add_split_events",
        lambda sql: sql.replace("e.wallet NOT IN {contracts:Array(String)}", "1"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", BUGS)
async def test_a_planted_bug_is_seen(
    warehouse: Warehouse, config: Config, monkeypatch: pytest.MonkeyPatch, bug: str
) -> None:
    told = histories()[:80]
    await load(warehouse, told)
    real, (query, spoil) = queries.load, BUGS[bug]
    assert spoil(real(query)) != real(query)
    monkeypatch.setattr(queries, "load", lambda name: spoil(real(name)) if name == query else real(name))
    await rebuilt(warehouse, config)
    assert differences(await computed(warehouse), expected(told))
