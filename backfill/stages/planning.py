"""What each track of a dataset is to ask for: from where it left off to where its source ends, cut by what is there."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any, cast

import orjson

from backfill.config import Config
from backfill.engine.model import Lane
from backfill.engine.plan import Outline, Share
from backfill.errors import StateError, UpstreamUnusable, UsageError
from backfill.log import Logger
from backfill.stages.horizon import (
    Horizon,
    behind,
    blocks_of,
    gone_back,
    horizon,
    one_source,
    reads_state,
    seconds,
    stale,
    when,
)
from backfill.stages.packing import Load, expected, packed, stretches
from backfill.stages.setup import fingerprint
from backfill.tracks import catalog
from backfill.tracks.clob_markets import ClobMarkets
from backfill.tracks.track import Measured, Track, Window, item
from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

HOUR = 3600
DAY = 86_400
MEASURERS = 8
FEW_WALLETS = 1000
"""Wallets that are asked for one by one, when nobody says how many."""
MOST = 1 << 40
NO_END = 1 << 40
"""The end of the last stretch of a listing: it is read to its own end."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for; times in unix seconds. `only` names the one track that is to run."""

    since: int | None = None
    until: int | None = None
    only: str | None = None
    wallets: tuple[str, ...] = ()
    top: int | None = None
    tokens: tuple[str, ...] = ()


