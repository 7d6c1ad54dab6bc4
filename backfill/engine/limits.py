"""The rate windows of one upstream: no sliding window is exceeded, whoever sends, and nearly all of it gets used.

A leaky bucket cannot do both: one that admits a burst b and then r a second stays inside N per T only if b + r*T <= N,
which for N = 10 gives away a tenth. So the windows are kept as what they are, a log of the last N sendings, in a file
that every process of the checkpoint folder shares and that survives restarts. aiolimiter paces below that cap, when the
upstream has asked for less (see `Pace`).

What counts is when the upstream sees a request arrive, which is after we sent it and before it answered. An answer
that takes longer than the quickest of the recent ones may have been held up on the way, so its request may have arrived
as much later: the *excess*. It counts in full against every window, up to STALL_S; nothing tells it from thinking time,
and keeping the window comes before using all of it. GUARD and GUARD_S cover clocks and scheduling; they are what we
give away for certain, and the contract asks for 98 % of the allowed rate. Requests leave with a small gap between them,
since what is sent in one bunch arrives, and after one window leaves again, in a bunch.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import mmap
import os
import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from aiolimiter import AsyncLimiter

STALL_S = 1.0
GUARD = 0.001
GUARD_S = 0.002
UNANSWERED = float("inf")
USUAL_OVER = 64
USUAL_KNOWN = 16
GAP = 0.2
LONGEST_GAP_S = 0.02
SHORTEST_WAIT_S = 0.0005
MAGIC = b"PMBRATE3"
HEAD = struct.Struct("<8s16sQQ")
"""Magic, boot, a number that is no longer used, slots."""
SLOT = struct.Struct("<dd")
Sending = tuple[float, float]
"""When it was sent, and when it had arrived at the latest; `inf` while it is not answered."""


class Window(Protocol):
    """At most `requests` in any sliding window of `seconds`."""

    @property
    def requests(self) -> int: ...
    @property
    def seconds(self) -> float: ...


def release(sending: Sending, seconds: float, now: float, usual: float) -> float:
    """When a sending has left every window of this length, as far as can be said at `now`.

    `usual` is how long answers usually take, in seconds: one that is overdue may have arrived that much late.
    """
    sent, arrived = sending
    if arrived == UNANSWERED:
        arrived = sent + max(0.0, now - sent - usual)
    return min(arrived, sent + STALL_S) + seconds * (1 + GUARD) + GUARD_S


def next_free(sendings: Sequence[Sending], windows: Sequence[Window], now: float, usual: float) -> float:
    """The earliest time at which one more sending keeps every window; `-inf` when that is now and always was."""
    earliest = float("-inf")
    for window in windows:
        if len(sendings) < window.requests:
            continue
        leaving = sorted((release(s, window.seconds, now, usual) for s in sendings), reverse=True)
        earliest = max(earliest, leaving[window.requests - 1])
    return earliest


def _first_to_leave(sendings: Sequence[Sending], now: float, usual: float) -> int:
    """The slot that can be spared first: windows are left in the order of arrivals, not in that of sendings."""
    return min(range(len(sendings)), key=lambda slot: release(sendings[slot], 0.0, now, usual))


def _boot() -> bytes:
    """The system's monotonic clock starts anew with each boot: stamps of another boot mean nothing."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        text = b"no boot id on this system"
    return hashlib.sha256(text).digest()[:16]


