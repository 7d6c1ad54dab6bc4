"""The configuration: the file is complete, the environment wins, and every mistake is named at once, in plain words."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from backfill.config import Config, load
from backfill.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "config.toml"
SECRET = "hunter2-of-the-test"


def wrong(tmp_path: Path, text: str, **environ: str) -> str:
    """The message about a configuration that may not be accepted."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, environ)
    return str(caught.value)


def right(tmp_path: Path, text: str = "", **environ: str) -> Config:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return load(path, environ)


def leaves(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that may stand in the file, with its default."""
    for name, field in model.model_fields.items():
        if field.exclude or field.annotation is SecretStr:
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{above}{name}.")
        else:
            yield f"{above}{name}", field.default


def flat(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def plain(value: Any) -> Any:
    """A default as TOML would have it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value.model_dump() if isinstance(value, BaseModel) else value


def test_config_toml_has_every_key_with_its_default_and_no_other() -> None:
    stated = dict(flat(tomllib.loads(FILE.read_text())))
    wallets = stated.pop("baseline_wallets")
    defaults = {key: plain(default) for key, default in leaves(Config) if key != "baseline_wallets"}
    assert stated == defaults
    keys = {"name", "address", "expected_pnl_usd", "source", "tolerance"}
    assert all(set(wallet) - {"site_pnl_usd"} == keys for wallet in wallets)
    told = {(wallet["name"], wallet["address"][:6], wallet["expected_pnl_usd"]) for wallet in wallets}
    assert len(wallets) == 4 and told == {
        ("xcnstrategy", "0xcce2", 87030.51), ("niggemon", "0xeb6f", 102001.46), ("LucasMeow", "0x7f3c", 181131.44),
        ("HolyMoses7", "0xa4b3", 89975.16),
    }  # fmt: skip
    assert [wallet.get("site_pnl_usd") for wallet in wallets] == [95349.02, None, None, None]


def test_the_file_and_no_file_content_mean_the_same(tmp_path: Path) -> None:
    stated, empty = load(FILE, {}), right(tmp_path)
    for section in ("warehouse", "upstreams", "tracks", "gates"):
        assert getattr(stated, section) == getattr(empty, section)


def test_every_problem_is_named_at_once_with_key_value_and_what_was_expected(tmp_path: Path) -> None:
    message = wrong(
        tmp_path,
        """
        nonsense = 1
        [run]
        split = "evn"
        drain_s = -1
        progress_interval_s = nan
        stal_after_s = 1
        [warehouse]
        url = "ftp://x"
        production = "poly-market"
        [upstreams.dome]
        limits = [{ requests = 0, seconds = 1 }, { requests = 1.5 }]
        end_of_life = "soon"
        [upstreams.goldsky]
        subgraphs = 4
        [tracks.dome_tokens]
        workers = true
        enabled = "perhaps"
        [[baseline_wallets]]
        name = "x"
        address = "0x12"
        """,
        BACKFILL_TRACKS__GOLDSKY_TOKENS__BATCH="many",
    )
    assert message.startswith(f"{tmp_path}/config.toml: 16 problems\n")
    for line in (
        "nonsense: unknown key; expected one of run, warehouse, raw, sync, upstreams, tracks, quality, gates, "
        "leaderboard, baseline_wallets",
        "run.split = \"evn\": expected 'even' or 'balanced'",
        "run.drain_s = -1: expected at least 0",
        "run.progress_interval_s = nan: expected a finite number",
        "run.stal_after_s: unknown key; did you mean stall_after_s?",
        'warehouse.url = "ftp://x": expected "embedded" or an http(s):// address',
        'warehouse.production = "poly-market": expected a name of letters, digits and underscores',
        "upstreams.dome.limits.0.requests = 0: expected at least 1",
        "upstreams.dome.limits.1.requests = 1.5: expected a whole number",
        "upstreams.dome.limits.1.seconds: is missing",
        'upstreams.dome.end_of_life = "soon": expected a day such as "2026-04-28", or ""',
        "upstreams.goldsky.subgraphs = 4: expected a section with keys",
        "tracks.dome_tokens.workers = true: expected a value, not true or false",
        'tracks.dome_tokens.enabled = "perhaps": expected true or false',
        'tracks.goldsky_tokens.batch (BACKFILL_TRACKS__GOLDSKY_TOKENS__BATCH) = "many": expected a whole number',
        'baseline_wallets.0.address = "0x12": expected 0x and 40 hex digits',
    ):
        assert f"  - {line}" in message.splitlines()


@pytest.mark.parametrize(("track", "most"), [("dome_tokens", 100), ("goldsky_tokens", 1000)])
def test_a_batch_above_what_the_upstream_takes_is_refused(tmp_path: Path, track: str, most: int) -> None:
    assert getattr(right(tmp_path, f"[tracks.{track}]\nbatch = {most}").tracks, track).batch == most
    message = wrong(tmp_path, f"[tracks.{track}]\nbatch = {most + 1}")
    assert f"tracks.{track}.batch = {most + 1}: expected at most {most}, the upstream takes no more" in message


def test_the_environment_wins_over_the_file_deep_down_and_for_lists_too(tmp_path: Path) -> None:
    config = right(
        tmp_path,
        '[upstreams.dome]\nbase_url = "http://file"\nlimits = []\n[upstreams.goldsky.subgraphs]\npnl = "file/1"',
        BACKFILL_UPSTREAMS__DOME__BASE_URL="http://environment/",
        BACKFILL_UPSTREAMS__DOME__LIMITS="[{requests = 5, seconds = 2}]",
        BACKFILL_UPSTREAMS__GOLDSKY__SUBGRAPHS__PNL="environment/2",
        BACKFILL_TRACKS__DOME_TOKENS__ENABLED="false",
        BACKFILL_RUN__DRAIN_S="1.5",
    )
    dome = config.upstreams.dome
    assert (dome.base_url, dome.limits[0].requests, dome.limits[0].seconds) == ("http://environment", 5, 2)
    assert config.upstreams.goldsky.subgraphs.pnl == "environment/2"
    assert not config.tracks.dome_tokens.enabled and config.run.drain_s == 1.5


def test_dotenv_stands_between_the_environment_and_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BACKFILL_RUN__DRAIN_S=2\nBACKFILL_RUN__STALL_AFTER_S=3\nDOME_API_KEY=of-the-file\n")
    config = right(tmp_path, "[run]\ndrain_s = 1\nstall_after_s = 1", BACKFILL_RUN__DRAIN_S="4")
    assert (config.run.drain_s, config.run.stall_after_s) == (4, 3)
    assert config.secrets.dome_api_key is not None
    assert config.secrets.dome_api_key.get_secret_value() == "of-the-file"
    config = right(tmp_path, "", DOME_API_KEY="of-the-environment")
    assert config.secrets.values() == ("of-the-environment",)


def test_the_dotenv_that_counts_stands_beside_the_config_not_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / ".env").write_text("DOME_API_KEY=not-this-one\n")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert right(tmp_path).secrets.dome_api_key is None


