"""Every profit that is recorded of a real wallet, beside ours: `python -m tests.pnl.real_wallets [FOLDER]`.

Prints the table; with `--write` also puts it into docs/real-wallets.md, and the pairs, with the sums by token that they
were computed from, into tests/pnl_sets/real.json, which a test replays without the recordings.
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from backfill.config import Config, Run
from backfill.stages.pnl_book import read_books
from backfill.stages.pnl_causes import Reference, explain
from backfill.stages.reconcile_pnl import Reconciliation, made_set
from backfill.warehouse.client import Warehouse, open_warehouse
from backfill.warehouse.launcher import stop
from backfill.warehouse.migrate import migrate_up
from tests.pnl import real_activity, real_exports, real_positions, real_subgraph, test_real_wallet
from tests.pnl.real_table import Compared, Part, emptied, markdown, units

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT.parent / "shared" / "data" / "real"
PAPER, SET = ROOT / "docs" / "real-wallets.md", ROOT / "tests" / "pnl_sets" / "real.json"
SITE, BOARD, MARKETS = (
    "ui_pnl_truth_clob_only_45.json.gz",
    "leaderboard_2026-06-28.csv.gz",
    "alpharaccoon_clob_markets.json.gz",
)
FILLS = (
    "fills_dataapi_nobel2025.csv.gz",
    "fills_dataapi_global_2026-02-28.jsonl.gz",
    "fills_dataapi_alpharaccoon.jsonl.gz",
)
CENT = 10_000
_BLOCK = re.compile(r"(<!-- (table|facts): .*? -->\n).*?(<!-- end -->)", re.DOTALL)


async def compare_all(warehouse: Warehouse, config: Config, folder: Path) -> Part:
    """All comparisons, one after the other, in a warehouse whose facts may go."""
    part = Part()
    for compare in (
        raccoon,
        real_exports.compare,
        real_subgraph.compare,
        real_positions.compare,
        real_activity.compare,
    ):
        part.add(await compare(warehouse, config, folder))
    part.add(without_fills(folder))
    return part


async def raccoon(warehouse: Warehouse, config: Config, folder: Path) -> Part:
    """The one wallet whose every market is resolved: profit and cash flow."""
    await emptied(warehouse)
    await test_real_wallet._load(warehouse, config, folder)
    wallet = test_real_wallet.WALLET
    book = (await read_books(warehouse, [wallet]))[wallet]
    part, name = Part(), "fills_dataapi_alpharaccoon.jsonl.gz"
    reference = Reference("worked out from its fills", "profit", "cash", units(test_real_wallet.PROFIT), CENT)
    found = explain(book.rows, (), (), reference)
    about = f"{len(book.rows)} tokens, all of them ended; worked out from the same fills, not by the site"
    part.lines.append(Compared(wallet, name, "profit", found.expected, found.actual, dict(found.parts), about))
    part.keep(book, reference, found)
    lines = (folder / test_real_wallet.BY_CONDITION).read_text().splitlines()[1:]
    flow, ours = units(sum(Decimal(line.split(",")[1]) for line in lines)), sum(row.trade_cash for row in book.rows)
    rounded = {"rounding": ours - flow} if ours != flow else {}
    told = Compared(wallet, test_real_wallet.BY_CONDITION, "sales − buys", flow, ours, rounded, f"{len(lines)} markets")
    part.lines.append(told)
    part.facts.append(_winners(folder))
    return part


def _winners(folder: Path) -> str:
    """Whether two recordings of how its markets ended are the same."""
    told = json.loads(gzip.decompress((folder / test_real_wallet.WINNERS).read_bytes()))
    markets = json.loads(gzip.decompress((folder / MARKETS).read_bytes()))
    listed = markets.values() if isinstance(markets, dict) else markets
    found = {each["condition_id"]: {token["token_id"]: token["winner"] for token in each["tokens"]} for each in listed}
    same = sum(found.get(condition) == tokens for condition, tokens in told.items())
    return f"How the markets of 0xee50… ended: {same} of {len(told)} are the same in the order book's listing."


def without_fills(folder: Path) -> Part:
    """Profits of wallets whose fills are not here: what is told, and whether it agrees with itself."""
    part = Part()
    shown = json.loads(gzip.decompress((folder / SITE).read_bytes()))["wallets"]
    even = sum(abs(units(each["gain"]) + units(each["loss"]) - units(each["uiPnl"])) <= CENT for each in shown)
    traders = set(_traders(folder))
    here = sorted(each["wallet"] for each in shown if each["wallet"].lower() in traders)
    assert not here, here
    remark = f"gain + loss is the profit, to the cent, in {even} of them"
    part.lines.append(Compared(f"{len(shown)} wallets", SITE, "profit on the site", None, None, remark=remark,
                               not_comparable="none of their fills is recorded here"))  # fmt: skip
    with gzip.open(folder / BOARD, "rt") as file:
        ranked = {row["address"].lower() for row in csv.DictReader(file)}
    some = sorted(ranked & traders)
    remark = f"{len(some)} of them have fills here, of 2025-10-10 and 2026-02-28: {', '.join(some)}"
    part.lines.append(Compared(f"{len(ranked)} wallets", BOARD, "pnl of a month and a week to 2026-06-28", None, None,
                               remark=remark, not_comparable="nothing here is of that month"))  # fmt: skip
    return part


def _traders(folder: Path) -> Iterable[str]:
    """Everybody whose fills are recorded with their tokens."""
    for name in FILLS:
        with gzip.open(folder / name, "rt") as file:
            rows: Iterable[dict[str, str]] = csv.DictReader(file) if ".csv" in name else map(json.loads, file)
            yield from (row["proxyWallet"].lower() for row in rows)
    yield from (each["canonical_wallet"].lower() for each in real_exports.export(folder))


def rendered(part: Part, text: str) -> str:
    """The paper with the table and the findings in their places."""
    blocks = {"table": markdown(part.lines), "facts": [f"- {fact}" for fact in part.facts]}
    return _BLOCK.sub(lambda found: found[1] + "\n".join(blocks[found[2]]) + "\n" + found[3], text)


def saved(part: Part) -> bytes:
    """The regression set of all pairs."""
    return made_set(Reconciliation(part.pairs, {}), part.books)


async def _main(folder: Path, place: Path, write: bool) -> None:
    config = Config(run=Run(data_dir=place / "data", checkpoint_dir=place / "checkpoints", log_file=place / "log"))
    async with open_warehouse(config) as warehouse:
        await migrate_up(warehouse)
        part = await compare_all(warehouse, config, folder)
    print("\n".join([*markdown(part.lines), "", *part.facts]))
    if write:
        PAPER.write_text(rendered(part, PAPER.read_text(encoding="utf-8")), encoding="utf-8")
        SET.write_bytes(saved(part))


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--write"]
    source = Path(words[0]) if words else FOLDER
    if not source.is_dir():
        sys.exit(f"{source} is not here: the recordings are no part of the project")
    with tempfile.TemporaryDirectory() as temporary:
        try:
            asyncio.run(_main(source, Path(temporary), "--write" in sys.argv))
        finally:
            stop(Path(temporary) / "data")
