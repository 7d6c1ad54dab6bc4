"""669 positions as the Data API showed them, each through our own view of positions and through our own reader."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from backfill.config import Config
from backfill.engine.model import Unit
from backfill.stages.pnl_book import read_books
from backfill.stages.pnl_rows import MICRO
from backfill.tracks.data_api_positions import DataApiPositions
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse
from tests.pnl.real_table import Compared, Part, emptied, units
from tests.stages.planted import put

FILE = "positions_dataapi_669.jsonl.gz"
SHOWN = 100
"""Micro-dollars of the last digit that the Data API shows."""
VIEW = "SELECT * FROM cascadian_clean.vw_wallet_positions_api_format"
NOT_OURS = {"icon", "eventId"}
"""Columns of the recording that the view does not have: no table of ours holds them."""
AMOUNTS = ("size", "initialValue", "currentValue", "cashPnl", "totalBought", "realizedPnl", "curPrice")
PERCENTS = ("percentPnl", "percentRealizedPnl")
Row = dict[str, Any]


@cache
def recorded(folder: Path) -> tuple[Row, ...]:
    """The positions as they came."""
    with gzip.open(folder / FILE) as file:
        return tuple(map(json.loads, file))


def average(row: Row) -> int:
    """What a share had cost, in micro-dollars: its own avgPrice is cut to four digits, so the two amounts tell more."""
    return units(row["initialValue"]) * MICRO // units(row["size"]) if units(row["size"]) else 0


async def put_positions(warehouse: Warehouse, rows: Sequence[Row]) -> None:
    """The recorded facts (shares, cost, price, what was bought and realized) where a rebuild puts its own; the paper
    profits are then made by the rebuild's own statements."""
    for name in ("prepare_rebuild_prices", "prepare_rebuild_conditions", "next_token_pnl", "next_unrealized_pnl"):
        await warehouse.execute(queries.load(name))
    await put(warehouse, "staging.token_pnl_next", [_profit(row) for row in rows])
    await put(warehouse, "staging.rebuild_prices", [_price(row) for row in rows if not row["redeemable"]])
    await put(warehouse, "production.outcome_positions_v2", [_position(row) for row in rows])
    await put(warehouse, "production.markets", _markets(rows))
    for name in ("add_unrealized_pnl", "swap_unrealized_pnl", "swap_token_pnl"):
        await warehouse.execute(queries.load(name))


def _place(row: Row) -> Row:
    about = {"wallet": row["proxyWallet"], "condition_id_norm": row["conditionId"][2:]}
    return {**about, "outcome_idx": row["outcomeIndex"], "first_activity": 0, "last_activity": 0, "fills": 0}


def _profit(row: Row) -> Row:
    held, ended = units(row["size"]), int(row["redeemable"])
    nothing = dict.fromkeys(
        ("trade_cash_micro", "redeemed_micro", "payout_micro", "realized_cash_micro", "realized_dome_micro",
         "volume_micro", "fees_micro"), "0",
    )  # fmt: skip
    return {
        **_place(row), **nothing, "owner": row["proxyWallet"], "resolved": ended, "leftover_micro": str(held),
        "payout_numerator": units(row["curPrice"]) * ended, "payout_denominator": MICRO * ended,
        "tracked_micro": str(held), "avg_price_micro": str(average(row)),
        "realized_avg_cost_micro": str(units(row["realizedPnl"])),
    }  # fmt: skip


def _price(row: Row) -> Row:
    about = {"condition_id_norm": row["conditionId"][2:], "outcome_idx": row["outcomeIndex"]}
    return {**about, "usdc": units(row["curPrice"]), "shares": MICRO, "price": str(row["curPrice"]), "at": 0}


def _position(row: Row) -> Row:
    others = ("sold", "fee_shares", "split", "merged", "converted", "redeemed", "transferred")
    return {
        **_place(row), "net_shares_micro": str(units(row["size"])), "bought_micro": str(units(row["totalBought"])),
        **{f"{name}_micro": "0" for name in others},
    }  # fmt: skip


