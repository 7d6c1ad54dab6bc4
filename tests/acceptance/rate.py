"""The whole world with limits enforced: windows, utilisation, and the time beside what the allowed rates make possible.

The judge is the simulator's own record of arrivals. Run alone by `python -m tests.acceptance.rate`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.acceptance.harness import KEY, Project, Shape, simulator

Figures = list[tuple[str, str, str]]
SHAPE = Shape("10/1,100/10", "50/10", workers=32, dome_batch=100, goldsky_batch=1000, coverage=0.95, progress_s=30)


def fastest(requests: int, windows: list[dict[str, Any]]) -> float:
    """Seconds until the last of so many requests may be sent at the earliest, when every window holds at once.

    In each window of T seconds n requests fit, the first n at once: request number r leaves floor((r - 1) / n) * T
    after the first one, at best.
    """
    return max(((requests - 1) // int(w["requests"]) * float(w["seconds"]) for w in windows), default=0.0)


def measure_rate(traded: int, mapped: int, split: str = "even") -> Figures:
    """Run the tracks over a world of this size, and read the simulator's record."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = {
            "tokens": traded,
            "mapped": mapped,
            "dumps": str(folder / "dumps"),
            "latency_ms": 20.0,
            "jitter_ms": 0.0,
        }
        with simulator(**options) as sim:
            project = Project(folder, {**sim.env, "DOME_API_KEY": KEY, "BACKFILL_RUN__SPLIT": split}, SHAPE)
            for words in (("import", "fills", "dumps/fills.parquet"), ("import", "token-map", "dumps/token_map.csv")):
                _expect(project.run(words[0], words[1], str(folder / words[2]), seconds=600))
            _expect(project.run("setup"))
            sim.summary(reset=True)
            _expect(project.run("run", "tokens", "--no-merge", seconds=3600))
            summary = sim.summary()
            figures = _figures(project, summary, split)
            project.close()
    return figures


def _expect(ended: Any) -> None:
    if ended.code:
        raise SystemExit(f"exit {ended.code}: {ended.err[-2000:]}")


def _figures(project: Project, summary: dict[str, Any], split: str) -> Figures:
    figures: Figures = []
    possible = 0.0
    for upstream in ("dome", "goldsky"):
        record = summary[upstream]
        possible = max(possible, fastest(record["requests"], record["windows"]))
        for window in record["windows"]:
            most = f"{window['max_count']} in any {window['seconds']:g} s"
            figures.append((f"{split}: {upstream}, most arrivals", most, f"≤ {window['requests']}"))
        used = f"{record['utilisation']:.2%} of {record['requests']} requests"
        figures.append((f"{split}: {upstream}, allowed rate used", used, "≥ 98 %"))
        figures.append((f"{split}: {upstream}, answers 429", str(record["sent_429"]), "0"))
    took = max(row["runtime_s"] for row in project.log("track_complete"))
    ratio = took / possible if possible else float("nan")
    figures.append((f"{split}: tracks, seconds", f"{took:.1f} of {possible:.1f} possible = {ratio:.3f}", "≤ 1.05"))
    return figures


def main() -> None:
    """Measure both splits, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traded", type=int, default=118_870)
    parser.add_argument("--mapped", type=int, default=41_130)
    parser.add_argument("--split", choices=["even", "balanced"], default="even")
    chosen = parser.parse_args()
    for row in measure_rate(chosen.traded, chosen.mapped, chosen.split):
        sys.stdout.write(f"{row[0]:<40} {row[1]:>36} {row[2]:>10}\n")


if __name__ == "__main__":
    main()
