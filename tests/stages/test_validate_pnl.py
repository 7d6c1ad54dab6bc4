"""`validate-pnl`: a wallet known to the cent, every cause planted and named with its amount, every old bug caught."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backfill.commands.validate import lines_of
from backfill.config import BaselineWallet, Config
from backfill.stages import pnl_gates
from backfill.stages.pnl_book import Book, read_books
from backfill.stages.pnl_causes import Explanation, Reference, explain
from backfill.stages.pnl_gates import BUGS, controls, made_up
from backfill.stages.pnl_rows import MICRO, Claim, Definition, Row, micro, total
from backfill.stages.validate_pnl import Validation, last_digit, run_validate
from backfill.warehouse.client import Warehouse
from tests.stages.planted import ANNA, condition, put, token
from tests.stages.pnl_world import CASH, GIFT, MERGED, SPLIT, M, build, put_world

FEES = 3 + 5 + 2 + 1


def baseline(expected: float | None = CASH, source: str | None = "cash", tolerance: float = 0.02) -> BaselineWallet:
    return BaselineWallet(name="Anna", address=ANNA, expected_pnl_usd=expected, source=source, tolerance=tolerance)


async def validated(config: Config, warehouse: Warehouse, wallet: BaselineWallet, **options: Any) -> Validation:
    chosen = config.model_copy(update={"baseline_wallets": (wallet,)})
    return await run_validate(chosen, warehouse, **options)


async def book(warehouse: Warehouse, config: Config, **options: Any) -> Book:
    await put_world(warehouse, **options)
    await build(warehouse, config)
    return (await read_books(warehouse, [ANNA]))[ANNA]


def parts(found: Explanation) -> dict[str, float]:
    assert sum(found.parts.values()) == found.delta
    return {cause: amount / M for cause, amount in found.parts.items()}


# --- the wallet, through the warehouse


async def test_a_wallet_that_is_right(config: Config, warehouse: Warehouse) -> None:
    await put_world(warehouse)
    await build(warehouse, config)
    found = await validated(config, warehouse, baseline(), strict=True)
    (wallet,) = found.document()["wallets"]
    assert found.passed and wallet["passed"] is True
    assert (wallet["actual_usd"], wallet["delta_usd"], wallet["variance"], wallet["causes"]) == (CASH, 0, 0, {})
    assert (wallet["resolved_positions"], wallet["wins"], wallet["losses"]) == (7, 5, 2)
    assert wallet["totals"]["fees_usd"] == FEES and wallet["totals"]["fills"] == 8
    assert wallet["totals"]["won_usd"] + wallet["totals"]["lost_usd"] == CASH
    best, worst = wallet["winners"][0], wallet["losers"][0]
    assert (best["pnl_usd"], best["shares"], best["cost_usd"], best["payout_usd"]) == (107, 200, 90, 200)
    assert (worst["pnl_usd"], worst["cost_usd"], worst["proceeds_usd"], worst["payout_usd"]) == (-157, 300, 150, 0)
    assert wallet["outcome_distribution"]["counts"]["fills"] == (6, 2)
    assert [(each.name, each.caught, each.planted) for each in found.controls] == [(name, True, 2) for name in BUGS]


async def test_wallets_of_an_owner_are_one_person(config: Config, warehouse: Warehouse) -> None:
    owner = "0x" + "cc" * 20
    pair: dict[str, object] = {
        "user_eoa": owner,
        "proxy_wallet": ANNA,
        "wallet_type": "safe",
        "evidence": "create2",
        "source": "test",
    }
    await put(warehouse, "production.pm_user_proxy_wallets", [pair])
    await put_world(warehouse)
    await build(warehouse, config)
    chosen = BaselineWallet(name="Owner", address=owner, expected_pnl_usd=CASH)
    (wallet,) = (await validated(config, warehouse, chosen)).document()["wallets"]
    assert wallet["wallets"] == [owner, ANNA] and wallet["passed"] is True


async def test_what_the_site_showed_is_compared_and_decides_nothing(config: Config, warehouse: Warehouse) -> None:
    """Marked it is 3.50 more than by cash: market 6 is open. Ten dollars off has no cause."""
    await put_world(warehouse)
    await build(warehouse, config)
    assert (await validated(config, warehouse, baseline())).document()["wallets"][0]["site"] is None
    found = await validated(config, warehouse, baseline().model_copy(update={"site_pnl_usd": CASH + 3.5 + 10}))
    site = found.document()["wallets"][0]["site"]
    assert found.passed and (site["definition"], site["actual_usd"], site["delta_usd"]) == ("marked", CASH + 3.5, -10)
    assert site["causes"] == {"unexplained": -10} and site["variance"] == 10 / (CASH + 13.5)
    (line,) = [text for text in lines_of(found) if "the site showed" in text]
    assert f"{CASH + 13.5:,.2f}" in line and "-10.00" in line


async def test_without_data_there_is_nothing_to_judge_unless_strict(config: Config, warehouse: Warehouse) -> None:
    nobody = BaselineWallet(name="Nobody", address="0x" + "dd" * 20, expected_pnl_usd=5.0)
    found = await validated(config, warehouse, nobody)
    (wallet,) = found.document()["wallets"]
    assert found.passed and wallet["passed"] is None and wallet["actual_usd"] is None
    assert "never built" in found.notes[0]
    assert not (await validated(config, warehouse, nobody, strict=True)).passed
    assert all(control.caught for control in found.controls)


async def test_a_derived_table_that_contradicts_the_others_fails(config: Config, warehouse: Warehouse) -> None:
    await put_world(warehouse)
    await build(warehouse, config)
    payout = {"condition_id_norm": condition(0), "payout_numerators": [0, 1], "payout_denominator": 1, "source": "new"}
    await put(warehouse, "production.market_resolutions_final", [payout])
    found = await validated(config, warehouse, baseline())
    assert not found.passed and found.document()["wallets"][0]["arithmetic_faults"] == 1


async def test_unmapped_and_unresolved_are_named_with_their_amounts(config: Config, warehouse: Warehouse) -> None:
    """Market 1 paid 200 for 90 + 3; its last price was 0.45. Market 6 is open and neither: 3.50 at the last price."""
    known = await book(warehouse, config, unmapped=1)
    # What the reference has may be what our last price says, what was paid, or more than 200 shares can be paid with.
    for worth, expected in {
        200 * 0.45 - 93: {"unmapped_tokens": -(200 * 0.45 - 93)},
        200 - 93: {"unmapped_tokens": -(200 - 93)},
        -93: {"unmapped_tokens": 93},
        200 - 93 + 1: {"unmapped_tokens": -(200 * 0.45 - 93), "unexplained": -111},
    }.items():
        reference = Reference("x", "pnl", "marked", micro(CASH + 3.5 - 107 + worth))
        found = explain(known.rows, known.strays, (), reference)
        assert parts(found) == expected and found.tokens["unmapped_tokens"] == 1
    assert [(stray.token, stray.fills, stray.cash / M, stray.fees / M) for stray in known.strays] == [
        (str(token(1, 1)), 1, -90, 3)
    ]


async def test_unresolved_at_the_last_price(config: Config, warehouse: Warehouse) -> None:
    known = await book(warehouse, config, unresolved=2)
    last = -300 + 150 - 7 + 300 * 0.75
    found = explain(known.rows, known.strays, (), Reference("x", "pnl", "cash", micro(CASH + 157 + last)))
    assert parts(found) == {"unresolved": -last}
    assert found.tokens["unresolved"] == 1
    # It was lost, as the reference knows; and no payout can take more than was paid.
    found = explain(known.rows, known.strays, (), Reference("x", "pnl", "cash", micro(CASH)))
    assert parts(found) == {"unresolved": 157}
    found = explain(known.rows, known.strays, (), Reference("x", "pnl", "cash", micro(CASH - 2)))
    assert parts(found) == {"unresolved": -last, "unexplained": 159 + last}


@pytest.mark.parametrize(("definition", "least", "most"), [("dome", -180, 120), ("avg_cost", -180, 120)])
async def test_unresolved_by_average_cost(
    config: Config, warehouse: Warehouse, definition: Definition, least: int, most: int
) -> None:
    """300 shares of 0.60 are tracked: they are worth 180 less than they cost, or 120 more."""
    known = await book(warehouse, config, unresolved=2)
    own = total(known.rows, definition) / M
    for gain, cause in ((least, "unresolved"), (most, "unresolved"), (least - 1, None), (most + 1, None)):
        found = explain(known.rows, known.strays, (), Reference("x", "pnl", definition, micro(own + gain)))
        assert (parts(found).get("unresolved") == -gain) == (cause is not None), gain


async def test_where_nobody_knows_how_anything_ended_that_is_the_cause(config: Config, warehouse: Warehouse) -> None:
    """No payouts, no listings: every condition may have ended."""
    known = await book(warehouse, config)
    assert not any(row.closed for row in known.rows if not row.resolved)
    for table in ("market_resolutions_final", "markets"):
        await warehouse.execute(f"TRUNCATE TABLE polymarket.{table}")
    await build(warehouse, config)
    (wallet,) = (found := await validated(config, warehouse, baseline())).document()["wallets"]
    assert wallet["causes"].keys() == {"unresolved"} and wallet["causes"]["unresolved"] == -CASH
    assert any("run payouts" in note for note in found.notes)


async def test_fills_that_came_in_later_are_noted(config: Config, warehouse: Warehouse) -> None:
    await put_world(warehouse)
    await build(warehouse, config)
    assert (await validated(config, warehouse, baseline())).notes == []
    await warehouse.execute(
        "INSERT INTO polymarket.clob_fills SELECT * REPLACE ('late' AS fill_id, now() + 60 AS ingested_at) "
        "FROM polymarket.clob_fills LIMIT 1"
    )
    assert "backfill rebuild" in (await validated(config, warehouse, baseline())).notes[0]


# --- causes, each planted alone on numbers out of the warehouse


async def test_every_cause_is_found_with_its_exact_amount(config: Config, warehouse: Warehouse) -> None:
    known = await book(warehouse, config)
    rows = known.rows
    splits = MERGED - SPLIT
    for cause, expected in {
        "fees": CASH + FEES,
        "splits_and_merges": CASH - splits,
        "transfers": CASH - GIFT,
        "unexplained": CASH - 17.5,
    }.items():
        found = explain(rows, (), (), Reference("x", "pnl", "cash", micro(expected)))
        assert parts(found) == {cause: CASH - expected}, cause
    both = explain(rows, (), (), Reference("x", "pnl", "cash", micro(CASH + FEES - GIFT)))
    assert parts(both) == {"fees": -FEES, "transfers": GIFT}
    near = explain(rows, (), (), Reference("x", "pnl", "cash", micro(CASH + FEES + 0.004), step=10_000))
    assert parts(near) == pytest.approx({"fees": -FEES, "rounding": -0.004})


async def test_another_definition_is_recognised(config: Config, warehouse: Warehouse) -> None:
    rows = (await book(warehouse, config)).rows
    theirs = total(rows, "avg_cost")
    found = explain(rows, (), (), Reference("x", "pnl", "cash", theirs))
    assert parts(found) == {"definition": CASH - theirs / M} and found.fits == ["the reference is avg_cost"]
    chosen = explain(rows, (), (), Reference("subgraph", "pnl", "avg_cost", theirs), compared="cash")
    assert parts(chosen) == {"definition": CASH - theirs / M} and chosen.actual == CASH * M


def claims_of(rows: tuple[Row, ...]) -> list[Claim]:
    """The same tokens as a reference that is right would tell them, before fees."""
    return [
        Claim(r.wallet, f"t{r.condition}{r.outcome}", r.condition, r.outcome, "CLOSED", r.avg_cost,
              r.worth("marked_gross"), r.gained)
        for r in rows
    ]  # fmt: skip


async def test_token_by_token(config: Config, warehouse: Warehouse) -> None:
    rows = (await book(warehouse, config)).rows
    claims, own = claims_of(rows), total(rows, "marked_gross")
    place = {(row.condition, row.outcome): number for number, row in enumerate(rows)}

    def told(change: dict[tuple[int, int], dict[str, Any]], *more: Claim) -> dict[str, float]:
        theirs = list(claims)
        for (market, outcome), values in change.items():
            number = place[condition(market), outcome]
            theirs[number] = replace(theirs[number], **values)
        theirs += more
        expected = sum(claim.total for claim in theirs)
        return parts(
            explain(rows, (), theirs, Reference("positions", "total", "marked_gross", expected, itemized=True))
        )

    assert told({}) == {}
    gone = Claim(ANNA, "1", "f" * 64, 0, "CLOSED", 0, 12 * M, 5)
    assert told({}, gone) == {"missing_fills": -12}
    right = claims[place[condition(0), 0]]
    assert told({(0, 0): {"total": right.total + 5 * M, "bought": right.bought + 9 * M}}) == {"missing_fills": -5}  # type: ignore[operator]
    fee = claims[place[condition(1), 1]]
    assert told({(1, 1): {"total": fee.total - 3 * M}}) == {"fees": 3}
    assert told({(5, 0): {"total": 0}}) == {"transfers": GIFT}
    move = claims[place[condition(4), 1]]
    assert told({(4, 1): {"total": move.total - 7 * M}}) == {"splits_and_merges": 7}
    opened = claims[place[condition(6), 0]]
    assert told({(6, 0): {"total": opened.total + M, "status": "REDEEMABLE"}}) == {"unresolved": -1}
    assert told({(3, 1): {"total": M}}) == {"unexplained": -21}
    assert told({(3, 1): {"total": claims[place[condition(3), 1]].total + 90}}) == {"rounding": -0.00009}
    fewer = [claim for claim in claims if claim.condition != condition(0)]
    reference = Reference("positions", "total", "marked_gross", own - 60 * M, itemized=True)
    assert parts(explain(rows, (), fewer, reference)) == {"not_in_reference": 60}


async def test_what_came_after_the_reference(config: Config, warehouse: Warehouse) -> None:
    rows = (await book(warehouse, config)).rows
    found = explain(rows, (), (), Reference("x", "pnl", "cash", micro(CASH - GIFT), as_of=1_700_000_100))
    assert parts(found) == {"after_reference": GIFT}


# --- gates and controls


@pytest.mark.parametrize(
    ("fills", "lost", "cause"), [(3, 1_999_999, "fees"), (3, 2_000_001, "unexplained"), (0, 1_000_000, "unexplained")]
)
def test_shares_that_a_fee_which_nobody_told_took(fills: int, lost: int, cause: str) -> None:
    """A winner that paid for fewer shares than were bought: up to two of a hundred, if the fees are not known."""
    row = made_up().rows[0]
    row = replace(row, fees_unknown=fills, tracked=row.net)
    paid = row.cash - lost
    claim = Claim(row.wallet, "1", row.condition, row.outcome, "CLOSED", paid, paid, row.bought)
    found = explain([row], (), [claim], Reference("x", "total", "marked", paid, itemized=True))
    assert found.parts == {cause: lost}


def test_a_control_that_does_nothing_fails_the_run() -> None:
    (found,) = controls([], {"loser_sign": lambda row: row})
    assert not found.caught and found.planted == 0


@pytest.mark.parametrize("name", list(BUGS))
def test_an_old_bug_is_caught_by_variance_on_the_wallet_made_up(name: str) -> None:
    (found,) = controls([], {name: BUGS[name]})
    assert found.caught and found.by["variance"] == 1


def test_a_check_that_sees_nothing_fails_the_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pnl_gates, "within", lambda *_: True)
    assert [each.caught for each in controls([])] == [False, False, False]


def test_the_index_bug_makes_the_winners_lopsided() -> None:
    """Balanced by nature: no outcome of index 0 is ever paid for once the index is off by one."""
    rows = [row for _ in range(10) for row in made_up().rows]
    assert not pnl_gates.distribution(rows).lopsided
    assert pnl_gates.distribution([pnl_gates.outcome_index(row) for row in rows]).lopsided


def test_pass_is_below_the_tolerance() -> None:
    assert pnl_gates.within(1019, 1000, 0.02) and not pnl_gates.within(1020, 1000, 0.02)
    assert pnl_gates.within(-981, -1000, 0.02) and not pnl_gates.within(981, -1000, 0.02)
    assert pnl_gates.within(0, 0, 0.02) and not pnl_gates.within(1, 0, 0.02)


def test_digits_of_an_expectation() -> None:
    assert [last_digit(value) for value in (87030.51, 87030.505, 100.0, 12.5)] == [10_000, 1_000, MICRO, 100_000]
