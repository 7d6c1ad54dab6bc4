"""ERC-1155 movements that trades and moves cause: shares come from the zero address, and go there in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Mapping as ReadOnly
from functools import cached_property
from typing import Any, NamedTuple, overload

from .calm import calm
from .ids import NEG_RISK_ORACLE
from .ledger import At, Conversion, Order, Redemption, Split, Transfer
from .model import Market
from .moves import SLOTS, Moves
from .orders import SLOTS as ORDER_SLOTS
from .orders import by_transaction, share_fee

ZERO = f"0x{'0' * 40}"
ADAPTER = f"0x{NEG_RISK_ORACLE.hex()}"
FEE_RECEIVER = "0xe3f18acc55091e2c48d883fc8c8413319d4ab7b0"


class Move(NamedTuple):
    """Shares from one address to another, at the behest of an operator."""

    operator: str
    sender: str
    receiver: str
    tokens: tuple[int, ...]
    amounts: tuple[int, ...]


class Transfers(Sequence[Transfer]):
    """All movements in chain order, made when first looked at: most upstreams never ask."""

    def __init__(self, make: Callable[[], list[Transfer]]) -> None:
        self._make = make

    @cached_property
    def _all(self) -> list[Transfer]:
        with calm():
            return self._make()

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Transfer]:
        return iter(self._all)

    @overload
    def __getitem__(self, place: int) -> Transfer: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Transfer]: ...
    def __getitem__(self, place: int | slice) -> Transfer | Sequence[Transfer]:
        return self._all[place]


def make_transfers(markets: Iterable[Market], orders: Iterable[Order], moves: Moves) -> list[Transfer]:
    """Every movement of the ledger, in chain order."""
    market_of = {market.condition: market for market in markets}
    groups: dict[str, dict[int, Market]] = {}
    for market in market_of.values():
        if market.neg_risk_market is not None:
            number = int((market.question_id or "00")[-2:], 16)
            groups.setdefault(market.neg_risk_market, {})[number] = market
    found = list(moves.gifts)
    for legs, own in by_transaction(orders):
        found.extend(_of_match(legs, own))
    for split in moves.splits:
        found.extend(_before(split.at, SLOTS, _of_split(split, market_of[split.condition])))
    for redemption in moves.redemptions:
        found.extend(_before(redemption.at, SLOTS, _of_redemption(redemption, market_of[redemption.condition])))
    for conversion in moves.conversions:
        found.extend(_before(conversion.at, SLOTS, _of_conversion(conversion, groups[conversion.market_id])))
    found.sort(key=lambda transfer: transfer.at[:2])
    return found


def _before(at: At, slots: int, moved: Iterable[Move]) -> Iterator[Transfer]:
    """The movements that an event caused, in the log indexes that were kept free before it."""
    for number, move in enumerate(moved):
        place = At(at.block, at.log_index - slots + 1 + number, at.tx_hash, at.timestamp)
        yield Transfer(place, *move, batch=len(move.tokens) > 1)


def _of_match(legs: Sequence[Order], own: Order | None) -> Iterator[Transfer]:
    """Sellers give to the exchange and buyers get from it; between them a mint or a merge may be needed."""
    exchange = (own or legs[0]).exchange
    minted = own is not None and bool(legs) and legs[0].token != own.token
    for number, order in enumerate(legs):
        moved: list[Move] = []
        if own is None:
            moved += _exchange(order._replace(maker=order.taker, side=_other(order.side), fee=0), exchange)
        elif number == 0 and own.side == "SELL":
            moved += _exchange(own, exchange)
        if minted and own is not None and own.side == "BUY":
            moved.append(Move(exchange, ZERO, exchange, (own.token, order.token), (order.shares, order.shares)))
        moved += _exchange(order, exchange)
        moved.sort(key=lambda move: move.receiver != exchange)  # the exchange has to have what it gives
        yield from _before(order.at, ORDER_SLOTS, moved)
    if own is not None:
        last = _exchange(own, exchange) if own.side == "BUY" or not legs else []
        if minted and own.side == "SELL":
            pair = (own.token, legs[0].token)
            last.append(Move(exchange, exchange, ZERO, pair, (own.shares, own.shares)))
        yield from _before(own.at, ORDER_SLOTS, last)


def _other(side: str) -> Any:
    return "SELL" if side == "BUY" else "BUY"


def _exchange(order: Order, exchange: str) -> list[Move]:
    """What an order's owner gives to the exchange or gets from it, less the fee in shares."""
    token = (order.token,)
    if order.side == "SELL":
        return [Move(exchange, order.maker, exchange, token, (order.shares,))]
    fee = share_fee(order)
    got = [Move(exchange, exchange, order.maker, token, (order.shares - fee,))]
    return [*got, Move(exchange, exchange, FEE_RECEIVER, token, (fee,))] if fee else got


def _of_split(split: Split, market: Market) -> list[Move]:
    both, amounts = market.tokens, (split.amount, split.amount)
    return _by_adapter(market, split.stakeholder, both, amounts, back=split.merge)


def _by_adapter(
    market: Market, wallet: str, tokens: tuple[int, ...], amounts: tuple[int, ...], *, back: bool
) -> list[Move]:
    """Minted for a wallet, or (`back`) burned; for a neg-risk market by way of the adapter."""
    if not market.neg_risk:
        return [Move(wallet, wallet, ZERO, tokens, amounts) if back else Move(wallet, ZERO, wallet, tokens, amounts)]
    if back:
        return [Move(ADAPTER, wallet, ADAPTER, tokens, amounts), Move(ADAPTER, ADAPTER, ZERO, tokens, amounts)]
    return [Move(ADAPTER, ZERO, ADAPTER, tokens, amounts), Move(ADAPTER, ADAPTER, wallet, tokens, amounts)]


def _of_redemption(redemption: Redemption, market: Market) -> Iterator[Move]:
    """Every outcome that was named is burned on its own."""
    for token, amount in zip(market.tokens, redemption.amounts, strict=True):
        if amount:
            yield from _by_adapter(market, redemption.redeemer, (token,), (amount,), back=True)


def _of_conversion(conversion: Conversion, questions: ReadOnly[int, Market]) -> Iterator[Move]:
    """NO shares of the chosen questions go, YES shares of the others come."""
    chosen = [market for number, market in questions.items() if conversion.index_set >> number & 1]
    others = [market for number, market in questions.items() if not conversion.index_set >> number & 1]
    gone, come = tuple(m.tokens[1] for m in chosen), tuple(m.tokens[0] for m in others)
    for tokens, back in ((gone, True), (come, False)):
        amounts = (conversion.amount,) * len(tokens)
        if tokens:
            yield from _by_adapter(chosen[0], conversion.stakeholder, tokens, amounts, back=back)
