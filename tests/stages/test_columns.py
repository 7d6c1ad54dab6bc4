"""What is taken column by column is, digit for digit, what the careful reader makes of the same row."""

from __future__ import annotations

import csv
import gzip
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.stages import chunks, columns, dumps, loading, shapes
from backfill.stages.judging import pool

TX, ORDER, WALLET = "0x" + "ab" * 32, "0x" + "cd" * 32, "0x" + "1f" * 20
TOKEN = 80085489243215790077454313513728486445319747473476157602131800551595373270758
BIGGEST = (1 << 256) - 1
Row = dict[str, Any]

# --- values as they come, and as they should not

hashes = st.sampled_from(
    [TX, ORDER, TX.upper().replace("X", "x"), TX[2:], TX[:-1], f" {TX}", "0x" + "g" * 64, "", None, 7]
)
wallets = st.sampled_from(
    [WALLET, WALLET.upper().replace("X", "x"), WALLET[:-1], "0X" + WALLET[2:], "nobody", "", None]
)
tokens = st.sampled_from(
    [str(TOKEN), str(BIGGEST), str(BIGGEST + 1), "0", "007", "8.0e+76", "-5", "٣", "", None, TOKEN, 5]
)
amounts = st.one_of(
    st.integers(0, 10**12).map(str),
    st.sampled_from(
        ["0", "00012", "0x10", "+5", "-5", "1e6", "5.0", str(1 << 64), "9" * 19, " 7", "", None, 5, 5.0, True]
    ),
)
moments = st.sampled_from(
    ["1761680413", 1761680413, 1761680413.7, "1761680413000", "2025-10-28T19:40:13Z", "2025-10-28 19:40:13.9",
     "2025-10-28T19:40:13+02:00", 0, "", None, "soon", 4102444800]
)  # fmt: skip
numbers = st.one_of(
    st.floats(0, 1e9).map(lambda number: round(number, 6)),
    st.floats(0, 1e6),
    st.sampled_from(["9478.45", "0.8919363820033867", "1e3", "nan", "-1", "0", "", None, 3, 0.0000005, 1.0000005, 1e15,
                     "12.3456789", " 4", True, "1_000"]),
)  # fmt: skip
ids = st.sampled_from(
    [f"{TX}_{ORDER}", f"{TX}_{ORDER}_17", f"{ORDER}_{TX}", f"{TX}_{ORDER}".upper(), "legacy:4", "", None]
)
sides = st.sampled_from(["BUY", "SELL", "buy", " SELL", "1", "", None, "HOLD", 2])


def seldom(strange: st.SearchStrategy[Any], usual: Any) -> st.SearchStrategy[Any]:
    """Mostly as it should be, so that rows are taken in spite of their many columns."""
    return st.integers(0, 9).flatmap(lambda chance: strange if chance == 0 else st.just(usual))


