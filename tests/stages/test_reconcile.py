"""Reconcile on a real warehouse: what is counted where both have read, and what is listed with both rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from backfill.config import Config
from backfill.stages import reconcile as stage
from backfill.stages.reconcile import Pair, Reconciliation, reconcile_fills
from backfill.warehouse.client import Warehouse
from tests.stages.planted import condition, put, put_mapped, token
from tests.stages.test_fills import FACT, MAKERS, Fact, chain, hash32, keyed, keyless, last_kept, put_all, twice

START, END = 1_777_000_000, 1_777_100_000


@pytest.fixture
def here(config: Config, tmp_path: Path) -> Config:
    return config.model_copy(update={"root": tmp_path})


def facts(count: int, first: int = 0) -> list[Fact]:
    """Fills, each in a transaction of its own, of three tokens in turn."""
    return [
        Fact(hash32("tx", n), hash32("or", n), token(n % 3), MAKERS[n % 3], "BUY", 10**6 + n, 4 * 10**5 + n, 0, 0, 1)
        for n in range(first, first + count)
    ]


async def stage_rows(warehouse: Warehouse, track: str, rows: list[dict[str, Any]]) -> None:
    await put_all(warehouse, [row | {"track": track, "unit": 0} for row in rows])


async def cover(warehouse: Warehouse, track: str, kind: str, key: str = "", start: int = START, end: int = END) -> None:
    row = {"dataset": "fills", "source": track, "kind": kind, "key": key, "covered_from": start, "covered_to": end}
    await put(warehouse, "staging.covered_windows", [row | {"plan_id": "p", "unit": 0}])


async def covered_blocks(warehouse: Warehouse, start: int = START, end: int = END) -> None:
    """The chain's track: blocks, and how far it came in time."""
    await cover(warehouse, "chain_fills", "blocks", "", 1, 9)
    status = {"dataset": "fills", "source": "chain_fills", "covered_from": start, "covered_to": end, "complete": 1}
    await put(warehouse, "analytics.data_sync_status", [status | {"note": ""}])


