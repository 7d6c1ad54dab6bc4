"""Every error of the house, grouped by what the caller should do next.

BackfillError
├── Retry                  the same call may succeed later
│   ├── Throttled          the upstream asked for a pause (seconds in `wait_s`)
│   ├── Unavailable        no answer, a cut answer, a 5xx
│   ├── PageTooLarge       the upstream gave up on the size: ask for less
│   └── StoreBusy          the warehouse is away, full or overloaded
├── Skip                   this unit or row is not to be had; the rest goes on
│   ├── Refused            the upstream says this request is wrong
│   └── Unreadable         the answer breaks the contract (raw bytes kept)
└── Stop                   nobody should go on; the exit code says why
    ├── UsageError         2   wrong words on the command line
    ├── ConfigError        2   wrong configuration
    ├── StateError         2   a checkpoint or plan that does not fit, with its remedy
    ├── GateFailed         3
    ├── UpstreamUnusable   5   retired, refused, stale, or without credentials
    ├── WarehouseUnusable  6
    ├── TrackHeld          7
    ├── Unfinished         4   done as far as it goes, but units failed or rows were refused
    └── Interrupted        128 + the signal
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class BackfillError(Exception):
    """An error that is one clear line: what happened, where, and what to do about it."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.remedy = what, where, remedy

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" ({self.remedy})" if self.remedy else ""
        return f"{place}{self.what}{advice}"


class Retry(BackfillError):
    """The same call may succeed later."""


class Throttled(Retry):
    """The upstream answered 429; `wait_s` is its Retry-After in seconds, None when it did not say."""

    def __init__(self, what: str, *, wait_s: float | None = None, where: str = "") -> None:
        super().__init__(what, where=where)
        self.wait_s = wait_s


class Unavailable(Retry):
    """No answer, a cut answer, or a 5xx. `reached` tells whether anything answered at all."""

    def __init__(self, what: str, *, where: str = "", reached: bool = True, wait_s: float | None = None) -> None:
        super().__init__(what, where=where)
        self.reached, self.wait_s = reached, wait_s


class PageTooLarge(Retry):
    """The upstream timed out on the size of the question: the same question, smaller, may succeed."""


class StoreBusy(Retry):
    """The warehouse is away, full, or overloaded; rows are not lost, they wait.

    `uncertain`: the connection was lost, so what was asked may have been done all the same.
    """

    exit_code = 6

    def __init__(self, what: str, *, where: str = "", remedy: str = "", uncertain: bool = False) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.uncertain = uncertain


class Skip(BackfillError):
    """This unit or row is not to be had; everything else goes on."""

    kind = "skipped"


class Refused(Skip):
    """The upstream says that the request itself is wrong."""

    kind = "refused"


class Unreadable(Skip):
    """An answer that breaks the upstream's contract; `raw` is what came."""

    kind = "unreadable"

    def __init__(self, what: str, *, raw: bytes = b"", where: str = "") -> None:
        super().__init__(what, where=where)
        self.raw = raw


class Stop(BackfillError):
    """Going on would be wrong; the process ends with `exit_code`."""


class UsageError(Stop):
    """The command line asks for something that does not exist or does not go together."""

    exit_code = 2


class ConfigError(Stop):
    """The configuration is wrong; the text lists every problem found."""

    exit_code = 2


class StateError(Stop):
    """A plan or checkpoint that cannot be used as it is."""

    exit_code = 2


class GateFailed(Stop):
    """A verification gate did not pass."""

    exit_code = 3


class UpstreamUnusable(Stop):
    """An upstream that waiting does not help: retired, refused, stale, or without credentials.

    `kind` is one of: retired, refused, no_credentials, stale.
    """

    exit_code = 5

    def __init__(self, what: str, *, kind: str, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.kind = kind


class WarehouseUnusable(Stop):
    """The warehouse refuses us for a reason that waiting does not mend.

    `code` is ClickHouse's error code, 0 when there is none.
    """

    exit_code = 6

    def __init__(self, what: str, *, code: int = 0, where: str = "warehouse", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.code = code


class TrackHeld(Stop):
    """Another process works on this track."""

    exit_code = 7


class Unfinished(Stop):
    """Everything was tried; some units failed or some rows were refused. `retry-failed` takes it up."""

    exit_code = 4


class Interrupted(Stop):
    """A signal ended the run after draining; it can be resumed."""

    def __init__(self, what: str, *, exit_code: int, remedy: str = "") -> None:
        super().__init__(what, remedy=remedy)
        self.exit_code = exit_code


# When several apply, the first in this list is the exit code; a signal comes before them all.
PRECEDENCE = (1, 2, 7, 6, 3, 5, 4)


def worst(error: BaseException) -> BackfillError | None:
    """The error that decides the exit code, out of one error or a group of them; None when none is ours."""
    found = list(_ours(error))
    signals = [each for each in found if isinstance(each, Interrupted)]
    ranked = sorted(found, key=lambda each: PRECEDENCE.index(each.exit_code) if each.exit_code in PRECEDENCE else 0)
    return next(iter(signals + ranked), None)


def first_of(error: BaseException) -> BaseException:
    """An error that is no group: itself, or the first one inside."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextlib.contextmanager
def unwrapped() -> Iterator[None]:
    """The first error of a group of tasks instead of the group: who waits for them need not know of tasks."""
    try:
        yield
    except BaseExceptionGroup as many:
        raise first_of(many) from None


def _ours(error: BaseException) -> Iterator[BackfillError]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _ours(inner)
    elif isinstance(error, BackfillError):
        yield error