class SharedLog:
    """The last sendings to an upstream, in a file shared by processes (times are of the system's monotonic clock)."""

    def __init__(self, path: Path, windows: Sequence[Window]) -> None:
        self._slots = max(window.requests for window in windows)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with self._locked():
            self._prepare()
        self._map = mmap.mmap(self._handle, HEAD.size + self._slots * SLOT.size)

    def _prepare(self) -> None:
        head = os.pread(self._handle, HEAD.size, 0)
        old = HEAD.unpack(head) if len(head) == HEAD.size else (b"", b"", 0, 0)
        if old[0] == MAGIC and old[1] == _boot() and old[3] == self._slots:
            return
        kept = self._old_sendings(old)
        slots = (kept + [(float("-inf"), 0.0)] * self._slots)[: self._slots]
        body = b"".join(SLOT.pack(*slot) for slot in slots)
        os.ftruncate(self._handle, HEAD.size + self._slots * SLOT.size)
        os.pwrite(self._handle, HEAD.pack(MAGIC, _boot(), 0, self._slots) + body, 0)

    def _old_sendings(self, old: tuple[bytes, bytes, int, int]) -> list[Sending]:
        """When the limits were changed in the config, what was sent under the old ones still counts."""
        if old[0] != MAGIC or old[1] != _boot():
            return []
        raw = os.pread(self._handle, old[3] * SLOT.size, HEAD.size)
        kept = [slot for slot in SLOT.iter_unpack(raw[: len(raw) // SLOT.size * SLOT.size]) if slot[0] > 0]
        return sorted(kept)[-self._slots :]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def try_book(self, windows: Sequence[Window], now: float, usual: float) -> tuple[float, int]:
        """Book a sending at `now` if every window allows it: (0, its slot), else (seconds to wait, -1)."""
        with self._locked():
            sendings = self._sendings(now)
            free = next_free([sending for sending in sendings if sending[0] > 0], windows, now, usual)
            if free > now:
                return free - now, -1
            slot = _first_to_leave(sendings, now, usual)
            self._put(slot, (now, UNANSWERED))
            return 0.0, slot

    def _sendings(self, now: float) -> list[Sending]:
        """Every slot. A stamp from the future is a clock that was set back: it is made today's, once, for good.

        Another process may have booked since we looked at the clock: that is no future.
        """
        sendings: list[Sending] = list(SLOT.iter_unpack(self._map[HEAD.size :]))
        for slot, (sent, _) in enumerate(sendings):
            if sent > now + STALL_S:
                sendings[slot] = (now, now)
                self._put(slot, sendings[slot])
        return sendings

    def settle(self, slot: int, was: float, sending: Sending) -> int:
        """Write down when the request really left, and by when it had arrived; returns the slot where that stands.

        `was` is the stamp it had before. When the slot carries another one, it went to a newer request, because ours
        had left every window: then our answer tells nothing any more, but leaving only now is one more sending.
        """
        with self._locked():
            if SLOT.unpack_from(self._map, HEAD.size + slot * SLOT.size)[0] != was:
                if sending[1] != UNANSWERED:
                    return slot
                slot = _first_to_leave(self._sendings(sending[0]), sending[0], 0.0)
            self._put(slot, sending)
            return slot

    def _put(self, slot: int, sending: Sending) -> None:
        at = HEAD.size + slot * SLOT.size
        self._map[at : at + SLOT.size] = SLOT.pack(*sending)

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
        os.close(self._handle)


class Booking:
    """One admitted request: tell it when the request leaves and when the answer comes."""

    __slots__ = ("_gate", "_slot", "sent")

    def __init__(self, gate: RateGate, slot: int, sent: float) -> None:
        self._gate, self._slot, self.sent = gate, slot, sent

    def left(self) -> None:
        """The request is on the wire now."""
        was, self.sent = self.sent, self._gate.clock()
        self._slot = self._gate.settle(self._slot, was, (self.sent, UNANSWERED))

    def answered(self) -> float:
        """The answer's head is here; returns the seconds it took."""
        took = self._gate.clock() - self.sent
        self._gate.settle(self._slot, self.sent, (self.sent, self.sent + self._gate.excess(took)))
        return took


class RateGate:
    """Admits requests to one upstream, in the order in which they ask."""

    def __init__(
        self,
        windows: Sequence[Window],
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = asyncio.sleep,
    ) -> None:
        self.windows, self.clock, self._sleep = tuple(windows), clock, sleep
        self._log = SharedLog(path, windows) if windows else None
        self._turn = asyncio.Lock()
        self._gap = AsyncLimiter(1, min(LONGEST_GAP_S, GAP / self.rate())) if windows else None
        self._took: deque[float] = deque(maxlen=USUAL_OVER)
        self.pace = Pace(self.rate())

    def rate(self) -> float:
        """Requests a second that all windows allow for good; infinite without limits."""
        return min((window.requests / window.seconds for window in self.windows), default=float("inf"))

    async def admit(self) -> Booking:
        """Wait until one more request keeps every window, and book it."""
        await self.pace.wait()
        if self._log is None:
            return Booking(self, -1, self.clock())
        async with self._turn:
            if self._gap is not None:
                await self._gap.acquire()
            while True:
                now = self.clock()
                wait, slot = self._log.try_book(self.windows, now, self.usual())
                if slot >= 0:
                    return Booking(self, slot, now)
                await self._sleep(max(wait, SHORTEST_WAIT_S))  # type: ignore[misc]

    def settle(self, slot: int, was: float, sending: Sending) -> int:
        """See `SharedLog.settle`."""
        return slot if self._log is None or slot < 0 else self._log.settle(slot, was, sending)

    def usual(self) -> float:
        """How many seconds an undisturbed answer takes; 0 until enough are known, for the first may all be late."""
        known = len(self._took)
        return min(self._took) if known >= USUAL_KNOWN else 0.0

    def excess(self, took: float) -> float:
        """By how many seconds an answer was later than the quickest of the recent ones."""
        self._took.append(took)
        return max(0.0, took - self.usual())

    def close(self) -> None:
        """Let go of the shared file."""
        if self._log is not None:
            self._log.close()


class Pace:
    """The speed below the cap that the upstream has asked for.

    A complaint halves it. It is regained quickly up to where the complaint came, and slowly from there on; errors never
    speed it up. At full speed the pace stands aside; below, an AsyncLimiter that admits one request an interval paces
    evenly. `share` is the part of the allowed rate in use.
    """

    FLOOR = 1 / 128
    ONCE_S = 0.5
    UNLIMITED_RATE = 256.0

    def __init__(self, rate: float) -> None:
        self._rate = rate if rate != float("inf") else self.UNLIMITED_RATE
        self.share = 1.0
        self._ceiling = 1.0
        self._complained = float("-inf")
        self._limiter: AsyncLimiter | None = None
        self._usual: float | None = None

    async def wait(self) -> None:
        """Wait for this request's turn at the present speed."""
        limiter = self._limiter
        if limiter is not None:
            await limiter.acquire()

    def complained(self, now: float) -> None:
        """The upstream answered 429: half the speed. Requests that were under way together complain once."""
        if now - self._complained < self.ONCE_S:
            return
        self._complained, self._ceiling = now, self.share
        self._set(self.share / 2)

    def answered(self, took: float) -> None:
        """A good answer after `took` seconds: a step faster, unless answers take far longer than usual."""
        usual = took if self._usual is None else self._usual
        slow = took > 4 * usual + 0.5
        self._usual = min(usual + 0.02 * (took - usual), usual * 1.02 + 0.001)
        if slow:
            self._set(max(self.share * 0.9, min(self.share, 0.25)))
        elif self.share < 1:
            below = self.share < 0.9 * self._ceiling
            self._set(self.share + self._ceiling * (1 / 8 if below else 1 / 64))

    def _set(self, share: float) -> None:
        self.share = min(1.0, max(self.FLOOR, share))
        self._limiter = None if self.share == 1 else AsyncLimiter(1, 1 / (self._rate * self.share))
