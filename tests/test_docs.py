"""The papers say what is there: every command, every exit code, every setting, every target of the Makefile."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from backfill import __version__, errors
from backfill.commands.cli import build

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DESIGN = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
EVERYWHERE = {"--help", "--json", "--dry-run", "--config"}


def commands(group: Any = None, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its words."""
    group = get_command(build()) if group is None else group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


COMMANDS = dict(commands())
ROWS = dict(re.findall(r"^\| `([a-z][a-z -]*)` \| (.+) \|$", README, re.MULTILINE))


def options(command: Any) -> set[str]:
    return {word for param in command.params for word in (*param.opts, *param.secondary_opts) if word.startswith("-")}


def test_the_readme_lists_the_commands_that_exist_and_no_other() -> None:
    assert ROWS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_the_readme_names_exists(name: str) -> None:
    named = set(re.findall(r"`(-[a-z-]+)", ROWS[name]))
    assert named <= options(COMMANDS[name])


def test_options_that_change_what_a_run_does_are_in_the_readme() -> None:
    for name in ("run tokens", "demo", "setup", "verify"):
        for word in options(COMMANDS[name]) - EVERYWHERE:
            twin = {word.replace("--no-", "--"), word.replace("--", "--no-", 1)}
            assert any(f"`{each}" in ROWS[name] for each in {word, *twin}), f"{name} {word}"


def test_everything_that_reports_takes_json() -> None:
    assert [name for name, command in COMMANDS.items() if "--json" not in options(command)] == []


def test_every_command_says_what_it_does() -> None:
    assert [name for name, command in COMMANDS.items() if not (command.help or "").strip()] == []


def test_every_command_in_the_readme_s_examples_is_understood() -> None:
    for line in re.findall(r"^backfill (.+?)(?:\s+#.*)?$", README, re.MULTILINE):
        words = line.split()
        name = next((n for n in (" ".join(words[:2]), words[0]) if n in COMMANDS), None)
        assert name, line
        assert {w for w in words if w.startswith("--")} <= options(COMMANDS[name]), line


def test_every_exit_code_is_documented() -> None:
    found = {each.exit_code for each in vars(errors).values() if isinstance(each, type) and hasattr(each, "exit_code")}
    table = set(map(int, re.findall(r"\b(\d+)\b", " ".join(re.findall(r"^\| ([\d, ]+) \|", README, re.MULTILINE)))))
    assert table == found | {0, 130, 143}


def uncommented(text: str) -> list[str]:
    """Settings that nothing is said about: on their line, on their section's, or where the key stood first."""
    explained, silent, section_told = set[str](), [], False
    for line in text.splitlines():
        if line.startswith("["):
            section_told = "#" in line
        elif match := re.match(r"(\w+) = ", line):
            if "#" in line or section_told:
                explained.add(match[1])
            elif match[1] not in explained:
                silent.append(line)
    return silent


def test_every_setting_has_a_comment() -> None:
    assert uncommented((ROOT / "config.toml").read_text()) == []
    assert uncommented("[a]\nx = 1  # told\n[b]\nx = 2\ny = 3") == ["y = 3"]


def test_the_makefile_has_the_targets_that_the_papers_name() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "check", "kill-test", "bench", "clean", "help"} <= targets
    for paper in (README, DESIGN, (ROOT / ".ci" / "run").read_text()):
        assert set(re.findall(r"^(?:.*`)?make ([a-z-]+)", paper, re.MULTILINE)) <= targets


def test_ci_runs_what_the_readme_names_and_nothing_else() -> None:
    run = re.findall(r"^make ([a-z-]+)$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    assert run == ["check", "test"]
    assert all(f"make {target}" in README for target in run)


def test_make_help_lists_every_target() -> None:
    told = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    assert set(re.findall(r"make ([a-z-]+)", told)) == set(phony[1].split())


def test_links_between_the_papers_lead_somewhere() -> None:
    for paper in (README, DESIGN):
        for target in re.findall(r"\]\(([^)#:]+)\)", paper):
            assert (ROOT / target).exists(), target


def test_the_tests_that_the_design_names_exist() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", DESIGN))
    assert len(named) >= 8
    for path, function in named:
        assert (ROOT / path).is_file(), path
        tree = ast.parse((ROOT / path).read_text())
        functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not function or function in functions, f"{path}::{function}"


def test_the_files_that_the_design_names_exist() -> None:
    for path in set(re.findall(r"`((?:backfill|sql|tests)/[\w/.]+)`", DESIGN)):
        assert (ROOT / path).exists(), path


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert project == __version__
    assert f"## {project}" in (ROOT / "CHANGELOG.md").read_text()
