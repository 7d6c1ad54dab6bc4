"""What happens to shares beside trades: splits, merges, gifts, conversions, endings and redemptions."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .blocks import HEAD_TIME, Blocks, block_of
from .generate import DAY, FIRST_START
from .ids import NEG_RISK_ORACLE, UMA_ORACLE
from .ledger import At, Conversion, Order, Redemption, Resolution, Split, Transfer
from .model import Market
from .orders import by_transaction, share_fee

SLOTS = 8
"""Log indexes that an event takes up: its own is the last, the transfers it causes stand before it."""
ORDERS_FOR_A_SPLIT = 40
FEWEST_SPLITS = 12
MERGED_SHARE, GIVEN_SHARE, REDEEMED_SHARE, ONE_LEG_SHARE = 0.5, 0.2, 0.5, 0.25
"""Shares of the splits that are merged again or given away in part, of the holders who redeem, and of redemptions that
name one outcome alone."""
RESOLVED_AFTER = 60
"""Seconds from the end of trading to the oracle's word."""
SHORTEST = 600
"""Seconds a market must have been open for a split to fit into its life."""
NOWHERE = At(0, 0, "", 0)
_UNKNOWN_QUESTION = f"0x{'0' * 64}"


class Draft(NamedTuple):
    """An event that is still to get its place on the chain."""

    time: int
    tx: str
    event: Any


@dataclass
class Moves:
    """Every event beside the orders, each kind in chain order."""

    splits: list[Split] = field(default_factory=list)
    redemptions: list[Redemption] = field(default_factory=list)
    conversions: list[Conversion] = field(default_factory=list)
    gifts: list[Transfer] = field(default_factory=list)
    resolutions: list[Resolution] = field(default_factory=list)


@dataclass
class Holdings:
    """Shares by wallet and condition, in outcome order, and when they last changed (unix seconds)."""

    shares: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))
    changed: dict[tuple[str, str], int] = field(default_factory=dict)

    def add(self, wallet: str, condition: str, outcome: int, amount: int, at: int) -> None:
        """Add to what a wallet holds."""
        key = (wallet, condition)
        self.shares[key][outcome] += amount
        self.changed[key] = max(at, self.changed.get(key, 0))


