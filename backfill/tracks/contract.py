"""What an upstream's rows look like, field by field, so that a change there is named and not guessed at.

A lane says its fields in a table of kinds. `drift` compares a row with it and names the first field that is not as
expected; fields that the table does not know are of no concern.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeGuard

LONGEST_SHOWN = 60
TOO_BIG = 1 << 256
MOST_AMOUNT = 1 << 64

_TOKEN = re.compile(r"[1-9][0-9]{0,77}")
_WHOLE = re.compile(r"[0-9]{1,78}")
_HASH = re.compile(r"0x[0-9a-fA-F]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?")
_TYPES = {str: "text", bool: "truth value", int: "number", float: "number", list: "list", dict: "object"}


class Kind(NamedTuple):
    """What a field holds, in words and as a test. An optional one may be missing, null or empty text."""

    words: str
    holds: Callable[[Any], bool]
    optional: bool = False


Fields = Mapping[str, Kind]


def drift(row: object, fields: Fields) -> str | None:
    """The first field that breaks the contract: "field X: expected Y, saw Z"; None when all is as expected."""
    if not isinstance(row, dict):
        return f"row: expected an object, saw {shown(row)}"
    for name, kind in fields.items():
        value = row.get(name)
        if kind.optional and value in (None, ""):
            continue
        if name not in row:
            return f"field {name}: expected {kind.words}, saw no such field"
        if not kind.holds(value):
            return f"field {name}: expected {kind.words}, saw {shown(value)}"
    return None


def shown(value: object) -> str:
    """A value for a reason: what it is, and the beginning of it."""
    if value is None:
        return "null"
    text = repr(value)
    cut = text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"
    return f"{cut} ({_TYPES.get(type(value), type(value).__name__)})"


def matches(pattern: re.Pattern[str]) -> Callable[[Any], bool]:
    """A test of text."""
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def is_token(value: object) -> bool:
    """Whether a value is a token id in decimal text."""
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None and int(value) < TOO_BIG


def is_amount(value: object) -> bool:
    """Whether a value is a whole number below 2^64 in decimal text."""
    return isinstance(value, str) and _WHOLE.fullmatch(value) is not None and int(value) < MOST_AMOUNT


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value is a JSON whole number, not negative and below 2^64."""
    return type(value) is int and 0 <= value < MOST_AMOUNT


def is_number(value: object) -> TypeGuard[int | float | Decimal]:
    """Whether a value is a finite JSON number, not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    return math.isfinite(value) and value >= 0


def one_of(*words: str) -> Kind:
    """One of some words."""
    return Kind(" or ".join(words), lambda value: isinstance(value, str) and value in words)


def optional(kind: Kind) -> Kind:
    """The same kind, which may be missing."""
    return kind._replace(optional=True)


TOKEN = Kind("a token id in decimal digits", is_token)
ASSET = Kind('a token id in decimal digits, or "0"', lambda value: value == "0" or is_token(value))
AMOUNT = Kind("micro-units in decimal digits", is_amount)
COUNT = Kind("a whole number", is_count)
NUMBER = Kind("a number", is_number)
DECIMAL = Kind("a decimal number as text", matches(_DECIMAL))
SECONDS = Kind("unix seconds", is_count)
SECONDS_TEXT = Kind("unix seconds in decimal digits", is_amount)
HASH = Kind("0x and 64 hex digits", matches(_HASH))
ADDRESS = Kind("0x and 40 hex digits", matches(_ADDRESS))
SIDE = one_of("BUY", "SELL")
TEXT = Kind("text", lambda value: isinstance(value, str))
LIST = Kind("a list", lambda value: isinstance(value, list))
