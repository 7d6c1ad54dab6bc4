"""Goldsky: the fills of many tokens a request, from the orderbook subgraph's `orderFilledEvents`.

One body asks two lists: fills in which the maker gave one of the tokens (it sold), and fills in which it received one
(it bought). Both are read in the order of their ids, which are unique, so that nothing is lost however many fills a
second has. The cursor says how far each list is read, and how many rows are asked for:
`m=<id>;t=<id>;n=<rows>`, "-" for a list that is through.

The lists have names made from the question, so that an answer to another one is known by its names, even an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from operator import lt
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from backfill.engine.model import Page, Request, Unit
from backfill.errors import UpstreamUnusable
from backfill.tracks import contract, rows
from backfill.tracks.rows import Letters
from backfill.tracks.track import Envelope, Track, Window

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "goldsky_fills"
SOURCE = "goldsky"
MOST = 1000
"""Rows that Goldsky returns at most; also keys in one question for counts."""
THROUGH = "-"
COLLATERAL = "0"
GIVEN, TAKEN = "m", "t"
NAMES = (
    "id", "timestamp", "maker", "taker", "makerAssetId", "takerAssetId",
    "makerAmountFilled", "takerAmountFilled", "fee",
)  # fmt: skip
FILTERS = {GIVEN: "makerAssetId_in", TAKEN: "takerAssetId_in"}
FIELDS: contract.Fields = {
    "id": contract.Kind("<transaction hash>_<order hash>", lambda value: _split(value) is not None),
    "timestamp": contract.SECONDS_TEXT,
    "maker": contract.ADDRESS,
    "taker": contract.ADDRESS,
    "makerAssetId": contract.ASSET,
    "takerAssetId": contract.ASSET,
    "makerAmountFilled": contract.AMOUNT,
    "takerAmountFilled": contract.AMOUNT,
    "fee": contract.AMOUNT,
}
COLUMNS = (
    "fill_id", "token_id", "maker", "taker", "side", "shares_micro", "usdc_micro", "fee_micro", "fee_asset", "price",
    "timestamp", "tx_hash", "order_hash", "exchange_version", "source", "track", "unit",
)  # fmt: skip
"""What the lines hold, tab-separated; nothing in them needs an escape."""
HEX_DIGITS = b"0123456789abcdef"
HASH_CHARS, ID_CHARS, ADDRESS_CHARS, SECOND_CHARS = 66, 133, 42, 10
HEAD = {"query": "{newest:orderFilledEvents(first:1,orderBy:timestamp,orderDirection:desc){timestamp}"
        "_meta{hasIndexingErrors}}"}  # fmt: skip


class Place(NamedTuple):
    """How far both lists are read: the id of the last row, empty at the beginning, None when through."""

    given: str | None = ""
    taken: str | None = ""
    first: int = MOST

    @property
    def open(self) -> dict[str, str]:
        """The lists that are still to be read, with the ids to go on from."""
        both = {GIVEN: self.given, TAKEN: self.taken}
        return {name: last for name, last in both.items() if last is not None}

    def text(self) -> str:
        """The cursor."""
        given, taken = (THROUGH if last is None else last for last in (self.given, self.taken))
        return f"m={given};t={taken};n={self.first}"


def place(cursor: str | None) -> Place:
    """What a cursor means; both lists from their beginning without one."""
    if cursor is None:
        return Place()
    parts = dict(part.split("=", 1) for part in cursor.split(";"))
    given, taken = (None if parts[name] == THROUGH else parts[name] for name in (GIVEN, TAKEN))
    return Place(given, taken, int(parts["n"]))


class Asked(NamedTuple):
    """What a unit asks for."""

    tokens: tuple[str, ...]
    wanted: frozenset[str]
    window: Window


@lru_cache(maxsize=256)
def asked(items: tuple[str, ...]) -> Asked:
    """The tokens of a unit and their common window.

    Raises:
        ValueError: the items have different windows, or none.
    """
    found = rows.stretches(items)
    windows = {stretch.window for stretch in found}
    if len(windows) != 1:
        raise ValueError(f"a unit has one window of time, not {len(windows)}")
    tokens = tuple(stretch.key for stretch in found)
    return Asked(tokens, frozenset(tokens), windows.pop())


class GoldskyFills:
    """The lane of the `goldsky_fills` track; `subgraph` is name/version of the orderbook subgraph."""

    name = NAME
    measure_batch = MOST

    def __init__(self, subgraph: str) -> None:
        self._path = f"/{subgraph}/gn"

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        where, question = place(cursor), asked(unit.items)
        body = {"query": _query(where, rows.tag(unit, cursor)), "variables": _variables(where, question)}
        return Request("POST", self._path, body=orjson.dumps(body), asked=len(unit.items))

    def smaller(self, _unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`: the same places with half the rows."""
        where = place(cursor)
        return where._replace(first=where.first // 2).text() if where.first > 1 else None

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`. A list that brought fewer rows than were asked for is through."""
        where, question = place(cursor), asked(unit.items)
        lists = _lists(body, where, rows.tag(unit, cursor))
        letters = Letters(NAME, unit)
        lines: list[bytes] = []
        ends: dict[str, str | None] = {GIVEN: None, TAKEN: None}
        for side, found in lists.items():
            if len(found) > where.first:
                raise rows.unreadable(NAME, f"{len(found)} rows where {where.first} were asked for", body)
            read = _plain(unit, side, found, where, question)
            if read is None:
                read = _careful(unit, side, found, where, question, letters)
            lines += read
            ends[side] = _last(found, where.open[side]) if len(found) == where.first else None
        letters.judge(len(lines), body)
        following = Place(ends[GIVEN], ends[TAKEN], where.first)
        if any(end == where.open[side] for side, end in ends.items() if end is not None):
            raise rows.unreadable(NAME, "a full page without one id that is new", body)
        done = not following.open
        return Page(lines, len(unit.items) if done else 0, tuple(letters.found), None if done else following.text())

    def head(self) -> Request:
        """See `Headed`."""
        return Request("POST", self._path, body=orjson.dumps(HEAD))

    def read_head(self, body: bytes) -> int:
        """See `Headed`. Blocks are indexed whole, so the second of the newest fill is complete."""
        data = _data(body)
        meta, newest = data.get("_meta"), data.get("newest")
        if not isinstance(meta, dict) or not isinstance(newest, list) or len(newest) != 1:
            raise rows.unreadable(NAME, "does not say how far it goes", body)
        if meta.get("hasIndexingErrors") is not False:
            raise UpstreamUnusable(
                f"the subgraph has indexing errors: {contract.shown(meta.get('hasIndexingErrors'))}",
                kind="stale",
                where=NAME,
            )
        if (fault := contract.drift(newest[0], {"timestamp": contract.SECONDS_TEXT})) is not None:
            raise rows.unreadable(NAME, fault, body)
        return int(newest[0]["timestamp"]) + 1

    def envelope(self, unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        lists: dict[str, list[Any]] = {GIVEN: [], TAKEN: []}
        lists[TAKEN if row.get("makerAssetId") == COLLATERAL else GIVEN].append(row)
        number = rows.tag(unit, None)
        return Envelope(None, orjson.dumps({"data": {f"{side}_{number:08x}": one for side, one in lists.items()}}))

    def measure(self, keys: Sequence[str]) -> Request:
        """See `Measured`."""
        name = f"n_{_key_tag(keys):08x}"
        query = f"query($ids:[ID!]!){{{name}:orderbooks(first:{MOST},where:{{id_in:$ids}}){{id tradesQuantity}}}}"
        body = orjson.dumps({"query": query, "variables": {"ids": list(keys)}})
        return Request("POST", self._path, body=body, asked=len(keys))

    def read_measure(self, keys: Sequence[str], body: bytes) -> Mapping[str, int]:
        """See `Measured`. A book is made at a token's first fill: a token without one has none."""
        found = _data(body).get(f"n_{_key_tag(keys):08x}")
        if not isinstance(found, list):
            raise rows.other_question(NAME, body)
        counts = dict.fromkeys(keys, 0)
        for entry in found:
            fault = contract.drift(entry, {"id": contract.TOKEN, "tradesQuantity": contract.AMOUNT})
            if fault is not None or entry["id"] not in counts:
                raise rows.unreadable(NAME, fault or f"token {entry['id']} {rows.NOT_ASKED}", body)
            counts[entry["id"]] = int(entry["tradesQuantity"])
        return counts


def _key_tag(keys: Sequence[str]) -> int:
    return rows.tag(Unit(0, tuple(keys)), None)


def _query(where: Place, tag: int) -> str:
    variables = "".join(f",${side}:ID!" for side, last in where.open.items() if last)
    lists = "".join(
        f"{side}_{tag:08x}:orderFilledEvents(first:$n,orderBy:id,orderDirection:asc,where:{{{FILTERS[side]}:$ids,"
        f"timestamp_gte:$a,timestamp_lt:$b{f',id_gt:${side}' if last else ''}}}){{{' '.join(NAMES)}}}"
        for side, last in where.open.items()
    )
    return f"query($ids:[String!]!,$a:BigInt!,$b:BigInt!,$n:Int!{variables}){{{lists}}}"


def _variables(where: Place, question: Asked) -> dict[str, Any]:
    start, end = question.window
    return {
        "ids": question.tokens,
        "a": str(start),
        "b": str(end),
        "n": where.first,
        **{side: last for side, last in where.open.items() if last},
    }


def _data(body: bytes) -> dict[str, Any]:
    document = rows.document(NAME, body)
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict):
        raise rows.unreadable(NAME, "no data", body)
    return data


def _lists(body: bytes, where: Place, tag: int) -> dict[str, list[Any]]:
    data = _data(body)
    lists = {side: data.get(f"{side}_{tag:08x}") for side in where.open}
    if any(not isinstance(found, list) for found in lists.values()):
        raise rows.other_question(NAME, body)
    return lists  # type: ignore[return-value]


def _last(found: Sequence[Any], before: str) -> str:
    """The id that the page after a full one begins behind: the greatest, of rows that are broken elsewhere too.

    A text that is no id may sort behind everything; going on from it is the last resort.
    """
    final = found[-1].get("id") if isinstance(found[-1], dict) else None
    if isinstance(final, str) and _split(final) is not None and final > before:
        return final
    ids = [row["id"] for row in found if isinstance(row, dict) and isinstance(row.get("id"), str)]
    return max(filter(_split, ids), default=max(ids, default=before))


def _plain(unit: Unit, side: str, found: Sequence[Any], where: Place, question: Asked) -> list[bytes] | None:
    """The lines of a list whose rows are all as they should be, read column by column; None if any is not.

    Nearly all pages are, and a call for each row would cost half the speed. What the columns show together is what
    `_careful` would find row by row.
    """
    if not found:
        return []
    try:
        columns = [[row[name] for row in found] for name in NAMES]
        good = _columns_hold(side, columns, where.open[side], question)
        return _lines(unit, side, columns) if good else None
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError):
        return None


def _columns_hold(side: str, columns: Sequence[list[str]], after: str, question: Asked) -> bool:
    ids, times, makers, takers, given, taken, *amounts = columns
    tokens, money = (given, taken) if side == GIVEN else (taken, given)
    first, last = min(times), max(times)
    return (
        question.wanted.issuperset(tokens)
        and money.count(COLLATERAL) == len(ids)
        and ids[0] > after
        and all(map(lt, ids, ids[1:]))
        and _are_hex(ids, makers, takers)
        and _are_digits(times, *amounts)
        and set(map(len, times)) == {SECOND_CHARS}
        and question.window.start <= int(first)
        and int(last) < question.window.end
    )


def _are_hex(ids: Sequence[str], makers: Sequence[str], takers: Sequence[str]) -> bool:
    """Whether ids are two lower-case hashes, and makers and takers are lower-case addresses.

    All are equally long, so that the marks of all of them stand at equal distances; the rest must be hex digits.
    """
    count = len(ids)
    if set(map(len, ids)) != {ID_CHARS} or {*map(len, makers), *map(len, takers)} != {ADDRESS_CHARS}:
        return False
    fills, wallets = "".join(ids).encode(), "".join((*makers, *takers)).encode()
    marks = [fills[at::ID_CHARS] for at in (0, 1, HASH_CHARS, HASH_CHARS + 1, HASH_CHARS + 2)]
    marks += [wallets[at::ADDRESS_CHARS] for at in (0, 1)]
    wanted = [b"0" * count, b"x" * count, b"_" * count, b"0" * count, b"x" * count, b"0" * 2 * count, b"x" * 2 * count]
    return (
        marks == wanted
        and fills.translate(None, HEX_DIGITS) == b"x_x" * count
        and wallets.translate(None, HEX_DIGITS) == b"x" * 2 * count
    )


def _are_digits(*columns: Sequence[str]) -> bool:
    """Whether all texts hold decimal digits only; an empty one is for `int` to find."""
    return "".join(chain(*columns)).encode().isdigit()


def _lines(unit: Unit, side: str, columns: Sequence[list[str]]) -> list[bytes] | None:
    ids, times, makers, takers, given_assets, taken_assets, given, taken, fees = columns
    sells = side == GIVEN
    shares, usdc = (list(map(int, each)) for each in ((given, taken) if sells else (taken, given)))
    scale = rows.PRICE_SCALE
    charged = [int(fee) for fee in fees if fee != "0"]
    prices = [money * scale // count for money, count in zip(usdc, shares, strict=True)]
    if max(prices) >= scale * scale or max(*shares, *usdc, *charged) >= contract.MOST_AMOUNT:
        return None
    if max(prices) < scale:
        texts = [f"0.{price:09d}" for price in prices]
    else:
        texts = [f"{price // scale}.{price % scale:09d}" for price in prices]
    kind = "usdc" if sells else "shares"
    told = ["0\tnone" if fee == "0" else f"{int(fee)}\t{kind}" for fee in fees]
    word = "SELL" if sells else "BUY"
    tail = f"1\t{SOURCE}\t{NAME}\t{unit.number}"
    tokens = given_assets if sells else taken_assets
    return [
        f"{fill}\t{token}\t{maker}\t{taker}\t{word}\t{count}\t{money}\t{fee}\t{price}\t{at}\t"
        f"{fill[:HASH_CHARS]}\t{fill[HASH_CHARS + 1 :]}\t{tail}".encode()
        for fill, token, maker, taker, count, money, fee, price, at in zip(
            ids, tokens, makers, takers, shares, usdc, told, texts, times, strict=True
        )
    ]


def _careful(
    unit: Unit, side: str, found: Sequence[Any], where: Place, question: Asked, letters: Letters
) -> list[bytes]:
    """The lines of a list, row by row; what is not as it should be becomes a letter that says why."""
    lines: list[bytes] = []
    after = where.open[side]
    for row in found:
        if (fault := contract.drift(row, FIELDS)) is not None:
            letters.refuse(row, fault)
            continue
        token, other = (row["makerAssetId"], row["takerAssetId"])[:: 1 if side == GIVEN else -1]
        inside = question.window.start <= int(row["timestamp"]) < question.window.end
        if token not in question.wanted or other != COLLATERAL or not inside or row["id"] <= after:
            letters.not_asked(row)
            continue
        after = row["id"]
        try:
            lines.append(_line(unit, side, row))
        except ValueError as error:
            letters.refuse(row, str(error))
    return lines


def _line(unit: Unit, side: str, row: Mapping[str, str]) -> bytes:
    sells = side == GIVEN
    given, taken, fee = (int(row[name]) for name in ("makerAmountFilled", "takerAmountFilled", "fee"))
    shares, usdc = (given, taken) if sells else (taken, given)
    tx_hash, order_hash = row["id"].lower().split("_")
    values = (
        f"{tx_hash}_{order_hash}",
        row["makerAssetId"] if sells else row["takerAssetId"],
        row["maker"].lower(),
        row["taker"].lower(),
        "SELL" if sells else "BUY",
        shares,
        usdc,
        fee,
        "none" if fee == 0 else "usdc" if sells else "shares",
        rows.price_text(usdc, shares),
        int(row["timestamp"]),
        tx_hash,
        order_hash,
        1,
        SOURCE,
        NAME,
        unit.number,
    )
    return "\t".join(map(str, values)).encode()


def _split(value: object) -> tuple[str, str] | None:
    """Transaction and order of an id."""
    tx_hash, mark, order_hash = value.partition("_") if isinstance(value, str) else ("", "", "")
    if not mark or not contract.HASH.holds(tx_hash) or not contract.HASH.holds(order_hash):
        return None
    return tx_hash, order_hash


def _make(config: Config) -> GoldskyFills:
    return GoldskyFills(config.upstreams.goldsky.subgraphs.orderbook)


TRACK = Track(NAME, "fills", "goldsky", rows.TABLE, "tokens", _make, columns=COLUMNS)
