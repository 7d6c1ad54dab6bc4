"""What each upstream's answers mean: statuses, GraphQL errors under 200, and the 401 that is none."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic import SecretStr

from backfill.config import Dome, Goldsky
from backfill.engine.health import Missing
from backfill.errors import (
    BackfillError,
    PageTooLarge,
    Refused,
    Throttled,
    Unavailable,
    UpstreamUnusable,
)
from backfill.sources.common import excerpt, judge_status
from backfill.sources.dome import DomeSource, ended
from backfill.sources.goldsky import GoldskySource, meta_request
from backfill.sources.source import Answer

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "samples"
HTML = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head></html>"


def answer(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    return Answer(status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), body)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, Throttled, None),
        (410, UpstreamUnusable, "retired"),
        (401, UpstreamUnusable, "refused"),
        (403, UpstreamUnusable, "refused"),
        (404, Missing, None),
        (500, Unavailable, None),
        (503, Unavailable, None),
        (599, Unavailable, None),
        (408, Unavailable, None),
        (425, Unavailable, None),
        (302, UpstreamUnusable, "retired"),
        (400, Refused, None),
        (414, Refused, None),
        (204, Refused, None),
    ],
)
@pytest.mark.parametrize(
    "body", [b'{"error":"x","message":"y"}', HTML, b"", b"\xff\xfe"], ids=["json", "html", "-", "?"]
)
def test_what_a_status_means_does_not_depend_on_the_body(
    status: int, error: type[BackfillError], kind: str | None, body: bytes
) -> None:
    with pytest.raises(error) as caught:
        judge_status("dome", answer(status, body))
    assert getattr(caught.value, "kind", kind) == kind or kind is None
    assert f"HTTP {status}" in str(caught.value) and "\n" not in str(caught.value)


def test_200_is_fine() -> None:
    judge_status("dome", answer(200, HTML))


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_that_is_asked_for_is_passed_on(status: int) -> None:
    with pytest.raises((Throttled, Unavailable)) as caught:
        judge_status("dome", answer(status, Retry_After="12"))
    assert isinstance(caught.value, Throttled | Unavailable) and caught.value.wait_s == 12


def test_a_rate_limit_header_on_a_5xx_is_not_a_wait() -> None:
    with pytest.raises(Unavailable) as caught:
        judge_status("dome", answer(500, x_ratelimit_reset="99999999999"))
    assert caught.value.wait_s is None


@given(st.binary(max_size=2000), st.integers(2, 200))
def test_an_excerpt_is_one_short_line_whatever_came(body: bytes, most: int) -> None:
    text = excerpt(body, most)
    assert len(text) <= most and "\n" not in text and "\r" not in text


def dome() -> DomeSource:
    return DomeSource(Dome(), SecretStr("the-key"))


def test_offset_deprecated_is_a_paging_mistake_not_a_bad_key() -> None:
    with pytest.raises(Refused):
        dome().judge(answer(401, b'{"error":"Offset deprecated","message":"m","docs":"d"}'))


@pytest.mark.parametrize("body", [b'{"error":"Unauthorized"}', b"Offset deprecated", HTML, b"[]", b"", b'"x"'])
def test_any_other_401_is_a_bad_key(body: bytes) -> None:
    with pytest.raises(UpstreamUnusable) as caught:
        dome().judge(answer(401, body))
    assert caught.value.kind == "refused" and "the-key" not in str(caught.value)


def test_documented_dome_errors_are_all_sorted() -> None:
    path = SAMPLES / "dome" / "docs" / "errors_by_endpoint.json"
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST RECORDED ERRORS: {path} is not here")
    found = 0

    def walk(value: object, status: int | None) -> None:
        nonlocal found
        if isinstance(value, dict):
            if status is not None and "error" in value:
                found += 1
                with pytest.raises((Refused, Throttled, Unavailable)):
                    dome().judge(answer(status, orjson.dumps(value)))
            for key, inner in value.items():
                walk(inner, int(key) if str(key).isdigit() else status)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, status)

    walk(orjson.loads(path.read_bytes()), None)
    assert found > 5


def test_without_a_key_dome_cannot_be_asked() -> None:
    with pytest.raises(UpstreamUnusable, match="DOME_API_KEY") as caught:
        DomeSource(Dome(), None)
    assert caught.value.kind == "no_credentials" and caught.value.exit_code == 5


def test_the_key_goes_into_the_header_and_the_probe_is_small() -> None:
    assert dome().headers["Authorization"] == "Bearer the-key"
    assert dome().probe().params == (("limit", "1"),)


@pytest.mark.parametrize(("date", "is_over"), [("", False), ("2020-01-01", True), ("2999-01-01", False)])
def test_an_end_of_life_is_a_date_that_has_passed(date: str, is_over: bool) -> None:
    assert ended(date) is is_over


def graphql(*texts: object, tail: bytes = b"") -> Answer:
    errors = [{"message": text} if isinstance(text, str) else text for text in texts]
    return answer(200, orjson.dumps({"errors": errors}) + tail)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Query timed out", PageTooLarge),
        ("Store error: database query timed out", PageTooLarge),
        ("canceling statement due to statement timeout", PageTooLarge),
        (
            "Failed to decode `block.number` value: `subgraph Qm has only indexed up to block number 5 and data for "
            "block number 9 is therefore not yet available`",
            UpstreamUnusable,
        ),
        ("subgraph Qm only has data starting at block number 7", UpstreamUnusable),
        ("indexing_error", UpstreamUnusable),
        ("deployment `Qm` does not exist", UpstreamUnusable),
        ("Null value resolved for non-null field `condition`", Unavailable),
        (
            "service is overloaded and can not run the query right now. Please try again in a few minutes",
            Unavailable,
        ),
        ("the chain was reorganized while executing the query", Unavailable),
        ("Store error: internal error", Unavailable),
        ("Type `Position` has no field `foo`", Refused),
        ("The `first` argument must be between 0 and 1000, but is 2000", Refused),
        ("something nobody has heard of", Refused),
    ],
)
def test_errors_under_200_are_sorted_by_their_text(text: str, error: type[BackfillError]) -> None:
    for told in (graphql(text), graphql(text.upper()), graphql({"message": text, "locations": []}), graphql(text, "x")):
        with pytest.raises(error):
            GoldskySource(Goldsky()).judge(told)


def test_a_stale_subgraph_is_named_stale() -> None:
    with pytest.raises(UpstreamUnusable) as caught:
        GoldskySource(Goldsky()).judge(graphql("indexing_error"))
    assert caught.value.kind == "stale"


@pytest.mark.parametrize(
    "body",
    [
        b'{"data":{"positions":[]}}',
        b'{"errors":[],"data":{"positions":[]}}',
        b'{"errors":null,"data":{}}',
        b'{"data":{"positions":[{"id":"\\"errors\\""}]}}',
        b'{"errors":[{"mess',
    ],
)
def test_an_answer_without_errors_is_left_to_its_reader(body: bytes) -> None:
    GoldskySource(Goldsky()).judge(answer(200, body))


def test_errors_behind_data_are_found_as_well() -> None:
    body = b'{"data":{"positions":' + b"[" + b" " * 5000 + b'],"x":1},"errors":[{"message":"Query timed out"}]}'
    with pytest.raises(PageTooLarge):
        GoldskySource(Goldsky()).judge(answer(200, body))


def test_errors_that_are_bare_text_are_sorted_too() -> None:
    with pytest.raises(PageTooLarge):
        GoldskySource(Goldsky()).judge(answer(200, b'{"errors":["Query timed out"]}'))


def test_the_recorded_parse_error_is_refused() -> None:
    path = SAMPLES / "goldsky" / "error_parse.json"
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST A RECORDED ERROR: {path} is not here")
    with pytest.raises(Refused):
        GoldskySource(Goldsky()).judge(answer(200, path.read_bytes()))


def test_the_probe_asks_the_subgraph_of_the_tokens() -> None:
    source = GoldskySource(Goldsky())
    assert source.probe() == meta_request("activity-subgraph/0.0.4")
    assert source.probe().path == "/activity-subgraph/0.0.4/gn"
