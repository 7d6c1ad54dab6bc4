"""The pretend Goldsky answers as graph-node does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from backfill.simulator.faults import Faults
from backfill.simulator.goldsky import HEAD_BLOCK, Goldsky
from backfill.simulator.reply import Reply, Wish
from backfill.simulator.world import World

ACTIVITY, POSITIONS = "activity-subgraph/0.0.4", "positions-subgraph/0.0.7"
ORDERBOOK, PNL = "orderbook-subgraph/0.0.1", "pnl-subgraph/0.0.14"
BY_ID = "query($ids:[ID!],$n:Int){positions(first:$n,where:{id_in:$ids}){id condition outcomeIndex}}"


@pytest.fixture(scope="module")
def goldsky(world: World) -> Goldsky:
    """Goldsky without faults."""
    return Goldsky(world, Faults(world))


def send(goldsky: Goldsky, name: str, query: str, wish: Wish | None = None, **variables: Any) -> Reply:
    """Answer of one query."""
    return goldsky.query(name, orjson.dumps({"query": query, "variables": variables}), wish or Wish())


def ask(goldsky: Goldsky, name: str, query: str, wish: Wish | None = None, **variables: Any) -> Any:
    """Data of one query that must succeed."""
    answer = orjson.loads(send(goldsky, name, query, wish, **variables).body)
    assert "errors" not in answer, answer
    return answer["data"]


def fail(goldsky: Goldsky, name: str, query: str, wish: Wish | None = None, **variables: Any) -> str:
    """Message of one query that must fail the way graph-node does: 200, errors, no data."""
    reply = send(goldsky, name, query, wish, **variables)
    answer = orjson.loads(reply.body)
    assert reply.status == 200
    assert set(answer) == {"errors"}
    return str(answer["errors"][0]["message"])


def test_a_thousand_ids_get_every_known_one_with_the_right_answer(goldsky: Goldsky, world: World) -> None:
    reply = send(goldsky, ACTIVITY, BY_ID, ids=[str(t) for t in world.traded], n=1000)
    rows = {int(row["id"]): row for row in orjson.loads(reply.body)["data"]["positions"]}
    assert reply.ids == len(world.traded)
    assert rows.keys() == set(world.traded) & world.known_to("goldsky")
    for token, row in rows.items():
        assert row["condition"] == f"0x{world.truth[token].condition}"
        assert row["outcomeIndex"] == str(world.truth[token].outcome_index)


def test_without_first_only_100_rows_come(goldsky: Goldsky, world: World) -> None:
    query = "query($ids:[ID!]){positions(where:{id_in:$ids}){id}}"
    assert len(ask(goldsky, ACTIVITY, query, ids=[str(t) for t in world.traded])["positions"]) == 100


@pytest.mark.parametrize("first", [0, 1001, -1])
def test_first_outside_1_to_1000_is_an_error(goldsky: Goldsky, first: int) -> None:
    message = fail(goldsky, ACTIVITY, f"{{positions(first:{first}){{id}}}}")
    assert message == f"The `first` argument must be between 0 and 1000, but is {first}"


def test_ids_sort_as_text_and_not_as_numbers(goldsky: Goldsky, world: World) -> None:
    ids = [row["id"] for row in ask(goldsky, ACTIVITY, "{positions(first:1000){id}}")["positions"]]
    assert ids == sorted(str(t) for t in world.known_to("goldsky"))[:1000]
    assert [int(i) for i in ids] != sorted(int(i) for i in ids)


def test_a_sweep_by_id_gt_sees_every_row_once(goldsky: Goldsky, world: World) -> None:
    seen: list[str] = []
    query = "query($last:ID!){positions(first:250,orderBy:id,where:{id_gt:$last}){id}}"
    while page := ask(goldsky, ACTIVITY, query, last=seen[-1] if seen else "")["positions"]:
        seen += [row["id"] for row in page]
    assert len(seen) == len(set(seen))
    assert {int(i) for i in seen} == world.known_to("goldsky")


def test_a_sweep_over_two_ranges_of_ids_goes_by_text(goldsky: Goldsky, world: World) -> None:
    query = '{positions(first:1000,where:{or:[{id_gt:"5"},{id_gte:"10",id_lt:"2"}]}){id}}'
    ids = [row["id"] for row in ask(goldsky, ACTIVITY, query)["positions"]]
    known = sorted(str(token) for token in world.known_to("goldsky"))
    assert ids == [i for i in known if i > "5" or "10" <= i < "2"][:1000]


def test_skip_and_descending_order(goldsky: Goldsky) -> None:
    ids = [row["id"] for row in ask(goldsky, ACTIVITY, "{positions(first:20){id}}")["positions"]]
    assert [r["id"] for r in ask(goldsky, ACTIVITY, "{positions(first:5,skip:10){id}}")["positions"]] == ids[10:15]
    last = [r["id"] for r in ask(goldsky, ACTIVITY, "{positions(first:1000,orderDirection:desc){id}}")["positions"]]
    assert last == sorted(last, reverse=True)


def test_empty_lists_let_nothing_through_even_with_not_in(goldsky: Goldsky) -> None:
    assert ask(goldsky, ACTIVITY, "{positions(where:{id_in:[]}){id}}") == {"positions": []}
    assert ask(goldsky, ACTIVITY, "{positions(where:{id_not_in:[]}){id}}") == {"positions": []}


def test_not_in_leaves_out_what_it_names(goldsky: Goldsky) -> None:
    first, second = (row["id"] for row in ask(goldsky, ACTIVITY, "{positions(first:2){id}}")["positions"])
    query = "query($ids:[ID!]){positions(first:1,where:{id_not_in:$ids}){id}}"
    assert ask(goldsky, ACTIVITY, query, ids=[first])["positions"] == [{"id": second}]


def test_one_row_by_id_is_an_object_or_null(goldsky: Goldsky, world: World) -> None:
    token = str(next(iter(world.known_to("goldsky"))))
    query = "query($id:ID!){position(id:$id){id} other:position(id:7){id}}"
    assert ask(goldsky, ACTIVITY, query, id=token) == {"position": {"id": token}, "other": None}


def test_the_positions_subgraph_nests_the_condition_with_its_payout(goldsky: Goldsky, world: World) -> None:
    query = "{tokenIdConditions(first:1000){id outcomeIndex complement condition{id payouts}}}"
    rows = ask(goldsky, POSITIONS, query)["tokenIdConditions"]
    winners = {market.condition: market.winner for market in world.markets}
    assert {row["condition"]["payouts"] is None for row in rows} == {True, False}
    for row in rows:
        truth = world.truth[int(row["id"])]
        assert row["condition"]["id"] == f"0x{truth.condition}"
        assert world.truth[int(row["complement"])].outcome_index == 1 - truth.outcome_index
        winner = winners[truth.condition]
        assert row["condition"]["payouts"] == (None if winner is None else ["1", "0"] if winner == 0 else ["0", "1"])


def test_a_fragment_gives_what_plain_fields_give(goldsky: Goldsky) -> None:
    plain = ask(goldsky, POSITIONS, "{tokenIdConditions{id condition{id payouts}}}")
    fragment = "{tokenIdConditions{...f}} fragment f on TokenIdCondition{id condition{id ... on Condition{payouts}}}"
    assert ask(goldsky, POSITIONS, fragment) == plain
    aliased = ask(goldsky, POSITIONS, "{tokenIdConditions(first:1){a:id __typename}}")["tokenIdConditions"]
    assert aliased == [{"a": plain["tokenIdConditions"][0]["id"], "__typename": "TokenIdCondition"}]


def test_filters_reach_into_nested_rows_and_nulls(goldsky: Goldsky, world: World) -> None:
    resolved = ask(goldsky, POSITIONS, "{conditions(first:1000,where:{payouts_not:null}){id}}")["conditions"]
    known = {f"0x{world.truth[token].condition}" for token in world.known_to("goldsky")}
    assert {r["id"] for r in resolved} == known & {f"0x{m.condition}" for m in world.markets if m.winner is not None}
    query = "query($c:ID){tokenIdConditions(where:{condition_:{id:$c}}){id condition{id}}}"
    rows = ask(goldsky, POSITIONS, query, c=resolved[0]["id"])["tokenIdConditions"]
    assert {row["condition"]["id"] for row in rows} == {resolved[0]["id"]}


def test_market_data_never_has_an_outcome_index(goldsky: Goldsky, world: World) -> None:
    rows = ask(goldsky, ORDERBOOK, "{marketDatas(first:1000){id condition outcomeIndex}}")["marketDatas"]
    assert {row["outcomeIndex"] for row in rows} == {None}
    assert all(row["condition"] == f"0x{world.truth[int(row['id'])].condition}" for row in rows)


def test_pnl_conditions_hold_both_tokens_in_outcome_order(goldsky: Goldsky, world: World) -> None:
    query = "{conditions(first:1000){id positionIds payoutNumerators payoutDenominator}}"
    for row in ask(goldsky, PNL, query)["conditions"]:
        assert [world.truth[int(token)].outcome_index for token in row["positionIds"]] == [0, 1]
        assert sum(map(int, row["payoutNumerators"])) == int(row["payoutDenominator"])


def test_the_chronological_sweep_gets_every_fill_once(goldsky: Goldsky, world: World) -> None:
    query = """query($t:BigInt!,$i:ID!){orderFilledEvents(first:500,orderBy:timestamp,orderDirection:asc,
      where:{or:[{timestamp_gt:$t},{timestamp:$t,id_gt:$i}]})
      {id transactionHash orderHash timestamp maker taker makerAssetId takerAssetId makerAmountFilled
       takerAmountFilled fee}}"""
    rows: list[dict[str, str]] = []
    last, identity = "0", ""
    while page := ask(goldsky, ORDERBOOK, query, t=last, i=identity)["orderFilledEvents"]:
        rows += page
        last, identity = page[-1]["timestamp"], page[-1]["id"]
    assert rows == [{**fill._asdict(), "timestamp": str(fill.timestamp)} for fill in world.fills]


def test_big_integers_compare_as_numbers(goldsky: Goldsky, world: World) -> None:
    query = "{orderFilledEvents(first:1000,where:{fee_gt:0,fee_lte:100000}){fee}}"
    expected = sorted(f.fee for f in world.fills if 0 < int(f.fee) <= 100_000)
    assert sorted(row["fee"] for row in ask(goldsky, ORDERBOOK, query)["orderFilledEvents"]) == expected
    assert expected


def test_or_beside_a_column_filter_is_an_error(goldsky: Goldsky) -> None:
    query = '{positions(where:{id_gt:"1",or:[{id:"1"},{id:"2"}]}){id}}'
    assert "Cannot mix column filters with 'or'" in fail(goldsky, ACTIVITY, query)


def test_unknown_fields_and_bad_syntax_are_errors(goldsky: Goldsky) -> None:
    assert fail(goldsky, ACTIVITY, "{positions{slug}}") == "Type `Position` has no field `slug`"
    assert fail(goldsky, ACTIVITY, "{positions{")
    assert "nope" in fail(goldsky, ACTIVITY, "{nope{id}}")
    assert fail(goldsky, ORDERBOOK, '{orderFilledEvents(where:{timestamp_gt:"soon"}){id}}')


def test_several_roots_in_one_request(goldsky: Goldsky) -> None:
    data = ask(goldsky, ACTIVITY, "{a:positions(first:1){id} b:positions(first:1,skip:1){id} _meta{block{number}}}")
    assert data["a"] != data["b"]
    assert data["_meta"]["block"]["number"] == HEAD_BLOCK


def test_meta_has_no_time_and_a_block_past_the_head_is_an_error(goldsky: Goldsky) -> None:
    meta = ask(goldsky, ACTIVITY, "{_meta{block{number timestamp hash} hasIndexingErrors}}")["_meta"]
    assert meta["block"]["timestamp"] is None
    assert meta["hasIndexingErrors"] is False
    assert ask(goldsky, ACTIVITY, f"{{positions(first:1,block:{{number:{HEAD_BLOCK}}}){{id}}}}")["positions"]
    message = fail(goldsky, ACTIVITY, f"{{positions(block:{{number:{HEAD_BLOCK + 1}}}){{id}}}}")
    assert f"has only indexed up to block number {HEAD_BLOCK}" in message


def test_a_stale_subgraph_is_behind_and_lacks_what_is_new(goldsky: Goldsky, world: World) -> None:
    stale = Wish(before=sorted(market.start for market in world.markets)[len(world.markets) // 2])
    assert ask(goldsky, ACTIVITY, "{_meta{block{number}}}", stale)["_meta"]["block"]["number"] < HEAD_BLOCK
    ids = [str(token) for token in world.traded]
    fresh = len(ask(goldsky, ACTIVITY, BY_ID, ids=ids, n=1000)["positions"])
    assert 0 < len(ask(goldsky, ACTIVITY, BY_ID, stale, ids=ids, n=1000)["positions"]) < fresh


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"variables":{}}', b'{"query":"{a}","variables":[1]}'])
def test_a_body_that_is_no_query_is_a_400(goldsky: Goldsky, body: bytes) -> None:
    reply = goldsky.query(ACTIVITY, body)
    assert reply.status == 400
    assert "error" in orjson.loads(reply.body)


def test_a_query_timeout_is_cured_by_a_smaller_page(goldsky: Goldsky, world: World) -> None:
    wish = Wish("query_timeout", timeout_above=50)
    ids = [str(token) for token in world.traded[:60]]
    assert fail(goldsky, ACTIVITY, BY_ID, wish, ids=ids, n=60) == "Query timed out"
    small = send(goldsky, ACTIVITY, BY_ID, wish, ids=ids[:50], n=50)
    assert orjson.loads(small.body)["data"]["positions"]
    assert small.applied is False


def test_exactly_the_tokens_lied_about_are_answered_wrongly(goldsky: Goldsky, world: World) -> None:
    faults = Faults(world, {"lies": 0.05})
    lying = Goldsky(world, faults)
    ids = [str(token) for token in world.traded]
    honest = {row["id"]: row for row in ask(goldsky, ACTIVITY, BY_ID, ids=ids, n=1000)["positions"]}
    false = {row["id"]: row for row in ask(lying, ACTIVITY, BY_ID, ids=ids, n=1000)["positions"]}
    assert {int(i) for i in honest if honest[i] != false[i]} == set(faults.lied_about("goldsky"))
    nested = ask(lying, POSITIONS, "{tokenIdConditions(first:1000){id condition{id}}}")["tokenIdConditions"]
    assert all(
        row["condition"]["id"] == false.get(row["id"], {}).get("condition", row["condition"]["id"]) for row in nested
    )
