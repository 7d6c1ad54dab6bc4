"""The wallets that belong to an owner's address, computed: their factories deploy with CREATE2.

    address = last 20 bytes of keccak256(0xff ‖ factory ‖ salt ‖ keccak256(init code))

The way back, from a wallet to its owner, does not exist; a reported pair is checked by computing the way forth.
Deposit wallets carry their arguments (factory, owner) behind the proxy's code, so their init code differs by owner; the
codes are those of two standard ERC-1967 proxies, one with an implementation and one with a beacon.
Pure: no I/O, no state.
"""

from __future__ import annotations

from typing import Final, Literal

from backfill.ids import keccak256

Kind = Literal["proxy", "safe", "deposit"]

_PROXY_FACTORY: Final = bytes.fromhex("ab45c5a4b0c941a2f231c04c3f49182e1a254052")
_PROXY_CODE: Final = bytes.fromhex("d21df8dc65880a8606f09fe0ce3df9b8869287ab0b058be05aa9e8af6330a00b")
_SAFE_FACTORY: Final = bytes.fromhex("aacfeea03eb1561c4e67d661e40682bd20e3541b")
_SAFE_CODE: Final = bytes.fromhex("2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf")
_DEPOSIT_FACTORY: Final = bytes.fromhex("00000000000fb5c9adea0298d729a0cb3823cc07")

_COPY_TO_MEMORY: Final = bytes.fromhex("3d8160233d3973")
_IMPLEMENTATION: Final = bytes.fromhex("58ca52ebe0dadfdf531cde7062e76746de4db1eb") + bytes.fromhex("6009")
_IMPLEMENTATION_CODE: Final = bytes.fromhex(
    "5155f3363d3d373d3d363d7f360894a13ba1a3210667c828492db98dca3e2076"
    "cc3735a920a3ca505d382bbc545af43d6000803e6038573d6000fd5b3d6000f3"
)
_IMPLEMENTATION_SIZE: Final = 0x3D
_BEACON: Final = bytes.fromhex("7a18edfe055488a3128f01f563e5b479d92ffc3a")
_BEACON_CODE: Final = bytes.fromhex(
    "60195155f3363d3d373d3d363d602036600436635c60da"
    "1b60e01b36527fa3f0ad74e5423aebfd80d3ef4346578335a9a72aeaee59ff6c"
    "b3582b35133d50545afa5036515af43d6000803e604d573d6000fd5b3d6000f3"
)
_BEACON_SIZE: Final = 0x52
_WORD: Final = 32


def candidates(owner: str) -> list[tuple[Kind, str]]:
    """Every wallet that an owner (0x and 40 hex digits) may have, with its kind; addresses 0x, lower case.

    Raises:
        ValueError: the owner is no address.
    """
    raw = bytes.fromhex(owner.removeprefix("0x"))
    if len(raw) != 20:
        raise ValueError(f"an address has 40 hex digits, not {owner!r}")
    word = raw.rjust(_WORD, b"\0")
    return [
        ("proxy", _create2(_PROXY_FACTORY, keccak256(raw), _PROXY_CODE)),
        ("safe", _create2(_SAFE_FACTORY, keccak256(word), _SAFE_CODE)),
        ("deposit", _deposit(word, _IMPLEMENTATION, _IMPLEMENTATION_CODE, _IMPLEMENTATION_SIZE)),
        ("deposit", _deposit(word, _BEACON, _BEACON_CODE, _BEACON_SIZE)),
    ]


def kind_of(owner: str, wallet: str) -> Kind | None:
    """The kind of wallet that `wallet` is of `owner`; None when computing does not lead from one to the other.

    Raises:
        ValueError: as `candidates`.
    """
    return next((kind for kind, address in candidates(owner) if address == wallet.lower()), None)


def _deposit(owner: bytes, points_at: bytes, code: bytes, size: int) -> str:
    arguments = _DEPOSIT_FACTORY.rjust(_WORD, b"\0") + owner
    head = b"\x61" + (size + len(arguments)).to_bytes(2, "big") + _COPY_TO_MEMORY
    return _create2(_DEPOSIT_FACTORY, keccak256(arguments), keccak256(head + points_at + code + arguments))


def _create2(factory: bytes, salt: bytes, code_hash: bytes) -> str:
    return "0x" + keccak256(b"\xff" + factory + salt + code_hash)[12:].hex()
