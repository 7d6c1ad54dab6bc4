"""The lane of Goldsky's fills: what is asked, how pages become rows, and that paging loses and doubles nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.engine.model import Page, Request, Unit
from backfill.errors import Unreadable, UpstreamUnusable
from backfill.simulator.faults import Faults
from backfill.simulator.goldsky import Goldsky
from backfill.simulator.world import World
from backfill.stages import shapes
from backfill.tracks import goldsky_fills, rows
from backfill.tracks.catalog import track
from backfill.tracks.goldsky_fills import COLUMNS, GoldskyFills, place
from backfill.tracks.track import Headed, Measured

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "samples" / "goldsky"
START, END = 1_700_000_000, 1_700_003_600
TOKENS = ("11", "12", str(2**256 - 1))
UNIT = Unit(7, tuple(f"{token}@{START}-{END}" for token in TOKENS))
LANE = GoldskyFills("orderbook/1")
Row = dict[str, Any]
MOST_PAGES = 500
"""Of one unit in these tests: a lane that does not get on is to fail, not to hang."""


def fill(number: int, *, at: int = START, token: str = "11", buys: bool = True, **more: object) -> Row:
    tx, order = f"0x{number:064x}", f"0x{number * 7 + 1:064x}"
    return {
        "id": f"{tx}_{order}",
        "timestamp": str(at),
        "maker": f"0x{'ab' * 20}",
        "taker": f"0x{'cd' * 20}",
        "makerAssetId": "0" if buys else token,
        "takerAssetId": token if buys else "0",
        "makerAmountFilled": "210" if buys else "10000",
        "takerAmountFilled": "10000" if buys else "210",
        "fee": "0",
        **more,
    }


class GraphNode:
    """Answers as graph-node does: filters, orders by id, gives the first N, under the names that were asked."""

    LIST = re.compile(
        r"(\w+):orderFilledEvents\(first:\$n,orderBy:id,orderDirection:asc,where:\{([^}]*)\}\)\{([^}]*)\}"
    )

    def __init__(self, fills: Sequence[Row], most: int = 1000) -> None:
        self.fills, self.most, self.requests = sorted(fills, key=lambda row: str(row["id"])), most, 0

    def answer(self, request: Request) -> bytes:
        self.requests += 1
        assert request.body is not None
        document = orjson.loads(request.body)
        variables = {f"${name}": value for name, value in document["variables"].items()}
        assert all(f"{name}:" in document["query"] for name in variables), "every variable is declared"
        lists = self.LIST.findall(document["query"])
        assert lists
        return orjson.dumps({"data": {name: self._list(where, names, variables) for name, where, names in lists}})

    def _list(self, where: str, names: str, variables: dict[str, Any]) -> list[Row]:
        tests = {part.split(":")[0]: variables[part.split(":")[1]] for part in where.split(",")}
        assert 1 <= variables["$n"] <= 1000
        found = [row for row in self.fills if self._passes(row, tests)]
        return [{name: row[name] for name in names.split()} for row in found[: min(self.most, variables["$n"])]]

    def _passes(self, row: Row, tests: dict[str, Any]) -> bool:
        checks: dict[str, Callable[[Any], bool]] = {
            "makerAssetId_in": lambda ids: row["makerAssetId"] in ids,
            "takerAssetId_in": lambda ids: row["takerAssetId"] in ids,
            "timestamp_gte": lambda at: int(row["timestamp"]) >= int(at),
            "timestamp_lt": lambda at: int(row["timestamp"]) < int(at),
            "timestamp_gt": lambda at: int(row["timestamp"]) > int(at),
            "id_gt": lambda last: row["id"] > last,
        }
        return all(checks[name](value) for name, value in tests.items())


def read(lane: GoldskyFills, node: GraphNode, unit: Unit = UNIT, cursor: str | None = None) -> list[Page]:
    """All pages of a unit, as the pipeline reads them."""
    pages = []
    while True:
        page = lane.parse(unit, cursor, node.answer(lane.request(unit, cursor)))
        pages.append(page)
        if page.next is None:
            return pages
        assert page.next != cursor and len(pages) < MOST_PAGES
        cursor = page.next


def lines(pages: Sequence[Page]) -> list[Row]:
    return [row_of(line) for page in pages for line in page.lines]


def row_of(line: bytes) -> Row:
    """A line by its columns; whole numbers as such."""
    found = dict(zip(COLUMNS, line.decode().split("\t"), strict=True))
    whole = ("shares_micro", "usdc_micro", "fee_micro", "timestamp", "exchange_version", "unit")
    return {name: int(value) if name in whole else value for name, value in found.items()}


def body_of(given: Sequence[object] = (), taken: Sequence[object] = (), cursor: str | None = None) -> bytes:
    """An answer to the question that UNIT asks at a cursor."""
    tag = rows.tag(UNIT, cursor)
    both = {f"m_{tag:08x}": given, f"t_{tag:08x}": taken}
    return orjson.dumps({"data": {name: found for name, found in both.items() if name[0] in place(cursor).open}})


def test_both_sides_of_all_tokens_are_asked_in_one_body() -> None:
    request = LANE.request(UNIT, None)
    assert (request.method, request.path, request.asked) == ("POST", "/orderbook/1/gn", 3)
    assert request.body is not None
    document = orjson.loads(request.body)
    assert document["variables"] == {"ids": list(TOKENS), "a": str(START), "b": str(END), "n": 1000}
    query = document["query"]
    assert (
        query.count("orderFilledEvents(") == 2 and "makerAssetId_in:$ids" in query and "takerAssetId_in:$ids" in query
    )
    assert query.count("orderBy:id,orderDirection:asc") == 2 and "or:" not in query and "id_gt" not in query
    assert query.count("timestamp_gte:$a,timestamp_lt:$b") == 2


def test_a_side_that_is_through_is_left_out() -> None:
    request = LANE.request(UNIT, "m=-;t=0xab;n=500")
    assert request.body is not None
    document = orjson.loads(request.body)
    assert (
        document["variables"]["n"] == 500 and document["variables"]["t"] == "0xab" and "m" not in document["variables"]
    )
    assert "makerAssetId_in" not in document["query"] and "id_gt:$t" in document["query"]


def test_fills_become_rows_of_the_table() -> None:
    node = GraphNode([
        fill(1, token="12", fee="5"),
        fill(2, buys=False, fee="3", makerAmountFilled="3000000", takerAmountFilled="1000001"),
        fill(3, makerAmountFilled="7000000", takerAmountFilled="3000000"),
    ])  # fmt: skip
    (page,) = read(LANE, node)
    assert (page.asked, page.letters, page.next) == (3, (), None)
    sold, bought, dear = lines([page])
    first, second, third = fill(1), fill(2), fill(3)
    common = {"maker": f"0x{'ab' * 20}", "taker": f"0x{'cd' * 20}", "timestamp": START, "exchange_version": 1}
    common |= {"source": "goldsky", "track": "goldsky_fills", "unit": 7}
    assert sold == {
        "fill_id": second["id"], "token_id": "11", "side": "SELL", "shares_micro": 3_000_000,
        "usdc_micro": 1_000_001, "fee_micro": 3, "fee_asset": "usdc", "price": "0.333333666",
        "tx_hash": second["id"][:66], "order_hash": second["id"][67:], **common,
    }  # fmt: skip
    assert bought == {
        "fill_id": first["id"], "token_id": "12", "side": "BUY", "shares_micro": 10_000,
        "usdc_micro": 210, "fee_micro": 5, "fee_asset": "shares", "price": "0.021000000",
        "tx_hash": first["id"][:66], "order_hash": first["id"][67:], **common,
    }  # fmt: skip
    assert (dear["fill_id"], dear["fee_asset"], dear["fee_micro"]) == (third["id"], "none", 0)
    assert dear["price"] == "2.333333333"


def odd(row: Row) -> Row:
    """A row that only the careful way reads, though it says the same: one address in capitals."""
    return row | {"maker": "0x" + row["maker"][2:].upper()}


AMOUNTS = st.integers(1, 2**40) | st.sampled_from([1, 10**6, 2**63, 2**64 - 1])


@st.composite
def fills(draw: st.DrawFn, most: int = 60) -> list[Row]:
    found = []
    seconds = st.sampled_from([START, START + 1, END - 1]) | st.integers(START, END - 1)
    for number in draw(st.lists(st.integers(0, 2**200), unique=True, max_size=most)):
        shares = draw(AMOUNTS)
        amounts = [str(draw(st.integers(0, min(2**64 - 1, shares * 2)))), str(shares)]
        buys = draw(st.booleans())
        given, taken = amounts if buys else amounts[::-1]
        found.append(
            fill(
                number, at=draw(seconds), token=draw(st.sampled_from(TOKENS)), buys=buys,
                makerAmountFilled=given, takerAmountFilled=taken, fee=str(draw(st.sampled_from([0, 0, 1, 2**64 - 1]))),
            )
        )  # fmt: skip
    return found


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(fills())
def test_the_fast_way_the_careful_way_and_the_import_read_the_same(found: list[Row]) -> None:
    fast = {row["fill_id"]: row for row in lines(read(LANE, GraphNode(found)))}
    slow = {row["fill_id"]: row for row in lines(read(LANE, GraphNode([odd(row) for row in found])))}
    assert fast == slow and len(fast) == len(found)
    for row in found:
        dump = row | {"transactionHash": row["id"][:66], "orderHash": row["id"][67:]}
        shape = shapes.recognise(dump.keys(), shapes.FILLS, where="test")
        (imported,) = shape.convert(dump)
        ours = fast[imported.fill_id]
        theirs = imported._asdict() | {"token_id": str(imported.token_id)}
        assert all(theirs[name] == ours[name] for name in ours if name not in ("source", "track", "unit"))


def test_the_property_above_takes_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[object] = []
    careful = goldsky_fills._careful

    def noted(*asked: Any) -> list[bytes]:
        taken.append(asked)
        return careful(*asked)

    monkeypatch.setattr(goldsky_fills, "_careful", noted)
    read(LANE, GraphNode([fill(1, fee="9"), fill(2, buys=False)]))
    assert not taken
    read(LANE, GraphNode([odd(fill(1)), fill(2, buys=False)]))
    assert len(taken) == 1


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(fills(80), st.integers(1, 30))
def test_paging_gives_every_fill_once_whatever_the_page_size(found: list[Row], size: int) -> None:
    outside = [fill(10**70, at=END), fill(10**70 + 1, at=START - 1), fill(10**70 + 2, token="99")]
    pages = read(LANE, GraphNode(found + outside), cursor=f"m=;t=;n={size}")
    assert Counter(row["fill_id"] for row in lines(pages)) == Counter(row["id"] for row in found)
    assert not any(page.letters for page in pages)
    assert [page.asked for page in pages] == [0] * (len(pages) - 1) + [3]


def burst() -> list[Row]:
    """3,000 fills in one second, some before and some after."""
    middle = [fill(number * 7919 % 3001, at=START + 60, buys=number % 3 > 0) for number in range(1, 3001)]
    return [
        *middle,
        *(fill(5000 + n, at=START + n) for n in range(50)),
        *(fill(9000 + n, at=END - 1) for n in range(9)),
    ]


def test_a_burst_of_more_than_a_page_in_one_second_comes_whole() -> None:
    found, node = burst(), GraphNode(burst())
    pages = read(LANE, node)
    assert Counter(row["fill_id"] for row in lines(pages)) == Counter(row["id"] for row in found)
    assert node.requests == 3  # 2,059 bought, 1,000 sold: both lists share their requests


class ByTimeAlone(GoldskyFills):
    """The twin that must fail: it goes on from the second of the last row, as the first peers did."""

    def __init__(self, found: Sequence[Row]) -> None:
        super().__init__("orderbook/1")
        self.times = {row["id"]: row["timestamp"] for row in found}

    def request(self, unit: Unit, cursor: str | None) -> Request:
        request = super().request(unit, cursor)
        assert request.body is not None
        document = orjson.loads(request.body)
        document["query"] = document["query"].replace("id_gt:", "timestamp_gt:")
        for side, last in place(cursor).open.items():
            if last:
                document["variables"][side] = self.times[last]
        return Request(request.method, request.path, body=orjson.dumps(document))


def test_its_twin_that_pages_by_time_alone_loses_rows() -> None:
    found = [fill(number, at=START + number // 100) for number in range(3000)]
    unit = Unit(7, (f"11@{START}-{END}",))
    size = "m=;t=;n=250"
    assert len(lines(read(LANE, GraphNode(found), unit, size))) == 3000
    assert len(lines(read(ByTimeAlone(found), GraphNode(found), unit, size))) < 3000


BROKEN: list[tuple[object, str]] = [
    ("text", "row: expected an object, saw 'text' (text)"),
    (None, "row: expected an object, saw null"),
    (fill(5, id="0x12"), "field id: expected <transaction hash>_<order hash>, saw '0x12' (text)"),
    (fill(5, id=f"0x{5:063x}_0x{36:065x}"), "field id: expected <transaction hash>_<order hash>"),
    (fill(5, id=f"00x{5:063x}_0x{36:064x}"), "field id: expected <transaction hash>_<order hash>"),
    (fill(5, maker=f"00x{5:039x}"), "field maker: expected 0x and 40 hex digits"),
    (fill(5, taker=f"{5:041x}x"), "field taker: expected 0x and 40 hex digits"),
    (fill(5, timestamp=START), f"field timestamp: expected unix seconds in decimal digits, saw {START} (number)"),
    (fill(5, timestamp=None), "field timestamp: expected unix seconds in decimal digits, saw null"),
    (fill(5, maker="0xabc"), "field maker: expected 0x and 40 hex digits, saw '0xabc' (text)"),
    (fill(5, taker={"id": "0x"}), "field taker: expected 0x and 40 hex digits, saw {'id': '0x'} (object)"),
    (fill(5, makerAssetId="x"), "field makerAssetId: expected a token id in decimal digits, or \"0\", saw 'x' (text)"),
    (fill(5, takerAssetId=""), "field takerAssetId: expected a token id in decimal digits, or \"0\", saw '' (text)"),
    (fill(5, makerAmountFilled="1.5"), "field makerAmountFilled: expected micro-units in decimal digits"),
    (fill(5, takerAmountFilled=str(2**64)), "field takerAmountFilled: expected micro-units in decimal digits"),
    (fill(5, fee="-1"), "field fee: expected micro-units in decimal digits, saw '-1' (text)"),
    (fill(5, fee="7 "), "field fee: expected micro-units in decimal digits, saw '7 ' (text)"),
    (fill(5, fee="٧"), "field fee: expected micro-units in decimal digits, saw '٧' (text)"),
    ({name: value for name, value in fill(5).items() if name != "fee"}, "field fee: expected micro-units in decimal"),
    (fill(5, takerAmountFilled="0"), "no shares changed hands"),
    (fill(5, makerAmountFilled=str(2**63), takerAmountFilled="1"), "the price does not fit"),
]  # fmt: skip


@pytest.mark.parametrize(("broken", "reason"), BROKEN, ids=lambda value: str(value)[:30])
def test_a_change_of_the_contract_is_named_and_the_rest_goes_in(broken: object, reason: str) -> None:
    page = LANE.parse(UNIT, None, body_of(taken=[fill(1), broken, fill(9)]))
    assert [row["fill_id"] for row in lines([page])] == [fill(1)["id"], fill(9)["id"]]
    (letter,) = page.letters
    assert (letter.cls, letter.track, letter.unit) == ("contract", "goldsky_fills", 7)
    assert letter.reason.startswith(reason) and orjson.loads(letter.raw) == broken


@pytest.mark.parametrize(
    "foreign",
    [
        fill(5, at=END),
        fill(5, at=START - 1),
        fill(5, token="99"),
        fill(5, buys=False),
        fill(5, makerAssetId="12"),
        fill(1),
        fill(0),
    ],
    ids=["late", "early", "other token", "other side", "two tokens", "again", "out of order"],
)
def test_a_row_that_was_not_asked_for_is_a_letter(foreign: Row) -> None:
    page = LANE.parse(UNIT, None, body_of(taken=[fill(1), foreign, fill(9)]))
    assert len(page.lines) == 2 and [letter.reason for letter in page.letters] == ["was not asked for"]


def test_a_row_before_the_cursor_is_a_letter() -> None:
    cursor = f"m=-;t={fill(4)['id']};n=1000"
    page = LANE.parse(UNIT, cursor, body_of(taken=[fill(4), fill(5), fill(6)], cursor=cursor))
    assert len(page.lines) == 2 and len(page.letters) == 1


@pytest.mark.parametrize(
    "body",
    [
        body_of([fill(1, token="98", buys=False)], [fill(5), fill(6, token="99"), fill(7, token="99")]),
        orjson.dumps({"data": {"m_00000000": [], "t_00000000": []}}),
        orjson.dumps({"data": {"positions": []}}),
        LANE.request(UNIT, None).body,
    ],
    ids=["mostly foreign", "another question, empty", "another list", "no data"],
)
def test_an_answer_to_another_question_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        LANE.parse(UNIT, None, body)


def test_another_units_empty_answer_is_not_taken_for_ones_own() -> None:
    other = Unit(8, UNIT.items)
    empty = GraphNode([]).answer(LANE.request(other, None))
    assert LANE.parse(other, None, empty).next is None
    with pytest.raises(Unreadable, match="another question"):
        LANE.parse(UNIT, None, empty)
    with pytest.raises(Unreadable, match="another question"):
        LANE.parse(UNIT, "m=;t=;n=500", GraphNode([]).answer(LANE.request(UNIT, None)))


def test_more_rows_than_were_asked_for_are_unreadable() -> None:
    cursor = "m=;t=;n=2"
    with pytest.raises(Unreadable, match="3 rows where 2"):
        LANE.parse(UNIT, cursor, body_of(taken=[fill(1), fill(2), fill(3)], cursor=cursor))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"<html>", b'{"data":null}', b'{"data":[]}', b'{"x":1}'])
def test_an_answer_that_is_no_answer_is_unreadable_with_its_bytes(body: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        LANE.parse(UNIT, None, body)
    assert caught.value.raw == body


def test_a_full_page_of_broken_rows_is_passed_over() -> None:
    cursor = "m=-;t=;n=2"
    page = LANE.parse(UNIT, cursor, body_of(taken=[fill(1, fee=None), fill(2, fee=None)], cursor=cursor))
    assert not page.lines and len(page.letters) == 2
    assert page.next == f"m=-;t={fill(2)['id']};n=2"


def test_a_text_that_is_no_id_does_not_end_the_list() -> None:
    cursor = "m=-;t=;n=2"
    page = LANE.parse(UNIT, cursor, body_of(taken=[fill(1), fill(2, id="zz")], cursor=cursor))
    assert page.next == f"m=-;t={fill(1)['id']};n=2"


def test_a_full_page_without_an_id_cannot_be_gone_on_from() -> None:
    cursor = "m=-;t=;n=1"
    with pytest.raises(Unreadable, match="without one id"):
        LANE.parse(UNIT, cursor, body_of(taken=[None], cursor=cursor))


def test_less_is_asked_for_by_halves_down_to_one_row() -> None:
    cursor, sizes = None, []
    while (cursor := LANE.smaller(UNIT, cursor)) is not None:
        sizes.append(place(cursor).first)
    assert sizes == [500, 250, 125, 62, 31, 15, 7, 3, 1]
    assert LANE.smaller(UNIT, "m=0x1;t=-;n=8") == "m=0x1;t=-;n=4"


@given(st.none() | st.text("0x1_ab"), st.none() | st.text("0x1_ab"), st.integers(1, 1000))
def test_a_cursor_is_read_as_it_was_written(given_: str | None, taken: str | None, first: int) -> None:
    where = goldsky_fills.Place(given_, taken, first)
    assert place(where.text()) == where


@pytest.mark.parametrize("items", [("11",), (f"11@{START}-{END}", f"12@{START}-{END + 1}")])
def test_a_unit_has_one_window(items: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="window"):
        LANE.request(Unit(1, items), None)


def head(timestamp: object = "1777374040", errors: object = False) -> bytes:
    return orjson.dumps({"data": {"newest": [{"timestamp": timestamp}], "_meta": {"hasIndexingErrors": errors}}})


def test_the_head_is_the_second_after_the_newest_fill() -> None:
    assert isinstance(LANE, Headed)
    request = LANE.head()
    assert request.body is not None and b"orderDirection:desc" in request.body and b"hasIndexingErrors" in request.body
    assert LANE.read_head(head()) == 1_777_374_041


@pytest.mark.parametrize("errors", [True, None, "no"])
def test_indexing_errors_are_unusable(errors: object) -> None:
    with pytest.raises(UpstreamUnusable) as caught:
        LANE.read_head(head(errors=errors))
    assert caught.value.kind == "stale"


@pytest.mark.parametrize(
    "body",
    [head(None), head(5), b'{"data":{"newest":[],"_meta":{"hasIndexingErrors":false}}}', b'{"data":{"newest":[{}]}}'],
)
def test_a_head_that_says_nothing_is_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        LANE.read_head(body)


def measured(keys: Sequence[str], *entries: object) -> bytes:
    body = LANE.measure(keys).body
    assert body is not None
    name = re.search(r"\{(\w+):orderbooks\(first:1000,", orjson.loads(body)["query"])
    assert name is not None and orjson.loads(body)["variables"] == {"ids": list(keys)}
    return orjson.dumps({"data": {name[1]: entries}})


def test_fills_are_counted_before_they_are_asked_for() -> None:
    assert isinstance(LANE, Measured) and LANE.measure_batch == 1000
    body = measured(TOKENS, {"id": "12", "tradesQuantity": "17"})
    assert LANE.read_measure(TOKENS, body) == {"11": 0, "12": 17, TOKENS[2]: 0}


def test_counts_of_other_tokens_are_not_taken() -> None:
    with pytest.raises(Unreadable, match="another question"):
        LANE.read_measure(TOKENS, measured(("11",)))
    with pytest.raises(Unreadable, match="not asked for"):
        LANE.read_measure(TOKENS, measured(TOKENS, {"id": "99", "tradesQuantity": "1"}))
    with pytest.raises(Unreadable, match="field tradesQuantity"):
        LANE.read_measure(TOKENS, measured(TOKENS, {"id": "11", "tradesQuantity": 1}))


def sample(name: str) -> Any:
    path = SAMPLES / name
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST A RECORDED ANSWER: {path} is not here")
    return orjson.loads(path.read_bytes())


def test_recorded_amounts_give_the_published_prices() -> None:
    found = []
    for number, row in enumerate(sample("orderfilled_amount_rows_partial.json"), 1):
        told = {key: "11" if "..." in value else value for key, value in row.items()}
        found.append(fill(number) | told)
    by_id = {row["fill_id"]: row for row in lines(read(LANE, GraphNode(found)))}
    assert [by_id[row["id"]]["price"] for row in found] == ["0.021000000", "0.020000000", "0.060855421"]
    assert [by_id[row["id"]]["side"] for row in found] == ["BUY", "BUY", "SELL"]


def test_recorded_ids_are_taken_apart() -> None:
    recorded = sample("orderfilled_and_matched_ids_2025-01.json")["data"]["orderFilledEvents"]
    found = [fill(0) | {"id": row["id"], "timestamp": row["timestamp"]} for row in recorded]
    unit = Unit(7, tuple(f"{token}@1700000000-1800000000" for token in TOKENS))
    by_id = {row["fill_id"]: row for row in lines(read(LANE, GraphNode(found), unit))}
    assert len(by_id) == len(recorded) > 5
    for row in recorded:
        assert by_id[row["id"]]["tx_hash"] == row["transactionHash"]
        assert by_id[row["id"]]["order_hash"] == row["id"].split("_")[1]


def test_the_recorded_head_is_the_end_of_the_first_exchange() -> None:
    newest = sample("orderbook_last_fill_2026-08-01.json")["data"]["orderFilledEvents"]
    body = orjson.dumps({"data": {"newest": newest, "_meta": {"hasIndexingErrors": False}}})
    assert LANE.read_head(body) == 1_777_374_041


def test_the_simulators_fills_come_whole() -> None:
    world = World.generate(seed=11, traded=300, mapped=100)
    upstream = Goldsky(world, Faults(world))
    lane = GoldskyFills("orderbook-subgraph/0.0.1")
    tokens = sorted({str(token) for token in world.traded})
    unit = Unit(1, tuple(f"{token}@1600000000-1900000000" for token in tokens))
    cursor: str | None = "m=;t=;n=100"
    pages = []
    while cursor is not None:
        body = lane.request(unit, cursor).body
        assert body is not None
        pages.append(lane.parse(unit, cursor, upstream.query("orderbook-subgraph/0.0.1", body).body))
        cursor = pages[-1].next
    assert not any(page.letters for page in pages)
    assert Counter(row["fill_id"] for row in lines(pages)) == Counter(fill.id for fill in world.fills)
    newest = lane.head().body
    assert newest is not None
    head = lane.read_head(upstream.query("orderbook-subgraph/0.0.1", newest).body)
    assert head == max(fill.timestamp for fill in world.fills) + 1


def test_the_track_is_in_the_catalogue() -> None:
    entry = track("goldsky_fills")
    assert (entry.dataset, entry.upstream, entry.scope) == ("fills", "goldsky", "tokens")
    assert entry.make(Config()).request(UNIT, None).path == "/orderbook-subgraph/0.0.1/gn"
