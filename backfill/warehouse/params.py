"""Python values as ClickHouse's server-side query parameters and settings. Pure; nothing is ever pasted into SQL."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum

_ESCAPES = str.maketrans(
    {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0", "\b": "\\b", "\f": "\\f", "'": "\\'"}
)
_IDENTIFIER = re.compile(r"\{\s*(\w+)\s*:\s*Identifier\s*\}")


def encode(value: object) -> str:
    """The text of a parameter's value, escaped the way `param_…` wants it.

    Raises:
        TypeError: a value of a kind that has no text in ClickHouse.
    """
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    return _plain(value)


def setting(value: object) -> str:
    """The text of a setting's value."""
    return value if isinstance(value, str) else _plain(value)


def identifiers(sql: str) -> set[str]:
    """The names that `sql` takes as `{name:Identifier}`."""
    return set(_IDENTIFIER.findall(sql))


def _plain(value: object) -> str:
    if isinstance(value, Enum):
        return _plain(value.value)
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, dt.date):
        return _moment(value)
    if isinstance(value, Mapping):
        pairs = (f"{_inner(key)}:{_inner(item)}" for key, item in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return "[" + ",".join(map(_inner, value)) + "]"
    return str(value).translate(_ESCAPES) if hasattr(value, "hex") and not isinstance(value, bytes) else _refuse(value)


def _refuse(value: object) -> str:
    raise TypeError(f"a {type(value).__name__} cannot be a query parameter")


def _inner(value: object) -> str:
    """A value inside an array or a map: text stands in quotes, and nothing is NULL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool | int | float | Decimal | Mapping | list | tuple | set | frozenset):
        return _plain(value)
    return f"'{encode(value)}'"


def _moment(value: dt.date) -> str:
    """Times are UTC; one without a zone is taken to be UTC already."""
    if not isinstance(value, dt.datetime):
        return value.isoformat()
    if value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)
    return value.isoformat(sep=" ")
