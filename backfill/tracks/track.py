"""What every track is, whichever dataset it fills; and what a lane may know besides asking and reading."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from backfill.engine.model import Lane, Request, Unit

if TYPE_CHECKING:
    from backfill.config import Config

Scope = Literal["listing", "offsets", "windows", "blocks", "tokens", "conditions", "wallets"]
"""What a track's items are, which decides how its units are planned:

- listing: the names of listings, each read from its beginning to its end, page by page
- offsets: stretches `from-to` of a listing that can be entered anywhere
- windows: stretches `from-to` of time (unix seconds, half-open)
- blocks: stretches `from-to` of the chain (block numbers, half-open)
- tokens, conditions, wallets: `key@from-to`, or `key` alone where the source knows no time
"""


@dataclass(frozen=True, slots=True)
class Track:
    """One way to fill a dataset.

    `table` is where its rows land ("staging.x"), `upstream` the door it goes through ("local" for none), and `make`
    gives its lane. `asides` are the further tables that its pages have rows for. `compute` is what a local track does
    instead of asking: body of the request to body of the answer, in a thread. `after` names the track of the same
    dataset whose history ends where this one's work begins, as long as that one is usable and nobody asked for this
    one alone. `columns`: the lines are tab-separated values of these, which ClickHouse reads in half the time of JSON.
    `reach_s`: the source cannot be asked for what is older (seconds; 0 for no such bound) without naming a wallet.
    """

    name: str
    dataset: str
    upstream: str
    table: str
    scope: Scope
    make: Callable[[Config], Lane]
    after: str = ""
    asides: tuple[str, ...] = ()
    compute: Callable[[bytes], bytes] | None = None
    columns: tuple[str, ...] = ()
    reach_s: int = 0


class Window(NamedTuple):
    """A half-open stretch of time (unix seconds), blocks or offsets."""

    start: int
    end: int


class Item(NamedTuple):
    """An item of a plan taken apart; `key` is empty where the item is only a stretch."""

    key: str
    window: Window | None


def item(key: str = "", window: Window | None = None) -> str:
    """The text of an item in a plan."""
    if window is None:
        return key
    stretch = f"{window.start}-{window.end}"
    return f"{key}@{stretch}" if key else stretch


def read_item(text: str) -> Item:
    """Take apart what `item` has written.

    Raises:
        ValueError: it has not.
    """
    key, at, stretch = text.rpartition("@")
    start, dash, end = stretch.partition("-")
    if not dash:
        return Item(text, None)
    if key == "" and at:
        raise ValueError(f"{text!r} is no item")
    return Item(key, Window(int(start), int(end)))


ABOUT_THE_WAY = frozenset({"base_url", "rpc_url", "limits", "timeout_s"})
"""Settings of an upstream that say how it is reached, not what its answers mean; an address may hold a key."""


def settings_of(config: Config, upstream: str) -> dict[str, Any]:
    """The settings of an upstream on which it depends how its answers are read, as JSON."""
    section = getattr(config.upstreams, upstream, None)
    return {} if section is None else section.model_dump(mode="json", exclude=set(ABOUT_THE_WAY))


def with_settings(config: Config, upstream: str, settings: Mapping[str, Any]) -> Config:
    """The config with an upstream's settings as they were; what is not known today, or not any more, stays as it is.

    Raises:
        ValueError: today's config does not take them.
    """
    section = getattr(config.upstreams, upstream, None)
    if section is None:
        return config
    known = {name: value for name, value in settings.items() if name in type(section).model_fields}
    was = type(section)(**{**section.model_dump(), **known})
    return config.model_copy(update={"upstreams": config.upstreams.model_copy(update={upstream: was})})


@runtime_checkable
class Headed(Protocol):
    """A lane whose upstream can be asked how far its data goes."""

    def head(self) -> Request:
        """The request that shows it."""

    def read_head(self, body: bytes) -> int:
        """Unix seconds before which nothing is missing (exclusive).

        Raises:
            Unreadable: the answer does not say.
            UpstreamUnusable: it says that the data is broken (indexing errors, say).
        """


class Envelope(NamedTuple):
    """An answer that holds one row alone, and the cursor of the question that it answers."""

    cursor: str | None
    body: bytes


@runtime_checkable
class Replayable(Protocol):
    """A lane that can read a refused row again without the answer it came in.

    Not for lanes that name a row by its place among others.
    """

    def envelope(self, unit: Unit, row: dict[str, Any]) -> Envelope:
        """The row as an answer to its unit.

        Raises:
            ValueError: this row cannot stand alone; the text says why.
        """


@runtime_checkable
class Measured(Protocol):
    """A lane whose upstream can be asked how many rows it has, so that requests are packed by that."""

    measure_batch: int
    """Most keys in one request."""

    def measure(self, keys: Sequence[str]) -> Request:
        """The request for the number of rows of each key."""

    def read_measure(self, keys: Sequence[str], body: bytes) -> Mapping[str, int]:
        """Rows by key; keys of which nothing is known are left out.

        Raises:
            Unreadable: the answer is none.
        """
