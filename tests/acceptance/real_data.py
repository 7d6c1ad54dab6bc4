"""Recorded Polymarket data through the whole pipeline: Dome answers from Gamma's markets, Goldsky from the subgraph's.

Run by `python -m tests.acceptance.real_data [FOLDER]`; the folder (default: ../shared/data/real) holds
`gamma_markets.parquet` and `subgraph_token_conditions.parquet`. Every traded token is one of the recorded ones, none is
mapped beforehand, and the two upstreams know different parts of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from backfill.simulator.world import World
from tests.acceptance.harness import KEY, ROOT, Project, Shape, simulator

FOLDER = ROOT.parent / "shared" / "data" / "real"
SHAPE = Shape("100/1,500/10", "100/1", workers=32, dome_batch=100, goldsky_batch=1000, coverage=0.95, progress_s=30)
SOME_FAILED = 4


def run_real(data: Path, mapped: int) -> int:
    """Map the recorded tokens; 0 when every row of the map is right and proven, 1 otherwise."""
    world = World.from_real(data, mapped=mapped)
    known = {name: len(world.known_to(name)) for name in ("dome", "goldsky")}
    _say(f"recorded tokens: {len(world.traded):,}; Dome knows {known['dome']:,}, Goldsky {known['goldsky']:,}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limits = {"dome_limits": SHAPE.dome_limits, "goldsky_limits": SHAPE.goldsky_limits}
        options = {"tokens": 0, "mapped": mapped, "latency_ms": 5.0, "jitter_ms": 0.0, **limits}
        with simulator(data=str(data), dumps=str(folder / "dumps"), **options) as sim:
            project = Project(folder, {**sim.env, "DOME_API_KEY": KEY}, SHAPE)
            try:
                return _pipeline(project, world, folder)
            finally:
                project.close()


def _pipeline(project: Project, world: World, folder: Path) -> int:
    steps = [["import", "fills", str(folder / "dumps" / "fills.parquet")]]
    if world.mapped:
        steps.append(["import", "token-map", str(folder / "dumps" / "token_map.csv")])
    for words in [*steps, ["setup"], ["run", "tokens"]]:
        started = time.monotonic()
        ended = project.run(*words, seconds=1800)
        _say(f"\n$ backfill {' '.join(words[:2])}   ({time.monotonic() - started:.1f} s, exit {ended.code})")
        _say(ended.out.rstrip())
        if ended.code not in (0, SOME_FAILED):
            _say(ended.err[-3000:])
            return 1
    return _compare(project, world)


def _compare(project: Project, world: World) -> int:
    rows = project.query(
        "SELECT toString(token_id), condition_id_norm, outcome_index, proven FROM polymarket.ctf_token_map"
    )
    outcomes: Counter[str] = Counter()
    for token, condition, index, proven in rows:
        right = world.truth[int(token)]
        fits = (condition, index) == (right.condition, right.outcome_index)
        outcomes[f"{'as recorded' if fits else 'NOT as recorded'}, {'proven' if proven else 'NOT proven'}"] += 1
    twice = len(rows) - len({row[0] for row in rows})
    _say(f"\nthe map: {len(rows):,} rows, {twice} tokens twice; {dict(outcomes)}")
    missing = Counter(_kept_out(project).get(t, "no answer") for t in set(world.traded) - {int(r[0]) for r in rows})
    _say(f"not in the map: {dict(missing)}")
    return int(bool(twice or set(outcomes) - {"as recorded, proven"}))


def _kept_out(project: Project) -> dict[int, str]:
    import orjson

    letters = [row for track in ("dome_tokens", "goldsky_tokens") for row in project.letters(track).values()]
    return {int(orjson.loads(row["raw"])["token_id"]): row["reason"] for row in letters if row["class"] == "disproven"}


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run, and end with 1 when the map is not what it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    parser.add_argument("--mapped", type=int, default=0, help="so many of the tokens are in the map already")
    chosen = parser.parse_args()
    if not (chosen.folder / "gamma_markets.parquet").exists():
        _say(f"SKIPPED: no recorded data in {chosen.folder}")
        return
    sys.exit(run_real(chosen.folder, chosen.mapped))


if __name__ == "__main__":
    main()
