"""What every command shares: the config it was given, one way to run, and one way to print.

Nothing heavy is imported at module level: `backfill status` has to answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from backfill.config import Config

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass
class Context:
    """What the words before the command said."""

    path: Path | None
    loaded: Config | None = None


def config_of(ctx: typer.Context) -> Config:
    """The configuration of this call, read once.

    Raises:
        ConfigError: see `backfill.config.load`.
    """
    from backfill import config

    state: Context = ctx.obj
    if state.loaded is None:
        state.loaded = config.load(state.path)
    return state.loaded


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` on uvloop, and hand over its result or its error."""
    import uvloop

    return uvloop.run(main)


def emit_json(document: object) -> None:
    """One JSON document on stdout."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS))
    sys.stdout.flush()


def say(text: str = "") -> None:
    """A line of a result, on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """A line about the work, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
