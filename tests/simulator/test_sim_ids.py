"""The simulator's own id derivation, against ids that the chain and the listings published."""

from __future__ import annotations

import pytest

from backfill.simulator.ids import NEG_RISK_ORACLE, UMA_ORACLE, condition_id, keccak, token_id

DESANTIS = "12a0cb60174abc437bf1178367c72d11f069e1a3add20b148fb0ab4279b772b2"
TRUMP = "41190eb9336ae73949c04f4900f9865092e69a57cf9c942a6157abf6ae8d16c6"
FED = "c8f1cf5d4f26e0fd9c8fe89f2a7b3263b902cf14fde7bfccef525753bb492e47"

PUBLISHED = [
    (DESANTIS, 0, False, 10715043962341292242163832255523703116280692082153281340642602592290195499485),
    (DESANTIS, 1, False, 80085489243215790077454313513728486445319747473476157602131800551595373270758),
    (TRUMP, 0, False, 65818619657568813474341868652308942079804919287380422192892211131408793125422),
    (TRUMP, 1, False, 7499310772839000939827460818108209122328490677343888452292252718053799772723),
    (FED, 0, True, 60590045489347122735554346200880179420435533609307820342798544098823516727807),
    (FED, 1, True, 76005700027045000587004110133818166617024719626220722682005164003117993034812),
]


@pytest.mark.parametrize(("condition", "index", "neg_risk", "token"), PUBLISHED)
def test_token_ids_equal_the_published_ones(condition: str, index: int, neg_risk: bool, token: int) -> None:
    assert token_id(bytes.fromhex(condition), index, neg_risk) == token


@pytest.mark.parametrize(
    ("oracle", "question", "condition"),
    [
        (UMA_ORACLE, "71489e408cd07bfb310f01af681ed3503295ffefdb09a644c34fa3f9fe3f420c", DESANTIS),
        (NEG_RISK_ORACLE, "2c3d7e0eee6f058be3006baabf0d54a07da254ba47fe6e3e095e7990c7814705", FED),
    ],
)
def test_condition_ids_equal_the_published_ones(oracle: bytes, question: str, condition: str) -> None:
    assert condition_id(oracle, bytes.fromhex(question)).hex() == condition


def test_the_hash_is_keccak_and_not_sha3() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
