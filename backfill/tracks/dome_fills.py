"""Dome: the orders of one condition, or of one wallet, newest first.

An order's row is a fill from its maker's side, with the price as a quotient and without the money, which is computed.
Dome says how many rows there are in all, so a list that was cut is seen. First pages ask for a number of rows that is
made from the question and is repeated in the answer, so that another question's empty answer is not taken for ours.

A further fill of one order in one transaction has the same key; its log index is then added to its id, to that of all
but the first. So a transaction is read when its last row has come, and rows of one that a page may have cut are carried
in the cursor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from backfill.engine.model import Page, Request, Unit
from backfill.tracks import contract, rows
from backfill.tracks.rows import Letters
from backfill.tracks.track import Track, Window

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "dome_fills"
SOURCE = "dome"
WALLET = "wallet:"
"""Begins an item that names a wallet instead of a condition."""
MOST = 1000
TAGS = 256
"""First pages ask for up to so many rows less."""
TAGGED = range(MOST - TAGS + 1, MOST + 1)
FIELDS: contract.Fields = {
    "token_id": contract.TOKEN,
    "condition_id": contract.HASH,
    "side": contract.SIDE,
    "shares": contract.COUNT,
    "price": contract.NUMBER,
    "tx_hash": contract.HASH,
    "order_hash": contract.HASH,
    "timestamp": contract.SECONDS,
    "user": contract.ADDRESS,
    "taker": contract.optional(contract.ADDRESS),
    "block_number": contract.optional(contract.COUNT),
    "log_index": contract.optional(contract.COUNT),
}
"""Of these, the last three came in the course of time."""


class Asked(NamedTuple):
    """What a unit asks for: a parameter with its value, and a window."""

    name: str
    value: str
    window: Window


def asked(unit: Unit) -> Asked:
    """The one item of a unit.

    Raises:
        ValueError: there are more, or it has no window.
    """
    (found,) = rows.stretches(unit.items)
    if found.key.startswith(WALLET):
        return Asked("user", found.key.removeprefix(WALLET).lower(), found.window)
    return Asked("condition_id", f"0x{found.key.removeprefix('0x').lower()}", found.window)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where the reading stands: the upstream's key, rows seen, the last row's second and name, and rows held back."""

    key: str = ""
    seen: int = 0
    at: int = 0
    last: str = ""
    held: tuple[Mapping[str, Any], ...] = ()

    def text(self) -> str:
        """The cursor of the engine."""
        return orjson.dumps(
            {"key": self.key, "seen": self.seen, "at": self.at, "last": self.last, "held": self.held}
        ).decode()


def spot(cursor: str | None) -> Spot:
    """What a cursor means."""
    if cursor is None:
        return Spot()
    found = orjson.loads(cursor)
    return Spot(found["key"], found["seen"], found["at"], found["last"], tuple(found["held"]))