def _events(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    plain = st.integers(1, 10**12).map(str)
    return st.booleans().flatmap(
        lambda sells: st.fixed_dictionaries(
            {
                "transactionHash": seldom(hashes, TX),
                "timestamp": seldom(moments, "1761680413"),
                "maker": seldom(wallets, WALLET),
                "taker": seldom(wallets, WALLET),
                "makerAssetId": seldom(tokens, str(TOKEN) if sells else "0"),
                "takerAssetId": seldom(tokens, "0" if sells else str(TOKEN)),
                "makerAmountFilled": st.one_of(plain, plain, amounts),
                "takerAmountFilled": st.one_of(plain, plain, amounts),
                **more,
            }
        )
    )


EVENTS = _events(id=seldom(ids, f"{TX}_{ORDER}"), orderHash=seldom(hashes, ORDER), fee=seldom(amounts, "0"))
POLY_DATA = _events()
POLY_DATA_WITH_ID = _events(id=seldom(ids, f"{TX}_{ORDER}"))


def _trades(wallet: str, token: str, condition: str, tx_hash: str) -> st.SearchStrategy[Row]:
    types = st.sampled_from([None, "TRADE", "REDEEM", "TRADES", "", 5])
    return st.fixed_dictionaries(
        {
            wallet: seldom(wallets, WALLET),
            token: seldom(tokens, str(TOKEN)),
            condition: st.just(TX),
            tx_hash: seldom(hashes, TX),
            "timestamp": seldom(moments, 1761680413),
            "side": seldom(sides, "SELL"),
            "size": st.one_of(st.floats(0.01, 1e6), numbers),
            "price": st.one_of(st.floats(0.001, 0.999), numbers),
            "type": seldom(types, "TRADE"),
        }
    )


KEY = "k" + "0d" * 16


def _own(order: str | None, tail: str) -> st.SearchStrategy[Row]:
    fill_ids = st.sampled_from(
        [f"{TX}_{ORDER}_9", f"{TX}_{KEY}_07", f"{TX}_{KEY}", f"{ORDER}_{tail}", f"{TX}_x", "", None]
    )
    words = st.sampled_from(["none", "shares", "usdc", "0", "gold", "", None])
    small = st.sampled_from(["", None, "5", "256", str(1 << 32), "-1", "x", 7])
    return st.fixed_dictionaries(
        {
            "fill_id": seldom(fill_ids, f"{TX}_{tail}"),
            "token_id": seldom(tokens, str(TOKEN)),
            "maker": seldom(wallets, WALLET),
            "taker": st.one_of(st.sampled_from([None, "", WALLET]), seldom(wallets, WALLET)),
            "side": seldom(sides, "BUY"),
            "shares_micro": st.one_of(st.integers(1, 10**12).map(str), amounts),
            "usdc_micro": st.one_of(st.integers(1, 10**12).map(str), amounts),
            "fee_micro": st.one_of(st.sampled_from([None, "", "5"]), seldom(amounts, "5")),
            "fee_asset": seldom(words, "usdc"),
            "timestamp": seldom(moments, "2025-10-28T19:40:13Z"),
            "tx_hash": seldom(hashes, TX),
            "order_hash": seldom(hashes, order),
            "log_index": seldom(small, None),
            "block_number": seldom(small, "77"),
            "exchange_version": seldom(small, "2"),
            "source": seldom(st.sampled_from(["", None, " goldsky", "ß"]), "goldsky"),
        }
    )


OWN = st.one_of(_own(ORDER, ORDER), _own(None, f"{KEY}_3"), _own("", f"{KEY}_0"))
TRADES_V1 = _trades("proxyWallet", "asset", "conditionId", "transactionHash")
TRADES_V2 = _trades("proxy_wallet", "token_id", "condition_id", "transaction_hash")


def careful(path: Path) -> tuple[list[Row], list[tuple[int, str]]]:
    """What the careful reader makes of a file: stored rows, and refusals."""
    rows: list[tuple[int, shapes.Fill]] = []
    refused: list[tuple[int, str]] = []
    records = list(dumps.read(path))
    shape = shapes.recognise(records[0].values, shapes.FILLS, where="test")
    for record in records:
        try:
            rows += [(record.number, fill) for fill in shapes.rows_of(record, shape)]
        except shapes.NoFill:
            pass
        except ValueError as error:
            refused.append((record.number, str(error)))
    return columns.from_fills(0, rows).to_pylist(), refused


def swift(path: Path, **how: Any) -> tuple[list[Row], list[tuple[int, str]]]:
    """What an import makes of it."""
    rows: list[Row] = []
    refused: list[tuple[int, str]] = []
    for parcel in loading.parcels([path], {path}, **how):
        if parcel.body:
            rows += pa.ipc.open_stream(parcel.body).read_all().to_pylist()
        refused += [(one.line, one.reason) for part in parcel.parts for one in part.refusals]
    return sorted(rows, key=lambda row: int(row["line"])), sorted(refused)


def write_jsonl(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as handle:
        table = csv.DictWriter(handle, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


WRITERS: dict[str, Callable[[Path, list[Row]], None]] = {"jsonl": write_jsonl, "csv": write_csv}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(
    "kind",
    [EVENTS, POLY_DATA, POLY_DATA_WITH_ID, TRADES_V1, TRADES_V2, OWN],
    ids=["events", "poly", "poly_id", "v1", "v2", "own"],
)
@settings(
    max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(data=st.data())
def test_the_fast_way_is_the_careful_way(
    tmp_path: Path, kind: st.SearchStrategy[Row], ending: str, data: st.DataObject
) -> None:
    path = tmp_path / f"rows.{ending}"
    WRITERS[ending](path, data.draw(st.lists(kind, min_size=1, max_size=12)))
    assert swift(path) == careful(path)


PLAIN_EVENT = {
    "id": f"{TX}_{ORDER}", "transactionHash": TX, "orderHash": ORDER, "timestamp": "1761680413", "maker": WALLET,
    "taker": WALLET, "makerAssetId": "0", "takerAssetId": str(BIGGEST), "makerAmountFilled": "26600",
    "takerAmountFilled": "1330000", "fee": "5",
}  # fmt: skip
PLAIN_TRADE = {
    "proxyWallet": WALLET.upper().replace("X", "x"), "asset": str(TOKEN), "conditionId": TX, "transactionHash": TX,
    "timestamp": 1761680413, "side": "SELL", "size": 9478.45, "price": 0.8919363820033867,
}  # fmt: skip


PLAIN_OWN = {
    "fill_id": f"{TX}_{ORDER}", "token_id": str(TOKEN), "maker": WALLET, "taker": WALLET, "side": "SELL",
    "shares_micro": "5", "usdc_micro": "4", "fee_micro": "1", "fee_asset": "usdc", "timestamp": "2025-10-28T19:40:13Z",
    "tx_hash": TX, "order_hash": ORDER, "log_index": "3", "block_number": "70000000", "exchange_version": "1",
    "source": "chain",
}  # fmt: skip


def taken(path: Path) -> int:
    """How many rows of a file went the fast way."""
    count = 0
    for chunk in chunks.read(path):
        shape = shapes.recognise(chunk.names(), shapes.FILLS, where="test")
        values = chunk.columns(columns.wanted(shape))
        assert values is not None
        count += columns.plain(shape, values, len(chunk)).taken.true_count
    return count


def without(row: Row, *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(
    "row",
    [PLAIN_EVENT, without(PLAIN_EVENT, "id"), without(PLAIN_EVENT, "fee"),
     without(PLAIN_EVENT, "id", "fee", "orderHash"), without(PLAIN_EVENT, "fee", "orderHash"),
     PLAIN_TRADE, PLAIN_TRADE | {"type": "TRADE"}, PLAIN_EVENT | {"timestamp": "2025-10-28T19:40:13Z"},
     PLAIN_OWN, PLAIN_OWN | {"fill_id": f"{TX}_{KEY}_12", "order_hash": "", "taker": "", "fee_micro": ""}],
)  # fmt: skip
def test_ordinary_rows_go_the_fast_way(tmp_path: Path, row: Row, ending: str) -> None:
    """Else the test above would compare the careful way with itself; a poly_data file with fees is the exception."""
    path = tmp_path / f"rows.{ending}"
    WRITERS[ending](path, [row, row])
    assert taken(path) == 2
    assert swift(path) == careful(path)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({name: [value] * 2 for name, value in PLAIN_EVENT.items()}),
        pa.table({name: pa.array([value] * 2).dictionary_encode() for name, value in PLAIN_EVENT.items()}),
        pa.table({name: pa.array([value] * 2, pa.large_string()) for name, value in PLAIN_EVENT.items()}),
        pa.table({name: [value] * 2 for name, value in PLAIN_TRADE.items()}),
        pa.table(
            {name: [value] * 2 for name, value in PLAIN_TRADE.items()}
            | {"timestamp": [datetime(2025, 10, 28, 19, 40, 13, 900_000, tzinfo=UTC)] * 2}
        ),
        pa.table({name: [value] * 2 for name, value in PLAIN_TRADE.items()} | {"size": [Decimal("9478.45")] * 2}),
        pa.table(
            {name: [value] * 2 for name, value in PLAIN_EVENT.items()}
            | {"makerAmountFilled": [26600] * 2, "fee": pa.array([5, 5], pa.uint8())}
        ),
        pa.table({name: [value] * 2 for name, value in PLAIN_TRADE.items()} | {"timestamp": [1761680413.0] * 2}),
    ],
)
def test_tables_of_every_kind(tmp_path: Path, table: pa.Table) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path)
    assert taken(path) == 2
    assert swift(path) == careful(path)


WHOLE = "a whole number in digits"
DRIFTED: dict[str, tuple[Any, str]] = {
    "makerAssetId": (5.0, f"column makerAssetId: expected {WHOLE}, saw Decimal('5.0')"),
    "takerAssetId": (8.0085e76, f"column takerAssetId: expected {WHOLE}, saw Decimal('8.0085E+76')"),
    "maker": (17, "column maker: expected an address as text, saw 17 (number)"),
    "transactionHash": ([TX], "column transactionHash: expected 64 hex digits as text, saw ['0xab"),
    "makerAmountFilled": ({"raw": 5}, f"column makerAmountFilled: expected {WHOLE}, saw {{'raw': 5}} (object)"),
    "takerAmountFilled": (True, f"column takerAmountFilled: expected {WHOLE}, saw True (truth value)"),
    "timestamp": ({"s": 1}, "column timestamp: expected seconds or ISO 8601, saw {'s': 1} (object)"),
    "fee": ("0.5", f"column fee: expected {WHOLE}, saw '0.5' (text)"),
}


@pytest.mark.parametrize("name", DRIFTED)
def test_a_column_of_another_kind_is_named_and_the_rest_goes_on(tmp_path: Path, name: str) -> None:
    value, reason = DRIFTED[name]
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [PLAIN_EVENT, PLAIN_EVENT | {name: value}, PLAIN_EVENT, without(PLAIN_EVENT, name)])
    rows, refused = swift(path)
    assert [row["line"] for row in rows] == [1, 3]
    assert [line for line, _ in refused] == [2, 4]
    assert refused[0][1].startswith(reason)
    assert refused[1][1] == f"column {name} is missing"


def test_sizes_that_a_float_cannot_decide_are_worked_out_in_full(tmp_path: Path) -> None:
    """Halves of a micro-unit go to the even neighbour, whichever side of them the float is on."""
    halves = [0.0000005, 1.0000005, 2.0000015, 1234.5678905, 999999.9999995]
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [PLAIN_TRADE | {"size": size + 1, "price": 0.5} for size in halves])
    assert taken(path) < len(halves)
    assert swift(path) == careful(path)


