"""What is exported is what is there, and comes back through `import` as it was."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet
import pytest

from backfill import ids
from backfill.stages import export as stage
from tests.commands.cmd_project import Project

Ask = Callable[[Callable[[Any], Any]], Any]
ANNA, BERT = "0x" + "aa" * 20, "0x" + "bb" * 20
T0 = 1_777_000_000


def condition(number: int) -> str:
    return f"{number + 1:064x}"


def token(number: int) -> int:
    return ids.position_id(condition(number), 0)


def fill(number: int) -> dict[str, Any]:
    """A fill with everything known, or with all that may be missing missing."""
    tx = f"0x{number:064x}"
    row = {
        "token_id": str(token(number % 3)),
        "maker": (ANNA, BERT)[number % 2],
        "side": ("BUY", "SELL")[number % 2],
        "shares_micro": 3_000_001 + number,
        "usdc_micro": 1_000_000,
        "price": f"0.{1_000_000 * 10**9 // (3_000_001 + number):09d}",
        "timestamp": T0 + number,
        "tx_hash": tx,
    }
    if number % 2:
        return {**row, "fill_id": f"{tx}_k{number:032x}_0", "source": "data_api"}
    order = f"0x{7:064x}"
    more = {
        "taker": BERT,
        "fee_micro": 5,
        "fee_asset": "usdc",
        "log_index": 4,
        "block_number": 9,
        "exchange_version": 2,
    }
    return {**row, **more, "fill_id": f"{tx}_{order}", "order_hash": order, "source": "chain"}


def lines(rows: list[dict[str, Any]]) -> bytes:
    return b"\n".join(map(orjson.dumps, rows))


@pytest.fixture
def filled(stored: Ask) -> Ask:
    """The store with 40 fills, a map and two markets."""

    async def prepare(warehouse: Any) -> None:
        for table in ("clob_fills", "ctf_token_map", "markets"):
            await warehouse.execute(f"TRUNCATE TABLE polymarket.{table}")
        await warehouse.insert("production.clob_fills", lines([fill(number) for number in range(40)]))
        mapped = [
            {
                "token_id": str(token(n)),
                "condition_id_norm": condition(n),
                "outcome_index": 0,
                "source": "x",
                "proven": 1,
            }
            for n in range(3)
        ]
        mapped[0] |= {"outcome": 'Yes, "or"\nno', "market_slug": "a-slug"}
        await warehouse.insert("production.ctf_token_map", lines(mapped))
        market = {
            "condition_id_norm": condition(0),
            "question": "?",
            "outcomes": ["Yes", "No"],
            "token_ids": [str(token(0))],
        }
        bare = {"condition_id_norm": condition(1), "source": "gamma"}
        await warehouse.insert("production.markets", lines([market | {"source": "gamma", "end_at": T0}, bare]))

    stored(prepare)
    return stored


def fills_of(ask: Ask) -> list[dict[str, Any]]:
    async def read(warehouse: Any) -> Any:
        return await warehouse.fetch("SELECT * EXCEPT ingested_at FROM polymarket.clob_fills ORDER BY fill_id")

    rows: list[dict[str, Any]] = ask(read)
    return rows


@pytest.mark.parametrize("name", ["fills.parquet", "fills.csv", "fills.csv.gz"])
def test_fills_come_back_as_they_were(
    project: Project, filled: Ask, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "PORTION", 7)
    before, path = fills_of(filled), project.root / "out" / name
    answer = project.call("export", "fills", str(path), "--json")
    assert (answer.code, answer.json["rows"], answer.json["bytes"]) == (0, 40, path.stat().st_size)

    async def empty(warehouse: Any) -> None:
        await warehouse.execute("TRUNCATE TABLE polymarket.clob_fills")

    filled(empty)
    back = project.call("import", "fills", str(path), "--json")
    assert (back.code, back.json["inserted"], back.json["refused"]) == (0, 40, 0)
    assert fills_of(filled) == before
    assert project.call("import", "fills", str(path), "--json").json["duplicates"] == 40
    assert [each.name for each in path.parent.iterdir()] == [name]


def test_token_ids_are_exact_text_in_both_formats(project: Project, filled: Ask) -> None:
    wanted = {str(token(number)) for number in range(3)}
    project.call("export", "fills", str(project.root / "a.parquet"))
    column = pyarrow.parquet.read_table(project.root / "a.parquet")["token_id"]
    assert set(column.to_pylist()) == wanted
    project.call("export", "fills", str(project.root / "a.csv"))
    with (project.root / "a.csv").open() as handle:
        assert {row["token_id"] for row in csv.DictReader(handle)} == wanted


@pytest.mark.parametrize(
    ("options", "keep"),
    [
        (("--since", str(T0 + 10), "--until", str(T0 + 20)), lambda n: 10 <= n < 20),
        (("--wallet", ANNA.upper().replace("X", "x")), lambda n: n % 2 == 0),
        (("--condition", "0x" + condition(1)), lambda n: n % 3 == 1),
        (("--token", str(token(2))), lambda n: n % 3 == 2),
        (("--token", str(token(2)), "--wallet", BERT), lambda n: n % 3 == 2 and n % 2),
        (("--token", "5"), lambda n: False),
    ],
)
def test_what_is_wanted_is_what_is_written(
    project: Project, filled: Ask, options: tuple[str, ...], keep: Callable[[int], bool]
) -> None:
    path = project.root / "some.csv.gz"
    answer = project.call("export", "fills", str(path), *options)
    with gzip.open(path, "rt") as handle:
        found = [row["fill_id"] for row in csv.DictReader(handle)]
    assert sorted(found) == sorted(fill(n)["fill_id"] for n in range(40) if keep(n))
    assert f"{len(found)} rows" in answer.out


@pytest.mark.parametrize("name", ["map.csv", "map.parquet"])
def test_the_map_comes_back_as_it_was(project: Project, filled: Ask, name: str) -> None:
    async def read(warehouse: Any) -> Any:
        return await warehouse.fetch(
            "SELECT token_id, condition_id_norm, outcome_index, outcome, market_slug, proven "
            "FROM polymarket.ctf_token_map ORDER BY token_id"
        )

    async def empty(warehouse: Any) -> None:
        await warehouse.execute("TRUNCATE TABLE polymarket.ctf_token_map")

    before, path = filled(read), project.root / name
    assert project.call("export", "token-map", str(path), "--json").json["rows"] == 3
    filled(empty)
    assert project.call("import", "token-map", str(path)).code == 0
    assert filled(read) == before


def test_markets_have_their_lists_as_json(project: Project, filled: Ask) -> None:
    path = project.root / "markets.csv"
    assert project.call("export", "markets", str(path), "--json").json["rows"] == 2
    with path.open() as handle:
        first, second = csv.DictReader(handle)
    assert orjson.loads(first["outcomes"]) == ["Yes", "No"]
    assert orjson.loads(first["token_ids"]) == [str(token(0))]
    assert (first["end_at"], second["end_at"], second["question"]) == ("2026-04-24T03:06:40Z", "", "")


def test_an_empty_table_is_a_file_with_its_columns(project: Project, filled: Ask) -> None:
    async def empty(warehouse: Any) -> None:
        await warehouse.execute("TRUNCATE TABLE polymarket.clob_fills")

    filled(empty)
    for name in ("no.parquet", "no.csv"):
        assert project.call("export", "fills", str(project.root / name), "--json").json["rows"] == 0
    assert "token_id" in pyarrow.parquet.read_table(project.root / "no.parquet").column_names
    assert (project.root / "no.csv").read_text().count("\n") == 1


@pytest.mark.parametrize(
    "words",
    [
        ("fills", "x.txt"),
        ("fills", "x.csv", "--format", "parquet"),
        ("fills", "x.csv", "--wallet", "0x12"),
        ("fills", "x.csv", "--token", "0x12"),
        ("fills", "x.csv", "--since", "yesterday"),
        ("fills", "x.csv", "--since", "2d", "--until", "3d"),
    ],
)
def test_wrong_words_are_one_line_and_write_nothing(project: Project, filled: Ask, words: tuple[str, ...]) -> None:
    what, name, *options = words
    answer = project.call("export", what, str(project.root / name), *options)
    assert answer.code == 2 and answer.err.count("\n") == 1, answer.err
    assert not (project.root / name).exists()


def test_a_file_that_is_there_stays_when_the_export_fails(
    project: Project, filled: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project.root / "fills.csv"
    path.write_text("before")

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stage._Csv, "add", full)
    answer = project.call("export", "fills", str(path), "--force")
    assert answer.code == 2 and "No space left" in answer.err
    assert path.read_text() == "before" and [each.name for each in Path(project.root).glob(".*.tmp")] == []


def test_a_file_that_is_there_is_replaced_only_when_told_to(project: Project, filled: Ask) -> None:
    path = project.root / "fills.csv"
    path.write_text("before")
    answer = project.call("export", "fills", str(path))
    assert answer.code == 2 and "--force" in answer.err and path.read_text() == "before"
    assert project.call("export", "fills", str(path), "--force", "--json").json["rows"] == 40
    assert path.read_text().count("\n") == 41
