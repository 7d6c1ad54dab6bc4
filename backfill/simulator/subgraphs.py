"""What each pretend subgraph holds: entities with their real field names, filled from a world."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from functools import cached_property

from .faults import Faults, Lie
from .fill_index import FillCollection, FillIndex
from .graphnode import AT, Collection, Row
from .model import Mapping
from .moves import RESOLVED_AFTER
from .subgraph_events import BOOK, VOLUMES, Events
from .world import World

Maker = Callable[["Rows"], list[Collection]]
_EVENT = {"id": "ID!", "timestamp": "BigInt!"}
DIVISION = Context(prec=34, rounding=ROUND_HALF_UP)
"""How graph-node divides: a quotient that does not end is cut to so many digits."""


class Rows:
    """Rows made from a world, each kind once and only when a subgraph that holds it is first asked.

    `end` (unix seconds) is when the subgraphs stopped: what came later is in no row.
    """

    def __init__(self, world: World, faults: Faults, end: int, index: FillIndex) -> None:
        self._world = world
        self._faults = faults
        self._end = end
        self.index = index
        self.events = Events(lambda: world.ledger, world.markets, end)
        """Rows of what happened on the chain."""

    @cached_property
    def tokens(self) -> list[Row]:
        """Token id, condition and outcome index as Goldsky answers them, lies included."""
        lies = self._faults.lied_about("goldsky")
        starts = {market.condition: market.start for market in self._world.markets}
        rows: list[Row] = []
        for place, token in enumerate(self._known):
            truth = self._world.truth[token]
            row = {
                "id": str(token),
                "condition": f"0x{truth.condition}",
                "outcomeIndex": str(truth.outcome_index),
                AT: starts.get(truth.condition, 0),
            }
            if token in lies:
                _distort(row, lies[token], self._far_from(place))
            rows.append(row)
        return rows

    def _far_from(self, place: int) -> Mapping:
        """The truth about a token of another market: sisters stand side by side, so half way round is none."""
        return self._world.truth[self._known[(place + len(self._known) // 2) % len(self._known)]]

    @cached_property
    def _known(self) -> list[int]:
        """Goldsky's tokens in an order that does not depend on how a set was built."""
        return [token for token in self._world.truth if token in self._world.goldsky_tokens]

    @cached_property
    def conditions(self) -> dict[str, Row]:
        """Every known condition, with its tokens by outcome index, its age, and its payout once resolved."""
        markets = {market.condition: market for market in self._world.markets}
        found: dict[str, Row] = {}
        for token in self._known:
            truth = self._world.truth[token]
            market = markets.get(truth.condition)
            entry = found.setdefault(
                truth.condition,
                {
                    "tokens": {},
                    AT: market.start if market else 0,
                    "numerators": market.at(self._end - RESOLVED_AFTER).numerators if market else None,
                },
            )
            entry["tokens"][truth.outcome_index] = str(token)
        return found

    def condition_ids(self) -> list[Row]:
        """Conditions with nothing but their ids."""
        return [{"id": f"0x{key}", AT: entry[AT]} for key, entry in self.conditions.items()]

    def market_data(self) -> list[Row]:
        """Token to condition; the outcome index is never set."""
        return [{**row, "outcomeIndex": None} for row in self.tokens]

    def complements(self) -> list[Row]:
        """Token to condition and outcome index, with the other token of the condition ("0" where it is not known)."""
        truth = self._world.truth
        rows = []
        for token, row in zip(self._known, self.tokens, strict=True):
            sisters = self.conditions[truth[token].condition]["tokens"]
            rows.append({**row, "complement": sisters.get(1 - truth[token].outcome_index, "0")})
        return rows

    def payouts(self) -> list[Row]:
        """Conditions with their payout, null until resolved.

        A lie's condition is here too: a dangling relation would fail the whole page instead of being a wrong answer.
        """
        rows = [{"id": f"0x{key}", "payouts": _payout(e), AT: e[AT]} for key, e in self.conditions.items()]
        false = {row["condition"] for row in self.tokens} - {row["id"] for row in rows}
        return rows + [{"id": condition, "payouts": None, AT: 0} for condition in sorted(false)]

    def vectors(self) -> list[Row]:
        """Conditions with their tokens in outcome order and the payout vector: empty over "0" until resolved."""
        return [
            {
                "id": f"0x{key}",
                "positionIds": [entry["tokens"][index] for index in sorted(entry["tokens"])],
                "payoutNumerators": [str(each) for each in entry["numerators"] or ()],
                "payoutDenominator": str(sum(entry["numerators"] or ())),
                AT: entry[AT],
            }
            for key, entry in self.conditions.items()
        ]

    def balances(self) -> list[Row]:
        """What wallets hold of known tokens."""
        return self.events.balances(self._known)

    def net_balances(self) -> list[Row]:
        """What wallets hold more of than of the other outcome."""
        return self.events.net_balances(self._known)


def _payout(entry: Row) -> list[str] | None:
    """What a share of each outcome pays: numerator by denominator, as a decimal; None until resolved."""
    numerators = entry["numerators"]
    if numerators is None:
        return None
    total = Decimal(sum(numerators))
    return [f"{DIVISION.divide(Decimal(numerator), total).normalize(DIVISION):f}" for numerator in numerators]


def _distort(row: Row, lie: Lie, other: Mapping) -> None:
    match lie:
        case "swapped":
            row["outcomeIndex"] = "1" if row["outcomeIndex"] == "0" else "0"
        case "other_condition":
            row["condition"] = f"0x{other.condition}"
        case "condition_not_hex":
            row["condition"] = "0x" + "z" * 64
        case _:
            row["outcomeIndex"] = "7"


