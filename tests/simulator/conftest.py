"""Worlds and a client for the simulator's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from backfill.simulator.world import World

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "real"


@pytest.fixture(scope="session")
def world() -> World:
    """A small made-up world."""
    return World.generate(seed=7, traded=600, mapped=200)


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that sends the key Dome accepts."""
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer demo-key"}) as session:
        yield session


@pytest.fixture(scope="session")
def real_folder() -> Path:
    """Recorded data beside the repository; the tests that need it skip, and say so, where it is not."""
    if not REAL.is_dir():
        pytest.skip("SKIPPED LOUDLY: no recorded data at ../shared/data/real, so the real-data tests did not run")
    return REAL
