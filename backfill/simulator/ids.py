"""Conditional Tokens ids, derived the way the chain derives them.

This is the simulator's own implementation: it must not share code with the product, or a mistake made twice
would look like an agreement.
"""

from __future__ import annotations

import gmpy2

try:
    from sha3 import keccak_256 as _keccak_256  # type: ignore[import-untyped, unused-ignore]
except ImportError:  # the pure wheel is several times slower, but equal

    def _keccak_256(data: bytes) -> object:
        """Hash object of the other keccak library, with the same `digest` method."""
        from Crypto.Hash import keccak

        return keccak.new(digest_bits=256, data=data)


USDC = bytes.fromhex("2791bca1f2de4661ed88a30c99a7a9449aa84174")
"""Collateral of ordinary markets (USDC.e on Polygon)."""
WRAPPED = bytes.fromhex("3a3bd7bb9528e159577f7c2e685cc81a765002e2")
"""Collateral of neg-risk markets (wrapped by the adapter)."""
UMA_ORACLE = bytes.fromhex("cb1822859cef82cd2eb4e6276c7916e692995130")
"""An oracle of ordinary markets."""
NEG_RISK_ORACLE = bytes.fromhex("d91e80cf2e7be2e162c6513ced06f1dd0da35296")
"""Oracle of all neg-risk markets: the neg-risk adapter."""

_PRIME = gmpy2.mpz(21888242871839275222246405745257275088696311157297823662689037894645226208583)
_WORD = 32
_TOP_BIT = 1 << 255
_FLAG_BIT = 1 << 254


def keccak(data: bytes) -> bytes:
    """Keccak-256, the hash of the Ethereum machine (not SHA-3)."""
    digest: bytes = _keccak_256(data).digest()  # type: ignore[attr-defined, unused-ignore]
    return digest


def condition_id(oracle: bytes, question: bytes, outcomes: int = 2) -> bytes:
    """Condition id: hash of the oracle's address, the question id and the number of outcome slots."""
    return keccak(oracle + question + outcomes.to_bytes(_WORD, "big"))


def collection_id(condition: bytes, outcome_index: int) -> bytes:
    """Collection of one outcome: the first x at or after the hash that lies on alt_bn128, its flag in bit 254."""
    digest = int.from_bytes(keccak(condition + (1 << outcome_index).to_bytes(_WORD, "big")), "big")
    x = (gmpy2.mpz(digest) + 1) % _PRIME
    # Euler's criterion by the Jacobi symbol: only whether y exists matters, never y itself. 0 is a square too.
    while gmpy2.jacobi(x * x * x + 3, _PRIME) < 0:
        x = (x + 1) % _PRIME
    value = int(x) ^ _FLAG_BIT if digest & _TOP_BIT else int(x)
    return value.to_bytes(_WORD, "big")


def token_id(condition: bytes, outcome_index: int, neg_risk: bool) -> int:
    """Position (ERC-1155 token) id of one outcome of a condition."""
    collateral = WRAPPED if neg_risk else USDC
    return int.from_bytes(keccak(collateral + collection_id(condition, outcome_index)), "big")
