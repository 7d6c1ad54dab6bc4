"""The rules of the house. Each one is held against the whole source, and against a planted file that breaks it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = "backfill/engine/pipeline.py"
LONGEST_FUNCTION = 40
LONG_FUNCTIONS: dict[str, str] = {}
"""Functions that may be longer, with the reason. None needs to be, so far."""

PURE = {"errors", "files", "log", "ids", "config", "config_words", "places"}
MAY_IMPORT: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"commands", "errors"},
    "commands": {"runs", "app", "stages", "tracks", "sources", "warehouse", "engine", *PURE, "__version__"},
    "runs": {"app", "stages", "tracks", "sources", "warehouse", "engine", *PURE},
    "app": {"stages", "tracks", "sources", "warehouse", "engine", *PURE},
    "stages": {"tracks", "sources", "warehouse", "engine", *PURE},
    "tracks": {"engine", "config", "errors", "ids"},
    "sources": {"engine", "config", "errors", "log"},
    "warehouse": {"config", "errors", "files", "log"},
    "engine": {"errors", "files", "log"},
    "places": {"config"},
    "config": {"config_words", "errors"},
    "config_words": set(),
    "files": {"errors"},
    "errors": set(),
    "log": set(),
    "ids": set(),
}
"""Which room may use which. Down the list is down the house: nothing looks up."""
DOORS: dict[str, set[str]] = {
    "backfill/stages/checkup.py": {"app"},  # doctor reads the plan the way a run does
    "backfill/commands/demo.py": {"simulator"},
    "backfill/commands/demo_profit.py": {"simulator"},
    "backfill/commands/simulate.py": {"simulator"},
}

AIOHTTP_CLIENT = {"backfill/sources/client.py", "backfill/warehouse/client.py"}
READS_ENVIRONMENT = {
    "backfill/config.py": "the one place where settings come from",
    "backfill/places.py": "the short way to two of its values, for status",
    "backfill/__main__.py": "BACKFILL_DEBUG: must work when the configuration does not",
    "backfill/commands/run.py": "BACKFILL_PLAIN: about this terminal, not about the work",
    "backfill/commands/datasets.py": "the same",
    "backfill/commands/status.py": "NO_COLOR, TERM",
    "backfill/commands/tail.py": "NO_COLOR, TERM",
    "backfill/commands/demo.py": "NO_COLOR, TERM, and whether a config was named",
    "backfill/commands/demo_lab.py": "what its child processes inherit",
    "backfill/warehouse/launcher.py": "what the embedded warehouse inherits",
    "backfill/warehouse/embedded.py": "TZ, before ClickHouse starts",
}
HOLDS_SQL = {
    "backfill/warehouse/client.py": "the head of an insert",
    "backfill/warehouse/migrate.py": "the tables that keep account of the schema, made before any file is applied",
    "backfill/warehouse/embedded_engine.py": "the engine asked about itself",
}
PRINTS = {
    "backfill/__main__.py": "the last word of a command",
    "backfill/log.py": "the echo of the log on stderr",
    "backfill/warehouse/embedded.py": "a process of its own",
    "backfill/stages/judging.py": "ends its own worker process",
}
SQL = re.compile(
    r"\s*(SELECT\s|INSERT INTO\s|"
    r"(ALTER|DROP|TRUNCATE|EXCHANGE|RENAME|OPTIMIZE|CREATE) (TABLES?|VIEW|DATABASE|DICTIONARY))"
)
UPSTREAM_WORDS = re.compile(r"polymarket|dome|goldsky|gamma|clob|subgraph|condition_id", re.IGNORECASE)
MACHINE_PATH = re.compile(r"(?<![\w.}~])/(?:work|root|home|Users|opt)/\w")
TEXT = {".py", ".sql", ".md", ".toml", ".txt", ".cfg", ".yml", ".yaml", ".json", ""}


@dataclass(frozen=True)
class Source:
    """A file of the project; `path` is relative to its top."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        parts = self.path.removesuffix(".py").split("/")
        return parts[1] if len(parts) > 1 else parts[0]

    @property
    def module(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def nodes(self, *, types_too: bool = True) -> Iterator[ast.AST]:
        """Every node; without those that only type checkers see, if so wanted."""
        waiting: list[ast.AST] = [self.tree]
        while waiting:
            node = waiting.pop()
            yield node
            if not types_too and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                continue
            waiting.extend(ast.iter_child_nodes(node))

    def imports(self, *, types_too: bool = True) -> Iterator[str]:
        """Dotted names of what is imported; relative ones begin with a dot."""
        for node in self.nodes(types_too=types_too):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                yield from (f"{base}.{alias.name}" for alias in node.names)

    def strings(self) -> Iterator[ast.Constant]:
        """String literals that are no docstrings."""
        docs = {
            id(node.body[0].value)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                yield node


Rule = Callable[[Sequence[Source]], Iterator[str]]


def rooms(sources: Sequence[Source]) -> Iterator[str]:
    """Imports point one way."""
    for each in sources:
        if each.room == "simulator":
            continue
        allowed = MAY_IMPORT.get(each.room, set()) | DOORS.get(each.path, set()) | {each.room}
        for name in each.imports():
            parts = name.split(".")
            if parts[0] == "backfill" and parts[1] not in allowed:
                yield f"{each.path} imports {name}"


def simulator_alone(sources: Sequence[Source]) -> Iterator[str]:
    """The simulator shares nothing with what it tests."""
    for each in sources:
        if each.room == "simulator":
            yield from (f"{each.path} imports {name}" for name in each.imports() if name.startswith(("backfill", "..")))


def no_cycles(sources: Sequence[Source]) -> Iterator[str]:
    """No module needs itself."""
    modules = {each.module for each in sources}

    def targets(each: Source) -> set[str]:
        names = each.imports(types_too=False)
        return {part for name in names for part in (name, name.rpartition(".")[0]) if part in modules}

    graph = {each.module: targets(each) for each in sources}
    state: dict[str, int] = {}

    def visit(module: str, above: tuple[str, ...]) -> Iterator[str]:
        state[module] = 1
        for target in sorted(graph[module] - {module}):
            if state.get(target) == 1:
                yield " → ".join((*above, module, target))
            elif target not in state:
                yield from visit(target, (*above, module))
        state[module] = 2

    for module in sorted(graph):
        if module not in state:
            yield from visit(module, ())


def one_client_each(sources: Sequence[Source]) -> Iterator[str]:
    """Requests leave through one door, statements through another, and one process owns the embedded engine."""
    for each in sources:
        if each.room == "simulator":
            continue
        for name in each.imports(types_too=False):
            top = name.split(".")[0]
            server = name.startswith(("aiohttp.web", "aiohttp.BodyPartReader"))
            if top == "aiohttp" and not server and each.path not in AIOHTTP_CLIENT:
                yield f"{each.path} imports {name}"
            if top == "aiochclient" and each.path != "backfill/warehouse/client.py":
                yield f"{each.path} imports {name}"
            if top == "chdb" and not each.path.startswith("backfill/warehouse/embedded"):
                yield f"{each.path} imports {name}"
            if top in {"requests", "httpx", "urllib3", "clickhouse_connect"}:
                yield f"{each.path} imports {name}"


def environment(sources: Sequence[Source]) -> Iterator[str]:
    """Settings enter once."""
    for each in sources:
        if each.room == "simulator" or each.path in READS_ENVIRONMENT:
            continue
        for node in each.nodes():
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}:
                yield f"{each.path}:{node.lineno} reads the environment"


def engine_knows_nothing(sources: Sequence[Source]) -> Iterator[str]:
    """The engine would do for any upstream."""
    for each in sources:
        if each.room == "engine":
            for number, line in enumerate(each.text.splitlines(), 1):
                if found := UPSTREAM_WORDS.search(line):
                    yield f"{each.path}:{number} says {found[0]!r}"


def sql_in_files(sources: Sequence[Source]) -> Iterator[str]:
    """SQL lives in sql/, and is never put together from pieces."""
    for each in sources:
        if each.room == "simulator" or each.path in HOLDS_SQL:
            continue
        for node in each.strings():
            if SQL.match(str(node.value)):
                yield f"{each.path}:{node.lineno} holds SQL: {str(node.value)[:40]!r}"


def short_functions(sources: Sequence[Source]) -> Iterator[str]:
    """A function fits on a screen."""
    for each in sources:
        for node in each.nodes():
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION and f"{each.path}:{node.name}" not in LONG_FUNCTIONS:
                    yield f"{each.path}: {node.name} has {length} lines"


def docstrings(sources: Sequence[Source]) -> Iterator[str]:
    """What others may use says what it does; members of a Protocol are described by its docstring."""
    for each in sources:
        if each.text.strip() and not ast.get_docstring(each.tree):
            yield f"{each.path} has no docstring"
        yield from (f"{each.path}: {name} has no docstring" for name in _undescribed(each.tree))


def _undescribed(parent: ast.AST) -> Iterator[str]:
    for node in ast.iter_child_nodes(parent):
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.name
        is_protocol = isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases)
        if isinstance(node, ast.ClassDef) and not is_protocol:
            yield from (f"{node.name}.{name}" for name in _undescribed(node))


