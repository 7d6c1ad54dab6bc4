"""What we believe about one upstream: fine, cooling (it asked for a pause), or away (nothing works at present).

Pure: times are handed in. The door asks before each request how long to hold back, and tells how each attempt ended.
"""

from __future__ import annotations

from backfill.engine.retry import Budget, Policy, spread
from backfill.errors import PageTooLarge, Retry, Throttled, Unavailable, UpstreamUnusable


class Missing(Unavailable):
    """The upstream answered 404 where there is always something: once may be a hiccup, always means retired."""


class Health:
    """The state of one upstream as the door sees it."""

    def __init__(self, name: str, policy: Policy, *, ended: bool, now: float) -> None:
        self.name, self.policy, self._ended = name, policy, ended
        self.budget = Budget(policy)
        self.reached = False
        self.away_since: float | None = None
        self.cool_until = now
        self.last_error = ""
        self._started, self._failures, self._missing, self._complaints, self._probes = now, 0, 0, 0, 0

    @property
    def away(self) -> bool:
        """Whether only probes are sent at present."""
        return self.away_since is not None

    def hold(self, now: float) -> float:
        """Seconds for which no request should be sent, 0 when one may go."""
        return max(0.0, self.cool_until - now)

    def succeeded(self) -> None:
        """A request, or a probe, got its answer."""
        if self.away:
            self.budget.refill()
        self.budget.earned()
        self.reached, self.away_since = True, None
        self._failures = self._missing = self._complaints = self._probes = 0

    def failed(self, error: Retry, now: float) -> float | None:
        """An attempt failed; the pause in seconds when the upstream asked for one.

        Raises:
            UpstreamUnusable: the failures add up to an upstream that is gone for good.
        """
        self.last_error = str(error)
        self._note_reach(error, now)
        if isinstance(error, Throttled):
            return self._cool(error, now)
        if isinstance(error, PageTooLarge):
            return None
        self._failures += 1
        if self._failures >= self.policy.open_after or not self.budget.spend():
            self.away_since = self.away_since or now
        return None

    def _note_reach(self, error: Retry, now: float) -> None:
        if isinstance(error, Missing):
            self._missing += 1
            if self._missing >= self.policy.missing_limit:
                raise self._gone(f"answers 404 to everything ({error})")
            return
        self._missing = 0
        if not isinstance(error, Unavailable) or error.reached:
            self.reached = True
        elif self._ended and not self.reached and now - self._started > self.policy.retired_after_s:
            raise self._gone(f"accepts no connection, and its end of life has passed ({error})")

    def _gone(self, why: str) -> UpstreamUnusable:
        return UpstreamUnusable(why, kind="retired", where=self.name, remedy="see backfill doctor; check its base_url")

    def _cool(self, error: Throttled, now: float) -> float:
        self._complaints += 1
        wait = error.wait_s
        if wait is None:
            wait = min(self.policy.cap_s, self.policy.base_s * 2 ** min(self._complaints, 10))
        pause = spread(wait)
        self.cool_until = max(self.cool_until, now + pause)
        return pause

    def next_probe(self) -> float:
        """Seconds until the next probe of an upstream that is away; doubles each time."""
        self._probes += 1
        return float(min(self.policy.probe_cap_s, self.policy.base_s * 2 ** min(self._probes, 12)))
