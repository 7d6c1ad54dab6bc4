"""`doctor` names what is wrong with its remedy, and its exit code says which kind it is."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from backfill.commands.doctor import exit_code
from backfill.simulator.process import SimulatorProcess
from backfill.stages import checkup, probes
from backfill.stages.probes import DAY_S, LAG_S, Check
from backfill.tracks import chain_abi
from tests.commands.cmd_project import Answer, Project

pytestmark = pytest.mark.usefixtures("stored", "today")
LIVING = ("data_api", "gamma", "polygon")
SUBGRAPHS = {"goldsky.freshness", "goldsky.orderbook", "goldsky.pnl", "goldsky.wallet"}


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pretend history ends on 2026-11-01; the clock stays near it."""
    monkeypatch.setattr(probes, "NOW", dt.datetime(2026, 11, 21, tzinfo=dt.UTC).timestamp)


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
    assert {"config", "disk", "warehouse", "schema", "plan", "dome.reachable", "chain.topics"} <= names
    upstreams_told = {
        f"{name}.{what}" for name in (*LIVING, "dome", "goldsky") for what in ("freshness", "credentials")
    }
    chain = {"polygon.chain_id", "polygon.block_range", "polygon.truncated"}
    capped = {f"{name}.capped" for name in ("dome", "goldsky", "gamma", "clob", "data_api")}
    assert upstreams_told | chain | capped | SUBGRAPHS | {"clob.clock", "clob.credentials"} <= names
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
    [("refused", "credentials"), ("forbidden", "credentials"), ("drop", "reachable"), ("down", "reachable")],
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


def test_stale_mappers_are_named_subgraph_by_subgraph(project: Project, upstreams: SimulatorProcess) -> None:
    for name in ("dome", "goldsky"):
        upstreams.set_mode(name, "stale")
    answer = project.call("doctor", "--json")
    assert answer.code == 5
    assert set(failed(answer)) == {"dome.freshness", *SUBGRAPHS}


@pytest.mark.parametrize("upstream", ["data_api", "gamma", "clob", "polygon"])
@pytest.mark.parametrize(
    ("mode", "check"),
    [("retired_404", "retired"), ("retired_410", "retired"), ("refused", "credentials"), ("down", "reachable")],
)
def test_each_living_source_says_what_is_wrong_with_it(
    project: Project, upstreams: SimulatorProcess, upstream: str, mode: str, check: str
) -> None:
    upstreams.set_mode(upstream, mode)
    answer = project.call("doctor", "--json")
    assert (answer.code, set(failed(answer))) == (5, {f"{upstream}.{check}"})
    assert failed(answer)[f"{upstream}.{check}"]["remedy"]


@pytest.mark.parametrize("upstream", LIVING)
def test_a_living_source_that_stands_still_is_seen_by_the_others(
    project: Project, upstreams: SimulatorProcess, upstream: str
) -> None:
    upstreams.set_mode(upstream, "stale")
    answer = project.call("doctor", "--json")
    assert (answer.code, set(failed(answer))) == (5, {f"{upstream}.freshness"})
    assert "goes on to 2026-1" in failed(answer)[f"{upstream}.freshness"]["detail"]


def test_all_sources_standing_still_are_seen_by_the_clock(project: Project, upstreams: SimulatorProcess) -> None:
    for upstream in LIVING:
        upstreams.set_mode(upstream, "stale")
    assert set(failed(project.call("doctor", "--json"))) == {f"{upstream}.freshness" for upstream in LIVING}


def test_a_source_that_hangs_is_given_up(
    project: Project, upstreams: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "PROBE_S", 0.3)
    upstreams.set_mode("gamma", "hang")
    assert set(failed(project.call("doctor", "--json"))) == {"gamma.reachable"}


def test_a_source_whose_tracks_are_off_is_not_asked(project: Project, upstreams: SimulatorProcess) -> None:
    upstreams.set_mode("gamma", "retired_410")
    for track in ("GAMMA_MARKETS", "GAMMA_WALLETS"):
        project.env[f"BACKFILL_TRACKS__{track}__ENABLED"] = "false"
    answer = project.call("doctor", "--json")
    assert (answer.code, failed(answer)) == (0, {})
    assert "switched off" in told(answer, "gamma.reachable")["detail"]


def test_a_missing_account_is_no_trouble_until_its_track_is_on(project: Project, upstreams: SimulatorProcess) -> None:
    del project.env["POLYMARKET_CLOB_SECRET"]
    answer = project.call("doctor", "--json")
    assert (answer.code, failed(answer)) == (0, {})
    assert "POLYMARKET_CLOB_SECRET" in told(answer, "clob.credentials")["detail"]
    project.env["BACKFILL_TRACKS__CLOB_FILLS__ENABLED"] = "true"
    answer = project.call("doctor", "--json")
    assert (answer.code, set(failed(answer))) == (5, {"clob.credentials"})


def test_a_wrong_key_of_the_account_is_refused(project: Project, upstreams: SimulatorProcess) -> None:
    project.env["POLYMARKET_CLOB_PASSPHRASE"] = "another"
    project.env["BACKFILL_TRACKS__CLOB_FILLS__ENABLED"] = "true"
    answer = project.call("doctor", "--json")
    assert set(failed(answer)) == {"clob.credentials"}
    assert "401" in failed(answer)["clob.credentials"]["detail"]


def told(answer: Answer, name: str) -> dict[str, Any]:
    """One check."""
    return next(check for check in answer.json["checks"] if check["name"] == name)