# --- chunks


def records_of(path: Path) -> list[dumps.Record]:
    return [chunk.record(place) for chunk in chunks.read(path) for place in range(len(chunk))]


@pytest.mark.parametrize(
    "text",
    [
        b'a,b\n1,2\n3,4\n', b'a,b\r\n1,2\r\n3,4', b'\xef\xbb\xbfa,b\n1,"x,y"\n', b'a,b\n1,"two\nlines"\n3,4\n5,6\n',
        b'a,b\n1,2\n\n3,4\n', b'a,b\n1\n3,4,5\n6,7\n', b'a,b\n"1",2\nx"y,3\n4,5"\n', b'a,b\n', b'', b'a,b',
        b'a,b\n1,2\r3,4\n',
        b'"a","b"\n1,2\n', b'\na,b\n1,2\n', b'a,b\n1,""\n,\n', b'a,b\n1,"say ""no"""\n3,4\n',
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_chunks_of_csv_hold_the_records_of_the_careful_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, size: int
) -> None:
    monkeypatch.setattr(chunks, "BYTES", size)
    for path, content in ((tmp_path / "a.csv", text), (tmp_path / "a.csv.gz", gzip.compress(text))):
        path.write_bytes(content)
        assert records_of(path) == list(dumps.read(path))
        for chunk in chunks.read(path):
            values = chunk.columns(["a", "b"])
            rows = [chunk.record(place).values for place in range(len(chunk))]
            if values is not None:
                assert {name: column.to_pylist() for name, column in values.items()} == {
                    name: [row[name] for row in rows] for name in values
                }


@pytest.mark.parametrize("text", [b'{"a": 1}\n\n[1]\n{"a": NaN}\r\n{"a": 1\n\xff\n  \n{"a": 2}', b"", b"\n\n", b"{}\n"])
@pytest.mark.parametrize("size", [1, 9, 1 << 20])
def test_chunks_of_json_hold_the_records_of_the_careful_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes, size: int
) -> None:
    monkeypatch.setattr(chunks, "BYTES", size)
    path = tmp_path / "a.jsonl"
    path.write_bytes(text)
    assert records_of(path) == list(dumps.read(path))


