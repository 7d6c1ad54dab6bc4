"""Recorded data through `import`, `setup`, `quality`, `gaps`, `reconcile`, `export`, `verify` and `status`, as typed.

What has to come out is worked out from the files by `real_files`. Then faults are planted into copies of the files, and
have to be named.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.acceptance.harness import Ended, Project
from tests.acceptance.real_files import FOLDER, TRADE, Fill, Recorded, Row, read, rows_of, thinned

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"NOT CHECKED AGAINST REAL DATA: {FOLDER} is not here")

WHOLE = bool(os.environ.get("REAL_DATA_WHOLE"))
"""Every row of the files that only say what tokens are: a minute more."""
THIN = 10_000, 8
SOME_REFUSED, GATE_FAILED = 4, 3
HOUR = 3600


class Loaded(NamedTuple):
    """A project into which everything was imported, what that said, and the truth."""

    project: Project
    truth: Recorded
    fills: Ended
    claims: Ended

    def ask(self, *words: str, code: int = 0) -> Any:
        """The JSON of a command that must end so."""
        ended = self.project.run(*words, "--json")
        assert ended.code == code, ended.err
        return ended.document


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = tmp_path_factory.mktemp("files")
    folder = FOLDER if WHOLE else thinned(FOLDER, folder, *THIN)
    project = Project(tmp_path_factory.mktemp("real"), {})
    try:
        child = project.start("import", "token-map", str(folder), "--json")
        truth = read(folder)
        assert truth.map  # worked out while the other one works
        claims = child.wait()
        fills = project.run("import", "fills", str(folder), "--json")
        yield Loaded(project, truth, fills, claims)
        assert project.tracebacks() == []
    finally:
        project.close()


def month(fill: Fill) -> str:
    return f"{dt.datetime.fromtimestamp(fill.at, dt.UTC):%Y-%m}"


def share(part: int, whole: int) -> float:
    return round(part / whole, 6)


def by_file(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {Path(each["path"]).name: each for each in document["details"]}


def test_every_file_is_taken_or_named(loaded: Loaded) -> None:
    truth, said = loaded.truth, loaded.fills.document
    assert loaded.fills.code == (SOME_REFUSED if truth.bare else 0)
    told = by_file(said)
    assert {name: (each["read"], each["refused"]) for name, each in told.items()} == {
        **{name: (len(fills), 0) for name, fills in truth.fills.items()},
        **{name: (rows, rows) for name, rows in truth.bare.items()},
    }
    assert said["inserted"] == len(truth.shown) and said["read"] == said["inserted"] + sum(truth.bare.values())
    over = {Path(each["path"]).name: each["reason"] for each in said["passed_over"]}
    assert set(over) == truth.neither | (set(truth.claims) - set(truth.fills))
    assert {name for name, why in over.items() if "no fills, but a token map" in why} == set(truth.claims) & set(over)
    assert max(map(len, over.values())) < 250
    letters = loaded.project.letters("import_fills").values()
    assert len(letters) == sum(truth.bare.values()) and all("no transaction" in row["reason"] for row in letters)


def test_every_claim_is_judged(loaded: Loaded) -> None:
    truth, said = loaded.truth, loaded.claims.document
    false = {
        name: sum(claim.token not in truth.map or truth.map[claim.token] != claim for claim in claims)
        for name, claims in truth.claims.items()
    }
    assert loaded.claims.code == (SOME_REFUSED if any(false.values()) else 0)
    told = by_file(said)
    assert {name: (each["read"], each["refused"]) for name, each in told.items()} == {
        name: (len(claims), false[name]) for name, claims in truth.claims.items()
    }
    assert (said["inserted"], said["refused"]) == (len(truth.map), sum(false.values()))
    over = {Path(each["path"]).name: each["reason"] for each in said["passed_over"]}
    fills = {name for name, why in over.items() if "no token map, but fills" in why}
    assert fills == {*truth.fills, *truth.bare} - set(truth.claims)


def test_setup_and_verify_count_the_traded_tokens(loaded: Loaded) -> None:
    fills = loaded.truth.shown
    tokens = {int(fill.token) for fill in fills}
    mapped = len(tokens & set(loaded.truth.map))
    setup = loaded.ask("setup")
    assert (setup["fills"], setup["unique_ids"], setup["mapped"]) == (len(fills), len(tokens), mapped)
    assert setup["unmapped"] == 0 and setup["plan_id"] is None
    assert "nothing to plan: every traded token is mapped" in loaded.project.run("setup").out
    verify = loaded.ask("verify")
    values = {check["name"]: check for check in verify["checks"]}
    assert values["global_coverage"]["value"] == share(mapped, len(tokens)) == 1
    assert values["proof"]["detail"].startswith(f"{len(loaded.truth.map):,} proven, 0 beyond recomputing, 0 contradict")
    assert all(control["caught"] for control in verify["controls"])


def test_quality_says_of_the_fills_what_is_true(loaded: Loaded) -> None:
    fills = loaded.truth.shown
    months = Counter(map(month, fills))
    buys = Counter(month(fill) for fill in fills if fill.side == "BUY")
    wrong = {"side_share"} if not 0.2 <= sum(buys.values()) / len(fills) <= 0.8 else set()
    wrong |= {"empty_months"} if lacking(months) else set()
    said = loaded.ask("quality", code=GATE_FAILED if wrong else 0)
    told = [(row["month"], row["rows"], row["buys"]) for row in said["months"]]
    assert told == [(name, months[name], buys[name]) for name in sorted(months)]
    totals = {name: said["totals"][name] for name in ("rows", "buys", "tokens", "unmapped_tokens", "no_taker")}
    tokens = len({fill.token for fill in fills})
    assert list(totals.values()) == [len(fills), sum(buys.values()), tokens, 0, len(fills)]
    checks = {check["name"]: check for check in said["checks"]}
    assert checks["side_share"]["value"] == share(sum(buys.values()), len(fills))
    assert checks["empty_months"]["value"] == len(lacking(months))
    assert all(name in checks["empty_months"]["detail"] for name in lacking(months))
    assert {name for name, check in checks.items() if check["passed"] is False} == wrong
    assert checks["taker_share"]["detail"] == "no fill names its taker"
    assert all(control["caught"] for control in said["controls"])
    written = [Path(path) for path in said["reports"]]
    assert json.loads(written[1].read_text()) == said
    assert all(f"| {name} | {months[name]:,} |" in written[0].read_text() for name in months)


def lacking(months: Counter[str]) -> list[str]:
    numbers = [int(name[:4]) * 12 + int(name[5:]) - 1 for name in months]
    every = (f"{number // 12:04}-{number % 12 + 1:02}" for number in range(min(numbers), max(numbers)))
    return [name for name in every if name not in months]


def test_gaps_names_every_known_token_and_a_command_that_runs(loaded: Loaded) -> None:
    known = set(loaded.truth.map) | {int(fill.token) for fill in loaded.truth.shown}
    told = loaded.project.run("gaps")
    assert told.code == 0 and told.out.splitlines()[-1] == f"{len(known):,} gaps"
    assert len(told.out.splitlines()) == 4 and f"never asked for: {len(known):,}, such as" in told.out
    assert loaded.project.run("gaps", "--strict", "--keys", "unread").out.split() == sorted(map(str, known))
    words = told.out.splitlines()[2].split()
    assert words[:3] == ["backfill", "run", "fills"]
    assert loaded.project.run(*words[1:], "--dry-run", "--help").code == 0


def test_an_export_holds_every_fill_and_comes_back_as_nothing_new(loaded: Loaded) -> None:
    path = loaded.project.folder / "out" / "fills.parquet"
    assert loaded.ask("export", "fills", str(path))["rows"] == len(loaded.truth.shown)
    rows = pq.read_table(path).to_pylist()
    facts = [(row["tx_hash"], row["token_id"], row["maker"], row["side"]) for row in rows]
    numbers = [(int(row["shares_micro"]), int(row["usdc_micro"]), seconds(row["timestamp"])) for row in rows]
    assert sorted(Fill(*fact, *more) for fact, more in zip(facts, numbers, strict=True)) == loaded.truth.shown
    assert len({row["fill_id"] for row in rows}) == len(rows)
    again = loaded.ask("import", "fills", str(path))
    assert (again["inserted"], again["duplicates"], again["refused"]) == (0, len(rows), 0)


def seconds(value: Any) -> int:
    return int(value.timestamp()) if isinstance(value, dt.datetime) else int(value)


def test_what_has_nothing_to_do_says_so(loaded: Loaded) -> None:
    compared = loaded.project.run("reconcile", "fills")
    assert compared.code == 0 and compared.out.startswith("NOTHING TO COMPARE")
    derived = loaded.project.run("run", "tokens", "--track", "derive_tokens")
    assert derived.code == 0 and "nothing to compute" in derived.out and "next:" not in derived.out
    assert loaded.ask("status")["state"] == "idle"


def test_the_same_rows_under_other_names_in_another_order_and_format_are_nothing_new(
    loaded: Loaded, tmp_path: Path
) -> None:
    dice = random.Random(7)
    endings = [".parquet", ".csv", ".jsonl", ".json.gz", ".csv.gz", ".jsonl.gz"]
    for number, name in enumerate(sorted(loaded.truth.fills)):
        rows = [{key: value for key, value in row.items() if value is not None} for row in rows_of(FOLDER / name)]
        dice.shuffle(rows)
        columns = sorted(rows[0], reverse=True)
        for ending in endings[number % 3], endings[number % 3 + 3]:
            write(tmp_path / f"{number}{ending}", [{key: row.get(key) for key in columns} for row in rows])
    said = loaded.ask("import", "fills", str(tmp_path))
    rows_read = 2 * sum(map(len, loaded.truth.fills.values()))
    assert (said["read"], said["inserted"], said["duplicates"], said["refused"]) == (rows_read, 0, rows_read, 0)
    assert said["files"] == 2 * len(loaded.truth.fills) and not said["passed_over"]


def write(path: Path, rows: Sequence[Row]) -> Path:
    """Rows in the format of a file's ending; fractions as floats, where a format has them."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([{key: plain(value) for key, value in row.items()} for row in rows]), path)
        return path
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="") as handle:
        if ".csv" in path.name:
            table = csv.DictWriter(handle, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
        elif ".jsonl" in path.name:
            handle.writelines(json.dumps(row, default=float) + "\n" for row in rows)
        else:
            json.dump(rows, handle, default=float)
    return path


def plain(value: Any) -> Any:
    return value if isinstance(value, str | int | None) else float(value)


# --- planted faults


def trades() -> list[Row]:
    """The trades of the file that tells most of one wallet."""
    paths = [path for path in FOLDER.iterdir() if path.name.endswith((".csv.gz", ".jsonl.gz"))]
    files = [rows for path in paths if (rows := list(rows_of(path))) and set(rows[0]) >= TRADE]
    return max((rows for rows in files if len({row["proxyWallet"] for row in rows}) == 1), key=len)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path / "planted", {})
    try:
        yield made
        assert made.tracebacks() == []
    finally:
        made.close()