class Mover:
    """Makes the moves of one world from its markets and orders."""

    def __init__(self, seed: int, markets: Sequence[Market], orders: Sequence[Order], wallets: Sequence[str]) -> None:
        self._rng = random.Random(f"moves:{seed}")
        self._markets = [market for market in markets if _life(market)[1] - _life(market)[0] >= SHORTEST]
        self._all = markets
        self._wallets = wallets
        self._orders = orders
        self._places = {t: (m.condition, i) for m in markets for i, t in enumerate(m.tokens)}
        self._holdings = Holdings()
        self._drafts: list[Draft] = []

    def make(self, blocks: Blocks) -> Moves:
        """All moves with their places on the chain."""
        self._trade()
        if self._markets and self._wallets:
            for _ in range(max(FEWEST_SPLITS, len(self._orders) // ORDERS_FOR_A_SPLIT)):
                self._split(self._rng.choice(self._markets))
            self._convert()
        for market in self._all:
            self._resolve(market)
        self._redeem()
        return _placed(blocks, self._drafts)

    def _trade(self) -> None:
        """What the orders leave everybody with."""
        for legs, own in by_transaction(self._orders):
            for order in legs if own is None else (*legs, own):
                self._hold(order.maker, order, order.shares - share_fee(order), order.side == "BUY")
            if own is None:
                for order in legs:
                    self._hold(order.taker, order, order.shares, order.side != "BUY")

    def _hold(self, wallet: str, order: Order, shares: int, received: bool) -> None:
        place = self._places.get(order.token)
        if place is not None:
            self._holdings.add(wallet, *place, shares if received else -shares, order.at.timestamp)

    def _split(self, market: Market) -> None:
        """A split, and what often follows: a merge of a part of it, a gift to another wallet."""
        rng, wallet = self._rng, self._rng.choice(self._wallets)
        low, high = _life(market)
        start = rng.randint(low, high - SHORTEST // 2)
        amount = rng.randint(1, 2_000) * 1_000_000
        self._change(wallet, market, start, amount, merge=False)
        later = rng.randint(start + 10, high)
        if rng.random() < MERGED_SHARE:
            self._change(wallet, market, later, amount * rng.randint(1, 4) // 5, merge=True)
        if rng.random() < GIVEN_SHARE:
            self._give(wallet, market, later, amount // 10)

    def _change(self, wallet: str, market: Market, at: int, amount: int, *, merge: bool) -> None:
        for outcome in range(2):
            self._holdings.add(wallet, market.condition, outcome, -amount if merge else amount, at)
        self._draft(at, Split(NOWHERE, wallet, market.condition, amount, merge))

    def _give(self, wallet: str, market: Market, at: int, amount: int) -> None:
        """Shares go to another wallet without a trade: of one outcome, or of both in a batch."""
        batch = self._rng.random() < 0.5
        outcomes = (0, 1) if batch else (self._rng.randrange(2),)
        friend = self._rng.choice(self._wallets)
        for outcome in outcomes:
            self._holdings.add(wallet, market.condition, outcome, -amount, at)
            self._holdings.add(friend, market.condition, outcome, amount, at)
        tokens = tuple(market.tokens[outcome] for outcome in outcomes)
        self._draft(at, Transfer(NOWHERE, wallet, wallet, friend, tokens, (amount,) * len(tokens), batch))

    def _convert(self) -> None:
        """In every neg-risk market with several questions somebody turns NO shares, split before, into YES shares."""
        groups: dict[str, list[Market]] = {}
        for market in self._markets:
            if market.neg_risk_market is not None:
                groups.setdefault(market.neg_risk_market, []).append(market)
        for number, questions in groups.items():
            low = max(_life(market)[0] for market in questions)
            high = min(_life(market)[1] for market in questions)
            if len(questions) > 1 and high - low >= SHORTEST:
                self._conversion(number, questions, (low, high))

    def _conversion(self, number: str, questions: list[Market], span: tuple[int, int]) -> None:
        rng, wallet = self._rng, self._rng.choice(self._wallets)
        chosen = rng.sample(questions, rng.randint(1, len(questions) - 1))
        amount, start = rng.randint(1, 500) * 1_000_000, rng.randint(span[0], span[1] - SHORTEST // 2)
        at = rng.randint(start + 10, span[1])
        for market in questions:
            if market in chosen:
                self._change(wallet, market, start, amount, merge=False)
                self._holdings.add(wallet, market.condition, 1, -amount, at)
            else:
                self._holdings.add(wallet, market.condition, 0, amount, at)
        bitmap = sum(1 << int((market.question_id or "00")[-2:], 16) for market in chosen)
        self._draft(at, Conversion(NOWHERE, wallet, number, bitmap, amount, len(questions)))

    def _resolve(self, market: Market) -> None:
        if market.numerators is None or market.closed_at is None:
            return
        oracle = f"0x{(NEG_RISK_ORACLE if market.neg_risk else UMA_ORACLE).hex()}"
        question = market.question_id or _UNKNOWN_QUESTION
        ending = Resolution(NOWHERE, market.condition, oracle, question, market.numerators)
        self._draft(market.closed_at + RESOLVED_AFTER, ending)

    def _redeem(self) -> None:
        """Some of those who hold shares of what has ended take their payout, losers too."""
        ended = {m.condition: m for m in self._all if m.numerators is not None and m.closed_at is not None}
        for (wallet, condition), shares in self._holdings.shares.items():
            market = ended.get(condition)
            if market is None or max(shares) <= 0 or self._rng.random() >= REDEEMED_SHARE:
                continue
            since = max((market.closed_at or 0) + 2 * RESOLVED_AFTER, self._holdings.changed[wallet, condition])
            at = since + self._rng.randint(60, 30 * DAY)
            if at < HEAD_TIME:
                self._draft(at, self._redemption(wallet, market, shares))

    def _redemption(self, wallet: str, market: Market, shares: Sequence[int]) -> Redemption:
        """The whole balance of both outcomes, or of the one that is there."""
        numerators = market.numerators or (0, 0)
        amounts = [max(0, each) for each in shares]
        sets = [1, 2]
        if self._rng.random() < ONE_LEG_SHARE and not market.neg_risk:
            kept = self._rng.choice([n for n, amount in enumerate(amounts) if amount])
            sets, amounts = [1 << kept], [amount if n == kept else 0 for n, amount in enumerate(amounts)]
        paid = sum(amount * numerator for amount, numerator in zip(amounts, numerators, strict=True))
        payout = paid // sum(numerators)
        return Redemption(NOWHERE, wallet, market.condition, tuple(sets), tuple(amounts), payout)

    def _draft(self, at: int, event: Any) -> None:
        self._drafts.append(Draft(at, f"0x{self._rng.randbytes(32).hex()}", event))


def _life(market: Market) -> tuple[int, int]:
    """When a market's shares may be split and merged (unix seconds, both ends included)."""
    end = HEAD_TIME if market.closed_at is None else min(HEAD_TIME, market.closed_at)
    return max(market.start, FIRST_START), end - 60


def _placed(blocks: Blocks, drafts: Iterable[Draft]) -> Moves:
    moves = Moves()
    shelves: dict[type, list[Any]] = {
        Split: moves.splits,
        Redemption: moves.redemptions,
        Conversion: moves.conversions,
        Transfer: moves.gifts,
        Resolution: moves.resolutions,
    }
    for draft in sorted(drafts, key=lambda each: (block_of(each.time), each.tx)):
        block, at = blocks.near(draft.time)
        place = At(block, blocks.logs(block, SLOTS) + SLOTS - 1, draft.tx, at)
        shelves[type(draft.event)].append(draft.event._replace(at=place))
    return moves
