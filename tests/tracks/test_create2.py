"""Wallets computed from their owners, against every vector that we have, and a pair that is none."""

from __future__ import annotations

import csv
import io

import pytest

from backfill.tracks.create2 import candidates, kind_of
from backfill.tracks.pairs import pair
from tests.tracks.lane_kit import recorded, sample

OWNER = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
PROXY = "0x365f0ca36ae1f641e02fe3b7743673da42a13a70"


def test_every_vector_is_computed() -> None:
    vectors = sample("chain/wallet_vectors.json")["vectors"]
    assert len(vectors) == 20
    places = {"proxy": 0, "safe": 1, "deposit_uups": 2, "deposit_beacon": 3}
    for each in vectors:
        kind, address = candidates(each["eoa"].lower())[places[each["kind"]]]
        assert (kind, address) == (each["kind"].partition("_")[0], each["address"].lower())
        assert kind_of(each["eoa"].lower(), each["address"]) == kind


def test_recorded_pairs_and_the_one_that_is_none() -> None:
    kinds = {"magic_proxy": "proxy", "gnosis_safe": "safe", "deposit_wallet_uups": "deposit"}
    found = list(csv.DictReader(io.StringIO(recorded("wallet_proxy_pairs.csv").decode())))
    assert len(found) == 6
    for row in found:
        expected = None if row["kind"] == "NOT_A_PAIR" else kinds.get(row["kind"], "deposit")
        assert kind_of(row["eoa"], row["wallet"]) == expected


@pytest.mark.parametrize("owner", ["", "0x", OWNER[:-2], OWNER + "00", "0x" + "zz" * 20])
def test_what_is_no_address_has_no_wallets(owner: str) -> None:
    with pytest.raises(ValueError):
        candidates(owner)


@pytest.mark.parametrize(
    ("wallet", "said", "kind", "evidence"),
    [
        (PROXY, None, "proxy", "create2"),
        (PROXY, "safe", "proxy", "create2"),
        (OWNER, "safe", "eoa", "reported"),
        ("0x" + "12" * 20, "safe", "safe", "reported"),
        ("0x" + "12" * 20, "eoa", "unknown", "reported"),
        ("0x" + "12" * 20, "magic", "unknown", "reported"),
        ("0x" + "12" * 20, None, "unknown", "reported"),
    ],
)
def test_a_kind_is_computed_where_it_can_be(wallet: str, said: str | None, kind: str, evidence: str) -> None:
    ((_, row),) = pair(OWNER, wallet, "someone", said=said)
    assert (row["wallet_type"], row["evidence"], row["source"]) == (kind, evidence, "someone")
