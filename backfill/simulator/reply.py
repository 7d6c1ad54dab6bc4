"""What passes between the door of an upstream and the part that knows the answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from .faults import RequestFault

JSON = "application/json"
TEXT = "text/plain"
HTML = "text/html"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is sent."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    ids: int = 0
    """Ids the request asked for."""
    applied: bool = True
    """Whether the wished fault took effect; some depend on the request."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How an answer should differ from the plain one."""

    fault: RequestFault | None = None
    before: int | None = None
    """A stale upstream: leave out what began at or after this time (unix seconds)."""
    timeout_above: int = 0
    """Ids or rows above which a `query_timeout` fault takes effect."""


PLAIN = Wish()
