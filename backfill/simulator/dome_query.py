"""Query parameters as Dome takes them, and the refusals in its shape."""

from __future__ import annotations

import base64
from typing import Any

import orjson
from multidict import MultiMapping

from .reply import Reply


class BadRequest(Exception):
    """A refusal: `error` is the short text, the message the long one."""

    def __init__(self, error: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.error = error
        self.status = status

    def reply(self) -> Reply:
        """The refusal as an answer."""
        return error_reply(self.status, self.error, str(self))


def error_reply(status: int, error: str, message: str) -> Reply:
    """An error in Dome's shape."""
    return Reply(status, orjson.dumps({"error": error, "message": message}))


def limit_of(query: MultiMapping[str], default: int, largest: int) -> int:
    """Rows a page may have; out of range is refused, not clamped."""
    text = query.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= largest):
        raise BadRequest("Invalid limit parameter", f"limit must be between 1 and {largest}")
    return int(text)


def number_of(query: MultiMapping[str], name: str) -> float | None:
    """A numeric parameter, None where it is not given."""
    text = query.get(name)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        raise BadRequest(f"Invalid {name} parameter", f"{name} must be a number") from None


def place_of(query: MultiMapping[str]) -> int:
    """Where the page starts, from the cursor of the one before it."""
    key = query.get("pagination_key")
    if key is None:
        return 0
    try:
        return int(orjson.loads(base64.b64decode(key, validate=True))["n"])
    except (ValueError, KeyError, TypeError):
        raise BadRequest("Invalid pagination key", "pagination_key could not be read") from None


def cursor(place: int, **shown: Any) -> str:
    """An opaque cursor: base64 of a small JSON object, as the real one is."""
    return base64.b64encode(orjson.dumps({**shown, "n": place})).decode()
