"""Gamma's manners: an account without a profile is an answer, everything else that is missing is not."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from backfill.config import Gamma
from backfill.engine.health import Missing
from backfill.errors import BackfillError, Refused, Throttled, Unavailable, UpstreamUnusable
from backfill.sources.gamma import GammaSource
from backfill.sources.source import Answer

SOURCE = GammaSource(Gamma())


def answer(status: int, body: bytes = b"{}") -> Answer:
    return Answer(status, CIMultiDict[str](), body)


@pytest.mark.parametrize(
    "told",
    [
        answer(200, b'{"markets":[]}'),
        answer(200, b"[]"),
        answer(404, b'{"type":"not found error","error":"profile not found"}'),
        answer(404, b'{"error":"Profile not found"}'),
    ],
)
def test_an_answer_is_left_to_its_reader(told: Answer) -> None:
    SOURCE.judge(told)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (answer(404, b'{"type":"not found error","error":"No such resource"}'), Missing),
        (answer(404, b"<html>profile</html>"), Missing),
        (answer(404), Missing),
        (answer(410), UpstreamUnusable),
        (answer(422, b'{"type":"validation error","error":"offset is not allowed on keyset endpoints"}'), Refused),
        (answer(429, b'{"error":"Too Many Requests"}'), Throttled),
        (answer(429, b"error code: 1015"), Throttled),
        (answer(403, b"<html>Sorry, you have been blocked</html>"), Unavailable),
        (answer(200, b"<html>Just a moment...</html>"), Unavailable),
        (answer(500, b'{"type":"internal server error"}'), Unavailable),
    ],
)
def test_what_an_answer_means(told: Answer, error: type[BackfillError]) -> None:
    with pytest.raises(error):
        SOURCE.judge(told)


def test_the_probe_asks_for_one_market() -> None:
    assert SOURCE.probe().path == "/markets/keyset" and SOURCE.probe().params == (("limit", "1"),)
    assert SOURCE.sign(SOURCE.probe()) == {"Accept": "application/json"}
