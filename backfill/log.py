"""Structured logs: one JSON object a line in the log file, and the same, or something readable, on stderr.

Secrets are taken out of every field before anything is written.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import orjson
import structlog

HIDDEN = "[redacted]"
HIDDEN_KEYS = frozenset({"authorization", "password", "secret", "api_key", "passphrase", "key"})
Event = MutableMapping[str, Any]


class Logger(Protocol):
    """What the house asks of a logger; structlog's bound loggers fit."""

    def bind(self, **fields: Any) -> Any: ...
    def info(self, event: str, **fields: Any) -> Any: ...
    def warning(self, event: str, **fields: Any) -> Any: ...
    def error(self, event: str, **fields: Any) -> Any: ...


class LogFile:
    """Appends whole lines to a file; when the disk refuses, the run goes on and stderr hears of it once."""

    def __init__(self, path: Path) -> None:
        self._path, self._complained = path, False
        self._handle: int | None = None

    def write(self, line: bytes) -> None:
        """One write a line, so that lines of several processes do not mix."""
        try:
            if self._handle is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.write(self._handle, line)
            self._complained = False
        except OSError as error:
            if not self._complained:
                sys.stderr.write(f"backfill: cannot write {self._path}: {error.strerror}; going on without it\n")
            self._complained = True


def redactor(secrets: Sequence[str]) -> Callable[[Any, str, Event], Event]:
    """A structlog processor that hides `secrets` wherever they stand, and whatever a telling key holds."""
    known = [secret for secret in secrets if secret]

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            for secret in known:
                value = value.replace(secret, HIDDEN)
            return value
        if isinstance(value, dict):
            return {
                clean(str(key)): HIDDEN if str(key).lower() in HIDDEN_KEYS else clean(item)
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [clean(item) for item in value]
        # An exception or a path becomes text only when it is written: too late to look into it.
        return value if value is None or isinstance(value, bool | int | float) else clean(str(value))

    def process(_logger: Any, _method: str, event: Event) -> Event:
        cleaned: Event = clean(dict(event))
        return cleaned

    return process


def configure(path: Path, *, secrets: Sequence[str], run_id: str, stderr: str = "json") -> Logger:
    """Set up logging for this process and return its root logger.

    Args:
        path: the JSON lines file.
        secrets: texts that must never be written.
        run_id: bound to every line.
        stderr: "json" repeats every line there; "warnings" prints only warnings, readable; "quiet" nothing.
    """
    sink = LogFile(path)

    def render(_logger: Any, _method: str, event: Event) -> str:
        head: Event = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
        line = orjson.dumps({**head, **event}, default=str, option=orjson.OPT_APPEND_NEWLINE)
        sink.write(line)
        _echo(stderr, head, event, line)
        raise structlog.DropEvent

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redactor(secrets),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    logger: Logger = structlog.get_logger().bind(run_id=run_id, track=None)
    return logger


def _echo(stderr: str, head: Event, event: Event, line: bytes) -> None:
    if stderr == "json":
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
    elif stderr == "warnings" and head.get("level") in {"warning", "error", "critical"}:
        told = " ".join(f"{key}={value}" for key, value in event.items() if value is not None and key != "run_id")
        sys.stderr.write(f"{head.get('level')}: {head.get('event')} {told}\n")
        sys.stderr.flush()
