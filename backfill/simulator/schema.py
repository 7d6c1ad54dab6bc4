"""A GraphQL schema over collections, with the names and arguments that graph-node derives from entities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
    get_named_type,
)
from graphql.execution.executor import Executor

from .graphnode import OPERATORS, Collection, Page, Row, Where, select
from .reply import PLAIN, Wish

_COMMON = """
scalar BigInt
scalar BigDecimal
scalar Bytes
scalar Int8
enum OrderDirection { asc desc }
enum _SubgraphErrorPolicy_ { allow deny }
input Block_height { hash: Bytes number: Int number_gte: Int }
input BlockChangedFilter { number_gte: Int! }
type _Block_ { hash: Bytes number: Int! timestamp: Int parentHash: Bytes }
type _Meta_ { block: _Block_! deployment: String! hasIndexingErrors: Boolean! }
"""
Info = GraphQLResolveInfo[Any]
_ORDERED = ("not", "gt", "lt", "gte", "lte", "in", "not_in")


@dataclass(frozen=True, slots=True)
class Head:
    """How far a deployment has indexed."""

    block: int
    deployment: str


@dataclass
class Context:
    """What the resolvers of one request share."""

    head: Head
    wish: Wish = PLAIN
    ids: int = 0
    """Ids asked for so far."""
    timed_out: bool = False


def make_schema(collections: Sequence[Collection]) -> GraphQLSchema:
    """The schema of one subgraph."""
    schema = build_schema("\n".join([_COMMON, *map(_entity_text, collections), _query_text(collections)]))
    query = schema.query_type
    assert query is not None
    query.fields["_meta"].resolve = _resolve_meta
    for collection in collections:
        query.fields[collection.single].resolve = _one(collection)
        query.fields[collection.plural].resolve = _many(collection)
        entity = schema.type_map[collection.entity]
        assert isinstance(entity, GraphQLObjectType)
        entity.extensions["collection"] = collection
        for name, other in collection.relations.items():
            entity.fields[name].resolve = _related(name, other)
    return schema


def _entity_text(collection: Collection) -> str:
    fields = " ".join(f"{name}: {kind}" for name, kind in collection.fields.items())
    filters = " ".join(_filter_fields(collection))
    return (
        f"type {collection.entity} {{ {fields} }}\n"
        f"enum {collection.entity}_orderBy {{ {' '.join(collection.fields)} }}\n"
        f"input {collection.entity}_filter {{ {filters} _change_block: BlockChangedFilter"
        f" and: [{collection.entity}_filter] or: [{collection.entity}_filter] }}"
    )


def _filter_fields(collection: Collection) -> Iterator[str]:
    for name in collection.fields:
        kind = "String" if name in collection.relations else collection.base_type(name)
        if name in collection.relations:
            yield f"{name}_: {collection.relations[name].entity}_filter"
        if collection.is_list(name):
            yield " ".join(f"{name}{suffix}: [{kind}!]" for suffix in ("", "_not", "_contains", "_not_contains"))
            continue
        yield f"{name}: {kind}"
        operators = OPERATORS if kind == "String" else _ORDERED
        for operator in operators:
            yield f"{name}_{operator}: " + (f"[{kind}!]" if operator in ("in", "not_in") else kind)


def _query_text(collections: Iterable[Collection]) -> str:
    fixed = "block: Block_height, subgraphError: _SubgraphErrorPolicy_! = deny"
    fields = ["_meta(block: Block_height): _Meta_"]
    for c in collections:
        fields.append(f"{c.single}(id: ID!, {fixed}): {c.entity}")
        fields.append(
            f"{c.plural}(skip: Int = 0, first: Int = 100, orderBy: {c.entity}_orderBy, "
            f"orderDirection: OrderDirection, where: {c.entity}_filter, {fixed}): [{c.entity}!]!"
        )
    return "type Query { " + " ".join(fields) + " }"


def _resolve_meta(_root: Any, info: Info, block: Row | None = None) -> Row:
    """The head. The block's time is null, as the hosted service has it, so freshness must come from rows."""
    context: Context = info.context
    _check_block(block, context.head)
    number = (block or {}).get("number") or context.head.block
    known = {"number": number, "timestamp": None, "parentHash": None}
    known["hash"] = None if (block or {}).get("number") else f"0x{number:064x}"
    return {"block": known, "deployment": context.head.deployment, "hasIndexingErrors": False}


def _check_block(block: Row | None, head: Head) -> None:
    if not block:
        return
    for name in ("number", "number_gte"):
        wanted = block.get(name)
        if wanted is not None and wanted > head.block:
            raise GraphQLError(
                f"Failed to decode `block.{name}` value: `subgraph {head.deployment} has only indexed up to block "
                f"number {head.block} and data for block number {wanted} is therefore not yet available`"
            )


