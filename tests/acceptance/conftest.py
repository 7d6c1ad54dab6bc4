"""One prepared project for all acceptance tests; each test works on a copy of it, against a simulator of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from backfill.simulator.world import World
from tests.acceptance import catch
from tests.acceptance.harness import Shape, Truth, simulator
from tests.acceptance.scenes import MAPPED, SEED, SHAPE, TOKENS, Scene, SceneMaker


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """A prepared project: dumps imported, plan made, warehouse stopped."""
    with catch.prepared(SEED, SHAPE, TOKENS, MAPPED) as folder:
        yield folder


@pytest.fixture
def scene(base: Path, tmp_path: Path) -> Iterator[SceneMaker]:
    """Makes a scene of a config, whose limits the simulator enforces, and of further options of the simulator.

    Everything stops with the test.
    """
    with ExitStack() as stack:

        def enter(context: AbstractContextManager[Any]) -> Any:
            return stack.enter_context(context)

        def make(shape: Shape = SHAPE, faults: Any = "none", **options: Any) -> Scene:
            limits = {"dome_limits": shape.dome_limits, "goldsky_limits": shape.goldsky_limits}
            sim = enter(simulator(seed=SEED, tokens=TOKENS, mapped=MAPPED, faults=faults, **limits, **options))
            project = enter(catch.copied(base, tmp_path / "project", sim, shape))
            return Scene(project, sim, Truth(World.generate(SEED, TOKENS, MAPPED), faults, SEED))

        yield make
