"""Goldsky: token ids → condition and outcome index, up to 1,000 a request, from the activity subgraph's positions."""

from __future__ import annotations

from typing import Any

import orjson

from backfill.engine.model import DeadLetter, Page, Request, Unit
from backfill.errors import Unreadable
from backfill.tracks import batches

NAME = "goldsky_tokens"
SOURCE = "goldsky"
MOST_OUTCOMES = 256
NOT_ASKED = "was not asked for"
fromhex = bytes.fromhex
PLAIN_INDEX = {"0": 0, "1": 1}
CONDITION_BYTES, CONDITION_CHARS = 32, 66
PLAIN_LINE = b'{"token_id":"%b","condition_id_norm":"%b","outcome_index":%d,"source":"goldsky","unit":%d}'
# `first` defaults to 100 whatever the list of ids, so it is always sent.
QUERY = "query($ids:[ID!]!,$n:Int!){positions(first:$n,where:{id_in:$ids}){id condition outcomeIndex}}"


class GoldskyTokens:
    """The lane of the `goldsky_tokens` track; `subgraph` is name/version of the activity subgraph."""

    name = NAME

    def __init__(self, subgraph: str) -> None:
        self._path = f"/{subgraph}/gn"

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        ids = batches.asked(unit, cursor)
        body = orjson.dumps({"query": QUERY, "variables": {"ids": ids, "n": len(ids)}})
        return Request("POST", self._path, body=body, asked=len(ids))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`."""
        return batches.smaller(unit, cursor)

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        wanted = set(batches.asked(unit, cursor))
        lines: dict[str, bytes] = {}
        letters: list[DeadLetter] = []
        for row in _positions(body):
            # As nearly all rows are; written out here, since a call for each row costs a tenth of the engine's speed.
            # An id that was asked for is a token id, and reading hex digits checks them faster than a pattern does.
            try:
                token, condition, index = row["id"], row["condition"], PLAIN_INDEX[row["outcomeIndex"]]
                digits = condition[2:].lower()
                plain = len(condition) == CONDITION_CHARS and len(fromhex(digits)) == CONDITION_BYTES
                if plain and token in wanted and token not in lines and condition.startswith("0x"):
                    lines[token] = PLAIN_LINE % (token.encode(), digits.encode(), index, unit.number)
                    continue
            except (KeyError, TypeError, ValueError, AttributeError):
                pass
            _read_position(unit, row, wanted, lines, letters)
        if (page := batches.page(unit, cursor, lines, letters, foreign=NOT_ASKED)) is None:
            raise Unreadable("the answer to another question", raw=body, where=NAME)
        return page


def _positions(body: bytes) -> list[Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error}", raw=body, where=NAME) from None
    data = document.get("data") if isinstance(document, dict) else None
    rows = data.get("positions") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise Unreadable("no list of positions", raw=body, where=NAME)
    return rows


def _read_position(unit: Unit, row: Any, wanted: set[str], lines: dict[str, bytes], letters: list[DeadLetter]) -> None:
    def refuse(cls: str, reason: str) -> None:
        letters.append(DeadLetter(NAME, unit.number, cls, reason, orjson.dumps(row).decode()))

    token = row.get("id") if isinstance(row, dict) else None
    if not batches.is_token(token):
        return refuse("contract", "id is not a token id")
    condition = batches.condition_norm(row.get("condition"))
    if condition is None:
        return refuse("contract", "condition is not 0x and 64 hex digits")
    index = _index(row.get("outcomeIndex"))
    if index is None:
        return refuse("contract", "outcomeIndex is not an index")
    if token not in wanted:
        return refuse("contract", NOT_ASKED)
    line = PLAIN_LINE % (token.encode(), condition.encode(), index, unit.number)
    if lines.setdefault(token, line) != line:
        refuse("conflict", f"token {token} is answered twice, differently")


def _index(value: object) -> int | None:
    """BigInt comes as text; a bare number is taken as well."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not str(value).isdecimal():
        return None
    return int(value) if int(value) < MOST_OUTCOMES else None
