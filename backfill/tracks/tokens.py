"""The tracks of the `tokens` dataset, by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backfill.engine.model import Lane
from backfill.tracks import dome_tokens, goldsky_tokens
from backfill.tracks.dome_tokens import DomeTokens
from backfill.tracks.goldsky_tokens import GoldskyTokens

if TYPE_CHECKING:
    from backfill.config import Config

SHORT, SPARSE = "short", "sparse"


@dataclass(frozen=True, slots=True)
class TokenTrack:
    """A way to learn what a token is.

    `table` is its staging table. `recheck` says what is asked once more, because empty is not nothing: Goldsky does not
    say how many rows it found, so whatever came "short" may have been cut; Dome says it in each answer, so only
    "sparse" ones are doubted: an answer that belongs to another, smaller question looks like that.
    """

    name: str
    upstream: str
    table: str
    recheck: str


TOKEN_TRACKS = {
    track.name: track
    for track in (
        TokenTrack(dome_tokens.NAME, "dome", "clob_asset_map_dome", recheck=SPARSE),
        TokenTrack(goldsky_tokens.NAME, "goldsky", "clob_asset_map_goldsky", recheck=SHORT),
    )
}


def lane(name: str, config: Config) -> Lane:
    """The lane of a token track."""
    if name == dome_tokens.NAME:
        return DomeTokens()
    return GoldskyTokens(config.upstreams.goldsky.subgraphs.activity)


def enabled(config: Config) -> tuple[str, ...]:
    """The token tracks that the config has switched on."""
    return tuple(name for name in TOKEN_TRACKS if getattr(config.tracks, name).enabled)