def test_what_is_planted_is_named(project: Project, tmp_path: Path) -> None:
    rows = sorted(trades(), key=lambda row: int(row["timestamp"]))
    months = [f"{dt.datetime.fromtimestamp(int(row['timestamp']), dt.UTC):%Y-%m}" for row in rows]
    middle = sorted(set(months))[1]
    assert middle not in (months[0], months[-1])
    rows = [row for row, name in zip(rows, months, strict=True) if name != middle]
    dear, old, early = ({**rows[number], "transactionHash": f"0x{number:064x}"} for number in (1, 2, 3))
    dear["price"], old["timestamp"], early["timestamp"] = 2, 86_400, 1_609_459_200
    said = project.run("import", "fills", str(write(tmp_path / "f.jsonl", [*rows, rows[0], dear, old, early])))
    assert said.code == SOME_REFUSED and f"{len(rows) + 3:,} inserted, 0 duplicates, 1 refused" in said.out
    assert "timestamp is not plausible: 86400" in project.run("dead-letters", "list").out

    wrong = {**rows[0], "outcomeIndex": 1 - int(rows[0]["outcomeIndex"])}
    said = project.run("import", "token-map", str(write(tmp_path / "m.csv.gz", [wrong, *rows])))
    assert said.code == SOME_REFUSED and "1 refused" in said.out
    assert "side swapped" in project.run("dead-letters", "list").out

    quality = project.run("quality", "--json", env={"BACKFILL_QUALITY__SIDE_SHARE": "[0, 1]"})
    checks = {check["name"]: check for check in quality.document["checks"]}
    failed = {name for name, check in checks.items() if check["passed"] is False}
    assert quality.code == GATE_FAILED and failed == {"price_range", "too_early", "empty_months"}
    assert middle in checks["empty_months"]["detail"]
    for name, hash_ in (("price_range", dear), ("too_early", early), ("equal_rows", rows[0])):
        (example,) = checks[name]["examples"]
        assert example.startswith(hash_["transactionHash"].lower())
    assert checks["equal_rows"]["value"] == share(1, len(rows) + 3)
    project.query("ALTER TABLE polymarket.ctf_token_map UPDATE outcome_index = 1 - outcome_index WHERE token_id = "
                  f"toUInt256('{rows[0]['asset']}') SETTINGS mutations_sync = 2")  # fmt: skip
    verify = project.run("verify", "--json")
    assert verify.code == GATE_FAILED
    assert [check["name"] for check in verify.document["checks"] if check["passed"] is False] == ["proof"]


