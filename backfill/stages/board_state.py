"""What the leaderboards were last built from: a build that would come to the same is left out; old days are dropped.

The files of a table have hashes. A merge in the background changes them without changing a row, and then a build is
done that need not have been; no row changes without changing them, so none is left out that would come to something
else. What was built is looked at, too: tables that somebody has emptied are built again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from backfill.warehouse import queries
from backfill.warehouse.client import Warehouse

SOURCES: Final = (
    "wallet_token_pnl", "trade_cashflows_v3", "wallet_unrealized_pnl_v2", "clob_fills", "ctf_token_map", "markets",
    "market_resolutions_final", "pm_user_proxy_wallets", "rebuild_state",
)  # fmt: skip
"""Tables of production that a build reads."""
TABLE: Final = "analytics.leaderboard_state"
DAILY: Final = "leaderboard_omega_daily"


async def sources_hash(warehouse: Warehouse, statements: Sequence[str]) -> str:
    """What the sources are now, with the statements that read them, as one hash; empty where that cannot be told."""
    given = {"database": warehouse.names.production, "tables": list(SOURCES)}
    (found,) = await warehouse.fetch(queries.load("board_source_files"), given)
    tags = await warehouse.fetch_value(queries.load("board_tags"))
    if not int(found["parts"]):
        return ""
    text = orjson.dumps([found["files"], tags, *(queries.load(name) for name in statements)])
    return hashlib.sha256(text).hexdigest()


async def built_before(warehouse: Warehouse, wish: Mapping[str, Any], sources: str) -> dict[str, int] | None:
    """Rows by table when the last build was of this wish and these sources, and its tables still have them."""
    rows = await warehouse.fetch(queries.load("board_last_build"))
    if not rows or not sources or (rows[0]["wish"], rows[0]["sources"]) != (_text(wish), sources):
        return None
    noted = {str(table): int(count) for table, count in rows[0]["rows"].items()}
    there = await warehouse.fetch(queries.load("board_rows"), {"as_of": wish["as_of"]})
    return noted if noted == {row["table"]: int(row["rows"]) for row in there} else None


async def note_build(warehouse: Warehouse, wish: Mapping[str, Any], sources: str, rows: Mapping[str, int]) -> None:
    """Write down what was built; with `sources` empty, that what was built before no longer holds."""
    line = {"what": "build", "wish": _text(wish), "sources": sources, "rows": dict(rows)}
    await warehouse.insert(TABLE, orjson.dumps(line), columns=tuple(line))


def _text(wish: Mapping[str, Any]) -> str:
    return orjson.dumps(dict(wish), option=orjson.OPT_SORT_KEYS).decode()


async def old_days(warehouse: Warehouse, as_of: dt.date, keep_days: int) -> list[dt.date]:
    """Days in the daily table that lie more than `keep_days` before `as_of`; none for 0."""
    if not keep_days:
        return []
    given = {"as_of": as_of, "keep_days": keep_days}
    return [dt.date.fromisoformat(row["as_of"]) for row in await warehouse.fetch(queries.load("board_old_days"), given)]
