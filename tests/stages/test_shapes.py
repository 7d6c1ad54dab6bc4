"""Values, shapes and readers of dump files, without a warehouse."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.errors import UsageError
from backfill.stages import dumps, fields, shapes

TOKEN = 80085489243215790077454313513728486445319747473476157602131800551595373270758
TX, ORDER = "0x" + "ab" * 32, "0x" + "cd" * 32
MAKER, TAKER = "0x" + "1" * 40, "0x" + "2" * 40


def event(**changes: Any) -> dict[str, Any]:
    """A recorded price: 26,600 micro-dollars for 1,330,000 micro-shares, bought."""
    return {
        "id": f"{TX}_{ORDER}",
        "transactionHash": TX,
        "orderHash": ORDER,
        "timestamp": "1761680413",
        "maker": MAKER,
        "taker": TAKER,
        "makerAssetId": "0",
        "takerAssetId": str(TOKEN),
        "makerAmountFilled": "26600",
        "takerAmountFilled": "1330000",
        "fee": "0",
    } | changes


def fill(row: dict[str, Any]) -> shapes.Fill:
    [found] = shapes.recognise(row, shapes.FILLS, where="test").convert(row)
    return found


def test_a_buy_as_the_subgraph_has_it() -> None:
    found = fill(event(fee="1330"))
    assert (found.fill_id, found.token_id, found.side) == (f"{TX}_{ORDER}", TOKEN, "BUY")
    assert (found.shares_micro, found.usdc_micro, found.price) == (1_330_000, 26_600, "0.020000000")
    assert (found.fee_micro, found.fee_asset, found.exchange_version) == (1330, "shares", 1)
    assert (found.maker, found.taker, found.order_hash) == (MAKER, TAKER, ORDER)


def test_a_sale_pays_its_fee_in_dollars() -> None:
    sold = event(
        makerAssetId=str(TOKEN), takerAssetId="0", makerAmountFilled="8300000", takerAmountFilled="505100", fee="7"
    )
    found = fill(sold)
    assert (found.side, found.shares_micro, found.usdc_micro, found.fee_asset) == ("SELL", 8_300_000, 505_100, "usdc")
    assert found.price == "0.060855421"


def test_no_fee_has_no_asset() -> None:
    assert fill(event()).fee_asset == "none"


def test_a_further_fill_of_an_order_keeps_its_log_index() -> None:
    found = fill(event(id=f"{TX}_{ORDER}_17"))
    assert (found.fill_id, found.log_index) == (f"{TX}_{ORDER}_17", 17)


def test_hashes_and_addresses_are_lowered() -> None:
    upper = event(transactionHash=TX.upper().replace("X", "x"), maker=MAKER[:-1] + "F", id=None)
    assert fill(upper).tx_hash == TX
    assert fill(upper).maker == MAKER[:-1] + "f"


REFUSED = {
    "no collateral": event(makerAssetId="7"),
    "only collateral": event(takerAssetId="0"),
    "no shares": event(takerAmountFilled="0"),
    "negative": event(makerAmountFilled="-5"),
    "float id": event(takerAssetId=8.0085e76),
    "float text": event(takerAssetId="8.0085489243215790e+76"),
    "id too large": event(takerAssetId=str(1 << 256)),
    "short hash": event(transactionHash=TX[:-2], id=None),
    "short address": event(maker=MAKER[:-1]),
    "foreign id": event(id=f"{ORDER}_{TX}"),
    "before the exchange": event(timestamp="1500000000"),
    "milliseconds": event(timestamp="1761680413000"),
    "no time": event(timestamp=""),
    "amount of 65 bits": event(makerAmountFilled=str(1 << 64)),
    "empty fee": event(fee=""),
}


@pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED.keys())
def test_rows_that_are_refused(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        fill(row)


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "proxyWallet": MAKER,
        "side": "BUY",
        "asset": str(TOKEN),
        "conditionId": "0x" + "12" * 32,
        "size": Decimal("9478.45"),
        "price": Decimal("0.8919363820033867"),
        "timestamp": 1761680413,
        "outcomeIndex": 1,
        "outcome": "No",
        "slug": "a-market",
        "transactionHash": TX,
    } | changes


def test_a_trade_gives_back_the_money_to_the_micro_unit() -> None:
    found = fill(trade())
    assert (found.shares_micro, found.usdc_micro) == (9_478_450_000, 8_454_174_400)
    assert (found.taker, found.order_hash, found.fee_micro, found.fee_asset) == (None, None, None, None)


def test_both_versions_of_the_data_api_agree() -> None:
    old = trade()
    new = {
        "proxy_wallet": MAKER,
        "side": "BUY",
        "token_id": str(TOKEN),
        "condition_id": old["conditionId"],
        "size": "9478.45",
        "price": 0.8919363820033867,
        "timestamp": "2025-10-28T19:40:13Z",
        "transaction_hash": TX,
    }
    assert fill(old) == fill(new)


def test_only_trades_are_fills() -> None:
    assert fill(trade(type="TRADE")) == fill(trade())
    with pytest.raises(ValueError, match="REDEEM"):
        fill(trade(type="REDEEM"))


def test_the_id_without_order_hash_is_documented() -> None:
    """A change here would let everything that was imported in again."""
    assert fill(trade()).fill_id == f"{TX}_k6270d9571d167fb63ff9e6ef941259a9"
    assert fill(trade()).needs_ordinal


def test_our_own_export_comes_back_as_it_was() -> None:
    first = fill(event(fee="5", id=f"{TX}_{ORDER}_3"))
    exported = first._asdict() | {"token_id": str(first.token_id), "source": "goldsky_fills"}
    assert fill(exported) == first._replace(source="goldsky_fills")
    unknown = fill(trade())
    assert fill(unknown._asdict()) == unknown._replace(needs_ordinal=False)


def test_unknown_columns_are_named_beside_the_known_shapes() -> None:
    with pytest.raises(UsageError, match=r"colour, taste.*Goldsky.*makerAssetId"):
        shapes.recognise(["taste", "colour"], shapes.FILLS, where="x.csv")


def mapped(row: dict[str, Any]) -> list[shapes.Mapped]:
    return list(shapes.recognise(row, shapes.MAPPINGS, where="test").convert(row))


CONDITION = "12" * 32


@pytest.mark.parametrize(
    "row",
    [
        {"token_id": str(TOKEN), "condition_id": "0x" + CONDITION, "outcome_index": "1", "outcome": "No"},
        {"token_id": TOKEN, "condition": CONDITION.upper(), "outcome_index": 1, "outcome": "No"},
        {"id": str(TOKEN), "condition": "0x" + CONDITION, "outcomeIndex": "1", "outcome": "No"},
        {"token_id": str(TOKEN), "condition_id_norm": CONDITION, "outcome_index": 1.0, "outcome": " No "},
        trade(),
    ],
)
def test_every_way_to_say_a_mapping(row: dict[str, Any]) -> None:
    [found] = mapped(row)
    assert found[:4] == (TOKEN, CONDITION, 1, "No")


def test_a_market_is_one_mapping_for_each_token() -> None:
    market = {
        "conditionId": "0x" + CONDITION,
        "slug": "s",
        "clobTokenIds": f'["{TOKEN}", "5"]',
        "outcomes": '["Yes", "No"]',
    }
    assert [row[:5] for row in mapped(market)] == [
        (TOKEN, CONDITION, 0, "Yes", "s"),
        (5, CONDITION, 1, "No", "s"),
    ]
    assert mapped(market | {"clobTokenIds": None}) == []
    with pytest.raises(ValueError, match="1 tokens for 2 outcomes"):
        mapped(market | {"clobTokenIds": [str(TOKEN)]})


def test_an_index_that_is_not_known_is_not_invented() -> None:
    with pytest.raises(ValueError, match="not known"):
        mapped(trade(outcomeIndex=999))


@given(st.integers(1, (1 << 64) - 1), st.integers(0, (1 << 64) - 1))
def test_the_price_is_cut_off_never_rounded(shares: int, usdc: int) -> None:
    if usdc * 10**9 // shares >= 10**18:
        with pytest.raises(ValueError, match="does not fit"):
            shapes.price_of(usdc, shares)
        return
    price = Decimal(shapes.price_of(usdc, shares))
    exact = usdc * 10**9
    assert int(price * 10**9) * shares <= exact < (int(price * 10**9) + 1) * shares


@given(st.integers(1, (1 << 256) - 1))
def test_ids_keep_every_digit(token: int) -> None:
    assert fields.token(token) == fields.token(str(token)) == token
    assert dumps.exact_json(f'{{"a": {token}}}'.encode()) == {"a": token}


@given(st.integers(0, 10**15))
def test_amounts_survive_the_float_that_a_source_printed(amount: int) -> None:
    """Up to a billion shares: beyond 2^53 a float has no place for the last digits."""
    assert fields.micro(amount / 10**6, "size") == amount
    assert fields.micro(f"{amount / 10**6:.6f}", "size") == amount


# --- readers


def read_all(path: Path) -> list[dumps.Record]:
    return list(dumps.read(path))


def test_an_object_alone_is_a_page_or_a_row(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    many = {f"column{number}": number for number in range(7)}
    page = {"limit": 1, "offset": 0, "total": 1, "next": "x"}
    for document, rows in (
        ({**page, "items": [{"a": 1}]}, [{"a": 1}]),
        ({**page, **many, "trades": [{"a": 1}]}, [{"a": 1}]),
        ({**many, "events": [{"a": 1}], "rewards": []}, [{**many, "events": [{"a": 1}], "rewards": []}]),
        (many, [many]),
    ):
        path.write_text(json.dumps(document))
        assert [record.values for record in read_all(path)] == rows
    for nothing in ({"a": 1}, [[1, 2], "x"], 5, {"items": [1]}):
        path.write_text(json.dumps(nothing))
        with pytest.raises(dumps.NotOurs):
            read_all(path)
    path.write_text(json.dumps([1, {"a": 1}]))
    assert [bool(record.problem) for record in read_all(path)] == [True, False]


def test_a_torn_gzip_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "torn.jsonl.gz"
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % number for number in range(20_000)))
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UsageError, match="cannot be read to its end"):
        read_all(path)
    path.write_bytes(whole[:-4])
    with pytest.raises(UsageError, match="cannot be read to its end"):
        read_all(path)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(UsageError, match="cannot be read to its end"):
        read_all(path)


def test_torn_text_and_parquet_are_errors(tmp_path: Path) -> None:
    files = {"a.csv": b'x,y\n1,"two', "b.parquet": b"PAR1 and nothing", "c.json": b'[{"a": 1},'}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match="fetch the file again"):
            read_all(tmp_path / name)


def test_lines_that_are_no_objects_are_kept_with_their_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n\n[1]\n{"a": NaN}\n{"a": 1\n\xff\n')
    good, *bad = read_all(path)
    assert (good.number, good.values) == (1, {"a": 1})
    assert [record.number for record in bad] == [3, 4, 5, 6]
    assert [record.raw for record in bad] == [b"[1]", b'{"a": NaN}', b'{"a": 1', b"\xff"]
    assert all(record.problem for record in bad)


def test_a_row_of_another_width_is_kept_with_its_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffa,b\n1,"x,y"\n3\n\n4,5,6\n', encoding="utf-8")
    rows = read_all(path)
    assert rows[0].values == {"a": "1", "b": "x,y"}
    assert [(row.problem, row.raw) for row in rows[1:]] == [
        ("1 values for 2 columns", b"3"),
        ("3 values for 2 columns", b"4,5,6"),
    ]


def test_a_page_is_the_one_list_in_it(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    path.write_text('{"count": 1, "positions": [{"id": 115792089237316195423570985008687907853269984665640564039457}]}')
    assert read_all(path)[0].values == {"id": 115792089237316195423570985008687907853269984665640564039457}


def test_files_are_found_once_whatever_names_them(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("b.csv", "a.jsonl.gz", "notes.txt"):
        (inner / name).write_bytes(b"")
    wanted = [inner / "a.jsonl.gz", inner / "b.csv"]
    assert dumps.files_of([tmp_path]) == wanted
    assert dumps.files_of([inner / "*"]) == wanted
    assert dumps.files_of([inner, inner / "b.csv", f"{tmp_path}/**/*.csv"]) == wanted
    for missing in (tmp_path / "nowhere.csv", inner / "notes.txt", tmp_path / "*.parquet"):
        with pytest.raises(UsageError, match="no dump file here"):
            dumps.files_of([missing])
