"""The lane of the activity subgraph: four lists a request, each from behind its last id."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.engine.model import Page, Request, Unit
from backfill.errors import PageTooLarge, Unreadable, UpstreamUnusable
from backfill.tracks import graph
from backfill.tracks.goldsky_activity import LISTS, TRACK, GoldskyActivity
from backfill.tracks.track import Headed
from tests.tracks.lane_kit import reasons, rows, sample, walk

LANE = GoldskyActivity("activity/1")
UNIT = Unit(9, ("1000-2000",))
ROOTS = ("splits", "merges", "redemptions", "negRiskConversions")
TX, WALLET, CONDITION = "0x" + "ab" * 32, "0x" + "12" * 20, "0x" + "cd" * 32
START = '[1000,["","","",""]]'


def event(root: str, number: int = 59, at: Any = "1500", **more: Any) -> dict[str, Any]:
    facts: dict[str, Any] = {"id": f"{TX}_0x{number:x}", "timestamp": at}
    if root == "redemptions":
        facts |= {"redeemer": WALLET, "condition": CONDITION, "indexSets": ["1", "2"], "payout": "700"}
    elif root == "negRiskConversions":
        facts |= {"stakeholder": WALLET, "negRiskMarketId": CONDITION, "amount": "5", "indexSet": "6"}
        facts |= {"questionCount": 4}
    else:
        facts |= {"stakeholder": WALLET, "condition": CONDITION, "amount": "9"}
    return {**facts, **more}


def parse(cursor: str | None = None, unit: Unit = UNIT, **found: list[Any]) -> Page:
    lists = {graph.named(root, unit, cursor): found.get(root, []) for root in ROOTS}
    return LANE.parse(unit, cursor, orjson.dumps({"data": lists}))


def test_four_lists_are_asked_for_in_the_order_of_their_ids() -> None:
    request = LANE.request(UNIT, None)
    document = orjson.loads(request.body or b"")
    assert request.path == "/activity/1/gn" and tuple(each.root for each in LISTS) == ROOTS
    assert document["variables"] == {"n": 1000, "from": "1000", "to": "2000", **dict.fromkeys(ROOTS, "")}
    for root in ROOTS:
        where = f"where:{{timestamp_gte:$from,timestamp_lt:$to,id_gt:${root}}}"
        assert f":{root}(first:$n,orderBy:id,orderDirection:asc,{where})" in document["query"]
    later = orjson.loads(LANE.request(UNIT, '[10,[null,"0xa",null,null]]').body or b"")
    assert later["variables"] == {"n": 10, "from": "1000", "to": "2000", "merges": "0xa"}
    assert "splits" not in later["query"]


def test_events_become_rows() -> None:
    page = parse(
        splits=[event("splits")],
        merges=[event("merges")],
        redemptions=[event("redemptions")],
        negRiskConversions=[event("negRiskConversions")],
    )
    plain = {"event_id": f"{TX}_59", "wallet": WALLET, "timestamp": 1500, "tx_hash": TX, "log_index": 59}
    plain |= {"source": "goldsky", "unit": 9}
    condition = {"condition_id_norm": "cd" * 32}
    assert rows(page) == [
        {"kind": "split", **condition, "index_sets": [], "amount_micro": 9} | plain,
        {"kind": "merge", **condition, "index_sets": [], "amount_micro": 9} | plain,
        {"kind": "redeem", **condition, "index_sets": ["1", "2"], "payout_micro": 700} | plain,
        {
            **{"kind": "convert", "neg_risk_market_id": CONDITION, "index_sets": ["6"]},
            **{"amount_micro": 5, "question_count": 4},
        }
        | plain,
    ]
    last = f"{TX}_0x3b"
    assert (page.asked, page.letters, page.next) == (0, (), f'[1000,["{last}","{last}","{last}","{last}"]]')


def test_recorded_redemptions_show_their_log_index() -> None:
    found = sample("goldsky/activity_redemptions_thegraph_docs.json")["data"]["redemptions"]
    whole = [{**each, "condition": CONDITION, "indexSets": ["1"]} for each in found]
    page = parse(unit=(unit := Unit(9, ("1700000000-1800000000",))), redemptions=whole)
    assert [row["log_index"] for row in rows(page)] == [0x3B, 0x7] and unit.number == 9
    assert [row["payout_micro"] for row in rows(page)] == [6274509531681, 2246253575996]


def test_a_list_ends_when_it_comes_empty_and_not_when_it_is_short() -> None:
    page = parse(START, splits=[event("splits")])
    assert page.next == f'[1000,["{TX}_0x3b",null,null,null]]' and page.asked == 0
    alias = graph.named("splits", UNIT, page.next)
    last = LANE.parse(UNIT, page.next, orjson.dumps({"data": {alias: []}}))
    assert (last.asked, last.next, last.lines) == (1, None, [])


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        (event("splits", id="0xab_0x1"), "field id: expected <transaction>_0x<log index>, saw '0xab_0x1'"),
        (event("splits", id=None), "field id: expected a value"),
        (event("splits", at="soon"), "field timestamp: expected a time"),
        (event("splits", stakeholder="0x12"), "field stakeholder: expected 0x and 40 hex digits"),
        (event("splits", condition=None), "field condition: expected a value, saw null"),
        (event("splits", amount="1.5"), "field amount: expected a whole number"),
        (event("splits", amount=str(1 << 64)), "field amount: expected an amount within 64 bits"),
        (event("splits", at="2000"), "was not asked for"),
        (event("splits", at="999"), "was not asked for"),
    ],
)
def test_drift_is_named_and_the_rest_goes_on(broken: Any, named: str) -> None:
    page = parse(splits=[broken, event("splits", 60)])
    assert [row["log_index"] for row in rows(page)] == [60]
    assert len(page.letters) == 1 and page.letters[0].reason.startswith(named), reasons(page)


def test_broken_redemptions_and_conversions_are_named() -> None:
    wrong = event("redemptions", indexSets=["x"]), event("negRiskConversions", questionCount=None)
    page = parse(redemptions=[wrong[0]], negRiskConversions=[wrong[1]])
    assert [reason.split(",")[0] for reason in reasons(page)] == [
        "field indexSets: expected a whole number",
        "field questionCount: expected a value",
    ]


def test_rows_from_before_the_last_id_are_another_pages() -> None:
    cursor = f'[1000,["{TX}_0x3b",null,null,null]]'
    alias = graph.named("splits", UNIT, cursor)
    with pytest.raises(Unreadable, match="another question"):
        LANE.parse(UNIT, cursor, orjson.dumps({"data": {alias: [event("splits", 59)]}}))


def test_an_empty_answer_to_another_question_is_unreadable() -> None:
    body = orjson.dumps({"data": {graph.named(root, UNIT, None): [] for root in ROOTS}})
    assert LANE.parse(UNIT, None, body).next is None
    for unit, cursor in ((Unit(9, ("1000-2001",)), None), (UNIT, START)):
        with pytest.raises(Unreadable):
            LANE.parse(unit, cursor, body)


def test_the_head_is_the_newest_row_or_block() -> None:
    assert isinstance(LANE, Headed)
    text = orjson.loads(LANE.head().body or b"")["query"]
    assert "_meta" in text and all(f"{root}(first:1,orderBy:timestamp,orderDirection:desc)" in text for root in ROOTS)

    def head(block: Any, *, errors: bool = False, **found: list[Any]) -> bytes:
        meta = {"block": {"number": 7, "timestamp": block}, "hasIndexingErrors": errors}
        return orjson.dumps({"data": {"_meta": meta, **{root: found.get(root, []) for root in ROOTS}}})

    assert LANE.read_head(head(None, splits=[{"timestamp": "50"}], merges=[{"timestamp": "70"}])) == 71
    assert LANE.read_head(head(90, splits=[{"timestamp": "50"}])) == 91
    for nothing in (head(None), head(None, splits=[{"timestamp": "soon"}]), head(None, splits=[7]), b"{}", b"x"):
        with pytest.raises(Unreadable):
            LANE.read_head(nothing)
    with pytest.raises(UpstreamUnusable, match="indexing errors") as caught:
        LANE.read_head(head(90, errors=True))
    assert caught.value.kind == "stale"


def subgraph(store: dict[str, list[dict[str, Any]]], most: int, cut: set[int]) -> Callable[[Request], bytes]:
    """A subgraph of these events: `first` above `most` times out, requests numbered in `cut` get half of each list."""
    numbers = iter(range(10**6))

    def reply(request: Request) -> bytes:
        document = orjson.loads(request.body or b"")
        asked, data, number = document["variables"], {}, next(numbers)
        if asked["n"] > most:
            raise PageTooLarge("timed out")
        for alias, root in re.findall(r"(\w+):(\w+)\(first", document["query"]):
            found = [
                row
                for row in sorted(store[root], key=lambda row: str(row["id"]))
                if row["id"] > asked[root] and int(asked["from"]) <= int(row["timestamp"]) < int(asked["to"])
            ][: asked["n"]]
            data[alias] = found[: (len(found) + 1) // 2] if number in cut else found
        return orjson.dumps({"data": data})

    return reply


PLACES = st.lists(st.tuples(st.integers(0, 400), st.sampled_from([1000, 1001, 1999, 2000])), unique=True, max_size=40)


@settings(deadline=None, max_examples=80)
@given(st.tuples(PLACES, PLACES, PLACES, PLACES), st.integers(3, 1000), st.sets(st.integers(0, 9)))
def test_every_event_of_the_window_arrives_once(
    places: tuple[list[tuple[int, int]], ...], most: int, cut: set[int]
) -> None:
    store = {
        root: [event(root, number * 4 + n, str(at)) for number, at in {number: at for number, at in found}.items()]
        for n, (root, found) in enumerate(zip(ROOTS, places, strict=True))
    }
    walked = walk(LANE, UNIT, subgraph(store, most, cut))
    expected = {
        f"{TX}_{int(row['id'].rpartition('0x')[2], 16)}"
        for found in store.values()
        for row in found
        if 1000 <= int(row["timestamp"]) < 2000
    }
    assert sorted(row["event_id"] for row in walked.rows) == sorted(expected)
    assert not walked.letters and walked.asked == 1


def test_lists_shrink_to_one_row() -> None:
    sizes, cursor = [], None
    while (cursor := LANE.smaller(UNIT, cursor)) is not None:
        sizes.append(orjson.loads(cursor)[0])
    assert sizes == [500, 250, 125, 62, 31, 15, 7, 3, 1]


def test_the_track() -> None:
    assert (TRACK.scope, TRACK.upstream, TRACK.table) == ("windows", "goldsky", "staging.ctf_activity_v2")
    assert TRACK.make(Config()).request(UNIT, None).path == "/activity-subgraph/0.0.4/gn"
