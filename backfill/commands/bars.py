"""Live bars of the tracks, on a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from backfill.engine.desk import Desk

REFRESH_S = 0.25
COLOURS = {
    "running": "green",
    "done": "cyan",
    "cooling": "yellow",
    "stalled": "red",
    "failed": "red",
    "interrupted": "yellow",
}


def picture(desks: Sequence[Desk]) -> Group:
    """The table of the tracks as they are now."""
    table = Table(box=None, padding=(0, 1), expand=False)
    for title in ("track", "state", "", "asked", "mapped", "coverage", "per s", "ETA", "workers", "429s"):
        table.add_column(title, justify="left" if title in {"track", "state", ""} else "right", no_wrap=True)
    for desk in desks:
        figures, state = desk.figures(), desk.shown_state()
        bar = ProgressBar(total=max(1, figures["total"]), completed=figures["processed"], width=28)
        table.add_row(
            desk.name,
            Text(state, style=COLOURS.get(state, "")),
            bar,
            f"{figures['processed']:,}/{figures['total']:,}",
            f"{figures['inserted']:,}",
            f"{figures['coverage']:.1%}",
            f"{figures['rate']:,.0f}",
            duration(figures["eta_s"]),
            f"{figures['workers_active']}/{figures['workers_total']}",
            str(desk.counted()[1]),
        )
    return Group(table)


def duration(seconds: float | None) -> str:
    """Seconds as a person reads them; – when unknown."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s" if minutes else f"{rest}s"


@asynccontextmanager
async def show_bars(desks: Sequence[Desk]) -> AsyncIterator[None]:
    """Keep the picture fresh for as long as the block runs."""
    with Live(picture(desks), console=Console(stderr=True), auto_refresh=False, transient=False) as live:

        async def refresh() -> None:
            while True:
                live.update(picture(desks), refresh=True)
                await asyncio.sleep(REFRESH_S)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(refresh())
            yield
            task.cancel()
        live.update(picture(desks), refresh=True)


@asynccontextmanager
async def no_bars() -> AsyncIterator[None]:
    """Where there is no terminal."""
    yield
