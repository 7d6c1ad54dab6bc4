"""Named SQL: the blocks of `sql/queries/*.sql`, each begun by `-- name: some_name` and a line of purpose."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_HEAD = re.compile(r"^-- name:\s*(\w+)\s*$", re.MULTILINE)


def load(name: str) -> str:
    """The SQL called `name`.

    Raises:
        LookupError: no block has this name, or two have the same.
    """
    try:
        return _all()[name]
    except KeyError:
        raise LookupError(f"no query called {name!r} in sql/queries") from None


def sql_home() -> Path:
    """The `sql` directory: inside the package when installed, beside it in a source tree.

    Raises:
        LookupError: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for place in (package / "sql", package.parent / "sql"):
        if place.is_dir():
            return place
    raise LookupError(f"no sql directory in {package} or beside it")


@cache
def _all() -> dict[str, str]:
    return read_directory(sql_home() / "queries")


def read_directory(directory: Path) -> dict[str, str]:
    """Every block of every file.

    Raises:
        LookupError: a name is given twice.
    """
    found: dict[str, str] = {}
    for path in sorted(directory.glob("*.sql")):
        _, *parts = _HEAD.split(path.read_text(encoding="utf-8"))
        for name, text in zip(parts[::2], parts[1::2], strict=True):
            if name in found:
                raise LookupError(f"{path.name}: the query {name!r} is defined twice")
            found[name] = text.strip().removesuffix(";").rstrip()
    return found
