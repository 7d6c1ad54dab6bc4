"""The demo, as a newcomer runs it; and its report, which must be able to say that something does not hold."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from backfill.commands.demo_lab import MARKER, Lab, fresh_folder
from backfill.commands.demo_profit import Money
from backfill.commands.demo_profit import compare as compare_fills
from backfill.commands.demo_report import Comparison, Refusals, Report, compare, lines, refusals
from backfill.errors import TrackHeld

ROOT = Path(__file__).resolve().parents[2]
WINDOW = {"requests": 5, "seconds": 1, "max_count": 5, "exceeded": False}
FIGURES: dict[str, Any] = {"requests": 9, "throttled": 0, "faults": {"late": 2}, "windows": [WINDOW]}


def started(*words: str, **environ: str) -> subprocess.Popen[str]:
    outer = {key: value for key, value in os.environ.items() if not key.startswith("BACKFILL_")}
    return subprocess.Popen(
        [sys.executable, "-m", "backfill", "demo", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**outer, **environ},
    )


def processes_below(folder: Path) -> list[int]:
    """Living processes that name the folder on their command line."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(folder).encode() in each.read_bytes():
                found.append(int(each.parent.name))
        except OSError:
            continue
    return found


def good_money(**changes: Any) -> Money:
    profit = {"wallet": "0xa", "profit_usd": "1.5", "expected_micro": 1_500_000, "difference_micro": 0}
    place = {"rank": 1, "wallet": "0xa", "omega": "2", "realized_pnl_usd": "1.5", "markets": 3}
    values: dict[str, Any] = {
        "fills_expected": 3,
        "fills_found": 3,
        "profits": [profit],
        "passed": True,
        "controls": [True],
        "top": [place],
    }
    return Money(**{**values, **changes})


def good_report(**changes: Any) -> Report:
    values: dict[str, Any] = {
        "folder": "there",
        "world": {},
        "best": 0.99,
        "baseline": {"unique_ids": 10},
        "merge": {"coverage_before": 0.3, "coverage_after": 0.9, "added": 6, "overlap": 1, "conflicts": 1},
        "verify": {"passed": True, "checks": [], "controls": [{"name": "x", "caught": True}]},
        "comparison": Comparison(9, 9, 0, 0, 0),
        "refused": {"t": Refusals(1, 1, 0, {"disproven": 1}, ())},
        "upstreams": {"dome": FIGURES},
        "codes": {"run tokens": 4, "merge": 0},
        "seconds": {"in all": 1.0},
        "money": good_money(),
    }
    return Report(**{**values, **changes})


