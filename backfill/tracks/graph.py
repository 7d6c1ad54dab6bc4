"""Questions to a subgraph: how they are sent, and the lists of an answer.

A list is asked for under a name made from the question, so that the answer to another one is known by its names even
when it is empty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import orjson

from backfill.engine.model import Request, Unit
from backfill.errors import Unreadable, UpstreamUnusable
from backfill.tracks.reading import rows_at
from backfill.tracks.rows import document, tag
from backfill.tracks.values import Drift, moment

MOST_ROWS = 1000
"""What a list may hold at most; without `first` it is cut at 100 whatever was asked for."""


def question(subgraph: str, query: str, variables: Mapping[str, Any], *, asked: int) -> Request:
    """The request for a query; `subgraph` is name/version."""
    return Request("POST", f"/{subgraph}/gn", body=orjson.dumps({"query": query, "variables": variables}), asked=asked)


def named(root: str, unit: Unit, cursor: str | None) -> str:
    """The name under which a root is asked for on this page of a unit."""
    return f"{root}_{tag(unit, cursor):08x}"


def lists(name: str, body: bytes, aliases: Sequence[str]) -> list[list[Any]]:
    """The rows under each of some names, in order.

    Raises:
        Unreadable: one of the lists is missing.
    """
    answer = document(name, body)
    return [rows_at(name, body, answer, "data", alias) for alias in aliases]


def answer(found: Mapping[str, Sequence[Any]]) -> bytes:
    """An answer with these lists, by their names."""
    return orjson.dumps({"data": found})


def about_when(block: int) -> int:
    """About when a block of the chain was made (unix seconds), to a day or two since 2026 and to weeks before.

    For subgraphs that neither tell the time of their head nor have rows with a time.
    """
    (first, first_at), *_, (last, last_at) = _BLOCKS
    if block <= first:
        return first_at - (first - block) * _EARLIER_TENTHS // 10
    for (low, low_at), (high, high_at) in pairwise(_BLOCKS):
        if block <= high:
            return low_at + (block - low) * (high_at - low_at) // (high - low)
    before, before_at = _BLOCKS[-2]
    return last_at + (block - last) * (last_at - before_at) // (last - before)


_BLOCKS: Final = ((81_344_785, 1_767_808_829), (87_004_000, 1_778_996_708), (90_715_029, 1_784_777_541))
"""Blocks with their times, as logs of the chain have them."""
_EARLIER_TENTHS: Final = 21
"""Tenths of a second from one block to the next before those."""
_UNSURE_S: Final = 2 * 86_400


def head_question(subgraph: str, roots: Sequence[str]) -> Request:
    """The newest row of each root, and the subgraph's word on itself: see `read_head`."""
    newest = " ".join(f"{root}(first:1,orderBy:timestamp,orderDirection:desc){{timestamp}}" for root in roots)
    return question(subgraph, f"{{_meta{{block{{number timestamp}}hasIndexingErrors}} {newest}}}", {}, asked=1)


def read_head(name: str, body: bytes, roots: Sequence[str]) -> int:
    """Unix seconds up to which (exclusive) the subgraph has indexed.

    A block is indexed as a whole, so what the newest row stands for is complete. The time of the newest block itself is
    mostly not told (null); where it is, it reaches further than the newest row. Without roots, where no rows have a
    time, it is estimated by the number of the block.

    Raises:
        Unreadable: there is neither a row nor a block time.
        UpstreamUnusable: indexing has failed.
    """
    answer = document(name, body)
    data = answer.get("data") if isinstance(answer, dict) else None
    meta = data.get("_meta") if isinstance(data, dict) else None
    if not isinstance(meta, dict) or not isinstance(meta.get("block"), dict):
        raise Unreadable("no _meta of the subgraph", raw=body, where=name)
    if meta.get("hasIndexingErrors"):
        raise UpstreamUnusable("the subgraph has indexing errors", kind="stale", where=name)
    rows = [meta["block"], *(row for found in lists(name, body, roots) for row in found)]
    try:
        times = [moment(row, "timestamp") for row in rows]
    except (Drift, AttributeError) as error:
        raise Unreadable(f"the head is not told: {error}", raw=body, where=name) from None
    known = [each for each in times if each is not None]
    if not known and not roots and isinstance(number := meta["block"].get("number"), int):
        return about_when(number) - _UNSURE_S
    if not known:
        raise Unreadable("neither a block time nor a row", raw=body, where=name)
    return max(known) + 1
