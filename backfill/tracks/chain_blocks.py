"""How a stretch of the chain becomes requests for logs: what the four chain tracks have in common.

A unit's items are stretches of blocks, "from-to", half-open: `from` is in, `to` is not. They rise and do not overlap.

A cursor "from/size[/calm:patience[/blocks]]" says which part of them is asked next: `size` blocks from block `from`,
cut at the end of the item. `calm` counts the pages that are to come through before a larger size is tried again. It
starts from `patience`, which doubles when a larger size fails at once and halves when one comes through: a fixed limit
of a provider is soon hardly ever tried, and a chance refusal is soon forgotten. `blocks`, with commas, are those whose
times a node keeps to itself: nodes without `blockTimestamp` in their logs are asked for the same part once more,
together with these blocks. An answer that only showed which times are missing settles nothing.

An empty answer is believed only from a node that says in the same answer that it has come as far as the part goes: one
that lags behind answers empty as well.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from backfill.engine.model import DeadLetter, Page, Request, Unit
from backfill.errors import PageTooLarge, Unavailable, Unreadable
from backfill.tracks.chain_abi import Contract, Log, quantity
from backfill.tracks.track import Envelope, read_item

if TYPE_CHECKING:
    from backfill.config import Config

KNOWN_CAPS: Final = frozenset({1000, 2000, 5000, 10_000, 20_000, 50_000})
"""Numbers of logs at which providers are known to cut answers, some without a word."""
EASY_LOGS = 4000
"""A page with fewer logs came easily, so the next may be twice as wide: it then stays below the usual cap."""
MOST_CALM = 32
"""Pages that come through, at most, before a larger size is tried again."""
MOST_TIMES = 100
"""Blocks whose times are asked in one request: batches of a hundred are taken nearly everywhere."""
SLOWEST_BLOCKS_S = 3
"""Seconds a block takes at most on average, to turn confirmations into a time."""
SOURCE = "chain"
_place = itemgetter(0, 1)


class Pace(NamedTuple):
    """How soon a larger size is tried: after `calm` more pages, and after `patience` pages when that fails."""

    calm: int = 0
    patience: int = 0

    def failed(self) -> Pace:
        """After a part that was too large; only a size that was just being tried makes more patient."""
        patience = self.patience if self.calm else min(MOST_CALM, 2 * self.patience or 1)
        return Pace(patience, patience)

    def came(self) -> Pace:
        """After a part that came through; a larger one is due when no calm is left."""
        return Pace(self.calm - 1, self.patience) if self.calm else Pace(0, self.patience // 2)


class Part(NamedTuple):
    """What one request asks for: blocks [start, end) of the item `place`; the other fields as in the cursor."""

    place: int
    start: int
    end: int
    size: int
    pace: Pace
    timed: tuple[int, ...]


class Admitted(NamedTuple):
    """A log that was asked for, and where it stands."""

    block: int
    log_index: int
    log: Log
    timestamp: int


@dataclass(frozen=True, slots=True)
class Asking:
    """How a node is asked. `largest` bounds the blocks of one request, None for the whole item.

    `proves_head`: let every answer say how far the node has come (as a batch of two). `confirmations` are the blocks at
    the head that may still change.
    """

    largest: int | None = None
    caps: Collection[int] = KNOWN_CAPS
    proves_head: bool = True
    most_times: int = MOST_TIMES
    easy: int = EASY_LOGS
    confirmations: int = 20


def asking(config: Config) -> Asking:
    """How the configured node is asked."""
    return Asking(largest=config.upstreams.polygon.block_range, confirmations=config.upstreams.polygon.confirmations)


class Wanted(NamedTuple):
    """Events that a lane asks for: these topics of these contracts."""

    contracts: tuple[Contract, ...]
    topics: tuple[str, ...]


class ChainLane(ABC):
    """A lane over blocks; `rows` of a subclass turns one log into lines."""

    name: str
    wanted: Wanted

    def __init__(self, how: Asking | None = None) -> None:
        self._how = how or Asking()
        self._addresses = frozenset(contract.address for contract in self.wanted.contracts)
        self._topics = frozenset(self.wanted.topics)
        self.since = min(contract.from_block for contract in self.wanted.contracts)

    @abstractmethod
    def rows(self, unit: int, admitted: Sequence[Admitted], refuse: Refuse) -> list[bytes]:
        """The lines of a page's logs, which come in chain order; `refuse` takes those that do not decode."""

    def request(self, unit: Unit, cursor: str | None) -> Request:
        """See `Lane`."""
        part = self._part(unit, cursor)
        calls = self._calls(part)
        body = orjson.dumps(calls if len(calls) > 1 else calls[0])
        return Request("POST", "", body=body, asked=_settled(unit, part))

    def smaller(self, unit: Unit, cursor: str | None) -> str | None:
        """See `Lane`. One block cannot be less."""
        part = self._part(unit, cursor)
        blocks = part.end - part.start
        return _cursor(part.start, blocks // 2, part.pace.failed()) if blocks > 1 else None

    def parse(self, unit: Unit, cursor: str | None, body: bytes) -> Page:
        """See `Lane`.

        Raises:
            PageTooLarge: the answer is as long as answers are cut, or lacks too many times.
            Unavailable: the node has not come as far as the part goes.
        """
        part = self._part(unit, cursor)
        calls = self._calls(part)
        logs, *rest = _results(calls, body, self.name)
        if not isinstance(logs, list):
            raise Unreadable("no list of logs", raw=body, where=self.name)
        self._believe(part, len(logs), rest)
        times = _times(calls, rest, body, self.name)
        letters = _Letters(self.name, unit.number)
        admitted, untimed = self._admit(part, logs, times, letters.refuse)
        if untimed:
            return Page((), 0, (), self._again(part, untimed))
        lines = self.rows(unit.number, admitted, letters.refuse)
        return Page(lines, _settled(unit, part), tuple(letters.kept), self._following(unit, part, len(logs)))

    def envelope(self, unit: Unit, row: dict[str, Any]) -> Envelope:
        """See `Replayable`."""
        if row.get("blockTimestamp") is None:
            raise ValueError("the time of its block did not come with it")
        block = quantity(row.get("blockNumber"), "blockNumber")
        cursor = _cursor(block, 1, Pace())
        results = ([row], hex(block))
        calls = self._calls(self._part(unit, cursor))[: len(results)]
        answers = [{"id": asked["id"], "result": one} for asked, one in zip(calls, results, strict=False)]
        return Envelope(cursor, orjson.dumps(answers))

    def head(self) -> Request:
        """See `Headed`."""
        return block_request("latest")

    def read_head(self, body: bytes) -> int:
        """See `Headed`: what is younger than the confirmations may still change."""
        return read_block("latest", body, self.name).timestamp - self._how.confirmations * SLOWEST_BLOCKS_S

    def _part(self, unit: Unit, cursor: str | None) -> Part:
        items = [_stretch(text) for text in unit.items]
        start, size, pace, timed = _read_cursor(cursor, items[0], self._how.largest)
        for place, (first, end) in enumerate(items):
            if first <= start < end:
                return Part(place, start, min(start + size, end), size, pace, timed)
        raise ValueError(f"{self.name} unit {unit.number}: block {start} is in none of its stretches")

    def _calls(self, part: Part) -> list[dict[str, Any]]:
        wanted = {
            "fromBlock": hex(part.start),
            "toBlock": hex(part.end - 1),
            "address": sorted(self._addresses),
            "topics": [list(self.wanted.topics)],
        }
        calls = [call("eth_getLogs", wanted)]
        if self._how.proves_head:
            calls.append(call("eth_blockNumber"))
        return [*calls, *(call("eth_getBlockByNumber", hex(block), False) for block in part.timed)]

    def _believe(self, part: Part, count: int, rest: Sequence[Any]) -> None:
        """Whether the answer is whole, as far as that can be told."""
        last = part.end - 1
        if self._how.proves_head and (head := _quantity(rest[0], "head", self.name)) < last:
            raise Unavailable(f"the node is at block {head}, behind block {last}", where=self.name)
        if count in self._how.caps and part.end - part.start > 1:
            raise PageTooLarge(f"{count} logs, as many as answers are cut to", where=self.name)

    def _admit(
        self, part: Part, logs: Sequence[Any], times: Mapping[int, int], refuse: Refuse
    ) -> tuple[list[Admitted], set[int]]:
        """The logs that were asked for, in chain order, each once; and the blocks whose times are not known."""
        admitted: list[Admitted] = []
        untimed: set[int] = set()
        for log in logs:
            try:
                one = self._judge(part, log, times)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                refuse(log, reason_of(error))
                continue
            if one.timestamp < 0:
                untimed.add(one.block)
            admitted.append(one)
        admitted.sort(key=_place)
        return _each_once(admitted, refuse), untimed

    def _judge(self, part: Part, log: Any, times: Mapping[int, int]) -> Admitted:
        """A log with its place and time (-1 where it is missing).

        Raises:
            ValueError: it was not asked for, or is no longer part of the chain.
        """
        if log.get("removed"):
            raise ValueError("removed by a reorganisation")
        address = log["address"]
        known = address in self._addresses or address.lower() in self._addresses
        if not known or log["topics"][0] not in self._topics:
            raise ValueError("address or topic was not asked for")
        block = quantity(log["blockNumber"], "blockNumber")
        if not part.start <= block < part.end:
            raise ValueError(f"block {block} was not asked for")
        when = log.get("blockTimestamp")
        timestamp = times.get(block, -1) if when is None else quantity(when, "blockTimestamp")
        return Admitted(block, quantity(log["logIndex"], "logIndex"), log, timestamp)

    def _again(self, part: Part, untimed: Iterable[int]) -> str:
        """The cursor that asks for the same part and for the times that it lacks."""
        blocks = sorted({*part.timed, *untimed})
        if len(blocks) > self._how.most_times and part.end - part.start > 1:
            raise PageTooLarge(f"the times of {len(blocks)} blocks are missing", where=self.name)
        return _cursor(part.start, part.size, part.pace, blocks)

    def _following(self, unit: Unit, part: Part, count: int) -> str | None:
        """The cursor behind this part, wider where it came easily; None when the unit is through."""
        size, pace = part.size, part.pace.came()
        easy = count < self._how.easy and 2 * len(part.timed) <= self._how.most_times
        first, end = _stretch(unit.items[part.place])
        if easy and not pace.calm:
            size = min(2 * size, self._how.largest or end - first)
        if part.end < end:
            return _cursor(part.end, size, pace)
        if part.place + 1 < len(unit.items):
            return _cursor(_stretch(unit.items[part.place + 1])[0], size, pace)
        return None


class Refuse:
    """Takes a log that is not let in, and the reason. (A Protocol would cost a call more for each.)"""

    def __init__(self, letters: _Letters) -> None:
        self._letters = letters

    def __call__(self, log: Any, reason: str, cls: str = "contract") -> None:
        """Keep it as a dead letter."""
        self._letters.add(log, reason, cls)


class _Letters:
    def __init__(self, track: str, unit: int) -> None:
        self._track, self._unit = track, unit
        self.kept: list[DeadLetter] = []
        self.refuse = Refuse(self)

    def add(self, log: Any, reason: str, cls: str) -> None:
        self.kept.append(DeadLetter(self._track, self._unit, cls, reason, orjson.dumps(log).decode()))


def reason_of(error: Exception) -> str:
    """Why a log did not decode, in words."""
    if isinstance(error, ValueError):
        return str(error)
    return f"not a log: {type(error).__name__} {error}"


# --- requests and answers


def call(method: str, *params: Any) -> dict[str, Any]:
    """A JSON-RPC call. Its id is made from what it asks, so that the answer to another question is noticed."""
    identity = zlib.crc32(orjson.dumps([method, params]))
    return {"jsonrpc": "2.0", "id": identity, "method": method, "params": list(params)}


class Block(NamedTuple):
    """A block's number, and its time in unix seconds."""

    number: int
    timestamp: int


def block_request(tag: int | str) -> Request:
    """Ask for one block, by number or tag ("latest", "finalized")."""
    return Request("POST", "", body=orjson.dumps(_asking_for(tag)))


def read_block(tag: int | str, body: bytes, where: str) -> Block:
    """The block in an answer to `block_request(tag)`.

    Raises:
        Unreadable: there is none, or it is the answer to another question: a stale block would shift a whole plan.
    """
    (found,) = _results([_asking_for(tag)], body, where)
    if not isinstance(found, dict) or (isinstance(tag, int) and found.get("number") != hex(tag)):
        raise Unreadable(f"no block {tag}", raw=body, where=where)
    try:
        return Block(quantity(found["number"], "number"), quantity(found["timestamp"], "timestamp"))
    except (ValueError, LookupError, TypeError) as error:
        raise Unreadable(f"no block: {type(error).__name__} {error}", raw=body, where=where) from None


def _asking_for(tag: int | str) -> dict[str, Any]:
    return call("eth_getBlockByNumber", hex(tag) if isinstance(tag, int) else tag, False)


def _results(calls: Sequence[Mapping[str, Any]], body: bytes, where: str) -> list[Any]:
    """The results of calls, in their order.

    Raises:
        Unreadable: the answer is not one to these calls.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error}", raw=body, where=where) from None
    answers = document if isinstance(document, list) else [document]
    if not all(isinstance(each, dict) and "result" in each for each in answers):
        raise Unreadable("no result", raw=body, where=where)
    found = {each.get("id"): each["result"] for each in answers if isinstance(each.get("id"), int)}
    wanted = [each["id"] for each in calls]
    if len(answers) != len(calls) or found.keys() != set(wanted):
        raise Unreadable("the answer to another question", raw=body, where=where)
    return [found[identity] for identity in wanted]


def _times(calls: Sequence[Mapping[str, Any]], rest: Sequence[Any], body: bytes, where: str) -> dict[int, int]:
    """Times by block, from the blocks that were asked for."""
    times: dict[int, int] = {}
    for asked, found in zip(calls[1:], rest, strict=True):
        if asked["method"] != "eth_getBlockByNumber":
            continue
        if found is None:
            raise Unavailable(f"the node does not have block {asked['params'][0]}", where=where)
        if not isinstance(found, dict) or found.get("number") != asked["params"][0]:
            raise Unreadable(f"block {asked['params'][0]} did not come", raw=body, where=where)
        times[int(asked["params"][0], 16)] = _quantity(found.get("timestamp"), "timestamp", where)
    return times


def _quantity(value: Any, what: str, where: str) -> int:
    try:
        return quantity(value, what)
    except (ValueError, TypeError) as error:
        raise Unreadable(str(error), where=where) from None


# --- cursors and stretches


def _stretch(text: str) -> tuple[int, int]:
    window = read_item(text).window
    if window is None or window.start >= window.end:
        raise ValueError(f"{text!r} is no stretch of blocks")
    return window.start, window.end


def _cursor(start: int, size: int, pace: Pace, blocks: Sequence[int] = ()) -> str:
    text = f"{start}/{size}"
    if any(pace) or blocks:
        text += f"/{pace.calm}:{pace.patience}"
    return f"{text}/{','.join(map(str, blocks))}" if blocks else text


def _read_cursor(
    cursor: str | None, first: tuple[int, int], largest: int | None
) -> tuple[int, int, Pace, tuple[int, ...]]:
    """Start, size, pace and blocks that a cursor means; without one, the beginning of the first stretch."""
    if cursor is None:
        start, end = first
        return start, min(largest or end - start, end - start), Pace(), ()
    start_text, size, *more = cursor.split("/")
    pace = Pace(*map(int, more[0].split(":"))) if more else Pace()
    blocks = tuple(map(int, more[1].split(","))) if len(more) > 1 else ()
    return int(start_text), int(size), pace, blocks


def _settled(unit: Unit, part: Part) -> int:
    """Items that are through with this part."""
    return int(part.end == _stretch(unit.items[part.place])[1])


def _each_once(admitted: list[Admitted], refuse: Refuse) -> list[Admitted]:
    """Logs without repetitions. Two different ones at one place cannot both be true."""
    if len(set(map(_place, admitted))) == len(admitted):
        return admitted
    kept: list[Admitted] = []
    for one in admitted:
        if kept and _place(kept[-1]) == _place(one):
            if one.log != kept[-1].log:
                refuse(one.log, f"block {one.block} has two logs at index {one.log_index}", "conflict")
            continue
        kept.append(one)
    return kept
