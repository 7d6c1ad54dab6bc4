"""`reconcile pnl`: a generated world's wallets beside the profits that its upstreams tell, every difference named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import aiohttp
import orjson
import pytest
from pydantic import SecretStr

from backfill.config import BaselineWallet, Config, Secrets
from backfill.engine.model import Unit
from backfill.errors import StateError, Unreadable, UpstreamUnusable
from backfill.log import Logger, configure
from backfill.simulator.cost_basis import curve
from backfill.simulator.generate import CUTOVER
from backfill.simulator.server import Simulator
from backfill.stages.pnl_book import Book, read_books
from backfill.stages.pnl_gates import made_up
from backfill.stages.pnl_rows import Claim, Row, filled, micro, plain, read_claim, read_row
from backfill.stages.rebuild import rebuild
from backfill.stages.reconcile_pnl import Reconciliation, made_set, replayed, run_reconcile, write_report
from backfill.stages.references import DEFINITION, keep, read_references
from backfill.tracks import pnl_pages
from backfill.tracks.data_api_positions import DataApiPositions
from backfill.tracks.pnl_pages import Figure
from backfill.warehouse.client import Warehouse
from tests.pnl import test_world as core
from tests.stages.planted import ANNA
from tests.stages.pnl_world import CASH, M, build, put_world

SETS = Path(__file__).resolve().parents[1] / "pnl_sets"
SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "samples"
WALLETS = 6


def log_of(config: Config) -> Logger:
    return configure(config.run.log_file, secrets=(), run_id="test", stderr="quiet")


def pointed(config: Config, simulator: Simulator, wallets: list[str], root: Path) -> Config:
    """The config with the pretend upstreams, and these wallets as the baseline."""
    ups = config.upstreams
    chosen = ups.model_copy(
        update={
            "dome": ups.dome.model_copy(update={"base_url": simulator.url_of("dome"), "end_of_life": ""}),
            "data_api": ups.data_api.model_copy(update={"base_url": simulator.url_of("data_api")}),
        }
    )
    named = tuple(BaselineWallet(name=f"w{number}", address=each) for number, each in enumerate(wallets))
    secrets = Secrets(dome_api_key=SecretStr("demo-key"))
    return config.model_copy(update={"upstreams": chosen, "baseline_wallets": named, "secrets": secrets, "root": root})


def busiest() -> list[str]:
    """The wallets with most orders, both before and after the cutover."""
    orders = Counter(order.maker for order in core.world().ledger.orders if order.maker not in _contracts())
    return [wallet for wallet, _ in orders.most_common(WALLETS)]


def _contracts() -> set[str]:
    return {order.exchange for order in core.world().ledger.orders}


async def put_positions(warehouse: Warehouse, simulator: Simulator, wallets: list[str]) -> None:
    """What the positions lane reads of the pretend Data API, straight into the table it ends up in."""
    lane = DataApiPositions(2)
    async with aiohttp.ClientSession() as session:
        for wallet in wallets:
            cursor: str | None = None
            while True:
                request = lane.request(Unit(0, (wallet,)), cursor)
                url = simulator.url_of("data_api") + request.path
                async with session.get(url, params=dict(request.params)) as answer:
                    page = lane.parse(Unit(0, (wallet,)), cursor, await answer.read())
                rows = [{k: v for k, v in orjson.loads(line).items() if k != "unit"} for line in page.lines]
                if rows:
                    await warehouse.insert("production.wallet_positions_api", b"\n".join(map(orjson.dumps, rows)))
                if page.next is None:
                    break
                cursor = page.next


async def test_a_world_s_wallets_beside_what_its_upstreams_tell(
    config: Config, warehouse: Warehouse, tmp_path: Path
) -> None:
    """The pretend sources go by rules of their own; whatever differs has a cause, to the micro-dollar."""
    await core._load(warehouse, config)
    wallets = busiest()
    async with Simulator(core.world()) as simulator:
        asked = pointed(config, simulator, wallets, tmp_path)
        await put_positions(warehouse, simulator, wallets)
        found, books = await run_reconcile(asked, warehouse, wallets, log_of(config))
    assert found.problems == []
    pairs = {(pair.wallet, pair.reference.source, pair.reference.metric): pair for pair in found.pairs}
    assert pairs.keys() == {(wallet, source, metric) for wallet in wallets for source, metric in DEFINITION}
    assert Counter(pair.status for pair in found.pairs)["MATCH"] >= 4
    for pair in found.pairs:
        assert sum(pair.found.parts.values()) == pair.found.delta
        if pair.reference.source != "dome":
            assert "unexplained" not in pair.found.parts, pair.document()
    view = await warehouse.fetch("SELECT * FROM cascadian_clean.vw_pnl_reconciliation")
    told = {(row["wallet"], row["source"], row["metric"]): row for row in view}
    assert {key: row["status"] for key, row in told.items()} == {key: pair.status for key, pair in pairs.items()}
    for key, pair in pairs.items():
        assert micro(told[key]["difference_usd"]) == pair.found.delta
    check_report(asked, found)
    check_set(found, books)
    await check_dome_at_its_moment(config, warehouse, asked, wallets)


async def check_dome_at_its_moment(config: Config, warehouse: Warehouse, asked: Config, wallets: list[str]) -> None:
    """Dome stopped at the cutover: tables of that moment leave only what merges realized, which Dome does not count."""
    await rebuild(warehouse, config, log_of(config), cutoff=CUTOVER - 1)
    found, _ = await run_reconcile(asked, warehouse, wallets, log_of(config), fetch=False)
    assert any("not of today" in note for note in found.notes)
    for pair in found.pairs:
        if pair.reference.source == "dome":
            assert pair.found.expected == curve_end(pair.wallet)
            assert pair.found.parts.keys() <= {"splits_and_merges", "rounding"}, pair.document()


def curve_end(wallet: str) -> int:
    return curve(core.world().ledger, core.world().markets, wallet, CUTOVER)[-1][1]


def check_report(config: Config, found: Reconciliation) -> None:
    report = write_report(config, found)
    assert [Path(path).name for path in report] == ["reconcile-pnl.md", "reconcile-pnl.json"]
    assert orjson.loads(Path(report[1]).read_bytes())["counts"] == found.document()["counts"]
    text = Path(report[0]).read_text()
    for pair in found.pairs:
        if (pair.share or 0) > 0.01:
            assert f"## {found.names[pair.wallet]}: {pair.reference.source} {pair.reference.metric}" in text


def test_what_is_left_out_of_a_set_comes_back() -> None:
    claim = Claim(ANNA, "1", "c", None, "OPEN", 0, 5, 0, None)
    assert read_claim(filled(Claim, plain(claim))) == claim
    (row, *_) = made_up().rows
    for each in (replace(row, value=0), replace(row, value=None, unrealized=7)):
        assert read_row(filled(Row, orjson.loads(orjson.dumps(plain(each))))) == each


def check_set(found: Reconciliation, books: dict[str, Book]) -> None:
    """What was saved comes out the same again, and a change to any of it does not."""
    saved = made_set(found, books)
    assert replayed(saved) == []
    document = orjson.loads(saved)
    row = document["wallets"][0]["rows"][0]
    row["cash"], row["avg_cost"], row["dome"] = row["cash"] + 1, row["avg_cost"] + 1, row["dome"] + 1
    assert len(replayed(orjson.dumps(document))) == 5
    document["version"] = 0
    with pytest.raises(StateError, match="another version"):
        replayed(orjson.dumps(document))


# --- the regression sets in the repository


@pytest.mark.parametrize("path", sorted(SETS.glob("*.json")), ids=lambda path: path.stem)
def test_saved_pairs_come_out_the_same(path: Path) -> None:
    assert replayed(path.read_bytes()) == []


def test_there_is_a_regression_set_with_every_status() -> None:
    statuses = {
        pair["result"]["status"]
        for path in SETS.glob("*.json")
        for entry in orjson.loads(path.read_bytes())["wallets"]
        for pair in entry["pairs"]
    }
    assert statuses >= {"MATCH", "MINOR_DIFF", "MAJOR_DIFF"}


# --- statuses and the view


async def test_statuses_by_size_and_in_the_view(config: Config, warehouse: Warehouse) -> None:
    await put_world(warehouse)
    await build(warehouse, config)
    nobody = "0x" + "ee" * 20
    for wallet, source, value in (
        (ANNA, "same", CASH * M),
        (ANNA, "near", micro(CASH * 1.0009)),
        (ANNA, "minor", micro(CASH * 1.009)),
        (ANNA, "major", micro(CASH * 1.5)),
        (ANNA, "zero", 0),
        (nobody, "none", 5 * M),
    ):
        await keep(warehouse, [Figure(wallet, source, "pnl", value, 1, None, "")], 0.01)
    expected = {
        "same": "MATCH", "near": "MATCH", "minor": "MINOR_DIFF", "major": "MAJOR_DIFF", "zero": "MAJOR_DIFF",
        "none": "NO_DATA",
    }  # fmt: skip
    rows = await warehouse.fetch("SELECT source, status FROM cascadian_clean.vw_pnl_reconciliation")
    assert {row["source"]: row["status"] for row in rows} == expected
    found, _ = await run_reconcile(config, warehouse, [ANNA, nobody], log_of(config), fetch=False)
    assert {pair.reference.source: pair.status for pair in found.pairs} == expected
    assert found.passed is False and {pair.reference.source for pair in found.pairs if pair.open} == {"major", "zero"}


async def test_a_newer_figure_takes_the_place_of_the_older(warehouse: Warehouse) -> None:
    for value in (1, 2):
        await keep(warehouse, [Figure(ANNA, "dome", "realized", value, 1, 1_700_000_000, "{}")], 0.01)
    books = await read_books(warehouse, [ANNA])
    (reference,) = (await read_references(warehouse, books))[ANNA]
    assert (reference.expected, reference.definition, reference.as_of) == (2, "dome", 1_700_000_000)


async def test_a_source_without_a_key_is_named_and_the_other_asked(
    config: Config, warehouse: Warehouse, tmp_path: Path
) -> None:
    wallets = busiest()[:1]
    async with Simulator(core.world()) as simulator:
        asked = pointed(config, simulator, wallets, tmp_path).model_copy(update={"secrets": Secrets()})
        found, _ = await run_reconcile(asked, warehouse, wallets, log_of(config))
    (problem,) = found.problems
    assert isinstance(problem, UpstreamUnusable) and problem.kind == "no_credentials"
    assert {pair.reference.source for pair in found.pairs} == {"data_api"} and found.passed is None


# --- answers


def test_dome_s_recorded_answer_and_what_is_no_answer() -> None:
    path = SAMPLES / "dome" / "wallet_pnl_all_2025-12.json"
    if not path.is_file():
        pytest.skip(
            "SKIPPED LOUDLY: no recorded answer at ../shared/reference/samples/dome/wallet_pnl_all_2025-12.json"
        )
    body = path.read_bytes().replace(b"0x...", ANNA.encode())
    (figure,) = pnl_pages.read_dome(ANNA, body)
    assert (figure.value, figure.as_of, figure.metric) == (22_053_933_751_600, 1_765_069_501, "realized")
    with pytest.raises(Unreadable, match="wallet"):
        pnl_pages.read_dome("0x" + "11" * 20, body)


def test_dome_s_zero_about_a_wallet_it_never_processed_is_no_profit() -> None:
    def answer(start: int, value: float) -> bytes:
        points = [{"timestamp": 1_765_069_501, "pnl_to_date": value}]
        return orjson.dumps({"wallet_address": ANNA, "start_time": start, "pnl_over_time": points})

    assert pnl_pages.read_dome(ANNA, answer(pnl_pages.NEVER_PROCESSED, 0)) == []
    assert pnl_pages.read_dome(ANNA, b"") == []
    assert [each.value for each in pnl_pages.read_dome(ANNA, answer(1_700_000_000, 0))] == [0]
    assert [each.value for each in pnl_pages.read_dome(ANNA, answer(1_700_000_000, -12.5))] == [-12_500_000]


def test_the_recorded_curve() -> None:
    path = SAMPLES / "data-api" / "v2_user_pnl.json"
    if not path.is_file():
        pytest.skip("SKIPPED LOUDLY: no recorded answer at ../shared/reference/samples/data-api/v2_user_pnl.json")
    wallet = "0x379a410a36c101e3b8dfb6c90d1176eb0def4b1a"
    found = {figure.metric: figure for figure in pnl_pages.read_data_api(wallet, path.read_bytes())}
    assert found["realized"].value == -2_031_134_888 and found["position"].value == -2_076_383_239
    assert found["realized"].as_of == 1_789_344_000
    with pytest.raises(Unreadable):
        pnl_pages.read_data_api(ANNA, path.read_bytes())
    with pytest.raises(Unreadable):
        pnl_pages.read_data_api(wallet, b"{}")
