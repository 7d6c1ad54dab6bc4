"""Why a profit differs from a reference: parts, each by a stated rule, that add up to it to the micro-dollar.

First what our own tables tell: tokens that are missing, unmapped, unresolved, or newer than the reference. Then, where
the reference tells its tokens one by one, token by token. What is left is given a name only where the amount of
something known (fees, splits and merges, transfers, another definition) fits it within the rounding, or where payouts
that nobody knows can make it up; it is rounding where it is smaller than that, and else it stays unexplained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Final

from backfill.stages.pnl_rows import DEFINITIONS, MICRO, Claim, Definition, Row, Stray, cut, gross, total, usd

HOW: Final[Mapping[str, str]] = {
    "missing_fills": "tokens that the reference has and we have no fill of, at its figure; and, at the difference, "
    "tokens of which it has more shares bought than we, or of which more was sold here than ever came",
    "unmapped_tokens": "tokens with fills but no market: at the reference's figure, else by the fills alone, what is "
    "left at the last price; and what is left of the difference, where payouts that nobody knows can make it up",
    "unresolved": "conditions that have ended, but whose payout we do not know: at the last price, else at cost "
    "(cash), or what redemptions paid beyond the average cost; and what is left of the difference, where those "
    "payouts can make it up",
    "fees": "tokens, or the whole, where the difference is what was charged; and tokens with fills whose fee no source "
    "tells, where less came of them than such fees allow",
    "splits_and_merges": "tokens, or the whole, where the difference is what splits, merges and conversions moved",
    "transfers": "tokens, or the whole, where shares came from other wallets or went to them",
    "definition": "the same data by the definition compared, less by that of the reference; and tokens of which a "
    "redemption ends all that is tracked, as the subgraph has it, while the reference or the wallet still holds some",
    "prices": "open positions whose realized part agrees: shares at another price than our last one, or at none",
    "after_reference": "tokens first touched after the moment of the reference",
    "not_in_reference": "tokens that we have and the reference, which tells its tokens, has not",
    "rounding": "what the digits of the reference and cut-off millionths allow",
    "unexplained": "the rest",
}
"""Every cause, and how its part is computed."""

TOKEN_SLACK: Final = 200
"""Micro-dollars by which one token may differ where a reference shows four decimals."""
DEAREST_FEE: Final = 50
"""One share in so many is more than any fee that real wallets were seen to pay without being told: below 1 in 100."""
Key = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Reference:
    """A profit as somebody else has it, in micro-dollars.

    `step` is one unit of its last digit; `as_of` the moment it is of, in unix seconds, where that is known;
    `itemized` says that the claims are its own, token by token, and complete.
    """

    source: str
    metric: str
    definition: Definition
    expected: int
    step: int = 1
    as_of: int | None = None
    itemized: bool = False


@dataclass(slots=True)
class Explanation:
    """A difference in parts (micro-dollars); `tokens` counts what each part is about.

    `straddling` tokens were touched before and after the moment of the reference: only tables of that moment
    (`rebuild --cutoff`) tell how much of them it knows.
    """

    actual: int
    expected: int
    parts: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    fits: list[str] = field(default_factory=list)
    straddling: int = 0

    @property
    def delta(self) -> int:
        """Actual less expected."""
        return self.actual - self.expected

    @property
    def left(self) -> int:
        """What has no part yet."""
        return self.delta - sum(self.parts.values())

    def add(self, cause: str, amount: int, tokens: int = 0) -> None:
        """Give a part of the difference a name."""
        assert cause in HOW, cause
        if amount:
            self.parts[cause] = self.parts.get(cause, 0) + amount
            self.tokens[cause] = self.tokens.get(cause, 0) + tokens

    def document(self) -> dict[str, Any]:
        """As JSON: dollars by cause, the exact micro-dollars, and how each was computed."""
        return {
            "causes": {cause: usd(amount) for cause, amount in self.parts.items()},
            "causes_micro": {cause: str(amount) for cause, amount in self.parts.items()},
            "causes_tokens": {cause: count for cause, count in self.tokens.items() if count},
            "causes_how": {cause: HOW[cause] for cause in self.parts},
            "fits": self.fits,
            "straddling": self.straddling,
        }


def explain(
    rows: Sequence[Row],
    strays: Sequence[Stray],
    claims: Sequence[Claim],
    reference: Reference,
    compared: Definition | None = None,
) -> Explanation:
    """The difference of the rows' profit to the reference, in parts.

    Args:
        compared: the definition to compare; that of the reference if not given.
    """
    definition = reference.definition
    found = Explanation(total(rows, compared or definition), reference.expected)
    found.add("definition", found.actual - total(rows, definition))
    by_key = {row.key: row for row in rows}
    told = {_key(claim): claim for claim in claims if claim.outcome is not None}
    tokens = {stray.token for stray in strays}
    for claim in claims:
        if claim.token not in tokens and _key(claim) not in by_key and not _later(claim, reference):
            found.add("missing_fills", -claim.worth(definition), 1)
    _strays(found, strays, claims, definition)
    newer = _newer(found, rows, reference)
    old = [row for row in rows if row.key not in newer]
    if reference.itemized:
        _token_by_token(found, old, told, definition)
    else:
        _unresolved(found, old, definition)
    told_of = {(claim.wallet, claim.token) for claim in claims}
    unknown = {
        "unresolved": [] if reference.itemized else [_row_reach(row, definition) for row in _pending(old)],
        "unmapped_tokens": [_reach(s, definition) for s in strays if (s.wallet, s.token) not in told_of],
    }
    _rest(found, rows, reference, len(claims) if reference.itemized else 0, unknown)
    assert sum(found.parts.values()) == found.delta, "the parts do not add up"
    return found


def _newer(found: Explanation, rows: Sequence[Row], reference: Reference) -> set[Key]:
    """Rows that the reference cannot know; those that it may know in part are counted, for whoever looks closer."""
    if reference.as_of is None:
        return set()
    newer = [row for row in rows if row.first_at >= reference.as_of]
    for row in newer:
        found.add("after_reference", row.worth(reference.definition), 1)
    found.straddling = sum(row.first_at < reference.as_of <= row.last_at for row in rows)
    return {row.key for row in newer}


def _later(claim: Claim, reference: Reference) -> bool:
    """Whether a token was first touched after the moment of another source's figure."""
    return reference.as_of is not None and claim.first_at is not None and claim.first_at >= reference.as_of


