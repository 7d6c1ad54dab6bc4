"""Chain lanes against the pretend node: what the simulator encodes and the product decodes is the ledger's truth."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.engine.model import Unit
from backfill.errors import PageTooLarge, Unavailable, Unreadable
from backfill.simulator.ledger import Ledger
from backfill.simulator.polygon import Polygon
from backfill.simulator.polygon_chain import Chain
from backfill.simulator.polygon_query import RANGE_ERRORS, Quirks
from backfill.simulator.reply import Reply, Wish
from backfill.simulator.world import World
from backfill.tracks import catalog
from backfill.tracks.chain_activity import ChainActivity
from backfill.tracks.chain_blocks import Asking, ChainLane, block_request
from backfill.tracks.chain_fills import ChainFills
from backfill.tracks.chain_payouts import ChainPayouts
from backfill.tracks.chain_transfers import ChainTransfers
from backfill.tracks.track import Headed
from tests.tracks.chain_ledger import FIRST_BLOCK, FIRST_TIME, TinyWorld, take, tiny, whole

Rows = Iterable[dict[str, Any]]
Truth = Callable[[TinyWorld], list[dict[str, Any]]]


def fills(world: TinyWorld) -> list[dict[str, Any]]:
    rows, seen = [], set[str]()
    for order in sorted(world.ledger.orders, key=lambda each: each.at[:2]):
        stem = f"{order.at.tx_hash}_{order.order_hash}"
        fill_id = f"{stem}_{order.at.log_index}" if stem in seen else stem
        seen.add(stem)
        in_shares = order.version == 1 and order.side == "BUY"
        price = order.usdc * 10**9 // order.shares
        rows.append({
            "fill_id": fill_id, "token_id": str(order.token), "maker": order.maker, "taker": order.taker,
            "side": order.side, "shares_micro": order.shares, "usdc_micro": order.usdc, "fee_micro": order.fee,
            "fee_asset": "none" if order.fee == 0 else "shares" if in_shares else "usdc",
            "price": f"{price // 10**9}.{price % 10**9:09d}", "timestamp": order.at.timestamp,
            "tx_hash": order.at.tx_hash, "order_hash": order.order_hash, "log_index": order.at.log_index,
            "block_number": order.at.block, "exchange_version": order.version, "source": "chain",
            "track": "chain_fills", "unit": 7,
        })  # fmt: skip
    return rows


def payouts(world: TinyWorld) -> list[dict[str, Any]]:
    return [
        {
            "condition_id_norm": each.condition, "payout_numerators": list(each.numerators),
            "payout_denominator": sum(each.numerators), "resolved_at": each.at.timestamp, "source": "chain", "unit": 7,
        }
        for each in world.ledger.resolutions
    ]  # fmt: skip


def transfers(world: TinyWorld) -> list[dict[str, Any]]:
    return [
        {
            "block_number": each.at.block, "log_index": each.at.log_index, "batch_index": place,
            "tx_hash": each.at.tx_hash, "timestamp": each.at.timestamp, "operator": each.operator,
            "from_address": each.sender, "to_address": each.receiver, "token_id": str(token),
            "amount_micro": str(amount), "source": "chain", "unit": 7,
        }
        for each in world.ledger.transfers
        for place, (token, amount) in enumerate(zip(each.tokens, each.amounts, strict=True))
    ]  # fmt: skip


def activity(world: TinyWorld) -> list[dict[str, Any]]:
    neg_risk = {market.condition for market in world.markets if market.neg_risk}
    ledger = world.ledger
    rows = [
        _event(each.at, "merge" if each.merge else "split", each.stakeholder, each.condition, amount=each.amount)
        for each in ledger.splits
    ]
    for each in ledger.redemptions:
        amounts = list(each.amounts) if each.condition in neg_risk else []
        more = {"index_sets": [str(bits) for bits in each.index_sets], "amounts_micro": amounts}
        rows.append(_event(each.at, "redeem", each.redeemer, each.condition, payout=each.payout) | more)
    for conversion in ledger.conversions:
        more = {"neg_risk_market_id": conversion.market_id, "index_sets": [str(conversion.index_set)]}
        rows.append(_event(conversion.at, "convert", conversion.stakeholder, None, amount=conversion.amount) | more)
    return rows


def _event(
    at: Any, kind: str, wallet: str, condition: str | None, amount: int | None = None, payout: int | None = None
) -> dict[str, Any]:
    return {
        "event_id": f"{at.tx_hash}_{at.log_index}", "kind": kind, "wallet": wallet, "condition_id_norm": condition,
        "neg_risk_market_id": None, "index_sets": [], "amount_micro": amount, "amounts_micro": [],
        "payout_micro": payout, "question_count": None, "timestamp": at.timestamp, "tx_hash": at.tx_hash,
        "log_index": at.log_index, "block_number": at.block, "source": "chain", "unit": 7,
    }  # fmt: skip


LANES: list[tuple[type[ChainLane], Truth]] = [
    (ChainFills, fills),
    (ChainPayouts, payouts),
    (ChainTransfers, transfers),
    (ChainActivity, activity),
]
ALL_LANES = pytest.mark.parametrize(("lane", "truth"), LANES, ids=[lane.name for lane, _ in LANES])


def multiset(rows: Rows) -> Counter[bytes]:
    return Counter(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows)


def cut(world: TinyWorld, places: Iterable[int]) -> list[str]:
    """The whole chain in stretches that end at these blocks."""
    first, last = FIRST_BLOCK, world.ledger.head.block + 1
    ends = sorted({first + place for place in places if first + place < last} | {last})
    starts = [first, *ends[:-1]]
    return [f"{start}-{end}" for start, end in zip(starts, ends, strict=True) if start < end]


@ALL_LANES
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    places=st.lists(st.integers(1, 39), max_size=4),
    largest=st.sampled_from([None, 1, 3, 16]),
    easy=st.sampled_from([1, 5, 4000]),
    most_times=st.sampled_from([1, 4, 100]),
    proves_head=st.booleans(),
    timestamps=st.booleans(),
    max_range=st.sampled_from([0, 2, 7]),
    result_cap=st.sampled_from([12, 60, 10_000]),
)
def test_what_the_ledger_holds_comes_out_whatever_the_provider_is_like(
    lane: type[ChainLane], truth: Truth, seed: int, places: list[int], largest: int | None, easy: int,
    most_times: int, proves_head: bool, timestamps: bool, max_range: int, result_cap: int,
) -> None:  # fmt: skip
    world = tiny(seed)
    crowded = max(Counter(at.block for at in _all_places(world.ledger)).values())
    quirks = Quirks(timestamps=timestamps, max_range=max_range, result_cap=max(result_cap, 2 * crowded))
    how = Asking(largest=largest, easy=easy, most_times=most_times, proves_head=proves_head)
    items = cut(world, places)
    taken = take(lane(how), items, Polygon(world, quirks=quirks))
    assert multiset(taken.rows) == multiset(truth(world))
    assert taken.letters == [] and taken.settled == len(items)


def _all_places(ledger: Ledger) -> Iterable[Any]:
    kinds = (
        ledger.orders,
        ledger.splits,
        ledger.redemptions,
        ledger.conversions,
        ledger.transfers,
        ledger.resolutions,
    )
    return (event.at for kind in kinds for event in kind)


@pytest.fixture(scope="module")
def generated() -> World:
    """A made-up world with all that occurs."""
    return World.generate(seed=5, traded=300, mapped=100, full=True)


@ALL_LANES
@pytest.mark.parametrize("timestamps", [True, False])
def test_a_generated_world_comes_out(lane: type[ChainLane], truth: Truth, timestamps: bool, generated: World) -> None:
    chain = Chain(generated.ledger, generated.markets)
    item = f"{chain.entries[0].at.block}-{chain.head + 1}"
    world = TinyWorld(generated.ledger, generated.markets)
    taken = take(lane(Asking(most_times=500)), [item], Polygon(generated, quirks=Quirks(timestamps=timestamps)))
    assert multiset(taken.rows) == multiset(truth(world)) and taken.letters == [] and taken.rows


@ALL_LANES
def test_the_truth_is_not_empty(lane: type[ChainLane], truth: Truth) -> None:
    assert len(truth(tiny(1))) >= 3, lane


@ALL_LANES
def test_answers_that_are_cut_at_a_known_number_are_not_believed(lane: type[ChainLane], truth: Truth) -> None:
    world = tiny(3, events=300)
    crowded = 2 * max(Counter(at.block for at in _all_places(world.ledger)).values())
    node = Polygon(world, quirks=Quirks(truncate_at=crowded))
    taken = take(lane(Asking(caps={crowded})), [whole(world)], node)
    assert multiset(taken.rows) == multiset(truth(world))


def test_a_cut_that_nobody_knows_of_loses_rows() -> None:
    world = tiny(3, events=300)
    taken = take(ChainFills(Asking(caps=())), [whole(world)], Polygon(world, quirks=Quirks(truncate_at=40)))
    assert len(taken.rows) < len(fills(world))


def test_a_single_block_is_taken_as_it_comes_even_when_it_is_as_long_as_a_cap() -> None:
    world = tiny(3, blocks=1, events=30)
    count = len(world.ledger.orders)
    assert len(take(ChainFills(Asking(caps={count})), [whole(world)], Polygon(world)).rows) == count


@pytest.mark.parametrize("style", RANGE_ERRORS)
def test_every_provider_s_words_for_too_many_blocks_are_understood(style: str) -> None:
    world = tiny(4)
    node = Polygon(world, quirks=Quirks(max_range=5, range_style=style))
    taken = take(ChainFills(), [whole(world)], node)
    assert multiset(taken.rows) == multiset(fills(world))
    assert taken.requests < 30, "8 parts of 5 blocks, and some that were too wide"


def test_after_a_burst_the_parts_become_wide_again() -> None:
    world = tiny(5, blocks=4000, events=60)
    taken = take(ChainFills(Asking(largest=4000)), [f"{FIRST_BLOCK}-{FIRST_BLOCK + 4000}"], Polygon(world))
    assert taken.requests == 1
    lane, unit = ChainFills(Asking(largest=4000)), Unit(7, (f"{FIRST_BLOCK}-{FIRST_BLOCK + 4000}",))
    cursor: str | None = f"{FIRST_BLOCK}/10/2:2"
    sizes = []
    while cursor is not None:
        reply = Polygon(world).ask(lane.request(unit, cursor).body or b"")
        cursor = lane.parse(unit, cursor, reply.body).next
        sizes.append(int(cursor.split("/")[1]) if cursor else 0)
    assert sizes[:4] == [10, 20, 40, 80] and len(sizes) < 12


def test_a_fixed_limit_is_soon_hardly_ever_tried() -> None:
    world = tiny(5, blocks=2000, events=40)
    taken = take(ChainFills(Asking(largest=1000)), [whole(world)], Polygon(world, quirks=Quirks(max_range=10)))
    parts = 2000 / 7
    assert taken.requests < 1.1 * parts, "ten sizes down, then less and less often one too wide"


def test_parts_do_not_shrink_away_under_chance_refusals() -> None:
    world = tiny(5, blocks=40_000, events=60)
    node, rng = Polygon(world), random.Random(4)

    class Moody(Polygon):
        def ask(self, body: bytes, _wish: Wish = Wish()) -> Reply:  # noqa: B008
            return node.ask(body, Wish(fault="rpc_timeout" if rng.random() < 0.2 else None))

    taken = take(ChainFills(Asking(largest=1000)), [whole(world)], Moody(world))
    assert multiset(taken.rows) == multiset(fills(world))
    assert taken.requests < 400, "a fifth of the answers refused costs more than a fifth, but not everything"


def test_stretches_of_a_unit_may_lie_apart() -> None:
    world = tiny(6)
    items = (f"{FIRST_BLOCK}-{FIRST_BLOCK + 3}", f"{FIRST_BLOCK + 9}-{FIRST_BLOCK + 12}")
    inside = {FIRST_BLOCK + n for n in (0, 1, 2, 9, 10, 11)}
    taken = take(ChainFills(), items, Polygon(world))
    assert multiset(taken.rows) == multiset(row for row in fills(world) if row["block_number"] in inside)
    assert taken.settled == 2 and taken.requests == 2


@ALL_LANES
def test_a_page_that_only_learned_which_times_are_missing_settles_nothing(lane: type[ChainLane], truth: Truth) -> None:
    world = tiny(8)
    node, unit, subject = Polygon(world, quirks=Quirks(timestamps=False)), Unit(7, (whole(world),)), lane()
    first = subject.parse(unit, None, node.ask(subject.request(unit, None).body or b"").body)
    assert (first.lines, first.asked, first.letters) == ((), 0, ()) and first.next is not None
    calls = orjson.loads(subject.request(unit, first.next).body or b"")
    key = "resolved_at" if lane is ChainPayouts else "timestamp"
    wanted = {(row[key] - FIRST_TIME) // 2 + FIRST_BLOCK for row in truth(world)}
    asked = {int(each["params"][0], 16) for each in calls if each["method"] == "eth_getBlockByNumber"}
    inner = asked - wanted
    assert wanted <= asked and (lane is ChainActivity or not inner)
    second = subject.parse(unit, first.next, node.ask(subject.request(unit, first.next).body or b"").body)
    assert multiset(map(orjson.loads, second.lines)) == multiset(truth(world)) and second.next is None


def test_a_node_that_is_behind_is_not_believed() -> None:
    world = tiny(9)
    late = FIRST_TIME + 20
    for node, wish in ((Polygon(world), Wish(before=late)), (Polygon(world, quirks=Quirks(head_lag=30)), Wish())):
        with pytest.raises(Unavailable, match="behind"):
            take(ChainFills(), [whole(world)], node, wish)


def test_without_that_proof_a_node_that_is_behind_loses_rows() -> None:
    world = tiny(9)
    taken = take(ChainFills(Asking(proves_head=False)), [whole(world)], Polygon(world, quirks=Quirks(head_lag=30)))
    assert len(taken.rows) < len(fills(world))


@ALL_LANES
def test_what_a_reorganisation_removed_never_becomes_a_row(lane: type[ChainLane], truth: Truth) -> None:
    world = tiny(10, blocks=30)
    node = Polygon(world, quirks=Quirks(reorg_depth=30, reorg_answers=1))
    phantom = take(lane(), [whole(world)], node)
    told = multiset(phantom.rows) != multiset(truth(world))
    assert told or lane is ChainPayouts, "payouts name no transaction"
    taken = take(lane(), [whole(world)], node)
    assert multiset(taken.rows) == multiset(truth(world))
    assert taken.letters and {letter.cls for letter in taken.letters} == {"contract"}
    assert all(letter.reason == "removed by a reorganisation" for letter in taken.letters)


def changed(world: TinyWorld, change: Callable[[list[dict[str, Any]]], None], lane: ChainLane | None = None) -> Any:
    """The page of the whole chain after its logs were tampered with."""
    lane, unit = lane or ChainFills(), Unit(7, (whole(world),))
    answer = orjson.loads(Polygon(world).ask(lane.request(unit, None).body or b"").body)
    change(answer[0]["result"])
    return lane.parse(unit, None, orjson.dumps(answer))


def set_(**fields: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(logs: list[dict[str, Any]]) -> None:
        logs[2].update(fields)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_(removed=True), "removed"),
        (set_(address="0x" + "1" * 40), "not asked for"),
        (set_(topics=["0x" + "1" * 64]), "not asked for"),
        (set_(topics=[]), "not a log"),
        (set_(blockNumber="0x1"), "block 1 was not asked for"),
        (set_(blockNumber=hex(FIRST_BLOCK + 40)), "not asked for"),
        (set_(blockNumber=85_000_001), "blockNumber is no number"),
        (set_(logIndex=None), "logIndex is no number"),
        (set_(transactionHash="0x12"), "32 bytes"),
        (set_(data="0x"), "bytes of data"),
        (set_(data=None), "not a log"),
        (lambda logs: logs.__setitem__(2, "log"), "not a log"),
        (lambda logs: logs.__setitem__(2, None), "not a log"),
    ],
)
def test_a_log_that_is_not_what_was_asked_for_becomes_a_letter(
    change: Callable[[list[dict[str, Any]]], None], reason: str
) -> None:
    world = tiny(11)
    page = changed(world, change)
    assert len(page.letters) == 1 and reason in page.letters[0].reason
    assert (page.letters[0].cls, page.letters[0].track, page.letters[0].unit) == ("contract", "chain_fills", 7)
    assert len(page.lines) == len(fills(world)) - 1


def test_a_log_that_comes_twice_is_one_row_and_two_at_one_place_are_a_conflict() -> None:
    world = tiny(12)
    rows = fills(world)
    assert len(changed(world, lambda logs: logs.append(dict(logs[0]))).lines) == len(rows)
    page = changed(world, lambda logs: logs.append({**logs[0], "transactionHash": "0x" + "7" * 64}))
    assert len(page.lines) == len(rows) and page.letters[0].cls == "conflict"


def test_the_first_fill_of_an_order_is_the_first_by_log_index_in_whatever_order_they_come() -> None:
    world = tiny(13)
    page = changed(world, lambda logs: logs.reverse())
    assert multiset(map(orjson.loads, page.lines)) == multiset(fills(world))
    ids = [row["fill_id"] for row in fills(world)]
    assert any(fill_id.count("_") == 2 for fill_id in ids) and len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"[null]",
        b"<html>",
        b'{"jsonrpc":"2.0","id":1,"result":[]}',
        b'{"status":"ok","items":[]}',
        b'[{"id":1},{"id":2}]',
        b'[{"id":[],"result":[]},{"id":{},"result":"0x1"}]',
    ],
)
def test_a_body_that_is_no_answer_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        ChainFills().parse(Unit(7, ("5-9",)), None, body)


def test_the_answer_to_another_question_is_noticed() -> None:
    world = tiny(14)
    lane, unit, node = ChainFills(), Unit(7, (whole(world),)), Polygon(world)
    other = node.ask(lane.request(unit, f"{FIRST_BLOCK}/5").body or b"").body
    with pytest.raises(Unreadable, match="another question"):
        lane.parse(unit, f"{FIRST_BLOCK + 5}/5", other)
    with pytest.raises(Unreadable, match="another question"):
        lane.parse(unit, f"{FIRST_BLOCK}/6", other)


def test_a_result_that_is_no_list_or_a_head_that_is_no_number_is_unreadable() -> None:
    world = tiny(14)
    lane, unit = ChainFills(), Unit(7, (whole(world),))
    answer = orjson.loads(Polygon(world).ask(lane.request(unit, None).body or b"").body)
    for place, result in ((0, {}), (0, None), (1, None), (1, "17"), (1, 17)):
        spoiled = [dict(each) for each in answer]
        spoiled[place]["result"] = result
        with pytest.raises(Unreadable):
            lane.parse(unit, None, orjson.dumps(spoiled))


def test_a_block_that_a_node_does_not_have_is_asked_again() -> None:
    world = tiny(15)
    lane, unit, node = ChainFills(), Unit(7, (whole(world),)), Polygon(world, quirks=Quirks(timestamps=False))
    cursor = lane.parse(unit, None, node.ask(lane.request(unit, None).body or b"").body).next
    answer = orjson.loads(node.ask(lane.request(unit, cursor).body or b"").body)
    for result, error in ((None, Unavailable), ({"number": "0x1", "timestamp": "0x1"}, Unreadable)):
        spoiled = [*answer[:-1], {**answer[-1], "result": result}]
        with pytest.raises(error):
            lane.parse(unit, cursor, orjson.dumps(spoiled))


@ALL_LANES
def test_a_lane_has_its_place_in_the_catalog(lane: type[ChainLane], truth: Truth) -> None:
    track = catalog.track(lane.name)
    assert (track.name, track.upstream, track.scope) == (lane.name, "polygon", "blocks")
    assert track.name in catalog.DATASETS[track.dataset]
    made = track.make(Config())
    assert isinstance(made, lane) and isinstance(made, Headed) and made.since > 4_000_000
    first = orjson.loads(made.request(Unit(0, ("90000000-90020000",)), None).body or b"")[0]["params"][0]
    assert int(first["toBlock"], 16) - int(first["fromBlock"], 16) == 999, "block_range of the configuration"


def test_the_head_is_far_enough_below_the_newest_block() -> None:
    world = tiny(16)
    lane = ChainFills(Asking(confirmations=20))
    body = Polygon(world).ask(lane.head().body or b"").body
    assert lane.read_head(body) == world.ledger.head.timestamp - 60
    other = Polygon(world).ask(block_request(5).body or b"").body
    whole = orjson.loads(body)
    short = orjson.dumps({**whole, "result": {"number": whole["result"]["number"]}})
    for spoiled in (b"x", b"[]", orjson.dumps({**whole, "result": None}), short, other):
        with pytest.raises(Unreadable):
            lane.read_head(spoiled)


def test_a_cursor_that_lies_outside_the_unit_is_a_mistake() -> None:
    for cursor in ("4/1", "9/1"):
        with pytest.raises(ValueError, match="none of its stretches"):
            ChainFills().request(Unit(7, ("5-9",)), cursor)
    for item in ("5", "9-5", "5-5"):
        with pytest.raises(ValueError, match="stretch"):
            ChainFills().request(Unit(7, (item,)), None)


def test_one_block_cannot_be_less() -> None:
    lane, unit = ChainFills(), Unit(7, ("5-9",))
    cursor, sizes = lane.smaller(unit, None), []
    while cursor is not None:
        sizes.append(cursor)
        cursor = lane.smaller(unit, cursor)
    assert sizes == ["5/2/1:1", "5/1/1:1"]


def test_too_many_missing_times_make_the_part_smaller() -> None:
    world = tiny(17)
    node, unit = Polygon(world, quirks=Quirks(timestamps=False)), Unit(7, (whole(world),))
    lane = ChainFills(Asking(most_times=2))
    with pytest.raises(PageTooLarge, match="times of"):
        lane.parse(unit, None, node.ask(lane.request(unit, None).body or b"").body)


def test_inner_and_foreign_events_are_left_out_without_a_word() -> None:
    world = tiny(18)
    rng = random.Random(1)
    foreign = f"0x{rng.randbytes(20).hex()}"

    def change(logs: list[dict[str, Any]]) -> None:
        inner = [log for log in logs if log["topics"][1].endswith("d91e80cf2e7be2e162c6513ced06f1dd0da35296")]
        assert inner, "the adapter's own splits are among the logs"
        plain = next(log for log in logs if log["data"].startswith("0x" + "0" * 24 + "2791bca1"))
        plain["data"] = f"0x{'0' * 24}{foreign[2:]}{plain['data'][66:]}"

    page = changed(world, change, ChainActivity())
    assert len(page.lines) == len(activity(world)) - 1 and page.letters == ()


def test_settings_of_asking_are_what_the_config_says() -> None:
    config = Config.model_validate({"upstreams": {"polygon": {"block_range": 7, "confirmations": 3}}})
    track = catalog.track("chain_fills").make(config)
    assert isinstance(track, ChainFills)
    body = orjson.loads(track.request(Unit(0, ("10-90",)), None).body or b"")
    assert body[0]["params"][0]["toBlock"] == hex(16) and dataclasses.is_dataclass(Asking())