def only_commands_speak(sources: Sequence[Source]) -> Iterator[str]:
    """Only commands print and exit."""
    for each in sources:
        if each.room in {"commands", "simulator"} or each.path in PRINTS:
            continue
        for node in each.nodes():
            spoken = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if re.fullmatch(r"print|exit|quit|sys\.exit|os\._exit|sys\.std(out|err)(\.buffer)?\.write", spoken):
                yield f"{each.path}:{node.lineno} calls {spoken}"  # type: ignore[attr-defined]


def nothing_between(sources: Sequence[Source]) -> Iterator[str]:
    """Once rows are durable the ledger moves: nothing is awaited in between."""
    for each in sources:
        if each.path != PIPELINE:
            continue
        awaits = [n for n in each.nodes() if isinstance(n, ast.Await)]
        writes = [n.lineno for n in awaits if ast.unparse(n).startswith("await self.write(")]
        moves = [
            n.lineno for n in each.nodes() if isinstance(n, ast.Call) and ast.unparse(n.func) == "self.progress.advance"
        ]
        if len(writes) != 1 or len(moves) != 1 or moves[0] < writes[0]:
            yield f"{each.path}: expected one write, and one advance behind it"
        elif any(writes[0] < n.lineno <= moves[0] for n in awaits):
            yield f"{each.path}: something is awaited between write and advance"


