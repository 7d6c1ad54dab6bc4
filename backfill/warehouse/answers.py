"""What a refusal of the warehouse means for its caller: wait (StoreBusy), or stop (WarehouseUnusable)."""

from __future__ import annotations

import re

from backfill.errors import BackfillError, StoreBusy, WarehouseUnusable

# Away, full or overloaded: the same call may succeed later.
_BUSY_CODES = frozenset(
    {
        159,  # TIMEOUT_EXCEEDED
        160,  # TOO_SLOW
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        225,  # NO_ZOOKEEPER
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS (of a table; too many partitions of one insert have the same code, and never pass)
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        394,  # QUERY_WAS_CANCELLED
        425,  # SYSTEM_ERROR
        439,  # CANNOT_SCHEDULE_TASK
        473,  # DEADLOCK_AVOIDED
        999,  # KEEPER_EXCEPTION
    }
)
_BUSY_STATUSES = frozenset({408, 425, 429, 502, 503, 504, 507})
CREDENTIALS = frozenset({192, 193, 194, 497, 516})
_DISK_FULL = ("No space left on device", "errno: 28", "ENOSPC", "Disk quota exceeded")
_CODE = re.compile(r"Code: (\d+)\. ")
_LONGEST = 400


def from_response(status: int, code_header: str | None, body: str) -> BackfillError:
    """The error behind an HTTP answer other than 200; `code_header` is X-ClickHouse-Exception-Code."""
    match = _CODE.search(body)
    if code_header and code_header.isdigit():
        return from_code(int(code_header), body)
    if match:
        return from_code(int(match[1]), body)
    if status in _BUSY_STATUSES:
        return StoreBusy(f"HTTP {status}", where="warehouse", uncertain=True)
    return WarehouseUnusable(f"HTTP {status}, not an answer of ClickHouse", remedy="check warehouse.url")


def from_code(code: int, text: str) -> BackfillError:
    """The error behind a ClickHouse code, carrying the first line of its text."""
    line = first_line(text)
    if (code in _BUSY_CODES and "Too many partitions" not in text) or any(mark in text for mark in _DISK_FULL):
        return StoreBusy(line, where="warehouse")
    if code in CREDENTIALS:
        remedy = "check warehouse.user and BACKFILL_WAREHOUSE__PASSWORD"
        return WarehouseUnusable(line, code=code, remedy=remedy)
    return WarehouseUnusable(line, code=code)


def first_line(text: str) -> str:
    """ClickHouse's own words from its code on, one line, not endless, without version and stack."""
    match = _CODE.search(text)
    line = text[match.start() if match else 0 :].strip().partition("\n")[0]
    line = line.partition(" (version ")[0].removesuffix(".").strip()
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
