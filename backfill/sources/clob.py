"""The order book API's manners: requests of an account are signed one by one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping

from pydantic import SecretStr

from backfill.config import Clob, Secrets
from backfill.engine.model import Request
from backfill.errors import UpstreamUnusable
from backfill.sources import edge
from backfill.sources.common import CREDENTIALS, excerpt
from backfill.sources.source import Answer

KEYS = ("address", "api_key", "secret", "passphrase")
PREFIX = "polymarket_clob_"
ACCOUNT_PATHS = ("/data/",)
"""Paths that are about the account; the others are public, and are asked without a key."""
NAMES = ", ".join(f"{PREFIX}{key}".upper() for key in KEYS)


class ClobSource:
    """Polymarket's order book by HTTP. Public paths need no key; the account's do.

    `clock` gives unix seconds: a signature is valid for a moment only.
    """

    name = "clob"
    ended = False

    def __init__(self, config: Clob, secrets: Secrets, clock: Callable[[], float] = time.time) -> None:
        self.base_url = config.base_url
        self._keys: dict[str, SecretStr | None] = {key: getattr(secrets, f"{PREFIX}{key}") for key in KEYS}
        self._clock = clock
        if self._keys["secret"] is not None:
            _decoded(self._keys["secret"])

    def sign(self, request: Request) -> Mapping[str, str]:
        """See `Source.sign`. What is signed is the path below the base address, without its query.

        Raises:
            UpstreamUnusable: the request is about an account, and a key is missing.
        """
        headers = {"Accept": "application/json"}
        if not request.path.startswith(ACCOUNT_PATHS):
            return headers
        keys = self._present()
        stamp = str(int(self._clock()))
        body = (request.body or b"").decode()
        return headers | {
            "POLY_ADDRESS": keys["address"],
            "POLY_SIGNATURE": signature(keys["secret"], stamp, request.method, request.path, body),
            "POLY_TIMESTAMP": stamp,
            "POLY_API_KEY": keys["api_key"],
            "POLY_PASSPHRASE": keys["passphrase"],
        }

    def judge(self, answer: Answer) -> None:
        """See `Source.judge`. 401 and 403 in JSON are about the key; in HTML they are the proxy's."""
        if answer.status in CREDENTIALS and edge.is_json(answer):
            raise UpstreamUnusable(
                f"HTTP {answer.status}: {excerpt(answer.body)}",
                kind="refused",
                where=self.name,
                remedy=f"check {NAMES}",
            )
        edge.judge(self.name, answer)

    def probe(self) -> Request:
        """The first markets, which need no key."""
        return Request("GET", "/markets")

    def _present(self) -> dict[str, str]:
        missing = [f"{PREFIX}{key}".upper() for key, value in self._keys.items() if value is None]
        if missing:
            raise UpstreamUnusable(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
                kind="no_credentials",
                where=self.name,
                remedy=f"the fills of an account need {NAMES}; export them, or put them in .env",
            )
        return {key: value.get_secret_value() for key, value in self._keys.items() if value is not None}


def signature(secret: str, stamp: str, method: str, path: str, body: str = "") -> str:
    """The signature of a request: HMAC-SHA256 over time, method, path and body, as url-safe base64 with its padding.

    Raises:
        UpstreamUnusable: the secret is not url-safe base64.
    """
    message = f"{stamp}{method}{path}{body}"
    digest = hmac.digest(_decoded(SecretStr(secret)), message.encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).decode()


def _decoded(secret: SecretStr | None) -> bytes:
    try:
        text = "" if secret is None else secret.get_secret_value()
        return base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise UpstreamUnusable(
            "POLYMARKET_CLOB_SECRET is not url-safe base64",
            kind="no_credentials",
            where=ClobSource.name,
            remedy="copy it again, with its padding (=)",
        ) from None