@pytest.mark.parametrize(
    "text",
    [
        f'[warehouse]\npassword = "{SECRET}"',
        f'[secrets]\ndome_api_key = "{SECRET}"',
        f'DOME_API_KEY = "{SECRET}"',
        f'[upstreams.dome]\napi_key = "{SECRET}"',
        f'[warehouse]\nurl = "http://me:{SECRET}@host:8123"',
        f'[upstreams.goldsky]\nbase_url = "https://me:{SECRET}@host/x"',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    message = wrong(tmp_path, text)
    assert "1 problem\n" in message
    assert SECRET not in message


def test_no_secret_shows_when_the_configuration_is_printed(tmp_path: Path) -> None:
    config = right(tmp_path, "", DOME_API_KEY=SECRET, BACKFILL_WAREHOUSE__PASSWORD=SECRET)
    assert config.warehouse.password.get_secret_value() == SECRET
    assert SECRET not in f"{config!r} {config} {config.model_dump()}"


def test_relative_paths_count_from_the_folder_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    run = right(tmp_path, '[run]\ndata_dir = "there"\nlog_file = "/var/log/x"', BACKFILL_RUN__CHECKPOINT_DIR="up").run
    assert (run.data_dir, run.checkpoint_dir) == (tmp_path / "there", tmp_path / "up")
    assert run.log_file == Path("/var/log/x")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("BACKFILL_FOO__BAR", "foo (BACKFILL_FOO__BAR): unknown key"),
        ("BACKFILL_RUN__DRAIN", "run.drain (BACKFILL_RUN__DRAIN): unknown key; did you mean drain_s?"),
        ("BACKFILL_WAREHOUSE_URL", "BACKFILL_WAREHOUSE_URL: unknown variable; expected BACKFILL_<SECTION>__<KEY>"),
        ("BACKFILL_SECRETS__DOME_API_KEY", "BACKFILL_SECRETS__DOME_API_KEY: unknown variable"),
        ("BACKFILL_RUN__DRAIN_S__X", "BACKFILL_RUN__DRAIN_S__X: run.drain_s is not a section"),
    ],
)
def test_a_variable_that_means_nothing_is_named(tmp_path: Path, name: str, told: str) -> None:
    assert told in wrong(tmp_path, "[run]\ndrain_s = 3", **{name: "x"})


def test_a_toml_mistake_comes_with_its_line(tmp_path: Path) -> None:
    assert "at line 2" in wrong(tmp_path, "[run]\ndrain_s =\n")
    assert "at line 3" in wrong(tmp_path, "[run]\ndrain_s = 1\ndrain_s = 2\n")


def test_a_wallet_may_be_listed_once(tmp_path: Path) -> None:
    address = "0x" + "Ab" * 20
    wallet = f'[[baseline_wallets]]\nname = "a"\naddress = "{address}"\n'
    assert right(tmp_path, wallet).baseline_wallets[0].address == address.lower()
    assert f"expected each address once, but {address.lower()}" in wrong(tmp_path, wallet * 2)


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file.*--config FILE"):
        load(tmp_path / "absent.toml", {})


def test_through_the_command_line_it_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[run]\ndrain_s = -1\nsplit = 3\n")
    environ = {key: value for key, value in os.environ.items() if not key.startswith("BACKFILL_")}
    ended = subprocess.run(
        [sys.executable, "-m", "backfill", "--config", str(tmp_path / "config.toml"), "setup"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environ,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(r"backfill: \S+: 2 problems\n  - run\.drain_s = .*\n  - run\.split = .*\n", ended.stderr)
