"""The lanes of wallets: Gamma's profiles, the wallet subgraph, Dome, and those computed."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backfill.config import Config
from backfill.engine.model import Lane, Page, Request, Unit
from backfill.errors import PageTooLarge, Unreadable
from backfill.tracks import derive_wallets, dome_wallets, gamma_wallets, goldsky_wallets, graph
from backfill.tracks.create2 import candidates
from tests.tracks.lane_kit import reasons, rows, sample, walk

GAMMA, DOME = gamma_wallets.GammaWallets(), dome_wallets.DomeWallets()
GOLDSKY, DERIVE = goldsky_wallets.GoldskyWallets("wallet/1"), derive_wallets.DeriveWallets()
OWNER = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
PROXY, SAFE = "0x365f0ca36ae1f641e02fe3b7743673da42a13a70", "0xd93b25cb943d14d0d34fbaf01fc93a0f8b5f6e47"
STRANGER = "0x" + "12" * 20
ASKED, OWNED = Unit(2, (PROXY,)), Unit(2, (OWNER,))


def body(document: Any) -> bytes:
    return orjson.dumps(document)


# --- Gamma


def test_a_profile_is_asked_for_by_an_address() -> None:
    request = GAMMA.request(OWNED, None)
    assert (request.path, request.params, request.asked) == ("/public-profile", (("address", OWNER),), 1)


def test_an_owners_profile_names_the_wallet() -> None:
    page = GAMMA.parse(OWNED, None, body({"proxyWallet": SAFE, "name": "", "pseudonym": "Gracious-Fame"}))
    assert rows(page) == [
        {
            "user_eoa": OWNER,
            "proxy_wallet": SAFE,
            "wallet_type": "safe",
            "evidence": "create2",
            "name": "Gracious-Fame",
            "source": "gamma",
            "unit": 2,
        }
    ]
    assert (page.asked, page.next) == (1, None)


def test_a_recorded_profile_asked_for_by_its_wallet_tells_no_owner() -> None:
    profile = sample("gamma/public_profile.json")
    page = GAMMA.parse(Unit(0, (profile["proxyWallet"],)), None, body(profile))
    assert (page.lines, page.letters, page.asked) == ([], (), 1)


@pytest.mark.parametrize("nothing", [b"", b'{"type":"not found error","error":"profile not found"}'])
def test_no_profile_is_an_answer(nothing: bytes) -> None:
    page = GAMMA.parse(OWNED, None, nothing)
    assert (page.lines, page.letters, page.asked, page.next) == ((), (), 1, None)


def test_somebody_elses_profile_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="another question"):
        GAMMA.parse(OWNED, None, body({"proxyWallet": STRANGER}))
    with pytest.raises(Unreadable, match="another question"):
        GAMMA.parse(Unit(0, (PROXY,)), None, body({"proxyWallet": SAFE}))


def test_a_profile_that_drifted_is_a_letter() -> None:
    page = GAMMA.parse(OWNED, None, body({"proxyWallet": "0x12"}))
    assert reasons(page) == ["field proxyWallet: expected 0x and 40 hex digits, saw '0x12' (text)"]


# --- Dome


def test_a_wallets_owner_as_documented() -> None:
    for found in sample("dome/docs/wallet.json").values():
        unit = Unit(1, (found["proxy"],))
        assert DOME.request(unit, None).params == (("proxy", found["proxy"]),)
        (row,) = rows(DOME.parse(unit, None, body(found)))
        assert (row["user_eoa"], row["proxy_wallet"]) == (found["eoa"], found["proxy"])
        assert (row["wallet_type"], row["evidence"], row["name"]) == ("safe", "create2", "satoshi")


def test_a_pair_that_does_not_recompute_is_only_reported() -> None:
    (row,) = rows(DOME.parse(ASKED, None, body({"eoa": STRANGER, "proxy": PROXY, "wallet_type": "safe"})))
    assert (row["wallet_type"], row["evidence"]) == ("safe", "reported") and "name" not in row
    (row,) = rows(DOME.parse(OWNED, None, body({"eoa": OWNER, "proxy": OWNER, "wallet_type": "safe"})))
    assert row["wallet_type"] == "eoa"


def test_dome_answers_to_another_question_and_none() -> None:
    with pytest.raises(Unreadable, match="another question"):
        DOME.parse(ASKED, None, body({"eoa": OWNER, "proxy": SAFE}))
    assert DOME.parse(ASKED, None, b"").asked == 1
    page = DOME.parse(ASKED, None, body({"eoa": None, "proxy": PROXY}))
    assert reasons(page) == ["field eoa: expected a value, saw null"]


@pytest.mark.parametrize("lane", [GAMMA, DOME], ids=["gamma", "dome"])
@pytest.mark.parametrize("wrong", [b"{", b"[]", b"null", b"{}", b'{"error":"overloaded"}'])
def test_what_is_no_answer_is_unreadable(lane: Lane, wrong: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        lane.parse(OWNED, None, wrong)
    assert caught.value.raw == wrong and lane.smaller(OWNED, None) is None


# --- Goldsky


def wallet(address: Any = PROXY, signer: Any = OWNER, kind: Any = "proxy") -> dict[str, Any]:
    return {"id": address, "signer": signer, "type": kind}


def goldsky(unit: Unit, wallets: list[Any], owned: list[Any]) -> Page:
    names = (graph.named("wallets", unit, None), graph.named("owned", unit, None))
    return GOLDSKY.parse(unit, None, body({"data": dict(zip(names, (wallets, owned), strict=True))}))


def test_addresses_are_asked_for_as_wallets_and_as_owners() -> None:
    unit = Unit(0, (PROXY, OWNER.upper().replace("0X", "0x")))
    document = orjson.loads(GOLDSKY.request(unit, None).body or b"")
    assert document["variables"] == {"ids": [PROXY, OWNER], "owners": [PROXY, OWNER], "n": 2, "m": 1000}
    assert "where:{id_in:$ids}" in document["query"] and "where:{signer_in:$owners}" in document["query"]


def test_both_lists_give_pairs_once() -> None:
    unit = Unit(0, (PROXY, OWNER))
    page = goldsky(unit, [wallet()], [wallet(), wallet(SAFE, kind="safe")])
    assert [(row["proxy_wallet"], row["wallet_type"], row["evidence"]) for row in rows(page)] == [
        (PROXY, "proxy", "create2"),
        (SAFE, "safe", "create2"),
    ]
    assert (page.asked, page.letters, page.next) == (2, (), None)


def test_a_full_list_of_owners_wallets_asks_for_less() -> None:
    unit = Unit(0, (OWNER, PROXY))
    with pytest.raises(PageTooLarge):
        goldsky(unit, [], [wallet()] * 1000)
    assert GOLDSKY.smaller(unit, None) == "0/1"


def test_goldsky_drift_and_foreign_rows() -> None:
    page = goldsky(ASKED, [wallet(), wallet(signer=5)], [])
    assert len(page.lines) == 1 and reasons(page) == ["field signer: expected text, saw 5 (number)"]
    with pytest.raises(Unreadable, match="another question"):
        goldsky(ASKED, [wallet(STRANGER, STRANGER)], [])
    with pytest.raises(Unreadable):
        GOLDSKY.parse(ASKED, None, body({"data": {"wallets": [], "owned": []}}))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=30, unique=True), st.sets(st.integers(0, 60)))
def test_every_known_pair_of_the_asked_addresses_arrives(numbers: list[int], known: set[int]) -> None:
    owners = {n: f"0x{n + 1:040x}" for n in range(61)}
    wallets = {n: candidates(owners[n])[n % 2][1] for n in range(61)}
    store = [wallet(wallets[n], owners[n], ("proxy", "safe")[n % 2]) for n in sorted(known)]

    def reply(request: Request) -> bytes:
        document = orjson.loads(request.body or b"")
        names = [part.partition(":")[0] for part in document["query"].partition("{")[2].split(" ") if "first:" in part]
        if len(document["variables"]["ids"]) > 8:
            raise PageTooLarge("timed out")
        ids = set(document["variables"]["ids"])
        lists = [[each for each in store if each[field] in ids] for field in ("id", "signer")]
        return body({"data": dict(zip(names, lists, strict=True))})

    asked = tuple(wallets[n] if n % 3 else owners[n] for n in numbers)
    walked = walk(GOLDSKY, Unit(0, asked), reply)
    assert {row["proxy_wallet"] for row in walked.rows} == {wallets[n] for n in numbers if n in known}
    assert walked.asked == len(numbers)


# --- computed


def test_candidates_of_every_address_are_rows() -> None:
    unit = Unit(5, (OWNER, STRANGER))
    walked = walk(DERIVE, unit, lambda request: derive_wallets.derive(request.body or b""))
    expected = [(owner, kind, address) for owner in unit.items for kind, address in candidates(owner)]
    assert [(row["user_eoa"], row["wallet_type"], row["proxy_wallet"]) for row in walked.rows] == expected
    assert {(row["source"], row["evidence"], row["unit"]) for row in walked.rows} == {("derive", "create2", 5)}
    assert walked.asked == 2


def test_what_is_no_address_is_a_letter_and_another_length_unreadable() -> None:
    unit = Unit(0, ("0x12", OWNER))
    page = DERIVE.parse(unit, None, derive_wallets.derive(DERIVE.request(unit, None).body or b""))
    assert len(page.lines) == 4 and [letter.raw for letter in page.letters] == ["0x12"]
    with pytest.raises(Unreadable):
        DERIVE.parse(unit, None, b"[]")


def test_the_tracks() -> None:
    for module, upstream in ((gamma_wallets, "gamma"), (dome_wallets, "dome"), (goldsky_wallets, "goldsky")):
        track = module.TRACK
        assert (track.upstream, track.scope, track.table) == (upstream, "wallets", "staging.pm_user_proxy_wallets_v2")
        assert track.make(Config()).name == track.name
    local = derive_wallets.TRACK
    assert local.upstream == "local" and local.compute is derive_wallets.derive
    assert goldsky_wallets.TRACK.make(Config()).request(ASKED, None).path == "/wallet-subgraph/0.0.4/gn"
