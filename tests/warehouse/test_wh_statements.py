"""Finding where statements, formats and rows begin."""

from __future__ import annotations

import pytest

from backfill.warehouse.statements import first_word, output_format, reads_only, split_insert, split_statements


def test_semicolons_in_quotes_and_comments_do_not_split() -> None:
    script = """
    SELECT ';', "a;b", `c;d` -- one; two
    ; /* three; */ SELECT 2 ;
    -- only a comment;
    """
    assert [" ".join(piece.split()) for piece in split_statements(script)] == [
        """SELECT ';', "a;b", `c;d` -- one; two""",
        "/* three; */ SELECT 2",
    ]


def test_a_quote_inside_a_string_does_not_end_it() -> None:
    assert split_statements(r"SELECT 'it''s; \'; fine'; SELECT 2") == [r"SELECT 'it''s; \'; fine'", "SELECT 2"]


@pytest.mark.parametrize(
    ("sql", "head", "fmt", "rows"),
    [
        (b"INSERT INTO t FORMAT JSONEachRow\n{}", b"INSERT INTO t ", "JSONEachRow", b"{}"),
        (b"insert into t (format, b) values (1, 2)", b"insert into t (format, b) ", "Values", b" (1, 2)"),
        (
            b"INSERT INTO t SETTINGS a = 1 FORMAT Native \x00\xff",
            b"INSERT INTO t SETTINGS a = 1 ",
            "Native",
            b"\x00\xff",
        ),
        (b"/* INSERT */ INSERT INTO `FORMAT` FORMAT CSV\r\n1", b"/* INSERT */ INSERT INTO `FORMAT` ", "CSV", b"1"),
    ],
)
def test_an_insert_comes_apart_into_statement_format_and_rows(sql: bytes, head: bytes, fmt: str, rows: bytes) -> None:
    insert = split_insert(sql)
    assert insert is not None
    assert (insert.head + insert.settings, insert.fmt, sql[insert.data_at :]) == (head, fmt, rows)
    assert insert.settings.strip() in (b"", b"SETTINGS a = 1")


@pytest.mark.parametrize(
    "sql", [b"INSERT INTO t SELECT 1", b"INSERT INTO t WITH 1 AS x SELECT x", b"SELECT 1 FORMAT CSV", b"", b"-- INSERT"]
)
def test_what_brings_no_rows_is_not_taken_apart(sql: bytes) -> None:
    assert split_insert(sql) is None


def test_the_format_of_an_answer_is_found_outside_of_brackets_only() -> None:
    assert output_format(b"SELECT f(x) FROM (SELECT 1 FORMAT x) FORMAT JSON SETTINGS a = 1") == "JSON"
    assert output_format(b"SELECT formatDateTime(now(), 'FORMAT CSV')") is None


def test_reading_is_judged_by_the_first_keyword_behind_brackets_and_comments() -> None:
    assert reads_only(b" -- DROP\n ((SELECT 1))")
    assert not reads_only(b"/* SELECT */ DROP TABLE t")
    assert first_word(b"'SELECT'") == b""
