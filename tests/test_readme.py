"""The README is true: its commands print what it shows, and its tables name what exists."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from bitrix24_directories.cli.arguments import parser
from bitrix24_directories.cli.client_files import CLIENTS
from bitrix24_directories.cli.main import COMMANDS, main
from bitrix24_directories.mcp_server.server import CHANGING
from bitrix24_directories.settings import ENV_FILE, Settings
from support import Assistant, RunningPortal, assistant, clean_environment
from test_get_directory_items import DEAL_STAGE_TEXT

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"```console\n\$ (?:(BITRIX24_\w+)=(\S+) )?bitrix24-directories-mcp (.+)\n((?:.*\n)*?)```", README)


@pytest.mark.parametrize(("variable", "value", "command", "output"), SHOWN)
def test_shown_commands_print_what_is_shown(
    variable: str,
    value: str,
    command: str,
    output: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable:
        monkeypatch.setenv(variable, value)
    main(shlex.split(command))
    printed = capsys.readouterr()
    audit = re.compile(r"^\d{4}-.* INFO bitrix24_directories\.changing\.audit: .*\n", re.MULTILINE)
    assert printed.out + audit.sub("", printed.err) == output


async def test_each_tool_is_in_the_table_and_shown_at_work(portal: RunningPortal) -> None:
    async with assistant(portal) as someone:
        tools = [tool.name for tool in (await someone.client.list_tools()).tools]
    section, changing = README.split("\n## Tools\n")[1].split("\n## ")[0].split("\n### Changing directories\n")
    assert re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE) == tools
    assert set(re.findall(r"^\| `([a-z_]+)` \|", changing, re.MULTILINE)) == CHANGING
    assert {command.split()[1] for _, _, command, _ in SHOWN} >= set(tools)


SH = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("line", [line for line in SH if line.startswith("bitrix24-directories-mcp ")])
def test_each_command_line_is_understood(line: str) -> None:
    """What it then does stands in test_cli.py, test_setup.py and test_oauth.py."""
    parser(COMMANDS).parse_args(shlex.split(line)[1:])


def test_each_client_that_setup_knows_is_in_the_table() -> None:
    rows = dict(re.findall(r"^\| ([\w ]+) \| `([a-z-]+)` \| ", README.split("\n## Tools\n")[0], re.MULTILINE))
    assert rows == {client.title: name for name, client in CLIENTS.items()}


def test_the_settings_table_is_complete() -> None:
    rows = re.findall(r"^\| (`BITRIX24_.+?) \|", README, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`(BITRIX24_\w+)`", row)}
    assert listed == {f"BITRIX24_{field.upper()}" for field in Settings.model_fields} | {ENV_FILE}


def test_ci_runs_the_readmes_test_command() -> None:
    (command,) = re.findall(r"^python3 -m venv .+pytest$", README, re.MULTILINE)
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


async def test_the_example_configuration_works_after_changing_one_line(portal: RunningPortal, tmp_path: Path) -> None:
    example = (ROOT / "claude_desktop_config.example.json").read_text(encoding="utf-8")
    changed, lines = re.subn(r"https://your-portal[^\"]+", portal.webhook_url(), example)
    assert lines == 1
    (server,) = json.loads(changed)["mcpServers"].values()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = clean_environment(**server.pop("env"), PATH=path)
    async with Client(StdioServerParameters(**server, env=environment, cwd=tmp_path)) as client:
        said = await Assistant(client).call("get_directory_items", entityId="DEAL_STAGE")
    assert said.text == DEAL_STAGE_TEXT