def _one(collection: Collection) -> Callable[..., Row | None]:
    def resolve(_root: Any, info: Info, *, id: str, block: Row | None = None, **_: Any) -> Row | None:
        context: Context = info.context
        _check_block(block, context.head)
        context.ids += 1
        found = select(collection, Page({"id": id}, first=1, before=context.wish.before))
        return found[0] if found else None

    return resolve


def _many(collection: Collection) -> Callable[..., list[Row]]:
    def resolve(_root: Any, info: Info, *, block: Row | None = None, **arguments: Any) -> list[Row]:
        context: Context = info.context
        _check_block(block, context.head)
        page = _page(arguments, context.wish)
        asked = len(page.where.get("id_in") or ())
        context.ids += asked
        if context.wish.fault == "query_timeout" and max(asked, page.first) > context.wish.timeout_above:
            context.timed_out = True
            raise GraphQLError("Query timed out")
        rows = select(collection, page)
        return rows[: len(rows) // 2] if context.wish.fault == "short_page_unsaid" else rows

    return resolve


def _page(arguments: Row, wish: Wish) -> Page:
    where: Where = arguments.get("where") or {}
    first, skip = arguments.get("first"), arguments.get("skip")
    return Page(
        where=where,
        order_by=arguments.get("orderBy") or "id",
        descending=arguments.get("orderDirection") == "desc",
        first=100 if first is None else first,
        skip=0 if skip is None else skip,
        before=wish.before,
    )


def _related(name: str, other: Collection) -> Callable[..., Row | None]:
    def resolve(row: Row, _info: Info) -> Row | None:
        return other.get(row[name])

    return resolve


Getter = Callable[[Row], Any]


class RowExecutor(Executor[Any]):
    """graphql-core's executor with a short cut for lists of plain rows, which would cost 5 µs a value otherwise.

    Rows hold their values as they are sent, so a selection of plain fields only needs picking. Anything else in the
    selection (fragments, directives, arguments) and any null goes the ordinary way.
    """

    def complete_list_value(
        self, return_type: Any, field_details_list: Any, info: Info, *rest: Any, **named: Any
    ) -> Any:
        """Complete a list, by picking where that is enough."""
        item = get_named_type(return_type)
        rows = rest[1] if len(rest) > 1 else named["result"]
        if isinstance(item, GraphQLObjectType) and isinstance(rows, list) and len(info.field_nodes) == 1:
            pick = _picker(item, info.field_nodes[0])
            if pick is not None:
                try:
                    return [pick(row) for row in rows]
                except _NullValue:
                    pass
        return super().complete_list_value(return_type, field_details_list, info, *rest, **named)


class _NullValue(Exception):
    """A null where the schema has none: the ordinary way must word the error."""


def _picker(item: GraphQLObjectType, node: FieldNode) -> Getter | None:
    collection: Collection | None = item.extensions.get("collection")
    if collection is None or node.selection_set is None:
        return None
    getters: list[tuple[str, Getter]] = []
    for child in node.selection_set.selections:
        getter = _getter(collection, item, child) if isinstance(child, FieldNode) else None
        if getter is None or not isinstance(child, FieldNode):
            return None
        getters.append(((child.alias or child.name).value, getter))
    return _plain_picker(collection, node) or (lambda row: {name: get(row) for name, get in getters})


def _plain_picker(collection: Collection, node: FieldNode) -> Getter | None:
    """The quick way for several fields that are no relations and may not be null: nearly all large pages."""
    assert node.selection_set is not None
    fields = [child for child in node.selection_set.selections if isinstance(child, FieldNode)]
    names = [child.name.value for child in fields]
    if len(names) < 2 or any(n in collection.relations or not collection.fields[n].endswith("!") for n in names):
        return None
    get, shown = itemgetter(*names), [(child.alias or child.name).value for child in fields]

    def pick(row: Row) -> Row:
        values = get(row)
        if None in values:
            raise _NullValue
        return dict(zip(shown, values, strict=True))

    return pick


def _getter(collection: Collection, item: GraphQLObjectType, node: FieldNode) -> Getter | None:
    name = node.name.value
    if node.directives or node.arguments or name not in collection.fields:
        return None
    required = collection.fields[name].endswith("!")
    other = collection.relations.get(name)
    if other is None:
        return (lambda row: _not_null(row[name])) if required else (lambda row: row[name])
    pick = _picker(get_named_type(item.fields[name].type), node)
    if pick is None:
        return None
    find, pick_child = other.get, pick
    return lambda row: pick_child(_not_null(find(row[name])))


def _not_null(value: Any) -> Any:
    if value is None:
        raise _NullValue
    return value
