"""The Data API's manners: codes before statuses, the cap on offsets, and the end of the first version."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from multidict import CIMultiDict

from backfill.config import DataApi
from backfill.engine.health import Missing
from backfill.errors import BackfillError, PageTooLarge, Refused, Throttled, Unavailable, UpstreamUnusable
from backfill.sources.data_api import DataApiSource
from backfill.sources.source import Answer

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "samples" / "data-api"
HTML = b"<html><head><title>Error 1015: You are being rate limited</title></head></html>"
SECOND, FIRST = DataApiSource(DataApi()), DataApiSource(DataApi(version=1))


def answer(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    return Answer(status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), body)


def coded(status: int, code: str, retryable: bool, **more: object) -> Answer:
    return answer(status, orjson.dumps({"error": "x", "code": code, "retryable": retryable, "trace_id": "t", **more}))


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (coded(400, "invalid_request", False, parameter="limit"), Refused),
        (coded(400, "invalid_request", True), Unavailable),
        (coded(401, "unauthorized", False), UpstreamUnusable),
        (coded(404, "not_found", False), Missing),
        (coded(405, "method_not_allowed", False), Refused),
        (coded(429, "rate_limited", True), Throttled),
        (coded(500, "internal", True), Unavailable),
        (coded(503, "request_timeout", True), PageTooLarge),
        (coded(503, "dependency_unavailable", True), Unavailable),
        (answer(429, b"slow down"), Throttled),
        (answer(429, HTML), Throttled),
        (answer(403, HTML), Throttled),
        (answer(403, b"<html>blocked</html>"), Unavailable),
        (answer(200, b"<html>checking your browser</html>"), Unavailable),
        (answer(404, b"<html>404</html>"), Missing),
        (answer(410, b"gone"), UpstreamUnusable),
        (answer(502, b"<html>502</html>"), Unavailable),
        (answer(400, b'{"error":"max historical activity offset of 3000 exceeded"}'), PageTooLarge),
    ],
)
def test_what_an_answer_means(told: Answer, error: type[BackfillError]) -> None:
    with pytest.raises(error):
        SECOND.judge(told)


@pytest.mark.parametrize("body", [b'{"data":[]}', b"[]", b"null"])
def test_a_good_answer_is_left_to_its_reader(body: bytes) -> None:
    SECOND.judge(answer(200, body))
    FIRST.judge(answer(200, body))


@pytest.mark.parametrize("status", [404, 410])
@pytest.mark.parametrize("body", [b'{"error":"not found"}', b"<html>gone</html>"])
def test_the_first_version_may_have_been_switched_off(status: int, body: bytes) -> None:
    with pytest.raises(UpstreamUnusable, match=r"set upstreams\.data_api\.version = 2") as caught:
        FIRST.judge(answer(status, body))
    assert caught.value.kind == "retired"


@pytest.mark.parametrize(
    ("told", "wait"),
    [
        (coded(429, "rate_limited", True), None),
        (answer(429, b'{"code":"rate_limited","error":"x"}', Retry_After="3"), 3),
        (answer(503, b'{"code":"dependency_unavailable","retryable":true}', Retry_After="4"), 4),
    ],
)
def test_a_wait_that_is_asked_for_is_passed_on(told: Answer, wait: float | None) -> None:
    with pytest.raises((Throttled, Unavailable)) as caught:
        SECOND.judge(told)
    assert isinstance(caught.value, Throttled | Unavailable) and caught.value.wait_s == wait


def test_the_probe_is_small_and_of_its_version() -> None:
    assert (SECOND.probe().path, FIRST.probe().path) == ("/v2/status", "/trades")
    assert FIRST.probe().params == (("limit", "1"),)


def test_the_recorded_errors_are_all_sorted() -> None:
    path = SAMPLES / "errors.json"
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST RECORDED ERRORS: {path} is not here")
    recorded = orjson.loads(path.read_bytes())
    for each in recorded:
        if each["status"] == 200:
            continue  # a bare null, which is an answer
        source = FIRST if each["api"] == "v1" else SECOND
        with pytest.raises(PageTooLarge if "offset" in each["body"]["error"] else Refused):
            source.judge(answer(each["status"], orjson.dumps(each["body"])))
    assert len(recorded) >= 4