@dataclass(slots=True)
class Planner:
    """Makes the plans of one dataset's tracks; `keeps` says whether what was counted is noted in the warehouse."""

    config: Config
    warehouse: Warehouse
    dataset: str
    doors: Mapping[str, Any]
    wish: Wish
    log: Logger
    now: int
    lanes: dict[str, Lane] = field(default_factory=dict)
    horizons: dict[str, Horizon] = field(default_factory=dict)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)
    keeps: bool = True

    async def look(self) -> None:
        """Ask every source how far it goes; one that stands still while the others go on cannot be used."""
        reached = await self._reached()
        async with asyncio.TaskGroup() as group:
            for name in self.doors:
                group.create_task(self._look(catalog.track(name), reached.get(name, 0)))
        freshest = max((each.head for each in self.horizons.values() if each.head and each.head <= self.now), default=0)
        for name, found in self.horizons.items():
            track = catalog.track(name)
            if not found.unusable and reads_state(track) and behind(found, min(freshest, found.wanted)):
                why = f"its data ends {when(found.head or 0)}; that of others goes on to {when(freshest)}"
                self.horizons[name] = found._replace(unusable=stale(track, why))

    async def _reached(self) -> dict[str, int]:
        """How far the source of each track went when it was read before, by this track or another (unix seconds)."""
        rows = await self.warehouse.fetch(queries.load("sync_status"))
        known = {row["source"]: int(row["covered_to"] or 0) for row in rows if row["source"] in catalog.TRACK_NAMES}
        reached = {}
        for name in self.doors:
            same = [each for each in known if each == name or one_source(catalog.track(each), catalog.track(name))]
            reached[name] = max((known[each] for each in same), default=0)
        return reached

    async def outline(self, name: str) -> Outline | None:
        """The plan of one track; None when its source cannot be used.

        Raises:
            StateError: there is nothing to plan from yet.
        """
        share = await self._share_or_none(catalog.track(name))
        if share is None:
            return None
        baseline = {"window": self.notes.get(name), "wish": asdict(self.wish)}
        here = await fingerprint(self.config, self.warehouse)
        # To the microsecond: two plans of one second would otherwise be one, letters and kept answers included.
        made = dt.datetime.now(dt.UTC).isoformat()
        return Outline(here, "", baseline, {name: share}, made, name=name)

    @property
    def unusable(self) -> dict[str, UpstreamUnusable]:
        """The tracks that cannot work now, and why."""
        return {name: found.unusable for name, found in self.horizons.items() if found.unusable}

    async def _look(self, track: Track, reached: int) -> None:
        self.lanes[track.name] = lane = track.make(self.config)
        until = min(self.wish.until or self.now, self.now)
        found = await horizon(self.config, track, lane, self.doors[track.name], self.log, until)
        if not found.unusable and (error := gone_back(track, found, reached)) is not None:
            found = found._replace(unusable=error)
        if not found.unusable and self.wish.only and self.wish.since and found.end <= self.wish.since:
            why = f"covers nothing after {found.end}, but history since {self.wish.since} was asked for"
            found = Horizon(0, UpstreamUnusable(why, kind="stale", where=track.upstream))
        self.horizons[track.name] = found

    async def _share_or_none(self, track: Track) -> Share | None:
        if self.horizons[track.name].unusable:
            return None
        try:
            return await self._share(track)
        except UpstreamUnusable as error:
            self.horizons[track.name] = Horizon(0, error)
            return None

    async def _share(self, track: Track) -> Share:
        if reads_state(track):
            # Whatever was read is how things were then, and not later.
            self.notes[track.name] = {"from": None, "to": self.horizons[track.name].end, "blocks": None}
        match track.scope:
            case "listing":
                return Share(("closed", "open"), 1)
            case "offsets":
                return await self._offsets(track)
            case "windows":
                return await self._windows(track)
            case "blocks":
                return await self._blocks(track)
            case "tokens":
                return await self._keys(track, "token", self.wish.tokens or await self._column("known_tokens"))
            case "conditions":
                return await self._conditions(track)
            case "wallets":
                return await self._wallets(track)

    # --- stretches

    async def _window(self, track: Track, covered_to: int = 0) -> Window:
        """What of the history this track is to read; empty when that is all there."""
        start = self.wish.since
        if start is None:
            start = max(seconds(self.config.run.history_from), covered_to - self.config.sync.overlap_s)
        if track.reach_s and not self.wish.wallets:
            start = max(start, self.now - track.reach_s)
        return Window(max(start, self._after(track)), self.horizons[track.name].end)

    def _after(self, track: Track) -> int:
        """Where the track begins that reads history before this one; 0 when it is not there to read it."""
        before = self.horizons.get(track.after)
        return before.end if before and not before.unusable and not self.wish.only else 0

    async def _windows(self, track: Track) -> Share:
        covered = await self._covered_end(track, "all")
        window = await self._window(track, covered)
        self._note(track, window)
        hours = getattr(self.config.tracks, track.name).hours
        # Enough units for all workers, however short the window is.
        size = min(hours * HOUR, max(HOUR, (window.end - window.start) // (4 * self._workers(track) or 1)))
        return Share([item(window=each) for each in stretches(window, size)], 1)

    async def _blocks(self, track: Track) -> Share:
        lane: Any = self.lanes[track.name]
        window = await self._window(track)
        if window.start >= window.end:
            return Share((), 1)
        first, margin = lane.since, self.config.upstreams.polygon.confirmations
        blocks, times = await blocks_of(self.doors[track.name], window, first=first, confirmations=margin)
        covered = await self._covered_end(track, "blocks", blocks.start) if self.wish.since is None else 0
        blocks = Window(max(blocks.start, covered - margin), blocks.end)
        self._note(track, Window(window.start, times[blocks.end]), blocks)
        size = getattr(self.config.tracks, track.name).batch
        size = max(1, min(size, (blocks.end - blocks.start) // (2 * self._workers(track)) or 1))
        return Share([item(window=each) for each in stretches(blocks, size)], 1)

    async def _offsets(self, track: Track) -> Share:
        lane: Any = self.lanes[track.name]
        size, door = getattr(self.config.tracks, track.name).batch, self.doors[track.name]
        low, high = 0, size

        async def reaches(offset: int) -> bool:
            rows, _ = await door.fetch(lane.end_probe(offset), lambda body: lane.read_end(body, offset))
            return bool(rows)

        while await reaches(high):
            low, high = high, 2 * high
        while high - low > size:
            middle = (low + high) // 2 // size * size
            low, high = (middle, high) if await reaches(middle) else (low, middle)
        known = int(await self.warehouse.fetch_value(queries.load("staged_markets"), {"source": track.upstream}))
        # A cut page looks like the end, but hardly twice at the same place.
        if low < known and (rows := max([await self._listed(track, low, high) for _ in range(2)])) < known:
            raise stale(track, f"its listing has {rows} rows, but {known} markets of it are known")
        bounds = [*range(0, low + 1, size), NO_END]
        return Share([item(window=Window(a, b)) for a, b in pairwise(bounds)], 1)

    async def _listed(self, track: Track, low: int, high: int) -> int:
        """The rows of a listing that ends between two offsets."""
        lane, door = cast(ClobMarkets, self.lanes[track.name]), self.doors[track.name]
        while low < high:
            middle = (low + high) // 2
            rows, _ = await door.fetch(lane.end_probe(middle), lambda body, at=middle: lane.read_end(body, at))
            low, high = (middle + rows, max(high, middle + rows)) if rows else (low, middle)
        return low

    # --- keys

    async def _conditions(self, track: Track) -> Share:
        settings = getattr(self.config.tracks, track.name)
        if track.dataset == "derive":
            return Share(await self._column("derivable_conditions"), settings.batch)
        if track.dataset == "payouts":
            source = track.name.removesuffix(f"_{track.dataset}")
            return Share(await self._column("unresolved_conditions", source=source), settings.batch)
        if self.wish.wallets:
            window = await self._window(track)
            self._note(track, window)
            return Share([item(f"wallet:{wallet}", window) for wallet in self.wish.wallets], 1)
        window = await self._window(track)
        rows = await self._known_conditions()
        open_ones = [row for row in rows if row["closed_at"] in (0, "0") or int(row["closed_at"]) + DAY > window.start]
        fills = {row["key"]: int(row["fills"]) for row in open_ones}
        return await self._keys(track, "condition", [row["key"] for row in open_ones], fills)

    async def _known_conditions(self) -> list[dict[str, Any]]:
        rows = await self.warehouse.fetch(queries.load("known_conditions"))
        if not rows:
            raise nothing_known()
        return rows

    async def _keys(self, track: Track, kind: str, keys: Sequence[str], rows: Mapping[str, int] | None = None) -> Share:
        """Keys with their windows, packed by the rows that are to be expected."""
        if not keys:
            raise nothing_known()
        settings = getattr(self.config.tracks, track.name)
        windows = await self._key_windows(track, kind, keys)
        wanted = [key for key in keys if windows[key].start < windows[key].end]
        rows = rows if rows is not None else await self._measured(track, wanted)
        start = seconds(self.config.run.history_from)
        history = Window(start, max(start + 1, self.horizons[track.name].end))
        loads = [Load(key, windows[key], expected(rows, [key], windows[key], history)[0]) for key in wanted]
        whole = Window(min((load.window.start for load in loads), default=history.end), history.end)
        self._note(track, whole)
        packing = packed(loads, most_keys=settings.batch, most_rows=getattr(settings, "rows", settings.batch))
        return Share(packing.items, settings.batch, packing.sizes)

    async def _key_windows(self, track: Track, kind: str, keys: Sequence[str]) -> dict[str, Window]:
        if self.wish.since is not None:
            window = await self._window(track)
            return dict.fromkeys(keys, window)
        arguments = {"dataset": track.dataset, "source": track.name, "kind": kind}
        found = await self.warehouse.fetch(queries.load("covered_keys"), arguments)
        start = (await self._window(track)).start
        covered = {row["key"]: contiguous(row["stretches"], start) for row in found}
        distinct = {end: await self._window(track, end) for end in {0, *covered.values()}}
        return {key: distinct[covered.get(key, 0)] for key in keys}

    async def _wallets(self, track: Track) -> Share:
        settings = getattr(self.config.tracks, track.name)
        wallets = self.wish.wallets or await self._largest_wallets(track, settings.batch)
        if track.name == "data_api_activity":
            window = await self._window(track)
            self._note(track, window)
            return Share([item(wallet, window) for wallet in wallets], 1)
        return Share(list(wallets), settings.batch)

    async def _largest_wallets(self, track: Track, batch: int) -> tuple[str, ...]:
        most = self.wish.top or (FEW_WALLETS if batch == 1 else MOST)
        named = [wallet.address for wallet in self.config.baseline_wallets]
        return tuple(dict.fromkeys((*named, *await self._column("top_wallets", most=most))))

    # --- what is there

    async def _measured(self, track: Track, keys: Sequence[str]) -> dict[str, int]:
        """Rows by key, as the source counts them; what was counted before is not counted again."""
        lane = self.lanes[track.name]
        arguments = {"dataset": track.dataset, "source": track.name}
        found = await self.warehouse.fetch(queries.load("measured"), arguments)
        known = {row["key"]: int(row["rows"]) for row in found}
        if isinstance(lane, Measured):
            missing = [key for key in keys if key not in known]
            known |= await self._measure(track, lane, missing)
        return known

    async def _measure(self, track: Track, lane: Measured, keys: Sequence[str]) -> dict[str, int]:
        parts = [keys[at : at + lane.measure_batch] for at in range(0, len(keys), lane.measure_batch)]
        queue, found = iter(parts), {}
        if parts:
            self.log.info("measuring", track=track.name, keys=len(keys), requests=len(parts))

        async def take() -> None:
            for part in queue:
                counts = await self.doors[track.name].fetch(
                    lane.measure(part), lambda body, part=part: lane.read_measure(part, body)
                )
                await self._keep_measure(track, counts)
                found.update(counts)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(MEASURERS, len(parts))):
                group.create_task(take())
        return found

    async def _keep_measure(self, track: Track, counts: Mapping[str, int]) -> None:
        rows = ({"dataset": track.dataset, "source": track.name, "key": k, "rows": n} for k, n in counts.items())
        if self.keeps and (body := b"\n".join(map(orjson.dumps, rows))):
            await self.warehouse.insert("staging.density", body)

    async def _covered_end(self, track: Track, kind: str, start: int | None = None) -> int:
        """Where the first gap begins that a track has left behind `start`; 0 when it has covered nothing there."""
        arguments = {"dataset": track.dataset, "source": track.name, "kind": kind}
        rows = await self.warehouse.fetch(queries.load("covered_stretches"), arguments)
        wanted = start if start is not None else seconds(self.config.run.history_from)
        return contiguous([(row["covered_from"], row["covered_to"]) for row in rows], wanted)

    async def _column(self, query: str, **arguments: object) -> list[str]:
        body = b"".join([chunk async for chunk in self.warehouse.stream(queries.load(query), arguments)])
        return body.decode().split()

    def _workers(self, track: Track) -> int:
        return int(getattr(self.config.tracks, track.name).workers)

    def _note(self, track: Track, window: Window, blocks: Window | None = None) -> None:
        """For the record of what was covered."""
        self.notes[track.name] = {"from": window.start, "to": window.end, "blocks": blocks and list(blocks)}


def contiguous(covered: Sequence[Sequence[str | int]], start: int) -> int:
    """The end of the covered stretch that reaches over `start`; 0 when none does. Stretches are sorted."""
    end = start
    for low, high in covered:
        if int(low) > end:
            break
        end = max(end, int(high))
    return end if end > start else 0


def nothing_known() -> StateError:
    """There are no markets to ask about."""
    return StateError(
        "no market or token is known yet", where="markets", remedy="backfill run markets; or backfill import token-map"
    )


def check_wish(dataset: str, wish: Wish) -> None:
    """Refuse what makes no sense for a dataset.

    Raises:
        UsageError: see the text.
    """
    if wish.since is not None and wish.until is not None and wish.since >= wish.until:
        raise UsageError("--since is not before --until")
    if wish.only and wish.only not in catalog.DATASETS[dataset]:
        names = ", ".join(catalog.DATASETS[dataset])
        raise UsageError(f"--track {wish.only}: no such track of {dataset}", remedy=f"one of {names}")
    if wish.tokens and not (wish.only and catalog.track(wish.only).scope == "tokens"):
        able = ", ".join(name for name in catalog.DATASETS[dataset] if catalog.track(name).scope == "tokens")
        raise UsageError(
            "--token wants --track and a track that asks by token", remedy=f"of {dataset}: {able or 'none'}"
        )