WIDE = "4000000"
"""Blocks that have fills in them in the pretend world."""


def test_a_node_that_cuts_its_logs_without_a_word_is_found_out(project: Project, upstreams: SimulatorProcess) -> None:
    project.env["BACKFILL_UPSTREAMS__POLYGON__BLOCK_RANGE"] = WIDE
    sound = told(project.call("doctor", "--json"), "polygon.truncated")
    assert sound["ok"] and "the same in halves" in sound["detail"]
    upstreams.configure("polygon", truncate_at=7)
    try:
        answer = project.call("doctor", "--json")
    finally:
        upstreams.configure("polygon", truncate_at=0)
    assert (answer.code, set(failed(answer))) == (5, {"polygon.truncated"})
    assert "without a word" in failed(answer)["polygon.truncated"]["detail"]


def test_a_node_that_takes_fewer_blocks_is_named_with_the_number_that_it_takes(
    project: Project, upstreams: SimulatorProcess
) -> None:
    upstreams.configure("polygon", max_range=300)
    try:
        answer = project.call("doctor", "--json")
    finally:
        upstreams.configure("polygon", max_range=0)
    assert (answer.code, set(failed(answer))) == (5, {"polygon.block_range"})
    assert "block_range = 250" in failed(answer)["polygon.block_range"]["remedy"]


def test_a_node_of_another_chain_is_refused(
    project: Project, upstreams: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "CHAIN_ID", 1)
    answer = project.call("doctor", "--json")
    assert {"polygon.chain_id", "data_api.chain_id"} == set(failed(answer))
    assert "0x89" in failed(answer)["polygon.chain_id"]["detail"]


def test_a_wrong_topic_is_found_without_asking_anybody(
    project: Project, upstreams: SimulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {**chain_abi.TOPICS, "order_filled_v2": chain_abi.TOPICS["order_filled_v1"]}
    monkeypatch.setattr(chain_abi, "check_topics", lambda check=chain_abi.check_topics: check(wrong))
    answer = project.call("doctor", "--json")
    assert (answer.code, set(failed(answer))) == (2, {"chain.topics"})
    assert "order_filled_v2" in failed(answer)["chain.topics"]["detail"]


def test_a_subgraph_of_another_name_is_named_and_the_others_are_looked_at(
    project: Project, upstreams: SimulatorProcess
) -> None:
    project.env["BACKFILL_UPSTREAMS__GOLDSKY__SUBGRAPHS__PNL"] = "pnl-subgraph/9.9.9"
    answer = project.call("doctor", "--json")
    assert set(failed(answer)) == {"goldsky.pnl"}
    assert "subgraphs.pnl" in failed(answer)["goldsky.pnl"]["remedy"]


def test_a_subgraph_is_looked_at_once_its_track_is_switched_on(project: Project, upstreams: SimulatorProcess) -> None:
    project.env["BACKFILL_TRACKS__GOLDSKY_POSITIONS_PAYOUTS__ENABLED"] = "true"
    answer = project.call("doctor", "--json")
    assert (answer.code, failed(answer)) == (0, {})
    assert "positions-subgraph/0.0.7 stands at block" in told(answer, "goldsky.positions")["detail"]
    project.env["BACKFILL_UPSTREAMS__GOLDSKY__SUBGRAPHS__POSITIONS"] = "positions-subgraph/9.9.9"
    assert set(failed(project.call("doctor", "--json"))) == {"goldsky.positions"}


def test_a_node_address_is_shown_without_what_may_be_its_key(project: Project, upstreams: SimulatorProcess) -> None:
    shown = told(project.call("doctor", "--json"), "polygon.reachable")["detail"]
    assert shown.startswith("http://127.0.0.1") and "/polygon" not in shown


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
    remedy = probes.batch_remedy("goldsky", 100)
    assert not probes.capped("goldsky", 100, 1000, more=True, remedy=remedy).ok
    assert "batch = 100" in probes.capped("goldsky", 100, 1000, more=True, remedy=remedy).remedy
    assert probes.capped("goldsky", 1000, 1000, more=False).ok
    assert probes.capped("goldsky", 7, 1000, more=False).ok


def test_a_source_that_ended_is_fresh_when_it_went_on_until_about_then() -> None:
    due = 1_777_374_000
    assert probes.fresh("goldsky.pnl", due, "newest row", due).ok
    assert probes.fresh("goldsky.pnl", due - 89 * DAY_S, "newest row", due).ok
    assert not probes.fresh("goldsky.pnl", due - 91 * DAY_S, "newest row", due).ok
    assert not probes.fresh("goldsky.pnl", None, "newest row", due).ok


def test_a_source_that_lives_is_held_against_the_others_then_against_the_clock() -> None:
    now = 1_790_000_000

    def check(head: int, *others: int) -> Check:
        return probes.living("gamma", head, {"gamma": head, **{str(at): at for at in others}}, now)

    assert check(now).ok and check(now).remedy == ""
    assert check(now - LAG_S - 1).ok and "days behind the clock" in check(now - LAG_S - 1).detail
    assert not check(now - LAG_S - 1, now).ok
    assert check(now - LAG_S, now).ok
    assert not check(now - 91 * DAY_S).ok


def test_the_exit_code_follows_the_contracts_order() -> None:
    checks = [Check("a", False, "", code=5), Check("b", False, "", code=2), Check("c", False, "", code=6)]
    assert exit_code(checks) == 2
    assert exit_code([checks[0], checks[2]]) == 6
    assert exit_code([Check("d", True, "", code=6)]) == 0
