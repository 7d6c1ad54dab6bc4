"""Fields of upstream rows: what they become, and how drift is told."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfill.tracks import values
from backfill.tracks.values import Drift

READERS: list[Callable[[Any, str], Any]] = [
    values.text,
    values.flag,
    values.condition,
    values.any_condition,
    values.hash32,
    values.address,
    values.token,
    values.tokens,
    values.whole,
    values.wholes,
    values.amount,
    values.index,
    values.number,
    values.micro,
    values.signed_micro,
    values.moment,
    values.strings,
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@given(JSON, st.sampled_from(READERS))
def test_a_reader_reads_or_names_the_field(value: Any, read: Callable[[Any, str], Any]) -> None:
    try:
        found = read({"f": value}, "f")
    except Drift as drift:
        assert str(drift).startswith("field f: expected ") and ", saw " in str(drift)
    else:
        orjson.dumps(str(found) if isinstance(found, int | Decimal) else found)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_what_is_absent_is_unknown_and_needed_or_not(read: Callable[[Any, str], Any]) -> None:
    assert read({}, "f") in (None, []) and read({"f": None}, "f") in (None, [])
    if read({}, "f") is None:
        with pytest.raises(Drift, match="field f: expected a value, saw null"):
            values.need(read, {}, "f")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1788963904, 1788963904),
        ("1788963904", 1788963904),
        ("2026-09-09 14:25:04+00", 1788963904),
        ("2026-09-09T14:25:04Z", 1788963904),
        ("2026-09-09T16:25:04.9+02:00", 1788963904),
        ("2026-09-09T14:25:04.123456Z", 1788963904),
        ("2026-09-09", 1788912000),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
    ],
)
def test_times_of_every_kind(value: Any, seconds: int | None) -> None:
    assert values.moment({"f": value}, "f") == seconds


@pytest.mark.parametrize("value", [1 << 32, -1, "2107-01-01", "1969-12-31", 1.5, True, "yesterday", [], "99999-01-01"])
def test_times_that_are_none(value: Any) -> None:
    with pytest.raises(Drift, match="field f: expected a time"):
        values.moment({"f": value}, "f")


@given(st.integers(0, 10**14))
def test_a_float_of_micro_units_keeps_them(units: int) -> None:
    document = orjson.loads(b'{"f":%d.%06d}' % divmod(units, 10**6))
    assert values.micro(document, "f") == units
    assert values.signed_micro({"f": -document["f"]}, "f") == -units


def test_a_token_is_never_a_number() -> None:
    most = (1 << 256) - 1
    assert values.token({"f": str(most)}, "f") == str(most)
    for wrong in (str(most + 1), "0", "011", "-5", "1e10", 11, 11.0, "0x1"):
        with pytest.raises(Drift):
            values.token({"f": wrong}, "f")


def test_a_list_may_come_as_text() -> None:
    for given_ in (["a", "b"], '["a", "b"]'):
        assert values.strings({"f": given_}, "f") == ["a", "b"]
    assert values.strings({"f": "[]"}, "f") == values.strings({"f": "null"}, "f") == []
