"""CONTRIBUTING, SECURITY, ARCHITECTURE, CHANGELOG: their commands run, their paths exist."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bitrix24_directories import __version__
from bitrix24_directories.cli.arguments import parser
from bitrix24_directories.cli.main import main

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in [
        *(ROOT / name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")),
        *(ROOT / "docs").glob("*.md"),
    ]
}
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
BLOCKS = [block for text in DOCUMENTS.values() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
COMMANDS = [command for block in BLOCKS for command in block.splitlines()]
SHOWN = [
    example
    for name, text in DOCUMENTS.items()
    if name != "TOOLS.md"  # with the README's
    for example in re.findall(r"```console\n\$ bitrix24-directories-mcp (.+)\n((?:.*\n)*?)```", text)
]
BENCHMARKS = ".venv/bin/python benchmarks/run.py"


@pytest.mark.parametrize("command", [command for command in COMMANDS if BENCHMARKS not in command])
def test_commands_are_those_that_ci_runs(command: str) -> None:
    assert any(command in line for line in CI)


@pytest.mark.slow
def test_the_benchmarks_run_by_their_command() -> None:
    (whole, part) = (command for command in COMMANDS if BENCHMARKS in command)
    assert whole in (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert part.startswith(f"{BENCHMARKS} ")
    _, *arguments = shlex.split(part)
    ran = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("| figure | measured | bar | met |")


@pytest.mark.parametrize(
    "command",
    [
        line
        for text in DOCUMENTS.values()
        for block in re.findall(r"```shell\n(.*?)```", text, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("bitrix24-directories-mcp ")
    ],
)
def test_commands_of_an_administrator_are_such(command: str) -> None:
    parser().parse_args(shlex.split(command)[1:])


@pytest.mark.parametrize("command", ["add", "import", "list", "remove", "rotate", "scopes", "webhook"])
def test_all_that_is_done_with_people_is_in_the_teams_document(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"bitrix24-directories-mcp person {command}" in DOCUMENTS["TEAM.md"]
    with contextlib.suppress(SystemExit):
        main(["person", "--help"])
    assert f"\n    {command} " in capsys.readouterr().out
    with contextlib.suppress(SystemExit):
        main(["person", command, "--help"])
    for option in re.findall(r"--(?!help|env-file)[a-z-]+", capsys.readouterr().out):
        assert option in DOCUMENTS["TEAM.md"], option


@pytest.mark.parametrize(("command", "output"), SHOWN)
def test_shown_commands_print_what_is_shown(command: str, output: str, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        main(shlex.split(command))
    assert capsys.readouterr().out == output


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_and_paths_exist(name: str) -> None:
    folder = ROOT / "docs" if (ROOT / "docs" / name).exists() else ROOT
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)\)", DOCUMENTS[name]):
        assert (folder / target).exists(), target
    for path in re.findall(r"`((?:tests|benchmarks|docs|deploy|server)/[\w./-]+)`", DOCUMENTS[name]):
        assert (ROOT / path).exists(), path
    if name == "ARCHITECTURE.md":
        package = ROOT / "server" / "bitrix24_directories"
        for path in re.findall(r"`(\w+/[\w/]*\w+\.py)`", DOCUMENTS[name].split("## The path of a call")[1]):
            assert (package / path).exists() or any(package.glob(f"rest/{path}")) or (ROOT / path).exists(), path


def test_pre_commit_runs_the_checks_of_ci() -> None:
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    entries = re.findall(r"entry: (.+)", hooks)
    assert entries == [line for line in CI if line.startswith((".venv/bin/ruff", ".venv/bin/mypy"))]


def test_the_changelog_knows_the_version() -> None:
    versions = re.findall(r"^## \[(.+?)\]", DOCUMENTS["CHANGELOG.md"], re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert __version__ in versions


def test_the_line_length_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert f"max_line_length = {project['tool']['ruff']['line-length']}\n" in (ROOT / ".editorconfig").read_text()


def test_sources_follow_the_editors_settings() -> None:
    kinds = {".py", ".md", ".toml", ".json", ".yaml", ".txt"}
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [folder for folder in folders if not folder.startswith(".") and folder not in ("build", "dist")]
        for path in (Path(folder, name) for name in names if Path(name).suffix in kinds):
            text = path.read_bytes()
            assert text.endswith(b"\n") or not text, path
            assert b"\r" not in text, path
            assert not re.search(rb"[ \t]\n", text), path