def no_machine_paths(sources: Sequence[Source]) -> Iterator[str]:
    """Nothing names a place on somebody's machine."""
    for each in sources:
        for number, line in enumerate(each.text.splitlines(), 1):
            if MACHINE_PATH.search(line):
                yield f"{each.path}:{number}: {line.strip()[:80]}"


def long_name(*parts: str) -> str:
    return "/".join(("", *parts))


PLANTED: dict[Rule, list[Source]] = {
    rooms: [
        Source("backfill/engine/x.py", "from backfill.sources.client import Door"),
        Source("backfill/engine/x.py", "from backfill.config import Config"),
        Source("backfill/warehouse/x.py", "import backfill.engine.model"),
        Source("backfill/tracks/x.py", "def f():\n    from backfill.warehouse import client"),
        Source("backfill/sources/x.py", "from backfill import stages"),
        Source("backfill/stages/x.py", "from backfill.simulator.world import World"),
        Source("backfill/app.py", "from backfill.commands import run"),
        Source("backfill/attic/x.py", "from backfill.errors import Stop"),
    ],
    simulator_alone: [
        Source("backfill/simulator/x.py", "from backfill.ids import token_id"),
        Source("backfill/simulator/x.py", "from ..ids import token_id"),
    ],
    no_cycles: [
        Source("backfill/x.py", "from backfill.x.y import z"),
    ],
    one_client_each: [
        Source("backfill/stages/x.py", "import aiohttp"),
        Source("backfill/tracks/x.py", "from aiochclient import ChClient"),
        Source("backfill/warehouse/sink.py", "import chdb"),
        Source("backfill/sources/x.py", "def f():\n    import requests"),
    ],
    environment: [
        Source("backfill/stages/x.py", "import os\nos.environ['X']"),
        Source("backfill/engine/x.py", "import os\nos.getenv('X')"),
    ],
    engine_knows_nothing: [Source("backfill/engine/x.py", "if name == 'dome': pass")],
    sql_in_files: [
        Source("backfill/stages/x.py", "Q = 'SELECT 1'"),
        Source("backfill/stages/x.py", "Q = f'INSERT INTO {table} VALUES'"),
        Source("backfill/app.py", "Q = '''\n  DROP TABLE x'''"),
    ],
    short_functions: [Source("backfill/stages/x.py", "def f():\n" + "    pass\n" * LONGEST_FUNCTION)],
    docstrings: [
        Source("backfill/stages/x.py", "x = 1"),
        Source("backfill/stages/x.py", "'''Doc.'''\ndef f(): ..."),
        Source("backfill/stages/x.py", "'''Doc.'''\nclass A:\n    '''Doc.'''\n    def f(self): ..."),
    ],
    only_commands_speak: [
        Source("backfill/stages/x.py", "print(1)"),
        Source("backfill/engine/x.py", "import sys\nsys.exit(1)"),
    ],
    nothing_between: [
        Source(PIPELINE, "async def f(self):\n await self.write(1)\n await x()\n self.progress.advance(1)"),
        Source(PIPELINE, "async def f(self):\n self.progress.advance(1)\n await self.write(1)"),
        Source(PIPELINE, "async def f(self):\n await self.write(1)"),
    ],
    no_machine_paths: [
        Source("README.md", "cd " + long_name("home", "me", "x")),
        Source("x.sql", long_name("work", "y")),
    ],
}
"""For each rule, files that break it."""


