"""The Data API: trades by condition (up to 20 a request) or by wallet, newest first; its second version or its first.

A trade here has neither a fill id nor a place on the chain. Its id is made from its facts and counted among equal rows
of its transaction, which stand together in the feed; the cursor carries the counts of the last one, since a page may
end inside it.

By condition the second version cannot be asked for a window: it shows the last three years, from the newest row on. So
pages are read until they are older than the window; what is newer is passed over. By wallet the window is asked for.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from backfill.engine.model import Page, Request, Unit
from backfill.tracks import contract, rows
from backfill.tracks.rows import Letters
from backfill.tracks.track import Track, Window

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "data_api_fills"
SOURCE = "data_api"
WALLET = "wallet:"
"""Begins an item that names a wallet instead of a condition."""
MOST = 1000
TAGS = 16
TAGGED = range(MOST - TAGS + 1, MOST + 1)
"""First pages ask for up to so many rows less, each question for a number of its own, and the answer repeats it."""
EVERY_SIZE = "0.000001"
"""Shares below which trades are not shown: one micro-share; left out it would be 0.01, and 0 may mean that as well."""
CACHE_S = 300
"""Seconds for which a page of trades may be kept on its way: it shows nothing that is newer."""
COMBO = re.compile(r"0x[0-9a-fA-F]{62}")
COMBINATION = "a combination (Protocol V2), not supported"


class Names(NamedTuple):
    """How a version spells its fields."""

    wallet: str
    token: str
    condition: str
    tx_hash: str

    @cache  # noqa: B019 — there are two of these
    def fields(self) -> contract.Fields:
        """What a row holds; labels, slugs and profiles are of no concern, and the index of an outcome may be 999."""
        condition = contract.Kind("0x and 64 hex digits", lambda value: contract.HASH.holds(value) or is_combo(value))
        return {
            self.wallet: contract.ADDRESS,
            "side": contract.SIDE,
            self.token: contract.TOKEN,
            self.condition: condition,
            "size": contract.NUMBER,
            "price": contract.NUMBER,
            "timestamp": contract.SECONDS,
            self.tx_hash: contract.HASH,
        }


NAMES = {
    1: Names("proxyWallet", "asset", "conditionId", "transactionHash"),
    2: Names("proxy_wallet", "token_id", "condition_id", "transaction_hash"),
}


def is_combo(value: object) -> bool:
    """Whether a condition id is that of a bundle of outcomes: two digits shorter."""
    return isinstance(value, str) and COMBO.fullmatch(value) is not None


class Asked(NamedTuple):
    """What a unit asks for: a wallet, or conditions (64 hex digits) with their windows; `whole` spans them all."""

    wallet: str
    windows: Mapping[str, Window]
    whole: Window


@lru_cache(maxsize=256)
def asked(items: tuple[str, ...]) -> Asked:
    """The items of a unit.

    Raises:
        ValueError: a wallet shares its unit, or an item has no window.
    """
    found = rows.stretches(items)
    whole = Window(min(each.window.start for each in found), max(each.window.end for each in found))
    first = found[0].key
    if first.startswith(WALLET):
        if len(found) > 1:
            raise ValueError("a wallet has its unit to itself")
        return Asked(first.removeprefix(WALLET).lower(), {}, whole)
    return Asked("", {each.key.removeprefix("0x").lower(): each.window for each in found}, whole)


@dataclass(frozen=True, slots=True)
class Spot:
    """Where the reading stands.

    `cursor` is the upstream's (the second version), `offset` counts rows behind the second `at` (the first). `tx` is
    the last transaction, `counts` what it had of each stem. `limit` is what pages are asked to hold, 0 for the usual.
    """

    cursor: str = ""
    at: int = 0
    offset: int = 0
    tx: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    last: str = ""
    limit: int = 0

    def text(self) -> str:
        """The cursor of the engine."""
        short = {"c": self.cursor, "at": self.at, "o": self.offset, "tx": self.tx, "k": dict(self.counts)}
        return orjson.dumps(short | {"last": self.last, "l": self.limit}).decode()


def spot(cursor: str | None) -> Spot:
    """What a cursor means."""
    if cursor is None:
        return Spot()
    found = orjson.loads(cursor)
    return Spot(found["c"], found["at"], found["o"], found["tx"], found["k"], found["last"], found["l"])


class DataApiFills:
    """The lane of the `data_api_fills` track, for version 2 or 1 of the API."""

    name = NAME

    def __init__(self, version: int = 2) -> None:
        self._version, self._names = version, NAMES[version]

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        question, where = asked(unit.items), spot(cursor)
        ask = _second_request if self._version == 2 else _first_request
        return ask(question, where, self._limit(unit, where), len(unit.items))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`. The second version's cursors hold the size of a page, so only the first page can be smaller."""
        where = spot(cursor)
        half = self._limit(unit, where) // 2
        if where.cursor or half < (1 if self._version == 2 else 2):
            return None
        return replace(where, limit=half).text()

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        where = spot(cursor)
        found, following = self._opened(rows.document(NAME, body), unit, where, body)
        if any(_is_large(row) for row in found):
            found, following = self._opened(rows.exact(body), unit, where, body)
        reading = _Reading(unit, self._names, where)
        fresh = reading.behind_overlap(found, body)
        reading.take(fresh, body)
        ended = not fresh if self._version == 1 else not following or reading.at < reading.asked.whole.start
        if ended:
            return Page(reading.lines, len(unit.items), tuple(reading.letters.found))
        after = reading.after(following) if self._version == 2 else reading.after_last(found, body)
        return Page(reading.lines, 0, tuple(reading.letters.found), after.text())

    def _opened(self, document: Any, unit: Unit, where: Spot, body: bytes) -> tuple[list[Any], str]:
        """The rows of an answer, and the upstream's cursor behind them."""
        if self._version == 2:
            return _envelope(document, where, self._limit(unit, where), body)
        if not isinstance(document, list):
            raise rows.unreadable(NAME, "no list of trades", body)
        return document, ""

    def _limit(self, unit: Unit, where: Spot) -> int:
        return where.limit or MOST - rows.tag(unit, None) % TAGS

    def head(self) -> Request:
        """See `Headed`: the second version's own account, whichever version is read."""
        return Request("GET", "/v2/status")

    def read_head(self, body: bytes) -> int:
        """See `Headed`: when the account was made, less its lag, less what a page may have been kept on its way."""
        document = rows.document(NAME, body)
        data = document.get("data") if isinstance(document, dict) else None
        serving = data.get("serving") if isinstance(data, dict) else None
        lag = serving.get("lag_seconds") if isinstance(serving, dict) else None
        if not isinstance(data, dict) or not contract.is_number(lag):
            raise rows.unreadable(NAME, "does not say how far it goes", body)
        try:
            made = dt.datetime.fromisoformat(data["computed_at"])
        except (KeyError, TypeError, ValueError):
            raise rows.unreadable(NAME, "field computed_at: expected ISO 8601", body) from None
        if made.tzinfo is None:
            raise rows.unreadable(NAME, "field computed_at: expected a time with its zone", body)
        return int(made.timestamp() - float(lag)) - CACHE_S


