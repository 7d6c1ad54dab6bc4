"""The pretend Goldsky: one GraphQL endpoint for each subgraph."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from functools import lru_cache
from threading import RLock
from typing import Any

import orjson
from aiohttp import web
from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, GraphQLSyntaxError, parse, validate
from graphql import execute as run_query

from .faults import Faults, RequestFault
from .fill_index import FillIndex
from .ids import keccak
from .reply import PLAIN, TEXT, Reply, Wish
from .schema import Context, Head, RowExecutor, make_schema
from .subgraphs import SUBGRAPHS, Rows
from .world import World

HEAD_BLOCK = 87_814_766
HEAD_TIME = 1_777_374_040
"""Last fill that the real orderbook deployment indexed (unix seconds), some time before its last block."""
BLOCK_SECONDS = 2.1
KEEP_PARSED_BELOW = 8192
"""Query texts shorter than this are parsed and checked once; longer ones carry their ids and differ every time."""
ERROR_TEXTS: dict[RequestFault, str] = {
    "store_timeout": "Store error: database query timed out",
    "overloaded": "service is overloaded and can not run the query right now. Please try again in a few minutes",
    "statement_canceled": "canceling statement due to statement timeout",
}
WARM_UP = {
    "activity-subgraph/0.0.4": "{positions(first:1){id}}",
    "positions-subgraph/0.0.7": "{tokenIdConditions(first:1){id condition{id}}}",
}
_BOTH_SIDES = '{or:[{makerAssetId:"1"},{takerAssetId:"1"}]}'
WARM_UP_FULL = {
    "orderbook-subgraph/0.0.1": f"{{t:orderFilledEvents(first:1,orderBy:timestamp,where:{_BOTH_SIDES}){{id}}"
    f"i:orderFilledEvents(first:1,where:{_BOTH_SIDES}){{id}} orderbooks(first:1){{id}}}}",
}
"""For full worlds, whose fills take seconds too."""
VIEWS = 4
"""States of the past that are kept once made: a clock and a stale mode need few."""
_NO_FIELD = re.compile(r"Cannot query field '(\w+)' on type '(\w+)'")


class Goldsky:
    """Answers queries about the tokens, conditions and fills that Goldsky knows."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults
        self._lock = RLock()
        self._index = FillIndex(lambda: world.fills)
        self.forget()

    async def answer(self, request: web.Request, wish: Wish = PLAIN) -> Reply:
        """Answer one POST. Runs in a thread, so that a large query does not delay the stamps of other arrivals."""
        name = request.path.split("/subgraphs/", 1)[-1].removesuffix("/gn")
        if name not in SUBGRAPHS or not request.path.endswith("/gn"):
            return Reply(404, b"Subgraph not found", TEXT)
        if request.method != "POST":
            return Reply(405, b"Method not allowed", TEXT)
        body = await request.read()
        return await asyncio.to_thread(self.query, name, body, wish)

    def query(self, name: str, body: bytes, wish: Wish = PLAIN) -> Reply:
        """Answer a request body for the subgraph `name/version`."""
        try:
            question = read_question(body)
        except ValueError as error:
            return Reply(400, orjson.dumps({"error": str(error)}))
        if wish.fault in ERROR_TEXTS:
            return Reply(200, _errors([{"message": ERROR_TEXTS[wish.fault]}]))
        context = Context(self.head(name, wish), wish)
        errors, data = _execute(self.schema(name, wish.before), question, context)
        body = _errors(errors) if errors else orjson.dumps({"data": data})
        return Reply(200, body, ids=context.ids, applied=wish.fault != "query_timeout" or context.timed_out)

    def head(self, name: str, wish: Wish) -> Head:
        """How far the subgraph has indexed; a stale one stopped where its newest row is."""
        behind = 0
        if wish.before is not None and wish.before <= HEAD_TIME:
            behind = max(1, int((HEAD_TIME - wish.before) / BLOCK_SECONDS))
        return Head(HEAD_BLOCK - behind, f"Qm{keccak(name.encode()).hex()[:44]}")

    def schema(self, name: str, before: int | None = None) -> GraphQLSchema:
        """The subgraph's schema over its rows of before a time (unix seconds), made when first asked for."""
        end = HEAD_TIME + 1 if before is None else min(before, HEAD_TIME + 1)
        with self._lock:
            if end not in self._views:
                self._views[end] = Rows(self._world, self._faults, end, self._index), {}
            rows, schemas = self._views[end] = self._views.pop(end)
            if len(self._views) > VIEWS:
                del self._views[next(iter(self._views))]
            if name not in schemas:
                schemas[name] = make_schema(SUBGRAPHS[name](rows))
            return schemas[name]

    def warm_up(self) -> None:
        """Make the rows that answer token lookups, and their usual order, before the first request needs them."""
        warm_up = WARM_UP if self._world.plan is None else {**WARM_UP, **WARM_UP_FULL}
        for name, query in warm_up.items():
            self.query(name, orjson.dumps({"query": query}))

    def forget(self) -> None:
        """Make the rows anew at the next request, after the lies have changed."""
        with self._lock:
            self._views: dict[int, tuple[Rows, dict[str, GraphQLSchema]]] = {}


def _execute(schema: GraphQLSchema, question: Question, context: Context) -> tuple[list[dict[str, Any]], Any]:
    """The errors, or the data where there are none."""
    kept = len(question.query) < KEEP_PARSED_BELOW
    try:
        document, problems = (_checked_kept if kept else _checked)(schema, question.query)
    except GraphQLSyntaxError as error:
        return [_error(error)], None
    if problems:
        return [_error(problem) for problem in problems], None
    result = run_query(
        schema,
        document,
        context_value=context,
        variable_values=question.variables,
        operation_name=question.operation,
        executor_class=RowExecutor,
    )
    assert isinstance(result, ExecutionResult)
    return [_error(error) for error in result.errors or ()], result.data


@dataclass(frozen=True, slots=True)
class Question:
    """The parts of a GraphQL request."""

    query: str
    variables: dict[str, Any]
    operation: str | None


def read_question(body: bytes) -> Question:
    """Take a request body apart; ValueError where it is not a GraphQL request."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ValueError("The request body is not valid JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get("query"), str):
        raise ValueError("The request body has no `query` text")
    variables = value.get("variables") or {}
    if not isinstance(variables, dict):
        raise ValueError("`variables` must be an object")
    return Question(value["query"], variables, value.get("operationName"))


def _checked(schema: GraphQLSchema, text: str) -> tuple[DocumentNode, list[GraphQLError]]:
    """A query taken apart, and what is wrong with it."""
    document = parse(text)
    return document, validate(schema, document)


_checked_kept = lru_cache(maxsize=256)(_checked)


def _errors(errors: list[dict[str, Any]]) -> bytes:
    """A failed query has no `data` key at all."""
    return orjson.dumps({"errors": errors})


def _error(error: GraphQLError) -> dict[str, Any]:
    message = error.message
    if found := _NO_FIELD.match(message):
        message = f"Type `{found[2]}` has no field `{found[1]}`"
    if message.startswith("Cannot return null for non-nullable field "):
        message = f"Null value resolved for non-null field `{message.rstrip('.').rsplit('.', 1)[-1]}`"
    shaped: dict[str, Any] = {"message": message}
    if error.locations:
        shaped["locations"] = [{"line": place.line, "column": place.column} for place in error.locations]
    return shaped