@cache
def ours() -> list[Source]:
    return [_read(path) for path in sorted((ROOT / "backfill").rglob("*.py"))]


def everything() -> list[Source]:
    """Every text file that is kept, tests and papers included."""
    folders = ("backfill", "tests", "sql", ".ci")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*") if "cache" not in str(path)]
    paths += [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "Makefile", ROOT / ".gitignore"]
    return [_read(path) for path in paths if path.is_file() and path.suffix in TEXT]


def _read(path: Path) -> Source:
    return Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8", errors="replace"))


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule.__name__) for rule in PLANTED])
def test_the_house_keeps_the_rule(rule: Rule) -> None:
    assert list(rule(everything() if rule is no_machine_paths else ours())) == []


@pytest.mark.parametrize(
    ("rule", "planted"),
    [
        pytest.param(rule, each, id=f"{rule.__name__}-{n}")
        for rule, bad in PLANTED.items()
        for n, each in enumerate(bad)
    ],
)
def test_a_file_that_breaks_the_rule_is_found(rule: Rule, planted: Source) -> None:
    partner = [Source("backfill/x/y.py", "import backfill.x")] if rule is no_cycles else []
    assert list(rule([planted, *partner]))


def test_what_only_type_checkers_see_is_no_import_of_a_client() -> None:
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import aiohttp"
    assert list(one_client_each([Source("backfill/stages/x.py", guarded)])) == []


def test_every_exception_is_still_needed() -> None:
    found = {each.path: each for each in ours()}
    named = {*AIOHTTP_CLIENT, *READS_ENVIRONMENT, *HOLDS_SQL, *PRINTS, *DOORS}
    assert named <= found.keys()
    for path in READS_ENVIRONMENT:
        assert list(environment([Source("backfill/elsewhere.py", found[path].text)])), path
    for path in HOLDS_SQL:
        assert list(sql_in_files([Source("backfill/elsewhere.py", found[path].text)])), path
    for path in PRINTS:
        assert list(only_commands_speak([Source("backfill/elsewhere.py", found[path].text)])), path
    for path, more in DOORS.items():
        used = {name.split(".")[1] for name in found[path].imports() if name.startswith("backfill.")}
        assert more <= used, path


def test_a_task_without_a_parent_is_banned_by_the_linter() -> None:
    import tomllib

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    banned = settings["flake8-tidy-imports"]["banned-api"]
    assert {"asyncio.create_task", "asyncio.gather", "asyncio.ensure_future"} <= banned.keys()
    assert {"TID", "S608"} <= set(settings["select"])
