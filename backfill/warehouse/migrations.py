"""Migration files, and the record of them that the warehouse keeps. Pure, but for reading the files.

A file is `NNNN_words.sql`: a first comment with its purpose, statements, and behind a line `-- down` the way back.
Every statement must bear being run twice, because a crash may come between a statement and its record.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backfill.errors import StateError
from backfill.warehouse.client import Names
from backfill.warehouse.queries import sql_home
from backfill.warehouse.statements import split_statements

_FILE = re.compile(r"(\d{4})_(\w+)\.sql\Z")
_DOWN = re.compile(r"^-- down[ \t]*$", re.MULTILINE)
_MADE = re.compile(r"CREATE (?:OR REPLACE )?(?:TABLE|VIEW)\s+(?:IF NOT EXISTS\s+)?\{(\w+):Identifier\}\.(\w+)")
_PLACE = re.compile(r"\{\s*(production|staging|analytics)\s*:\s*Identifier\s*\}")


@dataclass(frozen=True)
class Migration:
    """One file: `up` and `down` are its statements, `checksum` the SHA-256 of its text."""

    version: int
    name: str
    checksum: str
    up: tuple[str, ...]
    down: str

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.version:04}_{self.name}"

    @property
    def tables(self) -> tuple[tuple[str, str], ...]:
        """The tables and views it makes, as (production | staging | analytics, name)."""
        return tuple((match[1], match[2]) for text in self.up for match in _MADE.finditer(text))


@dataclass(frozen=True)
class Record:
    """What the warehouse remembers of a migration; `done` of `statements` have been run."""

    version: int
    name: str
    checksum: str
    statements: int
    done: int
    down: str
    reverted: bool
    revision: int
    applied_at: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Record:
        """From a row of schema_migrations."""
        return cls(
            version=int(row["version"]),
            name=str(row["name"]),
            checksum=str(row["checksum"]),
            statements=int(row["statements"]),
            done=int(row["done"]),
            down=str(row["down_sql"]),
            reverted=bool(int(row["reverted"])),
            revision=int(row["revision"]),
            applied_at=str(row["applied_at"]),
        )

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.version:04}_{self.name}"

    @property
    def complete(self) -> bool:
        """Whether it is in force, whole."""
        return not self.reverted and self.done >= self.statements


def read_files(directory: Path | None = None) -> list[Migration]:
    """The migrations of this release, in order.

    Raises:
        StateError: a file name that is not `NNNN_words.sql`, or a number given twice.
    """
    found: dict[int, Migration] = {}
    for path in sorted((directory or sql_home() / "migrations").glob("*.sql")):
        migration = _read(path)
        if migration.version in found:
            raise StateError(f"two migrations have the number {migration.version:04}", where=path.name)
        found[migration.version] = migration
    return [found[version] for version in sorted(found)]


def _read(path: Path) -> Migration:
    match = _FILE.match(path.name)
    if match is None:
        raise StateError("not a migration's file name", where=path.name, remedy="NNNN_words.sql")
    text = path.read_text(encoding="utf-8")
    up, *down = _DOWN.split(text, maxsplit=1)
    return Migration(
        version=int(match[1]),
        name=match[2],
        checksum=hashlib.sha256(text.encode()).hexdigest(),
        up=tuple(split_statements(up)),
        down=down[0].strip() if down else "",
    )


def with_names(statement: str, names: Names) -> str:
    """The statement with its database names written out.

    For statements where ClickHouse takes no parameter: a view stores `{production:Identifier}` as it stands and then
    works for nobody, `CREATE … AS {x:Identifier}.y` and `ATTACH PARTITION … FROM {x:Identifier}.y` do not parse. The
    configuration admits only letters, digits and underscores.
    """
    return _PLACE.sub(lambda match: f"`{getattr(names, match[1])}`", statement)


def check(migrations: Sequence[Migration], records: Mapping[int, Record]) -> None:
    """Refuse a past that this release does not know.

    Raises:
        StateError: an applied migration's file has changed or is missing.
    """
    known = {migration.version: migration for migration in migrations}
    problems = []
    for record in records.values():
        migration = known.get(record.version)
        if record.reverted:
            continue
        if migration is None:
            problems.append(f"{record.label} is applied, but this release has no such file")
        elif migration.checksum != record.checksum:
            problems.append(f"{record.label} has changed since it was applied")
    if problems:
        raise StateError(
            "; ".join(problems), where="migrations", remedy="restore the file; changes belong into a new migration"
        )
