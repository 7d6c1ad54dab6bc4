"""The order book API: the fills of the account whose key is set, by windows of time.

A trade tells one match from its taker's side. When the account was the maker, what stands on top is somebody else's
order, and the account's fills are those of `maker_orders` that are its own: of another token perhaps, and several.

Only CONFIRMED trades become rows. FAILED ones never happened. All others are still on their way and are left to a
later run: not even a transaction's hash is certain before. So a window should end some minutes in the past, and the
next one overlap. `timestamp` is the moment of the match, a few seconds before that of the block.

An order filled twice in one transaction would be two rows of one key, without a log index to tell them: the second is
a letter.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from backfill.engine.model import Page, Request, Unit
from backfill.errors import UpstreamUnusable
from backfill.tracks import contract, rows
from backfill.tracks.rows import Letters
from backfill.tracks.track import Track, Window, read_item

if TYPE_CHECKING:
    from backfill.config import Config

NAME = "clob_fills"
SOURCE = "clob"
PATH = "/data/trades"
START, END = "MA==", "LTE="
PREFIX = "TRADE_STATUS_"
FINAL, FAILED = "CONFIRMED", "FAILED"
PENDING = ("MATCHED", "MINED", "RETRYING", "MATCHED_NOT_BROADCASTED")
STATUSES = (FINAL, FAILED, *PENDING)
REVIEWED_FROM = rows.MICRO
MAYBE_MICRO = "a size of a million or more without a point: shares, or micro-shares?"


def _status(value: object) -> str:
    """A status without the prefix that it has here, but not everywhere."""
    return value.removeprefix(PREFIX) if isinstance(value, str) else ""


HASH_OR_NONE = contract.Kind("a transaction hash, or nothing", lambda value: value == "" or contract.HASH.holds(value))
FIELDS: contract.Fields = {
    "status": contract.Kind(f"{PREFIX}{{{', '.join(STATUSES)}}}", lambda value: _status(value) in STATUSES),
    "match_time": contract.SECONDS_TEXT,
    "trader_side": contract.one_of("TAKER", "MAKER"),
    "transaction_hash": contract.optional(HASH_OR_NONE),
}
TAKER_FIELDS: contract.Fields = {
    "taker_order_id": contract.HASH,
    "asset_id": contract.TOKEN,
    "side": contract.SIDE,
    "size": contract.DECIMAL,
    "price": contract.DECIMAL,
}
MAKER_FIELDS: contract.Fields = {
    "order_id": contract.HASH,
    "maker_address": contract.ADDRESS,
    "asset_id": contract.TOKEN,
    "side": contract.SIDE,
    "matched_amount": contract.DECIMAL,
    "price": contract.DECIMAL,
}


class ClobFills:
    """The lane of the `clob_fills` track. `wallet` is the address that trades: the funder, not the key that signs.

    Without one a request cannot be made.
    """

    name = NAME

    def __init__(self, wallet: str) -> None:
        self._wallet = wallet.lower()

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`. Whether the ends of a window are included is not said, so a second more is asked for at each.

        Raises:
            UpstreamUnusable: nobody has said whose trades are wanted.
        """
        if not self._wallet:
            raise UpstreamUnusable(
                "no account is set", kind="no_credentials", where=NAME, remedy="set POLYMARKET_CLOB_ADDRESS"
            )
        window = _window(unit)
        times = (("after", str(max(0, window.start - 1))), ("before", str(window.end)))
        place = ("next_cursor", cursor or START)
        return Request("GET", PATH, (("maker_address", self._wallet), *times, place), asked=len(unit.items))

    def smaller(self, _unit: Unit, _cursor: str | None) -> str | None:
        """See `Lane`: the size of a page is the upstream's."""
        return None

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        found, following = _opened(rows.document(NAME, body), cursor or START, body)
        reading = _Reading(unit, self._wallet)
        for trade in found:
            reading.take(trade)
        reading.letters.judge(reading.ours, body)
        ended = following == END
        letters = tuple(reading.letters.found)
        return Page(
            tuple(reading.lines.values()), len(unit.items) if ended else 0, letters, None if ended else following
        )


def _window(unit: Unit) -> Window:
    (text,) = unit.items
    window = read_item(text).window
    if window is None:
        raise ValueError(f"{text!r} is no window of time")
    return window


