"""`backfill db` and `backfill migrate`, as people type them."""

from __future__ import annotations

import json
import urllib.request
from base64 import b64encode
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer
from typer.testing import CliRunner, Result

from backfill.commands import db, migrate
from backfill.commands.common import Context
from backfill.errors import UsageError

CONFIG = """
[run]
data_dir = "{data_dir}"
[warehouse]
production = "c_production"
staging = "c_staging"
analytics = "c_analytics"
"""


class Shell:
    """Runs a command in-process, with a config file of its own."""

    def __init__(self, config: Path) -> None:
        self.app = typer.Typer()

        @self.app.callback()
        def root(ctx: typer.Context) -> None:
            ctx.obj = Context(config)

        db.register(self.app)
        migrate.register(self.app)

    def __call__(self, *words: str) -> Result:
        return CliRunner().invoke(self.app, words)


@pytest.fixture
def shell(shared_dir: Path, tmp_path: Path) -> Shell:
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.format(data_dir=shared_dir))
    return Shell(config)


@pytest.fixture
def own_shell(own_dir: Path) -> Shell:
    config = own_dir / "config.toml"
    config.write_text(CONFIG.format(data_dir=own_dir / "data"))
    return Shell(config)


def test_the_printed_address_works_as_it_is(shell: Shell) -> None:
    parts = urlsplit(shell("db", "url").stdout.strip())
    login = b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    request = urllib.request.Request(
        f"http://{parts.hostname}:{parts.port}/", b"SELECT 6 * 7", {"Authorization": f"Basic {login}"}
    )
    assert urllib.request.urlopen(request, timeout=20).read() == b"42\n"


def test_a_query_prints_in_the_format_asked_for(shell: Shell) -> None:
    sql = "SELECT toUInt256(5) AS id, 'x' AS s"
    assert shell("db", "query", sql).stdout == "id\ts\n5\tx\n"
    assert shell("db", "query", sql, "--format", "CSV").stdout == '5,"x"\n'
    assert json.loads(shell("db", "query", sql, "--json").stdout) == {"id": "5", "s": "x"}


def test_a_wrong_query_is_one_clear_error(shell: Shell) -> None:
    error = shell("db", "query", "SELEC").exception
    assert isinstance(error, UsageError)
    assert "Code: 62." in str(error)


def test_stop_stops_and_says_so(own_shell: Shell) -> None:
    assert own_shell("db", "url").exit_code == 0
    assert json.loads(own_shell("db", "stop", "--json").stdout) == {"stopped": True}
    assert json.loads(own_shell("db", "stop", "--json").stdout) == {"stopped": False}


def test_migrating_shows_what_it_would_do_does_it_and_reports(shell: Shell) -> None:
    planned = json.loads(shell("migrate", "up", "--dry-run", "--json").stdout)["statements"]
    assert json.loads(shell("migrate", "up", "--json").stdout)["statements"] == planned != []
    report = json.loads(shell("migrate", "status", "--json").stdout)
    assert report["pending"] == 0
    assert {row["state"] for row in report["migrations"]} == {"applied"}
    assert json.loads(shell("migrate", "verify", "--json").stdout) == {"ok": True}
    assert shell("migrate", "up").stdout == ""
    assert "DROP" in shell("migrate", "down", "--to", "1", "--dry-run").stdout
    for name in ("c_production", "c_staging", "c_analytics"):
        assert shell("db", "query", f"DROP DATABASE {name} SYNC").exit_code == 0
