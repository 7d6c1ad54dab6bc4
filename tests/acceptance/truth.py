"""What each lane must bring, and what production must hold in the end: computed from a world's ledger alone.

Nothing here looks at the product's code. A row is a tuple of texts (None for NULL), in the order of its table's
columns; a table is a multiset of them. Ids that a lane makes up where its source has none are left out: their facts
are compared. Money and shares are in micro-units, times are unix seconds.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from backfill.simulator.accounts import proxy_of, safe_of
from backfill.simulator.clob import Clob
from backfill.simulator.data_api_rows import pseudonym
from backfill.simulator.faults import Faults
from backfill.simulator.gamma_facts import facts_of
from backfill.simulator.gamma_rows import has_tokens, is_old
from backfill.simulator.goldsky import HEAD_TIME as SUBGRAPH_HEAD
from backfill.simulator.ids import NEG_RISK_ORACLE
from backfill.simulator.ledger import At, Conversion, Ledger, Order, Redemption, Split, Transfer
from backfill.simulator.model import Market
from backfill.simulator.moves import RESOLVED_AFTER
from backfill.simulator.world import World

Row = tuple[str | None, ...]
Rows = Counter[Row]
GOLDSKY_END = 1_777_374_000
"""2026-04-28T11:00:00Z: to here the subgraphs are complete."""
DOME_END = 1_777_334_400
"""2026-04-28: Dome's end of life."""
THREE_YEARS = 3 * 365 * 86_400
"""How far back the Data API shows the trades of a market."""
QUIET = 2 * 3600
"""Seconds without any event that a moment needs behind it, so that no source's lag decides what is there."""
ADAPTER = f"0x{NEG_RISK_ORACLE.hex()}"
NOBODY = f"0x{'0' * 40}"


class Table(NamedTuple):
    """A table and the columns of it that are compared, as SQL."""

    name: str
    columns: tuple[str, ...]

    def select(self, where: str = "", *, final: bool = False) -> str:
        """The question for its rows."""
        columns = ", ".join(f"toString({column})" for column in self.columns)
        condition = f" WHERE {where}" if where else ""
        return f"SELECT {columns} FROM {self.name}{' FINAL' * final}{condition}"


_FILL = (
    "tx_hash", "token_id", "maker", "side", "shares_micro", "usdc_micro", "toUnixTimestamp(timestamp)",
    "taker", "fee_micro", "fee_asset", "order_hash", "exchange_version", "log_index", "block_number",
)  # fmt: skip
_NAMED_FILL = ("fill_id", *_FILL)
_MARKET = (
    "condition_id_norm", "question_id", "question", "market_slug", "neg_risk", "neg_risk_market_id", "outcomes",
    "token_ids", "toUnixTimestamp(start_at)", "toUnixTimestamp(end_at)", "toUnixTimestamp(closed_at)", "closed",
)  # fmt: skip
_PAYOUT = ("condition_id_norm", "payout_numerators", "payout_denominator", "toUnixTimestamp(resolved_at)")
_WALLET = ("user_eoa", "proxy_wallet", "wallet_type", "evidence", "name")
_TRANSFER = (
    "block_number", "log_index", "batch_index", "tx_hash", "toUnixTimestamp(timestamp)", "operator", "from_address",
    "to_address", "token_id", "amount_micro",
)  # fmt: skip
_POSITION = ("wallet", "token_id", "condition_id_norm", "outcome_index", "status", "size_micro")
_ACTIVITY = (
    "tx_hash", "kind", "wallet", "condition_id_norm", "neg_risk_market_id", "index_sets", "amount_micro",
    "amounts_micro", "payout_micro", "question_count", "toUnixTimestamp(timestamp)", "log_index", "block_number",
)  # fmt: skip
_NAMED_EVENT = ("event_id", *_ACTIVITY)

_TOKEN = ("token_id", "condition_id_norm", "outcome_index", "outcome", "market_slug", "proven")

