"""ClickHouse's error codes as HTTP statuses, the way its own HTTP interface maps them."""

from __future__ import annotations

import errno
import re

_STATUSES: dict[int, tuple[int, ...]] = {
    400: (6, 8, 15, 25, 26, 27, 36, 37, 38, 41, 44, 53, 62, 72, 117, 123, 167, 168, 223, 321, 376, 427, 441, 675, 676),
    401: (194,),
    403: (192, 193, 497, 512, 516),
    404: (46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 152, 336, 511),
    408: (159,),
    411: (381,),
    413: (229,),
    415: (779,),
    501: (48,),
    503: (76, 209, 439),
}
_BY_CODE = {code: status for status, codes in _STATUSES.items() for code in codes}
_CODE = re.compile(r"Code: (\d+)\. ")

REQUIRED_PASSWORD, AUTHENTICATION_FAILED, READONLY, UNKNOWN_SETTING = 194, 516, 164, 115
NOT_IMPLEMENTED, SESSION_NOT_FOUND, SESSION_IS_LOCKED, UNKNOWN_EXCEPTION = 48, 372, 373, 1002
UNKNOWN_COMPRESSION_METHOD, NOT_ENOUGH_SPACE = 89, 243


class DatabaseError(Exception):
    """An answer of the database: its code, and its text as ClickHouse words it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text

    @property
    def status(self) -> int:
        """The HTTP status that ClickHouse itself sends for this code; 500 where it names none."""
        return _BY_CODE.get(self.code, 500)


def made(code: int, name: str, text: str, version: str) -> DatabaseError:
    """An error of our own in ClickHouse's words."""
    return DatabaseError(code, f"Code: {code}. DB::Exception: {text} ({name}) (version {version})\n")


def from_engine(error: BaseException, version: str) -> DatabaseError:
    """What the engine raised, without the wrappings of its Python layer, and with the version behind it."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return made(NOT_ENOUGH_SPACE, "NOT_ENOUGH_SPACE", str(error), version)
    text = str(error)
    match = _CODE.search(text)
    if match is None:
        return made(UNKNOWN_EXCEPTION, "UNKNOWN_EXCEPTION", text.strip(), version)
    text = text[match.start() :].rstrip()
    suffix = "" if "(version " in text else f" (version {version})"
    return DatabaseError(int(match[1]), f"{text}{suffix}\n")
