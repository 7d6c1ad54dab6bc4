"""`python -m backfill` and the `backfill` script: run a command, and end with the exit code it deserves."""

from __future__ import annotations

import os
import sys
from typing import Any

from backfill.errors import BackfillError, first_of, worst

SIGINT_CODE, SIGPIPE_CODE = 130, 141


def main() -> None:
    """Run the command line; every error is one clear line on stderr, never a traceback."""
    from backfill.commands.cli import build

    sys.exit(_guarded(build()))


def _guarded(app: Any) -> int:
    try:
        return int(app(standalone_mode=False) or 0)
    except (BackfillError, BaseExceptionGroup) as error:
        ours = worst(error)
        return _told(str(ours), ours.exit_code) if ours else _unexpected(error)
    except KeyboardInterrupt:
        return _told("interrupted", SIGINT_CODE)
    except BrokenPipeError:
        # Whoever read our output has left; the interpreter must not try to flush into the void at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGPIPE_CODE
    except Exception as error:
        return _unexpected(error)


def _unexpected(error: BaseException) -> int:
    if hasattr(error, "format_message"):
        return _told(f"{error.format_message()} (see backfill --help)", getattr(error, "exit_code", 2))
    if type(error).__name__ in {"Abort", "Aborted"}:
        return _told("aborted", 1)
    if os.environ.get("BACKFILL_DEBUG"):
        raise error
    error = first_of(error)
    return _told(f"unexpected {type(error).__name__}: {error} (set BACKFILL_DEBUG=1 for the traceback)", 1)


def _told(text: str, code: int) -> int:
    sys.stderr.write(f"backfill: {text}\n")
    return code


if __name__ == "__main__":
    main()
