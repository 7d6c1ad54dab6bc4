"""Credentials of the pretend CLOB: an account's key, and the check of the signature that it makes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Mapping
from typing import NamedTuple

TOLERANCE = 60
"""Seconds that a signature may be old, or early."""


class Credentials(NamedTuple):
    """What an account signs its requests with. `address` is the owner's key, not the wallet that trades."""

    address: str
    api_key: str
    secret: str
    """Base64 in the alphabet for URLs."""
    passphrase: str


def credentials_of(address: str, seed: int) -> Credentials:
    """Credentials made up for an address."""
    digest = hashlib.sha256(f"clob:{seed}:{address}".encode()).digest()
    secret = base64.urlsafe_b64encode(digest).decode()
    return Credentials(address, key_of(address), secret, hashlib.sha256(digest).hexdigest())


def key_of(address: str) -> str:
    """The public name of an address's key: a UUID, shown as `owner` in trades."""
    return str(uuid.UUID(bytes=hashlib.sha256(f"owner:{address.lower()}".encode()).digest()[:16]))


def signature(secret: str, timestamp: str, method: str, path: str, body: str = "") -> str:
    """HMAC of time, method, path without query, and body."""
    key = base64.urlsafe_b64decode(secret)
    message = f"{timestamp}{method}{path}{body}".encode()
    return base64.urlsafe_b64encode(hmac.digest(key, message, "sha256")).decode()


def is_signed(headers: Mapping[str, str], known: Credentials, method: str, path: str, now: float) -> bool:
    """Whether a request carries the account's headers, with a fresh signature over just this request."""
    timestamp = headers.get("POLY_TIMESTAMP", "")
    if not (timestamp.isascii() and timestamp.isdigit()) or abs(now - int(timestamp)) > TOLERANCE:
        return False
    expected = signature(known.secret, timestamp, method, path)
    return (
        headers.get("POLY_ADDRESS", "").lower() == known.address.lower()
        and hmac.compare_digest(headers.get("POLY_API_KEY", "").encode(), known.api_key.encode())
        and hmac.compare_digest(headers.get("POLY_PASSPHRASE", "").encode(), known.passphrase.encode())
        and hmac.compare_digest(headers.get("POLY_SIGNATURE", "").encode(), expected.encode())
    )
