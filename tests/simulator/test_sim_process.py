"""The simulator as a process: by its runner and by the command."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import orjson
import pytest
import typer
from typer.testing import CliRunner

from backfill.commands import simulate
from backfill.simulator.process import SimulatorProcess
from backfill.simulator.world import World

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "import typer; from backfill.commands.simulate import simulate; typer.run(simulate)"


def status_of(url: str, key: str = "demo-key") -> int:
    """HTTP status of a GET."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.mark.slow
def test_a_child_process_serves_the_world_it_was_asked_for_and_stops_in_order(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    with SimulatorProcess(seed=7, tokens=100, mapped=30, latency_ms=0, record=str(record)) as sim:
        world = World.generate(seed=7, traded=100, mapped=30)
        assert sim.ready["world"]["traded"] == 100
        assert sim.env["DOME_API_KEY"] == "demo-key"
        token = next(token for token in world.traded if token in world.known_to("dome"))
        assert status_of(f"{sim.dome_url}/polymarket/markets?token_id={token}") == 200
        sim.set_mode("dome", "retired_410")
        assert status_of(f"{sim.dome_url}/polymarket/markets") == 410
        assert [arrival["status"] for arrival in sim.record()] == [200, 410]
        assert sim.summary()["dome"]["requests"] == 2
        sim.set_faults("liar")
        assert sim.lied_about("goldsky")
        assert sim.stop() == 128 + signal.SIGTERM
    assert orjson.loads(record.read_bytes())["summary"]["dome"]["requests"] == 2


@pytest.mark.slow
def test_a_killed_simulator_refuses_connections() -> None:
    with SimulatorProcess(tokens=20, latency_ms=0) as sim:
        sim.kill()
        with pytest.raises(urllib.error.URLError):
            sim.summary()


@pytest.mark.slow
def test_a_child_leaves_when_its_parent_is_gone() -> None:
    code = (
        "from backfill.simulator.process import SimulatorProcess; import os;"
        "s = SimulatorProcess(tokens=20); s.start(); print(s.base_url, flush=True); os._exit(1)"
    )
    url = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT, check=False).stdout
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            status_of(url.strip() + "/_sim/summary")
        except OSError:
            return
    pytest.fail("the simulator outlived its parent by ten seconds")


@pytest.mark.slow
def test_a_child_that_cannot_start_is_an_error_and_not_a_hang(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="did not become ready"):
        SimulatorProcess(faults="nonsense").start()
    assert "nonsense" in capfd.readouterr().err


@pytest.mark.slow
def test_the_command_prints_one_json_document_first_and_ends_by_the_signal(tmp_path: Path) -> None:
    arguments = ["--tokens", "50", "--json", "--dumps", str(tmp_path)]
    with subprocess.Popen([sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout is not None
        ready = orjson.loads(child.stdout.readline())
        assert status_of(ready["dome_url"] + "/polymarket/markets") == 200
        assert Path(ready["token_map"]).is_file()
        assert Path(ready["fills"]).is_file()
        child.send_signal(signal.SIGINT)
        assert child.wait(10) == 128 + signal.SIGINT


@pytest.mark.parametrize(
    "arguments",
    [
        ["--faults", "awful"],
        ["--dome-limits", "ten"],
        ["--goldsky-limits", "0/1"],
        ["--retry-after", "soon"],
        ["--data", "/no/such/folder"],
        ["--data", str(ROOT / "backfill")],
        ["--tokens", "5", "--mapped", "6"],
        ["--tokens", "0"],
    ],
)
def test_what_cannot_be_simulated_is_wrong_usage_in_one_line(arguments: list[str]) -> None:
    app = typer.Typer()
    simulate.register(app)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert len(result.output.strip().splitlines()) == 1


def test_the_text_form_can_be_pasted_into_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    world = {"traded": 2000, "mapped": 692, "seed": 1}
    env = {"DOME_API_KEY": "demo-key"}
    simulate._print_text({"dome_url": "http://d", "goldsky_url": "http://g", "env": env, "world": world})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["dome     http://d", "goldsky  http://g"]
    assert "export DOME_API_KEY=demo-key" in lines


def test_importing_the_command_loads_nothing_heavy() -> None:
    heavy = {"aiohttp", "graphql", "orjson", "gmpy2"}
    code = f"import sys, backfill.commands.simulate; print(sorted({heavy} & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert output.strip() == "[]"
