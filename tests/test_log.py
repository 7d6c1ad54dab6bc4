"""The log: whole lines, in a fixed order, never with a secret in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backfill.log import HIDDEN, LogFile, configure, redactor

SECRET = "s3cr3t-of-the-key"


@pytest.fixture(autouse=True)
def own_configuration() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_a_line_has_its_keys_in_order_and_the_fields_after_them(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.jsonl"
    log = configure(path, secrets=(), run_id="r1", stderr="quiet")
    log.info("progress", zeta=1, alpha=2)
    log.bind(track="dome_tokens").warning("throttled", wait_s=0.5)
    first, second = lines(path)
    assert list(first)[:3] == ["timestamp", "level", "event"]
    assert first["run_id"] == "r1" and first["track"] is None and first["zeta"] == 1
    assert (second["level"], second["event"], second["track"]) == ("warning", "throttled", "dome_tokens")
    assert second["timestamp"].endswith("Z") and "T" in second["timestamp"]


@pytest.mark.parametrize("stderr", ["json", "warnings"])
def test_a_secret_is_written_nowhere(tmp_path: Path, stderr: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    path = tmp_path / "a.jsonl"
    log = configure(path, secrets=("", SECRET), run_id="r", stderr=stderr)
    log.error(f"failed with {SECRET}", url=f"https://x/?key={SECRET}", nested={"a": [{"b": (f"<{SECRET}>", 1)}]})
    log.error("headers", headers={"Authorization": "Bearer other", "password": "pw-other"}, api_key="k-other")
    try:
        raise ValueError(SECRET)
    except ValueError:
        log.error("trace", exc_info=True)
    log.bind(who=SECRET).error("bound")
    written = path.read_bytes() + b"".join(capfdbinary.readouterr())
    assert SECRET.encode() not in written
    assert b"-other" not in written and b"Bearer" not in written
    assert len(lines(path)) == 4 and HIDDEN in lines(path)[0]["url"]


@pytest.mark.parametrize(
    "value",
    [ValueError(f"bad {SECRET}"), Path(f"/x/{SECRET}"), {SECRET}, SECRET.encode()],
    ids=lambda v: type(v).__name__,
)
def test_a_secret_inside_a_value_that_is_no_text_is_not_written_either(tmp_path: Path, value: object) -> None:
    path = tmp_path / "a.jsonl"
    configure(path, secrets=(SECRET,), run_id="r", stderr="quiet").error("failed", error=value, nested=[{"x": value}])
    assert SECRET.encode() not in path.read_bytes()
    assert len(lines(path)) == 1


def test_a_secret_in_a_key_is_not_written_either(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    configure(path, secrets=(SECRET,), run_id="r", stderr="quiet").error("failed", nested={f"x{SECRET}": 1})
    assert SECRET.encode() not in path.read_bytes()


FIELDS = st.recursive(
    st.none() | st.integers(0, 9) | st.sampled_from([SECRET, f"a{SECRET}b", "harmless", SECRET * 2]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FIELDS)
def test_no_nesting_hides_a_secret(value: Any) -> None:
    cleaned = redactor([SECRET])(None, "", {"event": "x", "field": value})
    assert SECRET.encode() not in orjson.dumps(cleaned)


def test_a_full_disk_is_told_once_and_the_log_goes_on_when_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "logs"
    folder.write_text("a file where a folder should be")
    sink = LogFile(folder / "a.jsonl")
    for _ in range(5):
        sink.write(b"x\n")
    assert capsys.readouterr().err.count("cannot write") == 1
    folder.unlink()
    sink.write(b"back\n")
    assert (folder / "a.jsonl").read_bytes() == b"back\n"
    assert capsys.readouterr().err == ""


def test_warnings_on_stderr_are_readable_and_the_rest_is_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = configure(tmp_path / "a.jsonl", secrets=(), run_id="r", stderr="warnings")
    log.info("progress", n=1)
    log.warning("throttled", wait_s=2)
    assert capfd.readouterr().err == "warning: throttled wait_s=2\n"
