"""What a dump holds, recognised by the names of its columns, and how its rows become ours.

A shape is a name, the columns it cannot do without, and a function from one row to our rows. The first shape whose
columns are all there is the one; the order goes from the most to the least telling. Conversions raise `ValueError` with
the reason when a row does not hold what its columns promise, and `NoFill` for a row that says itself that it is none.

Some dumps that people have cannot become fills, whatever is done: they are known as well, with what they lack.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Generic, NamedTuple, TypeVar

from backfill.stages import fields
from backfill.stages.dumps import NotOurs, Record

Values = Mapping[str, Any]
T = TypeVar("T")

KEY: Final = "k[0-9a-f]{32}"
KEYLESS: Final = re.compile(rf"({KEY})_([0-9]{{1,9}})")
"""What follows the transaction in the id of a fill whose order is not known: a key, and a number among equal fills."""

_PRICE_DIGITS: Final = 9
_PRICE_SCALE: Final = 10**_PRICE_DIGITS
_COLUMNS_SHOWN: Final = 12


class Fill(NamedTuple):
    """A row of clob_fills; None is unknown. `needs_ordinal`: `fill_id` is a key that equal fills share."""

    fill_id: str
    token_id: int
    maker: str
    taker: str | None
    side: str
    shares_micro: int
    usdc_micro: int
    fee_micro: int | None
    fee_asset: str | None
    price: str
    timestamp: int
    tx_hash: str
    order_hash: str | None
    log_index: int | None
    block_number: int | None
    exchange_version: int | None
    source: str
    needs_ordinal: bool


class Mapped(NamedTuple):
    """A claimed mapping: this token is that outcome of that condition."""

    token_id: int
    condition_id_norm: str
    outcome_index: int
    outcome: str | None
    market_slug: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Shape(Generic[T]):
    """A kind of dump: the columns that give it away, and what becomes of a row."""

    name: str
    needs: frozenset[str]
    convert: Callable[[Values], Sequence[T]]


class NoFill(ValueError):
    """A row that is none of ours by its own word: a redemption among trades."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """A dump whose rows cannot be taken: what gives it away, and why."""

    name: str
    needs: frozenset[str]
    lacks: frozenset[str]
    why: str
    remedy: str

    def fits(self, columns: Collection[str]) -> bool:
        """Whether it has the columns, and not what it is known to lack."""
        return self.needs.issubset(columns) and self.lacks.isdisjoint(columns)


def recognise(columns: Collection[str], shapes: Sequence[Shape[T]], *, where: str) -> Shape[T]:
    """The first of `shapes` that finds its columns.

    Raises:
        NotOurs: none does; the text names the columns seen, or what it is instead, and the shapes known.
    """
    found = _fitting(columns, shapes)
    if found is not None:
        return found
    for lacking in LACKING:
        if shapes is FILLS and lacking.fits(columns):
            raise NotOurs(f"{lacking.name}: {lacking.why}", where=where, remedy=lacking.remedy)
    mapping = _fitting(columns, MAPPINGS) if shapes is FILLS else None
    if mapping is not None:
        raise NotOurs(f"{mapping.name}: no fills, but a token map", where=where, remedy="backfill import token-map")
    fills = _fitting(columns, FILLS) if shapes is MAPPINGS else None
    if fills is not None:
        raise NotOurs(f"{fills.name}: no token map, but fills", where=where, remedy="backfill import fills")
    known = "; ".join(f"{shape.name} ({', '.join(sorted(shape.needs))})" for shape in shapes)
    seen = sorted(columns)
    more = f" and {len(seen) - _COLUMNS_SHOWN} more" if len(seen) > _COLUMNS_SHOWN else ""
    shown = ", ".join(seen[:_COLUMNS_SHOWN]) or "none"
    raise NotOurs(f"unknown shape, columns: {shown}{more}", where=where, remedy=f"known shapes: {known}")


def _fitting(columns: Collection[str], shapes: Sequence[Shape[T]]) -> Shape[T] | None:
    return next((shape for shape in shapes if shape.needs.issubset(columns)), None)


def shape_of(record: Record, usual: Shape[T] | None, shapes: Sequence[Shape[T]]) -> Shape[T] | None:
    """What a row of a file is: `usual`, unless it lacks columns of that and has all of another one.

    A file of lines may have been put together from several. A shape that only asks for less is not another one: then
    something is missing, and has to be named.
    """
    present = {name for name, value in record.values.items() if value is not None and value != ""}
    if usual is None or usual.needs <= present:
        return usual
    return _fitting(present, [shape for shape in shapes if not shape.needs <= usual.needs]) or usual


def rows_of(record: Record, shape: Shape[T] | None) -> Sequence[T]:
    """What a record of a dump becomes.

    Raises:
        ValueError: it is not what its columns promise; the text says why.
        NoFill: it is none of ours by its own word.
    """
    if record.problem or shape is None:
        raise ValueError(record.problem or "no column has a value")
    try:
        return shape.convert(record.values)
    except KeyError as error:
        raise ValueError(f"column {error.args[0]} is missing") from None


# --- fills


def price_of(usdc_micro: int, shares_micro: int) -> str:
    """Dollars for a share, truncated to nine decimals."""
    if shares_micro == 0:
        raise ValueError("no shares changed hands, so there is no price")
    units, rest = divmod(usdc_micro * _PRICE_SCALE // shares_micro, _PRICE_SCALE)
    if units >= _PRICE_SCALE:
        raise ValueError("the price does not fit nine digits before the point")
    return f"{units}.{rest:09d}"


def keyless_id(tx_hash: str, token_id: int, side: str, wallet: str, shares_micro: int, usdc_micro: int) -> str:
    """The stem of a fill id for sources that show no order hash; `_<ordinal>` among equal rows of a file follows.

    `<tx_hash>_k<32 hex digits>`, the digits being BLAKE2b-128 of the facts joined by "|". Money stands in for the
    price, which sources print with different numbers of digits.
    """
    facts = f"{token_id}|{side}|{wallet}|{shares_micro}|{usdc_micro}"
    return f"{tx_hash}_k{hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()}"


class _Event(NamedTuple):
    """What an OrderFilled says, whoever wrote it down: the actor is the maker, asset 0 is the collateral."""

    token_id: int
    maker: str
    taker: str
    side: str
    shares_micro: int
    usdc_micro: int
    tx_hash: str
    timestamp: int

    @property
    def price(self) -> str:
        return price_of(self.usdc_micro, self.shares_micro)


def _event(row: Values) -> _Event:
    given_asset = fields.whole(row["makerAssetId"], "makerAssetId")
    got_asset = fields.whole(row["takerAssetId"], "takerAssetId")
    if (given_asset == 0) == (got_asset == 0):
        raise ValueError("exactly one of the two assets must be the collateral (0)")
    given = fields.amount(row["makerAmountFilled"], "makerAmountFilled")
    got = fields.amount(row["takerAmountFilled"], "takerAmountFilled")
    buys = given_asset == 0
    shares, usdc = (got, given) if buys else (given, got)
    return _Event(
        token_id=got_asset or given_asset,
        maker=fields.address(row["maker"], "maker"),
        taker=fields.address(row["taker"], "taker"),
        side="BUY" if buys else "SELL",
        shares_micro=shares,
        usdc_micro=usdc,
        tx_hash=fields.hash32(row["transactionHash"], "transactionHash"),
        timestamp=fields.moment(row["timestamp"]),
    )


def _goldsky(row: Values) -> list[Fill]:
    """OrderFilled as the subgraph stores it (exchange 1)."""
    event, order_hash = _event(row), fields.hash32(row["orderHash"], "orderHash")
    fill_id, log_index = _known_id(fields.text(row.get("id")), f"{event.tx_hash}_{order_hash}")
    fee = fields.amount(row["fee"], "fee")
    return [
        Fill(
            **event._asdict(),
            price=event.price,
            fill_id=fill_id,
            fee_micro=fee,
            fee_asset="none" if fee == 0 else "shares" if event.side == "BUY" else "usdc",
            order_hash=order_hash,
            log_index=log_index,
            block_number=None,
            exchange_version=1,
            source="import_goldsky",
            needs_ordinal=False,
        )
    ]


def _poly_data(row: Values) -> list[Fill]:
    """OrderFilled as poly_data writes it down: without fee, and (but for some files) without id and so without order.

    Equal rows of a transaction are told apart by their number, unless the whole transaction was written down twice.
    Its second version reads another exchange than the first, into the same columns; so the version is not known.
    """
    event, claimed, log_index = _event(row), fields.text(row.get("id")), None
    order_hash = _optional_hash(row.get("orderHash"), "orderHash") or _order_in(claimed, event.tx_hash)
    fill_id = keyless_id(event.tx_hash, event.token_id, event.side, event.maker, event.shares_micro, event.usdc_micro)
    if order_hash is not None:
        fill_id, log_index = _known_id(claimed, f"{event.tx_hash}_{order_hash}")
    fee = _optional(row.get("fee"), "fee")
    return [
        Fill(
            **event._asdict(),
            price=event.price,
            fill_id=fill_id,
            fee_micro=fee,
            fee_asset=None if fee is None else "none" if fee == 0 else "shares" if event.side == "BUY" else "usdc",
            order_hash=order_hash,
            log_index=log_index,
            block_number=None,
            exchange_version=None,
            source="import_poly_data",
            needs_ordinal=order_hash is None,
        )
    ]


def _order_in(claimed: str | None, tx_hash: str) -> str | None:
    """The order that an id of the subgraph names; None for another kind of id."""
    stem, _, rest = (claimed or "").lower().partition("_")
    return fields.hash32(rest.partition("_")[0], "the order in id") if stem == tx_hash else None


def _dome(row: Values) -> list[Fill]:
    """An order of Dome: `shares` are millionths, the money is computed from the price, the fee is not said."""
    shares = fields.amount(row["shares"], "shares")
    usdc = fields.micro(Decimal(shares) * fields.decimal(row["price"], "price") / fields.MICRO, "shares times price")
    tx_hash, order_hash = fields.hash32(row["tx_hash"], "tx_hash"), fields.hash32(row["order_hash"], "order_hash")
    return [
        Fill(
            fill_id=f"{tx_hash}_{order_hash}",
            token_id=fields.token(row["token_id"], "token_id"),
            maker=fields.address(row["user"], "user"),
            taker=None if fields.text(row.get("taker")) is None else fields.address(row["taker"], "taker"),
            side=fields.side(row["side"]),
            shares_micro=shares,
            usdc_micro=usdc,
            fee_micro=None,
            fee_asset=None,
            price=price_of(usdc, shares),
            timestamp=fields.moment(row["timestamp"]),
            tx_hash=tx_hash,
            order_hash=order_hash,
            log_index=_optional(row.get("log_index"), "log_index", bits=32),
            block_number=_optional(row.get("block_number"), "block_number"),
            exchange_version=None,
            source="import_dome",
            needs_ordinal=False,
        )
    ]


def _without_transaction(_row: Values) -> list[Fill]:
    raise ValueError("names no transaction, so two equal rows may be two fills or one told twice")


def _known_id(claimed: str | None, expected: str) -> tuple[str, int | None]:
    """The fill id and, where a further fill of the same order carries it, the log index."""
    if claimed is None or claimed.lower() == expected:
        return expected, None
    stem, _, digits = claimed.lower().rpartition("_")
    if stem != expected or not (digits.isascii() and digits.isdigit()) or int(digits) >= 1 << 32:
        raise ValueError(f"id does not belong to its transaction and order: {claimed[:150]!r}")
    return f"{expected}_{int(digits)}", int(digits)


def _own_fill(row: Values) -> list[Fill]:
    """Our own table, as it is exported."""
    tx_hash = fields.hash32(row["tx_hash"], "tx_hash")
    shares = fields.amount(row["shares_micro"], "shares_micro")
    usdc = fields.amount(row["usdc_micro"], "usdc_micro")
    fee = _optional(row.get("fee_micro"), "fee_micro")
    return [
        Fill(
            fill_id=_own_id(row["fill_id"], tx_hash),
            token_id=fields.token(row["token_id"], "token_id"),
            maker=fields.address(row["maker"], "maker"),
            taker=None if fields.text(row.get("taker")) is None else fields.address(row["taker"], "taker"),
            side=fields.side(row["side"]),
            shares_micro=shares,
            usdc_micro=usdc,
            fee_micro=fee,
            fee_asset=None if fee is None else _fee_asset(row.get("fee_asset")),
            price=price_of(usdc, shares),
            timestamp=fields.moment(row["timestamp"]),
            tx_hash=tx_hash,
            order_hash=_optional_hash(row.get("order_hash"), "order_hash"),
            log_index=_optional(row.get("log_index"), "log_index", bits=32),
            block_number=_optional(row.get("block_number"), "block_number"),
            exchange_version=_optional(row.get("exchange_version"), "exchange_version", bits=8),
            source=fields.text(row.get("source")) or "import",
            needs_ordinal=False,
        )
    ]


def _own_id(value: Any, tx_hash: str) -> str:
    fill_id = (fields.text(value) or "").lower()
    if not fill_id.startswith(f"{tx_hash}_"):
        raise ValueError(f"fill_id does not begin with its transaction: {fill_id[:150]!r}")
    return fill_id


def _optional(value: Any, what: str, *, bits: int = 64) -> int | None:
    if fields.text(value) is None:
        return None
    number = fields.amount(value, what)
    if number >= 1 << bits:
        raise ValueError(f"{what} does not fit {bits} bits")
    return number


def _optional_hash(value: Any, what: str) -> str | None:
    return None if fields.text(value) is None else fields.hash32(value, what)


def _fee_asset(value: Any) -> str:
    word = fields.text(value) or "none"
    found = {"0": "none", "1": "shares", "2": "usdc"}.get(word, word)
    if found not in ("none", "shares", "usdc"):
        raise ValueError(f"fee_asset is none of none, shares, usdc: {word[:40]!r}")
    return found


@dataclass(frozen=True, slots=True)
class DataApiNames:
    """The spelling of one version of the Data API."""

    wallet: str
    token: str
    condition: str
    tx_hash: str
    index: str

    def fill(self, row: Values) -> list[Fill]:
        """A trade: size in shares, price in dollars, without order hash, counterparty and fee.

        Rows of `/activity` are the same with a type; what they say of dollars has the taker's fee in it.
        """
        _check_type(row.get("type"))
        shares = fields.micro(row["size"], "size")
        usdc = fields.micro(_cost(row), "size times price")
        wallet = fields.address(row[self.wallet], self.wallet)
        token, side = fields.token(row[self.token], self.token), fields.side(row["side"])
        tx_hash = fields.hash32(row[self.tx_hash], self.tx_hash)
        return [
            Fill(
                fill_id=keyless_id(tx_hash, token, side, wallet, shares, usdc),
                token_id=token,
                maker=wallet,
                taker=None,
                side=side,
                shares_micro=shares,
                usdc_micro=usdc,
                fee_micro=None,
                fee_asset=None,
                price=price_of(usdc, shares),
                timestamp=fields.moment(row["timestamp"]),
                tx_hash=tx_hash,
                order_hash=None,
                log_index=None,
                block_number=None,
                exchange_version=None,
                source="import_data_api",
                needs_ordinal=True,
            )
        ]

    def mapped(self, row: Values) -> list[Mapped]:
        """The mapping that a trade or position mentions."""
        return [_mapped(row, row[self.token], row[self.condition], row[self.index], row.get("slug"), "import_data_api")]

    def needs(self, *more: str) -> frozenset[str]:
        """The columns without which it is not this version."""
        return frozenset((self.wallet, self.token, self.condition, *more))


def _check_type(value: Any) -> None:
    kind = fields.text(value)
    if kind in OTHER_ACTIVITY:
        raise NoFill(f"not a trade: {kind}")
    if kind not in (None, TRADE):
        raise fields.drift("type", f"{TRADE} or another known activity", value)


def _cost(row: Values) -> Decimal:
    """Dollars paid. The price is a rounded quotient; times the size it is the money again, to the micro-unit."""
    return fields.decimal(row["size"], "size") * fields.decimal(row["price"], "price")


V1: Final = DataApiNames("proxyWallet", "asset", "conditionId", "transactionHash", "outcomeIndex")
V2: Final = DataApiNames("proxy_wallet", "token_id", "condition_id", "transaction_hash", "outcome_index")

TRADE: Final = "TRADE"
OTHER_ACTIVITY: Final = frozenset(
    [
        "SPLIT",
        "MERGE",
        "REDEEM",
        "REWARD",
        "CONVERSION",
        "MIGRATION",
        "DEPOSIT",
        "WITHDRAWAL",
        "YIELD",
        "MAKER_REBATE",
        "TAKER_REBATE",
        "REFERRAL_REWARD",
        "TIP",
    ]
)
"""What the rows of `/activity` may be besides trades."""

_EVENT_COLUMNS = "transactionHash timestamp maker taker makerAssetId takerAssetId makerAmountFilled takerAmountFilled"
_OWN_COLUMNS = "fill_id token_id maker side shares_micro usdc_micro timestamp tx_hash"
_DOME_COLUMNS = "token_id side shares price tx_hash order_hash timestamp user"
_TRADE = ("side", "size", "price", "timestamp")

GOLDSKY: Final = Shape("Goldsky orderFilledEvents", frozenset(f"{_EVENT_COLUMNS} orderHash fee".split()), _goldsky)
OWN: Final = Shape("clob_fills export", frozenset(_OWN_COLUMNS.split()), _own_fill)
POLY_DATA: Final = Shape("poly_data orderFilled", frozenset(_EVENT_COLUMNS.split()), _poly_data)
TRADES_V1: Final = Shape("Data API trades v1", V1.needs("transactionHash", *_TRADE), V1.fill)
TRADES_V2: Final = Shape("Data API trades v2", V2.needs("transaction_hash", *_TRADE), V2.fill)

FILLS: Final[tuple[Shape[Fill], ...]] = (
    GOLDSKY,
    OWN,
    TRADES_V1,
    TRADES_V2,
    Shape("Dome orders", frozenset(_DOME_COLUMNS.split()), _dome),
    POLY_DATA,
    Shape(
        "fills without transactions",
        frozenset(["trade_id", "timestamp", "asset_id", "side", "size", "cost"]),
        _without_transaction,
    ),
)

_TOKENS: Final = frozenset(("token_id", "asset", "asset_id", "makerAssetId"))
LACKING: Final = (
    Lacking(
        "poly_data trades",
        frozenset(["market_id", "maker", "taker", "nonusdc_side", "token_amount", "usd_amount", "transactionHash"]),
        _TOKENS,
        "its rows name no token id (a market's number and token1 or token2 instead)",
        "import the orderFilled.csv that it was made from",
    ),
    Lacking(
        "activity without tokens",
        frozenset(["tx_hash", "timestamp", "side", "outcome", "price", "size", "market"]),
        _TOKENS,
        "its rows name no token id (a market's title and an outcome instead)",
        "export it again with the token (asset)",
    ),
    Lacking(
        "chain events without time",
        frozenset(["transaction_hash", "log_index", "order_hash", "maker_asset_id", "taker_asset_id"]),
        frozenset(("timestamp", "block_timestamp")),
        "its rows name no time (only a block number)",
        "join the times of the blocks, and name the columns as orderFilledEvents does",
    ),
)


# --- token map


def _mapped(row: Values, token: Any, condition: Any, index: Any, slug: Any, source: str) -> Mapped:
    return Mapped(
        fields.token(token),
        fields.condition(condition),
        fields.index(index),
        fields.text(row.get("outcome")),
        fields.text(slug),
        source,
    )


def _plain(token: str, condition: str, index: str, source: str) -> Callable[[Values], Sequence[Mapped]]:
    def convert(row: Values) -> list[Mapped]:
        slug = row.get("market_slug") or row.get("slug")
        return [_mapped(row, row[token], row[condition], row[index], slug, source)]

    return convert


def _gamma(condition: str, tokens: str) -> Callable[[Values], Sequence[Mapped]]:
    """A market of Gamma: token i is outcome i; a market without an order book has no tokens and gives no row."""

    def convert(row: Values) -> list[Mapped]:
        listed = _list(row.get(tokens), tokens)
        names = _list(row.get("outcomes"), "outcomes")
        if not listed:
            return []
        if names and len(names) != len(listed):
            raise ValueError(f"{len(listed)} tokens for {len(names)} outcomes")
        labels = names or [None] * len(listed)
        return [
            _mapped({"outcome": label}, token, row[condition], place, row.get("slug"), "import_gamma")
            for place, (token, label) in enumerate(zip(listed, labels, strict=True))
        ]

    return convert


def _clob_market(row: Values) -> list[Mapped]:
    """A market of the CLOB API: token i is claimed to be outcome i, and its id has to prove it."""
    return [
        _mapped(token, token["token_id"], row["condition_id"], place, row.get("market_slug"), "import_clob")
        for place, token in enumerate(_list(row["tokens"], "tokens"))
        if isinstance(token, dict) and fields.text(token.get("token_id")) is not None
    ]


def _list(value: Any, what: str) -> list[Any]:
    """A list, or a JSON list as text (Gamma's way); absent is empty."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value, parse_float=Decimal)
        except ValueError:
            raise ValueError(f"{what} is not a JSON list") from None
    if not value:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{what} is not a list")
    return value


MAPPINGS: Final[tuple[Shape[Mapped], ...]] = (
    Shape(
        "ctf_token_map export",
        frozenset(("token_id", "condition_id_norm", "outcome_index")),
        _plain("token_id", "condition_id_norm", "outcome_index", "import"),
    ),
    Shape(
        "Gamma markets (table)", frozenset(("condition_id", "clob_token_ids")), _gamma("condition_id", "clob_token_ids")
    ),
    Shape("Gamma markets (API)", frozenset(("conditionId", "clobTokenIds")), _gamma("conditionId", "clobTokenIds")),
    Shape("CLOB markets", frozenset(("condition_id", "tokens", "market_slug")), _clob_market),
    Shape("Data API v1", V1.needs("outcomeIndex"), V1.mapped),
    Shape("Data API v2", V2.needs("outcome_index"), V2.mapped),
    Shape(
        "token map",
        frozenset(("token_id", "condition_id", "outcome_index")),
        _plain("token_id", "condition_id", "outcome_index", "import"),
    ),
    Shape(
        "subgraph positions (table)",
        frozenset(("token_id", "condition", "outcome_index")),
        _plain("token_id", "condition", "outcome_index", "import_subgraph"),
    ),
    Shape(
        "subgraph positions",
        frozenset(("id", "condition", "outcomeIndex")),
        _plain("id", "condition", "outcomeIndex", "import_subgraph"),
    ),
)
