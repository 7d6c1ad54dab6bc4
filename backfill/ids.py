"""Token ids from their condition, as the chain derives them; and the judgement of claimed mappings.

An ERC-1155 id of the Conditional Tokens contract is a hash of (collateral, condition, outcome). The way back does
not exist, but the way forth is cheap, so a mapping token → (condition, outcome) is checked by recomputing it:

    h            = keccak256(condition ‖ uint256(1 << outcome))
    x            = h + 1, h + 2, … mod P, the first for which x³ + 3 is a square mod P
    collectionId = x, with bit 254 toggled when bit 255 of h is set
    positionId   = keccak256(collateral ‖ collectionId)

The contract computes a curve point (x, y) and makes the parity of y equal to bit 255 of h before it stores that parity
in bit 254. So y itself never matters here: whether a square root exists is enough, and that is one Jacobi symbol.
Sources: the ConditionalTokens contract (CTHelpers), checked against ids that Polymarket published.

Pure: no I/O, no await, no state but a cache of hashes.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import gmpy2
from Crypto.Hash.keccak import Keccak_Hash

USDC_E: Final = bytes.fromhex("2791bca1f2de4661ed88a30c99a7a9449aa84174")
"""Collateral of ordinary markets (they kept it when the exchange moved on to pUSD)."""

WCOL: Final = bytes.fromhex("3a3bd7bb9528e159577f7c2e685cc81a765002e2")
"""Collateral of neg-risk markets: USDC.e wrapped by the NegRiskAdapter."""

COLLATERALS: Final = (("USDC.e", USDC_E), ("WCOL", WCOL))

OUTCOMES: Final = 256
"""The contract allows 256 outcomes in a condition; nearly all have two."""

_P: Final = gmpy2.mpz(21888242871839275222246405745257275088696311157297823662689037894645226208583)
_BIT_254: Final = 1 << 254
_BIT_255: Final = 1 << 255

# A keccak hash is below 2^200 once in 2^56 ids; a smaller number was made in another way.
_SMALLEST_HASH: Final = 1 << 200
_SWAPS_TRIED: Final = 8

Result = Literal["proven", "disproven", "unprovable"]


class Verdict(NamedTuple):
    """What recomputing says about one claimed mapping.

    `detail` names the collateral of a proof ("USDC.e" or "WCOL"), and the reason of everything else.
    """

    result: Result
    detail: str


def keccak256(data: bytes) -> bytes:
    """The hash of Ethereum (not NIST's SHA3-256, which pads differently)."""
    # The class behind keccak.new: checking keyword arguments takes longer than hashing 64 bytes.
    digest: bytes = Keccak_Hash(data, 32, True).digest()
    return digest


def condition_bytes(condition: str | bytes) -> bytes:
    """The 32 bytes of a condition id; text may have a 0x and any case.

    Raises:
        ValueError: it is not 32 bytes, or not exactly 64 hex digits.
    """
    raw = condition if isinstance(condition, bytes) else _from_hex(condition)
    if len(raw) != 32:
        raise ValueError(f"a condition id has 64 hex digits, not {condition!r}")
    return raw


@lru_cache(maxsize=16_384)
def collection_id(condition: bytes, outcome_index: int) -> bytes:
    """The 32 bytes of the collection of one outcome (no parent collection; Polymarket never uses one).

    Raises:
        ValueError: the outcome index is not within 0..255.
    """
    if not 0 <= outcome_index < OUTCOMES:
        raise ValueError(f"an outcome index lies within 0..{OUTCOMES - 1}, not {outcome_index}")
    hashed = int.from_bytes(keccak256(condition + (1 << outcome_index).to_bytes(32, "big")), "big")
    # The contract reduces only after the first increment, so x starts from all 256 bits of the hash.
    x = (gmpy2.mpz(hashed) + 1) % _P
    while gmpy2.jacobi(x * x * x + 3, _P) != 1:
        x = (x + 1) % _P
    point = int(x) ^ (_BIT_254 if hashed & _BIT_255 else 0)
    return point.to_bytes(32, "big")


def position_id(condition: str | bytes, outcome_index: int, collateral: bytes = USDC_E) -> int:
    """The token id of one outcome of a condition that is backed by `collateral` (20 bytes).

    Raises:
        ValueError: a condition that is not 32 bytes, or an outcome index outside 0..255.
    """
    collection = collection_id(condition_bytes(condition), outcome_index)
    return int.from_bytes(keccak256(collateral + collection), "big")


def token_ids(condition: str | bytes, collateral: bytes = USDC_E, *, outcomes: int = 2) -> tuple[int, ...]:
    """The token ids of all outcomes of a condition, in the order of their index.

    Raises:
        ValueError: as `position_id`.
    """
    raw = condition_bytes(condition)
    return tuple(position_id(raw, index, collateral) for index in range(outcomes))


def is_protocol_v2(token: int) -> bool:
    """Whether the bits are laid out as a Protocol V2 position, whose id is composed, not hashed.

    From the top: module 8 (1 binary, 2 neg-risk, 3 combo), base hash 128, arity 16, reserved 64 (zero),
    resolution chain 16, condition index 16, outcome index 8. A hashed id looks like this once in 2^70.
    """
    return 1 <= token >> 248 <= 3 and (token >> 40) & ((1 << 64) - 1) == 0


def judge(token: int, condition: str, outcome_index: int) -> Verdict:
    """Whether `token` is outcome `outcome_index` of `condition`, decided by recomputing the id.

    proven: equal to the id with USDC.e or WCOL. disproven: a hashed id that this condition and outcome do not give;
    that includes a malformed condition or outcome, and a number that is no 256-bit id. unprovable: the token is no
    hash at all (Protocol V2 by its layout, or below 2^200), so recomputing can say neither yes nor no.
    """
    if not 0 < token < 1 << 256:
        return Verdict("disproven", "not a token id: outside 1..2^256-1")
    if is_protocol_v2(token):
        return Verdict("unprovable", "a Protocol V2 id is not a hash of its condition")
    if token < _SMALLEST_HASH:
        return Verdict("unprovable", "too small to be a hashed id")
    try:
        raw = condition_bytes(condition)
    except ValueError:
        return Verdict("disproven", "the condition is not 64 hex digits")
    if not 0 <= outcome_index < OUTCOMES:
        return Verdict("disproven", f"outcome index {outcome_index} is outside 0..{OUTCOMES - 1}")
    return _recompute(token.to_bytes(32, "big"), raw, outcome_index)


def judge_many(rows: Iterable[tuple[int, str, int]]) -> list[Verdict]:
    """`judge` for each (token, condition, outcome index), in order; about 30 µs each on one core."""
    return [judge(*row) for row in rows]


def _from_hex(text: str) -> bytes:
    """The bytes of 64 hex digits, or none: bytes.fromhex skips blanks, so the digits are counted as well."""
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    try:
        return bytes.fromhex(digits) if len(digits) == 64 else b""
    except ValueError:
        return b""


def _recompute(token: bytes, condition: bytes, outcome_index: int) -> Verdict:
    if (collateral := _proving_collateral(token, condition, outcome_index)) is not None:
        return Verdict("proven", collateral)
    for other in range(_SWAPS_TRIED):
        if other != outcome_index and _proving_collateral(token, condition, other) is not None:
            return Verdict("disproven", f"side swapped: proves outcome {other}")
    return Verdict("disproven", "condition and outcome do not give this token")


def _proving_collateral(token: bytes, condition: bytes, outcome_index: int) -> str | None:
    collection = collection_id(condition, outcome_index)
    for name, collateral in COLLATERALS:
        if keccak256(collateral + collection) == token:
            return name
    return None
