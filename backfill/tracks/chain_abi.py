"""Logs of Polymarket's contracts on Polygon, decoded. Pure.

Topics are computed from the events' signatures when this is imported, because wrong ones are in circulation, and a
wrong topic brings no rows and looks like no activity. A log that is not what it should be raises ValueError with the
reason. Addresses and hashes come out in lower case with 0x, condition ids as 64 digits without; amounts are
micro-units.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from backfill.ids import keccak256

Log = Mapping[str, Any]

SIGNATURES: Final = {
    "order_filled_v1": "OrderFilled(bytes32,address,address,uint256,uint256,uint256,uint256,uint256)",
    "order_filled_v2": "OrderFilled(bytes32,address,address,uint8,uint256,uint256,uint256,uint256,bytes32,bytes32)",
    "orders_matched_v1": "OrdersMatched(bytes32,address,uint256,uint256,uint256,uint256)",
    "orders_matched_v2": "OrdersMatched(bytes32,address,uint8,uint256,uint256,uint256)",
    "transfer_single": "TransferSingle(address,address,address,uint256,uint256)",
    "transfer_batch": "TransferBatch(address,address,address,uint256[],uint256[])",
    "condition_preparation": "ConditionPreparation(bytes32,address,bytes32,uint256)",
    "condition_resolution": "ConditionResolution(bytes32,address,bytes32,uint256,uint256[])",
    "split": "PositionSplit(address,address,bytes32,bytes32,uint256[],uint256)",
    "merge": "PositionsMerge(address,address,bytes32,bytes32,uint256[],uint256)",
    "redemption": "PayoutRedemption(address,address,bytes32,bytes32,uint256[],uint256)",
    "adapter_split": "PositionSplit(address,bytes32,uint256)",
    "adapter_merge": "PositionsMerge(address,bytes32,uint256)",
    "adapter_redemption": "PayoutRedemption(address,bytes32,uint256[],uint256)",
    "adapter_conversion": "PositionsConverted(address,bytes32,uint256,uint256)",
}
"""Events by our name for them."""

TOPICS: Final = {name: f"0x{keccak256(text.encode()).hex()}" for name, text in SIGNATURES.items()}
"""Their first topics."""

KNOWN_TOPICS: Final = {
    "order_filled_v1": "0xd0a08e8c493f9c94f29311604c9de1b4e8c8d4c06bd0c789af57f2d65bfec0f6",
    "order_filled_v2": "0xd543adfd945773f1a62f74f0ee55a5e3b9b1a28262980ba90b1a89f2ea84d8ee",
    "orders_matched_v1": "0x63bf4d16b7fa898ef4c4b2b6d90fd201e9c56313b65638af6088d149d2ce956c",
    "orders_matched_v2": "0x174b3811690657c217184f89418266767c87e4805d09680c39fc9c031c0cab7c",
    "transfer_single": "0xc3d58168c5ae7397731d063d5bbf3d657854427343f4c083240f7aacaa2d0f62",
    "transfer_batch": "0x4a39dc06d4c0dbc64b70af90fd698a233a518aa5d07e595d983b8c0526c8f7fb",
    "condition_preparation": "0xab3760c3bd2bb38b5bcf54dc79802ed67338b4cf29f3054ded67ed24661e4177",
    "condition_resolution": "0xb44d84d3289691f71497564b85d4233648d9dbae8cbdbb4329f301c3a0185894",
    "split": "0x2e6bb91f8cbcda0c93623c54d0403a43514fabc40084ec96b6d5379a74786298",
    "merge": "0x6f13ca62553fcc2bcd2372180a43949c1e4cebba603901ede2f4e14f36b282ca",
    "redemption": "0x2682012a4a4f1973119f1c9b90745d1bd91fa2bab387344f044cb3586864d18d",
    "adapter_split": "0xbbed930dbfb7907ae2d60ddf78345610214f26419a0128df39b6cc3d9e5df9b0",
    "adapter_merge": "0xba33ac50d8894676597e6e35dc09cff59854708b642cd069d21eb9c7ca072a04",
    "adapter_redemption": "0x9140a6a270ef945260c03894b3c6b3b2695e9d5101feef0ff24fec960cfd3224",
    "adapter_conversion": "0xb03d19dddbc72a87e735ff0ea3b57bef133ebe44e1894284916a84044deb367e",
}
"""What those topics must be: values seen in the logs of the chain."""


class Contract(NamedTuple):
    """A contract that emits logs we read; nothing of it is older than `from_block`."""

    role: str
    address: str
    from_block: int


CTF: Final = Contract("conditional tokens", "0x4d97dcd97ec945f40cf65f87097ace5ea0476045", 4_023_686)
ADAPTER: Final = Contract("neg-risk adapter", "0xd91e80cf2e7be2e162c6513ced06f1dd0da35296", 50_505_403)
EXCHANGES_V1: Final = (
    Contract("exchange V1", "0x4bfb41d5b3570defd03c39a9a4d8de6bd8b8982e", 33_605_403),
    Contract("neg-risk exchange V1", "0xc5d563a36ae78145c45a50134d48a1215220f80a", 50_505_492),
)
EXCHANGES_V2: Final = (
    Contract("exchange V2", "0xe111180000d2663c0091e4f400237545b87b996b", 84_902_353),
    Contract("neg-risk exchange V2", "0xe2222d279d744050d28e00520010520000310f59", 84_902_353),
)
EXCHANGES: Final = (*EXCHANGES_V1, *EXCHANGES_V2)

COLLATERALS: Final = {
    "0x2791bca1f2de4661ed88a30c99a7a9449aa84174": "USDC.e",
    "0x3a3bd7bb9528e159577f7c2e685cc81a765002e2": "WCOL",
    "0x3c499c542cef5e3811e1192ce70d8cc03d5c3359": "USDC",
    "0xc011a7e12a19f7b1f670d46f03b03f3342e82dfb": "pUSD",
}
"""Collaterals with six decimals that Polymarket has used. Other projects use the same contract with others."""

_INNER: Final = frozenset({ADAPTER.address, *(each.address for each in EXCHANGES)})
_VERSIONS: Final = {TOPICS["order_filled_v1"]: 1, TOPICS["order_filled_v2"]: 2}
_FILL_CHARS: Final = {1: 2 + 5 * 64, 2: 2 + 7 * 64}
_WORD, _TOPIC_CHARS, _HASH_CHARS = 32, 66, 66
_ADDRESS_HEAD: Final = "0x" + "0" * 24
_U64: Final = 1 << 64
_fromhex = bytes.fromhex
_number = int.from_bytes


def check_topics(topics: Mapping[str, str] = TOPICS, known: Mapping[str, str] = KNOWN_TOPICS) -> tuple[str, ...]:
    """What is wrong with the topics, a line for each wrong one, empty when all are what the chain has."""
    return tuple(
        f"{name}: {topics.get(name)} is computed, {known.get(name)} is what the chain has"
        for name in sorted(topics.keys() | known.keys())
        if topics.get(name) != known.get(name)
    )


# --- pieces


@lru_cache(maxsize=1 << 16)
def quantity(value: Any, what: str) -> int:
    """A number as JSON-RPC writes it: 0x and hex digits. Logs repeat them, so they are remembered.

    Raises:
        ValueError, TypeError: it is not.
    """
    if isinstance(value, str) and value.startswith("0x") and value[2:].isalnum():
        return int(value, 16)
    raise ValueError(f"{what} is no number: {value!r}")


def _topics(log: Log, count: int) -> list[str]:
    """The topics, of which there must be `count`, each of 32 bytes."""
    topics: list[str] = log["topics"]
    if len(topics) != count:
        raise ValueError(f"{len(topics)} topics instead of {count}")
    for topic in topics:
        if len(topic) != _TOPIC_CHARS or topic[:2] != "0x" or len(_fromhex(topic[2:])) != _WORD:
            raise ValueError(f"no topic: {topic!r}")
    return topics


def _address(word: str) -> str:
    """The address in a topic."""
    if not word.startswith(_ADDRESS_HEAD):
        raise ValueError(f"no address: {word}")
    return f"0x{word[26:].lower()}"


def _data(log: Log, least: int) -> bytes:
    """The data, of at least `least` whole words."""
    text: str = log["data"]
    raw = _fromhex(text[2:])
    if text[:2] != "0x" or 2 * len(raw) != len(text) - 2 or len(raw) % _WORD or len(raw) < least * _WORD:
        raise ValueError(f"{len(raw)} bytes of data are not {least} words or more")
    return raw


def _uint(raw: bytes, word: int) -> int:
    return _number(raw[word * _WORD : (word + 1) * _WORD], "big")


def _amount(raw: bytes, word: int, what: str) -> int:
    """An amount in micro-units, which fits 64 bits."""
    if (value := _uint(raw, word)) >= _U64:
        raise ValueError(f"{what} is too large: {value}")
    return value


def _array(raw: bytes, word: int, what: str) -> tuple[int, ...]:
    """The list whose offset stands in a word."""
    offset = _uint(raw, word)
    if offset % _WORD or offset + _WORD > len(raw):
        raise ValueError(f"{what} lies outside the data")
    first = offset // _WORD
    count = _uint(raw, first)
    if count > len(raw) // _WORD - first - 1:
        raise ValueError(f"{what} is cut off: {count} entries are said to follow")
    return tuple(_uint(raw, first + 1 + n) for n in range(count))


def _amounts(raw: bytes, word: int, what: str) -> tuple[int, ...]:
    values = _array(raw, word, what)
    if max(values, default=0) >= _U64:
        raise ValueError(f"{what} holds too large an amount")
    return values


def transaction(log: Log) -> str:
    """The hash of a log's transaction.

    Raises:
        ValueError: there is none.
    """
    text = log.get("transactionHash")
    if isinstance(text, str) and len(text) == _HASH_CHARS and text[:2] == "0x" and len(_fromhex(text[2:])) == _WORD:
        return text.lower()
    raise ValueError(f"no transaction hash: {text!r}")


# --- fills


class Fill(NamedTuple):
    """One OrderFilled: a `maker`'s order that found its match, with what its owner gave and got.

    In the row of the taker's own order `taker` is the exchange. `fee_asset` is none, shares or usdc.
    """

    tx: str
    log_index: int
    block: int
    order_hash: str
    maker: str
    taker: str
    side: str
    token_id: int
    shares: int
    usdc: int
    fee: int
    fee_asset: str
    exchange: str
    version: int


def fill(log: Log) -> Fill:
    """An OrderFilled of either layout.

    Written out, since a call for each field costs a third of the speed.

    Raises:
        ValueError: the log is none.
    """
    topic, order_hash, maker, taker = log["topics"]
    tx, text = log["transactionHash"], log["data"]
    hashes = _fromhex(order_hash[2:] + maker[26:] + taker[26:] + tx[2:])
    if len(hashes) != 104 or not len(order_hash) == len(maker) == len(taker) == len(tx) == _TOPIC_CHARS:
        raise ValueError("topics or transaction hash are not of 32 bytes")
    if maker[:26] != _ADDRESS_HEAD or taker[:26] != _ADDRESS_HEAD:
        raise ValueError("maker or taker is no address")
    version = _VERSIONS.get(topic)
    if version is None:
        raise ValueError(f"no OrderFilled: {topic}")
    raw = _fromhex(text[2:])
    if len(text) != _FILL_CHARS[version] or 2 * len(raw) + 2 != len(text):
        raise ValueError(f"{len(raw)} bytes of data instead of {_FILL_CHARS[version] // 2 - 1}")
    buys, token_id = _sides_v1(raw) if version == 1 else _sides_v2(raw)
    gave, received, fee = _number(raw[64:96], "big"), _number(raw[96:128], "big"), _number(raw[128:160], "big")
    if gave >= _U64 or received >= _U64 or fee >= _U64:
        raise ValueError("an amount is too large")
    if token_id == 0:
        raise ValueError("token id 0")
    shares, usdc = (received, gave) if buys else (gave, received)
    asset = "none" if not fee else "shares" if buys and version == 1 else "usdc"
    place = quantity(log["logIndex"], "logIndex"), quantity(log["blockNumber"], "blockNumber")
    wallets = order_hash.lower(), f"0x{maker[26:].lower()}", f"0x{taker[26:].lower()}"
    side = "BUY" if buys else "SELL"
    exchange = log["address"].lower()
    return Fill(tx.lower(), *place, *wallets, side, token_id, shares, usdc, fee, asset, exchange, version)


def _sides_v1(raw: bytes) -> tuple[bool, int]:
    """Whether the owner of the order buys, and which token: the asset 0 is the collateral."""
    given, got = _number(raw[:32], "big"), _number(raw[32:64], "big")
    if given and got:
        raise ValueError("neither asset is the collateral")
    return not given, given or got


def _sides_v2(raw: bytes) -> tuple[bool, int]:
    """The same where the event says it."""
    if (side := _number(raw[:32], "big")) > 1:
        raise ValueError(f"side {side} is neither 0 nor 1")
    return side == 0, _number(raw[32:64], "big")


# --- transfers


class Transfer(NamedTuple):
    """One movement of one token; `batch_index` counts within a TransferBatch."""

    tx: str
    log_index: int
    block: int
    batch_index: int
    operator: str
    sender: str
    receiver: str
    token_id: int
    amount: int


def transfers(log: Log) -> list[Transfer]:
    """The movements in a TransferSingle or TransferBatch.

    Raises:
        ValueError: the log is neither.
    """
    topics = _topics(log, 4)
    tokens: tuple[int, ...]
    amounts: tuple[int, ...]
    if topics[0] == TOPICS["transfer_single"]:
        raw = _data(log, 2)
        tokens, amounts = (_uint(raw, 0),), (_uint(raw, 1),)
    elif topics[0] == TOPICS["transfer_batch"]:
        raw = _data(log, 4)
        tokens, amounts = _array(raw, 0, "ids"), _array(raw, 1, "values")
    else:
        raise ValueError(f"no transfer: {topics[0]}")
    if len(tokens) != len(amounts):
        raise ValueError(f"{len(tokens)} ids with {len(amounts)} values")
    operator, sender, receiver = (_address(topic) for topic in topics[1:])
    tx, index, block = transaction(log), quantity(log["logIndex"], "logIndex"), quantity(log["blockNumber"], "block")
    return [
        Transfer(tx, index, block, place, operator, sender, receiver, token, amount)
        for place, (token, amount) in enumerate(zip(tokens, amounts, strict=True))
    ]


# --- resolutions


class Resolution(NamedTuple):
    """How a condition ended: what each outcome pays is its numerator out of the sum of them."""

    tx: str
    log_index: int
    block: int
    condition: str
    oracle: str
    question: str
    numerators: tuple[int, ...]


def resolution(log: Log) -> Resolution:
    """A ConditionResolution.

    Raises:
        ValueError: the log is none.
    """
    topics = _topics(log, 4)
    if topics[0] != TOPICS["condition_resolution"]:
        raise ValueError(f"no ConditionResolution: {topics[0]}")
    raw = _data(log, 3)
    numerators = _amounts(raw, 1, "payoutNumerators")
    if len(numerators) != _uint(raw, 0):
        raise ValueError(f"{len(numerators)} numerators for {_uint(raw, 0)} outcomes")
    if not 0 < sum(numerators) < _U64:
        raise ValueError("the numerators add up to nothing, or to too much")
    return Resolution(
        transaction(log),
        quantity(log["logIndex"], "logIndex"),
        quantity(log["blockNumber"], "block"),
        topics[1][2:].lower(),
        _address(topics[2]),
        topics[3].lower(),
        numerators,
    )


# --- splits, merges, redemptions, conversions


class Activity(NamedTuple):
    """What somebody did with positions besides trading; `kind` is split, merge, redeem or convert.

    `index_sets` are the outcomes redeemed (bitmaps), or the one bitmap of the questions converted. `amounts` are the
    shares redeemed by outcome, which only the adapter tells.
    """

    tx: str
    log_index: int
    block: int
    kind: str
    wallet: str
    collateral: str | None
    condition: str | None = None
    market_id: str | None = None
    index_sets: tuple[int, ...] = ()
    amount: int | None = None
    amounts: tuple[int, ...] = ()
    payout: int | None = None


def activity(log: Log) -> Activity:
    """A split, merge, redemption or conversion, of the conditional tokens or of the neg-risk adapter.

    Raises:
        ValueError: the log is none of them.
    """
    topic = log["topics"][0]
    place = transaction(log), quantity(log["logIndex"], "logIndex"), quantity(log["blockNumber"], "block")
    for kind in ("split", "merge"):
        if topic == TOPICS[kind]:
            return _position(log, place, kind)
        if topic == TOPICS[f"adapter_{kind}"]:
            _, wallet, condition = _topics(log, 3)
            amount = _amount(_data(log, 1), 0, "amount")
            return Activity(*place, kind, _address(wallet), None, condition[2:].lower(), amount=amount)
    if topic == TOPICS["redemption"]:
        return _redemption(log, place)
    if topic == TOPICS["adapter_redemption"]:
        return _adapter_redemption(log, place)
    if topic == TOPICS["adapter_conversion"]:
        _, wallet, market, questions = _topics(log, 4)
        amount = _amount(_data(log, 1), 0, "amount")
        sets = (int(questions, 16),)
        return Activity(
            *place, "convert", _address(wallet), None, market_id=market.lower(), index_sets=sets, amount=amount
        )
    raise ValueError(f"no split, merge, redemption or conversion: {topic}")


def is_inner(event: Activity) -> bool:
    """Whether a contract did it on the way, for somebody whom another log names.

    The adapter splits, merges and redeems with the conditional tokens for wallets that its own logs name, and the
    exchanges split and merge inside a trade, which the fills tell.
    """
    return event.wallet in _INNER


def is_foreign(event: Activity) -> bool:
    """Whether it is another project's: in a collateral that Polymarket has not used."""
    return event.collateral is not None and event.collateral not in COLLATERALS


