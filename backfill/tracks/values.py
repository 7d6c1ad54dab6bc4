"""Fields of upstream rows, read one at a time: each in the form of our tables, or named when it is not what it was.

A field that is absent, null or an empty text is unknown, which is None here and no key in a line. Anything else that
is not of the promised form is a `Drift`: its text says which field, what was expected and what was seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import reduce
from math import gcd
from typing import Any, Final, TypeVar

import orjson

from backfill.tracks.contract import shown

Row = Mapping[str, Any]
T = TypeVar("T")

MICRO: Final = Decimal(1_000_000)
NOT_KNOWN_YET: Final = 999
"""What the Data API says for the outcome index of a label it has not looked up."""

_HEX_64, _HEX_62_64 = re.compile(r"0x([0-9a-fA-F]{64})"), re.compile(r"0x([0-9a-fA-F]{62}|[0-9a-fA-F]{64})")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_TOKEN = re.compile(r"[1-9][0-9]{0,77}")
_DIGITS = re.compile(r"[0-9]{1,78}")
_UNIX = re.compile(r"[0-9]{1,12}")
_ZERO_YEAR = "0001-01-01"
_END_OF_TIME = 1 << 32
"""Our DateTime columns hold seconds in 32 bits."""


class Drift(ValueError):
    """A field is not what it was; the text names field, expectation and what was seen."""

    def __init__(self, field: str, expected: str, seen: Any) -> None:
        super().__init__(f"field {field}: expected {expected}, saw {shown(seen)}")


def need(read: Callable[[Row, str], T | None], row: Row, field: str) -> T:
    """A field that must be there, read by one of the readers below.

    Raises:
        Drift: it is absent, null or empty.
    """
    value = read(row, field)
    if value is None:
        raise Drift(field, "a value", row.get(field))
    return value


def text(row: Row, field: str) -> str | None:
    """Text without surrounding blanks."""
    value = row.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Drift(field, "text", value)
    return value.strip() or None


def flag(row: Row, field: str) -> int | None:
    """A truth value as 0 or 1."""
    value = row.get(field)
    if value is None:
        return None
    if not isinstance(value, bool):
        raise Drift(field, "true or false", value)
    return int(value)


def condition(row: Row, field: str) -> str | None:
    """A condition id as 64 lower-case hex digits without 0x."""
    return _matched(row, field, _HEX_64, "0x and 64 hex digits")


def any_condition(row: Row, field: str) -> str | None:
    """A condition id without 0x, of 64 hex digits, or of the 62 that a combination has."""
    return _matched(row, field, _HEX_62_64, "0x and 64 (or 62) hex digits")


def hash32(row: Row, field: str) -> str | None:
    """A hash of 32 bytes as 0x and 64 lower-case hex digits."""
    digits = condition(row, field)
    return None if digits is None else f"0x{digits}"


def address(row: Row, field: str) -> str | None:
    """An address as 0x and 40 lower-case hex digits."""
    value = text(row, field)
    if value is None:
        return None
    if not _ADDRESS.fullmatch(value):
        raise Drift(field, "0x and 40 hex digits", value)
    return value.lower()


def token(row: Row, field: str) -> str | None:
    """A token id in decimal text; a number would have gone through a float somewhere."""
    value = text(row, field)
    return None if value is None else _token(value, field)


def tokens(row: Row, field: str) -> list[str]:
    """A list of token ids, empty when there is none."""
    return [_token(each, field) for each in strings(row, field)]


def whole(row: Row, field: str) -> int | None:
    """A whole number below 2^256 that is not negative, as a number or in decimal text."""
    value = row.get(field)
    if value is None or value == "":
        return None
    return _whole(value, field)


def wholes(row: Row, field: str) -> list[int]:
    """A list of such numbers, empty when there is none."""
    value = row.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Drift(field, "a list of whole numbers", value)
    return [_whole(each, field) for each in value]


def amount(row: Row, field: str) -> int | None:
    """A whole number of micro-units that fits 64 bits."""
    value = whole(row, field)
    if value is not None and value >= 1 << 64:
        raise Drift(field, "an amount within 64 bits", value)
    return value


def index(row: Row, field: str) -> int | None:
    """An outcome index within 0..255; None also where the source does not know it yet."""
    value = whole(row, field)
    if value is None or value == NOT_KNOWN_YET:
        return None
    if value > 255:
        raise Drift(field, "an outcome index within 0..255", value)
    return value


def number(row: Row, field: str) -> Decimal | None:
    """A finite number, as a number or as text; a float by its shortest text, which is what its writer had."""
    value = row.get(field)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Drift(field, "a number", value)
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        raise Drift(field, "a number", value) from None
    if not found.is_finite() or abs(found) >= 1 << 63:
        raise Drift(field, "a number within 63 bits", value)
    return found


def signed_micro(row: Row, field: str) -> int | None:
    """Micro-units of a number of shares or dollars, rounded to the nearest; may be negative."""
    value = number(row, field)
    if value is None:
        return None
    units = int((value * MICRO).to_integral_value())
    if not -(1 << 63) <= units < 1 << 63:
        raise Drift(field, "an amount within 64 bits", row[field])
    return units


def micro(row: Row, field: str) -> int | None:
    """Micro-units of a number of shares or dollars, rounded to the nearest."""
    units = signed_micro(row, field)
    if units is not None and units < 0:
        raise Drift(field, "an amount that is not negative", row[field])
    return units


def decimal(row: Row, field: str, places: int) -> str | None:
    """A number as text with at most so many decimals, rounded to the nearest: how a Decimal column takes it."""
    value = number(row, field)
    return None if value is None else f"{round(value, places):f}"


def moment(row: Row, field: str) -> int | None:
    """Unix seconds, from seconds, ISO 8601, or a text such as `2026-09-09 14:25:04+00` (UTC where no zone is named).

    The zero time of the upstreams' language, in the year 1, means unknown.
    """
    value = row.get(field)
    if value is None or value == "":
        return None
    seconds = _seconds(value, field)
    if seconds is not None and not 0 <= seconds < _END_OF_TIME:
        raise Drift(field, "a time between 1970 and 2106", value)
    return seconds


def strings(row: Row, field: str) -> list[str]:
    """A list of texts, empty when there is none; it may come as a list or, as Gamma has it, as JSON in a text."""
    value = row.get(field)
    if value is None or value == "":
        return []
    expected = "a list of texts"
    if isinstance(value, str):
        expected = "a list of texts, as JSON in a text"
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise Drift(field, expected, value) from None
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Drift(field, expected, row[field])
    return value


def reduced(numerators: Sequence[int]) -> tuple[list[int], int]:
    """Payout numerators in lowest terms and their sum, so that every source writes the same payout alike.

    [1000000, 0] is ([1, 0], 1); [500000, 500000] is ([1, 1], 2).

    Raises:
        ValueError: they are all zero, which is no payout.
    """
    divisor = reduce(gcd, numerators, 0)
    if divisor == 0:
        raise ValueError("all payout numerators are zero")
    lowest = [each // divisor for each in numerators]
    return lowest, sum(lowest)


def line(row: Row) -> bytes:
    """A row of one of our tables in JSONEachRow; what is None is left out."""
    return orjson.dumps({name: value for name, value in row.items() if value is not None})


def _matched(row: Row, field: str, pattern: re.Pattern[str], expected: str) -> str | None:
    value = text(row, field)
    if value is None:
        return None
    found = pattern.fullmatch(value)
    if found is None:
        raise Drift(field, expected, value)
    return found[1].lower()


def _token(value: str, field: str) -> str:
    if not _TOKEN.fullmatch(value) or int(value) >= 1 << 256:
        raise Drift(field, "a token id in decimal digits", value)
    return value


def _whole(value: Any, field: str) -> int:
    plain = isinstance(value, int) and not isinstance(value, bool)
    if not plain and not (isinstance(value, str) and _DIGITS.fullmatch(value)):
        raise Drift(field, "a whole number", value)
    found = int(value)
    if not 0 <= found < 1 << 256:
        raise Drift(field, "a whole number within 0..2^256-1", value)
    return found


def _seconds(value: Any, field: str) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, str):
        raise Drift(field, "a time", value)
    if _UNIX.fullmatch(value):
        return int(value)
    if value.startswith(_ZERO_YEAR):
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise Drift(field, "a time in seconds or ISO 8601", value) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