class DomeFills:
    """The lane of the `dome_fills` track."""

    name = NAME

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`. Both ends of Dome's times are included, and it refuses a window of one second."""
        question, where = asked(unit), spot(cursor)
        start, end = question.window
        params = [
            (question.name, question.value),
            ("start_time", str(start)),
            ("end_time", str(max(end - 1, start + 1))),
            ("limit", str(_limit(unit, where))),
        ]
        if where.key:
            params.append(("pagination_key", where.key))
        return Request("GET", "/polymarket/orders", tuple(params), asked=1)

    def smaller(self, _unit: Unit, _cursor: str | None) -> str | None:
        """See `Lane`: Dome never gives up on the size of a page."""
        return None

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        where = spot(cursor)
        found, key = _opened(rows.document(NAME, body), where, _limit(unit, where), body)
        letters = Letters(NAME, unit)
        valid = _admitted(found, asked(unit), where, letters, body)
        letters.judge(len(valid), body)
        ready, held = _whole([*where.held, *valid], more=bool(key))
        lines = _lines(unit, ready, letters)
        if not key:
            return Page(lines, 1, tuple(letters.found))
        at = valid[-1]["timestamp"] if valid else where.at
        after = Spot(key, where.seen + len(found), at, _name(found[-1]), tuple(held))
        return Page(lines, 0, tuple(letters.found), after.text())


def _limit(unit: Unit, where: Spot) -> int:
    return MOST if where.key else MOST - rows.tag(unit, None) % TAGS


def _opened(document: Any, where: Spot, limit: int, body: bytes) -> tuple[list[Any], str]:
    """The rows of an answer, and the key of the next page; empty at the end.

    Raises:
        Unreadable: it is no answer, another question's, a page that was sent before, or a list that was cut.
    """
    found = document.get("orders") if isinstance(document, dict) else None
    paging = document.get("pagination") if isinstance(document, dict) else None
    if not isinstance(found, list) or not isinstance(paging, dict) or not isinstance(paging.get("has_more"), bool):
        raise rows.unreadable(NAME, "no list of orders with its pagination", body)
    if not where.key and paging.get("limit") != limit and paging.get("limit") in TAGGED:
        raise rows.other_question(NAME, body)
    if where.last and found and _name(found[-1]) == where.last:
        raise rows.unreadable(NAME, "a page that was sent before", body)
    total, seen = paging.get("total"), where.seen + len(found)
    if not paging["has_more"]:
        if contract.is_count(total) and seen < total:
            raise rows.unreadable(NAME, f"cut: {seen} of {total} orders came", body)
        return found, ""
    key = paging.get("pagination_key")
    if not isinstance(key, str) or not key or not found:
        raise rows.unreadable(NAME, "more is to come, but nothing says where", body)
    if key == where.key:
        raise rows.unreadable(NAME, "the key does not advance: a page that was sent before", body)
    return found, key


def _name(row: Any) -> str:
    """What tells a row from others, as far as it is there."""
    if not isinstance(row, dict):
        return contract.shown(row)
    return "_".join(str(row.get(part)) for part in ("tx_hash", "order_hash", "log_index"))


def _admitted(
    found: Sequence[Any], question: Asked, where: Spot, letters: Letters, body: bytes
) -> list[Mapping[str, Any]]:
    """The rows that are as they should be, with the fields that matter."""
    valid: list[Mapping[str, Any]] = []
    at, (start, end) = where.at, question.window
    for row in found:
        if (fault := contract.drift(row, FIELDS)) is not None:
            letters.refuse(row, fault)
            continue
        if at and row["timestamp"] > at:
            raise rows.unreadable(NAME, "not newest first: a page that was sent before, or another order", body)
        if row[question.name].lower() != question.value or not start <= row["timestamp"] <= max(end - 1, start + 1):
            letters.not_asked(row)
            continue
        at = row["timestamp"]
        valid.append({name: row.get(name) for name in FIELDS})
    return valid


def _whole(found: list[Mapping[str, Any]], *, more: bool) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Rows whose transactions have come whole, and those of the last one, which may go on."""
    if not more or not found:
        return found, []
    first = len(found)
    while first and found[first - 1]["tx_hash"] == found[-1]["tx_hash"]:
        first -= 1
    return found[:first], found[first:]


def _lines(unit: Unit, ready: Sequence[Mapping[str, Any]], letters: Letters) -> list[bytes]:
    window = asked(unit).window
    firsts: dict[str, int] = {}
    for row in ready:
        stem, index = _stem(row), row["log_index"]
        if index is not None:
            firsts[stem] = min(index, firsts.get(stem, index))
    lines = []
    for row in ready:
        if row["timestamp"] >= window.end:
            continue  # asked for only because a window of one second is refused
        try:
            lines.append(_line(unit, row, firsts))
        except ValueError as error:
            letters.refuse(row, str(error))
    return lines


def _stem(row: Mapping[str, Any]) -> str:
    return f"{row['tx_hash']}_{row['order_hash']}".lower()


def _line(unit: Unit, row: Mapping[str, Any], firsts: Mapping[str, int]) -> bytes:
    stem, shares = _stem(row), row["shares"]
    usdc = rows.worth(shares, row["price"])
    is_first = row["log_index"] is None or row["log_index"] == firsts[stem]
    return rows.line({
        "fill_id": stem if is_first else f"{stem}_{row['log_index']}",
        "token_id": row["token_id"],
        "maker": row["user"].lower(),
        "taker": row["taker"].lower() if row["taker"] else None,
        "side": row["side"],
        "shares_micro": shares,
        "usdc_micro": usdc,
        "price": rows.price_text(usdc, shares),
        "timestamp": row["timestamp"],
        "tx_hash": row["tx_hash"].lower(),
        "order_hash": row["order_hash"].lower(),
        "log_index": row["log_index"],
        "block_number": row["block_number"],
        "source": SOURCE,
        "track": NAME,
        "unit": unit.number,
    })  # fmt: skip


def _make(_config: Config) -> DomeFills:
    return DomeFills()


TRACK = Track(NAME, "fills", "dome", rows.TABLE, "conditions", _make)
