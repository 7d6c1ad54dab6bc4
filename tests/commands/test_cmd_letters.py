"""Dead letters are listed whole, and replayed by the rules of today: what passes goes in, what does not stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from backfill.engine.deadletters import DeadLetters
from backfill.engine.desk import lock_path
from backfill.engine.model import DeadLetter
from backfill.files import held
from backfill.ids import token_ids
from backfill.stages.replay import StillRefusedError, answer_of, parsed_again
from backfill.tracks.dome_tokens import DomeTokens
from backfill.tracks.goldsky_tokens import GoldskyTokens
from tests.commands.cmd_project import DOME, GOLDSKY, Project

Ask = Callable[[Callable[[Any], Any]], Any]


def market(number: int) -> dict[str, Any]:
    """A true row of Dome."""
    condition = f"{number:064x}"
    yes, no = token_ids(condition)
    return {
        "market_slug": f"market-{number}",
        "condition_id": f"0x{condition}",
        "side_a": {"id": str(yes), "label": "Yes"},
        "side_b": {"id": str(no), "label": "No"},
    }


def position(number: int, index: str = "0", of: int = 0) -> dict[str, Any]:
    """A row of Goldsky, true when `index` is `of`."""
    condition = f"{number:064x}"
    return {"id": str(token_ids(condition)[of]), "condition": f"0x{condition}", "outcomeIndex": index}


def bury(store: Path, track: str, cls: str, raw: object, unit: int = 0) -> str:
    """Put a letter in; its id."""
    text = raw if isinstance(raw, str) else orjson.dumps(raw).decode()
    DeadLetters(store).append(track, [DeadLetter(track, unit, cls, "a rule of yesterday", text)])
    return str([row["id"] for row in DeadLetters(store).rows(track)][-1])


def staged(ask: Ask, table: str, *numbers: int) -> list[dict[str, Any]]:
    """The rows of these conditions in a staging table."""
    sql = (
        f"SELECT toString(token_id) AS token, condition_id_norm AS condition, outcome_index AS i "
        f"FROM staging.{table} FINAL WHERE condition_id_norm IN {{conditions:Array(String)}} ORDER BY condition, i"
    )
    conditions = [f"{number:064x}" for number in numbers]
    return list(ask(lambda warehouse: warehouse.fetch(sql, {"conditions": conditions})))


def test_the_list_has_the_keys_of_the_contract_and_filters(project: Project) -> None:
    data = project.root / "data"
    bury(data, DOME, "contract", {"a": 1}, unit=3)
    bury(data, GOLDSKY, "disproven", "x" * 500)
    document = project.call("dead-letters", "list", "--json").json
    assert list(document) == ["total", "rows"]
    assert document["total"] == 2
    assert set(document["rows"][0]) == {"id", "track", "unit", "class", "reason", "raw", "at"}
    assert project.call("dead-letters", "list", "--track", GOLDSKY, "--json").json["total"] == 1
    assert project.call("dead-letters", "list", "--class", "contract", "--json").json["rows"][0]["unit"] == 3
    shown = project.call("dead-letters", "list").out
    assert "x" * 400 not in shown and "(500 characters)" in shown


def test_no_letters_is_no_trouble(project: Project) -> None:
    assert project.call("dead-letters", "list", "--json").json == {"total": 0, "rows": []}
    assert project.call("dead-letters", "replay", "--json").json["replayed"] == 0, "and starts no warehouse"
    assert not (project.root / "data").exists()
    assert project.call("dead-letters", "replay", "--id", "nope").code == 2


def test_a_row_becomes_an_answer_that_its_lane_reads() -> None:
    (line, _) = parsed_again(DomeTokens(), {"unit": 5, "raw": orjson.dumps(market(1)).decode()})
    assert orjson.loads(line)["token_id"] == market(1)["side_a"]["id"]
    (line,) = parsed_again(GoldskyTokens("s/1"), {"unit": 5, "raw": orjson.dumps(position(1)).decode()})
    assert orjson.loads(line)["unit"] == 5
    whole = orjson.dumps({"data": {"positions": [position(1), position(2)]}}).decode()
    assert len(parsed_again(GoldskyTokens("s/1"), {"unit": 5, "raw": whole})) == 2


@pytest.mark.parametrize("raw", ["", "{", "[]", "{}", "7", '{"markets":7}', '{"markets":[]}', '{"side_a":{"id":"1"}}'])
def test_rubbish_stays_refused_whatever_it_is(raw: str) -> None:
    for lane in (DomeTokens(), GoldskyTokens("s/1")):
        with pytest.raises(StillRefusedError):
            parsed_again(lane, {"unit": 0, "raw": raw})


def test_ids_are_taken_only_where_they_are_ids() -> None:
    row = {**market(1), "side_b": {"id": "not a number"}}
    assert answer_of(DOME, orjson.dumps(row).decode())[1] == (market(1)["side_a"]["id"],)


def test_a_row_that_passes_today_goes_into_staging_and_its_letter_out(
    project: Project, store: Path, stored: Ask
) -> None:
    bury(store, DOME, "contract", market(101))
    bury(store, GOLDSKY, "contract", position(102))
    wrong = bury(store, DOME, "contract", {"side_a": 1})

    dry = project.call("dead-letters", "replay", "--dry-run", "--json")
    assert (dry.code, dry.json["replayed"], dry.json["still_refused"]) == (4, 2, 1)
    assert staged(stored, "clob_asset_map_dome", 101) == []

    answer = project.call("dead-letters", "replay", "--json")

    assert (answer.code, answer.json["replayed"], answer.json["still_refused"]) == (4, 2, 1)
    assert answer.json["refused"][0]["id"] == wrong
    assert [row["token"] for row in staged(stored, "clob_asset_map_dome", 101)] == [
        market(101)["side_a"]["id"],
        market(101)["side_b"]["id"],
    ]
    assert len(staged(stored, "clob_asset_map_goldsky", 102)) == 1
    assert [row["id"] for row in DeadLetters(store).rows()] == [wrong]


def test_an_answer_that_arithmetic_contradicts_is_not_let_in_by_a_replay(
    project: Project, store: Path, stored: Ask
) -> None:
    kept = bury(store, GOLDSKY, "conflict", position(103, index="1", of=0))
    good = bury(store, GOLDSKY, "conflict", position(104))

    answer = project.call("dead-letters", "replay", "--track", GOLDSKY, "--json")

    assert answer.code == 4
    assert (answer.json["passed"], [row["id"] for row in answer.json["refused"]]) == ([good], [kept])
    assert "side swapped" in answer.json["refused"][0]["reason"]
    assert staged(stored, "clob_asset_map_goldsky", 103) == []


def test_only_the_letters_asked_for_are_replayed_and_the_next_step_is_said(
    project: Project, store: Path, stored: Ask
) -> None:
    one, other = (bury(store, DOME, "contract", market(number)) for number in (105, 106))
    answer = project.call("dead-letters", "replay", "--id", one)
    assert answer.code == 0
    assert "next: backfill merge" in answer.out
    assert [row["id"] for row in DeadLetters(store).rows()] == [other]
    assert staged(stored, "clob_asset_map_dome", 106) == []


def test_a_disproven_answer_is_judged_again_and_its_verdict_replaced(
    project: Project, store: Path, stored: Ask
) -> None:
    condition = f"{107:064x}"
    yes, no = token_ids(condition)
    claim = {"token_id": str(yes), "condition_id_norm": condition, "outcome_index": 0, "outcome": None}
    old = {**claim, "verdict": "disproven", "detail": "an error of yesterday"}
    old.pop("outcome")
    stored(lambda warehouse: warehouse.insert("staging.token_proofs", orjson.dumps({**old, "judged_at": 1})))
    bury(store, DOME, "disproven", claim)
    bury(store, DOME, "disproven", {**claim, "token_id": str(no)})

    answer = project.call("dead-letters", "replay", "--json")

    assert (answer.code, answer.json["replayed"], answer.json["still_refused"]) == (4, 1, 1)
    sql = "SELECT verdict FROM staging.token_proofs FINAL WHERE condition_id_norm = {condition:String}"
    assert stored(lambda warehouse: warehouse.fetch(sql, {"condition": condition})) == [{"verdict": "proven"}]


def test_an_unreadable_answer_is_settled_once_its_unit_was_read(project: Project, store: Path, stored: Ask) -> None:
    project.checkpoint(project.plan(), DOME, done=2)
    bury(store, DOME, "unreadable", "<html>", unit=1)
    waiting = bury(store, DOME, "unreadable", "<html>", unit=3)
    assert project.call("dead-letters", "replay", "--json").json["replayed"] == 1
    assert [row["id"] for row in DeadLetters(store).rows()] == [waiting]


def test_a_replay_refuses_while_a_run_holds_the_track(project: Project, store: Path, stored: Ask) -> None:
    bury(store, DOME, "contract", market(108))
    with held(lock_path(project.checkpoints, DOME), what=DOME):
        assert project.call("dead-letters", "replay").code == 7
    assert DeadLetters(store).count(DOME) == 1


def test_a_refused_row_of_an_import_is_imported_once_it_can_be(project: Project, store: Path, stored: Ask) -> None:
    condition = f"{109:064x}"
    row = {"token_id": str(token_ids(condition)[1]), "condition_id": condition, "outcome_index": "1"}
    bury(store, "import_token_map", "refused", row)
    swapped = bury(store, "import_token_map", "disproven", {**row, "outcome_index": "0"})
    torn = bury(store, "import_token_map", "refused", "1,2,3")

    answer = project.call("dead-letters", "replay", "--json")

    assert (answer.code, answer.json["replayed"]) == (4, 1)
    assert {row["id"] for row in answer.json["refused"]} == {swapped, torn}
    sql = "SELECT outcome_index AS i FROM polymarket.ctf_token_map WHERE condition_id_norm = {condition:String}"
    assert stored(lambda warehouse: warehouse.fetch(sql, {"condition": condition})) == [{"i": 1}]
    assert {row["id"] for row in DeadLetters(store).rows()} == {swapped, torn}
