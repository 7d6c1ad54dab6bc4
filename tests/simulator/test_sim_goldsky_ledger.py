"""Goldsky's rows over the ledger: planned fill queries against a plain scan, totals, activity, cost basis, wallets."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import orjson
import pytest
from graphql import GraphQLError

from backfill.simulator.cost_basis import Book
from backfill.simulator.faults import Faults
from backfill.simulator.fill_index import FillCollection, FillIndex
from backfill.simulator.generate import CUTOVER
from backfill.simulator.goldsky import HEAD_TIME, Goldsky
from backfill.simulator.graphnode import Collection, Page, Row
from backfill.simulator.ledger import At, Conversion, Order, Redemption, Split
from backfill.simulator.model import Market
from backfill.simulator.reply import PLAIN, Wish
from backfill.simulator.world import World

ACTIVITY, ORDERBOOK = "activity-subgraph/0.0.4", "orderbook-subgraph/0.0.1"
POSITIONS, PNL, WALLET = "positions-subgraph/0.0.7", "pnl-subgraph/0.0.14", "wallet-subgraph/0.0.4"
FIELDS = {"id": "ID!", "transactionHash": "Bytes!", "orderHash": "Bytes!", "timestamp": "BigInt!", "maker": "String!",
          "taker": "String!", "makerAssetId": "String!", "takerAssetId": "String!", "makerAmountFilled": "BigInt!",
          "takerAmountFilled": "BigInt!", "fee": "BigInt!"}  # fmt: skip
FILL = "{" + " ".join(FIELDS) + "}"


@pytest.fixture(scope="module")
def full() -> World:
    """A world in which everything occurs, with a burst."""
    return World.generate(seed=21, traded=300, mapped=100, bursts=1)


@pytest.fixture(scope="module")
def goldsky(full: World) -> Goldsky:
    """Its subgraphs."""
    return Goldsky(full, Faults(full))


def ask(goldsky: Goldsky, name: str, query: str, wish: Wish = PLAIN, **variables: object) -> dict[str, Any]:
    """The data of an answer without errors."""
    reply = goldsky.query(name, orjson.dumps({"query": query, "variables": variables}), wish)
    answer = orjson.loads(reply.body)
    assert "errors" not in answer, answer
    return dict(answer["data"])


def everything(goldsky: Goldsky, name: str, root: str, fields: str, wish: Wish = PLAIN) -> list[Row]:
    """All rows of a collection, by id."""
    query = f"query($i:ID!){{{root}(first:1000,where:{{id_gt:$i}}){fields}}}"
    rows: list[Row] = []
    last = ""
    while page := ask(goldsky, name, query, wish, i=last)[root]:
        rows += page
        last = page[-1]["id"]
    return rows


# --- fills -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(full: World) -> tuple[FillCollection, Collection]:
    """The fills, planned and scanned."""
    index = FillIndex(lambda: full.fills)
    rows = [index.row(rank) for rank in range(len(index.fills))]
    for row in rows:
        row["__at"] = int(row["timestamp"])
    planned = FillCollection("OrderFilledEvent", "orderFilledEvents", FIELDS, list, index=index)
    return planned, Collection("OrderFilledEvent", "orderFilledEvents", FIELDS, lambda: rows)


def where_of(rng: random.Random, rows: list[Row], depth: int = 0) -> dict[str, Any]:
    """A filter as clients write them, and as they do not."""
    row = rng.choice(rows)
    some = [rng.choice(rows) for _ in range(rng.randint(1, 40))]
    parts: list[dict[str, Any]] = [
        {"makerAssetId_in": [each["makerAssetId"] for each in some if each["makerAssetId"] != "0"]},
        {"takerAssetId_in": [each["takerAssetId"] for each in some]},
        {"makerAssetId": row["makerAssetId"]},
        {"maker_in": [each["maker"] for each in some[:3]]},
        {"taker": row["taker"]},
        {"timestamp_gte": row["timestamp"]},
        {"timestamp_lt": row["timestamp"]},
        {"timestamp_gt": row["timestamp"], "timestamp_lte": str(int(row["timestamp"]) + 10**7)},
        {"timestamp": row["timestamp"], "id_gt": row["id"]},
        {"id_gt": row["id"]},
        {"id_lte": row["id"]},
        {"id": row["id"]},
        {"id_in": [each["id"] for each in some]},
        {"fee_gt": "0"},
        {"makerAmountFilled_lt": row["makerAmountFilled"]},
        {"transactionHash_in": [each["transactionHash"] for each in some]},
        {"maker_not": row["maker"]},
        {"makerAssetId_not_in": []},
    ]
    chosen: dict[str, Any] = {}
    for part in rng.sample(parts, rng.randint(0, 3)):
        chosen |= part
    if depth < 2 and rng.random() < 0.35:
        return {"or": [where_of(rng, rows, depth + 1) for _ in range(rng.randint(1, 3))]}
    if depth < 2 and rng.random() < 0.25:
        chosen["and"] = [where_of(rng, rows, depth + 1) for _ in range(rng.randint(1, 2))]
    return chosen


@pytest.mark.parametrize("seed", range(6))
def test_planned_pages_are_what_a_scan_finds(both: tuple[FillCollection, Collection], seed: int) -> None:
    planned, scanned = both
    rng = random.Random(seed)
    rows = scanned.sorted_by("timestamp")
    hits = 0
    for _ in range(50):
        page = Page(
            where_of(rng, rows),
            order_by=rng.choice(("timestamp", "timestamp", "id", "makerAmountFilled")),
            descending=rng.random() < 0.3,
            first=rng.choice((1, 7, 100, 1000)),
            skip=rng.choice((0, 0, 3)),
            before=rng.choice((None, None, int(rng.choice(rows)["timestamp"]))),
        )
        expected = [{k: v for k, v in row.items() if k != "__at"} for row in scanned.find(page)]
        assert planned.find(page) == expected, page
        hits += bool(expected)
    assert hits > 15


def test_a_sweep_by_assets_and_windows_gets_every_fill_once(goldsky: Goldsky, full: World) -> None:
    """Both sides in one request, as a lane asks; a second holds more than a page."""
    query = f"""query($i:[String!],$t:BigInt!,$x:ID!,$e:BigInt!){{
      m:orderFilledEvents(first:1000,orderBy:timestamp,where:{{or:[
        {{makerAssetId_in:$i,timestamp_gt:$t,timestamp_lt:$e}},{{makerAssetId_in:$i,timestamp:$t,id_gt:$x}}]}}){FILL}
      t:orderFilledEvents(first:1000,orderBy:timestamp,where:{{or:[
        {{takerAssetId_in:$i,timestamp_gt:$t,timestamp_lt:$e}},{{takerAssetId_in:$i,timestamp:$t,id_gt:$x}}]}}){FILL}}}"""
    found: Counter[str] = Counter()
    for start in range(0, len(full.traded), 100):
        ids = [str(token) for token in full.traded[start : start + 100]]
        for alias in "mt":
            last, identity = "0", ""
            while page := ask(goldsky, ORDERBOOK, query, i=ids, t=last, x=identity, e=str(CUTOVER))[alias]:
                found.update(row["id"] for row in page)
                last, identity = page[-1]["timestamp"], page[-1]["id"]
    assert found == Counter({fill.id for fill in full.fills})


def test_an_order_filled_twice_in_a_transaction_has_the_later_row_only(goldsky: Goldsky, full: World) -> None:
    twice = [identity for identity, count in Counter(fill.id for fill in full.fills).items() if count > 1]
    logs = {f"{o.at.tx_hash}_{o.order_hash}": o for o in full.ledger.orders}  # the last one of each id stays
    query = f"query($i:[ID!]){{orderFilledEvents(first:1000,where:{{id_in:$i}}){FILL}}}"
    rows = ask(goldsky, ORDERBOOK, query, i=twice)["orderFilledEvents"]
    assert len(rows) == len(twice) > 0
    for row in rows:
        order = logs[row["id"]]
        shares = row["takerAmountFilled"] if order.side == "BUY" else row["makerAmountFilled"]
        assert int(shares) == order.shares


@pytest.mark.parametrize("where", [{"timestamp_gt": "soon"}, {"or": [{"fee": "x"}]}, {"id": "1", "or": [{"id": "2"}]}])
def test_filters_that_make_no_sense_are_refused(both: tuple[FillCollection, Collection], where: Row) -> None:
    for collection in both:
        with pytest.raises(GraphQLError):
            collection.find(Page(where))


def test_v2_orders_are_in_no_subgraph(goldsky: Goldsky, full: World) -> None:
    later = [order.at.tx_hash for order in full.ledger.orders if order.version == 2][:500]
    query = "query($i:[Bytes!]){orderFilledEvents(where:{transactionHash_in:$i}){id}}"
    assert later
    assert ask(goldsky, ORDERBOOK, query, i=later)["orderFilledEvents"] == []
    newest = ask(goldsky, ORDERBOOK, "{orderFilledEvents(first:1,orderBy:timestamp,orderDirection:desc){timestamp}}")
    assert int(newest["orderFilledEvents"][0]["timestamp"]) <= HEAD_TIME


# --- books, matches, activity ----------------------------------------------------------------------------------------


def test_totals_by_token_count_both_rows_of_a_match(goldsky: Goldsky, full: World) -> None:
    rows = everything(goldsky, ORDERBOOK, "orderbooks", "{id tradesQuantity buysQuantity collateralSellVolume "
                      "collateralVolume scaledCollateralVolume}")  # fmt: skip
    orders: defaultdict[str, list[Order]] = defaultdict(list)
    for order in full.ledger.orders:
        if order.version == 1:
            orders[str(order.token)].append(order)
    assert {row["id"] for row in rows} == orders.keys()
    for row in rows:
        mine = orders[row["id"]]
        assert int(row["tradesQuantity"]) == len(mine)
        assert int(row["buysQuantity"]) == sum(order.side == "BUY" for order in mine)
        assert int(row["collateralSellVolume"]) == sum(order.usdc for order in mine if order.side == "SELL")
        assert round(float(row["scaledCollateralVolume"]) * 1e6) == int(row["collateralVolume"])


def test_a_match_tells_the_takers_side(goldsky: Goldsky, full: World) -> None:
    fields = "{id timestamp makerAssetID takerAssetID makerAmountFilled takerAmountFilled}"
    rows = {row["id"]: row for row in everything(goldsky, ORDERBOOK, "ordersMatchedEvents", fields)}
    owns = [o for o in full.ledger.orders if o.version == 1 and o.taker == o.exchange]
    assert rows.keys() == {own.at.tx_hash for own in owns}
    for own in owns:
        row = rows[own.at.tx_hash]
        pair = ("0", str(own.token)) if own.side == "BUY" else (str(own.token), "0")
        assert (row["makerAssetID"], row["takerAssetID"]) == pair


def test_activity_has_all_events_before_the_end_and_ids_with_the_log_index(goldsky: Goldsky, full: World) -> None:
    ledger, moved = full.ledger, "{id timestamp stakeholder condition amount}"
    for root, merge in (("splits", False), ("merges", True)):
        rows = everything(goldsky, ACTIVITY, root, moved)
        expected = [s for s in ledger.splits if s.merge == merge and s.at.timestamp <= HEAD_TIME]
        assert {(r["id"], r["stakeholder"], r["condition"], r["amount"], r["timestamp"]) for r in rows} == {
            (f"{s.at.tx_hash}_0x{s.at.log_index:x}", s.stakeholder, f"0x{s.condition}", str(s.amount),
             str(s.at.timestamp))
            for s in expected
        }  # fmt: skip
        assert len(rows) == len(expected) > 0
    rows = everything(goldsky, ACTIVITY, "redemptions", "{id redeemer condition indexSets payout}")
    assert {(r["id"], tuple(r["indexSets"]), r["payout"], r["redeemer"]) for r in rows} == {
        (f"{e.at.tx_hash}_0x{e.at.log_index:x}", tuple(map(str, e.index_sets)), str(e.payout), e.redeemer)
        for e in ledger.redemptions
        if e.at.timestamp <= HEAD_TIME
    }
    fields = "{id stakeholder negRiskMarketId amount indexSet questionCount}"
    rows = everything(goldsky, ACTIVITY, "negRiskConversions", fields)
    kept = [each for each in ledger.conversions if each.at.timestamp <= HEAD_TIME]
    assert sorted((r["negRiskMarketId"], int(r["indexSet"]), r["questionCount"]) for r in rows) == sorted(
        (each.market_id, each.index_set, each.question_count) for each in kept
    )
    counts = {
        row["id"]: row["questionCount"] for row in everything(goldsky, ACTIVITY, "negRiskEvents", "{id questionCount}")
    }
    assert all(counts[each.market_id] == each.question_count for each in kept)
    assert kept


# --- payouts ---------------------------------------------------------------------------------------------------------


def test_ties_pay_half_and_what_ended_later_is_unresolved(goldsky: Goldsky, full: World) -> None:
    markets = {f"0x{market.condition}": market for market in full.markets}
    fields = "{id payoutNumerators payoutDenominator}"
    rows = everything(goldsky, PNL, "conditions", fields)
    vectors = Counter[tuple[str, ...]]()
    for row in rows:
        market = markets[row["id"]]
        ended = market.closed_at is not None and market.closed_at < CUTOVER
        expected = [str(each) for each in market.numerators or ()] if ended else []
        assert row["payoutNumerators"] == expected
        assert row["payoutDenominator"] == str(sum(map(int, expected)))
        vectors[tuple(expected)] += 1
    assert vectors.keys() == {(), ("1", "0"), ("0", "1"), ("1", "1")}
    halves = [r for r in everything(goldsky, POSITIONS, "conditions", "{id payouts}") if r["payouts"] == ["0.5", "0.5"]]
    assert len(halves) == vectors["1", "1"]


@pytest.mark.parametrize(
    ("numerators", "told"),
    [
        ((54, 46), ["0.54", "0.46"]),
        ((1, 2), [f"0.{'3' * 34}", f"0.{'6' * 33}7"]),
        ((10**40, 0), ["1", "0"]),
        ((1, 10**9 - 1), ["0.000000001", "0.999999999"]),
    ],
)
def test_the_positions_subgraph_divides_to_34_digits(
    monkeypatch: pytest.MonkeyPatch, numerators: tuple[int, int], told: list[str]
) -> None:
    monkeypatch.setattr(Market, "numerators", property(lambda _: numerators))
    world = World.generate(seed=21, traded=20, mapped=5)
    rows = everything(Goldsky(world, Faults(world)), POSITIONS, "conditions", "{id payouts}")
    assert rows and all(row["payouts"] == told for row in rows)


# --- cost basis ------------------------------------------------------------------------------------------------------

A, B = "aa" * 32, "bb" * 32
PLACE = At(1, 1, "0x1", 1)
Y1, N1, Y2, N2 = 11, 12, 21, 22


def market(condition: str, tokens: tuple[int, int], number: int, *, neg_risk: bool) -> Market:
    """A market of which outcome 0 won."""
    return Market(condition, tokens, ("Yes", "No"), condition[:4], "", None, (), 0, None, 1, 0, 0.0, neg_risk,
                  question_id=f"0x{'00' * 31}{number:02x}")  # fmt: skip


def trade(side: Any, token: int, shares: int, usdc: int) -> Order:
    """A V1 order of wallet `w`."""
    return Order(PLACE, "0x", "w", "t", token, side, shares, usdc, 0, "x", 1)


def test_average_cost_by_hand() -> None:
    book = Book([market(A, (Y1, N1), 0, neg_risk=False)])
    book.take(trade("BUY", Y1, 10_000_000, 4_000_000))  # at 0.40
    book.take(trade("BUY", Y1, 10_000_000, 6_000_000))  # at 0.60, so 0.50 on average
    book.take(trade("SELL", Y1, 5_000_000, 4_000_000))  # at 0.80: 1.50 realized
    held = book.of("w", Y1)
    assert (held.amount, held.average, held.realized, held.bought) == (15_000_000, 500_000, 1_500_000, 20_000_000)
    book.take(trade("SELL", Y1, 99_000_000, 9_900_000))  # more than is tracked, at 0.10: 15 shares lose 0.40 each
    assert (held.amount, held.realized) == (0, 1_500_000 - 6_000_000)


def test_splits_cost_half_and_a_redemption_sells_all_that_is_tracked() -> None:
    book = Book([market(A, (Y1, N1), 0, neg_risk=False)])
    book.take(Split(PLACE, "w", A, 8_000_000, merge=False))
    book.take(Split(PLACE, "w", A, 2_000_000, merge=True))
    assert [(book.of("w", t).amount, book.of("w", t).average) for t in (Y1, N1)] == [(6_000_000, 500_000)] * 2
    book.take(Redemption(PLACE, "w", A, (1, 2), (1_000_000, 1_000_000), 1_000_000))
    assert [book.of("w", t).realized for t in (Y1, N1)] == [3_000_000, -3_000_000]
    assert [book.of("w", t).amount for t in (Y1, N1)] == [0, 0]


def test_the_adapter_redeems_what_the_event_names_and_conversions_keep_the_cost() -> None:
    book = Book([market(A, (Y1, N1), 0, neg_risk=True), market(B, (Y2, N2), 1, neg_risk=True)])
    book.take(trade("BUY", N1, 4_000_000, 2_800_000))  # NO of the first at 0.70
    book.take(Conversion(PLACE, "w", f"0x{'00' * 32}", 0b01, 3_000_000, 2))
    assert (book.of("w", N1).amount, book.of("w", N1).realized) == (1_000_000, 0)
    assert (book.of("w", Y2).amount, book.of("w", Y2).average) == (3_000_000, 700_000)
    book.take(Redemption(PLACE, "w", B, (1, 2), (2_000_000, 0), 2_000_000))
    assert (book.of("w", Y2).amount, book.of("w", Y2).realized) == (1_000_000, 600_000)


def test_division_cuts_off_towards_zero() -> None:
    book = Book([market(A, (Y1, N1), 0, neg_risk=False)])
    book.take(trade("BUY", Y1, 3, 2))  # 0.666666
    book.take(trade("SELL", Y1, 1, 0))  # loses 0.666666 of a millionth, which is nothing
    assert (book.of("w", Y1).average, book.of("w", Y1).realized) == (666_666, 0)


def test_user_positions_are_told_for_whoever_traded(goldsky: Goldsky, full: World) -> None:
    fields = "{id user tokenId amount avgPrice realizedPnl totalBought}"
    rows = everything(goldsky, PNL, "userPositions", fields)
    traded = {(o.maker, str(o.token)) for o in full.ledger.orders if o.version == 1}
    assert traded <= {(row["user"], row["tokenId"]) for row in rows}
    assert all(row["id"] == f"{row['user']}-{row['tokenId']}" for row in rows)
    assert any(int(row["realizedPnl"]) < 0 for row in rows)
    user = rows[0]["user"]
    query = f"query($u:String!){{userPositions(first:1000,where:{{user:$u}}){fields}}}"
    mine = ask(goldsky, PNL, query, u=user)["userPositions"]
    assert mine == sorted((row for row in rows if row["user"] == user), key=lambda row: str(row["id"]))


# --- balances, wallets -----------------------------------------------------------------------------------------------


def test_balances_follow_the_transfers_and_net_ones_leave_out_pairs(goldsky: Goldsky, full: World) -> None:
    held: defaultdict[tuple[str, int], int] = defaultdict(int)
    for move in full.ledger.transfers:
        if move.at.timestamp <= HEAD_TIME:
            for token, amount in zip(move.tokens, move.amounts, strict=True):
                held[move.sender, token] -= amount
                held[move.receiver, token] += amount
    fields = "{id user balance asset{id condition{id}}}"
    rows = {
        (r["user"], int(r["asset"]["id"])): int(r["balance"])
        for r in everything(goldsky, POSITIONS, "userBalances", fields)
    }
    wallets = {pair.wallet for pair in full.ledger.wallets}
    known = full.known_to("goldsky")
    assert rows == {k: v for k, v in held.items() if v > 0 and k[0] in wallets and k[1] in known}
    net = {
        (r["user"], int(r["asset"]["id"])): int(r["balance"])
        for r in everything(goldsky, POSITIONS, "netUserBalances", fields)
    }
    sister = {t: m.tokens[1 - i] for m in full.markets for i, t in enumerate(m.tokens)}
    assert net == {
        (w, t): v - max(0, min(v, held[w, sister[t]])) for (w, t), v in rows.items() if v > max(0, held[w, sister[t]])
    }
    assert len(net) < len(rows)


def test_wallets_are_found_by_either_address(goldsky: Goldsky, full: World) -> None:
    pairs = [pair for pair in full.ledger.wallets if pair.kind != "eoa"]
    own = [pair.wallet for pair in full.ledger.wallets if pair.kind == "eoa"]
    query = """query($w:[ID!],$s:[String!]){a:wallets(first:1000,where:{id_in:$w}){id signer type}
      b:wallets(first:1000,where:{signer_in:$s}){id signer type}}"""
    answer = ask(goldsky, WALLET, query, w=[p.wallet for p in pairs] + own, s=[p.owner for p in pairs])
    expected = sorted(({"id": p.wallet, "signer": p.owner, "type": p.kind} for p in pairs), key=lambda row: row["id"])
    assert answer["a"] == answer["b"] == expected
    assert {row["type"] for row in expected} == {"proxy", "safe"}


# --- the past --------------------------------------------------------------------------------------------------------


def test_at_an_earlier_moment_nothing_later_is_known(goldsky: Goldsky, full: World) -> None:
    moment = sorted(order.at.timestamp for order in full.ledger.orders if order.version == 1)[len(full.fills) // 2]
    past = Wish(before=moment)
    fills = everything(goldsky, ORDERBOOK, "orderFilledEvents", "{id timestamp}", past)
    assert {row["id"] for row in fills} == {fill.id for fill in full.fills if fill.timestamp < moment}
    books = everything(goldsky, ORDERBOOK, "orderbooks", "{id tradesQuantity}", past)
    older = [order for order in full.ledger.orders if order.at.timestamp < moment]
    assert sum(int(row["tradesQuantity"]) for row in books) == len(older)
    splits = everything(goldsky, ACTIVITY, "splits", "{timestamp id}", past)
    assert max(int(row["timestamp"]) for row in splits) < moment
    resolved = everything(goldsky, PNL, "conditions", "{id payoutNumerators}", past)
    ended = {f"0x{each.condition}" for each in full.ledger.resolutions if each.at.timestamp < moment}
    assert {row["id"] for row in resolved if row["payoutNumerators"]} <= ended
    assert any(row["payoutNumerators"] for row in resolved)
    assert any(not row["payoutNumerators"] for row in resolved)


def test_a_moment_after_the_end_changes_nothing(goldsky: Goldsky) -> None:
    query = "{_meta{block{number}} orderFilledEvents(first:1000,orderBy:timestamp,orderDirection:desc){id}}"
    assert ask(goldsky, ORDERBOOK, query, Wish(before=CUTOVER + 86_400)) == ask(goldsky, ORDERBOOK, query)
