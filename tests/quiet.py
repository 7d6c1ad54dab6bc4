"""A logger for tests: it keeps what it is told."""

from __future__ import annotations

from typing import Any


class Kept:
    """Fits `backfill.log.Logger`; `lines` are (level, event, fields)."""

    def __init__(self, lines: list[tuple[str, str, dict[str, Any]]] | None = None) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = [] if lines is None else lines

    def bind(self, **_fields: Any) -> Kept:
        return Kept(self.lines)

    def info(self, event: str, **fields: Any) -> None:
        self.lines.append(("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        self.lines.append(("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        self.lines.append(("error", event, fields))

    def of(self, event: str) -> list[dict[str, Any]]:
        """The fields of every line of this event."""
        return [fields for _, name, fields in self.lines if name == event]