def _markets(rows: Sequence[Row]) -> list[dict[str, object]]:
    found = {}
    for row in rows:
        sign = 1 if row["outcomeIndex"] == 0 else -1
        found[row["conditionId"]] = {
            "condition_id_norm": row["conditionId"][2:], "source": "real", "question": row["title"],
            "token_ids": [row["asset"], row["oppositeAsset"]][::sign], "market_slug": row["slug"],
            "outcomes": [row["outcome"], row["oppositeOutcome"]][::sign], "event_slug": row["eventSlug"],
            "neg_risk": int(row["negativeRisk"]), "end_at": f"{row['endDate']} 00:00:00",
        }  # fmt: skip
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of a position that the view shows otherwise; `cause` None where nothing known explains it."""

    row: Row
    name: str
    ours: Any
    cause: str | None


def differences(theirs: Row, ours: Row, here: Collection[tuple[str, str]]) -> Iterator[Difference]:
    """Every field of both. Amounts may differ by a digit that was cut off, and by a micro-dollar a share of cost.

    Args:
        here: wallet and token of every position that was recorded.
    """
    slack = 2 * SHOWN + units(theirs["size"]) // MICRO
    for name in AMOUNTS:
        away = abs(units(ours[name]) - units(theirs[name]))
        if away:
            yield Difference(theirs, name, ours[name], "rounding" if away <= slack else None)
    for name in PERCENTS:
        yield from _percent(theirs, ours, name)
    if abs(units(ours["avgPrice"]) - units(theirs["avgPrice"])) > SHOWN + 2 * SHOWN * MICRO // units(theirs["size"]):
        yield Difference(theirs, "avgPrice", ours["avgPrice"], None)
    for name in ("redeemable", "negativeRisk"):
        if bool(ours[name]) != theirs[name]:
            yield Difference(theirs, name, ours[name], None)
    if bool(ours["mergeable"]) != theirs["mergeable"]:
        cut_off = theirs["mergeable"] and (theirs["proxyWallet"], theirs["oppositeAsset"]) not in here
        yield Difference(theirs, "mergeable", ours["mergeable"], "the other side was not recorded" if cut_off else None)
    for name in ("asset", "oppositeAsset", "outcome", "oppositeOutcome", "title", "slug", "eventSlug"):
        if ours[name] != theirs[name]:
            yield Difference(theirs, name, ours[name], None)


def _percent(theirs: Row, ours: Row, name: str) -> Iterator[Difference]:
    """In percent of the cost; so a digit of the cost moves it by more, the less there is of it."""
    if ours[name] is None:
        yield Difference(theirs, name, None, None if theirs["initialValue"] else "no cost: unknown to us, 0 to them")
        return
    cost = average(theirs) * units(theirs["size" if name == "percentPnl" else "totalBought"]) / MICRO
    shares = min(units(theirs["size"]), units(theirs["totalBought"])) / MICRO
    ratio = 1 + abs(theirs[name]) / 100
    slack = 0.0002 + 100 * ratio * (3 * SHOWN / cost + 2 / max(average(theirs), 1) + 0.0002 / shares)
    away = abs(float(ours[name]) - theirs[name])
    if away > 0.00005:
        yield Difference(theirs, name, ours[name], "rounding" if away <= slack else None)


async def shown(warehouse: Warehouse, rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """The view's rows by wallet and token."""
    await put_positions(warehouse, rows)
    return {(row["proxyWallet"], row["asset"]): row for row in await warehouse.fetch(VIEW)}


async def compare(warehouse: Warehouse, config: Config, folder: Path) -> Part:
    """Sums by wallet of our view beside theirs; every field of every position beside ours."""
    part, rows = Part(), recorded(folder)
    await emptied(warehouse)
    ours = await shown(warehouse, rows)
    by_wallet = defaultdict[str, list[Row]](list)
    for row in rows:
        by_wallet[row["proxyWallet"]].append(row)
    for wallet, own in by_wallet.items():
        sums = [sum(units(row[name]) for row in own) for name in ("cashPnl", "realizedPnl")]
        mine = sum(units(ours[wallet, row["asset"]]["cashPnl"]) for row in own)
        causes = {"rounding": mine - sums[0]} if mine != sums[0] else {}
        remark = f"{len(own)} positions, {sum(row['redeemable'] for row in own)} of them ended"
        part.lines.append(Compared(wallet, FILE, "sum of cashPnl", sums[0], mine, causes, remark))
        part.lines.append(
            Compared(
                wallet, FILE, "sum of realizedPnl", sums[1], None,
                not_comparable="its fills of these tokens are not recorded here",
            )
        )  # fmt: skip
    found = [each for row in rows for each in differences(row, ours[row["proxyWallet"], row["asset"]], ours.keys())]
    counts = Counter((each.name, str(each.cause)) for each in found if each.cause != "rounding")
    part.facts.append(f"{len(rows)} positions, field by field. Beyond the last digits: {_listed(counts)}.")
    part.facts += _odd(rows)
    part.facts.append(await _read(warehouse, rows))
    return part


def _listed(counts: Counter[tuple[str, str]]) -> str:
    return "; ".join(f"{name} in {many} ({cause})" for (name, cause), many in sorted(counts.items())) or "nothing"


def _odd(rows: Sequence[Row]) -> Iterator[str]:
    """What the recorded rows contradict of average cost, and why."""
    given = [row for row in rows if units(row["size"]) > units(row["totalBought"]) + SHOWN]
    sold = [
        row for row in rows if row not in given
        and abs(units(row["realizedPnl"])) > units(row["totalBought"]) - units(row["size"]) + 10 * SHOWN
    ]  # fmt: skip
    yield f"{len(given)} positions hold more than was ever bought: transfers, which are no part of totalBought."
    yield (
        f"{len(sold)} positions have realized more than a dollar for each share that left; "
        f"{sum(row['redeemable'] for row in sold)} of them are in ended markets and realized all that was tracked "
        "while shares are still held: a redemption ends all that is tracked (definition)."
    )


async def _read(warehouse: Warehouse, rows: Sequence[Row]) -> str:
    """The same rows through the lane of the first version of the Data API, and as claims."""
    lane, wallets = DataApiPositions(1), sorted({row["proxyWallet"] for row in rows})
    for wallet in wallets:
        body = orjson.dumps([row for row in rows if row["proxyWallet"] == wallet])
        page = lane.parse(Unit(0, (wallet,)), None, body)
        assert not page.letters, page.letters
        lines = [{k: v for k, v in orjson.loads(line).items() if k != "unit"} for line in page.lines]
        await put(warehouse, "production.wallet_positions_api", lines)
    books = await read_books(warehouse, wallets)
    claims = [claim for book in books.values() for claim in book.claims]
    realized = sum(claim.realized for claim in claims)
    paper = sum(claim.total - claim.realized for claim in claims)
    assert realized == sum(units(row["realizedPnl"]) for row in rows)
    assert paper == sum(units(row["cashPnl"]) for row in rows)
    return (
        f"The lane of the first version takes all {len(claims)} and refuses none; as claims they add up to what they "
        "add up to there. They are open positions only, so no reference is made of them."
    )
