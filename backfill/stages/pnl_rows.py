"""What is known of a wallet's outcomes, and what each definition of profit makes of it. All integers, in millionths.

Definitions:
    cash: proceeds less costs less fees, with every leftover share at its payout; conditions that have ended only.
    avg_cost: as the official subgraph: realized by sells, merges and redemptions, before fees.
    avg_cost_net: the same after fees; what the Data API calls realized.
    dome: what sells and redemptions realize of the average cost.
    marked: cash, and open conditions at the last traded price; what the site shows as profit.
    marked_gross: the same before fees; what positions of the Data API add up to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any, Final, Literal, get_args

Definition = Literal["cash", "avg_cost", "avg_cost_net", "dome", "marked", "marked_gross"]
DEFINITIONS: Final[tuple[Definition, ...]] = get_args(Definition)
MICRO: Final = 1_000_000
SETTLED: Final = ("REDEEMABLE", "REDEEMABLE_LOST")
"""What the Data API calls positions in conditions that have ended."""


@dataclass(frozen=True, slots=True)
class Row:
    """One outcome of one wallet, from the derived tables; times in unix seconds.

    `numerators` are the payout by outcome as the resolutions have it, empty while there is none; `value` and
    `unrealized` are at the last price, None without one; `closed` says that a listing calls the market closed,
    or that it is not listed and no payout of any market is known; `fees_unknown` counts fills whose fee no source told.
    """

    wallet: str
    condition: str
    outcome: int
    label: str
    closed: bool
    resolved: bool
    numerators: tuple[int, ...]
    denominator: int
    net: int
    bought: int
    sold: int
    fee_shares: int
    split: int
    merged: int
    converted: int
    redeemed: int
    transferred: int
    proceeds: int
    costs: int
    fees: int
    splits: int
    merges: int
    conversions: int
    redemptions: int
    trade_cash: int
    leftover: int
    payout: int
    cash: int
    avg_cost: int
    dome: int
    tracked: int
    avg_price: int
    volume: int
    fills: int
    first_at: int
    last_at: int
    value: int | None = None
    unrealized: int | None = None
    fees_unknown: int = 0

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from others."""
        return self.wallet, self.condition, self.outcome

    @property
    def gained(self) -> int:
        """Shares that were bought or made, as the Data API counts them."""
        return self.bought - self.fee_shares + self.split + max(self.converted, 0)

    def due(self, shares: int) -> int:
        """What so many shares are worth: at the payout, or at the last price; 0 where neither is known."""
        if self.resolved:
            return cut(shares * self.numerator, self.denominator)
        return cut(shares * (self.value or 0), self.net) if self.net else 0

    @property
    def numerator(self) -> int:
        """The payout of this outcome, over the denominator."""
        return self.numerators[self.outcome] if self.outcome < len(self.numerators) else 0

    def worth(self, definition: Definition) -> int:
        """Its part of the profit, in micro-dollars."""
        match definition:
            case "cash":
                return self.cash
            case "avg_cost":
                return self.avg_cost
            case "avg_cost_net":
                return self.avg_cost - self.fees
            case "dome":
                return self.dome
            case "marked":
                return self.cash if self.resolved else self.trade_cash + (self.value or 0)
            case "marked_gross":
                return self.worth("marked") + self.fees


@dataclass(frozen=True, slots=True)
class Stray:
    """The fills of a wallet in a token that no market is known for. `realized` is by average cost, before fees."""

    wallet: str
    token: str
    fills: int
    cash: int
    fees: int
    net: int
    realized: int
    value: int
    first_at: int

    def worth(self, definition: Definition) -> int:
        """What it would add, with the shares that are left at the last price."""
        match definition:
            case "avg_cost" | "dome":
                return self.realized
            case "avg_cost_net":
                return self.realized - self.fees
            case "marked_gross":
                return self.cash + self.value
            case _:
                return self.cash - self.fees + self.value


