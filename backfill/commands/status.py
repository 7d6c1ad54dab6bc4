"""`backfill status`: what every track is doing. Answers at once, whatever is running or has crashed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from backfill.commands.common import AsJson, note, say
from backfill.commands.light import LightCommand

REFRESH_S = 1.0
INTERRUPTED = 130
BAR = 24
COLOURS = {"running": 32, "done": 36, "cooling": 33, "interrupted": 33, "stalled": 31, "failed": 31}
TITLES = ("track", "state", "", "asked", "mapped", "coverage", "per s", "ETA", "workers", "failed", "letters")
LEFT = {0, 1, 2}
Row = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status", cls=LightCommand)(status)


def status(
    ctx: typer.Context,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """What every track is doing: while a run is going on, after it, and after a crash. Needs no database."""
    read = _reader(ctx)
    if not watch:
        return _show(read(), as_json)
    try:
        _watch(read, as_json)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _reader(ctx: typer.Context) -> Callable[[], Row]:
    from backfill.engine.report import Reader
    from backfill.places import places
    from backfill.tracks.catalog import TRACK_NAMES
    from backfill.tracks.tokens import TOKEN_TRACKS

    here, told = places(ctx.obj.path), set[str]()

    def warn(text: str) -> None:
        if text not in told:
            note(f"warning: {text}")
        told.add(text)

    return lambda: Reader(here.checkpoint_dir, here.data_dir, tuple(TOKEN_TRACKS), warn, more=TRACK_NAMES).document()


def _show(document: Row, as_json: bool) -> None:
    if as_json:
        return _emit(document)
    for line in lines(document, colour=_colours()):
        say(line)


def _emit(document: Row) -> None:
    import orjson

    say(orjson.dumps(document).decode())


def _watch(read: Callable[[], Row], as_json: bool) -> None:
    drawn = 0
    while True:
        document = read()
        if as_json or not sys.stdout.isatty():
            _show(document, as_json)
        else:
            drawn = _redraw(lines(document, colour=_colours()), drawn)
        time.sleep(REFRESH_S)


def _redraw(told: list[str], drawn: int) -> int:
    """Put the lines where the last ones stood; returns how many there are now."""
    back = f"\x1b[{drawn}F" if drawn else ""
    # Lines are not wrapped while they are drawn, so that going back finds the first one.
    say("\x1b[?7l" + back + "\n".join(f"\x1b[K{line}" for line in told) + "\n\x1b[J\x1b[?7h\x1b[1A")
    return len(told)


def _colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def lines(document: Row, *, colour: bool = False) -> list[str]:
    """The status for people: a headline, a table, what went wrong, and what to do next."""
    run = f"run {document['run_id']}" if document["run_id"] else "no run yet"
    phase = f", phase {document['phase']}" if document["phase"] else ""
    told = [f"{run}: {document['state']}{phase}", *table(document["tracks"], colour)]
    for row in document["tracks"]:
        told += [f"{row['track']}: {_stalled(entry)}" for entry in row["stalled"]]
        if row["last_error"]:
            told.append(f"{row['track']}: {clean(row['last_error'])}")
    return [*told, *(f"next: {step}" for step in next_steps(document))]


def _stalled(entry: Row) -> str:
    return f"worker {entry['worker']} has been silent for {entry['seconds']:.0f} s on unit {entry['unit']}"


def table(rows: list[Row], colour: bool = False) -> list[str]:
    """The tracks side by side."""
    cells = [TITLES, *(_cells(row) for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(TITLES))]
    drawn = []
    for number, row in enumerate(cells):
        padded = [text.ljust(width) if at in LEFT else text.rjust(width) for at, (text, width) in _paired(row, widths)]
        if colour and number and (code := COLOURS.get(row[1])):
            padded[1] = f"\x1b[{code}m{padded[1]}\x1b[0m"
        drawn.append("  ".join(padded).rstrip())
    return drawn


def _paired(row: tuple[str, ...], widths: list[int]) -> Any:
    return enumerate(zip(row, widths, strict=True))


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row["track"],
        row["state"],
        bar(row["processed"], row["total"]),
        f"{row['processed']:,}/{row['total']:,}",
        f"{row['inserted']:,}",
        "–" if row["coverage"] is None else f"{row['coverage']:.1%}",
        f"{row['rate']:,.0f}",
        duration(row["eta_s"]),
        f"{row['workers_active']}/{row['workers_total']}",
        f"{row['failed_units']:,}",
        f"{row['dead_letters']:,}",
    )


def bar(done: int, total: int) -> str:
    """A bar as wide as BAR, full only when all is done."""
    full = min(BAR, BAR * done // total) if total else 0
    return "█" * full + "░" * (BAR - full)


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them; – when unknown."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


def clean(text: object) -> str:
    """Text of others on one line, without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in str(text))


def next_steps(document: Row) -> list[str]:
    """What to type next, given this status."""
    rows, state = document["tracks"], document["state"]
    if state in ("running", "cooling", "stalled"):
        return ["backfill status --watch, or backfill tail -f"]
    if not any(row["units_total"] for row in rows):
        return ["backfill setup makes a plan, if a traded token is unmapped" if state == "idle" else "see above"]
    steps = []
    if any(row["failed_units"] for row in rows):
        steps.append("backfill retry-failed, then backfill run tokens")
    elif state != "done":
        steps.append("backfill run tokens")
    elif document["phase"] in ("tokens", "merge", "verify"):
        steps.append("backfill merge, then backfill verify")
    if any(row["dead_letters"] for row in rows):
        steps.append("backfill dead-letters list")
    return steps or ["backfill merge adds what is staged, backfill verify proves the result"]