@pytest.mark.parametrize(
    "strange",
    [
        b'{"x": NaN, ',
        b'{"x": "\\ud800", ',
        b'{"x": "\xff", ',
        b"{}{",
        b'{"x": 01, ',
        b'{"x": [1, {"y": 2}], ',
        b'{"x": tru, ',
        b'{"makerAmountFilled": 3, ',
        b'{"size": 1e999, ',
        b" {",
        b'{"fee": 18446744073709551616, ',
        b'{"x": "\t", ',
        b'[{"x": {}}, ',
        b'{"takerAssetId": 80085489243215790077454313513728486445319747473476157602131800551595373270758, ',
    ],
)
@pytest.mark.parametrize("row", [PLAIN_EVENT, PLAIN_TRADE | {"size": 5, "type": "TRADE"}, PLAIN_TRADE])
def test_lines_that_two_readers_might_see_differently(tmp_path: Path, strange: bytes, row: Row) -> None:
    """Beside plain ones: what is in doubt is decided by the careful reader, and the others come in all the same."""
    path, line = tmp_path / "rows.jsonl", json.dumps(row).encode()
    path.write_bytes(b"\n".join([line, strange + line[1:], line, line[:-1] + b', "size": 4.5}']))
    assert swift(path) == careful(path)
    assert {1, 3} <= {found["line"] for found in swift(path)[0]}


