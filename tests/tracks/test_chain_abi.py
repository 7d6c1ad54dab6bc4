"""Decoding of recorded logs, hashes of events, and logs that are not what they should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.ids import condition_bytes, keccak256
from backfill.simulator import polygon_abi as sim
from backfill.simulator.ledger import At, Conversion, Order, Redemption, Resolution, Split, Transfer
from backfill.tracks import chain_abi as abi

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "samples" / "chain"
TX = "0x" + "ab" * 32


def sample(name: str) -> Any:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"SKIPPED LOUDLY: {path} is not here, so nothing recorded was decoded")
    return orjson.loads(path.read_bytes())


def recorded() -> list[dict[str, Any]]:
    logs: list[dict[str, Any]] = sample("real_logs.json")["logs"]
    return logs


# --- recorded


def test_every_topic_is_what_is_known_of_the_chain() -> None:
    assert abi.check_topics() == () and abi.TOPICS.keys() == abi.KNOWN_TOPICS.keys()


def test_every_topic_is_what_the_recorded_list_of_events_says() -> None:
    listed = {each["signature"]: each["topic0"] for each in sample("event_topics.json")["events"]}
    assert len(listed) > 40
    for signature, topic in listed.items():
        if "(" in signature:
            assert f"0x{keccak256(signature.encode()).hex()}" == topic
    for name, signature in abi.SIGNATURES.items():
        assert listed[signature] == abi.TOPICS[name], name


@pytest.mark.parametrize("name", sorted(abi.TOPICS))
def test_a_wrong_topic_is_named(name: str) -> None:
    wrong = {**abi.TOPICS, name: "0x" + "1" * 64}
    (told,) = abi.check_topics(wrong)
    assert told.startswith(f"{name}: 0x1111") and abi.KNOWN_TOPICS[name] in told
    missing = {key: value for key, value in abi.TOPICS.items() if key != name}
    assert len(abi.check_topics(missing)) == 1


def test_contracts_are_the_recorded_ones() -> None:
    seen = {each["log"]["address"] for each in recorded()}
    ours = {abi.CTF.address, abi.ADAPTER.address, *(each.address for each in abi.EXCHANGES)}
    assert {abi.CTF.address, abi.ADAPTER.address} <= seen and len(ours) == 6
    listed = " ".join(each["contract"].lower() for each in sample("event_topics.json")["events"])
    assert all(address in listed for address in ours)


def read(name: str, log: dict[str, Any]) -> Any:
    """Decode a recorded log. Two transfers were recorded without their log index; any will do for them."""
    log = {"logIndex": "0x0", **log}
    if "order_filled" in name:
        return abi.fill(log)
    if "transfer" in name:
        return abi.transfers(log)
    return abi.resolution(log) if "resolution" in name else abi.activity(log)


def _expected(name: str, said: dict[str, Any]) -> dict[str, Any]:
    """What was published about a log, in our names."""
    condition = said.get("conditionId", "")[2:]
    match name:
        case "exchange_v2_order_filled":
            sells = said["side"] == "1"
            gave, got = int(said["makerAmountFilled"]), int(said["takerAmountFilled"])
            return {
                "order_hash": said["orderHash"], "maker": said["maker"], "taker": said["taker"],
                "side": "SELL" if sells else "BUY", "token_id": int(said["tokenId"]),
                "shares": gave if sells else got, "usdc": got if sells else gave, "fee": int(said["fee"]),
                "fee_asset": "none", "version": 2,
            }  # fmt: skip
        case "exchange_v1_order_filled":
            return {
                "order_hash": said["orderHash"], "maker": said["maker"], "taker": said["taker"], "side": "BUY",
                "token_id": int(said["takerAssetId"]), "shares": int(said["takerAmountFilled"]),
                "usdc": int(said["makerAmountFilled"]), "fee": int(said["fee"]), "fee_asset": "shares", "version": 1,
            }  # fmt: skip
        case "ctf_position_split" | "ctf_positions_merge":
            return {
                "kind": "split" if "split" in name else "merge", "wallet": said["stakeholder"],
                "collateral": said["collateralToken"], "condition": condition, "amount": int(said["amount"]),
            }  # fmt: skip
        case "negrisk_positions_converted":
            return {
                "kind": "convert", "wallet": said["stakeholder"], "market_id": said["marketId"], "condition": None,
                "index_sets": (int(said["indexSet"]),), "amount": int(said["amount"]),
            }  # fmt: skip
        case "ctf_payout_redemption":
            return {
                "kind": "redeem", "wallet": said["redeemer"], "condition": condition, "payout": int(said["payout"]),
                "index_sets": tuple(map(int, said["indexSets"])), "collateral": said["collateralToken"],
            }  # fmt: skip
        case "negrisk_payout_redemption":
            return {
                "kind": "redeem", "wallet": said["redeemer"], "condition": condition, "payout": int(said["payout"]),
                "amounts": tuple(map(int, said["amounts"])), "collateral": None,
            }  # fmt: skip
        case "ctf_condition_resolution":
            return {
                "condition": condition, "oracle": said["oracle"], "question": said["questionId"],
                "numerators": tuple(map(int, said["payoutNumerators"])),
            }  # fmt: skip
    raise AssertionError(f"{name} has no expectation")


def test_every_recorded_log_says_what_was_published_about_it() -> None:
    checked = []
    for each in recorded():
        name, log, said = each["name"], each["log"], each["decoded"]
        if name == "usdce_transfer_redemption_leg":
            continue  # an ERC-20, which no lane asks for; see below
        made = read(name, log)
        if "transfer" in name:
            ids, values = said.get("ids", [said.get("id")]), said.get("values", [said.get("value")])
            assert [(str(move.token_id), str(move.amount)) for move in made] == list(zip(ids, values, strict=True))
            assert [move.batch_index for move in made] == list(range(len(ids)))
            sides = {(move.operator, move.sender, move.receiver) for move in made}
            assert sides == {(said["operator"], said["from"], said["to"])}
            made = made[0]
        else:
            expected = _expected(name, said)
            assert {key: getattr(made, key) for key in expected} == expected
        assert made.tx == log["transactionHash"] and made.block == int(log["blockNumber"], 16)
        assert made.log_index == int(log.get("logIndex", "0x0"), 16)
        checked.append(name)
    assert len(checked) >= 10


def test_a_recorded_log_of_another_kind_is_refused() -> None:
    for each in recorded():
        for decode in (abi.fill, abi.transfers, abi.resolution, abi.activity):
            kinds = {"fill": "order_filled", "transfers": "transfer", "resolution": "condition_resolution"}
            fits = kinds.get(decode.__name__, "") in each["name"] and each["name"] != "usdce_transfer_redemption_leg"
            if decode is abi.activity:
                fits = any(word in each["name"] for word in ("split", "merge", "converted", "payout_redemption"))
            if not fits:
                with pytest.raises(ValueError, match=r".+"):
                    decode({"logIndex": "0x0", **each["log"]})


def test_the_three_ways_to_resolve_are_read() -> None:
    seen = set()
    for item in sample("condition_resolutions_no_yes_split.json")["items"]:
        made = abi.resolution(item["log_rebuilt"])
        assert made.condition == item["condition_id"][2:] and made.question == item["question_id"]
        assert made.oracle == item["oracle"].lower()
        assert list(made.numerators) == item["resolution"]["payout_numerators"]
        assert sum(made.numerators) == item["resolution"]["payout_denominator"]
        assert (made.block, made.log_index) == (item["resolution"]["block"], item["resolution"]["log_index"])
        parts = bytes.fromhex(made.oracle[2:]) + bytes.fromhex(made.question[2:]) + (2).to_bytes(32, "big")
        assert keccak256(parts) == condition_bytes(made.condition)
        seen.add(made.numerators)
    assert seen == {(0, 1), (1, 0), (1, 1)}


# --- encoded by the simulator, which shares no code with this

words = st.integers(0, 2**256 - 1)
amounts = st.integers(0, 2**64 - 1)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: f"0x{raw.hex()}")
hashes = st.binary(min_size=32, max_size=32).map(lambda raw: f"0x{raw.hex()}")
conditions = st.binary(min_size=32, max_size=32).map(bytes.hex)
places = st.builds(At, st.integers(0, 10**8), st.integers(0, 5000), hashes, st.just(0))


def logged(kind: sim.Kind, event: Any) -> dict[str, Any]:
    body = kind.encode(event)
    return {
        "address": kind.address, "topics": list(body.topics), "data": body.data, "blockNumber": hex(event.at.block),
        "transactionHash": event.at.tx_hash, "logIndex": hex(event.at.log_index),
    }  # fmt: skip


def _order(exchange: str, *rest: Any) -> Order:
    at, order_hash, maker, taker, token, side, shares, usdc, fee = rest
    version: Literal[1, 2] = 1 if sim.EXCHANGES[exchange] == 1 else 2
    return Order(at, order_hash, maker, taker, token, side, shares, usdc, fee, exchange, version)


orders = st.builds(
    _order, st.sampled_from(sorted(sim.EXCHANGES)), places, hashes, addresses, addresses, st.integers(1, 2**256 - 1),
    st.sampled_from(("BUY", "SELL")), amounts, amounts, amounts,
)  # fmt: skip


@given(orders)
def test_a_fill_comes_out_as_it_went_in(order: Order) -> None:
    made = abi.fill(logged(sim.FILLS[order.exchange], order))
    in_shares = order.version == 1 and order.side == "BUY"
    assert made == abi.Fill(
        order.at.tx_hash, order.at.log_index, order.at.block, order.order_hash, order.maker, order.taker, order.side,
        order.token, order.shares, order.usdc, order.fee,
        "none" if order.fee == 0 else "shares" if in_shares else "usdc", order.exchange, order.version,
    )  # fmt: skip


@given(orders)
def test_the_match_of_a_taker_s_order_is_no_fill(order: Order) -> None:
    with pytest.raises(ValueError, match=r".+"):
        abi.fill(logged(sim.MATCHES[order.exchange], order))


@given(places, addresses, addresses, addresses, st.lists(st.tuples(words, words), max_size=6), st.booleans())
def test_transfers_come_out_as_they_went_in(
    at: At, operator: str, sender: str, receiver: str, moved: list[tuple[int, int]], batch: bool
) -> None:
    moved = moved if batch else [*moved, (1, 2)][:1]
    transfer = Transfer(at, operator, sender, receiver, tuple(t for t, _ in moved), tuple(a for _, a in moved), batch)
    assert abi.transfers(logged(sim.TRANSFERS[batch], transfer)) == [
        abi.Transfer(at.tx_hash, at.log_index, at.block, place, operator, sender, receiver, *each)
        for place, each in enumerate(moved)
    ]


@given(places, conditions, addresses, hashes, st.lists(st.integers(0, 10**6), min_size=1, max_size=5))
def test_resolutions_come_out_as_they_went_in(
    at: At, condition: str, oracle: str, question: str, numerators: list[int]
) -> None:
    log = logged(sim.RESOLUTION, Resolution(at, condition, oracle, question, tuple(numerators)))
    if not sum(numerators):
        with pytest.raises(ValueError, match="add up to nothing"):
            abi.resolution(log)
        return
    place = at.tx_hash, at.log_index, at.block
    assert abi.resolution(log) == abi.Resolution(*place, condition, oracle, question, tuple(numerators))


@given(places, addresses, conditions, amounts, st.booleans())
def test_splits_and_merges_come_out_as_they_went_in(
    at: At, wallet: str, condition: str, amount: int, merge: bool
) -> None:
    split = Split(at, wallet, condition, amount, merge)
    made = abi.activity(logged(sim.POSITIONS[merge], split))
    told = abi.activity(logged(sim.ADAPTER_POSITIONS[merge], split))
    inner = abi.activity(logged(sim.INNER_POSITIONS[merge], split))
    kind = "merge" if merge else "split"
    for each, actor in ((made, wallet), (told, wallet), (inner, abi.ADAPTER.address)):
        assert (each.kind, each.wallet, each.condition, each.amount) == (kind, actor, condition, amount)
        assert not abi.is_foreign(each) and abi.is_inner(each) is (each is inner)


@given(places, addresses, conditions, st.lists(amounts, min_size=1, max_size=4), amounts)
def test_redemptions_come_out_as_they_went_in(
    at: At, wallet: str, condition: str, held: list[int], payout: int
) -> None:
    sets = tuple(1 << n for n in range(len(held)))
    redemption = Redemption(at, wallet, condition, sets, tuple(held), payout)
    made = abi.activity(logged(sim.REDEMPTION, redemption))
    told = abi.activity(logged(sim.ADAPTER_REDEMPTION, redemption))
    for each in (made, told):
        assert (each.kind, each.wallet, each.condition, each.payout) == ("redeem", wallet, condition, payout)
        assert each.index_sets == sets
    assert made.amounts == () and told.amounts == tuple(held)
    assert abi.is_inner(abi.activity(logged(sim.INNER_REDEMPTION, redemption)))


@given(places, addresses, hashes, words, amounts)
def test_conversions_come_out_as_they_went_in(at: At, wallet: str, market: str, questions: int, amount: int) -> None:
    made = abi.activity(logged(sim.CONVERSION, Conversion(at, wallet, market, questions, amount, 7)))
    assert (made.kind, made.wallet, made.market_id, made.condition) == ("convert", wallet, market, None)
    assert made.index_sets == (questions,) and made.amount == amount


# --- spoiled

PLACE, WALLET, V1 = At(5, 6, TX, 0), "0x" + "1" * 40, abi.EXCHANGES_V1[0].address
GOOD = {
    abi.fill: logged(sim.FILLS[V1], Order(PLACE, TX, WALLET, "0x" + "2" * 40, 9, "BUY", 10, 4, 1, V1, 1)),
    abi.transfers: logged(sim.TRANSFERS[True], Transfer(PLACE, WALLET, WALLET, WALLET, (7, 8), (9, 10), True)),
    abi.resolution: logged(sim.RESOLUTION, Resolution(PLACE, "ab" * 32, WALLET, "0x" + "2" * 64, (1, 0))),
    abi.activity: logged(sim.REDEMPTION, Redemption(PLACE, WALLET, "ab" * 32, (1, 2), (3, 4), 5)),
}
DECODERS = pytest.mark.parametrize("decode", GOOD, ids=lambda decode: decode.__name__)


@DECODERS
def test_what_is_to_be_spoiled_is_good(decode: Any) -> None:
    assert decode(GOOD[decode])


@DECODERS
@given(data=st.data())
@settings(max_examples=60)
def test_data_that_is_cut_or_has_strange_offsets_never_decodes_to_something_else(decode: Any, data: Any) -> None:
    good = GOOD[decode]
    length = len(good["data"])
    shorter = good["data"][: data.draw(st.integers(0, length - 1))]
    with pytest.raises(ValueError, match=r".*"):
        decode({**good, "data": shorter})


@DECODERS
@pytest.mark.parametrize(
    "change",
    [
        {"topics": []},
        {"topics": ["0x12"]},
        {"topics": None},
        {"data": "0x"},
        {"data": "zz" + "0" * 64},
        {"data": "0x" + "0" * 62 + "zz"},
        {"transactionHash": None},
        {"transactionHash": "0x12"},
        {"transactionHash": "0x" + "z" * 64},
        {"logIndex": "x"},
        {"blockNumber": "block"},
    ],
    ids=str,
)
def test_a_spoiled_log_is_refused(decode: Any, change: dict[str, Any]) -> None:
    with pytest.raises((ValueError, TypeError, LookupError)):
        decode({**GOOD[decode], **change})


@DECODERS
def test_topics_with_blanks_or_without_their_zeros_are_refused(decode: Any) -> None:
    good = GOOD[decode]
    for place in range(1, 4):
        word = good["topics"][place]
        for wrong in (f"{word[:-2]}  ", f"{word}00", word[:-2]):
            topics = [*good["topics"]]
            topics[place] = wrong
            with pytest.raises(ValueError, match=r".+"):
                decode({**good, "topics": topics})
    topics = [*good["topics"]]
    wallet = 2 if decode in (abi.fill, abi.resolution) else 1
    topics[wallet] = "0x01" + topics[wallet][4:]
    with pytest.raises(ValueError, match="address"):
        decode({**good, "topics": topics})


def word_of(log: dict[str, Any], word: int, value: int) -> dict[str, Any]:
    data = log["data"]
    return {**log, "data": f"{data[: 2 + 64 * word]}{value:064x}{data[2 + 64 * (word + 1) :]}"}


@pytest.mark.parametrize(
    ("decode", "word", "value", "reason"),
    [
        (abi.fill, 0, 3, "neither asset"),
        (abi.fill, 1, 0, "token id 0"),
        (abi.fill, 2, 2**64, "too large"),
        (abi.fill, 3, 2**64, "too large"),
        (abi.fill, 4, 2**64, "too large"),
        (abi.transfers, 0, 65, "outside"),
        (abi.transfers, 0, 2**255, "outside"),
        (abi.transfers, 2, 100, "cut off"),
        (abi.transfers, 2, 1, "1 ids with 2 values"),
        (abi.resolution, 0, 3, "2 numerators for 3"),
        (abi.resolution, 3, 2**64, "too large"),
        (abi.resolution, 3, 0, "nothing"),
        (abi.activity, 2, 2**64, "payout is too large"),
        (abi.activity, 1, 10**9, "outside"),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_the_reason(decode: Any, word: int, value: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        decode(word_of(GOOD[decode], word, value))


def test_the_side_of_the_second_layout_is_0_or_1() -> None:
    exchange = abi.EXCHANGES_V2[0].address
    order = Order(At(5, 6, TX, 0), TX, "0x" + "1" * 40, "0x" + "2" * 40, 9, "BUY", 10, 4, 1, exchange, 2)
    log = logged(sim.FILLS[exchange], order)
    with pytest.raises(ValueError, match="side 2"):
        abi.fill(word_of(log, 0, 2))
    with pytest.raises(ValueError, match="160 bytes of data instead of 224"):
        abi.fill({**log, "data": log["data"][: 2 + 320]})


def test_another_project_s_collateral_is_foreign_and_may_have_any_amount() -> None:
    split = Split(At(5, 6, TX, 0), "0x" + "1" * 40, "ab" * 32, 5, False)
    log = word_of(word_of(logged(sim.POSITIONS[False], split), 0, 77), 2, 10**30)
    assert abi.is_foreign(abi.activity(log)) and not abi.is_inner(abi.activity(log))


def test_upper_case_comes_out_in_lower_case() -> None:
    for decode, log in GOOD.items():
        loud = {**log, "address": log["address"].upper().replace("0X", "0x")}
        loud["transactionHash"] = "0x" + log["transactionHash"][2:].upper()
        loud["topics"] = [log["topics"][0], *("0x" + topic[2:].upper() for topic in log["topics"][1:])]
        assert decode(loud) == decode(log)