TOKENS = Table("staging.clob_asset_map_derived", _TOKEN)
FILLS = Table("staging.clob_fills_v2", _FILL)
NAMED_FILLS = Table("staging.clob_fills_v2", _NAMED_FILL)
MARKETS = Table("staging.markets_v2", _MARKET)
PAYOUTS = Table("staging.payouts_v2", _PAYOUT)
WALLETS = Table("staging.pm_user_proxy_wallets_v2", _WALLET)
TRANSFERS = Table("staging.erc1155_transfers_v2", _TRANSFER)
POSITIONS = Table("staging.wallet_positions_v2", _POSITION)
ACTIVITY = Table("staging.ctf_activity_v2", _ACTIVITY)
NAMED_ACTIVITY = Table("staging.ctf_activity_v2", _NAMED_EVENT)

STAGED: Mapping[str, Table] = {
    "gamma_markets": MARKETS,
    "clob_markets": MARKETS,
    "derive_tokens": TOKENS,
    "goldsky_fills": NAMED_FILLS,
    "chain_fills": NAMED_FILLS,
    "dome_fills": NAMED_FILLS,
    "clob_fills": NAMED_FILLS,
    "data_api_fills": FILLS,
    "goldsky_payouts": PAYOUTS,
    "data_api_payouts": PAYOUTS,
    "chain_payouts": PAYOUTS,
    "goldsky_positions_payouts": PAYOUTS,
    "derive_wallets": WALLETS,
    "goldsky_wallets": WALLETS,
    "gamma_wallets": WALLETS,
    "dome_wallets": WALLETS,
    "chain_transfers": TRANSFERS,
    "data_api_positions": POSITIONS,
    "goldsky_activity": NAMED_ACTIVITY,
    "chain_activity": NAMED_ACTIVITY,
    "data_api_activity": ACTIVITY,
}
"""Where each lane's rows land."""

PRODUCTION: Mapping[str, Table] = {
    "markets": Table("polymarket.markets", _MARKET),
    "fills": Table("polymarket.clob_fills", _NAMED_FILL),
    "payouts": Table("polymarket.market_resolutions_final", _PAYOUT),
    "wallets": Table("polymarket.pm_user_proxy_wallets", _WALLET),
    "transfers": Table("polymarket.erc1155_transfers", _TRANSFER),
    "positions": Table("polymarket.wallet_positions_api", _POSITION),
    "activity": Table("polymarket.ctf_activity", _NAMED_EVENT),
}
"""What others read, by dataset."""


def source_of(track: str) -> str:
    """How a lane signs its rows."""
    return track.rsplit("_", 1)[0]


