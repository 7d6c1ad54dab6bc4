"""What a client may ask of a node, read from JSON: block tags, log filters; and the errors it gets instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL, LIMIT_EXCEEDED, REVERTED = -32603, -32005, 3
MOST_TOPICS = 4

RANGE_ERRORS: dict[str, tuple[int, str]] = {
    "alchemy": (
        INVALID_REQUEST,
        "You can make eth_getLogs requests with up to a {most} block range. Based on your parameters, this block range "
        "should work: [{first:#x}, {last:#x}]",
    ),
    "quicknode": (-32614, "eth_getLogs is limited to a {most:,} range"),
    "publicnode": (-32701, "exceed maximum block range: {most}"),
    "chainstack": (-32000, "Block range limit exceeded. See more details at the provider's pages."),
    "drpc": (35, "ranges over {most} blocks are not supported on freetier"),
    "infura": (INVALID_PARAMS, "range {asked} exceeds limit of {most}"),
}
"""How providers word that too many blocks were asked for."""


class RpcError(Exception):
    """A question that gets an error object instead of a result."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data

    def as_json(self) -> dict[str, Any]:
        """The error object."""
        more = {} if self.data is None else {"data": self.data}
        return {"code": self.code, "message": self.message, **more}


@dataclass(slots=True)
class Quirks:
    """How a provider differs from a perfect node; all can be changed while it runs."""

    max_range: int = 0
    """Blocks that one eth_getLogs may span; 0 for any number."""
    range_style: str = "publicnode"
    """Whose words are used above that (see `RANGE_ERRORS`)."""
    result_cap: int = 10_000
    """Logs above which a question is refused with -32005; 0 for never."""
    truncate_at: int = 0
    """Logs after which an answer is cut off without a word; 0 for never."""
    timestamps: bool = True
    """Whether logs carry `blockTimestamp`."""
    batch_cap: int = 1000
    """Questions that one batch may hold; 0 for any number."""
    finality_lag: int = 5
    """Blocks between the head and what is `finalized`."""
    head_lag: int = 0
    """Blocks that this node is behind."""
    reorg_depth: int = 0
    """Blocks below the head that stand on a branch which is given up later; 0 for none."""
    reorg_answers: int = 1
    """Answers about those blocks that still tell of the branch."""
    tells_removed: bool = True
    """Whether the next answer lists the logs of the branch once more, as removed."""
    cloudflare: int = 0
    """Answers that are the proxy's page (error 1015) instead, from now on."""

    def change(self, name: str, value: object) -> None:
        """Set one of them.

        Raises:
            ValueError: there is none of that name, or it takes another kind of value.
        """
        if name not in (known := {field.name for field in fields(self)}):
            raise ValueError(f"no quirk {name!r}, expected one of {', '.join(sorted(known))}")
        if type(value) is not (kind := type(getattr(self, name))):
            raise ValueError(f"{name} takes {kind.__name__}, not {value!r}")
        if isinstance(value, int) and value < 0:
            raise ValueError(f"{name} must not be negative, got {value}")
        if name == "range_style" and value not in RANGE_ERRORS:
            raise ValueError(f"no range style {value!r}, expected one of {', '.join(RANGE_ERRORS)}")
        setattr(self, name, value)


class Filter(NamedTuple):
    """What eth_getLogs asks for; an empty set means anything."""

    first: int
    last: int
    addresses: frozenset[str]
    topics: tuple[frozenset[str], ...]


def block_number(value: object, head: int, finalized: int) -> int:
    """A block by number or tag."""
    tags = {"latest": head, "pending": head, "finalized": finalized, "safe": finalized, "earliest": 0}
    if isinstance(value, str):
        if value in tags:
            return tags[value]
        if value.startswith("0x"):
            try:
                return int(value, 16)
            except ValueError:
                pass
    raise RpcError(INVALID_PARAMS, f"invalid argument: {value!r} is neither a block number nor a tag")


def read_filter(params: object, head: int, finalized: int) -> Filter:
    """The filter of an eth_getLogs."""
    if not isinstance(params, list) or len(params) != 1 or not isinstance(params[0], dict):
        raise RpcError(INVALID_PARAMS, "missing value for required argument 0")
    wanted = params[0]
    if "blockHash" in wanted:
        raise RpcError(INVALID_PARAMS, "this node does not look logs up by blockHash")
    first, last = (block_number(wanted.get(name, "latest"), head, finalized) for name in ("fromBlock", "toBlock"))
    if first > last:
        raise RpcError(INVALID_PARAMS, "invalid block range params")
    topics = wanted.get("topics") or []
    if not isinstance(topics, list) or len(topics) > MOST_TOPICS:
        raise RpcError(INVALID_PARAMS, "exceed max topics")
    return Filter(first, last, _texts(wanted.get("address")), tuple(_texts(each) for each in topics))


def _texts(value: object) -> frozenset[str]:
    """One text or a list of them, in lower case."""
    listed: Sequence[object] = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(each, str) and each.startswith("0x") for each in listed):
        raise RpcError(INVALID_PARAMS, "invalid argument 0: hex string without 0x prefix")
    return frozenset(str(each).lower() for each in listed)


def check_range(wanted: Filter, quirks: Quirks) -> None:
    """Refuse more blocks than the provider allows.

    Raises:
        RpcError: in the provider's words.
    """
    asked = wanted.last - wanted.first + 1
    if quirks.max_range and asked > quirks.max_range:
        code, text = RANGE_ERRORS[quirks.range_style]
        last = wanted.first + quirks.max_range - 1
        raise RpcError(code, text.format(most=quirks.max_range, asked=asked, first=wanted.first, last=last))
