"""What the subgraphs make of the ledger: activity, totals of books, cost basis, balances, wallets. V1 only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

from .cost_basis import positions
from .generate import CUTOVER, FIRST_START
from .graphnode import Row
from .ledger import At, Ledger, Order
from .model import Market
from .orders import by_transaction
from .transfers import ADAPTER, FEE_RECEIVER, ZERO

MICRO_DIGITS = 6
BOOK = ("tradesQuantity", "buysQuantity", "sellsQuantity")
VOLUMES = ("collateralVolume", "collateralBuyVolume", "collateralSellVolume")


class Events:
    """Rows of everything before `end` (unix seconds)."""

    def __init__(self, tell: Callable[[], Ledger], markets: Sequence[Market], end: int) -> None:
        self._tell, self._markets, self._end = tell, markets, end

    @cached_property
    def _ledger(self) -> Ledger:
        return self._tell()

    @cached_property
    def _orders(self) -> list[Order]:
        return [order for order in self._ledger.orders if order.version == 1 and order.at.timestamp < self._end]

    def splits(self, *, merge: bool) -> list[Row]:
        """Splits, or merges."""
        return [
            {**_event(split.at), "stakeholder": split.stakeholder, "condition": f"0x{split.condition}",
             "amount": str(split.amount)}
            for split in self._ledger.splits
            if split.merge == merge and split.at.timestamp < self._end
        ]  # fmt: skip

    def redemptions(self) -> list[Row]:
        """Redemptions, with what was paid out; what was burned is not told."""
        return [
            {**_event(each.at), "redeemer": each.redeemer, "condition": f"0x{each.condition}",
             "indexSets": [str(index) for index in each.index_sets], "payout": str(each.payout)}
            for each in self._ledger.redemptions
            if each.at.timestamp < self._end
        ]  # fmt: skip

    def conversions(self) -> list[Row]:
        """Conversions of NO into YES shares."""
        return [
            {**_event(each.at), "stakeholder": each.stakeholder, "negRiskMarketId": each.market_id,
             "amount": str(each.amount), "indexSet": str(each.index_set), "questionCount": each.question_count}
            for each in self._ledger.conversions
            if each.at.timestamp < self._end
        ]  # fmt: skip

    def neg_risk_events(self) -> list[Row]:
        """Neg-risk markets with the number of their questions."""
        counts: dict[str, int] = defaultdict(int)
        for market in self._markets:
            if market.neg_risk_market is not None and market.start < self._end:
                counts[market.neg_risk_market] += 1
        return [{"id": number, "questionCount": count} for number, count in counts.items()]

    def matches(self) -> list[Row]:
        """The taker's side of each transaction; of several in one, a subgraph keeps the last."""
        rows: dict[str, Row] = {}
        for _, own in by_transaction(self._orders):
            if own is not None:
                buys = own.side == "BUY"
                assets, amounts = (0, own.token), (own.usdc, own.shares)
                gives, gets = (0, 1) if buys else (1, 0)
                rows[own.at.tx_hash] = {
                    "id": own.at.tx_hash,
                    "timestamp": str(own.at.timestamp),
                    "makerAssetID": str(assets[gives]),
                    "takerAssetID": str(assets[gets]),
                    "makerAmountFilled": str(amounts[gives]),
                    "takerAmountFilled": str(amounts[gets]),
                }
        return list(rows.values())

    def books(self) -> list[Row]:
        """Totals by token. Every fill counts, the taker's own too, and the ones whose row was written over."""
        totals: dict[int, list[int]] = defaultdict(lambda: [0] * 6)
        for order in self._orders:
            total, side = totals[order.token], 1 if order.side == "BUY" else 2
            for place in (0, side):
                total[place] += 1
                total[place + 3] += order.usdc
        return [_book(token, total) for token, total in totals.items()]

    def user_positions(self) -> list[Row]:
        """Average cost and realized profit by wallet and token."""
        return [
            {
                "id": f"{wallet}-{token}",
                "user": wallet,
                "tokenId": str(token),
                "amount": str(held.amount),
                "avgPrice": str(held.average),
                "realizedPnl": str(held.realized),
                "totalBought": str(held.bought),
            }
            for (wallet, token), held in positions(self._ledger, self._markets, self._end).items()
        ]

    @cached_property
    def _balances(self) -> dict[tuple[str, int], int]:
        """Shares by wallet and token, as the transfers left them."""
        found: dict[tuple[str, int], int] = defaultdict(int)
        for move in self._ledger.transfers:
            if move.at.timestamp < self._end:
                for token, amount in zip(move.tokens, move.amounts, strict=True):
                    found[move.sender, token] -= amount
                    found[move.receiver, token] += amount
        return found

    def balances(self, known: Iterable[int]) -> list[Row]:
        """What wallets hold of known tokens; contracts in between are left out."""
        tokens, nobody = frozenset(known), {ZERO, ADAPTER, FEE_RECEIVER, *(order.exchange for order in self._orders)}
        return [
            _balance(wallet, token, amount)
            for (wallet, token), amount in self._balances.items()
            if amount > 0 and token in tokens and wallet not in nobody
        ]

    def net_balances(self, known: Iterable[int]) -> list[Row]:
        """The same, less what is held of the other outcome too."""
        sister = {t: m.tokens[1 - i] for m in self._markets for i, t in enumerate(m.tokens)}
        rows = []
        for row in self.balances(known):
            wallet, token, amount = row["user"], int(row["asset"]), int(row["balance"])
            net = amount - max(0, min(amount, self._balances.get((wallet, sister.get(token, 0)), 0)))
            if net:
                rows.append(_balance(wallet, token, net))
        return rows

    def wallets(self) -> list[Row]:
        """Proxies and safes with their owners; an account that is its own owner is none of them."""
        rows = []
        for pair in self._ledger.wallets:
            created = FIRST_START + int(pair.wallet[2:10], 16) % (CUTOVER - FIRST_START)
            if pair.kind != "eoa":
                rows.append(
                    {"id": pair.wallet, "signer": pair.owner, "type": pair.kind, "balance": "0",
                     "lastTransfer": str(created), "createdAt": str(created)}
                )  # fmt: skip
        return rows


def _event(at: At) -> Row:
    """Id and time of an activity: the id ends in the log index, in hex digits."""
    return {"id": f"{at.tx_hash}_{at.log_index:#x}", "timestamp": str(at.timestamp)}


def _book(token: int, total: Sequence[int]) -> Row:
    row: Row = {"id": str(token), **dict(zip((*BOOK, *VOLUMES), map(str, total), strict=True))}
    for name, amount in zip(VOLUMES, total[3:], strict=True):
        row[f"scaled{name[0].upper()}{name[1:]}"] = _scaled(amount)
    return row


def _scaled(amount: int) -> str:
    """Micro-units as a decimal without trailing zeros."""
    text = f"{amount:0{MICRO_DIGITS + 1}d}"
    return f"{text[:-MICRO_DIGITS]}.{text[-MICRO_DIGITS:]}".rstrip("0").rstrip(".")


def _balance(wallet: str, token: int, amount: int) -> Row:
    return {"id": f"{wallet}-{token}", "user": wallet, "asset": str(token), "balance": str(amount)}