def _collateral(raw: bytes) -> str:
    if any(raw[:12]):
        raise ValueError("the collateral is no address")
    return f"0x{raw[12:32].hex()}"


def _position(log: Log, place: tuple[str, int, int], kind: str) -> Activity:
    _, wallet, _, condition = _topics(log, 4)
    raw = _data(log, 4)
    collateral = _collateral(raw)
    # Other projects' tokens have 18 decimals: that is no reason to refuse what will be left out anyway.
    amount = _amount(raw, 2, "amount") if collateral in COLLATERALS else None
    return Activity(*place, kind, _address(wallet), collateral, condition[2:].lower(), amount=amount)


def _redemption(log: Log, place: tuple[str, int, int]) -> Activity:
    _, wallet, collateral_word, _ = _topics(log, 4)
    raw = _data(log, 4)
    collateral = _address(collateral_word)
    payout = _amount(raw, 2, "payout") if collateral in COLLATERALS else None
    sets = _array(raw, 1, "indexSets")
    return Activity(*place, "redeem", _address(wallet), collateral, raw[:_WORD].hex(), index_sets=sets, payout=payout)


def _adapter_redemption(log: Log, place: tuple[str, int, int]) -> Activity:
    """The adapter always redeems every outcome, whatever there is of it."""
    _, wallet, condition = _topics(log, 3)
    raw = _data(log, 3)
    amounts, payout = _amounts(raw, 0, "amounts"), _amount(raw, 1, "payout")
    sets = tuple(1 << n for n in range(len(amounts)))
    return Activity(*place, "redeem", _address(wallet), None, condition[2:].lower(), None, sets, None, amounts, payout)