def test_workers_give_the_same_rows_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "BYTES", 5_000)
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [PLAIN_EVENT | {"makerAmountFilled": str(n) if n % 9 else "x"} for n in range(1, 300)])
    with pool(2, nice=0) as workers:
        found = swift(path, pool=workers, ahead=3, rows=50)
        wrong = tmp_path / "wrong.csv"
        wrong.write_bytes(b"transactionHash,x\n" + b'"a"b,2\n' * 3)
        with pytest.raises(dumps.NotOurs):
            swift(wrong, pool=workers)
    assert found == careful(path)
    assert len(found[1]) == 33


def test_a_row_that_is_no_csv_breaks_the_file_in_a_worker_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_csv(path, [PLAIN_EVENT | {"maker": "nobody"}])
    path.write_bytes(path.read_bytes() + b'"a"b' + b",2" * 10 + b"\r\n")
    with pool(1, nice=0) as workers, pytest.raises(Exception, match="not the text that its ending promises"):
        swift(path, pool=workers)


@pytest.mark.slow
def test_speed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [PLAIN_TRADE | {"timestamp": 1761680413 + n, "size": n + 0.25} for n in range(20_000)])
    begin = time.process_time()
    rows = sum(part.rows for parcel in loading.parcels([path], {path}) for part in parcel.parts)
    print(f"\n{(time.process_time() - begin) / rows * 1e6:.1f} µs of one core a row")
    assert rows == 20_000
