"""The datasets from the outside: what every lane brings, and what production comes to, is exactly what the world holds.

Clean, with faults, after signals and kills, from stale and retired sources, in windows, by several processes at once,
and after an outage. The broad matrix of seeds, profiles and kills is `make kill-test`.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backfill.simulator.process import SimulatorProcess
from tests.acceptance import truth
from tests.acceptance.harness import Child, Project, until
from tests.acceptance.lanes import ASKED_FOR, DATASETS, Judge, Setting, command, project_at, serving
from tests.acceptance.truth import Rows

SETTING = Setting()
SMALL = Setting(seed=12, tokens=60, bursts=0)
"""Without bursts, for what is done often."""
SYNCED = ("markets", "fills", "payouts", "transfers", "activity")
SYNCED_TRACKS = ("derive_tokens", *(track for dataset in SYNCED for track in DATASETS[dataset]))
DAY = 86_400
MOST_REPEATED = 0.6
"""Share of the first run's requests that a second one may need: to see how far sources go, and to read the overlap."""
FAULTY = "goldsky_positions_payouts"
"""A lane that works only when it is named, which is named to upstreams that fail as well."""
MOST_LOOKUPS = 65
"""Requests of a lane that finds its place by halving (blocks by time, the end of a listing), and has nothing new."""


class Clean(NamedTuple):
    """A project on which every dataset has been run, what production held then, and what that took."""

    project: Project
    sim: SimulatorProcess
    production: Mapping[str, Rows]
    requests: Mapping[str, int]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clean]:
    """Every dataset, lane by lane, nothing going wrong."""
    with serving(SETTING) as sim, project_at(tmp_path_factory.mktemp("clean") / "project", sim) as project:
        ended = project.run("sync", "--json")
        assert ended.code == 0, ended.err
        requests = asked(sim)
        for dataset in DATASETS.keys() - set(SYNCED):
            ended = project.run(*command(dataset, SETTING))
            assert ended.code == 0, ended.err
        production = {dataset: truth.production_rows(project.query, dataset) for dataset in DATASETS}
        for track, dataset in ASKED_FOR.items():
            env = {"BACKFILL_UPSTREAMS__CLOB__WALLET": SETTING.account}
            ended = project.run(*command(dataset, SETTING, track), env=env)
            assert ended.code in (0, 4), ended.err  # 4: the order book tells no two fills of one order apart
        yield Clean(project, sim, production, requests)


@pytest.fixture(scope="module")
def small() -> Iterator[SimulatorProcess]:
    """A simulator of the small setting; whoever changes its ways puts them back."""
    with serving(SMALL) as sim:
        yield sim


@pytest.fixture
def project(small: SimulatorProcess, tmp_path: Path) -> Iterator[Project]:
    """A project of its own for a test on the small setting."""
    with project_at(tmp_path / "project", small) as made:
        yield made
    for upstream in ("dome", "goldsky", "data_api", "gamma", "clob", "polygon"):
        small.set_mode(upstream, "ok")
    small.set_faults("none")
    small.set_clock(SMALL.now)


def asked(sim: SimulatorProcess) -> dict[str, int]:
    """Requests since the last time, by upstream."""
    return {name: int(figures["requests"]) for name, figures in sim.summary(reset=True).items()}


def check(project: Project, setting: Setting, tracks: Any = SYNCED_TRACKS, datasets: Any = SYNCED) -> None:
    """Everything that was synced is exact, and every unit is done."""
    judge = Judge(project, setting.told())
    judge.staged(tracks)
    judge.production(datasets)
    judge.state(tracks)
    assert judge.verdict().good, str(judge.verdict())


def done(project: Project, *words: str, codes: tuple[int, ...] = (0,), **more: Any) -> None:
    """Run a command that has to end well."""
    ended = project.run(*words, **more)
    assert ended.code in codes, f"{words}: {ended.code}\n{ended.err[-3000:]}"


def at_work(project: Project, child: Child, track: str) -> None:
    """Wait until a lane has recorded some progress, or its command is at its end."""
    until(lambda: project.checkpoint(track).get("done") or not child.alive, 30)


def covered(project: Project, track: str) -> dict[str, Any]:
    """A lane's line in the record of what is covered."""
    columns = ("toUnixTimestamp(covered_from)", "toUnixTimestamp(covered_to)", "toUnixTimestamp(newest_row)")
    sql = f"SELECT {', '.join(columns)}, complete, note FROM cascadian_clean.data_sync_status FINAL"
    ((start, end, newest, complete, note),) = project.query(f"{sql} WHERE source = '{track}'")
    return {"from": start, "to": end, "newest": newest, "complete": complete, "note": note}


