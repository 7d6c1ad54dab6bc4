"""Where the files stand, without the price of the whole configuration: `status` has to answer at once.

Checking a configuration means importing pydantic, which takes longer than everything else that `status` does. So a
configuration that was checked once is remembered by a stamp in the checkpoint folder, made of what it was read from;
as long as that is the same, the few values needed are read directly. Anything unusual goes the long way.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PREFIX = "BACKFILL_"
STAMP = ".config-checked"
DEFAULTS = {"checkpoint_dir": "checkpoints", "data_dir": "data"}


@dataclass(frozen=True, slots=True)
class Places:
    """The folders that a reader of files wants to know."""

    checkpoint_dir: Path
    data_dir: Path


def places(path: Path | None) -> Places:
    """The folders that the configuration names.

    Raises:
        ConfigError: see `backfill.config.load`.
    """
    chosen = path or Path(os.environ.get("BACKFILL_CONFIG") or "config.toml")
    try:
        quick = _quick(chosen)
        if quick is not None and (quick.checkpoint_dir / STAMP).read_text() == _stamp(chosen):
            return quick
    except (OSError, ValueError, AttributeError):
        pass
    return _checked(path, chosen)


def _checked(path: Path | None, chosen: Path) -> Places:
    from backfill import config

    stamp = _stamp(chosen)
    run = config.load(path).run
    try:
        # Only where a run has been: asking for the status of nothing shall not leave anything behind.
        if run.checkpoint_dir.is_dir():
            (run.checkpoint_dir / STAMP).write_text(stamp)
    except OSError:
        pass  # a folder that is not ours to write costs a fraction of a second each time
    return Places(run.checkpoint_dir, run.data_dir)


def _quick(chosen: Path) -> Places | None:
    """The folders as the file and the environment name them, unchecked; None when they may be named in `.env`."""
    root = chosen.resolve().parent
    env = root / ".env"
    if env.exists() and PREFIX in env.read_text(errors="replace").upper():
        return None
    run: Any = tomllib.loads(chosen.read_text(encoding="utf-8")).get("run", {})
    named = {key: os.environ.get(f"{PREFIX}RUN__{key.upper()}", run.get(key, usual)) for key, usual in DEFAULTS.items()}
    return Places(**{key: root / str(value) for key, value in named.items()})


def _stamp(chosen: Path) -> str:
    """What a check depends on: this program, the files, the environment (a password is never wrong in form)."""
    files = (Path(__file__).with_name("config.py"), chosen, chosen.resolve().parent / ".env")
    own = sorted(
        f"{name}={value}"
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and not name.endswith("PASSWORD")
    )
    return "\n".join([*map(_state, files), *own])


def _state(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return f"{path} absent"
    return f"{path.resolve()} {found.st_ino} {found.st_size} {found.st_mtime_ns}"