@pytest.mark.slow
@pytest.mark.timeout(360)
def test_the_demo_is_killed_goes_on_and_ends_with_exactly_the_truth(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo = started("--dir", str(folder), "--tokens", "1500", "--seed", "7", "--json", DOME_API_KEY="a-real-key")
    out, err = demo.communicate(timeout=330)
    assert demo.returncode == 0, err
    report = orjson.loads(out)
    assert report["passed"] and all(claim["passed"] for claim in report["claims"])
    assert [blow["victim"] for blow in report["kills"]] == ["run", "warehouse", "run"]
    found = report["comparison"]
    assert found["expected"] == found["found"] > 1400 and not found["lost"] + found["wrong"] + found["doubled"]
    assert sum(each["false_told"] for each in report["refused"].values()) > 0
    assert report["money"]["fills_found"] > 5000 and len(report["money"]["profits"]) == 4
    assert processes_below(folder) == []
    kept = [path for path in folder.rglob("*") if path.is_file() and path.suffix in {".jsonl", ".out", ".err", ".toml"}]
    assert not [path for path in kept if "a-real-key" in path.read_text(errors="replace")]


@pytest.mark.slow
def test_a_demo_that_is_stopped_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo = started("--dir", str(folder), "--tokens", "3000")
    deadline = time.monotonic() + 60
    while not (folder / "checkpoints" / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(processes_below(folder)) >= 3  # the demo, the run, the warehouse
    demo.send_signal(signal.SIGTERM)
    _, err = demo.communicate(timeout=60)
    assert demo.returncode == 143
    assert err.strip().splitlines()[-1].startswith("backfill: the demo was stopped")
    assert processes_below(folder) == []


def test_a_folder_that_no_demo_has_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    demo = started("--dir", str(tmp_path))
    out, err = demo.communicate(timeout=60)
    assert (demo.returncode, out) == (2, "")
    assert "no demo has made it" in err and "--dir" in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_folder_of_an_earlier_demo_is_emptied_and_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine.txt").write_text("precious")
    folder = tmp_path / "demo"
    with fresh_folder(folder):
        (folder / "old" / "deep").mkdir(parents=True)
        (folder / "link").symlink_to(outside)
    with fresh_folder(folder):
        assert [path.name for path in folder.iterdir()] == [MARKER]
    assert (outside / "mine.txt").read_text() == "precious"


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with fresh_folder(tmp_path / "demo"), pytest.raises(TrackHeld), fresh_folder(tmp_path / "demo"):
        pass


def test_the_users_own_settings_and_keys_do_not_reach_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKFILL_WAREHOUSE__URL", "http://production:8123")
    monkeypatch.setenv("DOME_API_KEY", "a-real-key")
    lab = Lab(tmp_path, live=False, env={"DOME_API_KEY": "pretend"})
    environment = lab._environment()
    assert environment["DOME_API_KEY"] == "pretend"
    assert not [name for name in environment if name.startswith("BACKFILL_")]


def test_lost_wrong_and_doubled_rows_are_told_apart() -> None:
    one, two, three = (1, "a", 0), (2, "b", 1), (3, "c", 0)
    assert compare([one, two], [two, one]).exact
    assert compare([one, two], [one]) == Comparison(2, 1, lost=1, wrong=0, doubled=0)
    assert compare([one], [one, one]) == Comparison(1, 2, lost=0, wrong=0, doubled=1)
    assert compare([one], [(1, "a", 1)]) == Comparison(1, 1, lost=1, wrong=1, doubled=0)
    assert compare([one], [one, three]) == Comparison(1, 2, lost=0, wrong=1, doubled=0)
    assert not compare([one], [one, one]).exact and not compare([one], []).exact


def test_a_lie_that_is_not_among_the_dead_letters_is_missed() -> None:
    def letter(cls: str, raw: Mapping[str, str]) -> dict[str, str]:
        return {"class": cls, "raw": orjson.dumps(raw).decode()}

    lies = {1: "swapped", 2: "other_condition", 3: "condition_not_hex", 4: "swapped", 9: "swapped"}
    conditions = {token: f"cond{token}" for token in lies}
    letters = [letter("disproven", {"token_id": "1"}), letter("contract", {"id": "3"}), letter("contract", {"id": "2"})]
    found = refusals(lies, {1, 2, 3, 4}, conditions, letters)
    assert (found.false_told, found.false_caught, found.malformed_told) == (3, 1, 1)
    assert found.missed == (2, 4)  # a malformed row is no proof against a false one; 9 was never asked for


def test_a_report_in_which_all_is_well_passes() -> None:
    assert good_report().passed
    assert all(text.strip() for text in lines(good_report()))


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("every command ended as it should", {"codes": {"merge": 4}}),
        ("every command ended as it should", {"codes": {"run tokens": -9}}),
        ("the map is exactly the truth", {"comparison": Comparison(9, 10, 0, 0, 1)}),
        ("the map is exactly the truth", {"comparison": None}),
        ("no wrong answer came in unseen", {"refused": {"t": Refusals(1, 0, 0, {}, (5,))}}),
        ("no request window was exceeded", {"upstreams": {"d": {"windows": [{**WINDOW, "exceeded": True}]}}}),
        ("no request window was exceeded", {"upstreams": {}}),
        ("every gate passed", {"verify": {"passed": False, "controls": [{"caught": True}]}}),
        ("every gate passed", {"verify": {}}),
        ("every planted fault was caught", {"verify": {"passed": True, "controls": [{"caught": False}]}}),
        ("every planted fault was caught", {"verify": {"passed": True, "controls": []}}),
    ],
)  # fmt: skip
def test_each_claim_can_fail(claim: str, changes: dict[str, Any]) -> None:
    report = good_report(**changes)
    assert not dict(report.claims())[claim] and not report.passed
    assert not report.document()["passed"]


def test_kills_that_did_not_happen_are_not_counted_as_survived() -> None:
    report = good_report(kills_wanted=3, kills=[{"victim": "run", "pid": 1, "share": 0.3}])
    assert any("2 did not happen" in line for line in lines(report))


def test_fills_are_compared_as_often_as_they_are_there() -> None:
    fill = ("0x1", "0xa", "7", "BUY", 2, 1)
    row = {"tx_hash": "0x1", "maker": "0xa", "token_id": "7", "side": "BUY", "shares_micro": "2", "usdc_micro": "1"}
    for rows, found in (
        ([row], (0, 0, 0)),
        ([], (1, 0, 0)),
        ([row, row], (0, 0, 1)),
        ([{**row, "maker": "b"}], (1, 1, 0)),
    ):
        money = Money()
        compare_fills(money, iter([fill]), rows)
        assert (money.lost, money.extra, money.doubled) == found and money.exact is (found == (0, 0, 0))


@pytest.mark.parametrize(
    "changes",
    [
        {"lost": 1},
        {"doubled": 1},
        {"fills_expected": 0},
        {"profits": []},
        {"profits": [{"wallet": "0xa", "profit_usd": "1", "expected_micro": 0, "difference_micro": 10_000}]},
        {"passed": False},
        {"controls": [True, False]},
        {"controls": []},
        {"top": []},
    ],
)
def test_a_profit_that_is_off_or_a_fill_that_is_lost_does_not_hold(changes: dict[str, Any]) -> None:
    assert good_report().passed
    assert not good_report(money=good_money(**changes)).passed