# --- nothing goes wrong


@pytest.mark.parametrize("track", truth.STAGED)
def test_a_lane_brings_exactly_what_its_source_tells(clean: Clean, track: str) -> None:
    expected = SETTING.told().staged(track)
    assert expected, "a lane without rows proves nothing"
    assert not truth.difference(truth.staged_rows(clean.project.query, track), expected)


@pytest.mark.parametrize("dataset", DATASETS)
def test_production_holds_each_fact_once(clean: Clean, dataset: str) -> None:
    expected = SETTING.told().production(dataset)
    assert expected and not truth.difference(clean.production[dataset], expected)


def test_both_exchanges_and_bursts_of_more_than_a_page_are_in_one_history(clean: Clean) -> None:
    seconds = Counter((order.version, order.token, order.at.timestamp) for order in SETTING.world.ledger.orders)
    bursts = {version: max(count for (v, *_), count in seconds.items() if v == version) for version in (1, 2)}
    assert min(bursts.values()) > 1000
    names = truth.PRODUCTION["fills"].columns
    found = clean.production["fills"]
    versions = Counter(row[names.index("exchange_version")] for row in found.elements())
    twice = Counter(row[names.index("fill_id")] for row in found.elements())
    assert set(versions) == {"1", "2"} and twice.most_common(1)[0][1] == 1


def test_a_second_run_adds_nothing_and_asks_little(clean: Clean) -> None:
    told = SETTING.told()
    before = {track: truth.staged_rows(clean.project.query, track) for track in SYNCED_TRACKS}
    fills = truth.production_rows(clean.project.query, "fills")
    clean.sim.summary(reset=True)
    done(clean.project, "sync", "--json")
    requests = asked(clean.sim)
    for track, rows in before.items():
        assert truth.staged_rows(clean.project.query, track) == rows, track
    assert truth.production_rows(clean.project.query, "fills") == fills
    for dataset in set(SYNCED) - {"fills"}:
        assert truth.production_rows(clean.project.query, dataset) == told.production(dataset), dataset
    nodes = sum(track.startswith("chain") for track in SYNCED_TRACKS)
    assert requests.pop("polygon") <= MOST_LOOKUPS * nodes and requests.pop("clob") <= MOST_LOOKUPS
    first = sum(clean.requests[upstream] for upstream in requests)
    assert sum(requests.values()) <= MOST_REPEATED * first, f"{requests} requests after {clean.requests}"


# --- something goes wrong


def test_every_lane_is_exact_whatever_the_upstreams_do(tmp_path: Path) -> None:
    """Three profiles in three places at once, since most of the time is spent in waiting to try again."""
    profiles = ("mild", "rough", "all")
    commands = [("sync", "--json"), *(command(dataset, SMALL) for dataset in ("wallets", "positions"))]
    commands.append(command(ASKED_FOR[FAULTY], SMALL, FAULTY))
    with ExitStack() as stack:
        sims = [stack.enter_context(serving(SMALL, faults=profile)) for profile in profiles]
        projects = [stack.enter_context(project_at(tmp_path / sim.options["faults"], sim)) for sim in sims]
        for words in commands:
            for child in [project.start(*words) for project in projects]:
                ended = child.wait(240)
                assert ended.code in (0, 4), ended.err[-3000:]
        for project in projects:
            check(project, SMALL, (*SYNCED_TRACKS, *DATASETS["wallets"], *DATASETS["positions"], FAULTY), DATASETS)


def test_a_run_that_was_stopped_goes_on_to_the_exact_end(project: Project) -> None:
    done(project, "run", "markets")
    for dataset, track, number in (
        ("fills", "goldsky_fills", signal.SIGKILL),
        ("activity", "chain_activity", signal.SIGTERM),
        ("activity", "chain_activity", signal.SIGKILL),
    ):
        child = project.start("run", dataset)
        at_work(project, child, track)
        child.signal(number)
        ended = child.wait()
        assert ended.code in (0, 143 if number == signal.SIGTERM else -9), ended.err[-2000:]
    done(project, "sync", "--json")
    check(project, SMALL)


