"""Kept answers, read again by the lanes of today: what `rederive` does with all of them, and a replay with a few."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import orjson

from backfill.config import Config
from backfill.engine import archive
from backfill.engine.archive import Kept
from backfill.engine.model import Lane, Page
from backfill.engine.plan import PlanBook, TrackPlan
from backfill.errors import BackfillError, StateError
from backfill.tracks import catalog, tokens
from backfill.tracks.track import Track, with_settings

TOKENS = "tokens"
DERIVE = "derive_tokens"
Trouble = Literal["damaged", "gone", "unread"]
"""Why a kept page gives no rows: its bytes are not what was kept, its plan is no longer there, the lane refuses it."""


class Unkept(ValueError):
    """A kept page cannot be read; `kind` says which trouble it is."""

    def __init__(self, kind: Trouble, what: str) -> None:
        super().__init__(what)
        self.kind = kind


def track_of(name: str) -> Track:
    """Any track, those of the tokens too."""
    if name not in tokens.TOKEN_TRACKS:
        return catalog.track(name)
    old = tokens.TOKEN_TRACKS[name]
    return Track(name, TOKENS, old.upstream, f"staging.{old.table}", "tokens", lambda config: tokens.lane(name, config))


def tracks_of(dataset: str) -> tuple[str, ...]:
    """The tracks of a dataset, switched on or not; of the tokens all three.

    Raises:
        KeyError: there is no such dataset.
    """
    return (*tokens.TOKEN_TRACKS, DERIVE) if dataset == TOKENS else catalog.DATASETS[dataset]


def home_of(config: Config, name: str) -> Path:
    """Where the answers of a track are kept."""
    return config.run.data_dir / "raw" / name


class Reader:
    """Reads kept pages of one track, each as the lane would that asked for it with the settings of then."""

    def __init__(self, config: Config, name: str) -> None:
        self.track, self.home = track_of(name), home_of(config, name)
        self._config = config
        self._plan: TrackPlan | None = None
        self._lanes: dict[bytes, Lane] = {}

    def page(self, kept: Kept) -> Page:
        """What a page becomes today.

        Raises:
            Unkept: see its kind.
        """
        try:
            content = archive.body(self.home, kept)
        except (ValueError, OSError) as error:
            raise Unkept("damaged", str(error)) from None
        plan = self._plan_of(kept)
        try:
            return self.lane(kept.about).parse(plan.unit(kept.unit), kept.cursor, content)
        except IndexError as error:
            raise Unkept("gone", f"the plan has no unit {error}") from None
        # A cursor that a lane has since learned to write otherwise is found out by whatever fails first.
        except (BackfillError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            told = str(error) if isinstance(error, BackfillError) else f"{type(error).__name__} {error}"
            raise Unkept("unread", told) from None

    def _plan_of(self, kept: Kept) -> TrackPlan:
        """Pages of a plan stand together, so one is enough to have open."""
        if self._plan is None or self._plan.plan_id != kept.plan:
            try:
                self._plan = PlanBook(self._config.run.checkpoint_dir).past(kept.plan, self.track.name)
            except (StateError, ValueError, TypeError, OSError) as error:
                raise Unkept("gone", str(error)) from None
        return self._plan

    def lane(self, about: Mapping[str, Any]) -> Lane:
        """The lane with the settings of then; without any, with those of today.

        Raises:
            ValueError: today's config does not take them.
        """
        key = orjson.dumps(dict(about))
        if key not in self._lanes:
            self._lanes[key] = self.track.make(with_settings(self._config, self.track.upstream, about))
        return self._lanes[key]


def place_of(kept: Kept) -> str:
    """Which page it is, in words."""
    at = "the beginning" if kept.cursor is None else kept.cursor
    return f"plan {kept.plan} unit {kept.unit} at {at} ({kept.pack} {kept.offset})"
