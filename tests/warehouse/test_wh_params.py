"""Values on their way into server-side parameters."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from backfill.warehouse import params
from backfill.warehouse.client import Warehouse

NASTY = 'it\'s \\ a\ttab\nnew "line" `x` ü \0 {y:String} \b\f\r%s \\N'


@pytest.mark.parametrize(
    ("kind", "value", "back"),
    [
        ("String", NASTY, NASTY),
        ("Array(String)", [NASTY, ""], [NASTY, ""]),
        ("Array(Nullable(String))", [None, "NULL"], [None, "NULL"]),
        ("Nullable(String)", None, None),
        ("Array(UInt256)", [2**256 - 1], [str(2**256 - 1)]),
        ("Array(UInt8)", [], []),
        ("Decimal(18, 9)", Decimal("1.250000001"), "1.250000001"),
        (
            "DateTime('UTC')",
            dt.datetime(2024, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=2))),
            "2024-01-02 01:00:00",
        ),
        ("Date", dt.date(2024, 1, 2), "2024-01-02"),
        ("Map(String, UInt64)", {"k'": 5}, {"k'": "5"}),
        ("Bool", True, True),
    ],
)
async def test_a_value_comes_back_from_the_warehouse_as_it_went(
    warehouse: Warehouse, kind: str, value: object, back: Any
) -> None:
    (row,) = await warehouse.fetch(f"SELECT {{v:{kind}}} AS v", {"v": value})
    assert row["v"] == back


async def test_thousands_of_ids_travel_although_no_address_is_that_long(warehouse: Warehouse) -> None:
    ids = [2**255 + number for number in range(20_000)]
    assert await warehouse.fetch_value("SELECT length(arrayDistinct({ids:Array(UInt256)}))", {"ids": ids}) == 20_000


def test_what_has_no_text_in_clickhouse_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes"):
        params.encode(b"raw")
    with pytest.raises(TypeError, match="object"):
        params.encode([object()])


def test_only_identifier_parameters_count_as_names() -> None:
    assert params.identifiers("SELECT {a:String} FROM { db : Identifier }.t") == {"db"}