def _opened(document: Any, cursor: str, body: bytes) -> tuple[list[Any], str]:
    """The trades of a page, and the cursor behind it.

    Raises:
        Unreadable: it is no page, is cut, or is not the one that was asked for.
    """
    found = document.get("data") if isinstance(document, dict) else None
    following = document.get("next_cursor") if isinstance(document, dict) else None
    if not isinstance(found, list) or not isinstance(following, str) or not following:
        raise rows.unreadable(NAME, "no list of trades with its cursor", body)
    count = document.get("count")
    if contract.is_count(count) and count != len(found):
        raise rows.unreadable(NAME, f"cut: {len(found)} of {count} trades came", body)
    if following == END:
        return found, following
    here, there = _offset(cursor), _offset(following)
    if following == cursor or (here is not None and there is not None and there != here + len(found)):
        raise rows.unreadable(NAME, f"the cursor goes from {here} to {there} over {len(found)} trades", body)
    return found, following


def _offset(cursor: str) -> int | None:
    """The number of rows that a cursor stands behind; None where it is of another kind."""
    try:
        return int(base64.b64decode(cursor, validate=True))
    except ValueError:
        return None


class _Reading:
    """One page on its way from trades to lines, by the id of the fill."""

    def __init__(self, unit: Unit, wallet: str) -> None:
        self.letters, self.lines, self.ours = Letters(NAME, unit), dict[str, bytes](), 0
        self._unit, self._wallet, self._window = unit.number, wallet, _window(unit)

    def take(self, trade: Any) -> None:
        """Read one trade."""
        if (fault := contract.drift(trade, FIELDS)) is not None:
            self.letters.refuse(trade, fault)
            return
        at = int(trade["match_time"])
        if not self._window.start - 1 <= at <= self._window.end:
            self.letters.not_asked(trade)
            return
        self.ours += 1
        if not self._window.start <= at < self._window.end or _status(trade["status"]) != FINAL:
            return
        if not trade.get("transaction_hash"):
            return  # a later run learns it
        if trade["trader_side"] == "TAKER":
            self._fill(trade, trade, TAKER_FIELDS, ("taker_order_id", "size"))
        else:
            self._made(trade)

    def _made(self, trade: Mapping[str, Any]) -> None:
        """The account's own orders among those that a foreign taker met."""
        orders = trade.get("maker_orders")
        mine = [each for each in orders if self._is_mine(each)] if isinstance(orders, list) else []
        if not mine:
            self.letters.refuse(trade, f"field maker_orders: expected orders of {self._wallet}, saw none")
        for order in mine:
            self._fill(trade, order, MAKER_FIELDS, ("order_id", "matched_amount"))

    def _is_mine(self, order: object) -> bool:
        address = order.get("maker_address") if isinstance(order, dict) else None
        return isinstance(address, str) and address.lower() == self._wallet

    def _fill(
        self, trade: Mapping[str, Any], order: Mapping[str, Any], fields: contract.Fields, names: Sequence[str]
    ) -> None:
        """One fill of the account; `names` are those of the order's id and of its size."""
        if (fault := contract.drift(order, fields)) is not None:
            self.letters.refuse(trade, fault)
            return
        identity, size = (order[name] for name in names)
        if "." not in size and int(size) >= REVIEWED_FROM:
            self.letters.refuse(trade, MAYBE_MICRO)
            return
        tx_hash, order_hash = trade["transaction_hash"].lower(), identity.lower()
        try:
            line = self._line(trade, order, (tx_hash, order_hash), size)
        except ValueError as error:
            self.letters.refuse(trade, str(error))
            return
        if self.lines.setdefault(f"{tx_hash}_{order_hash}", line) != line:
            self.letters.refuse(trade, f"order {order_hash} is filled twice in one transaction", "conflict")

    def _line(self, trade: Mapping[str, Any], order: Mapping[str, Any], hashes: tuple[str, str], size: str) -> bytes:
        shares, usdc = rows.micro(size, "size"), rows.money(size, order["price"])
        return rows.line({
            "fill_id": "_".join(hashes),
            "token_id": order["asset_id"],
            "maker": self._wallet,
            "side": order["side"],
            "shares_micro": shares,
            "usdc_micro": usdc,
            "price": rows.price_text(usdc, shares),
            "timestamp": int(trade["match_time"]),
            "tx_hash": hashes[0],
            "order_hash": hashes[1],
            "source": SOURCE,
            "track": NAME,
            "unit": self._unit,
        })  # fmt: skip


def _make(config: Config) -> ClobFills:
    address = config.secrets.polymarket_clob_address
    wallet = getattr(config.upstreams.clob, "wallet", "")
    return ClobFills(wallet or ("" if address is None else address.get_secret_value()))


TRACK = Track(NAME, "fills", "clob", rows.TABLE, "windows", _make)