def _none() -> list[Row]:
    """No rows: an entity of the old automated market makers, which no world has."""
    return []


def activity(rows: Rows) -> list[Collection]:
    """activity-subgraph: positions and conditions, splits, merges, redemptions and conversions."""
    moved = {**_EVENT, "stakeholder": "String!", "condition": "String!", "amount": "BigInt!"}
    redeemed = {**_EVENT, "redeemer": "String!", "condition": "String!", "indexSets": "[BigInt!]!", "payout": "BigInt!"}
    converted = {**_EVENT, "stakeholder": "String!", "negRiskMarketId": "String!", "amount": "BigInt!"}
    converted |= {"indexSet": "BigInt!", "questionCount": "Int!"}
    position = {"id": "ID!", "condition": "String!", "outcomeIndex": "BigInt!"}
    return [
        Collection("Position", "positions", position, lambda: rows.tokens),
        Collection("Condition", "conditions", {"id": "ID!"}, rows.condition_ids),
        Collection("Split", "splits", moved, lambda: rows.events.splits(merge=False)),
        Collection("Merge", "merges", moved, lambda: rows.events.splits(merge=True)),
        Collection("Redemption", "redemptions", redeemed, rows.events.redemptions),
        Collection("NegRiskConversion", "negRiskConversions", converted, rows.events.conversions),
        _neg_risk_events(rows),
        Collection("FixedProductMarketMaker", "fixedProductMarketMakers", {"id": "ID!"}, _none),
    ]


def _neg_risk_events(rows: Rows) -> Collection:
    fields = {"id": "ID!", "questionCount": "Int!"}
    return Collection("NegRiskEvent", "negRiskEvents", fields, rows.events.neg_risk_events)


def positions(rows: Rows) -> list[Collection]:
    """positions-subgraph: token to condition with the payout beside it, and balances."""
    conditions = Collection("Condition", "conditions", {"id": "ID!", "payouts": "[BigDecimal!]"}, rows.payouts)
    token = {"id": "ID!", "condition": "Condition!", "complement": "String!", "outcomeIndex": "BigInt!"}
    tokens = Collection("TokenIdCondition", "tokenIdConditions", token, rows.complements, {"condition": conditions})
    balance = {"id": "ID!", "user": "String!", "asset": "TokenIdCondition!", "balance": "BigInt!"}
    return [
        conditions,
        tokens,
        Collection("UserBalance", "userBalances", balance, rows.balances, {"asset": tokens}),
        Collection("NetUserBalance", "netUserBalances", balance, rows.net_balances, {"asset": tokens}),
    ]


def orderbook(rows: Rows) -> list[Collection]:
    """orderbook-subgraph: token to condition without an outcome index, the fills, matches, and totals by token."""
    amounts = dict.fromkeys(("makerAmountFilled", "takerAmountFilled"), "BigInt!")
    event = {"id": "ID!", "transactionHash": "Bytes!", "orderHash": "Bytes!", "timestamp": "BigInt!"}
    event |= dict.fromkeys(("maker", "taker", "makerAssetId", "takerAssetId"), "String!")
    event |= {**amounts, "fee": "BigInt!"}
    matched = {**_EVENT, "makerAssetID": "BigInt!", "takerAssetID": "BigInt!", **amounts}
    market = {"id": "ID!", "condition": "String!", "outcomeIndex": "BigInt"}
    book = {"id": "ID!", **dict.fromkeys((*BOOK, *VOLUMES), "BigInt!")}
    book |= {f"scaled{name[0].upper()}{name[1:]}": "BigDecimal!" for name in VOLUMES}
    return [
        Collection("MarketData", "marketDatas", market, rows.market_data),
        FillCollection("OrderFilledEvent", "orderFilledEvents", event, _none, index=rows.index),
        Collection("OrdersMatchedEvent", "ordersMatchedEvents", matched, rows.events.matches),
        Collection("Orderbook", "orderbooks", book, rows.events.books),
    ]


def pnl(rows: Rows) -> list[Collection]:
    """pnl-subgraph: conditions with both token ids and the payout vector, and what wallets hold at what cost."""
    condition = {"id": "ID!", **dict.fromkeys(("positionIds", "payoutNumerators"), "[BigInt!]!")}
    condition["payoutDenominator"] = "BigInt!"
    held = {"id": "ID!", "user": "String!"}
    held |= dict.fromkeys(("tokenId", "amount", "avgPrice", "realizedPnl", "totalBought"), "BigInt!")
    return [
        Collection("Condition", "conditions", condition, rows.vectors),
        Collection("UserPosition", "userPositions", held, rows.events.user_positions),
        _neg_risk_events(rows),
    ]


def wallet(rows: Rows) -> list[Collection]:
    """wallet-subgraph: proxy and safe wallets."""
    fields = {"id": "ID!", "signer": "String!", "type": "String!"}
    fields |= dict.fromkeys(("balance", "lastTransfer", "createdAt"), "BigInt!")
    return [Collection("Wallet", "wallets", fields, rows.events.wallets)]


SUBGRAPHS: dict[str, Maker] = {
    "activity-subgraph/0.0.4": activity,
    "positions-subgraph/0.0.7": positions,
    "orderbook-subgraph/0.0.1": orderbook,
    "orderbook-subgraph/prod": orderbook,
    "pnl-subgraph/0.0.14": pnl,
    "wallet-subgraph/0.0.4": wallet,
}
"""Name and version (or tag) to what it holds; any other name is unknown to the server."""
