"""The demo's second part: the whole history from living sources, and what the wallets made of it, to the cent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backfill.commands.demo_lab import Ended
    from backfill.simulator.world import World

MICRO = 1_000_000
STEPS: tuple[tuple[str, ...], ...] = (
    ("run", "markets"),
    ("run", "tokens", "--track", "derive_tokens"),
    ("merge",),
    ("run", "fills"),
    ("run", "payouts"),
    ("run", "activity"),
    ("run", "transfers"),
    ("rebuild", "all"),
    ("validate-pnl",),
    ("leaderboard", "build"),
)
SHOWN = 5
CONFIG = """
[upstreams.data_api]
base_url = "{data_api}"

[upstreams.gamma]
base_url = "{gamma}"

[upstreams.clob]
base_url = "{clob}"

[upstreams.polygon]
rpc_url = "{polygon}"
block_range = 10000000

[tracks.chain_fills]
batch = 10000000

[tracks.chain_payouts]
batch = 10000000

[tracks.chain_activity]
batch = 10000000

[tracks.chain_transfers]
batch = 10000000

[tracks.goldsky_activity]
hours = 10000

[tracks.data_api_payouts]
enabled = false
"""
"""The pretend node gives any number of blocks at once, which real ones do not."""
Fact = tuple[str, str, str, str, int, int]
"""Transaction, maker, token, side, shares and dollars in millionths."""


@dataclass(slots=True)
class Money:
    """What the second part found: fills against the ledger, profits against sums done without a database."""

    fills_expected: int = 0
    fills_found: int = 0
    lost: int = 0
    extra: int = 0
    doubled: int = 0
    profits: list[dict[str, Any]] = field(default_factory=list)
    passed: bool = False
    controls: list[bool] = field(default_factory=list)
    top: list[dict[str, Any]] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        """Whether production holds every fill of the ledger, once."""
        return self.fills_expected > 0 and not (self.lost or self.extra or self.doubled)

    @property
    def to_the_cent(self) -> bool:
        """Whether every wallet's profit is the ledger's."""
        return bool(self.profits) and all(abs(each["difference_micro"]) < MICRO // 100 for each in self.profits)

    def claims(self) -> list[tuple[str, bool]]:
        """What this part is there to show, and whether it was so."""
        return [
            ("every fill of the history is there, once", self.exact),
            ("every wallet's profit is right to the cent", self.to_the_cent and self.passed),
            ("the old bugs in profits were caught", bool(self.controls) and all(self.controls)),
            ("there is a leaderboard", bool(self.top)),
        ]

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


def expectations(world: World) -> dict[str, int]:
    """Profit of each baseline wallet in micro-dollars, by the ledger."""
    from backfill.simulator.profit import cash_profit

    return cash_profit(world, world.wallets)


def tell(money: Money, run: Callable[..., Ended], expected: Mapping[str, int], note: Callable[[str], None]) -> None:
    """Go through the steps, and take down what they say."""
    for words in STEPS:
        found = run(*words, "--json").document
        if words[0] == "validate-pnl":
            _judge(money, found, expected)
        note(f"  {_said(words, found)}")
    money.top = run("leaderboard", "show", "omega", "--top", str(SHOWN), "--json").document.get("rows", [])


def _said(words: tuple[str, ...], found: Mapping[str, Any]) -> str:
    settled = found.get("settled") or {}
    if settled.get("table"):
        return f"{settled['table']}: {settled['rows']:,} rows"
    if words[0] == "validate-pnl":
        return "passed" if found.get("passed") else "NOT passed"
    if words[0] == "merge":
        return f"{found.get('added', 0):,} added, coverage {found.get('coverage_after') or 0:.2%}"
    return "done"


def _judge(money: Money, found: Mapping[str, Any], expected: Mapping[str, int]) -> None:
    money.passed = bool(found.get("passed"))
    money.controls = [bool(control["caught"]) for control in found.get("controls", ())]
    for row in found.get("wallets", ()):
        actual = row["by_definition"]["cash"]["usd"]
        micro = int((Decimal(str(actual)) * MICRO).to_integral_value())
        right = expected[row["wallet"]]
        money.profits.append(
            {"wallet": row["wallet"], "profit_usd": actual, "expected_micro": right, "difference_micro": micro - right}
        )


def facts(world: World) -> Iterator[Fact]:
    """Every fill of the ledger."""
    for order in world.ledger.orders:
        yield order.at.tx_hash, order.maker, str(order.token), order.side, order.shares, order.usdc


def compare(money: Money, right: Iterator[Fact], rows: list[dict[str, Any]]) -> None:
    """Production's fills against the ledger's, as multisets."""
    wanted = Counter(right)
    there = Counter(
        (r["tx_hash"], r["maker"], r["token_id"], r["side"], int(r["shares_micro"]), int(r["usdc_micro"])) for r in rows
    )
    money.fills_expected, money.fills_found = wanted.total(), there.total()
    money.lost, money.extra = (wanted - there).total(), sum(1 for fact in there if fact not in wanted)
    money.doubled = (there - wanted).total() - money.extra


def lines(money: Money, line: Callable[[str, str], str]) -> list[str]:
    """The part for people."""
    word = "exactly the ledger's" if money.exact else "NOT the ledger's"
    told = [
        line(
            "fills",
            f"{money.fills_found:,} rows, {word}: {money.fills_expected:,} expected, {money.lost} lost, "
            f"{money.extra} extra, {money.doubled} doubled",
        )
    ]
    for at, each in enumerate(money.profits):
        off = each["difference_micro"] / MICRO
        told.append(line("" if at else "profit", f"{each['wallet']}: {each['profit_usd']:>16} USD, off by {off:.6f}"))
    for at, row in enumerate(money.top):
        text = (
            f"{row['rank']}. {row['wallet']}: omega {row['omega'] or 'without a loss'}, "
            f"{row['realized_pnl_usd']} USD in {row['markets']} markets"
        )
        told.append(line("" if at else "best by omega", text))
    return told