class _Reading:
    """One page on its way from rows to lines. `at` is the second of the oldest row so far."""

    def __init__(self, unit: Unit, names: Names, where: Spot) -> None:
        self.asked, self.lines, self.letters = asked(unit.items), list[bytes](), Letters(NAME, unit)
        self.at = where.at or self.asked.whole.end
        self._unit, self._names, self._fields, self._where = unit.number, names, names.fields(), where
        self._started = where.at > 0
        self._tx, self._counts = where.tx, dict(where.counts)
        self._ours = 0

    def take(self, found: Sequence[Any], body: bytes) -> None:
        """Read all rows.

        Raises:
            Unreadable: they are not in order, or answer another question.
        """
        for row in found:
            if (fault := contract.drift(row, self._fields)) is not None:
                if not self._passed_over(row):
                    self.letters.refuse(row, fault)
                continue
            if self._started and row["timestamp"] > self.at:
                raise rows.unreadable(NAME, "not newest first: a page that was sent before, or another order", body)
            self._started, self.at = True, row["timestamp"]
            self._admit(row)
        self.letters.judge(self._ours, body)

    def _passed_over(self, row: object) -> bool:
        """Whether a row lies outside the window, where the window could not be asked for."""
        at = row.get("timestamp") if isinstance(row, dict) else None
        whole = self.asked.whole
        return not self.asked.wallet and contract.is_count(at) and not whole.start <= at < whole.end

    def _admit(self, row: Mapping[str, Any]) -> None:
        window = self._window(row)
        if window is None:
            self.letters.not_asked(row)
            return
        self._ours += 1
        if not window.start <= row["timestamp"] < window.end:
            return
        if is_combo(row[self._names.condition]):
            self.letters.refuse(row, COMBINATION)
            return
        try:
            self.lines.append(self._line(row))
        except ValueError as error:
            self.letters.refuse(row, str(error))

    def _window(self, row: Mapping[str, Any]) -> Window | None:
        """When a row is wanted; None when it was not asked for."""
        if not self.asked.wallet:
            return self.asked.windows.get(row[self._names.condition][2:].lower())
        whole = self.asked.whole
        mine = row[self._names.wallet].lower() == self.asked.wallet
        return whole if mine and whole.start <= row["timestamp"] < whole.end else None

    def _line(self, row: Mapping[str, Any]) -> bytes:
        facts = _facts(row, self._names)
        price = rows.price_text(facts.usdc, facts.shares)
        return rows.line({
            "fill_id": f"{facts.stem}_{self._ordinal(facts)}",
            "token_id": facts.token,
            "maker": facts.wallet,
            "side": row["side"],
            "shares_micro": facts.shares,
            "usdc_micro": facts.usdc,
            "price": price,
            "timestamp": row["timestamp"],
            "tx_hash": facts.tx_hash,
            "source": SOURCE,
            "track": NAME,
            "unit": self._unit,
        })  # fmt: skip

    def _ordinal(self, facts: _Facts) -> int:
        """The place of a row among its equals, from 0; equals are in one transaction, whose rows stand together."""
        if facts.tx_hash != self._tx:
            self._tx, self._counts = facts.tx_hash, {}
        digits = facts.stem[len(facts.tx_hash) :]
        place = self._counts.get(digits, 0)
        self._counts[digits] = place + 1
        return place

    def after(self, following: str) -> Spot:
        """Where the next page of the second version begins."""
        return replace(self._where, cursor=following, at=self.at, tx=self._tx, counts=self._counts)

    def after_last(self, found: Sequence[Any], body: bytes) -> Spot:
        """Where the next page of the first version begins: with the last row of this one, by its second.

        Offsets are counted inside that second, so that none comes near the depth from which they are refused.
        """
        last = found[-1]
        if not (stem := self._stem(last)):
            raise rows.unreadable(NAME, "the last row is broken, so that nothing can be asked behind it", body)
        at = last["timestamp"]
        same = sum(isinstance(row, dict) and row.get("timestamp") == at for row in found)
        offset = same - 1 + (self._where.offset if at == self._where.at else 0)
        return replace(self._where, at=at, offset=offset, last=stem, tx=self._tx, counts=self._counts)

    def behind_overlap(self, found: Sequence[Any], body: bytes) -> Sequence[Any]:
        """The rows of a page without the one that the page before ended with, where it was asked for again.

        Raises:
            Unreadable: it is not there: the list has moved, or this is another page.
        """
        if not self._where.last:
            return found
        if not found or self._stem(found[0]) != self._where.last:
            raise rows.unreadable(NAME, "does not go on where the page before ended", body)
        return found[1:]

    def _stem(self, row: object) -> str:
        """What tells a row from others; empty where it is broken."""
        try:
            return "" if contract.drift(row, self._fields) is not None else _facts(row, self._names).stem
        except ValueError:
            return ""