@dataclass(frozen=True, slots=True)
class Claim:
    """What a reference says of one token of a wallet, before fees; `first_at` in unix seconds.

    `outcome`, `bought` and `first_at` are None where it does not know them.
    """

    wallet: str
    token: str
    condition: str
    outcome: int | None
    status: str
    realized: int
    total: int
    bought: int | None = None
    first_at: int | None = None

    @property
    def settled(self) -> bool:
        """Whether the reference takes the condition to have ended."""
        return self.status in SETTLED

    def worth(self, definition: Definition) -> int:
        """What the reference makes of the token."""
        return self.realized if definition in ("avg_cost", "avg_cost_net", "dome") else self.total


def total(rows: Iterable[Row], definition: Definition) -> int:
    """The profit of these rows, in micro-dollars."""
    return sum(row.worth(definition) for row in rows)


def gross(definition: Definition) -> Definition:
    """The same definition before fees."""
    same: Mapping[Definition, Definition] = {
        "avg_cost_net": "avg_cost",
        "marked": "marked_gross",
        "cash": "marked_gross",
    }
    return same.get(definition, definition)


def cut(amount: int, by: int) -> int:
    """Division towards zero, as the warehouse does it.

    Raises:
        ZeroDivisionError: `by` is 0.
    """
    found = abs(amount) // abs(by)
    return found if (amount < 0) == (by < 0) else -found


def micro(value: float | int | str | Decimal) -> int:
    """Dollars as micro-dollars; a float by its shortest text. Digits beyond the sixth are cut off."""
    return int(Decimal(str(value)) * MICRO)


def usd(amount: int) -> float:
    """Micro-dollars as dollars, for printing only."""
    return float(Decimal(amount) / MICRO)


_FLAGS: Final = ("closed", "resolved")
_TEXTS: Final = ("wallet", "condition", "label", "token", "status")


def read_row(found: Mapping[str, Any]) -> Row:
    """A row of `validate_rows` (numbers may come as text), or what `asdict` made of a Row."""
    made: dict[str, Any] = {}
    for each in fields(Row):
        value = found[each.name]
        if each.name in _TEXTS:
            made[each.name] = str(value)
        elif each.name == "numerators":
            made[each.name] = tuple(int(part) for part in value)
        elif each.name in _FLAGS:
            made[each.name] = bool(int(value))
        else:
            made[each.name] = None if value is None else int(value)
    return Row(**made)


def read_stray(found: Mapping[str, Any]) -> Stray:
    """A row of `validate_strays`, or what `asdict` made of a Stray."""
    made: dict[str, Any] = {each.name: found[each.name] for each in fields(Stray)}
    numbers: Any = {name: value if name in _TEXTS else int(value) for name, value in made.items()}
    return Stray(**numbers)


def read_claim(found: Mapping[str, Any]) -> Claim:
    """A row of `validate_claims`, or what `asdict` made of a Claim."""
    made: dict[str, Any] = {each.name: found[each.name] for each in fields(Claim)}
    read: Any = {name: value if name in _TEXTS or value is None else int(value) for name, value in made.items()}
    return Claim(**read)


def plain(each: Row | Stray | Claim) -> dict[str, Any]:
    """As JSON, without what a row mostly lacks; `filled` and the readers above take it back."""
    blank = _blank(type(each))
    return {name: value for name, value in asdict(each).items() if name not in blank or value != blank[name]}


def filled(kind: type[Row | Stray | Claim], found: Mapping[str, Any]) -> dict[str, Any]:
    """What `plain` made, with what it left out."""
    return {**_blank(kind), **found}


def _blank(kind: type[Row | Stray | Claim]) -> dict[str, Any]:
    """Zero for numbers, None where that is the default, nothing for texts and lists."""
    blank: dict[str, Any] = {each.name: None if each.default is None else 0 for each in fields(kind)}
    return blank | {name: "" for name in _TEXTS if name in blank} | ({"numerators": ()} if kind is Row else {})
