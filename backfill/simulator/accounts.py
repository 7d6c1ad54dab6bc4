"""Owners and the wallets that trade for them, derived as the factories on the chain derive them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Literal

from .ids import keccak
from .ledger import WalletPair

PROXY_FACTORY = bytes.fromhex("ab45c5a4b0c941a2f231c04c3f49182e1a254052")
PROXY_CODE = bytes.fromhex("d21df8dc65880a8606f09fe0ce3df9b8869287ab0b058be05aa9e8af6330a00b")
SAFE_FACTORY = bytes.fromhex("aacfeea03eb1561c4e67d661e40682bd20e3541b")
SAFE_CODE = bytes.fromhex("2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf")
_KINDS: tuple[Literal["proxy", "safe", "eoa"], ...] = ("proxy", "proxy", "safe", "safe", "safe", "eoa")
_NAMED_SHARE = 0.4
_FIRST_NAMES = ("quiet", "lucky", "early", "patient", "bold", "wry", "late", "steady", "odd", "plain")
_LAST_NAMES = ("heron", "otter", "falcon", "badger", "lynx", "magpie", "walrus", "newt", "marten", "stoat")


def proxy_of(owner: str) -> str:
    """The proxy wallet of an owner (addresses with 0x, lower case)."""
    address = bytes.fromhex(owner[2:])
    return _create2(PROXY_FACTORY, keccak(address), PROXY_CODE)


def safe_of(owner: str) -> str:
    """The safe of an owner."""
    return _create2(SAFE_FACTORY, keccak(bytes.fromhex(owner[2:]).rjust(32, b"\0")), SAFE_CODE)


def _create2(factory: bytes, salt: bytes, code_hash: bytes) -> str:
    return "0x" + keccak(b"\xff" + factory + salt + code_hash)[-20:].hex()


def invent(seed: str, count: int) -> list[WalletPair]:
    """Accounts with owners made up from a seed; most trade by a proxy or a safe, some have a name."""
    rng = random.Random(f"accounts:{seed}")
    return [_account(rng, number) for number in range(count)]


def _account(rng: random.Random, number: int) -> WalletPair:
    owner = f"0x{rng.randbytes(20).hex()}"
    kind = rng.choice(_KINDS)
    named = rng.random() < _NAMED_SHARE
    name = f"{rng.choice(_FIRST_NAMES)}-{rng.choice(_LAST_NAMES)}-{number}" if named else None
    wallet = owner if kind == "eoa" else proxy_of(owner) if kind == "proxy" else safe_of(owner)
    return WalletPair(owner, wallet, kind, name)


def complete(known: Iterable[WalletPair], traders: Iterable[str]) -> Sequence[WalletPair]:
    """The known accounts and one for every other wallet that trades, which is then its own owner."""
    pairs = {pair.wallet: pair for pair in known}
    for wallet in traders:
        if wallet not in pairs:
            pairs[wallet] = WalletPair(wallet, wallet, "eoa", None)
    return list(pairs.values())