@dataclass(frozen=True)
class Told:
    """What the sources have to tell at a moment (`now`, unix seconds) to somebody who asks from `since` to `until`.

    `wallets` are those that are named to the lanes that ask by wallet. `goldsky_until` is where the subgraphs end, and
    `alone` says that no lane leaves anything to another.
    """

    world: World
    now: int
    since: int = 0
    until: int = 1 << 40
    wallets: tuple[str, ...] = ()
    goldsky_until: int = GOLDSKY_END
    alone: bool = False
    _known: dict[str, Rows] = field(default_factory=dict, compare=False)

    # --- by lane and by dataset

    def staged(self, track: str) -> Rows:
        """The rows that a lane must bring."""
        if track not in self._known:
            self._known[track] = Counter(getattr(self, f"_{track}")())
        return self._known[track]

    def production(self, dataset: str) -> Rows:
        """The rows that production must hold when all enabled lanes of a dataset have done their work."""
        if dataset not in self._known:
            self._known[dataset] = Counter(getattr(self, f"_all_{dataset}")())
        return self._known[dataset]

    # --- what there is

    @property
    def _ledger(self) -> Ledger:
        return self.world.ledger

    def _shown(self, at: At) -> bool:
        return self.since <= at.timestamp < self.until and at.timestamp <= self.now

    @cached_property
    def _orders(self) -> list[Order]:
        return [order for order in self._ledger.orders if self._shown(order.at)]

    def _orders_after_goldsky(self) -> Iterator[Order]:
        begin = 0 if self.alone else self._goldsky_head
        return (order for order in self._orders if order.at.timestamp >= begin)

    @cached_property
    def _goldsky_head(self) -> int:
        """The second behind the newest fill that the subgraph has: from there on others are asked."""
        times = [o.at.timestamp for o in self._ledger.orders if o.version == 1 and o.at.timestamp < self.goldsky_until]
        return max(times, default=-1) + 1

    # --- fills

    def _goldsky_fills(self) -> Iterator[Row]:
        """V1 only; of an order that was filled twice in one transaction, the later row has replaced the first."""
        kept = {
            (order.at.tx_hash, order.order_hash): order
            for order in self._orders
            if order.version == 1 and order.at.timestamp < self.goldsky_until
        }
        for order in kept.values():
            yield (f"{order.at.tx_hash}_{order.order_hash}", *_fill(order, place=False))

    def _chain_fills(self) -> Iterator[Row]:
        for fill_id, order in _named(self._orders_after_goldsky()):
            yield (fill_id, *_fill(order))

    def _data_api_fills(self) -> Iterator[Row]:
        """Neither order nor place, and who was on the other side is not told. Three years count from the real today."""
        begin = max(self.now, int(time.time())) - THREE_YEARS
        for order in self._orders_after_goldsky():
            if order.at.timestamp >= begin:
                yield (*_fill(order)[:7], *(None,) * 7)

    def _dome_fills(self) -> Iterator[Row]:
        known = self.world.known_to("dome")
        mine = (o for o in self._orders if o.version == 1 and o.token in known and o.at.timestamp < DOME_END)
        for fill_id, order in _named(mine):
            row = list(_fill(order))
            row[8] = row[9] = row[11] = None
            yield (fill_id, *row)

    def _clob_fills(self) -> Iterator[Row]:
        """The account's orders that a careful reader learns of: settled, with their transaction named."""
        kept = {(o.at.tx_hash, o.order_hash): o for o in reversed(self._account_orders)}
        for order in kept.values():
            row = (*_fill(order)[:7], None, None, None, order.order_hash, None, None, None)
            yield (f"{order.at.tx_hash}_{order.order_hash}", *row)

    @cached_property
    def _account_orders(self) -> list[Order]:
        told = Clob(self.world, Faults(self.world)).told(self.now + 1)
        return [order for order in told if self._shown(order.at)]

    def _all_fills(self) -> Iterator[Row]:
        """V1 from the subgraph and V2 from the chain."""
        yield from self._goldsky_fills()
        yield from self._chain_fills()

    # --- markets

    @cached_property
    def _listed(self) -> list[tuple[int, Market]]:
        listing = facts_of(self.world).listing
        count = bisect_right([market.start for market in listing], self.now)
        return [(place, market.at(self.now + 1)) for place, market in enumerate(listing[:count])]

    def _gamma_markets(self) -> Iterator[Row]:
        for place, market in self._listed:
            told = has_tokens(place) or market.neg_risk or not is_old(market)
            yield _market(market, gamma=True, tokens=has_tokens(place), flag=bool(told))

    def _clob_markets(self) -> Iterator[Row]:
        return (_market(market, gamma=False) for _, market in self._listed)

    def _all_markets(self) -> Iterator[Row]:
        return (_market(market, gamma=True) for _, market in self._listed)

    def _derive_tokens(self) -> Iterator[Row]:
        """Both tokens of every market, whoever has traded them."""
        for _, market in self._listed:
            for outcome, (token, label) in enumerate(zip(market.tokens, market.labels, strict=True)):
                yield str(token), market.condition, str(outcome), label, market.slug, "1"

    # --- payouts

    def _chain_payouts(self) -> Iterator[Row]:
        for each in self._ledger.resolutions:
            if self._shown(each.at):
                yield each.condition, _array(each.numerators), str(sum(each.numerators)), str(each.at.timestamp)

    def _data_api_payouts(self) -> Iterator[Row]:
        listed = {market.condition for _, market in self._listed}
        for each in self._ledger.resolutions:
            if each.at.timestamp <= self.now and each.condition in listed:
                yield each.condition, _array(each.numerators), str(sum(each.numerators)), str(each.at.timestamp)

    def _goldsky_payouts(self) -> Iterator[Row]:
        """Of the conditions that the subgraph knows; it stopped a few seconds after trading had moved."""
        known = {self.world.truth[token].condition for token in self.world.known_to("goldsky")}
        end = min(SUBGRAPH_HEAD + 1, self.now + 1) - RESOLVED_AFTER
        for _, market in self._listed:
            numerators = market.numerators
            if market.condition in known and numerators and market.closed_at is not None and market.closed_at < end:
                yield market.condition, _array(numerators), str(sum(numerators)), None

    _goldsky_positions_payouts = _goldsky_payouts

    def _all_payouts(self) -> Iterator[Row]:
        return self._chain_payouts()

    # --- wallets

    @cached_property
    def _pairs(self) -> list[tuple[str, str, str, str | None]]:
        """Owner, wallet, kind, name of the accounts that are asked for by either address."""
        asked = set(self.wallets)
        return [
            (pair.owner, pair.wallet, pair.kind, pair.name)
            for pair in self._ledger.wallets
            if pair.kind != "eoa" and (pair.wallet in asked or pair.owner in asked)
        ]

    def _derive_wallets(self) -> Iterator[Row]:
        """Proxy and safe of each address; the deposit wallets, which no account of the world has, are left out."""
        for address in self.wallets:
            yield address, proxy_of(address), "proxy", "create2", None
            yield address, safe_of(address), "safe", "create2", None

    def _goldsky_wallets(self) -> Iterator[Row]:
        return ((owner, wallet, kind, "create2", None) for owner, wallet, kind, _ in self._pairs)

    def _gamma_wallets(self) -> Iterator[Row]:
        """Only a question with the owner's address is answered with another one."""
        for owner, wallet, kind, name in self._pairs:
            if owner in self.wallets:
                yield owner, wallet, kind, "create2", name or pseudonym(wallet)

    def _dome_wallets(self) -> Iterator[Row]:
        """Asked by wallet; of accounts that came after its time it knows some."""
        traders = {order.maker for order in self._ledger.orders if order.version == 1}
        for owner, wallet, kind, name in self._pairs:
            if wallet in self.wallets and (wallet in traders or int(wallet[-1], 16) % 4):
                yield owner, wallet, kind, "create2", name

    def _all_wallets(self) -> Iterator[Row]:
        for owner, wallet, kind, name in self._pairs:
            yield owner, wallet, kind, "create2", (name or pseudonym(wallet)) if owner in self.wallets else None

    # --- transfers, positions, activity

    def _chain_transfers(self) -> Iterator[Row]:
        for each in self._ledger.transfers:
            if self._shown(each.at):
                yield from _moves(each)

    _all_transfers = _chain_transfers

    def _data_api_positions(self) -> Iterator[Row]:
        markets = {market.condition: market for market in self.world.markets}
        ended = {each.condition: each.numerators for each in self._ledger.resolutions if each.at.timestamp <= self.now}
        for (wallet, token), shares in _holdings(self._ledger, self.world.markets, self.wallets, self.now).items():
            market = markets[self.world.truth[token].condition]
            outcome = market.tokens.index(token)
            standing = _standing(shares, ended.get(market.condition), outcome)
            yield wallet, str(token), market.condition, str(outcome), standing, str(shares // 100 * 100)

    _all_positions = _data_api_positions

    def _goldsky_activity(self) -> Iterator[Row]:
        for event in self._events():
            if event.at.timestamp < self.goldsky_until:
                yield _event(event, self._neg_risk, chain=False)

    def _chain_activity(self) -> Iterator[Row]:
        return (_event(event, self._neg_risk, chain=True) for event in self._events())

    def _data_api_activity(self) -> Iterator[Row]:
        for event in self._events():
            if _actor(event) in self.wallets:
                row = _event(event, self._neg_risk, chain=False)[1:]
                yield (*row[:5], "[]", row[6], "[]", row[8], None, row[10], None, None)

    def _all_activity(self) -> Iterator[Row]:
        return self._chain_activity()

    def _events(self) -> Iterator[Split | Redemption | Conversion]:
        kinds: tuple[Sequence[Any], ...] = (
            self._ledger.splits, self._ledger.redemptions, self._ledger.conversions
        )  # fmt: skip
        return (event for events in kinds for event in events if self._shown(event.at) and _actor(event) != ADAPTER)

    @cached_property
    def _neg_risk(self) -> frozenset[str]:
        return frozenset(market.condition for market in self.world.markets if market.neg_risk)


def _named(orders: Iterable[Order]) -> Iterator[tuple[str, Order]]:
    """Orders with their ids: a further fill of one order in one transaction adds its log index."""
    seen: set[str] = set()
    for order in orders:
        stem = f"{order.at.tx_hash}_{order.order_hash}"
        yield (f"{stem}_{order.at.log_index}" if stem in seen else stem), order
        seen.add(stem)


def _fill(order: Order, *, place: bool = True) -> tuple[str | None, ...]:
    """An order as the chain tells it. V1 charges in what the maker received, V2 in dollars."""
    asset = "none" if not order.fee else "shares" if order.version == 1 and order.side == "BUY" else "usdc"
    return (
        order.at.tx_hash, str(order.token), order.maker, order.side, str(order.shares), str(order.usdc),
        str(order.at.timestamp), order.taker, str(order.fee), asset, order.order_hash, str(order.version),
        str(order.at.log_index) if place else None, str(order.at.block) if place else None,
    )  # fmt: skip


def _market(market: Market, *, gamma: bool, tokens: bool = True, flag: bool = True) -> Row:
    """A market as a listing tells it; the order book's listing knows neither begin nor end of trading."""
    told = [
        market.condition, market.question_id, market.title, market.slug,
        str(int(bool(market.neg_risk))) if flag else None, market.neg_risk_market, _texts(market.labels),
        _array(market.tokens if tokens else ()),
    ]  # fmt: skip
    times = (market.start if gamma else None, market.end, market.closed_at if gamma else None)
    return (*told, *(None if at is None else str(at) for at in times), str(int(market.closed_at is not None)))


def _moves(transfer: Transfer) -> Iterator[Row]:
    at = transfer.at
    for number, (token, amount) in enumerate(zip(transfer.tokens, transfer.amounts, strict=True)):
        yield (
            str(at.block), str(at.log_index), str(number), at.tx_hash, str(at.timestamp), transfer.operator,
            transfer.sender, transfer.receiver, str(token), str(amount),
        )  # fmt: skip


def _actor(event: Split | Redemption | Conversion) -> str:
    return event.redeemer if isinstance(event, Redemption) else event.stakeholder


def _event(event: Split | Redemption | Conversion, neg_risk: frozenset[str], *, chain: bool) -> Row:
    """Who did what. The subgraph tells no place in the chain but the log index; the chain no number of questions."""
    at = event.at
    kind, condition, market = "convert", None, None
    sets: tuple[int, ...] = ()
    amounts: tuple[int, ...] = ()
    amount: int | None = None
    payout = questions = None
    match event:
        case Split():
            kind, condition, amount = "merge" if event.merge else "split", event.condition, event.amount
        case Redemption():
            kind, condition, sets, payout = "redeem", event.condition, event.index_sets, event.payout
            amounts = event.amounts if chain and event.condition in neg_risk else ()
        case Conversion():
            market, sets, amount, questions = event.market_id, (event.index_set,), event.amount, event.question_count
    return (
        f"{at.tx_hash}_{at.log_index}", at.tx_hash, kind, _actor(event), condition, market, _array(sets),
        _maybe(amount), _array(amounts), _maybe(payout), None if chain else _maybe(questions), str(at.timestamp),
        str(at.log_index), str(at.block) if chain else None,
    )  # fmt: skip


def _standing(shares: int, numerators: Sequence[int] | None, outcome: int) -> str:
    """How a position stands."""
    if shares == 0:
        return "CLOSED"
    if numerators is None:
        return "OPEN"
    return "REDEEMABLE" if numerators[outcome] else "REDEEMABLE_LOST"


def _holdings(
    ledger: Ledger, markets: Sequence[Market], wallets: Iterable[str], now: int
) -> dict[tuple[str, int], int]:
    """Shares by wallet and token, of all that was ever held. Nobody holds less than nothing, whoever sells more."""
    wanted = frozenset(wallets)
    changes = sorted(_changes(ledger, markets), key=lambda change: change[0][:2])
    held: dict[tuple[str, int], int] = defaultdict(int)
    for at, wallet, token, amount in changes:
        if wallet in wanted and at.timestamp <= now:
            held[wallet, token] = max(0, held[wallet, token] + amount)
    return held


def _changes(ledger: Ledger, markets: Sequence[Market]) -> Iterator[tuple[At, str, int, int]]:
    tokens = {market.condition: market.tokens for market in markets}
    for order in ledger.orders:
        fee = order.fee if order.version == 1 and order.side == "BUY" else 0
        yield order.at, order.maker, order.token, order.shares - fee if order.side == "BUY" else -order.shares
    for split in ledger.splits:
        for token in tokens[split.condition]:
            yield split.at, split.stakeholder, token, -split.amount if split.merge else split.amount
    for redemption in ledger.redemptions:
        for token, amount in zip(tokens[redemption.condition], redemption.amounts, strict=True):
            if amount:
                yield redemption.at, redemption.redeemer, token, -amount
    yield from _converted(ledger, markets)
    contracts = {ADAPTER, *(order.exchange for order in ledger.orders)}
    for gift in ledger.transfers:
        own = gift.operator == gift.sender and gift.sender not in contracts
        if own and gift.receiver not in (NOBODY, gift.sender):
            for token, amount in zip(gift.tokens, gift.amounts, strict=True):
                yield gift.at, gift.sender, token, -amount
                yield gift.at, gift.receiver, token, amount


def _converted(ledger: Ledger, markets: Sequence[Market]) -> Iterator[tuple[At, str, int, int]]:
    questions: dict[str, list[Market]] = defaultdict(list)
    for market in markets:
        if market.neg_risk_market is not None:
            questions[market.neg_risk_market].append(market)
    for each in ledger.conversions:
        for market in questions[each.market_id]:
            yes, no = market.tokens
            chosen = each.index_set >> int((market.question_id or "00")[-2:], 16) & 1
            yield each.at, each.stakeholder, no if chosen else yes, -each.amount if chosen else each.amount


def _array(numbers: Iterable[int]) -> str:
    return f"[{','.join(map(str, numbers))}]"


_ESCAPED = str.maketrans({"\\": "\\\\", "'": "\\'", "\n": "\\n", "\t": "\\t", "\r": "\\r"})


def _texts(words: Iterable[str]) -> str:
    """An array of texts as the warehouse writes it."""
    return "[" + ",".join(f"'{word.translate(_ESCAPED)}'" for word in words) + "]"


def _maybe(number: int | None) -> str | None:
    return None if number is None else str(number)


# --- moments


def quiet_moment(world: World, before: int | None = None) -> int:
    """The latest moment (unix seconds) that is at least `QUIET` seconds behind the last event before it.

    Sources lag by seconds to minutes; at such a moment all of them have told everything there is.
    """
    end = world.ledger.head.timestamp if before is None else before
    for at in reversed([*sorted(at for at in _times(world.ledger) if at < end)]):
        if end - at > QUIET + 60:
            return end - 60
        end = min(end, at)
    raise ValueError("there is no quiet moment in this world")


def _times(ledger: Ledger) -> set[int]:
    kinds: tuple[Iterable[Any], ...] = (
        ledger.orders, ledger.splits, ledger.redemptions, ledger.conversions, ledger.transfers, ledger.resolutions
    )  # fmt: skip
    return {event.at.timestamp for events in kinds for event in events}


Query = Callable[[str], list[list[Any]]]
"""Rows of a statement."""


def staged_rows(query: Query, track: str, where: str = "") -> Rows:
    """What a lane has brought. Staging may hold a row twice until it is merged, so it is read as merged."""
    table, source = STAGED[track], f"source = '{source_of(track)}'"
    no_deposits = " AND wallet_type != 'deposit'" if track == "derive_wallets" else ""
    found = query(table.select(source + no_deposits + (f" AND {where}" if where else ""), final=True))
    return Counter(tuple(row) for row in found)


def production_rows(query: Query, dataset: str) -> Rows:
    """What production holds, row by row, as it stands."""
    return Counter(tuple(row) for row in query(PRODUCTION[dataset].select()))


def difference(found: Rows, expected: Rows) -> str:
    """What is lost, and what is too much; empty when nothing is."""
    kinds = ((expected - found, "lost"), (found - expected, "too many"))
    parts = [f"{rows.total()} {word}, such as {next(iter(rows))}" for rows, word in kinds if rows]
    return "; ".join(parts)
