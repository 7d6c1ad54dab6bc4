"""What the lanes of fills have in common: amounts, prices, ids, units of one window, and letters.

Amounts are whole numbers in micro-units (millionths of a share or of a dollar). Where an upstream gives numbers that
JSON readers make floats of, they are rounded to the micro-unit here, and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple

import orjson

from backfill.engine.model import DeadLetter, Unit
from backfill.errors import Unreadable
from backfill.tracks.contract import MOST_AMOUNT
from backfill.tracks.track import Window, read_item

TABLE = "staging.clob_fills_v2"
NOT_ASKED = "was not asked for"
MICRO = 1_000_000
PRICE_SCALE = 10**9
EXACT_BELOW = 10**9
"""Shares or dollars below which a float holds six decimals with room to spare: 10^15 micro-units of 2^53."""
SURE_BELOW = 1e12
"""Micro-units below which the product of two floats is wrong by less than a thousandth of one."""
SURE_PART = 0.499


def price_text(usdc_micro: int, shares_micro: int) -> str:
    """Dollars for a share, cut off behind nine decimals.

    Raises:
        ValueError: no shares, or a price that the table does not hold.
    """
    if shares_micro == 0:
        raise ValueError("no shares changed hands, so there is no price")
    units, rest = divmod(usdc_micro * PRICE_SCALE // shares_micro, PRICE_SCALE)
    if units >= PRICE_SCALE:
        raise ValueError("the price does not fit nine digits before the point")
    return f"{units}.{rest:09d}"


def keyless_id(tx_hash: str, token_id: str | int, side: str, wallet: str, shares_micro: int, usdc_micro: int) -> str:
    """The stem of a fill id where an upstream shows no order: `_<ordinal>` among equal rows of a transaction follows.

    `<tx_hash>_k<32 hex digits>`, the digits being BLAKE2b-128 of the facts joined by "|". Money stands in for the
    price, which is printed with different numbers of digits here and there.
    """
    facts = f"{token_id}|{side}|{wallet}|{shares_micro}|{usdc_micro}"
    return f"{tx_hash}_k{hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()}"


def micro(value: float | int | str | Decimal, what: str) -> int:
    """Micro-units of shares or dollars, rounded to the nearest, halves to the even one.

    Raises:
        ValueError: the amount does not fit the table.
    """
    if type(value) is float and value < EXACT_BELOW:
        scaled = value * MICRO
        whole = round(scaled)
        if abs(scaled - whole) < SURE_PART:
            return whole
    return _rounded(Decimal(str(value)) * MICRO, what)


def money(size: float | int | str | Decimal, price: float | int | str | Decimal) -> int:
    """Micro-dollars of so many shares at a price, rounded to the nearest, halves to the even one.

    Raises:
        ValueError: the amount does not fit the table.
    """
    if type(size) is float and type(price) is float:
        scaled = size * price * MICRO
        if scaled < SURE_BELOW and abs(scaled - (whole := round(scaled))) < SURE_PART:
            return whole
    return _rounded(Decimal(str(size)) * Decimal(str(price)) * MICRO, "size times price")


def worth(shares_micro: int, price: float | int) -> int:
    """Micro-dollars of so many micro-shares at a price, rounded to the nearest, halves to the even one.

    Raises:
        ValueError: the amount does not fit the table.
    """
    scaled = shares_micro * price
    if scaled < SURE_BELOW and abs(scaled - (whole := round(scaled))) < SURE_PART:
        return whole
    return _rounded(Decimal(shares_micro) * Decimal(str(price)), "shares times price")


def _rounded(scaled: Decimal, what: str) -> int:
    number = int(scaled.to_integral_value(ROUND_HALF_EVEN))
    if not 0 <= number < MOST_AMOUNT:
        raise ValueError(f"{what} does not fit 64 bits")
    return number


def exact(body: bytes) -> Any:
    """A JSON document with every fraction as the digits that came, for amounts that a float cannot hold."""
    return json.loads(body, parse_float=Decimal)


def line(row: Mapping[str, Any]) -> bytes:
    """A row for the table; what is not known is left out."""
    return orjson.dumps({name: value for name, value in row.items() if value is not None})


class Letters:
    """The refusals of one page."""

    def __init__(self, track: str, unit: Unit) -> None:
        self._track, self._unit = track, unit.number
        self.found: list[DeadLetter] = []
        self.foreign = 0

    def refuse(self, row: object, reason: str, cls: str = "contract") -> None:
        """Keep a row out; `raw` is the row as JSON."""
        raw = orjson.dumps(row, default=_as_digits).decode()
        self.found.append(DeadLetter(self._track, self._unit, cls, reason, raw))

    def not_asked(self, row: object) -> None:
        """Keep a row out that answers another question."""
        self.foreign += 1
        self.refuse(row, NOT_ASKED)

    def judge(self, ours: int, body: bytes) -> None:
        """Refuse the whole answer where more rows were foreign than ours.

        Raises:
            Unreadable: it answers another question.
        """
        if self.foreign > ours:
            raise other_question(self._track, body)


def _as_digits(value: object) -> orjson.Fragment:
    """An exact number in its own digits."""
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} does not come from JSON")
    return orjson.Fragment(str(value))


def other_question(track: str, body: bytes) -> Unreadable:
    """What to raise when an answer belongs to another request."""
    return Unreadable("the answer to another question", raw=body, where=track)


def unreadable(track: str, why: str, body: bytes) -> Unreadable:
    """What to raise when an answer cannot be used, with its bytes."""
    return Unreadable(why, raw=body, where=track)


def document(track: str, body: bytes) -> Any:
    """A body as JSON.

    Raises:
        Unreadable: it is none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise unreadable(track, f"not JSON: {error}", body) from None


def tag(unit: Unit, cursor: str | None) -> int:
    """A number of 32 bits for one question: where an answer repeats it, the answer cannot be another's."""
    return zlib.crc32(f"{unit.number} {cursor} {' '.join(unit.items)}".encode())


class Stretch(NamedTuple):
    """A key and the seconds in which its rows are wanted, half-open."""

    key: str
    window: Window


def stretches(items: Sequence[str]) -> tuple[Stretch, ...]:
    """The items of a unit, taken apart.

    Raises:
        ValueError: an item has no window.
    """
    found = []
    for text in items:
        key, window = read_item(text)
        if window is None:
            raise ValueError(f"{text!r} has no window of time")
        found.append(Stretch(key, window))
    return tuple(found)
