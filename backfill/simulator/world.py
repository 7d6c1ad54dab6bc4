"""A world: every market, token and fill the pretend upstreams know, and the right answer to every question.

Deterministic from a seed and a size, or loaded from real data files.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from .accounts import invent
from .blocks import HEAD_TIME
from .calm import calm
from .dumps import Dumps, Format, write_dumps
from .fills import BASELINE_WALLETS, assign_owners, make_fills
from .generate import Shares, make_markets, pick_unknown
from .history import Story, make_ledger
from .ledger import Ledger, WalletPair
from .lively import Plan, lively_fills
from .model import UPSTREAMS, Fill, Mapping, Market, Upstream
from .real import read_real

REAL_TRADED = 118_870
"""Distinct token ids with fills in the system that is to be back-filled."""
REAL_MAPPED = 41_130
"""Those of them already in its token map."""

FEWEST_ACCOUNTS = 40
TOKENS_FOR_AN_ACCOUNT = 8


@dataclass(frozen=True)
class World:
    """Everything the upstreams could say. Treat it as read-only: the servers share it."""

    seed: int
    markets: list[Market]
    truth: dict[int, Mapping]
    """The right answer for every token of every market, traded or not."""
    traded: list[int]
    """Token ids that have fills."""
    mapped: set[int]
    """Traded tokens that are in the existing token map."""
    dome_tokens: frozenset[int]
    goldsky_tokens: frozenset[int]
    wallets: tuple[str, ...] = field(default=BASELINE_WALLETS)
    after_cutover: float = 0.0
    """Share of the ledger's orders that are V2."""
    plan: Plan | None = None
    """How many fills a full world has; None for a plain one, of one to five fills a token."""

    @classmethod
    def generate(
        cls,
        seed: int = 1,
        traded: int = 2000,
        mapped: int = 692,
        *,
        unknown_dome: float = 0.03,
        unknown_goldsky: float = 0.03,
        unknown_both: float = 0.01,
        neg_risk: float = 0.3,
        wallets: Sequence[str] = BASELINE_WALLETS,
        after_cutover: float = 0.25,
        full: bool = False,
        busy: float = 0.0,
        bursts: int = 0,
    ) -> World:
        """Make a world up. The `unknown_…` shares are of traded tokens and disjoint; `neg_risk` is of markets.

        `after_cutover` is the share of the orders that are V2. In a `full` world all that occurs at all does so before
        the cutover too; `busy` (mean fills by token, heavy-tailed) and `bursts` (tokens with more than 1,000 fills in
        one second, the first with thousands besides) make one.
        """
        if not 0 <= mapped <= traded or traded < 1:
            raise ValueError(f"mapped must be between 0 and traded, and traded at least 1: got {mapped} of {traded}")
        plan = _plan(after_cutover, full, busy, bursts)
        markets, tokens = make_markets(seed, traded, neg_risk, HEAD_TIME if plan else None)
        not_dome, not_goldsky = pick_unknown(seed, markets, tokens, Shares(unknown_dome, unknown_goldsky, unknown_both))
        truth = _truth(markets)
        return cls(
            seed=seed,
            markets=markets,
            truth=truth,
            traded=tokens,
            mapped=set(),
            dome_tokens=frozenset(truth.keys() - not_dome),
            goldsky_tokens=frozenset(truth.keys() - not_goldsky),
            wallets=tuple(wallets),
            after_cutover=after_cutover,
            plan=plan,
        ).with_mapped(mapped)

    @classmethod
    def from_real(cls, folder: str | Path, *, mapped: int = 0, seed: int = 1, traded: int | None = None) -> World:
        """Load recorded answers: Dome says what `gamma_markets.parquet` says, Goldsky `subgraph_token_conditions`.

        `traded` keeps only that many of the tokens (drawn by the seed), `mapped` of them count as already mapped.
        """
        real = read_real(Path(folder))
        truth = {**real.goldsky, **_truth(real.markets)}
        tokens = sorted(truth)
        if traded is not None:
            tokens = sorted(random.Random(f"real:{seed}").sample(tokens, min(traded, len(tokens))))
        dome = frozenset(token for market in real.markets for token in market.tokens)
        world = cls(seed, real.markets, truth, tokens, set(), dome, frozenset(real.goldsky))
        return world.with_mapped(mapped)

    def with_mapped(self, count: int) -> World:
        """The same world with `count` of its traded tokens in the existing token map."""
        return replace(self, mapped=set(self._mapping_order()[:count]))

    def known_to(self, upstream: Upstream) -> frozenset[int]:
        """Tokens this upstream has an answer for."""
        if upstream not in UPSTREAMS:
            raise ValueError(f"no such upstream: {upstream!r}, expected one of {UPSTREAMS}")
        if upstream == "dome":
            return self.dome_tokens
        return self.goldsky_tokens if upstream == "goldsky" else frozenset(self.truth)

    def reachable(self) -> frozenset[int]:
        """Tokens that at least one upstream knows."""
        return self.dome_tokens | self.goldsky_tokens

    def unmapped(self) -> list[int]:
        """Traded tokens that are not in the existing token map, in the order of `traded`."""
        return [token for token in self.traded if token not in self.mapped]

    def best_coverage(self) -> float:
        """Share of traded tokens that are mapped once every reachable one is: what a perfect run ends with."""
        reachable = self.reachable()
        return sum(t in self.mapped or t in reachable for t in self.traded) / len(self.traded)

    @cached_property
    def owners(self) -> dict[int, str]:
        """Baseline wallet that made the first fill of a token, for the tokens it trades."""
        reachable = self.reachable()
        known = [token for token in self.traded if token in reachable]
        lost = [token for token in self.traded if token not in reachable and token not in self.mapped]
        return assign_owners(self.seed, known, lost, self.wallets)

    @cached_property
    def fills(self) -> list[Fill]:
        """Every V1 fill, in time order. Made when first asked for."""
        if self.plan is not None:
            crowd = [pair.wallet for pair in self.accounts]
            with calm():
                return lively_fills(self.seed, self.markets, self.traded, self.owners, crowd, self.plan)
        neg_risk = {token: self.truth[token].neg_risk for token in self.traded}
        return make_fills(self.seed, self.traded, neg_risk, self.owners)

    @cached_property
    def accounts(self) -> list[WalletPair]:
        """Made-up accounts that trade before the cutover: those of a full world, whose wallets derive from owners."""
        count = max(FEWEST_ACCOUNTS, len(self.traded) // TOKENS_FOR_AN_ACCOUNT)
        return [] if self.plan is None else invent(f"old:{self.seed}", count)

    @cached_property
    def ledger(self) -> Ledger:
        """Everything that happened on the world's chain. Made when first asked for."""
        story = Story(
            seed=self.seed,
            markets=self.markets,
            traded=self.traded,
            neg_risk={token: truth.neg_risk for token, truth in self.truth.items()},
            fills=self.fills,
            accounts=self.accounts,
            after_cutover=self.after_cutover,
            bursts=self.plan is not None and self.plan.bursts > 0,
        )
        with calm():
            return make_ledger(story)

    def write_dumps(self, folder: str | Path, formats: Iterable[Format] = ("parquet",)) -> Dumps:
        """Write the fills (once in each format) and the existing token map as files to import.

        They are the rows of a subgraph: of two with one id it has the later one.
        """
        existing = {token: self.truth[token] for token in self.traded if token in self.mapped}
        fills = list({fill.id: fill for fill in self.fills}.values())
        return write_dumps(Path(folder), fills, existing, tuple(formats))

    def _mapping_order(self) -> list[int]:
        """Traded tokens in the order in which the old system came to know them: mostly whole markets."""
        by_condition: dict[str, list[int]] = {}
        for token in self.traded:
            by_condition.setdefault(self.truth[token].condition, []).append(token)
        groups = list(by_condition.values())
        random.Random(f"mapped:{self.seed}").shuffle(groups)
        return [token for group in groups for token in group]


def _plan(after_cutover: float, full: bool, busy: float, bursts: int) -> Plan | None:
    if not 0 <= after_cutover < 1 or busy < 0 or bursts < 0:
        raise ValueError("after_cutover must be at least 0 and below 1, busy and bursts not negative")
    return Plan(busy, bursts) if full or busy or bursts else None


def _truth(markets: Iterable[Market]) -> dict[int, Mapping]:
    return {
        token: Mapping(market.condition, index, market.labels[index], market.slug, market.neg_risk)
        for market in markets
        for index, token in enumerate(market.tokens)
    }