def test_a_stale_source_is_covered_to_where_it_ends_and_others_take_over(
    small: SimulatorProcess, project: Project
) -> None:
    done(project, "run", "markets")
    small.set_mode("goldsky", "stale")
    done(project, "run", "fills")
    starts = sorted(market.start for market in SMALL.world.markets)
    told = SMALL.told(goldsky_until=starts[int(len(starts) * 0.8)])
    judge = Judge(project, told)
    judge.staged(DATASETS["fills"])
    judge.production(["fills"])
    assert judge.verdict().good, str(judge.verdict())
    head = max(int(row[7] or 0) for row in told.staged("goldsky_fills"))
    record = covered(project, "goldsky_fills")
    assert record["to"] == record["newest"] + 1 == head + 1 < truth.GOLDSKY_END


def test_nothing_is_not_believed_of_a_source_that_does_not_reach_so_far(
    small: SimulatorProcess, project: Project
) -> None:
    done(project, "run", "markets")
    ended = project.run("run", "fills", "--track", "goldsky_fills", "--since", "2026-06-01")
    assert ended.code == 5 and "goldsky" in ended.err, ended.err[-2000:]
    assert not truth.staged_rows(project.query, "goldsky_fills")


def test_a_retired_source_is_named(small: SimulatorProcess, project: Project) -> None:
    done(project, "run", "markets")
    small.set_mode("goldsky", "retired_410")
    ended = project.run("run", "payouts", "--track", "goldsky_payouts")
    assert ended.code == 5 and "goldsky" in ended.err.splitlines()[-1], ended.err[-2000:]
    ended = project.run("run", "payouts")
    assert ended.code == 0, ended.err[-2000:]
    (lost,) = [row for row in project.log("track_unusable") if row["track"] == "goldsky_payouts"][-1:]
    assert lost["kind"] == "retired"
    check(project, SMALL, ("data_api_payouts", "chain_payouts"), ("payouts",))
    assert covered(project, "goldsky_payouts")["complete"] == 0


# --- parts, together, later


def test_two_processes_at_once_make_one_history(project: Project) -> None:
    done(project, "run", "markets")
    children = [project.start("run", "fills", "--track", track) for track in ("goldsky_fills", "chain_fills")]
    for child in children:
        ended = child.wait()
        assert ended.code == 0, ended.err[-3000:]
    told = SMALL.told(alone=True)
    judge = Judge(project, told)
    judge.staged(("goldsky_fills", "chain_fills"))
    judge.state(("goldsky_fills", "chain_fills"))
    assert judge.verdict().good, str(judge.verdict())
    # Asked alone, the chain tells of everything, and is believed before all others.
    found = truth.production_rows(project.query, "fills")
    assert not truth.difference(found, told.staged("chain_fills"))


def test_lanes_that_are_settled_one_by_one_give_way_to_the_best(project: Project) -> None:
    """Wallet by wallet, then the subgraph, then the chain: each shows more of an event than the one before."""
    done(project, "run", "markets")
    done(project, *command("activity", SMALL, "data_api_activity"))
    events = SMALL.told().staged("data_api_activity").total()
    assert events and truth.production_rows(project.query, "activity").total() == events
    for track in ("goldsky_activity", "chain_activity"):
        done(project, "run", "activity", "--track", track)
    check(project, SMALL, DATASETS["activity"], ("activity",))


def test_a_window_has_its_first_second_and_not_its_last(project: Project) -> None:
    done(project, "run", "markets")
    times = sorted({order.at.timestamp for order in SMALL.world.ledger.orders})
    since, end = times[len(times) // 3], times[-len(times) // 10]
    assert since < truth.GOLDSKY_END < end
    for dataset in ("fills", "activity", "transfers"):
        done(project, "run", dataset, "--since", str(since), "--until", str(end))
    tracks = [track for dataset in ("fills", "activity", "transfers") for track in DATASETS[dataset]]
    judge = Judge(project, SMALL.told(since=since, until=end))
    judge.staged(tracks)
    judge.production(("fills", "activity", "transfers"))
    assert judge.verdict().good, str(judge.verdict())


def test_sync_after_an_outage_of_three_days(small: SimulatorProcess, project: Project) -> None:
    then = truth.quiet_moment(SMALL.world, SMALL.now - 3 * DAY)
    missed = [order for order in SMALL.world.ledger.orders if then < order.at.timestamp <= SMALL.now]
    assert missed, "an outage in which nothing happens proves nothing"
    small.set_clock(then)
    done(project, "sync", "--json")
    judge = Judge(project, SMALL.told(now=then))
    judge.staged(SYNCED_TRACKS)
    judge.production(SYNCED)
    assert judge.verdict().good, str(judge.verdict())
    small.set_clock(SMALL.now)
    done(project, "sync", "--json")
    check(project, SMALL)
