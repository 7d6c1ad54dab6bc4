"""Just enough ClickHouse lexing to find where statements, formats and inline data begin. Pure; works on bytes.

Bytes, because an INSERT may carry binary rows behind its FORMAT word, and those are never decoded here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
    (?P<space>\s+|--[^\n]*|\#[!\ ][^\n]*|/\*.*?(?:\*/|\Z))
  | (?P<quoted>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`|\$(\w*)\$.*?\$\3\$)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<number>\d\w*)
  | (?P<mark>.)
    """,
    re.DOTALL | re.VERBOSE,
)

_OPENING, _CLOSING = frozenset(b"([{"), frozenset(b")]}")

READING = frozenset({b"SELECT", b"WITH", b"SHOW", b"DESCRIBE", b"DESC", b"EXISTS", b"EXPLAIN", b"CHECK"})


@dataclass(frozen=True)
class Token:
    """A piece of SQL that is neither blank nor comment; `depth` counts the brackets around it."""

    kind: str
    text: bytes
    start: int
    end: int
    depth: int

    def is_word(self, *words: bytes) -> bool:
        """Whether this is one of these keywords, outside of all brackets."""
        return self.kind == "word" and self.depth == 0 and self.text.upper() in words


def tokens(sql: bytes) -> Iterator[Token]:
    """The tokens of `sql`, in order, made as they are asked for."""
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup or "mark"
        if kind == "space":
            continue
        text = match[kind]
        if kind == "mark" and text[0] in _CLOSING:
            depth -= 1
        yield Token(kind, text, match.start(), match.end(), depth)
        if kind == "mark" and text[0] in _OPENING:
            depth += 1


def first_word(sql: bytes) -> bytes:
    """The first keyword, upper case; brackets before it (`(SELECT …)`) are looked through."""
    for token in tokens(sql):
        if token.kind == "word":
            return token.text.upper()
        if token.text != b"(":
            break
    return b""


def reads_only(sql: bytes) -> bool:
    """Whether the statement answers with rows and changes nothing, judged by its first keyword."""
    return first_word(sql) in READING


def output_format(sql: bytes) -> str | None:
    """The name behind the last FORMAT outside of brackets, which decides over any default."""
    found = None
    previous: Token | None = None
    for token in tokens(sql):
        if previous is not None and previous.is_word(b"FORMAT") and token.kind == "word":
            found = token.text.decode()
        previous = token
    return found


@dataclass(frozen=True)
class Insert:
    """An INSERT that is fed with rows.

    `head` reaches up to its SETTINGS or FORMAT, `settings` is that clause (or nothing), and at `data_at` rows begin.
    """

    head: bytes
    settings: bytes
    fmt: str
    data_at: int


def split_insert(sql: bytes) -> Insert | None:
    """Take `INSERT … FORMAT X rows` apart; None for everything else, INSERT … SELECT included."""
    walk = tokens(sql)
    first = next(walk, None)
    if first is None or not first.is_word(b"INSERT"):
        return None
    cut: int | None = None
    for token in walk:
        if token.is_word(b"SELECT", b"WITH", b"INFILE"):
            return None
        if token.is_word(b"SETTINGS"):
            cut = token.start
        if token.is_word(b"VALUES"):
            return _insert(sql, cut, token, "Values", token.end)
        if token.is_word(b"FORMAT") and (name := next(walk, None)) and name.kind == "word":
            return _insert(sql, cut, token, name.text.decode(), _after_blank(sql, name.end))
    return None


def _insert(sql: bytes, cut: int | None, end: Token, fmt: str, data_at: int) -> Insert:
    stop = end.start if cut is None else cut
    return Insert(sql[:stop], sql[stop : end.start], fmt, data_at)


def _after_blank(sql: bytes, position: int) -> int:
    """Rows begin behind the blanks up to one line end, so that rows may begin with blanks of their own."""
    match = re.compile(rb"[ \t]*;?[ \t]*\r?\n?").match(sql, position)
    return match.end() if match else position


def split_statements(sql: str) -> list[str]:
    """The statements of a script, trimmed, without their semicolons and without empty ones."""
    raw = sql.encode()
    found, start = [], 0
    ends = [token for token in tokens(raw) if token.text == b";" and token.kind == "mark"]
    for end in (*(token.start for token in ends), len(raw)):
        piece = raw[start:end]
        if next(tokens(piece), None) is not None:
            found.append(piece.decode().strip())
        start = end + 1
    return found