class _Facts(NamedTuple):
    tx_hash: str
    token: str
    wallet: str
    shares: int
    usdc: int
    stem: str


def _facts(row: Any, names: Names) -> _Facts:
    """What makes a row what it is.

    Raises:
        ValueError: an amount does not fit the table.
    """
    shares, usdc = rows.micro(row["size"], "size"), rows.money(row["size"], row["price"])
    tx_hash, wallet, token = row[names.tx_hash].lower(), row[names.wallet].lower(), row[names.token]
    return _Facts(
        tx_hash, token, wallet, shares, usdc, rows.keyless_id(tx_hash, token, row["side"], wallet, shares, usdc)
    )


def _second_request(question: Asked, where: Spot, limit: int, count: int) -> Request:
    """Filters are sent with every page: the cursor does not carry them."""
    if question.wallet:
        start, end = question.whole
        # Without a start, or from 0, only three years are shown.
        subject = [("user", question.wallet), ("start", str(max(1, start))), ("end", str(end - 1))]
    else:
        subject = [("condition", ",".join(f"0x{each}" for each in question.windows))]
    filters = [("taker_only", "false"), ("filter_type", "TOKENS"), ("filter_amount", EVERY_SIZE)]
    place = [("limit", str(limit)), *([("cursor", where.cursor)] if where.cursor else [])]
    return Request("GET", "/v2/trades", (*subject, *filters, *place), asked=count)


