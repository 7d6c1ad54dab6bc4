"""Ledger events as the logs that the contracts emit: addresses, topics, and words of 32 bytes.

This is the simulator's own encoder. It must not share code with the product's decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .ids import USDC, WRAPPED, keccak
from .ledger import Conversion, Order, Redemption, Resolution, Split, Transfer

CTF = "0x4d97dcd97ec945f40cf65f87097ace5ea0476045"
ADAPTER = "0xd91e80cf2e7be2e162c6513ced06f1dd0da35296"
EXCHANGES = {
    "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e": 1,
    "0xc5d563a36ae78145c45a50134d48a1215220f80a": 1,
    "0xe111180000d2663c0091e4f400237545b87b996b": 2,
    "0xe2222d279d744050d28e00520010520000310f59": 2,
}
"""The four exchanges, and which layout of events each has."""

_USDC, _WRAPPED = f"0x{USDC.hex()}", f"0x{WRAPPED.hex()}"
_ZERO = "0" * 64


class Body(NamedTuple):
    """What a contract says in one log: topics and data, as 0x-hex."""

    topics: tuple[str, ...]
    data: str


class Kind(NamedTuple):
    """A log that one contract emits: where, under which first topic, and how an event becomes its body."""

    address: str
    topic: str
    encode: Callable[[Any], Body]


def topic_of(signature: str) -> str:
    """First topic of an event."""
    return f"0x{keccak(signature.encode()).hex()}"


def _word(number: int) -> str:
    return f"{number:064x}"


def _address(text: str) -> str:
    return f"0x{text[2:]:0>64}"


def _list(numbers: Sequence[int]) -> str:
    return _word(len(numbers)) + "".join(map(_word, numbers))


FILLED_V1 = topic_of("OrderFilled(bytes32,address,address,uint256,uint256,uint256,uint256,uint256)")
FILLED_V2 = topic_of("OrderFilled(bytes32,address,address,uint8,uint256,uint256,uint256,uint256,bytes32,bytes32)")
MATCHED_V1 = topic_of("OrdersMatched(bytes32,address,uint256,uint256,uint256,uint256)")
MATCHED_V2 = topic_of("OrdersMatched(bytes32,address,uint8,uint256,uint256,uint256)")
SINGLE = topic_of("TransferSingle(address,address,address,uint256,uint256)")
BATCH = topic_of("TransferBatch(address,address,address,uint256[],uint256[])")
PREPARED = topic_of("ConditionPreparation(bytes32,address,bytes32,uint256)")
RESOLVED = topic_of("ConditionResolution(bytes32,address,bytes32,uint256,uint256[])")
SPLIT = topic_of("PositionSplit(address,address,bytes32,bytes32,uint256[],uint256)")
MERGED = topic_of("PositionsMerge(address,address,bytes32,bytes32,uint256[],uint256)")
REDEEMED = topic_of("PayoutRedemption(address,address,bytes32,bytes32,uint256[],uint256)")
ADAPTER_SPLIT = topic_of("PositionSplit(address,bytes32,uint256)")
ADAPTER_MERGED = topic_of("PositionsMerge(address,bytes32,uint256)")
ADAPTER_REDEEMED = topic_of("PayoutRedemption(address,bytes32,uint256[],uint256)")
CONVERTED = topic_of("PositionsConverted(address,bytes32,uint256,uint256)")


def _gives(order: Order) -> tuple[int, int]:
    """What the owner of the order gave, and what it got."""
    return (order.usdc, order.shares) if order.side == "BUY" else (order.shares, order.usdc)


def _terms_v1(order: Order) -> str:
    """Assets and amounts: the collateral is asset 0."""
    assets = (0, order.token) if order.side == "BUY" else (order.token, 0)
    return "".join(map(_word, (*assets, *_gives(order))))


def _terms_v2(order: Order) -> str:
    return "".join(map(_word, (0 if order.side == "BUY" else 1, order.token, *_gives(order))))


def _filled_v1(order: Order) -> Body:
    topics = (FILLED_V1, order.order_hash, _address(order.maker), _address(order.taker))
    return Body(topics, f"0x{_terms_v1(order)}{order.fee:064x}")


def _filled_v2(order: Order) -> Body:
    """Builder and metadata are zero, as on nearly all orders."""
    topics = (FILLED_V2, order.order_hash, _address(order.maker), _address(order.taker))
    return Body(topics, f"0x{_terms_v2(order)}{order.fee:064x}{_ZERO}{_ZERO}")


def _matched_v1(order: Order) -> Body:
    return Body((MATCHED_V1, order.order_hash, _address(order.maker)), f"0x{_terms_v1(order)}")


def _matched_v2(order: Order) -> Body:
    return Body((MATCHED_V2, order.order_hash, _address(order.maker)), f"0x{_terms_v2(order)}")


def _single(transfer: Transfer) -> Body:
    topics = (SINGLE, _address(transfer.operator), _address(transfer.sender), _address(transfer.receiver))
    return Body(topics, f"0x{_word(transfer.tokens[0])}{_word(transfer.amounts[0])}")


def _batch(transfer: Transfer) -> Body:
    topics = (BATCH, _address(transfer.operator), _address(transfer.sender), _address(transfer.receiver))
    second = 64 + 32 * (1 + len(transfer.tokens))
    return Body(topics, f"0x{_word(64)}{_word(second)}{_list(transfer.tokens)}{_list(transfer.amounts)}")


def _prepared(resolution: Resolution) -> Body:
    topics = (PREPARED, f"0x{resolution.condition}", _address(resolution.oracle), resolution.question_id)
    return Body(topics, f"0x{_word(len(resolution.numerators))}")


def _resolved(resolution: Resolution) -> Body:
    topics = (RESOLVED, f"0x{resolution.condition}", _address(resolution.oracle), resolution.question_id)
    return Body(topics, f"0x{_word(len(resolution.numerators))}{_word(64)}{_list(resolution.numerators)}")


def _position(actor: str | None, collateral: str) -> Callable[[Split], Body]:
    """A split or merge as the CTF tells it; `actor` stands in for the wallet where a contract came between."""

    def encode(split: Split) -> Body:
        topic = MERGED if split.merge else SPLIT
        topics = (topic, _address(actor or split.stakeholder), f"0x{_ZERO}", f"0x{split.condition}")
        return Body(topics, f"{_address(collateral)}{_word(96)}{_word(split.amount)}{_list((1, 2))}")

    return encode


def _redemption(actor: str | None, collateral: str) -> Callable[[Redemption], Body]:
    def encode(redemption: Redemption) -> Body:
        topics = (REDEEMED, _address(actor or redemption.redeemer), _address(collateral), f"0x{_ZERO}")
        data = f"0x{redemption.condition}{_word(96)}{_word(redemption.payout)}{_list(redemption.index_sets)}"
        return Body(topics, data)

    return encode


def _adapter_position(split: Split) -> Body:
    topic = ADAPTER_MERGED if split.merge else ADAPTER_SPLIT
    return Body((topic, _address(split.stakeholder), f"0x{split.condition}"), f"0x{_word(split.amount)}")


def _adapter_redemption(redemption: Redemption) -> Body:
    topics = (ADAPTER_REDEEMED, _address(redemption.redeemer), f"0x{redemption.condition}")
    return Body(topics, f"0x{_word(64)}{_word(redemption.payout)}{_list(redemption.amounts)}")


def _converted(conversion: Conversion) -> Body:
    topics = (CONVERTED, _address(conversion.stakeholder), conversion.market_id, f"0x{_word(conversion.index_set)}")
    return Body(topics, f"0x{_word(conversion.amount)}")


FILLS = {
    exchange: Kind(exchange, *((FILLED_V1, _filled_v1) if version == 1 else (FILLED_V2, _filled_v2)))
    for exchange, version in EXCHANGES.items()
}
MATCHES = {
    exchange: Kind(exchange, *((MATCHED_V1, _matched_v1) if version == 1 else (MATCHED_V2, _matched_v2)))
    for exchange, version in EXCHANGES.items()
}
TRANSFERS = {False: Kind(CTF, SINGLE, _single), True: Kind(CTF, BATCH, _batch)}
PREPARATION, RESOLUTION = Kind(CTF, PREPARED, _prepared), Kind(CTF, RESOLVED, _resolved)
POSITIONS = {merge: Kind(CTF, MERGED if merge else SPLIT, _position(None, _USDC)) for merge in (False, True)}
INNER_POSITIONS = {
    merge: Kind(CTF, MERGED if merge else SPLIT, _position(ADAPTER, _WRAPPED)) for merge in (False, True)
}
ADAPTER_POSITIONS = {
    merge: Kind(ADAPTER, ADAPTER_MERGED if merge else ADAPTER_SPLIT, _adapter_position) for merge in (False, True)
}
REDEMPTION, INNER_REDEMPTION = (
    Kind(CTF, REDEEMED, _redemption(None, _USDC)),
    Kind(CTF, REDEEMED, _redemption(ADAPTER, _WRAPPED)),
)
ADAPTER_REDEMPTION = Kind(ADAPTER, ADAPTER_REDEEMED, _adapter_redemption)
CONVERSION = Kind(ADAPTER, CONVERTED, _converted)
