"""Waiting for a warehouse that is away: say so, try again, go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from backfill.errors import StoreBusy
from backfill.log import Logger

T = TypeVar("T")
FIRST_WAIT_S, LONGEST_WAIT_S, NOTICE_S = 0.25, 10.0, 30.0


async def patiently(
    work: Callable[[], Awaitable[T]],
    log: Logger,
    *,
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    **fields: Any,
) -> T:
    """Do `work` until the warehouse takes it. Only for work that may be repeated.

    `fields` go into the log's `warehouse_away` lines: one at once, then one every half minute.
    """
    wait, away, told = FIRST_WAIT_S, 0.0, 0.0
    while True:
        try:
            result = await work()
        except StoreBusy as error:
            if away >= told:
                log.warning("warehouse_away", error=str(error), seconds=round(away, 1), **fields)
                told = away + NOTICE_S
            await sleep(wait)
            away += wait
            wait = min(LONGEST_WAIT_S, wait * 2)
        else:
            if away:
                log.info("warehouse_back", seconds=round(away, 1))
            return result
