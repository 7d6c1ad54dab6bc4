"""The order book's manners: published signatures, missing keys, and what its errors mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict
from pydantic import SecretStr

from backfill.config import Clob, Secrets
from backfill.engine.health import Missing
from backfill.engine.model import Request
from backfill.errors import BackfillError, Refused, Throttled, Unavailable, UpstreamUnusable
from backfill.sources.clob import ClobSource, signature
from backfill.sources.source import Answer

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "samples" / "clob"
SECRET = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
KEYS = {
    "polymarket_clob_address": "0xabc",
    "polymarket_clob_api_key": "the-key",
    "polymarket_clob_secret": SECRET,
    "polymarket_clob_passphrase": "the-phrase",
}
TRADES = Request("GET", "/data/trades", (("maker_address", "0x1"), ("next_cursor", "MA==")))
HTML = b"<!DOCTYPE html>\n<html><head><title>Attention Required! | Cloudflare</title></head></html>"


def source(**changed: str | None) -> ClobSource:
    keys = {name: value for name, value in (KEYS | changed).items() if value is not None}
    secrets = Secrets.model_validate({name: SecretStr(value) for name, value in keys.items()})
    return ClobSource(Clob(), secrets, clock=lambda: 1_700_000_000.9)


def answer(status: int, body: bytes = b"{}", **headers: str) -> Answer:
    return Answer(status, CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()}), body)


def test_the_published_signature_comes_out() -> None:
    body = '{"hash": "0x123"}'
    assert signature(SECRET, "1000000", "test-sign", "/orders", body) == "ZwAdJKvoYRlEKDkNMwd5BuwNNtg93kNaR_oU2HrfVvc="


def test_the_vectors_of_the_sheet_come_out() -> None:
    path = SAMPLES / "hmac_vector.json"
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST THE PUBLISHED VECTORS: {path} is not here")
    vectors: list[Any] = orjson.loads(path.read_bytes())["vectors"]
    assert len(vectors) >= 2
    for each in vectors:
        made = signature(each["secret"], each["timestamp"], each["method"], each["path"], each["body"])
        assert made == each["signature"]


def test_an_accounts_request_is_signed_over_its_path_without_the_query() -> None:
    headers = source().sign(TRADES)
    assert {name: headers[name] for name in headers if name != "POLY_SIGNATURE"} == {
        "Accept": "application/json", "POLY_ADDRESS": "0xabc", "POLY_TIMESTAMP": "1700000000",
        "POLY_API_KEY": "the-key", "POLY_PASSPHRASE": "the-phrase",
    }  # fmt: skip
    assert headers["POLY_SIGNATURE"] == signature(SECRET, "1700000000", "GET", "/data/trades")
    assert headers["POLY_SIGNATURE"] == source().sign(Request("GET", "/data/trades"))["POLY_SIGNATURE"]
    assert headers["POLY_SIGNATURE"] != source().sign(Request("GET", "/data/orders"))["POLY_SIGNATURE"]


def test_public_requests_need_no_key() -> None:
    bare = ClobSource(Clob(), Secrets())
    assert bare.sign(bare.probe()) == {"Accept": "application/json"} == source().sign(Request("GET", "/markets"))


@pytest.mark.parametrize("missing", list(KEYS))
def test_a_missing_key_is_named(missing: str) -> None:
    with pytest.raises(UpstreamUnusable, match=f"{missing.upper()} is not set") as caught:
        source(**{missing: None}).sign(TRADES)
    assert caught.value.kind == "no_credentials" and caught.value.exit_code == 5
    assert all(name.upper() in str(caught.value) for name in KEYS)
    assert not any(value in str(caught.value) for value in KEYS.values())


@pytest.mark.parametrize("secret", ["AAA", "not base64!", "ÄÄÄÄ"])
def test_a_secret_that_is_none_is_said_at_once_without_repeating_it(secret: str) -> None:
    with pytest.raises(UpstreamUnusable, match="POLYMARKET_CLOB_SECRET is not url-safe base64") as caught:
        source(polymarket_clob_secret=secret)
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (answer(401, b'{"error":"Unauthorized/Invalid api key"}'), UpstreamUnusable),
        (answer(403, b'{"error":"x"}'), UpstreamUnusable),
        (answer(401, HTML), Unavailable),
        (answer(403, HTML), Unavailable),
        (answer(200, HTML), Unavailable),
        (answer(429, HTML), Throttled),
        (answer(403, b"error code: 1015"), Throttled),
        (answer(503, b"<html>Error 1015: You are being rate limited</html>"), Throttled),
        (answer(429, b'{"error":"Too Many Requests"}'), Throttled),
        (answer(425, b'{"error":"restarting"}'), Unavailable),
        (answer(503, b'{"error":"cancel-only","code":"x","retry_after_seconds":7}'), Unavailable),
        (answer(500, b'{"error":"Internal server error"}'), Unavailable),
        (answer(400, b'{"error":"Invalid trade params payload"}'), Refused),
        (answer(404, b'{"error":"Not Found"}'), Missing),
        (answer(404, HTML), Missing),
        (answer(410, b"{}"), UpstreamUnusable),
    ],
)
def test_what_an_answer_means(told: Answer, error: type[BackfillError]) -> None:
    with pytest.raises(error):
        source().judge(told)


def test_a_refused_key_names_what_to_check() -> None:
    with pytest.raises(UpstreamUnusable, match="check POLYMARKET_CLOB_ADDRESS") as caught:
        source().judge(answer(401, b'{"error":"Unauthorized/Invalid api key"}'))
    assert caught.value.kind == "refused"


@pytest.mark.parametrize(
    ("told", "wait"),
    [
        (answer(503, b'{"error":"x","retry_after_seconds":7}'), 7),
        (answer(429, b'{"error":"x","retry_after_seconds":2.5}'), 2.5),
        (answer(429, HTML, Retry_After="9"), 9),
        (answer(429, b'{"retry_after_seconds":true}'), None),
        (answer(500, b'{"error":"x"}'), None),
    ],
)
def test_a_wait_that_is_asked_for_is_passed_on(told: Answer, wait: float | None) -> None:
    with pytest.raises((Throttled, Unavailable)) as caught:
        source().judge(told)
    assert isinstance(caught.value, Throttled | Unavailable) and caught.value.wait_s == wait


@pytest.mark.parametrize("body", [b'{"data":[]}', b"[]", b'"OK"', b"1700000000", b"null", b" \n{}"])
def test_a_good_answer_is_left_to_its_reader(body: bytes) -> None:
    source().judge(answer(200, body))


def test_the_recorded_errors_are_all_sorted() -> None:
    path = SAMPLES / "errors.json"
    if not path.exists():
        pytest.skip(f"NOT CHECKED AGAINST RECORDED ERRORS: {path} is not here")
    recorded = orjson.loads(path.read_bytes())
    meaning = {401: UpstreamUnusable, 400: Refused, 500: Unavailable, 429: Throttled}
    for each in recorded:
        with pytest.raises(meaning[each["status"]]):
            source().judge(answer(each["status"], orjson.dumps(each["body"])))
    assert len(recorded) > 5
