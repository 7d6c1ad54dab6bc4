"""Every track by name, and the tracks of each dataset. A track is the module of its name, with a `TRACK` in it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from backfill.tracks.track import Track

if TYPE_CHECKING:
    from backfill.config import Config

DATASETS: dict[str, tuple[str, ...]] = {
    "markets": ("gamma_markets", "clob_markets"),
    "derive": ("derive_tokens",),
    "fills": ("goldsky_fills", "data_api_fills", "chain_fills", "dome_fills", "clob_fills"),
    "payouts": ("goldsky_payouts", "data_api_payouts", "chain_payouts", "goldsky_positions_payouts"),
    "wallets": ("derive_wallets", "goldsky_wallets", "gamma_wallets", "dome_wallets"),
    "transfers": ("chain_transfers",),
    "positions": ("data_api_positions",),
    "activity": ("goldsky_activity", "data_api_activity", "chain_activity"),
}
"""Datasets in the order in which one builds on another, each with its tracks."""

TRACK_NAMES = tuple(name for names in DATASETS.values() for name in names)


def track(name: str) -> Track:
    """The track of this name."""
    found: Track = import_module(f"backfill.tracks.{name}").TRACK
    return found


def dataset_of(name: str) -> str:
    """The dataset that a track fills; `derive_tokens` fills the tokens too, from markets."""
    return next(dataset for dataset, names in DATASETS.items() if name in names)


def enabled(config: Config, dataset: str) -> tuple[str, ...]:
    """The tracks of a dataset that the config has switched on."""
    return tuple(name for name in DATASETS[dataset] if getattr(config.tracks, name).enabled)
