"""What is wrong with a setting, in words: the key, the value, and what was expected."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

SHOWN = 80
_PASSWORD = re.compile(r"//[^/@\s]*:[^/@\s]*@")
_PATTERNS = {
    "^https?://": "an http:// or https:// address",
    "^[A-Za-z_]": "a name of letters, digits and underscores",
    "^0x[0-9a-fA-F]{40}": "0x and 40 hex digits",
}
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "finite_number": "a finite number",
    "bool": "true or false",
    "string": "text in quotes",
    "path": "a path in quotes",
    "tuple": "a list",
    "list": "a list",
    "model": "a section with keys",
    "dict": "a section with keys",
}
_BOUNDS = {
    "greater_than": ("gt", "more than {}"),
    "greater_than_equal": ("ge", "at least {}"),
    "less_than": ("lt", "less than {}"),
    "less_than_equal": ("le", "at most {}"),
}


def sentence(entry: Mapping[str, Any], model: type[BaseModel], named: Mapping[str, str]) -> str:
    """One of pydantic's findings as a line.

    Args:
        entry: what `ValidationError.errors` lists.
        model: the class that was being filled, for the names of the keys there are.
        named: environment variables by the key that they set.
    """
    key = ".".join(str(part) for part in entry["loc"])
    # A variable that sets foo.bar is also what made a section foo.
    variable = next((name for set_by, name in named.items() if f"{set_by}.".startswith(f"{key}.")), None)
    where = f"{key} ({variable})" if variable and key else key
    if entry["type"] == "extra_forbidden":
        return f"{where}: unknown key{_known(entry['loc'], model)}"
    if entry["type"] == "missing":
        return f"{where}: is missing"
    return f"{where} = {_value(entry['input'])}: {_expected(entry)}"


def with_password(tree: dict[str, Any], above: str = "") -> Iterator[str]:
    """Take addresses that hold a password out of the tree, and name their keys; the value is never repeated."""
    for key, value in list(tree.items()):
        if isinstance(value, dict):
            yield from with_password(value, f"{above}{key}.")
        elif isinstance(value, str) and _PASSWORD.search(value):
            del tree[key]
            yield f"{above}{key}"


def _expected(entry: Mapping[str, Any]) -> str:
    kind, context = entry["type"], entry.get("ctx") or {}
    if kind == "value_error":
        return str(context.get("error", entry["msg"]))
    if kind in _BOUNDS:
        name, text = _BOUNDS[kind]
        bound = text.format(f"{context[name]:g}")
        return f"expected {bound}" + (", the upstream takes no more" if entry["loc"][-1] == "batch" else "")
    if kind == "literal_error":
        return f"expected {context['expected']}"
    if kind == "string_pattern_mismatch":
        return f"expected {next(words for start, words in _PATTERNS.items() if context['pattern'].startswith(start))}"
    root = next((name for name in _EXPECTED if kind == name or kind.startswith(f"{name}_")), None)
    return f"expected {_EXPECTED[root]}" if root else str(entry["msg"])


def _value(value: Any) -> str:
    """The value as it would stand in the file, cut when it is long."""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def _known(place: tuple[Any, ...], model: type[BaseModel]) -> str:
    """The keys that there are beside an unknown one, the nearest first."""
    found: Any = model
    for part in place[:-1]:
        if isinstance(part, str):
            found = found.model_fields[part].annotation
            # A list of tables: what counts is what is in it.
            found = next((each for each in getattr(found, "__args__", ()) if each is not ...), found)
    keys = [name for name, field in found.model_fields.items() if not field.exclude and name != "password"]
    near = difflib.get_close_matches(str(place[-1]), keys, 1)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(keys)}"
