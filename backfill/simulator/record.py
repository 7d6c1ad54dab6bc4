"""What arrived, as the upstream saw it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .limits import Limit, busiest, utilisation
from .model import UPSTREAMS, Upstream

THROTTLED = 429


@dataclass(slots=True)
class Arrival:
    """One request. The later fields are filled in as it is answered."""

    upstream: Upstream
    number: int
    """0, 1, 2 … within the upstream since it started: what faults are drawn from."""
    at: float
    """Arrival, in seconds of the server's monotonic clock, taken before anything else."""
    status: int = 0
    """HTTP status sent; 0 where the connection ended without an answer."""
    fault: str | None = None
    """Kind of the fault put in, None for a plain answer."""
    limited: bool = False
    """Refused because a limit was full (as against a 429 put in as a fault)."""
    ids: int = 0
    """Token or condition ids asked for."""


class Record:
    """Every arrival since the start or the last reset, in order."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self._numbers: Counter[Upstream] = Counter()

    def arrive(self, upstream: Upstream, at: float) -> Arrival:
        """Note a request at its first moment."""
        arrival = Arrival(upstream, self._numbers[upstream], at)
        self._numbers[upstream] += 1
        self.arrivals.append(arrival)
        return arrival

    def reset(self) -> None:
        """Forget the arrivals. Request numbers go on, so the faults of a later phase are not those of the first."""
        self.arrivals = []

    def as_json(self) -> list[dict[str, Any]]:
        """The arrivals as JSON objects."""
        return [asdict(arrival) for arrival in self.arrivals]

    def summary(self, limits: Mapping[Upstream, Sequence[Limit]]) -> dict[str, Any]:
        """Figures of each upstream by name; see `summarise`."""
        return {
            name: summarise([a for a in self.arrivals if a.upstream == name], limits.get(name, ()))
            for name in UPSTREAMS
        }


def summarise(arrivals: Sequence[Arrival], limits: Sequence[Limit]) -> dict[str, Any]:
    """Figures of one upstream: counts, the fullest window of every limit, and how much of the limits was used.

    `windows[].max_count` counts every arrival, refused ones included: it says whether the *client* kept the limit.
    `utilisation` counts the ones a limit did not refuse; its formula is in `limits.utilisation`.
    """
    stamps = sorted(a.at for a in arrivals)
    served = sorted(a.at for a in arrivals if not a.limited)
    return {
        "requests": len(arrivals),
        "served": len(served),
        "throttled": len(arrivals) - len(served),
        "sent_429": sum(a.status == THROTTLED for a in arrivals),
        "ids": sum(a.ids for a in arrivals),
        "seconds": round(stamps[-1] - stamps[0], 6) if stamps else 0.0,
        "windows": [_window(stamps, limit) for limit in limits],
        "utilisation": _round(utilisation(served, limits)),
        "utilisation_whole_span": _round(utilisation(served, limits, cut_idle=False)),
        "statuses": dict(sorted(Counter(str(a.status) for a in arrivals).items())),
        "faults": dict(sorted(Counter(a.fault for a in arrivals if a.fault).items())),
    }


def _window(stamps: Sequence[float], limit: Limit) -> dict[str, Any]:
    count = busiest(stamps, limit.seconds)
    return {**limit._asdict(), "max_count": count, "exceeded": count > limit.requests}


def _round(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