def _first_request(question: Asked, where: Spot, limit: int, count: int) -> Request:
    subject = ("user", question.wallet) if question.wallet else ("market", ",".join(f"0x{e}" for e in question.windows))
    filters = [("takerOnly", "false"), ("filterType", "TOKENS"), ("filterAmount", EVERY_SIZE)]
    last = where.at if where.last else question.whole.end - 1
    window = [("start", str(max(1, question.whole.start))), ("end", str(last))]
    place = [("limit", str(limit)), ("offset", str(where.offset))]
    return Request("GET", "/trades", (subject, *filters, *window, *place), asked=count)


def _envelope(document: Any, where: Spot, limit: int, body: bytes) -> tuple[list[Any], str]:
    """Rows and cursor of an answer of the second version; no cursor at the end.

    Raises:
        Unreadable: it does not say whether there is more, or answers another question.
    """
    found = document.get("data") if isinstance(document, dict) else None
    paging = document.get("pagination") if isinstance(document, dict) else None
    if not isinstance(found, list) or not isinstance(paging, dict) or not isinstance(paging.get("has_more"), bool):
        raise rows.unreadable(NAME, "no list of trades with its pagination", body)
    if not where.cursor and paging.get("limit") != limit and paging.get("limit") in TAGGED:
        raise rows.other_question(NAME, body)
    if not paging["has_more"]:
        return found, ""
    following = paging.get("next_cursor")
    if not isinstance(following, str) or not following:
        raise rows.unreadable(NAME, "more is to come, but no cursor says where", body)
    if following == where.cursor:
        raise rows.unreadable(NAME, "the cursor does not advance: a page that was sent before", body)
    return found, following


def _is_large(row: object) -> bool:
    """Whether a row has an amount of more digits than a float holds."""
    size = row.get("size") if isinstance(row, dict) else None
    return isinstance(size, float) and size >= rows.EXACT_BELOW


def _make(config: Config) -> DataApiFills:
    return DataApiFills(config.upstreams.data_api.version)


REACH_S = 3 * 365 * 86_400
"""By condition, only the last three years are shown."""
TRACK = Track(NAME, "fills", "data_api", rows.TABLE, "conditions", _make, after="goldsky_fills", reach_s=REACH_S)
