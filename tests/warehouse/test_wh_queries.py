"""Named SQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from backfill.warehouse import queries


def test_a_block_is_found_by_its_name_without_its_semicolon(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(
        "-- what this file is about\n-- name: one\n-- Counts.\nSELECT 1;\n\n-- name: two\nSELECT 2\n"
    )
    assert queries.read_directory(tmp_path) == {"one": "-- Counts.\nSELECT 1", "two": "SELECT 2"}


def test_a_name_given_twice_is_an_error_that_says_where(tmp_path: Path) -> None:
    for name in ("a.sql", "b.sql"):
        (tmp_path / name).write_text("-- name: one\nSELECT 1")
    with pytest.raises(LookupError, match=r"b\.sql.*'one'"):
        queries.read_directory(tmp_path)


def test_an_unknown_name_is_an_error_that_says_which() -> None:
    with pytest.raises(LookupError, match="'no_such_query'"):
        queries.load("no_such_query")


def test_every_query_of_the_house_can_be_loaded() -> None:
    assert queries.sql_home().name == "sql"
    for name in queries.read_directory(queries.sql_home() / "queries"):
        assert queries.load(name)
