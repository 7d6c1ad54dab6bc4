"""Plain rows of a dump on their way to the scratch table, all values of a column at once.

    columns of a chunk → typed columns, null where a value is not plainly right → the rows without such a null

What is taken here is what `shapes` would make of the same row, digit for digit; a row about which there is any doubt (a
value in an unusual form, a sum that a float cannot decide, a missing field) is left to `shapes`, which takes it or says
why not. So nothing is ever refused here.
"""

from __future__ import annotations

import binascii
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from backfill.stages import fields, shapes
from backfill.stages.shapes import Fill

Columns = Mapping[str, pa.Array]

SCHEMA: Final = pa.schema(
    [
        pa.field("file", pa.uint32()),
        pa.field("line", pa.uint64()),
        pa.field("tx_hash", pa.binary(32)),
        pa.field("order_hash", pa.binary(32)),
        pa.field("tail", pa.string()),
        pa.field("ordinal", pa.uint32()),
        pa.field("needs_ordinal", pa.uint8()),
        pa.field("token_id", pa.binary(32)),
        pa.field("maker", pa.binary(20)),
        pa.field("taker", pa.binary(20)),
        pa.field("side", pa.int8()),
        pa.field("shares_micro", pa.uint64()),
        pa.field("usdc_micro", pa.uint64()),
        pa.field("fee_micro", pa.uint64()),
        pa.field("fee_asset", pa.int8()),
        pa.field("timestamp", pa.uint32()),
        pa.field("log_index", pa.uint32()),
        pa.field("block_number", pa.uint64()),
        pa.field("exchange_version", pa.uint8()),
        pa.field("source", pa.string()),
    ]
)
"""The scratch table's columns. `tail` is what follows `<tx_hash>_` in an id that does not name its order alone; hashes
and addresses are bytes, token ids 32 of them with the lowest first."""

NO_ORDINAL: Final = (1 << 32) - 1
"""For ids that equal rows do not share."""

_SIDES: Final = {"BUY": 1, "SELL": 2}
_FEE_ASSETS: Final = {"none": 0, "shares": 1, "usdc": 2}
_LONGEST_UINT: Final = 19
_SURE_BELOW: Final = 1e12
"""Micro-units below which the product of two floats is wrong by less than a thousandth of one."""
_SURE_PART: Final = 0.499
_HIGHEST_PRICE: Final = 1e8
_PLAIN_NUMBER: Final = r"^[0-9]{1,15}(\.[0-9]{1,20})?$"
_LAST_SECOND: Final = (1 << 32) - 1


class Plain(NamedTuple):
    """The rows that could be taken, without file and line, and for every row of the chunk whether it is one of them."""

    rows: pa.RecordBatch
    taken: pa.BooleanArray


class _Rows(NamedTuple):
    """Typed columns of a chunk; where a needed one is null, the row is not taken."""

    needed: dict[str, pa.Array]
    known: dict[str, pa.Array]
    """These may be null."""
    good: pa.BooleanArray
    """Whether the row is plain as far as the columns together tell."""


def plain(shape: shapes.Shape[Fill], columns: Columns, rows: int) -> Plain:
    """The plain rows of a chunk."""
    found = _CONVERT[shape.name](columns, rows)
    taken = found.good
    for column in found.needed.values():
        taken = pc.and_(taken, pc.is_valid(column))
    taken = pc.fill_null(taken, False)
    whole = {**found.needed, **found.known}
    arrays = [whole.get(field.name, pa.nulls(rows)) for field in SCHEMA]
    batch = pa.record_batch(
        [_as(array, field.type) for array, field in zip(arrays, SCHEMA, strict=True)], schema=SCHEMA
    )
    return Plain(batch if taken.true_count == rows else batch.filter(taken), taken)


def can(shape: shapes.Shape[Fill]) -> bool:
    """Whether rows of this shape are taken here at all."""
    return shape.name in _CONVERT


def wanted(shape: shapes.Shape[Fill]) -> Sequence[str]:
    """The columns that `plain` looks at."""
    return _WANTED[shape.name]


