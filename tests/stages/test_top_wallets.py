"""Wallets without being told which: the largest of the fills that are there, and what each source tells of them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from backfill.config import Config
from backfill.simulator.ledger import WalletPair
from backfill.simulator.server import Simulator
from backfill.simulator.world import World
from backfill.warehouse.client import Warehouse
from tests.stages import rerun
from tests.stages.planted import put_fills, token

TRADERS = 6
Pairs = set[tuple[str, str]]


@pytest.fixture(scope="module")
def traders() -> tuple[WalletPair, ...]:
    """Accounts whose wallet is not their owner's address; the first will trade the most."""
    pairs = World.generate(1, 40, 0, full=True).accounts
    return tuple(pair for pair in pairs if pair.kind != "eoa")[:TRADERS]


@pytest_asyncio.fixture
async def sim() -> AsyncIterator[Simulator]:
    async with rerun.simulator(world=World.generate(1, 40, 0, full=True)) as sim:
        yield sim


@pytest.fixture
def config(server_dir: Path, tmp_path: Path, sim: Simulator) -> Config:
    shutil.rmtree(server_dir / "raw", ignore_errors=True)
    return rerun.project(server_dir, tmp_path, sim)


async def pairs_of(warehouse: Warehouse, source: str) -> Pairs:
    """What a source has told."""
    sql = f"SELECT user_eoa, proxy_wallet FROM staging.pm_user_proxy_wallets_v2 WHERE source = '{source}'"
    return {(row["user_eoa"], row["proxy_wallet"]) for row in await warehouse.fetch(sql)}


async def test_the_largest_are_asked_for_on_the_first_run(
    config: Config, warehouse: Warehouse, traders: tuple[WalletPair, ...]
) -> None:
    for place, pair in enumerate(traders):
        fills = [token(100 * place + number) for number in range(2 * (TRADERS - place))]
        await put_fills(warehouse, fills, maker=pair.wallet)
    outcome = await rerun.run(config, warehouse, "wallets", top=2)
    assert (outcome.problems, outcome.unusable) == ([], {})
    baseline = {wallet.address for wallet in config.baseline_wallets}
    asked = {owner for owner, _ in await pairs_of(warehouse, "derive")}
    assert asked == baseline | {pair.wallet for pair in traders[:2]}
    largest = {(pair.owner, pair.wallet) for pair in traders[:2]}
    assert await pairs_of(warehouse, "goldsky") == largest
    assert await pairs_of(warehouse, "gamma") == set(), "asked with a wallet, a profile names no owner"
    settled = await warehouse.fetch("SELECT user_eoa, proxy_wallet FROM polymarket.pm_user_proxy_wallets")
    assert {(row["user_eoa"], row["proxy_wallet"]) for row in settled} == largest


async def test_profiles_answer_to_owners(config: Config, warehouse: Warehouse, traders: tuple[WalletPair, ...]) -> None:
    owner, wallet = traders[0].owner, traders[0].wallet
    outcome = await rerun.run(config, warehouse, "wallets", "gamma_wallets", wallets=(owner, traders[1].wallet))
    assert outcome.problems == []
    assert await pairs_of(warehouse, "gamma") == {(owner, wallet)}
