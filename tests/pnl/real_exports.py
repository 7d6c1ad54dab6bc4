"""Four wallets of an export of fills whose publisher computed a profit, and a page of Dome's orders of one of them.

The publisher's number is not a truth, but it is one that can be done again: on a sale it takes the money less the
average cost of *all* shares sold, whether they are there or not. What is sold beyond the stock is pure profit to it,
and nothing to us, because nobody knows what those shares had cost.
"""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

from backfill.config import Config
from backfill.stages.imports import import_fills
from backfill.stages.pnl_book import Book, read_books
from backfill.stages.pnl_causes import Reference, explain
from backfill.stages.pnl_rows import Claim, micro
from backfill.warehouse.client import Warehouse
from tests.pnl.real_table import Compared, Part, build, emptied, known_tokens, put_markets
from tests.stages.planted import put

EXPORT, PAGE = "fills_wallets_4_clickhouse.json.gz", "dome_orders_page.json.gz"
OTHER = f"0x{'0' * 39}1"
"""The other side of a fill, which the export does not name."""
DOME_SAID = 87030.505
"""Dollars: what Dome told of the page's wallet in December 2025, recorded beside the page and not in it."""
Trade = dict[str, Any]


def export(folder: Path) -> list[dict[str, Any]]:
    """The export, wallet by wallet."""
    found: list[dict[str, Any]] = json.loads(gzip.decompress((folder / EXPORT).read_bytes()))
    return found


def page(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Dome's orders, and how many it says there are."""
    (found,) = json.loads(gzip.decompress((folder / PAGE).read_bytes()))
    return found["orders"], int(found["pagination"]["total"])


def second(text: str) -> int:
    """Unix seconds of the export's text."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def publishers(trades: Sequence[Trade]) -> dict[str, Fraction]:
    """The publisher's realized profit by token, in micro-dollars, worked out from its rows in their order."""
    stock, cost, made = (defaultdict[str, Fraction](Fraction) for _ in range(3))
    for trade in trades:
        token, shares, money = trade["asset_id"], Fraction(trade["size"]), Fraction(trade["cost"])
        if trade["side"] == "BUY":
            stock[token], cost[token] = stock[token] + shares, cost[token] + money
            made[token] += 0
            continue
        taken = cost[token] / stock[token] * shares if stock[token] > 0 else Fraction(0)
        made[token] += money - taken
        stock[token], cost[token] = stock[token] - shares, max(Fraction(0), cost[token] - taken)
    return dict(made)


async def compare(warehouse: Warehouse, config: Config, folder: Path) -> Part:
    """The four wallets, then the page; the warehouse is emptied before each."""
    part = Part()
    await emptied(warehouse)
    wallets = export(folder)
    for each in wallets:
        await put(warehouse, "production.clob_fills", [_fill(each, n) for n in range(len(each["trades"]))])
    await put_markets(warehouse, folder, {trade["asset_id"] for each in wallets for trade in each["trades"]})
    await build(warehouse, config)
    books = await read_books(warehouse, [each["canonical_wallet"] for each in wallets])
    for each in wallets:
        _exported(part, folder, each, books[each["canonical_wallet"]])
    await _page(part, warehouse, config, folder)
    return part


def _fill(wallet: dict[str, Any], number: int) -> dict[str, object]:
    """A row as it is; its number keeps the order of the file within a second."""
    trade = wallet["trades"][number]
    return {
        "fill_id": f"export_{wallet['canonical_wallet']}_{number}", "token_id": trade["asset_id"],
        "maker": wallet["canonical_wallet"], "taker": OTHER, "side": trade["side"], "shares_micro": trade["size"],
        "usdc_micro": round(trade["cost"]), "price": f"{trade['cost'] / trade['size']:.9f}", "source": "real",
        "timestamp": second(trade["timestamp"]), "tx_hash": f"0x{number:064x}", "log_index": number,
    }  # fmt: skip


def _exported(part: Part, folder: Path, wallet: dict[str, Any], book: Book) -> None:
    trades = wallet["trades"]
    address, places = wallet["canonical_wallet"], known_tokens(folder)
    bought: dict[str, int] = defaultdict(int)
    for trade in trades:
        bought[trade["asset_id"]] += trade["size"] if trade["side"] == "BUY" else 0
    claims = tuple(
        _claim(address, token, places.get(token), int(made), bought[token])
        for token, made in publishers(trades).items()
    )
    expected = int(wallet["summary"]["realized_pnl"])
    reference = Reference("export", "realized_pnl", "avg_cost", expected, itemized=True)
    book = Book((address,), book.rows, book.strays, claims, True)
    found = explain(book.rows, book.strays, claims, reference)
    short = sum(row.leftover < 0 for row in book.rows) + sum(stray.net < 0 for stray in book.strays)
    copies = len(trades) - len({tuple(sorted(trade.items())) for trade in trades})
    remark = f"{len(trades)} fills, {copies} of them repeated; {short} tokens sold short; {len(book.strays)} unmapped"
    part.lines.append(Compared(address, EXPORT, "realized_pnl", expected, found.actual, dict(found.parts), remark))
    part.keep(book, reference, found)


def _claim(wallet: str, token: str, place: tuple[str, int] | None, made: int, bought: int) -> Claim:
    condition, outcome = place or (token, None)
    return Claim(wallet, token, condition, outcome, "CLOSED", made, made, bought)


async def _page(part: Part, warehouse: Warehouse, config: Config, folder: Path) -> None:
    """The page through the real import."""
    await emptied(warehouse)
    orders, most = page(folder)
    report = await import_fills(warehouse, config, [folder / PAGE])
    assert report.document()["inserted"] == len(orders), report.document()
    await put_markets(warehouse, folder, {order["token_id"] for order in orders})
    await build(warehouse, config)
    wallet = orders[0]["user"]
    book = (await read_books(warehouse, [wallet]))[wallet]
    both, own, others, all_here = overlap(folder)
    part.lines.append(
        Compared(
            wallet, PAGE, "profit as Dome told it in December 2025", micro(DOME_SAID), None,
            not_comparable=f"the page has {len(orders)} of its {most:,} orders",
            remark=f"{sum(row.sold > 0 for row in book.rows)} tokens sold on it, all of them bought before",
        )
    )  # fmt: skip
    part.facts.append(
        f"In the {both} of Dome's orders that fall into the time of the export, {own} are in it as they are; its other "
        f"{all_here - own} rows of that time are the counterparties': of {others} the shares add up to an order of the "
        "wallet in the same second, on the other side or in the other token."
    )


def overlap(folder: Path) -> tuple[int, int, int, int]:
    """Where page and export tell of the same days: orders, those that are in the export, rows of others, rows."""
    orders, _ = page(folder)
    wallet = next(each for each in export(folder) if each["canonical_wallet"] == orders[0]["user"])
    first = min(order["timestamp"] for order in orders)
    rows = [trade for trade in wallet["trades"] if second(trade["timestamp"]) >= first]
    last = max(second(trade["timestamp"]) for trade in rows)
    told = [order for order in orders if order["timestamp"] <= last]
    facts = {(order["token_id"], order["side"], order["shares"]) for order in told}
    rest = [trade for trade in rows if (trade["asset_id"], trade["side"], trade["size"]) not in facts]
    sums: dict[int, int] = defaultdict(int)
    for trade in rest:
        sums[second(trade["timestamp"])] += trade["size"]
    matched = [at for at, shares in sums.items() if (at, shares) in {(o["timestamp"], o["shares"]) for o in told}]
    counter = sum(second(trade["timestamp"]) in matched for trade in rest)
    return len(told), len(rows) - len(rest), counter, len(rows)
