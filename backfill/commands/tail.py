"""`backfill tail`: the progress log, readable; it can be followed through rotation, truncation and late creation."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backfill.commands.common import config_of, note

if TYPE_CHECKING:
    from typing import IO

POLL_S = 0.25
BLOCK = 65_536
INTERRUPTED = 130
EXCERPT = 120
COLOURS = {"warning": 33, "error": 31, "critical": 31}
HEAD = frozenset({"timestamp", "level", "event", "run_id", "track"})


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("tail")(tail)


def tail(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is being written.")] = False,
    number: Annotated[int, typer.Option("-n", "--lines", min=0, help="Begin with the last N lines.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="The lines as they stand in the file.")] = False,
) -> None:
    """The progress log, readable."""
    path = config_of(ctx).run.log_file
    if not path.exists():
        note(f"{path}: there is no log yet{'; waiting for it' if follow else ': no run has been here'}")
        if not follow:
            return
    try:
        for line in followed(path, number) if follow else last_lines(path, number):
            _print(line, as_json)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def last_lines(path: Path, number: int) -> list[bytes]:
    """The last lines of a file, read from its end; the last one may be torn."""
    with path.open("rb") as handle:
        return _last(handle, number)[0]


def _last(handle: IO[bytes], number: int) -> tuple[list[bytes], int]:
    """The last lines, and the offset behind the last whole one."""
    end = at = handle.seek(0, os.SEEK_END)
    found = b""
    while at > 0 and found.count(b"\n") <= number:
        step = min(BLOCK, at)
        at -= step
        handle.seek(at)
        found = handle.read(step) + found
    lines = found[: end - at].splitlines(keepends=True)
    torn = len(lines[-1]) if lines and not lines[-1].endswith(b"\n") else 0
    return lines[-number:] if number else [], end - torn


def followed(path: Path, number: int) -> Iterator[bytes]:
    """The last lines, then every line that comes, for ever; the file may be replaced, cut short, or come later."""
    first = True
    while True:
        try:
            handle = path.open("rb")
        except FileNotFoundError:
            time.sleep(POLL_S)
            first = False  # a file that comes while we wait is new from its first line on
            continue
        with handle:
            start = 0
            if first:
                lines, start = _last(handle, number)
                yield from (line for line in lines if line.endswith(b"\n"))
            first = False
            yield from _read_on(path, handle, start)


def _read_on(path: Path, handle: IO[bytes], at: int) -> Iterator[bytes]:
    """Whole lines as they come; returns when the file at `path` is another one, or shorter than what was read."""
    rest = b""
    while True:
        replaced = _replaced(path, handle, at)  # asked before reading: what came before the rotation is read still
        handle.seek(at)
        if chunk := handle.read(BLOCK):
            at += len(chunk)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line + b"\n" for line in lines)
            continue
        if replaced:
            if rest:
                yield rest
            return
        time.sleep(POLL_S)


def _replaced(path: Path, handle: IO[bytes], at: int) -> bool:
    here = os.fstat(handle.fileno())
    try:
        there = path.stat()
    except FileNotFoundError:
        return False  # renamed, and its successor is not there yet: what is still written goes to the one we have
    return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino) or here.st_size < at


def _print(line: bytes, as_json: bool) -> None:
    if not line.strip():
        return
    if as_json:
        if _event(line) is not None:  # a torn line would stop whoever reads JSON
            sys.stdout.buffer.write(line if line.endswith(b"\n") else line + b"\n")
            sys.stdout.buffer.flush()
        return
    sys.stdout.write(readable(line, colour=_colours()) + "\n")
    sys.stdout.flush()


def _colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _event(line: bytes) -> dict[str, Any] | None:
    import orjson

    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def readable(line: bytes, *, colour: bool = False) -> str:
    """One line of the log for people."""
    from backfill.commands.status import clean

    event = _event(line)
    if event is None:
        return f"(torn line) {clean(line.decode('utf-8', 'replace').rstrip())[:EXCERPT]}"
    told = _progress(event) if event.get("event") == "progress" else _fields(event)
    moment = clean(event.get("timestamp", ""))[:19].replace("T", " ")
    level, track = clean(event.get("level", "?")), clean(event.get("track") or "-")
    text = f"{moment:<19}  {level:<7}  {track:<14}  {clean(event.get('event', '?'))}  {clean(told)}".rstrip()
    code = COLOURS.get(level) if colour else None
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def _progress(event: dict[str, Any]) -> str:
    from backfill.commands.status import duration

    try:
        coverage, workers = f"{event['coverage']:.1%}", f"{event['workers_active']}/{event['workers_total']}"
        return (
            f"{event['processed']:,}/{event['total']:,} asked, coverage {coverage}, {event['rate']:,.0f}/s, "
            f"ETA {duration(event['eta_s'])}, workers {workers}"
        )
    except (KeyError, TypeError, ValueError):
        return _fields(event)


def _fields(event: dict[str, Any]) -> str:
    return " ".join(f"{key}={_value(value)}" for key, value in event.items() if key not in HEAD)


def _value(value: Any) -> str:
    import orjson

    if isinstance(value, str):
        return value if value and " " not in value else orjson.dumps(value).decode()
    return f"{value:,}" if type(value) is int else orjson.dumps(value).decode()
