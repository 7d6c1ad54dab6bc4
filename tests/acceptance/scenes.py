"""A scene: a project with its plan made, the upstreams it asks, and the truth about them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from backfill.simulator.process import SimulatorProcess
from tests.acceptance.harness import Project, Shape, Truth, Verdict, judge

SEED, TOKENS, MAPPED = 5, 600, 200
SHAPE = Shape(dome_limits="off", goldsky_limits="off", workers=4, dome_batch=10, goldsky_batch=10)
"""As fast as can be."""
SLOW = Shape(dome_limits="10/1", goldsky_limits="10/1", workers=4, dome_batch=10, goldsky_batch=10)
"""A few seconds of work, so that there is time to do harm."""


class Scene(NamedTuple):
    """What a test works on."""

    project: Project
    sim: SimulatorProcess
    truth: Truth

    def verdict(self) -> Verdict:
        """Everything that is left behind, compared with the truth."""
        return judge(self.project, self.truth, self.sim.summary())


SceneMaker = Callable[..., Scene]
