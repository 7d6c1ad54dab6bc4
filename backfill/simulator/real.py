"""Recorded answers of the real services as the contents of a world."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from .ids import token_id
from .model import Mapping, Market

MARKETS_FILE = "gamma_markets.parquet"
CONDITIONS_FILE = "subgraph_token_conditions.parquet"
_CONDITION_HEX = 64
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Real:
    """What the two recordings say."""

    markets: list[Market]
    goldsky: dict[int, Mapping]


def read_real(folder: Path) -> Real:
    """Read both recordings of a folder."""
    markets = _markets(_rows(folder / MARKETS_FILE))
    listed = {token: market for market in markets for token in market.tokens}
    goldsky = {}
    for row in _rows(folder / CONDITIONS_FILE):
        token = int(row["token_id"])
        goldsky[token] = _mapping(token, row, listed.get(token))
    return Real(markets, goldsky)


def _rows(path: Path) -> list[Row]:
    import pyarrow.parquet as pq  # type: ignore[import-untyped, unused-ignore]

    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file, expected a recording of {path.stem}")
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def _mapping(token: int, row: Row, market: Market | None) -> Mapping:
    condition, index = row["condition"].removeprefix("0x").lower(), int(row["outcome_index"])
    if market is None:
        return Mapping(condition, index, None, None, _neg_risk(token, condition, index))
    neg_risk = market.neg_risk if market.neg_risk is not None else _neg_risk(token, condition, index)
    return Mapping(condition, index, market.labels[market.tokens.index(token)], market.slug, neg_risk)


def _neg_risk(token: int, condition: str, index: int) -> bool | None:
    """Whose collateral makes this id; None when neither does, which would be a wrong row."""
    for neg_risk in (False, True):
        if token_id(bytes.fromhex(condition), index, neg_risk) == token:
            return neg_risk
    return None


def _markets(rows: list[Row]) -> list[Market]:
    """Markets with at least two token ids and a proper condition; the first market to name a token keeps it."""
    seen: set[int] = set()
    markets = []
    for row in rows:
        market = _market(row)
        if market is not None and seen.isdisjoint(market.tokens):
            seen.update(market.tokens)
            markets.append(market)
    return markets


def _market(row: Row) -> Market | None:
    """One listing row as a market; of more than two outcomes only the first two, all that Dome's row can show."""
    tokens = [int(token) for token in _json_list(row.get("clob_token_ids")) if token]
    labels = _json_list(row.get("outcomes"))
    condition = (row.get("condition_id") or "").removeprefix("0x").lower()
    if len(set(tokens)) < 2 or len(labels) < 2 or len(condition) != _CONDITION_HEX or not row.get("slug"):
        return None
    closed_at = _unix(row.get("closed_time")) if row.get("closed") else None
    return Market(
        condition=condition,
        tokens=(tokens[0], tokens[1]),
        labels=(str(labels[0]), str(labels[1])),
        slug=row["slug"],
        title=row.get("question") or row["slug"],
        event_slug=row.get("event_slug"),
        tags=(),
        start=_unix(row.get("start_date")) or _unix(row.get("created_at")) or 0,
        end=_unix(row.get("end_date")),
        closed_at=closed_at,
        winner=_winner(_json_list(row.get("outcome_prices"))) if closed_at else None,
        volume=float(row.get("volume_usd") or 0.0),
        neg_risk=_known_neg_risk(row, condition, tokens[0]),
    )


def _known_neg_risk(row: Row, condition: str, token: int) -> bool | None:
    """As listed; for the old rows that do not say, as the token id itself tells."""
    listed: bool | None = row.get("neg_risk")
    return _neg_risk(token, condition, 0) if listed is None else listed


def _winner(prices: list[Any]) -> int | None:
    """Index of the outcome that pays 1. A price near 1 is not a payout, so only exact ones count."""
    return prices.index("1") if sorted(prices) == ["0", "1"] else None


def _json_list(text: str | None) -> list[Any]:
    value = orjson.loads(text) if text else []
    return value if isinstance(value, list) else []


def _unix(text: str | None) -> int | None:
    """Unix seconds of an ISO time; recordings end in `Z`, `+00` or nothing, and mean UTC."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