def _key(claim: Claim) -> Key:
    return claim.wallet, claim.condition, -1 if claim.outcome is None else claim.outcome


def _strays(found: Explanation, strays: Sequence[Stray], claims: Sequence[Claim], definition: Definition) -> None:
    said = {(claim.wallet, claim.token): claim for claim in claims}
    for stray in strays:
        claim = said.get((stray.wallet, stray.token))
        worth = claim.worth(definition) if claim else stray.worth(definition)
        found.add("unmapped_tokens", -worth, 1)


def _pending(rows: Sequence[Row]) -> list[Row]:
    """Rows whose condition may have ended, but has no payout here."""
    return [row for row in rows if row.closed and not row.resolved]


def _unresolved(found: Explanation, rows: Sequence[Row], definition: Definition) -> None:
    """By our own tables alone."""
    for row in _pending(rows):
        part = _unresolved_part(row, definition)
        found.add("unresolved", part, int(part != 0))


def _unresolved_part(row: Row, definition: Definition) -> int:
    """The marked definitions have it at the last price already, if there is one."""
    priceless = row.value is None and row.net
    if definition == "cash":
        return 0 if priceless else -(row.trade_cash + (row.value or 0))
    if definition in ("marked", "marked_gross"):
        return row.trade_cash if priceless else 0
    return cut(row.redeemed * row.avg_price, MICRO) - row.redemptions if row.redeemed else 0


Reach = tuple[int, int]
"""Between which bounds an estimated part may still move: a share is paid with nothing, with a dollar, or in between."""


def _row_reach(row: Row, definition: Definition) -> Reach:
    guess = row.worth(definition) - _unresolved_part(row, definition)
    if definition in ("cash", "marked", "marked_gross"):
        least = row.trade_cash + (row.fees if definition == "marked_gross" else 0)
        return _between(guess, least, row.leftover)
    return _between(guess, row.worth(definition) - cut(row.tracked * row.avg_price, MICRO), row.tracked)


def _reach(stray: Stray, definition: Definition) -> Reach:
    before_fees = definition in ("avg_cost", "dome", "marked_gross")
    return _between(stray.worth(definition), stray.cash - (0 if before_fees else stray.fees), stray.net)


def _between(guess: int, nothing_paid: int, shares: int) -> Reach:
    ends = (guess, nothing_paid, nothing_paid + shares)
    return guess - max(ends), guess - min(ends)


