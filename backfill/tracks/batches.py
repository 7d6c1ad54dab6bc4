"""How a unit of many ids becomes requests: a cursor "offset/size" says which of its ids are asked next."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from backfill.engine.model import DeadLetter, Page, Unit

CONDITION = re.compile(r"0x[0-9a-fA-F]{64}")
TOKEN = re.compile(r"[1-9][0-9]{0,77}")
TOO_BIG = 1 << 256


def window(unit: Unit, cursor: str | None) -> tuple[int, int]:
    """Offset and size that a cursor means; the whole unit without one."""
    if cursor is None:
        return 0, len(unit.items)
    offset, _, size = cursor.partition("/")
    return int(offset), int(size)


def asked(unit: Unit, cursor: str | None) -> tuple[str, ...]:
    """The ids that this page asks for."""
    offset, size = window(unit, cursor)
    return unit.items[offset : offset + size]


def following(unit: Unit, cursor: str | None) -> str | None:
    """The cursor after this page, None when the unit is through."""
    offset, size = window(unit, cursor)
    return f"{offset + size}/{size}" if offset + size < len(unit.items) else None


def smaller(unit: Unit, cursor: str | None) -> str | None:
    """The same place with half the ids, None when one is left."""
    offset, size = window(unit, cursor)
    return f"{offset}/{size // 2}" if size > 1 else None


def is_token(value: object) -> bool:
    """Whether a value is a token id in decimal text."""
    return isinstance(value, str) and TOKEN.fullmatch(value) is not None and int(value) < TOO_BIG


def condition_norm(value: object) -> str | None:
    """A condition id as 64 lower-case hex digits; None when the value is no condition id."""
    return value[2:].lower() if isinstance(value, str) and CONDITION.fullmatch(value) else None


def page(
    unit: Unit, cursor: str | None, lines: Mapping[str, bytes], letters: Sequence[DeadLetter], *, foreign: str
) -> Page | None:
    """What came as a page; None when more rows were refused as `foreign` than are ours: another question's answer."""
    if sum(letter.reason == foreign for letter in letters) > len(lines):
        return None
    return Page(tuple(lines.values()), len(set(asked(unit, cursor))), tuple(letters), following(unit, cursor))
