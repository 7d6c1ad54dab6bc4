"""Time that costs nothing: an event loop whose clock jumps to whatever is due next."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
BEGIN = 1_000.0
REAL_PATIENCE_S = 10.0
# A turn of the loop takes a moment, as in life: who asks again at once would otherwise ask for ever.
TURN_S = 1e-6


class _Jumping(selectors.SelectSelector):
    """Where another selector would wait, this one moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = BEGIN

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            # Nothing is due: only a thread can still wake us, in real time.
            events = super().select(REAL_PATIENCE_S)
            if not events:
                raise RuntimeError("every task waits, and nothing will ever wake one")
            return events
        events = super().select(0)
        self.now += TURN_S if events else max(timeout, TURN_S)
        return events


class JumpingLoop(asyncio.SelectorEventLoop):
    """All of asyncio's own timers keep this loop's time: sleep, timeout, AsyncLimiter."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


def now() -> float:
    """The running loop's time: the clock to hand in."""
    return asyncio.get_running_loop().time()
