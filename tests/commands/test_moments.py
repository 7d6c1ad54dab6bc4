"""Moments as people write them."""

from __future__ import annotations

import pytest

from backfill.commands.moments import read_moment
from backfill.errors import UsageError

NOW = 1_777_374_000.5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-04-28T11:00:00Z", 1_777_374_000),
        ("2026-04-28T13:00+02:00", 1_777_374_000),
        ("2026-04-28", 1_777_334_400),
        ("1777374000", 1_777_374_000),
        ("24h", 1_777_374_000 - 86_400),
        ("7d", 1_777_374_000 - 7 * 86_400),
        (" 90m ", 1_777_374_000 - 5_400),
    ],
)
def test_a_moment_is_read(text: str, seconds: int) -> None:
    assert read_moment(text, NOW) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "24", "7 days", "-3h", "2026-13-01", "1e9"])
def test_what_is_no_moment_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="--until"):
        read_moment(text, NOW, "--until")