async def both(warehouse: Warehouse, ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Chain and Goldsky have read everything."""
    await covered_blocks(warehouse)
    for number in range(3):
        await cover(warehouse, "goldsky_fills", "token", str(token(number)))
    await stage_rows(warehouse, "chain_fills", ours)
    await stage_rows(warehouse, "goldsky_fills", theirs)


def numbers(found: Reconciliation) -> dict[str, Any]:
    (pair,) = found.document()["pairs"]
    return {key: pair[key] for key in ("matched", "differ", "only_ours", "only_theirs", "explained", "passed")}


NONE = {"differ": 0, "only_ours": 0, "only_theirs": 0, "explained": 0}


async def test_sources_that_agree(here: Config, warehouse: Warehouse) -> None:
    await both(warehouse, chain(facts(30)), last_kept(facts(30), "goldsky"))
    found = await reconcile_fills(here, warehouse)
    assert numbers(found) == {"matched": 30, **NONE, "passed": True}
    (pair,) = found.document()["pairs"]
    assert (pair["ours"], pair["theirs"], pair["rows_ours"], pair["rows_theirs"]) == (
        "chain_fills", "goldsky_fills", 30, 30,
    )  # fmt: skip
    assert found.passed is True and found.disagreements == 0
    assert pair["from"] == "2026-04-24T03:06:40Z"


async def test_every_kind_of_disagreement_is_listed_with_its_rows(here: Config, warehouse: Warehouse) -> None:
    theirs = last_kept(facts(28, 1), "goldsky")
    theirs[0]["usdc_micro"] = 999_999
    await both(warehouse, chain(facts(28)), theirs)
    found = await reconcile_fills(here, warehouse)
    assert numbers(found) == {"matched": 26, **NONE, "differ": 1, "only_ours": 1, "only_theirs": 1, "passed": False}
    assert found.passed is False and found.disagreements == 3
    listed = {row["kind"]: row for row in found.first}
    assert [int(listed["differ"][side]["usdc_micro"]) for side in ("ours", "theirs")] == [400_001, 999_999]
    assert listed["only_ours"]["ours"]["tx_hash"] == hash32("tx", 0) and listed["only_ours"]["theirs"] is None
    assert listed["only_theirs"]["theirs"]["tx_hash"] == hash32("tx", 28) and listed["only_theirs"]["ours"] is None
    document = orjson.loads((here.root / "reports" / "reconcile-fills.json").read_bytes())
    assert document["disagreements"] == found.first and document["pairs"] == found.document()["pairs"]
    told = (here.root / "reports" / "reconcile-fills.md").read_text()
    assert hash32("tx", 28) in told and "0.999999 dollars" in told and "| chain_fills / goldsky_fills |" in told


async def test_what_is_allowed_to_differ_is_in_the_config(here: Config, warehouse: Warehouse) -> None:
    await both(warehouse, chain(facts(200)), last_kept(facts(199), "goldsky"))
    assert (await reconcile_fills(here, warehouse)).passed is True
    strict = here.model_copy(update={"gates": here.gates.model_copy(update={"reconcile_variance": 0.004})})
    assert (await reconcile_fills(strict, warehouse)).passed is False


async def test_only_what_both_have_read_is_compared(here: Config, warehouse: Warehouse) -> None:
    await covered_blocks(warehouse, START + 10)
    await cover(warehouse, "goldsky_fills", "token", str(token(0)), START, START + 20)
    await stage_rows(warehouse, "chain_fills", chain(facts(30)))
    await stage_rows(warehouse, "goldsky_fills", [])
    await stage_rows(warehouse, "goldsky_fills", last_kept(facts(1), "goldsky"))
    found = await reconcile_fills(here, warehouse)
    # Of token 0 between the 10th and the 20th second: 12, 15, 18. Goldsky has none of them.
    assert numbers(found) == {"matched": 0, **NONE, "only_ours": 3, "passed": False}


async def test_sources_that_were_asked_by_market_or_by_account(here: Config, warehouse: Warehouse) -> None:
    await put_mapped(warehouse, [(token(1), condition(1), 0)])
    await covered_blocks(warehouse)
    await cover(warehouse, "data_api_fills", "condition", f"0x{condition(1)}")
    await cover(warehouse, "clob_fills", "all")
    await stage_rows(warehouse, "chain_fills", chain(facts(30)))
    await stage_rows(warehouse, "data_api_fills", keyless(facts(30), "data_api", 2))
    await stage_rows(warehouse, "clob_fills", [keyed(f, "clob") for f in facts(30) if f.maker == MAKERS[2]][:9])
    found = {(pair.ours, pair.theirs): pair for pair in (await reconcile_fills(here, warehouse)).pairs}
    assert found["chain_fills", "data_api_fills"].matched == 10
    assert not found["chain_fills", "data_api_fills"].found
    assert found["chain_fills", "clob_fills"].matched == 9
    assert found["chain_fills", "clob_fills"].found == Counter(only_ours=1)
    assert found["clob_fills", "data_api_fills"].rows_ours == 0


async def test_a_wallet_that_was_asked_for_is_compared_by_its_own_orders(here: Config, warehouse: Warehouse) -> None:
    await covered_blocks(warehouse)
    await cover(warehouse, "data_api_fills", "wallet", MAKERS[0], START, START + 15)
    await stage_rows(warehouse, "chain_fills", chain(facts(30)))
    await stage_rows(warehouse, "data_api_fills", keyless(facts(30), "data_api"))
    assert numbers(await reconcile_fills(here, warehouse)) == {"matched": 5, **NONE, "passed": True}


async def test_an_order_of_which_goldsky_keeps_one_row_is_explained(here: Config, warehouse: Warehouse) -> None:
    fills = [*facts(5, 20), *twice(500_000, 700_000)]
    await both(warehouse, chain(fills), last_kept(fills, "goldsky"))
    found = await reconcile_fills(here, warehouse)
    assert numbers(found) == {"matched": 6, **NONE, "explained": 1, "passed": True}
    assert found.disagreements == 0 and found.first == []
    assert b'"explained"' in (here.root / "reports" / "reconcile-fills.json").read_bytes()


async def test_equal_fills_are_counted_one_by_one(here: Config, warehouse: Warehouse) -> None:
    await covered_blocks(warehouse)
    await cover(warehouse, "data_api_fills", "all")
    same = [FACT, replace(FACT, order=hash32("or", 5), log=1)]
    await stage_rows(warehouse, "chain_fills", chain(same))
    await stage_rows(warehouse, "data_api_fills", keyless([FACT, FACT, FACT], "data_api"))
    assert numbers(await reconcile_fills(here, warehouse)) == {"matched": 2, **NONE, "only_theirs": 1, "passed": False}


async def test_nothing_to_compare_is_no_agreement(here: Config, warehouse: Warehouse) -> None:
    found = await reconcile_fills(here, warehouse)
    assert (found.passed, found.pairs) == (None, [])
    await stage_rows(warehouse, "goldsky_fills", last_kept(facts(3), "goldsky"))
    assert (await reconcile_fills(here, warehouse)).unknown == ["goldsky_fills"]


async def test_portions_come_to_the_same(here: Config, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = last_kept(facts(50, 5), "goldsky")
    theirs[7]["maker"] = MAKERS[0]
    await both(warehouse, chain(facts(50)), theirs)
    whole = await reconcile_fills(here, warehouse)
    monkeypatch.setattr(stage, "PORTION", 7)
    parts = await reconcile_fills(here, warehouse)
    assert numbers(parts) == numbers(whole)
    assert sorted(map(str, parts.first)) == sorted(map(str, whole.first))


async def test_more_disagreements_than_are_shown_are_all_in_the_reports(here: Config, warehouse: Warehouse) -> None:
    await both(warehouse, chain(facts(80)), last_kept(facts(1), "goldsky"))
    found = await reconcile_fills(here, warehouse)
    assert (found.disagreements, len(found.first)) == (79, 50)
    document = orjson.loads((here.root / "reports" / "reconcile-fills.json").read_bytes())
    assert len(document["disagreements"]) == document["total"] == 79
    assert (here.root / "reports" / "reconcile-fills.md").read_text().count("only here\n") == 79


async def test_reports_of_before_stay_when_the_comparison_fails(
    here: Config, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await both(warehouse, chain(facts(3)), last_kept(facts(2), "goldsky"))
    await reconcile_fills(here, warehouse)
    before = {path: path.read_bytes() for path in (here.root / "reports").iterdir()}

    def broken(*_: Any) -> Any:
        raise RuntimeError

    monkeypatch.setattr(stage, "compared", broken)
    with pytest.raises(RuntimeError):
        await reconcile_fills(here, warehouse)
    assert {path: path.read_bytes() for path in (here.root / "reports").iterdir()} == before


def test_a_share_is_of_what_was_judged() -> None:
    pair = Pair("a", "b", matched=98, found=Counter(differ=1, only_ours=1, explained=5))
    assert pair.agreement == 0.98
    assert Pair("a", "b").agreement is None
