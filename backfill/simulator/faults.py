"""What goes wrong: request by request from (seed, upstream, number), and token by token from the seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from .model import MAPPERS, Upstream
from .world import World

RequestFault = Literal[
    "late",
    "throttled",
    "throttled_seconds",
    "throttled_date",
    "http_500",
    "http_502",
    "http_503",
    "cut_before",
    "cut_midway",
    "truncated_json",
    "wrong_json",
    "short_page",
    "short_page_unsaid",
    "repeated_page",
    "query_timeout",
    "store_timeout",
    "overloaded",
    "statement_canceled",
    "rpc_too_many",
    "rpc_timeout",
    "rpc_truncated",
    "cloudflare",
]
"""Kinds of faults of one request. `short_page` sends half of the rows with `has_more` and a cursor to the rest,
`short_page_unsaid` half of them as if that were all, `repeated_page` sends the previous answer again. Those from
`query_timeout` to `statement_canceled` are GraphQL errors under HTTP 200; `query_timeout` comes only when more ids (or
rows) are asked than `Profile.timeout_above`. The `rpc_…` ones are a node's: too many logs for one
answer, too slow, and logs cut off without a word. `cloudflare` is the page of the proxy in front, instead of JSON."""

Lie = Literal[
    "swapped", "other_condition", "missing_side_b", "id_not_number", "condition_not_hex", "index_out_of_range"
]
"""Kinds of wrong answers. The first two are well-formed and false; the rest are malformed."""

ANY_UPSTREAM: tuple[RequestFault, ...] = (
    "late", "throttled", "throttled_seconds", "throttled_date", "http_500", "http_502", "http_503",
    "cut_before", "cut_midway", "truncated_json", "wrong_json", "short_page", "repeated_page",
)  # fmt: skip
GRAPHQL_ONLY: tuple[RequestFault, ...] = ("query_timeout", "store_timeout", "overloaded", "statement_canceled")
NODE_ONLY: tuple[RequestFault, ...] = ("rpc_too_many", "rpc_timeout", "rpc_truncated")
SPECIAL: frozenset[RequestFault] = frozenset((*GRAPHQL_ONLY, *NODE_ONLY, "short_page", "short_page_unsaid"))
"""Kinds that only the part that makes the answer can play, by `Wish.fault`; not every upstream has them."""
DOME_LIES: tuple[Lie, ...] = ("swapped", "other_condition", "missing_side_b", "id_not_number", "condition_not_hex")
GOLDSKY_LIES: tuple[Lie, ...] = ("swapped", "other_condition", "condition_not_hex", "index_out_of_range")


@dataclass(frozen=True)
class Profile:
    """How bad it is."""

    rates: Mapping[RequestFault, float] = field(default_factory=dict)
    """Share of the requests that get each kind; together at most 1."""
    lies: float = 0.0
    """Share of the tokens that an upstream is asked about and answers wrongly."""
    late_ms: float = 400.0
    timeout_above: int = 200
    """Ids (or rows) above which a `query_timeout` happens: a smaller page is the remedy."""

    def __post_init__(self) -> None:
        kinds = get_args(RequestFault)
        if unknown := set(self.rates) - set(kinds):
            raise ValueError(f"unknown fault kinds {sorted(unknown)}, expected some of {', '.join(kinds)}")
        if sum(self.rates.values()) > 1 + 1e-9 or min([self.lies, *self.rates.values()], default=0) < 0:
            raise ValueError("fault rates must not be negative, nor more than 1 together")


def _even(total: float) -> dict[RequestFault, float]:
    kinds = ANY_UPSTREAM + GRAPHQL_ONLY
    return {kind: total / len(kinds) for kind in kinds}


PROFILES: dict[str, Profile] = {
    "none": Profile(),
    "mild": Profile(_even(0.03)),
    "rough": Profile(_even(0.20)),
    "liar": Profile(lies=0.01),
    "all": Profile(_even(0.20), lies=0.01),
}
"""Named profiles. None of them has `short_page_unsaid`, which no client can notice on Goldsky's side: ask for it by a
profile of your own."""


def profile_of(value: str | Mapping[str, Any] | Profile) -> Profile:
    """A profile by its name, from a JSON object (`rates`, `lies`, `late_ms`, `timeout_above`), or as it is."""
    if isinstance(value, Profile):
        return value
    if isinstance(value, str):
        if value not in PROFILES:
            raise ValueError(f"no fault profile {value!r}, expected one of {', '.join(PROFILES)}")
        return PROFILES[value]
    try:
        return Profile(**value)
    except TypeError as error:
        raise ValueError(f"not a fault profile: {error}") from None


class Faults:
    """The faults of one simulator: a pure function of its seed, its profile and its world."""

    def __init__(self, world: World, profile: str | Mapping[str, Any] | Profile = "none", seed: int = 1) -> None:
        self.world = world
        self.seed = seed
        self._lies: dict[Upstream, dict[int, Lie]] = {}
        self.profile = profile_of(profile)

    def change(self, profile: str | Mapping[str, Any] | Profile) -> None:
        """Use another profile from the next request on."""
        self.profile = profile_of(profile)
        self._lies = {}

    def plan(self, upstream: Upstream, number: int, own: frozenset[RequestFault] | None = None) -> RequestFault | None:
        """The fault of an upstream's request `number`, counted from 0; `own` are the special kinds it plays itself."""
        if not self.profile.rates:
            return None
        draw = random.Random(f"fault:{self.seed}:{upstream}:{number}").random()
        for kind, rate in self.profile.rates.items():
            draw -= rate
            if draw < 0:
                return _fitting(kind, upstream, OWN.get(upstream, frozenset()) if own is None else own)
        return None

    def lied_about(self, upstream: Upstream) -> dict[int, Lie]:
        """Every token this upstream answers wrongly, and how: what a careful client must quarantine.

        A Dome row describes both tokens of a market, so a lie there is about both.
        """
        if upstream not in self._lies:
            self._lies[upstream] = self._choose(upstream)
        return self._lies[upstream]

    def _choose(self, upstream: Upstream) -> dict[int, Lie]:
        if self.profile.lies <= 0 or upstream not in MAPPERS:
            return {}
        kinds: Sequence[Lie] = DOME_LIES if upstream == "dome" else GOLDSKY_LIES
        asked = [token for token in self.world.unmapped() if token in self.world.known_to(upstream)]
        count = min(len(asked), max(len(kinds), round(self.profile.lies * len(asked))))
        chosen = random.Random(f"lies:{self.seed}:{upstream}").sample(asked, count)
        lies = {token: kinds[i % len(kinds)] for i, token in enumerate(chosen)}
        return self._whole_markets(lies) if upstream == "dome" else lies

    def _whole_markets(self, lies: dict[int, Lie]) -> dict[int, Lie]:
        return {
            token: lies.get(market.tokens[0]) or lies[market.tokens[1]]
            for market in self.world.markets
            if not lies.keys().isdisjoint(market.tokens)
            for token in market.tokens
        }


OWN: dict[Upstream, frozenset[RequestFault]] = {
    "dome": frozenset(("short_page", "short_page_unsaid")),
    "goldsky": frozenset((*GRAPHQL_ONLY, "short_page_unsaid")),
}
"""Special kinds that an upstream plays itself; the other upstreams' parts say theirs (see `upstreams`)."""


def _fitting(kind: RequestFault, upstream: Upstream, own: frozenset[RequestFault]) -> RequestFault:
    """What a kind is at an upstream that does not have it: the database's trouble is a 500 where no GraphQL is spoken.

    Goldsky has no `has_more`, so a short page that says so cannot happen there.
    """
    if kind not in SPECIAL or kind in own:
        return kind
    if upstream == "goldsky":
        return "overloaded"
    return "http_503" if kind in ("short_page", "short_page_unsaid") else "http_500"
