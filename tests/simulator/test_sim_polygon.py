"""The pretend node: logs as the contracts wrote them, and questions as real nodes take them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from backfill.simulator import polygon_abi as abi
from backfill.simulator.ledger import At, Conversion, Order, Redemption, Resolution, Split, Transfer
from backfill.simulator.polygon import Polygon
from backfill.simulator.polygon_chain import Chain
from backfill.simulator.polygon_query import RANGE_ERRORS, Quirks
from backfill.simulator.reply import Wish
from tests.tracks.chain_ledger import FIRST_BLOCK, FIRST_TIME, TinyWorld, tiny

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "samples" / "chain"
WORLD = tiny(1)
HEAD = WORLD.ledger.head.block
KEYS = {
    "address", "topics", "data", "blockNumber", "transactionHash", "transactionIndex", "blockHash", "blockTimestamp",
    "logIndex", "removed",
}  # fmt: skip


def ask(node: Polygon, method: str, *params: Any, wish: Wish | None = None) -> Any:
    """The answer to one call."""
    body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    document = orjson.loads(node.ask(body, wish or Wish()).body)
    assert document["id"] == 1 and document["jsonrpc"] == "2.0"
    return document


def logs(node: Polygon, wish: Wish | None = None, **wanted: Any) -> list[dict[str, Any]]:
    """The logs of a filter; the whole chain unless it says otherwise."""
    wanted = {"fromBlock": hex(FIRST_BLOCK), "toBlock": hex(HEAD), **wanted}
    found: list[dict[str, Any]] = ask(node, "eth_getLogs", wanted, wish=wish)["result"]
    return found


# --- encoded as the contracts do


def recorded() -> dict[str, dict[str, Any]]:
    path = SAMPLES / "real_logs.json"
    if not path.exists():
        pytest.skip(f"SKIPPED LOUDLY: {path} is not here, so nothing was compared with recorded logs")
    return {each["name"]: each for each in orjson.loads(path.read_bytes())["logs"]}


def _order(said: dict[str, Any], address: str) -> Order:
    given, got = int(said["makerAmountFilled"]), int(said["takerAmountFilled"])
    buys = said.get("side", "1" if said.get("makerAssetId") != "0" else "0") == "0"
    token = int(said.get("tokenId") or said["takerAssetId" if buys else "makerAssetId"])
    return Order(
        At(1, 1, "0x", 0), said["orderHash"], said["maker"], said["taker"], token, "BUY" if buys else "SELL",
        got if buys else given, given if buys else got, int(said["fee"]), address, 2 if "side" in said else 1,
    )  # fmt: skip


def again(name: str, said: dict[str, Any], address: str) -> abi.Body:
    """What the simulator makes of a recorded event."""
    at, condition = At(1, 1, "0x", 0), said.get("conditionId", "")[2:]
    if "order_filled" in name:
        return abi.FILLS[address].encode(_order(said, address))
    if "transfer" in name:
        sides = said["operator"], said["from"], said["to"]
        ids, values = said.get("ids", [said.get("id")]), said.get("values", [said.get("value")])
        transfer = Transfer(at, *sides, tuple(map(int, ids)), tuple(map(int, values)), "ids" in said)
        return abi.TRANSFERS["ids" in said].encode(transfer)
    if "split" in name or "merge" in name:
        split = Split(at, said["stakeholder"], condition, int(said["amount"]), "merge" in name)
        return abi.POSITIONS["merge" in name].encode(split)
    if "converted" in name:
        row = Conversion(at, said["stakeholder"], said["marketId"], int(said["indexSet"]), int(said["amount"]), 0)
        return abi.CONVERSION.encode(row)
    if "redemption" in name:
        sets, held = (tuple(map(int, said.get(key, ()))) for key in ("indexSets", "amounts"))
        kind = abi.REDEMPTION if sets else abi.ADAPTER_REDEMPTION
        return kind.encode(Redemption(at, said["redeemer"], condition, sets, held, int(said["payout"])))
    numerators = tuple(map(int, said["payoutNumerators"]))
    return abi.RESOLUTION.encode(Resolution(at, condition, said["oracle"], said["questionId"], numerators))


def test_recorded_events_are_encoded_to_the_recorded_logs() -> None:
    compared = 0
    for name, each in recorded().items():
        if not name.startswith("usdce"):
            body = again(name, each["decoded"], each["log"]["address"])
            assert (list(body.topics), body.data) == (each["log"]["topics"], each["log"]["data"]), name
            compared += 1
    assert compared >= 10


def test_topics_are_the_recorded_ones() -> None:
    path = SAMPLES / "event_topics.json"
    if not path.exists():
        pytest.skip(f"SKIPPED LOUDLY: {path} is not here, so no topic was compared")
    known = {each["topic0"] for each in orjson.loads(path.read_bytes())["events"]}
    ours = {
        value
        for name, value in vars(abi).items()
        if name.isupper() and str(value).startswith("0x") and len(value) == 66
    }
    assert len(ours) == 15 and ours <= known


def test_a_log_has_the_fields_of_a_recorded_one() -> None:
    assert {frozenset(log) for log in logs(Polygon(WORLD))} == {frozenset(KEYS)}
    full = [each["log"] for each in recorded().values() if "transactionIndex" in each["log"]]
    assert {frozenset(log) for log in full} == {frozenset(KEYS)}


# --- the chain


def test_every_event_stands_at_its_place_and_others_behind_all_of_its_block() -> None:
    ledger = WORLD.ledger
    kinds = (
        ledger.orders, ledger.splits, ledger.redemptions, ledger.conversions, ledger.transfers, ledger.resolutions
    )  # fmt: skip
    places = {event.at[:3] for kind in kinds for event in kind}
    found = logs(Polygon(WORLD))
    seen = [(int(log["blockNumber"], 16), int(log["logIndex"], 16), log["transactionHash"]) for log in found]
    assert places <= set(seen) and len(seen) > len(places)
    assert seen == sorted(seen, key=lambda place: place[:2]) and len({place[:2] for place in seen}) == len(seen)
    highest = {block: max(index for b, index, _ in places if b == block) for block, _, _ in places}
    further = [place for place in seen if place not in places]
    assert all(index > highest.get(block, -1) for block, index, _ in further)


def test_transactions_are_numbered_in_their_block() -> None:
    numbers: dict[tuple[str, str], set[str]] = {}
    for log in logs(Polygon(WORLD)):
        numbers.setdefault((log["blockNumber"], log["transactionHash"]), set()).add(log["transactionIndex"])
    assert all(len(each) == 1 for each in numbers.values())
    blocks = {block for block, _ in numbers}
    for block in blocks:
        mine = sorted(int(n, 16) for (b, _), each in numbers.items() if b == block for n in each)
        assert mine == list(range(len(mine)))


def test_neg_risk_positions_are_told_by_the_adapter_and_inside_by_the_tokens() -> None:
    neg_risk = {f"0x{market.condition}" for market in WORLD.markets if market.neg_risk}
    outer = logs(Polygon(WORLD), address=abi.ADAPTER, topics=[[abi.ADAPTER_SPLIT, abi.ADAPTER_MERGED]])
    inner = [
        log
        for log in logs(Polygon(WORLD), address=abi.CTF, topics=[[abi.SPLIT, abi.MERGED]])
        if log["topics"][3] in neg_risk
    ]
    assert outer and len(inner) == len(outer)
    assert {log["topics"][2] for log in outer} <= neg_risk
    assert {log["topics"][1][-40:] for log in inner} == {abi.ADAPTER[2:]}
    assert {log["transactionHash"] for log in inner} == {log["transactionHash"] for log in outer}


def test_a_taker_s_order_is_summed_up_in_a_match() -> None:
    takers = [order for order in WORLD.ledger.orders if order.taker == order.exchange]
    matches = logs(Polygon(WORLD), topics=[[abi.MATCHED_V1, abi.MATCHED_V2]])
    assert sorted(log["topics"][1] for log in matches) == sorted(order.order_hash for order in takers)
    assert all(len(log["topics"]) == 3 and len(log["data"]) == 2 + 4 * 64 for log in matches)


def test_conditions_are_prepared_before_they_are_resolved() -> None:
    found = logs(Polygon(WORLD), fromBlock="earliest", topics=[[abi.PREPARED, abi.RESOLVED]])
    by_kind = {
        kind: {log["topics"][1]: log for log in found if log["topics"][0] == kind}
        for kind in (abi.PREPARED, abi.RESOLVED)
    }
    assert by_kind[abi.RESOLVED] and by_kind[abi.RESOLVED].keys() <= by_kind[abi.PREPARED].keys()
    assert by_kind[abi.PREPARED].keys() == {f"0x{market.condition}" for market in WORLD.markets}
    for condition, log in by_kind[abi.RESOLVED].items():
        before = by_kind[abi.PREPARED][condition]
        assert int(before["blockNumber"], 16) <= int(log["blockNumber"], 16)
        assert before["topics"][1:] == log["topics"][1:]


def test_blocks_have_times_that_never_fall_and_fit_their_events() -> None:
    chain = Chain(WORLD.ledger, WORLD.markets)
    times = [chain.timestamp(block) for block in range(FIRST_BLOCK - 5, HEAD + 1)]
    assert times == sorted(times)
    assert all(chain.timestamp(entry.at.block) == entry.at.timestamp for entry in chain.entries)
    for moment in range(FIRST_TIME - 3, times[-1] + 3):
        block = chain.first_at(moment)
        assert block == HEAD + 1 or chain.timestamp(block) >= moment
        assert chain.timestamp(block - 1) < moment
    with pytest.raises(ValueError, match="above the head"):
        chain.timestamp(HEAD + 1)


# --- questions


def test_chain_id_and_head() -> None:
    node = Polygon(WORLD)
    assert ask(node, "eth_chainId")["result"] == "0x89" and ask(node, "eth_blockNumber")["result"] == hex(HEAD)


def test_blocks_by_number_and_tag() -> None:
    node = Polygon(WORLD)
    latest, finalized = (ask(node, "eth_getBlockByNumber", tag, False)["result"] for tag in ("latest", "finalized"))
    assert int(latest["number"], 16) == HEAD and int(finalized["number"], 16) == HEAD - 5
    assert int(latest["timestamp"], 16) == WORLD.ledger.head.timestamp
    below = ask(node, "eth_getBlockByNumber", hex(HEAD - 1), False)["result"]
    assert latest["parentHash"] == below["hash"] != latest["hash"]
    assert ask(node, "eth_getBlockByNumber", hex(HEAD + 1), False)["result"] is None
    assert ask(node, "eth_getBlockByNumber", "earliest", False)["result"]["number"] == "0x0"
    log = logs(node)[0]
    block = ask(node, "eth_getBlockByNumber", log["blockNumber"], False)["result"]
    assert (block["hash"], block["timestamp"]) == (log["blockHash"], log["blockTimestamp"])
    assert log["transactionHash"] in block["transactions"]


def test_filters_choose_what_they_say() -> None:
    node = Polygon(WORLD)
    everything = logs(node)
    some = everything[len(everything) // 2]
    low, high = FIRST_BLOCK + 2, FIRST_BLOCK + 9
    wallet, other = some["topics"][1], everything[0]["topics"][1]
    exchanges = sorted(abi.EXCHANGES)
    cases: list[tuple[dict[str, Any], Any]] = [
        ({"fromBlock": hex(low), "toBlock": hex(high)}, lambda log: low <= int(log["blockNumber"], 16) <= high),
        ({"address": abi.CTF.upper().replace("0X", "0x")}, lambda log: log["address"] == abi.CTF),
        ({"address": exchanges}, lambda log: log["address"] in exchanges),
        ({"address": []}, lambda log: True),
        ({"topics": []}, lambda log: True),
        ({"topics": [some["topics"][0]]}, lambda log: log["topics"][0] == some["topics"][0]),
        ({"topics": [[abi.SINGLE, abi.BATCH]]}, lambda log: log["topics"][0] in (abi.SINGLE, abi.BATCH)),
        ({"topics": [None, wallet]}, lambda log: log["topics"][1] == wallet),
        ({"topics": [None, [wallet, other]]}, lambda log: log["topics"][1] in (wallet, other)),
        ({"topics": [None, None, None, None]}, lambda log: len(log["topics"]) == 4),
        ({"topics": [None, None, None, some["topics"][-1]]}, lambda log: log["topics"][3:] == some["topics"][-1:]),
        ({"address": abi.CTF, "topics": [abi.FILLED_V1]}, lambda log: False),
        ({"fromBlock": hex(HEAD + 1), "toBlock": hex(HEAD + 9)}, lambda log: False),
    ]
    for wanted, keeps in cases:
        assert logs(node, **wanted) == [log for log in everything if keeps(log)], wanted


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("eth_nothing", [], -32601),
        ("eth_getLogs", [], -32602),
        ("eth_getLogs", [{"fromBlock": "0x9", "toBlock": "0x5"}], -32602),
        ("eth_getLogs", [{"fromBlock": 5}], -32602),
        ("eth_getLogs", [{"fromBlock": "0xzz"}], -32602),
        ("eth_getLogs", [{"blockHash": "0x12"}], -32602),
        ("eth_getLogs", [{"topics": [None] * 5}], -32602),
        ("eth_getLogs", [{"address": "4d97"}], -32602),
        ("eth_getBlockByNumber", [], -32602),
        ("eth_getBlockByNumber", ["soon", False], -32602),
    ],
)
def test_a_wrong_question_gets_an_error_object(method: str, params: list[Any], code: int) -> None:
    answer = ask(Polygon(WORLD), method, *params)
    assert answer["error"]["code"] == code and "result" not in answer


def test_batches_are_answered_in_order_each_for_itself() -> None:
    calls = [
        {"jsonrpc": "2.0", "id": "a", "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": 2, "method": "eth_nothing"},
        {"id": 3},
        "no call",
    ]
    reply = Polygon(WORLD).ask(orjson.dumps(calls))
    document = orjson.loads(reply.body)
    assert reply.status == 200 and reply.ids == 4
    assert document[0] == {"jsonrpc": "2.0", "id": "a", "result": "0x89"}
    assert [each["error"]["code"] for each in document[1:]] == [-32601, -32600, -32600]
    for body, code in ((b"[]", -32600), (b"{nonsense", -32700), (b'"x"', -32600), (b"null", -32600)):
        assert orjson.loads(Polygon(WORLD).ask(body).body)["error"]["code"] == code


def test_payouts_can_be_called_for() -> None:
    node = Polygon(WORLD)
    made = WORLD.ledger.resolutions[0]

    def call(selector: str, condition: str, rest: str = "", to: str = abi.CTF, wish: Wish | None = None) -> Any:
        return ask(node, "eth_call", {"to": to, "data": f"{selector}{condition}{rest}"}, "latest", wish=wish)

    assert int(call("0xdd34de67", made.condition)["result"], 16) == sum(made.numerators)
    seen = tuple(int(call("0x0504c814", made.condition, f"{n:064x}")["result"], 16) for n in (0, 1))
    assert seen == made.numerators
    assert int(call("0xd42dc0c2", made.condition)["result"], 16) == 2
    assert int(call("0xd42dc0c2", "0" * 64)["result"], 16) == 0
    assert int(call("0xdd34de67", "0" * 64)["result"], 16) == 0
    early = Wish(before=made.at.timestamp)
    assert int(call("0xdd34de67", made.condition, wish=early)["result"], 16) == 0
    assert call("0xdd34de67", made.condition, to="0x" + "1" * 40)["result"] == "0x"
    assert call("0x0504c814", made.condition, f"{2:064x}")["error"]["message"] == "execution reverted"
    assert "error" in call("0x12345678", made.condition)


async def test_over_http_only_posts_are_answered(client: aiohttp.ClientSession) -> None:
    from aiohttp import web

    node = Polygon(WORLD)

    async def handle(request: web.Request) -> web.Response:
        reply = await node.answer(request)
        return web.Response(status=reply.status, body=reply.body, content_type=reply.content_type)

    app = web.Application()
    app.router.add_route("*", "/polygon", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/polygon"
        async with client.get(url) as answer:
            assert answer.status == 405
        async with client.post(url, json={"id": 1, "method": "eth_chainId"}) as answer:
            assert (await answer.json())["result"] == "0x89"
    finally:
        await runner.cleanup()


# --- quirks


@pytest.mark.parametrize("style", RANGE_ERRORS)
def test_a_range_that_is_too_wide_is_refused_in_the_provider_s_words(style: str) -> None:
    node = Polygon(WORLD, quirks=Quirks(max_range=5, range_style=style))
    answer = ask(node, "eth_getLogs", {"fromBlock": hex(FIRST_BLOCK), "toBlock": hex(FIRST_BLOCK + 5)})
    assert answer["error"]["code"] == RANGE_ERRORS[style][0] and "{" not in answer["error"]["message"]
    assert "result" in ask(node, "eth_getLogs", {"fromBlock": hex(FIRST_BLOCK), "toBlock": hex(FIRST_BLOCK + 4)})


def test_too_many_results_are_refused_and_cut_ones_are_silent() -> None:
    everything = logs(Polygon(WORLD))
    count = len(everything)
    whole = {"fromBlock": hex(FIRST_BLOCK), "toBlock": hex(HEAD)}
    error = ask(Polygon(WORLD, quirks=Quirks(result_cap=count - 1)), "eth_getLogs", whole)["error"]
    assert error["code"] == -32005 and f"query returned more than {count - 1} results" in error["message"]
    assert logs(Polygon(WORLD, quirks=Quirks(result_cap=count))) == everything
    assert logs(Polygon(WORLD, quirks=Quirks(truncate_at=7))) == everything[:7]


def test_times_can_be_kept_back() -> None:
    found = logs(Polygon(WORLD, quirks=Quirks(timestamps=False)))
    assert found and all(log.keys() == KEYS - {"blockTimestamp"} for log in found)


def test_a_batch_may_be_too_large() -> None:
    node = Polygon(WORLD, quirks=Quirks(batch_cap=2))
    call = {"id": 1, "method": "eth_chainId"}
    assert orjson.loads(node.ask(orjson.dumps([call] * 3)).body)["error"]["message"] == "batch too large"
    assert len(orjson.loads(node.ask(orjson.dumps([call] * 2)).body)) == 2


def test_the_proxy_s_page_comes_as_often_as_it_was_asked_for() -> None:
    node = Polygon(WORLD, quirks=Quirks(cloudflare=2))
    replies = [node.ask(b'{"id":1,"method":"eth_chainId"}') for _ in range(3)]
    assert [reply.status for reply in replies] == [429, 429, 200]
    assert b"1015" in replies[0].body and replies[0].content_type == "text/html"


def test_a_stale_node_knows_nothing_of_what_came_later() -> None:
    late = FIRST_TIME + 31
    for wish, node, head in (
        (Wish(before=late), Polygon(WORLD), FIRST_BLOCK + 15),
        (Wish(), Polygon(WORLD, quirks=Quirks(head_lag=9)), HEAD - 9),
    ):
        assert ask(node, "eth_blockNumber", wish=wish)["result"] == hex(head)
        assert ask(node, "eth_getBlockByNumber", hex(head + 1), False, wish=wish)["result"] is None
        assert logs(node, wish) == logs(Polygon(WORLD), toBlock=hex(head))
    # A block of exactly that time is hidden, the one before it is not.
    assert ask(Polygon(WORLD), "eth_blockNumber", wish=Wish(before=FIRST_TIME + 30))["result"] == hex(FIRST_BLOCK + 14)
    assert ask(Polygon(WORLD), "eth_blockNumber", wish=Wish(before=0))["result"] == "0x0"


def crowded() -> TinyWorld:
    return tiny(2, blocks=20, events=200)


def test_the_newest_blocks_can_be_reorganised_between_two_answers() -> None:
    world = crowded()
    head, deep = world.ledger.head.block, 12
    plain = {"fromBlock": hex(FIRST_BLOCK), "toBlock": hex(head)}
    truth = ask(Polygon(world), "eth_getLogs", plain)["result"]
    node = Polygon(world, quirks=Quirks(reorg_depth=deep, reorg_answers=1))
    top = ask(node, "eth_getBlockByNumber", "latest", False)["result"]["hash"]
    quiet = logs(node, toBlock=hex(head - deep))
    first, second, third = (ask(node, "eth_getLogs", plain)["result"] for _ in range(3))

    def deep_ones(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [log for log in found if int(log["blockNumber"], 16) > head - deep]

    assert quiet == [log for log in truth if log not in deep_ones(truth)]
    assert len(first) == len(truth) and deep_ones(first)
    for key in ("blockHash", "transactionHash"):
        assert {log[key] for log in deep_ones(first)}.isdisjoint(log[key] for log in truth)
    removed = [log for log in second if log["removed"]]
    assert [{**log, "removed": False} for log in removed] == deep_ones(first)
    assert [log for log in second if not log["removed"]] == truth == third
    assert ask(node, "eth_getBlockByNumber", "latest", False)["result"]["hash"] != top


def test_a_reorganisation_may_pass_without_a_word() -> None:
    world = crowded()
    whole = {"fromBlock": hex(FIRST_BLOCK), "toBlock": hex(world.ledger.head.block)}
    node = Polygon(world, quirks=Quirks(reorg_depth=12, reorg_answers=2, tells_removed=False))
    truth = ask(Polygon(world), "eth_getLogs", whole)["result"]
    seen = [ask(node, "eth_getLogs", whole)["result"] == truth for _ in range(4)]
    assert seen == [False, False, True, True]


def test_faults_that_a_request_is_wished_to_show() -> None:
    node, wide = Polygon(WORLD, quirks=Quirks(truncate_at=0)), {"fromBlock": hex(FIRST_BLOCK), "toBlock": hex(HEAD)}
    narrow = {"fromBlock": hex(FIRST_BLOCK), "toBlock": hex(FIRST_BLOCK)}
    body = [orjson.dumps({"id": 1, "method": "eth_getLogs", "params": [each]}) for each in (wide, narrow)]
    for fault, words in (("rpc_too_many", "query returned more than"), ("rpc_timeout", "timeout")):
        reply = node.ask(body[0], Wish(fault=fault))  # type: ignore[arg-type]
        error = orjson.loads(reply.body)["error"]
        assert error["code"] == -32005 and words in error["message"] and reply.applied
        reply = node.ask(body[1], Wish(fault=fault))  # type: ignore[arg-type]
        assert "result" in orjson.loads(reply.body) and not reply.applied
    reply = node.ask(body[0], Wish(fault="rpc_truncated"))
    assert not reply.applied, "there are fewer logs than answers are cut to"
    assert node.ask(body[0], Wish(fault="late")).applied


def test_quirks_are_changed_by_name_while_it_runs() -> None:
    node = Polygon(WORLD)
    node.configure("max_range", 3)
    assert "error" in ask(node, "eth_getLogs", {"fromBlock": hex(FIRST_BLOCK), "toBlock": hex(HEAD)})
    wrong: list[tuple[str, object]] = [
        ("nothing", 1), ("max_range", "3"), ("max_range", -1), ("timestamps", 1), ("range_style", "mine")
    ]  # fmt: skip
    for name, value in wrong:
        with pytest.raises(ValueError, match=name if name != "range_style" else "range style"):
            node.configure(name, value)
    node.warm_up()


def test_two_threads_make_the_index_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    made = itertools.count()

    class Counting:
        markets = WORLD.markets

        @property
        def ledger(self) -> Any:
            next(made)
            return WORLD.ledger

    node = Polygon(Counting())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: node.ask(b'{"id":1,"method":"eth_blockNumber"}'), range(32)))
    assert next(made) == 1