def placed(batch: pa.RecordBatch, file: int, lines: Sequence[int]) -> pa.RecordBatch:
    """The same rows with the numbers of their file and of their lines there."""
    rows = batch.num_rows
    arrays = [pa.array([file], pa.uint32()).take(pa.array([0] * rows, pa.int8())), pa.array(lines, pa.uint64())]
    return pa.record_batch([*arrays, *batch.columns[2:]], schema=SCHEMA)


def from_fills(file: int, fills: Sequence[tuple[int, Fill]]) -> pa.RecordBatch:
    """Rows that were read one by one, with the numbers of their lines."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for line, fill in fills:
        for name, value in _stored(fill).items():
            columns[name].append(value)
        columns["file"].append(file)
        columns["line"].append(line)
    return pa.record_batch([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)


def _stored(fill: Fill) -> dict[str, Any]:
    tail, ordinal = _tail(fill)
    return {
        "tx_hash": _bytes(fill.tx_hash),
        "order_hash": _bytes(fill.order_hash),
        "tail": tail,
        "ordinal": ordinal,
        "needs_ordinal": int(fill.needs_ordinal),
        "token_id": fill.token_id.to_bytes(32, "little"),
        "maker": _bytes(fill.maker),
        "taker": _bytes(fill.taker),
        "side": _SIDES[fill.side],
        "shares_micro": fill.shares_micro,
        "usdc_micro": fill.usdc_micro,
        "fee_micro": fill.fee_micro,
        "fee_asset": None if fill.fee_asset is None else _FEE_ASSETS[fill.fee_asset],
        "timestamp": fill.timestamp,
        "log_index": fill.log_index,
        "block_number": fill.block_number,
        "exchange_version": fill.exchange_version,
        "source": fill.source,
    }


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text[2:])


def _tail(fill: Fill) -> tuple[str, int]:
    """What an id has behind its transaction (empty where that is its order), and its number among equal fills."""
    tail = fill.fill_id.removeprefix(f"{fill.tx_hash}_")
    if tail == fill.order_hash:
        return "", NO_ORDINAL
    if not fill.needs_ordinal and (found := shapes.KEYLESS.fullmatch(tail)):
        return found[1], int(found[2])
    return tail, NO_ORDINAL


# --- one shape each


def _events(columns: Columns, rows: int) -> _Rows:
    """OrderFilled in the names of the subgraph, with its order in a column, in its id, or not at all."""
    text = {name: _text(columns.get(name), rows) for name in _EVENT_TEXTS}
    buys = pc.equal(text["makerAssetId"], "0")
    token_text = pc.if_else(buys, text["takerAssetId"], text["makerAssetId"])
    given, got = (_uint(columns.get(name), rows) for name in ("makerAmountFilled", "takerAmountFilled"))
    shares, usdc = pc.if_else(buys, got, given), pc.if_else(buys, given, got)
    needed = {
        "tx_hash": _hex(text["transactionHash"], 32),
        "token_id": _tokens(token_text),
        "maker": _hex(text["maker"], 20),
        "taker": _hex(text["taker"], 20),
        "shares_micro": shares,
        "usdc_micro": usdc,
        "timestamp": _moments(columns.get("timestamp"), rows),
    }
    known = {"side": _side_codes(buys)}
    # Exactly one of the two assets is the collateral; a token id of 0 is none, so it need not be looked at.
    good = pc.and_(pc.xor(buys, pc.equal(text["takerAssetId"], "0")), _has_price(shares, usdc))
    return _Rows(needed, known, good)


_EVENT_TEXTS: Final = ("makerAssetId", "takerAssetId", "transactionHash", "maker", "taker")


def _goldsky(columns: Columns, rows: int) -> _Rows:
    found = _events(columns, rows)
    fee = _uint(columns.get("fee"), rows)
    found = _ordered(found, columns, _text(columns.get("orderHash"), rows), rows)
    found.needed.update(fee_micro=fee)
    charged = pc.if_else(pc.equal(found.known["side"], _SIDES["BUY"]), pa.scalar(1, pa.int8()), pa.scalar(2, pa.int8()))
    found.known.update(
        fee_asset=pc.if_else(pc.equal(fee, pa.scalar(0, pa.uint64())), pa.scalar(0, pa.int8()), charged),
        exchange_version=_same(1, rows, pa.uint8()),
        source=_same("import_goldsky", rows),
    )
    return found


def _own_id(columns: Columns, order: pa.Array, rows: int) -> pa.Array:
    """Whether the id is absent, or names the transaction and the order and nothing else."""
    if _absent(columns.get("id")):
        return _same(True, rows)
    claimed = _text(columns["id"], rows)
    expected = pc.binary_join_element_wise(_text(columns.get("transactionHash"), rows), order, "_")
    return pc.or_(
        pc.is_null(columns["id"]), pc.fill_null(pc.or_(pc.equal(claimed, expected), pc.equal(claimed, "")), False)
    )


def _poly_data(columns: Columns, rows: int) -> _Rows:
    found = _events(columns, rows)
    found.known.update(source=_same("import_poly_data", rows))
    if not _absent(columns.get("fee")):
        return found._replace(good=_same(False, rows))
    if not _absent(columns.get("orderHash")):
        return _ordered(found, columns, _text(columns["orderHash"], rows), rows)
    if not _absent(columns.get("id")):
        # Behind its transaction, an id names the order.
        return _ordered(found, columns, pc.utf8_slice_codeunits(_text(columns["id"], rows), 67), rows)
    buys = pc.equal(found.known["side"], _SIDES["BUY"])
    token_text = pc.if_else(buys, _text(columns["takerAssetId"], rows), _text(columns["makerAssetId"], rows))
    return _keyed(found, token_text, pc.ascii_lower(_text(columns["maker"], rows)))


def _ordered(found: _Rows, columns: Columns, order: pa.Array, rows: int) -> _Rows:
    """With the order that its fill is known by."""
    found.needed.update(order_hash=_hex(order, 32))
    found.known.update(
        tail=_same("", rows),
        ordinal=_same(NO_ORDINAL, rows, pa.uint32()),
        needs_ordinal=_same(0, rows, pa.uint8()),
    )
    return found._replace(good=pc.and_(found.good, _own_id(columns, order, rows)))


def _data_api(names: shapes.DataApiNames) -> Callable[[Columns, int], _Rows]:
    def convert(columns: Columns, rows: int) -> _Rows:
        wallet, token_text = _text(columns.get(names.wallet), rows), _text(columns.get(names.token), rows)
        size, price = _number(columns.get("size"), rows), _number(columns.get("price"), rows)
        shares, usdc = _micro(size), _micro(pc.multiply(size, price))
        side = pc.ascii_upper(_text(columns.get("side"), rows))
        needed = {
            "tx_hash": _hex(_text(columns.get(names.tx_hash), rows), 32),
            "token_id": _tokens(token_text),
            "maker": _hex(wallet, 20),
            "shares_micro": shares,
            "usdc_micro": usdc,
            "timestamp": _moments(columns.get("timestamp"), rows),
        }
        known = {"side": _side_codes(pc.equal(side, "BUY")), "source": _same("import_data_api", rows)}
        # A negative price of nothing would be a plain zero.
        good = pc.and_(
            pc.is_in(side, pa.array(list(_SIDES))), pc.and_(pc.greater_equal(price, 0.0), _is_trade(columns, rows))
        )
        found = _Rows(needed, known, pc.and_(good, _has_price(shares, usdc)))
        return _keyed(found, token_text, pc.ascii_lower(wallet))

    return convert


def _is_trade(columns: Columns, rows: int) -> pa.Array:
    if _absent(columns.get("type")):
        return _same(True, rows)
    return pc.or_(
        pc.is_null(columns["type"]), pc.fill_null(pc.equal(_text(columns["type"], rows), shapes.TRADE), False)
    )


def _keyed(found: _Rows, token_text: pa.Array, wallet: pa.Array) -> _Rows:
    """With the key that stands in for the order: see `shapes.keyless_id`."""
    rows = len(token_text)
    amounts = (pc.cast(found.needed[name], pa.string()) for name in ("shares_micro", "usdc_micro"))
    side = pc.if_else(pc.equal(found.known["side"], _SIDES["BUY"]), "BUY", "SELL")
    facts = pc.binary_join_element_wise(token_text, side, wallet, *amounts, "|").to_pylist()
    tails = [
        None if each is None else "k" + hashlib.blake2b(each.encode(), digest_size=16).hexdigest() for each in facts
    ]
    found.needed.update(tail=pa.array(tails, pa.string()))
    found.known.update(ordinal=_same(NO_ORDINAL, rows, pa.uint32()), needs_ordinal=_same(1, rows, pa.uint8()))
    return found


def _own(columns: Columns, rows: int) -> _Rows:
    """Our own export; every column that the table may leave open may be null, or empty in a CSV."""
    shares, usdc = _uint(columns.get("shares_micro"), rows), _uint(columns.get("usdc_micro"), rows)
    side, source = _text(columns.get("side"), rows), _text(columns.get("source"), rows)
    needed = {
        "tx_hash": _hex(_text(columns.get("tx_hash"), rows), 32),
        "token_id": _tokens(_text(columns.get("token_id"), rows)),
        "maker": _hex(_text(columns.get("maker"), rows), 20),
        "shares_micro": shares,
        "usdc_micro": usdc,
        "timestamp": _moments(columns.get("timestamp"), rows),
        "source": _kept(source, pc.and_(pc.equal(source, pc.utf8_trim_whitespace(source)), pc.not_equal(source, ""))),
    }
    known = {"side": _side_codes(pc.equal(side, "BUY")), "needs_ordinal": _same(0, rows, pa.uint8())}
    found = _Rows(needed, known, pc.and_(pc.is_in(side, pa.array(list(_SIDES))), _has_price(shares, usdc)))
    return _with_unknown(_with_id(found, columns, rows), columns, rows)


def _with_id(found: _Rows, columns: Columns, rows: int) -> _Rows:
    """The id names the order, or has a key and a number; ids of another form are left alone."""
    claimed, tx_hash = _text(columns["fill_id"], rows), _text(columns["tx_hash"], rows)
    order = _text(columns.get("order_hash"), rows)
    named = pc.fill_null(pc.equal(claimed, pc.binary_join_element_wise(tx_hash, order, "_")), False)
    keyed = pc.extract_regex(pc.utf8_slice_codeunits(claimed, 67), rf"^(?P<key>{shapes.KEY})_(?P<number>[0-9]{{1,9}})$")
    key, number = keyed.flatten() if rows else (_same("", 0), _same("", 0))
    ours = pc.equal(claimed, pc.binary_join_element_wise(tx_hash, key, number, "_"))
    keyless = pc.and_(_unknown(columns.get("order_hash"), rows), pc.fill_null(ours, False))
    found.needed.update(tail=pc.if_else(named, "", key))
    found.known.update(
        order_hash=_kept(_hex(order, 32), named),
        ordinal=pc.if_else(named, pa.scalar(NO_ORDINAL, pa.uint32()), _kept(number, keyless).cast(pa.uint32())),
    )
    readable = pc.or_(pc.invert(named), pc.is_valid(found.known["order_hash"]))
    return found._replace(good=pc.and_(found.good, pc.and_(readable, pc.or_(named, keyless))))


def _with_unknown(found: _Rows, columns: Columns, rows: int) -> _Rows:
    """The columns that may be null: where there is something, it has to be right."""
    words = _text(columns.get("fee_asset"), rows)
    typed = {
        "taker": _hex(_text(columns.get("taker"), rows), 20),
        "fee_micro": _uint(columns.get("fee_micro"), rows),
        "log_index": _uint(columns.get("log_index"), rows),
        "block_number": _uint(columns.get("block_number"), rows),
        "exchange_version": _uint(columns.get("exchange_version"), rows),
    }
    good = pc.and_(_at_most(typed["log_index"], NO_ORDINAL), _at_most(typed["exchange_version"], 255))
    for name, column in typed.items():
        good = pc.and_(good, pc.or_(_unknown(columns.get(name), rows), pc.is_valid(column)))
    place = pc.index_in(words, pa.array(list(_FEE_ASSETS)))
    # Without a fee there is no asset that it was paid in, whatever the file says.
    charged = pc.is_valid(typed["fee_micro"])
    found.known.update(typed, fee_asset=_kept(place, charged).cast(pa.int8()))
    for name, kind in (("log_index", pa.uint32()), ("exchange_version", pa.uint8())):
        found.known[name] = _kept(typed[name], _at_most(typed[name], (1 << kind.bit_width) - 1)).cast(kind)
    told = pc.or_(pc.invert(charged), pc.is_valid(place))
    return found._replace(good=pc.and_(found.good, pc.and_(good, told)))


def _at_most(column: pa.Array, most: int) -> pa.Array:
    """Whether a value is that small; so is one that is not there."""
    return pc.fill_null(pc.less_equal(column, pa.scalar(most, pa.uint64())), True)


def _unknown(column: pa.Array | None, rows: int) -> pa.Array:
    """Whether there is nothing: null, or an empty text."""
    if _absent(column):
        return _same(True, rows)
    return pc.or_(pc.is_null(column), pc.fill_null(pc.equal(_text(column, rows), ""), False))


_CONVERT: Final[dict[str, Callable[[Columns, int], _Rows]]] = {
    shapes.GOLDSKY.name: _goldsky,
    shapes.OWN.name: _own,
    shapes.POLY_DATA.name: _poly_data,
    shapes.TRADES_V1.name: _data_api(shapes.V1),
    shapes.TRADES_V2.name: _data_api(shapes.V2),
}


_EVENT: Final = (*_EVENT_TEXTS, "makerAmountFilled", "takerAmountFilled", "timestamp", "id", "orderHash", "fee")
_WANTED: Final[dict[str, Sequence[str]]] = {
    shapes.GOLDSKY.name: _EVENT,
    shapes.OWN.name: tuple(name for name in Fill._fields if name not in ("needs_ordinal", "price")),
    shapes.POLY_DATA.name: _EVENT,
    shapes.TRADES_V1.name: (
        shapes.V1.wallet,
        shapes.V1.token,
        shapes.V1.tx_hash,
        "side",
        "size",
        "price",
        "timestamp",
        "type",
    ),
    shapes.TRADES_V2.name: (
        shapes.V2.wallet,
        shapes.V2.token,
        shapes.V2.tx_hash,
        "side",
        "size",
        "price",
        "timestamp",
        "type",
    ),
}


# --- one column each


def _same(value: Any, rows: int, kind: pa.DataType | None = None) -> pa.Array:
    return pa.repeat(pa.scalar(value, kind), rows)


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)


def _absent(column: pa.Array | None) -> bool:
    return column is None or pa.types.is_null(column.type)


def _text(column: pa.Array | None, rows: int) -> pa.Array:
    """Text; nothing where the column holds something else."""
    if column is not None and pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column is not None and pa.types.is_string(column.type):
        return column
    if column is not None and (pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type)):
        return column.cast(pa.string())
    return pa.nulls(rows, pa.string())


def _kept(array: pa.Array, keep: pa.Array) -> pa.Array:
    """Null where not to be kept; unknown is not."""
    keep = pc.fill_null(keep, False)
    return array if keep.true_count == len(array) else pc.if_else(keep, array, pa.scalar(None, array.type))


def _hex(text: pa.Array, width: int) -> pa.Array:
    """The bytes that 0x and hex digits of any case stand for."""
    good = pc.and_(pc.equal(pc.binary_length(text), 2 + 2 * width), pc.starts_with(text, "0x"))
    found = _unhexed(text, good, width)
    if found is None:
        good = pc.and_(good, pc.match_substring_regex(text, "^0x[0-9a-fA-F]*$"))
        found = _unhexed(text, good, width)
    return _kept(found, good)


def _unhexed(text: pa.Array, good: pa.Array, width: int) -> pa.Array | None:
    """The digits of all good rows in one go (zeros elsewhere); None when there is something else among them."""
    good = pc.fill_null(good, False)
    if good.true_count != len(text):
        text = pc.if_else(good, text, "0x" + "00" * width)
    digits = pc.binary_slice(text.cast(pa.binary()), 2, 2 + 2 * width)
    data = digits.buffers()[2]
    try:
        raw = binascii.a2b_hex(memoryview(data)[: 2 * width * len(text)] if data is not None else b"")
    except ValueError:
        return None
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(text), [None, pa.py_buffer(raw)])


def _uint(column: pa.Array | None, rows: int) -> pa.Array:
    """A whole number of at most 19 digits, in text or as one."""
    if column is not None and pa.types.is_unsigned_integer(column.type):
        return column.cast(pa.uint64())
    if column is not None and pa.types.is_integer(column.type):
        return _kept(column.cast(pa.int64()), pc.greater_equal(column, 0)).cast(pa.uint64())
    text = _text(column, rows)
    good = pc.and_(pc.ascii_is_decimal(text), pc.less_equal(pc.binary_length(text), _LONGEST_UINT))
    return _kept(text, good).cast(pa.uint64())


def _tokens(text: pa.Array) -> pa.Array:
    """Token ids in decimal text, each different one worked out once."""
    found = text.dictionary_encode()
    return pa.array([_token(each) for each in found.dictionary.to_pylist()], pa.binary(32)).take(found.indices)


@lru_cache(maxsize=1 << 16)
def _token(text: str) -> bytes | None:
    if not (text.isascii() and text.isdigit() and len(text) <= 78 and text[0] != "0"):
        return None
    number = int(text)
    return number.to_bytes(32, "little") if number < 1 << 256 else None


def _moments(column: pa.Array | None, rows: int) -> pa.Array:
    """Unix seconds, from seconds in digits or a number, or from points in time."""
    if column is not None and pa.types.is_timestamp(column.type):
        seconds = pc.floor_temporal(column, unit="second").cast(pa.timestamp("s", column.type.tz)).cast(pa.int64())
    elif column is not None and pa.types.is_floating(column.type):
        whole = pc.floor(column)
        seconds = _kept(whole, pc.less(pc.abs(whole), float(_LAST_SECOND))).cast(pa.int64())
    elif column is not None and pa.types.is_integer(column.type):
        seconds = _kept(column, pc.less(column, _LAST_SECOND)).cast(pa.int64())
    else:
        seconds = _told_moments(_text(column, rows))
    latest = min(int(time.time()) + fields.DAY, _LAST_SECOND)
    good = pc.and_(pc.greater_equal(seconds, fields.FIRST_TRADE), pc.less_equal(seconds, latest))
    return _kept(seconds, good).cast(pa.uint32())


def _told_moments(text: pa.Array) -> pa.Array:
    digits = pc.and_(pc.ascii_is_decimal(text), pc.equal(pc.binary_length(text), 10))
    if pc.fill_null(digits, False).true_count or not len(text):
        return _kept(text, digits).cast(pa.int64())
    for zone in (None, "UTC"):
        try:
            found = text.cast(pa.timestamp("us", zone))
        except pa.ArrowInvalid:
            continue
        return pc.floor_temporal(found, unit="second").cast(pa.timestamp("s", zone)).cast(pa.int64())
    return pa.nulls(len(text), pa.int64())


def _number(column: pa.Array | None, rows: int) -> pa.Array:
    """A number as the float next to it."""
    if column is not None and pa.types.is_floating(column.type):
        return column.cast(pa.float64())
    if column is not None and (pa.types.is_integer(column.type) or pa.types.is_decimal(column.type)):
        return column.cast(pa.float64(), safe=False)
    text = _text(column, rows)
    return _kept(text, pc.match_substring_regex(text, _PLAIN_NUMBER)).cast(pa.float64())


def _micro(number: pa.Array) -> pa.Array:
    """Micro-units where the nearest whole one is beyond doubt."""
    scaled = pc.multiply(number, float(fields.MICRO))
    whole = pc.round(scaled)
    sure = pc.and_(pc.less(pc.abs(pc.subtract(scaled, whole)), _SURE_PART), pc.less(scaled, _SURE_BELOW))
    return _kept(whole, pc.and_(sure, pc.greater_equal(scaled, 0.0))).cast(pa.uint64())


def _side_codes(buys: pa.Array) -> pa.Array:
    return pc.if_else(buys, pa.scalar(1, pa.int8()), pa.scalar(2, pa.int8()))


def _has_price(shares: pa.Array, usdc: pa.Array) -> pa.Array:
    """Whether there are shares, and dollars for a share that the table holds for sure."""
    ratio = pc.divide(usdc.cast(pa.float64(), safe=False), shares.cast(pa.float64(), safe=False))
    return pc.and_(pc.greater(shares, pa.scalar(0, pa.uint64())), pc.less(ratio, _HIGHEST_PRICE))
