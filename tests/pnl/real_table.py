"""A recorded profit of a real wallet beside ours, and what both of the comparisons below need.

Amounts are micro-dollars and micro-shares, whole numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

from backfill.config import Config
from backfill.log import configure
from backfill.stages.pnl_book import Book
from backfill.stages.pnl_causes import Explanation, Reference
from backfill.stages.pnl_rows import MICRO
from backfill.stages.rebuild import rebuild
from backfill.stages.reconcile_pnl import Pair
from backfill.warehouse.client import Warehouse
from tests.stages.planted import put

TOLERANCE = 0.01
FACTS = (
    "clob_fills", "ctf_activity", "market_resolutions_final", "ctf_token_map", "markets", "wallet_positions_api",
    "outcome_positions_v2", "trade_cashflows_v3", "wallet_token_pnl", "wallet_unrealized_pnl_v2",
)  # fmt: skip
PRICES = {"0": 0, "1": 2, "0.5": 1}
"""What a final price is as a numerator over two; others are not final."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One recorded figure. `ours` is None where nothing of ours is like it; `not_comparable` says why it is no test."""

    wallet: str
    data: str
    figure: str
    recorded: int | None
    ours: int | None
    causes: Mapping[str, int] = field(default_factory=dict)
    remark: str = ""
    not_comparable: str = ""

    @property
    def difference(self) -> int | None:
        """Ours less theirs."""
        return None if self.recorded is None or self.ours is None else self.ours - self.recorded

    @property
    def verdict(self) -> str:
        """Whether both agree, differ for reasons, or cannot be held against each other."""
        if self.not_comparable:
            return "cannot be compared"
        return "agrees" if set(self.causes) <= {"rounding"} else "explained"


@dataclass(slots=True)
class Part:
    """What one comparison found: lines for the table, and pairs that can be computed again without the recordings."""

    lines: list[Compared] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    books: dict[str, Book] = field(default_factory=dict)
    facts: list[str] = field(default_factory=list)

    def add(self, other: Part) -> None:
        """Take another part's findings in."""
        self.lines += other.lines
        self.pairs += other.pairs
        self.books |= other.books
        self.facts += other.facts

    def keep(self, book: Book, reference: Reference, found: Explanation) -> None:
        """Remember a pair for the regression set."""
        wallet = book.wallets[0]
        self.books[wallet] = book
        self.pairs.append(Pair(wallet, reference, found, TOLERANCE))


def markdown(lines: Sequence[Compared]) -> list[str]:
    """The table as it stands in docs/real-wallets.md."""
    told = ["| wallet | recorded, and where | recorded | ours | difference | by cause | verdict | |"]
    told.append("|---|---|--:|--:|--:|---|---|---|")
    for each in lines:
        causes = "; ".join(f"{cause} {money(amount)}" for cause, amount in each.causes.items() if amount)
        about = each.not_comparable and f"because {each.not_comparable}"
        cells = (
            each.wallet, f"{each.figure}, {each.data}", money(each.recorded), money(each.ours), money(each.difference),
            causes, each.verdict, "; ".join(filter(None, (about, each.remark))),
        )  # fmt: skip
        told.append(f"| {' | '.join(cells)} |")
    return told


def money(amount: int | None) -> str:
    """Dollars to the micro-dollar, nothing for nothing."""
    return "–" if amount is None else f"{Decimal(amount) / MICRO:,.6f}"


def units(value: Any) -> int:
    """A recorded float or text as millionths, rounded: these recordings were integers of millionths once."""
    return round(Decimal(str(value)) * MICRO)


async def emptied(warehouse: Warehouse) -> None:
    """The facts and profits of an earlier comparison leave."""
    for table in FACTS:
        await warehouse.execute(f"TRUNCATE TABLE polymarket.{table}")


async def build(warehouse: Warehouse, config: Config) -> None:
    """The derived tables, by the real rebuild."""
    log = configure(config.run.log_file, secrets=(), run_id="real", stderr="quiet")
    told = await rebuild(warehouse, config, log)
    assert told.nothing is None, told.nothing


@cache
def known_tokens(folder: Path) -> Mapping[str, tuple[str, int]]:
    """Token id → (condition, outcome), of both listings and of the subgraph."""
    import pyarrow.parquet as parquet

    found: dict[str, tuple[str, int]] = {}
    rows = parquet.read_table(folder / "subgraph_token_conditions.parquet")
    for row in rows.to_pylist():
        found[row["token_id"]] = (row["condition"].lower().removeprefix("0x"), int(row["outcome_index"]))
    for name in ("gamma_markets.parquet", "gamma_open_markets_2026-03-11.parquet"):
        for row in parquet.read_table(folder / name, columns=["condition_id", "clob_token_ids"]).to_pylist():
            for outcome, token in enumerate(json.loads(row["clob_token_ids"] or "[]")):
                found[token] = (row["condition_id"].lower().removeprefix("0x"), outcome)
    return found


@cache
def known_payouts(folder: Path) -> Mapping[str, tuple[int, ...]]:
    """Condition → numerators over two, where the listing's prices are final."""
    import pyarrow.parquet as parquet

    columns = ["condition_id", "outcome_prices", "closed"]
    found: dict[str, tuple[int, ...]] = {}
    for row in parquet.read_table(folder / "gamma_markets.parquet", columns=columns).to_pylist():
        prices = json.loads(row["outcome_prices"] or "[]")
        paid = tuple(PRICES.get(str(price), -1) for price in prices)
        if row["closed"] and sum(paid) == 2 and min(paid) >= 0:
            found[row["condition_id"].lower().removeprefix("0x")] = paid
    return found


async def put_markets(warehouse: Warehouse, folder: Path, tokens: Iterable[str]) -> int:
    """Map and payouts of these tokens, as far as the listings know them; how many are mapped."""
    places = {token: known_tokens(folder)[token] for token in tokens if token in known_tokens(folder)}
    mapped: list[dict[str, object]] = [
        {"token_id": token, "condition_id_norm": condition, "outcome_index": outcome, "source": "real", "proven": 1}
        for token, (condition, outcome) in places.items()
    ]
    await put(warehouse, "production.ctf_token_map", mapped)
    ended = {condition for condition, _ in places.values()} & known_payouts(folder).keys()
    payouts: list[dict[str, object]] = [
        {"condition_id_norm": condition, "payout_numerators": known_payouts(folder)[condition],
         "payout_denominator": 2, "source": "real"}
        for condition in sorted(ended)
    ]  # fmt: skip
    await put(warehouse, "production.market_resolutions_final", payouts)
    return len(mapped)
