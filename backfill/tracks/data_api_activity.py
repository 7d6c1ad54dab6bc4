"""Activity of one wallet in a window from the Data API's feed; trades are left to the fills.

The feed has no log index, and equal rows in one transaction are events of their own. So an event's id is a hash of its
facts and its number among equal ones. The feed comes transaction by transaction, and a page may end inside one: the
cursor carries how often each event of the last transaction was seen.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import orjson

from backfill.engine.model import Page, Request, Unit
from backfill.tracks import data_api, values
from backfill.tracks.reading import Foreign, Made, Reading, only, stretch
from backfill.tracks.track import Track, Window, read_item
from backfill.tracks.values import Row, need

NAME = "data_api_activity"
KINDS: Final = {"SPLIT": "split", "MERGE": "merge", "REDEEM": "redeem", "CONVERSION": "convert"}
INCOME: Final = ("MIGRATION", "REWARD", "YIELD", "MAKER_REBATE", "TAKER_REBATE", "REFERRAL_REWARD")
"""Kinds that the chain's own events do not have. Deposits, withdrawals and tips move money and make none."""
TYPES: Final = (*KINDS, *INCOME)


class Place(NamedTuple):
    """Where a wallet's reading stands: rows a page, the API's cursor, and the events seen of the last transaction.

    As a cursor of the engine: JSON of the three.
    """

    limit: int = data_api.MOST_ROWS
    after: str = ""
    tx_hash: str = ""
    seen: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return orjson.dumps(list(self)).decode()


class DataApiActivity:
    """The lane of the `data_api_activity` track; its items are `wallet@from-to`."""

    name = NAME

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`. Both bounds of the feed are inclusive, and a start of 0 would mean the last three years."""
        place, window = _place(cursor), stretch(unit)
        params = [("user", read_item(only(unit)).key), ("type", ",".join(TYPES))]
        params += [("start", str(max(1, window.start))), ("end", str(window.end - 1)), ("limit", str(place.limit))]
        if place.after:
            params.append(("cursor", place.after))
        return Request("GET", "/v2/activity", tuple(params), asked=1)

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`. A cursor binds the limit."""
        del unit
        place = _place(cursor)
        return None if place.after or place.limit == 1 else str(place._replace(limit=place.limit // 2))

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        place = _place(cursor)
        rows, token = data_api.envelope(NAME, body, place.after)
        seen: Counter[str] = Counter(dict(place.seen))
        reading = Reading(NAME, unit, body)
        reading.take(rows, _converter(read_item(only(unit)).key.lower(), stretch(unit), seen))
        if token is None:
            return reading.page(1, None)
        last = next((row["transaction_hash"] for row in reversed(rows) if _has_transaction(row)), place.tx_hash)
        kept = tuple(sorted((key, times) for key, times in seen.items() if key.startswith(last.lower())))
        return reading.page(0, str(Place(place.limit, token, last.lower(), kept)))

    def head(self) -> Request:
        """See `Headed`."""
        return data_api.head()

    def read_head(self, body: bytes) -> int:
        """See `Headed`."""
        return data_api.read_head(NAME, body)


def _place(cursor: str | None) -> Place:
    if cursor is None:
        return Place()
    limit, after, tx_hash, seen = orjson.loads(cursor)
    return Place(limit, after, tx_hash, tuple((key, times) for key, times in seen))


def _has_transaction(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("transaction_hash"), str)


def _converter(wallet: str, window: Window, seen: Counter[str]) -> Callable[[Row], Iterator[Made]]:
    """Rows of this wallet and window; `seen` counts equal events."""

    def convert(row: Row) -> Iterator[Made]:
        kind, at = need(values.text, row, "type"), need(values.moment, row, "timestamp")
        if kind not in TYPES or need(values.address, row, "proxy_wallet") != wallet:
            raise Foreign
        if not window.start <= at < window.end:
            raise Foreign
        tx_hash = need(values.hash32, row, "transaction_hash")
        facts = _facts(row, kind)
        stem = f"{tx_hash}_k{_digest(kind, row, facts)}"
        event_id = f"{stem}_{seen[stem]}"
        seen[stem] += 1
        place = {"event_id": event_id, "wallet": wallet, "timestamp": at, "tx_hash": tx_hash}
        yield event_id, {**facts, **place, "source": data_api.SOURCE}

    return convert


def _facts(row: Row, kind: str) -> Row:
    """What is known of an event. A conversion names its group of markets where others name a condition."""
    size, usdc = values.micro(row, "size"), values.micro(row, "usdc_size")
    facts = {"kind": KINDS.get(kind, kind.lower()), "index_sets": []}
    if kind == "CONVERSION":
        return {**facts, "neg_risk_market_id": values.hash32(row, "condition_id"), "amount_micro": size}
    known = {**facts, "condition_id_norm": values.any_condition(row, "condition_id")}
    if kind in ("SPLIT", "MERGE"):
        return {**known, "amount_micro": need(values.micro, row, "size")}
    return {**known, "payout_micro": usdc if usdc is not None else size}


def _digest(kind: str, row: Row, facts: Row) -> str:
    """32 hex digits: BLAKE2b-128 of the facts, joined by "|"."""
    told = (
        kind,
        facts.get("condition_id_norm") or facts.get("neg_risk_market_id") or "",
        values.token(row, "token_id") or "",
        values.micro(row, "size"),
        values.micro(row, "usdc_size"),
    )
    return hashlib.blake2b("|".join(map(str, told)).encode(), digest_size=16).hexdigest()


TRACK = Track(NAME, "activity", "data_api", "staging.ctf_activity_v2", "wallets", lambda _config: DataApiActivity())
