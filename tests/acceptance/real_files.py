"""What recorded files hold, read by other means than the product's: fills, claims about tokens, and which are true.

Files are told apart by what is in them, never by their names, so another set of the same kind does as well.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import gmpy2
import pyarrow.parquet as pq
from Crypto.Hash import keccak

from tests.acceptance.harness import ROOT

FOLDER = Path(os.environ.get("REAL_DATA_FOLDER", ROOT.parent / "shared" / "data" / "real"))
Row = dict[str, Any]
TRADE = {"proxyWallet", "asset", "conditionId", "side", "size", "price", "transactionHash"}
ORDER = {"token_id", "side", "shares", "price", "tx_hash", "order_hash", "user"}
BARE = {"trade_id", "asset_id", "side", "size", "cost"}
P = gmpy2.mpz(21888242871839275222246405745257275088696311157297823662689037894645226208583)
COLLATERALS = ("2791bca1f2de4661ed88a30c99a7a9449aa84174", "3a3bd7bb9528e159577f7c2e685cc81a765002e2")


class Fill(NamedTuple):
    """A fill as an export shows it; shares and dollars are millionths."""

    tx: str
    token: str
    wallet: str
    side: str
    shares: int
    usdc: int
    at: int


class Claim(NamedTuple):
    """What a file says a token is."""

    token: int
    condition: str
    outcome: int


@dataclass
class Recorded:
    """What a folder holds: fills that can be taken, those without a transaction, and claims; each by file."""

    fills: dict[str, list[Fill]] = field(default_factory=dict)
    bare: dict[str, int] = field(default_factory=dict)
    claims: dict[str, list[Claim]] = field(default_factory=dict)
    neither: set[str] = field(default_factory=set)

    @cached_property
    def shown(self) -> list[Fill]:
        """All fills of all files: as often as the file that shows it most often does."""
        found: Counter[Fill] = Counter()
        for fills in self.fills.values():
            found |= Counter(fills)
        return sorted(found.elements())

    @cached_property
    def map(self) -> dict[int, Claim]:
        """The true claims, by token."""
        return {claim.token: claim for claims in self.claims.values() for claim in claims if is_true(claim)}


def read(folder: Path, *, only_fills: bool = False) -> Recorded:
    """What the files of a folder hold; `only_fills` leaves tables out that hold none."""
    found = Recorded()
    for path in sorted(folder.iterdir()):
        if path.name in ("README.md", "SHA256SUMS"):
            continue
        if only_fills and path.suffix == ".parquet" and not _has_fills(set(pq.read_schema(path).names)):
            continue
        rows = list(rows_of(path))
        names = set(rows[0]) if rows else set[str]()
        if _has_fills(names):
            found.fills[path.name] = [_trade(row) if names >= TRADE else _order(row) for row in rows]
        elif names >= BARE:
            found.bare[path.name] = len(rows)
        claims = [claim for row in rows for claim in _claims(row)]
        if claims:
            found.claims[path.name] = claims
        if path.name not in found.fills and not claims and path.name not in found.bare:
            found.neither.add(path.name)
    return found


def _has_fills(names: set[str]) -> bool:
    return names >= TRADE or names >= ORDER


def thinned(folder: Path, target: Path, most: int, share: int) -> Path:
    """A copy of a folder in which long tables keep one row of `share`, and every row about a traded token."""
    found = read(folder, only_fills=True)
    traded = {fill.token for fills in found.fills.values() for fill in fills}
    for path in folder.iterdir():
        if path.suffix != ".parquet" or (table := pq.read_table(path)).num_rows <= most:
            shutil.copy(path, target)
            continue
        names = [name for name in ("token_id", "clob_token_ids") if name in table.column_names]
        texts = table.column(names[0]).to_pylist() if names else [None] * table.num_rows
        ids = [re.findall("[0-9]{10,}", str(text)) for text in texts]
        kept = [n for n, each in enumerate(ids) if n % share == 0 or any(token in traded for token in each)]
        pq.write_table(table.take(kept), target / path.name)
    return target


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a file, whatever its format; pages are opened."""
    if path.suffix == ".parquet":
        yield from pq.read_table(path).to_pylist()
        return
    body = path.read_bytes()
    text = (gzip.decompress(body) if path.suffix == ".gz" else body).decode()
    match path.name.removesuffix(".gz").rpartition(".")[2]:
        case "csv":
            yield from csv.DictReader(text.splitlines())
        case "jsonl":
            yield from (json.loads(line, parse_float=Decimal) for line in text.splitlines())
        case _:
            yield from _opened(json.loads(text, parse_float=Decimal))


def _opened(document: Any) -> Iterator[Row]:
    for entry in document if isinstance(document, list) else [document]:
        inside = [entry[name] for name in ("orders", "trades", "positions", "markets", "data") if name in entry]
        if inside:
            yield from (row for rows in inside for row in rows)
        else:
            yield entry


def micro(number: Any) -> int:
    """Millionths, to the nearest."""
    return int((Decimal(str(number)) * 10**6).to_integral_value(ROUND_HALF_EVEN))


def _trade(row: Row) -> Fill:
    dollars = Decimal(str(row["size"])) * Decimal(str(row["price"]))
    facts = row["transactionHash"].lower(), row["asset"], row["proxyWallet"].lower(), row["side"]
    return Fill(*facts, micro(row["size"]), micro(dollars), int(row["timestamp"]))


def _order(row: Row) -> Fill:
    shares = int(row["shares"])
    dollars = micro(Decimal(shares) * Decimal(str(row["price"])) / 10**6)
    facts = row["tx_hash"].lower(), row["token_id"], row["user"].lower(), row["side"]
    return Fill(*facts, shares, dollars, int(row["timestamp"]))


def _claims(row: Row) -> Iterator[Claim]:
    """Gamma's markets, the order book's, the subgraph's positions, and what trades and positions mention."""
    condition = row.get("conditionId") or row.get("condition_id") or row.get("condition")
    listed = row.get("clobTokenIds") or row.get("clob_token_ids")
    if listed and condition:
        yield from (Claim(int(token), condition, place) for place, token in enumerate(json.loads(listed)))
    elif isinstance(row.get("tokens"), list) and condition:
        yield from (Claim(int(token["token_id"]), condition, place) for place, token in enumerate(row["tokens"]))
    else:
        index: Any = row.get("outcomeIndex", row.get("outcome_index"))
        token: Any = row.get("asset") or row.get("token_id") or row.get("id")
        if condition and index is not None and str(token).isdigit():
            yield Claim(int(token), condition, int(index))


_TRUE: dict[Claim, bool] = {}


def is_true(claim: Claim) -> bool:
    """Whether the condition gives this token: as the contract does it, with the point's y and its parity."""
    if claim not in _TRUE:
        point = _collection(bytes.fromhex(claim.condition.removeprefix("0x")), claim.outcome)
        ids = (int.from_bytes(_keccak(bytes.fromhex(each) + point), "big") for each in COLLATERALS)
        _TRUE[claim] = claim.token in ids
    return _TRUE[claim]


def _collection(condition: bytes, outcome: int) -> bytes:
    hashed = int.from_bytes(_keccak(condition + (1 << outcome).to_bytes(32, "big")), "big")
    x = gmpy2.mpz(hashed)
    while True:
        x = (x + 1) % P
        square = (x**3 + 3) % P
        y = gmpy2.powmod(square, (P + 1) // 4, P)
        if y * y % P == square:
            break
    if (y % 2 == 1) != bool(hashed >> 255):
        y = P - y
    return int(x ^ (1 << 254) if y % 2 else x).to_bytes(32, "big")


def _keccak(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()
