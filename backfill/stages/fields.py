"""One value of a dump, checked and brought into the form of our tables.

Every function takes what a CSV, JSON or parquet reader gives (text, int, Decimal, float, None …) and either returns the
value or raises a `ValueError` whose text is the reason that ends up beside the refused row. A value of another kind
than the column is known for (a number where text was, a float where digits were) is named with column, expectation and
what was seen, because then it is the source that has changed, and not one row that is bad.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final

from backfill.tracks.contract import shown

MICRO: Final = 1_000_000
"""Units in one share or one dollar."""

_HASH = re.compile(r"(?:0x)?([0-9a-f]{64})", re.IGNORECASE)
_ADDRESS = re.compile(r"0x[0-9a-f]{40}", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9]+")
_FLOAT = re.compile(r"[0-9]+\.[0-9]*(e[-+]?[0-9]+)?|[0-9]+e[-+]?[0-9]+", re.IGNORECASE)
FIRST_TRADE: Final = int(datetime(2020, 9, 1, tzinfo=UTC).timestamp())
"""No fill is older (unix seconds)."""
DAY: Final = 86_400
"""Seconds by which a fill may be ahead of our clock, so that clocks need not agree."""

_SIDES: Final = {"BUY": "BUY", "SELL": "SELL", "1": "BUY", "2": "SELL"}


def drift(what: str, expected: str, value: Any) -> ValueError:
    """The reason for a value of another kind than the column is known for."""
    return ValueError(f"column {what}: expected {expected}, saw {shown(value)}")


def text(value: Any) -> str | None:
    """Text without surrounding blanks; absent, empty and blank are all None."""
    if value is None:
        return None
    plain = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return plain.strip() or None


def whole(value: Any, what: str) -> int:
    """A whole number below 2^256, from digits or an int; never from a float, which has lost digits."""
    if type(value) is str and len(value) < 78 and value.isascii() and value.isdigit():
        return int(value)  # nearly every value of a dump, and always below 2^256
    if value is None or value == "":
        raise ValueError(f"{what} is missing")
    if isinstance(value, bool) or not isinstance(value, int | str | bytes | Decimal):
        raise drift(what, "a whole number in digits", value)
    # A decimal that came with a point or an exponent is a float's text; one without is a column of whole numbers.
    if isinstance(value, Decimal) and value.as_tuple().exponent != 0:
        raise drift(what, "a whole number in digits", value)
    if not isinstance(value, int):
        digits = text(value) or ""
        if not (_DIGITS.fullmatch(digits) and len(digits) <= 78):
            if _FLOAT.fullmatch(digits):
                raise drift(what, "a whole number in digits", value)
            raise ValueError(f"{what} is not a whole number: {digits[:90]!r}")
        value = int(digits)
    if not 0 <= value < 1 << 256:
        raise ValueError(f"{what} is outside 0..2^256-1")
    return int(value)


def token(value: Any, what: str = "token id") -> int:
    """A token id: a whole number within 1..2^256-1."""
    number = whole(value, what)
    if number == 0:
        raise ValueError(f"{what} is 0, which is no token")
    return number


def amount(value: Any, what: str) -> int:
    """An amount in micro-units that fits the table's 64 bits."""
    number = whole(value, what)
    if number >= 1 << 64:
        raise ValueError(f"{what} does not fit 64 bits")
    return number


def micro(value: Any, what: str) -> int:
    """Micro-units of a decimal amount of shares or dollars, rounded to the nearest."""
    number = decimal(value, what)
    return amount(int((number * MICRO).to_integral_value(ROUND_HALF_EVEN)), what)


def decimal(value: Any, what: str) -> Decimal:
    """A finite decimal number that is not negative; a float by its shortest text, which is what its writer had."""
    if isinstance(value, bool) or not isinstance(value, str | bytes | int | float | Decimal | None):
        raise drift(what, "a number", value)
    plain = text(value)
    if plain is None:
        raise ValueError(f"{what} is missing")
    try:
        number = Decimal(plain)
    except InvalidOperation:
        raise drift(what, "a number", value) from None
    if not number.is_finite() or number < 0 or number >= 1 << 64:
        raise ValueError(f"{what} is not an amount: {plain[:40]!r}")
    return number


def hash32(value: Any, what: str) -> str:
    """A 32-byte hash as 0x and 64 lower-case hex digits."""
    return "0x" + condition(value, what)


def condition(value: Any, what: str = "condition id") -> str:
    """A condition id as our tables have it: 64 lower-case hex digits without 0x."""
    plain = _hex(value, what, "64 hex digits")
    found = _HASH.fullmatch(plain.strip())
    if found is None:
        raise ValueError(f"{what} is not 64 hex digits: {plain[:80]!r}")
    return found[1].lower()


def address(value: Any, what: str) -> str:
    """An address as 0x and 40 lower-case hex digits."""
    plain = _hex(value, what, "an address")
    found = _ADDRESS.fullmatch(plain.strip())
    if found is None:
        raise ValueError(f"{what} is not an address: {plain[:60]!r}")
    return found[0].lower()


def _hex(value: Any, what: str, expected: str) -> str:
    if type(value) is str and value:
        return value
    if value is None or value == "" or value == b"":
        raise ValueError(f"{what} is missing")
    if not isinstance(value, str | bytes):
        raise drift(what, f"{expected} as text", value)
    return text(value) or ""


def side(value: Any) -> str:
    """BUY or SELL, from the word in any case or the number of our Enum8."""
    if isinstance(value, bool) or not isinstance(value, str | bytes | int | None):
        raise drift("side", "BUY or SELL", value)
    found = _SIDES.get((text(value) or "").upper())
    if found is None:
        raise ValueError(f"side is neither BUY nor SELL: {text(value)!r}")
    return found


def index(value: Any) -> int:
    """An outcome index within 0..255; 999 is the Data API's word for "not known yet"."""
    # Small enough for a float to be exact: tables made with pandas say 0.0 where an index was missing elsewhere.
    number = whole(text(value) and _unfloated(value), "outcome index")
    if number > 255:
        raise ValueError("outcome index is not known (999)" if number == 999 else "outcome index is above 255")
    return number


def _unfloated(value: Any) -> Any:
    plain = text(value) or ""
    return plain.removesuffix(".0") if plain.endswith(".0") else value


def moment(value: Any, *, now: float | None = None) -> int:
    """Unix seconds, from seconds or an ISO 8601 text (UTC when it names no zone).

    Polymarket's exchange began in September 2020; more than a day ahead of the clock is no past trade.
    """
    seconds = _seconds(value)
    latest = (time.time() if now is None else now) + DAY
    if not FIRST_TRADE <= seconds <= latest:
        raise ValueError(f"timestamp is not plausible: {seconds}")
    return seconds


def _seconds(value: Any) -> int:
    if type(value) is str and len(value) == 10 and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, datetime):
        return int(_utc(value).timestamp())
    if isinstance(value, bool) or not isinstance(value, str | bytes | int | float | Decimal | None):
        raise drift("timestamp", "seconds or ISO 8601", value)
    plain = text(value)
    if plain is None:
        raise ValueError("timestamp is missing")
    try:
        # A float such as 1761680413.0 is whole as well.
        return int(Decimal(plain).to_integral_value(rounding="ROUND_FLOOR"))
    except (InvalidOperation, OverflowError, ValueError):
        pass
    try:
        return int(_utc(datetime.fromisoformat(plain)).timestamp())
    except (ValueError, OverflowError):
        raise ValueError(f"timestamp is neither seconds nor ISO 8601: {plain[:40]!r}") from None


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value
