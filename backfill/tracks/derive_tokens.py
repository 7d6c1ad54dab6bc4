"""Token ids of known conditions, computed: no upstream is asked, and every row proves itself.

Which collateral a market uses decides its ids, so an item says it: `condition/0` is backed by USDC.e, `condition/1` is
neg-risk. Of a bare `condition` that is unknown, and an id that may not exist is not made up: it gives no row.
"""

from __future__ import annotations

from itertools import chain
from typing import Final

import orjson

from backfill import ids
from backfill.engine.model import DeadLetter, Page, Request, Unit
from backfill.errors import Unreadable
from backfill.tracks import batches
from backfill.tracks.rows import document
from backfill.tracks.track import Track

NAME = "derive_tokens"
COLLATERALS: Final = {"0": ids.USDC_E, "1": ids.WCOL}
_LINE: Final = b'{"token_id":"%d","condition_id_norm":"%b","outcome_index":%d,"source":"derive","proven":1,"unit":%d}'
_OUTCOMES: Final = 2


class DeriveTokens:
    """The lane of the `derive_tokens` track."""

    name = NAME

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`. The body goes to `derive`."""
        items = batches.asked(unit, cursor)
        return Request("LOCAL", "derive", body=orjson.dumps(items), asked=len(items))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`."""
        return batches.smaller(unit, cursor)

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`."""
        items = batches.asked(unit, cursor)
        answers = document(NAME, body)
        if not isinstance(answers, list) or len(answers) != len(items):
            raise Unreadable(f"expected {len(items)} answers", raw=body, where=NAME)
        letters = [
            DeadLetter(NAME, unit.number, "contract", "the item is no condition", item)
            for item, found in zip(items, answers, strict=True)
            if found is None
        ]
        lines = chain.from_iterable(_lines(unit, item, found or []) for item, found in zip(items, answers, strict=True))
        return Page(list(lines), len(set(items)), letters, batches.following(unit, cursor))


def derive(body: bytes) -> bytes:
    """The token ids, in order of the outcome index, of each item in a JSON list, as a JSON list.

    Text of digits, since the ids are longer than a JSON number may be. An empty list where the collateral is unknown,
    null where the item is no condition. Pure, for another process or thread.
    """
    return orjson.dumps([_ids(item) for item in orjson.loads(body)])


def _ids(item: str) -> list[str] | None:
    condition, _, flag = item.partition("/")
    if flag and flag not in COLLATERALS:
        return None
    try:
        raw = ids.condition_bytes(condition)
    except ValueError:
        return None
    collateral = COLLATERALS.get(flag)
    return [] if collateral is None else [str(each) for each in ids.token_ids(raw, collateral, outcomes=_OUTCOMES)]


def _lines(unit: Unit, item: str, tokens: list[str]) -> list[bytes]:
    condition = item.partition("/")[0].removeprefix("0x").lower().encode()
    return [_LINE % (int(token), condition, outcome, unit.number) for outcome, token in enumerate(tokens)]


TRACK = Track(
    NAME,
    "derive",
    "local",
    "staging.clob_asset_map_derived",
    "conditions",
    lambda _config: DeriveTokens(),
    compute=derive,
)