def busy() -> list[Row]:
    """The largest file of activity without tokens, as if each market's outcome had one: a busy day."""
    paths = [
        path for path in FOLDER.glob("*.parquet") if {"tx_hash", "market", "side"} <= set(pq.read_schema(path).names)
    ]
    rows = [row for path in paths for row in rows_of(path) if row["side"]]
    return [
        {
            "proxyWallet": row["wallet_addr"], "side": row["side"], "size": row["size"], "price": row["price"],
            "timestamp": row["timestamp"], "transactionHash": row["tx_hash"],
            "asset": str(int(hashlib.sha256((row["market"] + row["outcome"]).encode()).hexdigest(), 16)),
            "conditionId": "0x" + hashlib.sha256(row["market"].encode()).hexdigest(),
        }
        for row in rows
    ]  # fmt: skip


def test_hours_that_a_busy_file_lacks_are_gaps(project: Project, tmp_path: Path) -> None:
    """Those that the recording lacks itself, and some in its middle that we take out."""
    rows = busy()
    hours = Counter(int(row["timestamp"]) // HOUR for row in rows)
    gone = sorted(hours)[len(hours) // 2 : len(hours) // 2 + 3]
    left = [row for row in rows if int(row["timestamp"]) // HOUR not in gone]
    said = project.run("import", "fills", str(write(tmp_path / "busy.parquet", left)), "--json").document
    assert (said["read"], said["inserted"]) == (len(left), len(left))
    empty = {hour for hour in range(min(hours), max(hours)) if hour not in hours or hour in gone}
    assert len(empty) > len(gone)
    silent = [gap for gap in project.run("gaps", "--json").document["gaps"] if gap["kind"] == "silent"]
    found = {hour for gap in silent for hour in range(*(at(gap[end]) // HOUR for end in ("from", "to")))}
    assert found == empty
    assert all(gap["command"] == f"backfill run fills --since {gap['from']} --until {gap['to']}" for gap in silent)


def at(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp())
