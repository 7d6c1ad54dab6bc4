"""`doctor` names what is wrong with its remedy, and its exit code says which kind it is."""

from __future__ import annotations

from typing import Any

import pytest

from backfill.commands.doctor import exit_code
from backfill.simulator.process import SimulatorProcess
from backfill.stages import checkup
from backfill.stages.checkup import Check
from tests.commands.cmd_project import Answer, Project

pytestmark = pytest.mark.usefixtures("stored")


def failed(answer: Answer) -> dict[str, dict[str, Any]]:
    """The checks that are not ok, by name."""
    document = answer.json
    assert set(document) == {"ok", "checks"}
    assert all(set(check) == {"name", "ok", "detail", "remedy"} for check in document["checks"])
    return {check["name"]: check for check in document["checks"] if not check["ok"]}


def test_a_healthy_project_is_ok(project: Project, upstreams: SimulatorProcess) -> None:
    answer = project.call("doctor", "--json")
    assert (answer.code, failed(answer), answer.json["ok"]) == (0, {}, True)
    names = {check["name"] for check in answer.json["checks"]}
    assert {"config", "disk", "warehouse", "schema", "plan", "dome.reachable", "goldsky.freshness"} <= names
    assert "all is well" in project.call("doctor").out


@pytest.mark.parametrize("mode", ["retired_410", "retired_404"])
def test_a_retired_dome_is_named_with_its_end_of_life(project: Project, upstreams: SimulatorProcess, mode: str) -> None:
    upstreams.set_mode("dome", mode)
    answer = project.call("doctor", "--json")
    assert answer.code == 5
    assert set(failed(answer)) == {"dome.retired"}
    assert "2026-04-28" in failed(answer)["dome.retired"]["detail"]
    assert "moves to the other" in failed(answer)["dome.retired"]["remedy"]


def test_a_dome_that_accepts_no_connection_is_read_as_retired(project: Project, upstreams: SimulatorProcess) -> None:
    project.env["BACKFILL_UPSTREAMS__DOME__BASE_URL"] = "http://127.0.0.1:1/v1"
    assert set(failed(project.call("doctor", "--json"))) == {"dome.retired"}
    project.env["BACKFILL_UPSTREAMS__DOME__END_OF_LIFE"] = ""
    assert set(failed(project.call("doctor", "--json"))) == {"dome.reachable"}


@pytest.mark.parametrize(
    ("mode", "check"),
    [("refused", "credentials"), ("forbidden", "credentials"), ("stale", "freshness"), ("drop", "reachable")],
)
def test_each_way_of_being_unusable_has_its_check(
    project: Project, upstreams: SimulatorProcess, mode: str, check: str
) -> None:
    for name in ("dome", "goldsky"):
        upstreams.set_mode(name, mode)
    answer = project.call("doctor", "--json")
    assert answer.code == 5
    assert set(failed(answer)) == {f"dome.{check}", f"goldsky.{check}"}
    assert "moves" not in answer.out, "nobody is left to move to"


def test_a_missing_key_is_named(project: Project, upstreams: SimulatorProcess) -> None:
    del project.env["DOME_API_KEY"]
    answer = project.call("doctor", "--json")
    assert answer.code == 5
    assert "DOME_API_KEY" in failed(answer)["dome.credentials"]["detail"]


def test_an_unusable_warehouse_comes_before_an_unusable_upstream(project: Project, upstreams: SimulatorProcess) -> None:
    upstreams.set_mode("dome", "retired_410")
    project.env["BACKFILL_WAREHOUSE__URL"] = "http://127.0.0.1:1"
    answer = project.call("doctor", "--json")
    assert answer.code == 6
    assert set(failed(answer)) == {"warehouse", "dome.retired"}


def test_a_broken_config_is_one_failed_check(project: Project) -> None:
    project.config_file.write_text("[run]\ndrain_s = 'x'\n")
    answer = project.call("doctor", "--json")
    assert answer.code == 2
    assert "drain_s" in failed(answer)["config"]["detail"]


def test_a_plan_of_another_warehouse_and_a_damaged_plan_are_found(
    project: Project, upstreams: SimulatorProcess
) -> None:
    plan = project.plan()
    answer = project.call("doctor", "--json")
    assert (answer.code, set(failed(answer))) == (2, {"plan"})
    assert "another warehouse" in failed(answer)["plan"]["detail"]
    (project.checkpoints / "plans" / plan.plan_id / "dome_tokens.0.ids").write_bytes(b"\0" * 32)
    assert "was changed" in failed(project.call("doctor", "--json"))["plan"]["detail"]


def test_a_folder_that_is_a_file_is_found(project: Project, upstreams: SimulatorProcess) -> None:
    (project.root / "logs").write_text("")
    answer = project.call("doctor", "--json")
    assert (answer.code, set(failed(answer))) == (2, {"folder.log_file"})


def test_secrets_are_not_repeated() -> None:
    check = Check("dome.reachable", False, "http://me:s3cret@host/v1 said: key topsecret")
    shown = checkup._redacted(check, ["topsecret"]).detail
    assert "s3cret" not in shown and "topsecret" not in shown


def test_a_page_that_ends_early_is_a_cap() -> None:
    assert not checkup._capped("goldsky", 100, 1000, more=True).ok
    assert "batch = 100" in checkup._capped("goldsky", 100, 1000, more=True).remedy
    assert checkup._capped("goldsky", 1000, 1000, more=False).ok
    assert checkup._capped("goldsky", 7, 1000, more=False).ok


def test_a_head_with_indexing_errors_or_old_rows_is_not_fresh() -> None:
    def head(number: int, *, errors: bool = False, newest: str | None = None) -> dict[str, Any]:
        rows = [{"timestamp": newest}] if newest else []
        return {"_meta": {"block": {"number": number}, "hasIndexingErrors": errors}, "splits": rows}

    assert checkup._head(head(87_814_766)).ok
    assert not checkup._head(head(87_814_766, errors=True)).ok
    assert not checkup._head(head(77_000_000)).ok
    assert not checkup._head(head(87_814_766, newest="1700000000")).ok, "rows say more than the head does"
    assert not checkup._head({}).ok


def test_the_exit_code_follows_the_contracts_order() -> None:
    checks = [Check("a", False, "", code=5), Check("b", False, "", code=2), Check("c", False, "", code=6)]
    assert exit_code(checks) == 2
    assert exit_code([checks[0], checks[2]]) == 6
    assert exit_code([Check("d", True, "", code=6)]) == 0