def _token_by_token(found: Explanation, rows: Sequence[Row], told: Mapping[Key, Claim], definition: Definition) -> None:
    """Both sides before fees: a reference that tells its tokens tells fees apart."""
    for row in rows:
        ours, claim = row.worth(gross(definition)), told.get(row.key)
        if claim is None:
            found.add("not_in_reference", ours, 1)
        else:
            difference = ours - claim.worth(gross(definition))
            found.add(_cause(row, claim, difference), difference, 1)


def _cause(row: Row, claim: Claim, difference: int) -> str:
    """The first thing that is known to be different about a token."""
    slack = TOKEN_SLACK + 2 * row.gained // 1_000_000
    if abs(difference) <= slack:
        return "rounding"
    if not row.resolved and claim.settled:
        return "unresolved"
    held = row.net - row.transferred + row.fee_shares
    if row.leftover < 0 or row.tracked > held + slack or (claim.bought or 0) > row.gained + slack:
        return "missing_fills"
    if row.tracked < held - slack or (row.redeemed and claim.settled):
        return "definition"
    if row.fees and abs(abs(difference) - row.fees) <= slack:
        return "fees"
    if row.fee_shares and abs(difference) <= row.fee_shares + slack and not row.transferred:
        return "fees"  # kept back in shares, which cannot be worth more than a dollar each
    if row.fees_unknown and 0 < difference <= row.gained // DEAREST_FEE:
        return "fees"
    if not row.resolved and abs(row.avg_cost - claim.realized) <= slack:
        return "prices"
    if row.transferred:
        return "transfers"
    if row.split or row.merged or row.converted:
        return "splits_and_merges"
    return "unexplained"


# --- what is left


def _rest(
    found: Explanation, rows: Sequence[Row], reference: Reference, claims: int, unknown: Mapping[str, Sequence[Reach]]
) -> None:
    bound = reference.step // 2 + len(rows) + TOKEN_SLACK * claims
    if abs(found.left) > bound:
        for cause, amount, fit in _fitting(found.left, bound, rows, reference.definition):
            found.add(cause, amount)
            found.fits.append(fit)
    if abs(found.left) > bound:
        _unknown_payouts(found, unknown)
    found.add("rounding" if abs(found.left) <= bound else "unexplained", found.left)


def _unknown_payouts(found: Explanation, unknown: Mapping[str, Sequence[Reach]]) -> None:
    """All of what is left, if payouts that nobody knows can make it up together; else nothing of it."""
    reaches = {cause: (sum(low for low, _ in each), sum(high for _, high in each)) for cause, each in unknown.items()}
    if not sum(low for low, _ in reaches.values()) <= found.left <= sum(high for _, high in reaches.values()):
        return
    for cause, (low, high) in reaches.items():
        amount = max(low, min(high, found.left))
        found.add(cause, amount, 0 if cause in found.tokens else len(unknown[cause]))


Fit = tuple[str, int, str]


def _fitting(left: int, bound: int, rows: Sequence[Row], definition: Definition) -> Sequence[Fit]:
    """The fewest known amounts that come to what is left, within the rounding; none when no choice of them does."""
    options = list(_options(rows, definition, bound))
    choices = sorted(product(*options), key=lambda choice: _rank([fit is not None for fit in choice]))
    for choice in choices:
        chosen = [fit for fit in choice if fit is not None]
        if chosen and abs(left - sum(amount for _, amount, _ in chosen)) <= bound:
            return chosen
    return ()


def _rank(used: Sequence[bool]) -> tuple[int, list[bool]]:
    """Few before many, and the causes in their order: another definition is the last that is thought of."""
    return sum(used), [not each for each in used]


def _options(rows: Sequence[Row], definition: Definition, bound: int) -> Iterator[list[Fit | None]]:
    """For each cause: nothing, or an amount, to be added or taken away. Amounts within the rounding would fit all."""
    own = total(rows, definition)
    amounts = {
        "fees": sum(row.fees for row in rows),
        "splits_and_merges": _splits(rows, definition),
        "transfers": sum(row.due(row.transferred) for row in rows),
    }
    for cause, amount in amounts.items():
        sure = [(cause, sign * amount, cause) for sign in (1, -1) if abs(amount) > bound]
        yield [None, *sure]
    others = ((name, own - total(rows, name)) for name in DEFINITIONS)
    yield [
        None,
        *(("definition", amount, f"the reference is {name}") for name, amount in others if abs(amount) > bound),
    ]


def _splits(rows: Sequence[Row], definition: Definition) -> int:
    if definition in ("avg_cost", "avg_cost_net", "dome"):
        return sum(row.avg_cost - row.dome for row in rows)
    return sum(row.merges + row.conversions - row.splits for row in rows)
