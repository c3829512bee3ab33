"""The README, in both languages, and the pages it links to are true.

Commands print the documented output, and tables name existing settings and files.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from mcp import Client, StdioServerParameters
from pydantic import SecretStr

from bitrix24_directories.cli.arguments import parser
from bitrix24_directories.cli.client_files import CLIENTS
from bitrix24_directories.cli.main import main
from bitrix24_directories.mcp_server.tools.registry import changing_tools
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.settings import ENV_FILE, Settings
from support import Assistant, RunningPortal, clean_environment, connect
from test_get_directory_items import DEAL_STAGE_TEXT

ROOT = Path(__file__).parent.parent
README, RUSSIAN = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ru.md"))
TOOLS, SETTINGS = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("TOOLS.md", "SETTINGS.md"))
SHOWN = [
    example
    for text in (README, RUSSIAN, TOOLS)
    for example in re.findall(
        r"```console\n\$ (?:(BITRIX24_\w+)=(\S+) )?bitrix24-directories-mcp (.+)\n((?:.*\n)*?)```", text
    )
]
UVX = {"command": "uvx", "args": ["bitrix24-directories-mcp"]}


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
    async with connect(portal) as assistant:
        tools = [tool.name for tool in (await assistant.client.list_tools()).tools]
    section, changing = TOOLS.split("\n## Changing directories\n")
    assert re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE) == tools
    assert set(re.findall(r"^\| `([a-z_]+)` \|", changing, re.MULTILINE)) == {*changing_tools()}
    assert {command.split()[1] for _, _, command, _ in SHOWN} >= set(tools)
    for text in (README, RUSSIAN):
        assert re.findall(r"^\| `(\w+_\w+)` \|", text, re.MULTILINE) == tools
        assert all(f"`{name}`" in text for name in changing_tools())


def test_both_languages_say_the_same() -> None:
    """Both have the same headings, tables, commands, links and names, in the same order."""

    def outline(text: str) -> list[str]:
        marks = re.findall(r"^#+ |^\| [^|]*\||```\w*|`[^`\n]+`|\]\([^)]+\)|^- |\*\*\d\.", text, re.MULTILINE)
        structure = [re.sub(r"^\| (?!`).*", "|", mark) for mark in marks]
        return [mark for mark in structure if not re.search("[а-яё]|README|https://<portal>", mark, re.IGNORECASE)]

    english, russian = (outline(re.sub(r"```console\n.*?```", "", text, flags=re.DOTALL)) for text in (README, RUSSIAN))
    assert [mark.replace(" --lang ru", "") for mark in russian] == english
    assert len(english) > 80


def test_the_links_of_the_readme_lead_somewhere() -> None:
    for text in (README, RUSSIAN):
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)\)", text):
            assert (ROOT / target).exists(), target


def test_the_buttons_of_cursor_and_vs_code_install_what_they_say() -> None:
    for text in (README, RUSSIAN):
        cursor, code = (
            parse_qs(urlsplit(link).query)
            for link in re.findall(r"\]\((https://[\w./-]+(?:install-mcp|mcp/install)\?[^)]+)\)", text)
        )
        (config,) = cursor["config"]
        decoded = json.loads(base64.b64decode(config))
        example = decoded.pop("env")
        assert decoded == UVX
        settings = Settings(webhook_url=SecretStr(example["BITRIX24_WEBHOOK_URL"]))
        with pytest.raises(Bitrix24Error, match="it is still the example's"):
            settings.credentials()
        entry = json.loads(code["config"][0])
        (prompt,) = json.loads(code["inputs"][0])
        assert entry == {"type": "stdio", **UVX, "env": {"BITRIX24_WEBHOOK_URL": f"${{input:{prompt['id']}}}"}}
        assert prompt["type"] == "promptString"
        assert prompt["password"] is True
        assert cursor["name"] == code["name"] == ["bitrix24-directories"]


def test_the_lines_for_other_clients_name_the_program_and_the_webhook() -> None:
    """Each client documents its command as name, variables, then the program."""
    lines = re.findall(r"`((?:claude|codex|gemini) mcp add .+?)`", README)
    assert [line.split()[0] for line in lines] == ["claude", "codex", "gemini"]
    for line in lines:
        words = shlex.split(line.replace("<webhook>", "https://portal.example/rest/1/abcdefgh/"))
        assert words[-2:] == [UVX["command"], *UVX["args"]]
        assert "bitrix24-directories" in words
        assert words[words.index("-e" if words[0] == "gemini" else "--env") + 1].startswith("BITRIX24_WEBHOOK_URL=")


SH = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
SHELL = [
    line
    for text in (TOOLS, SETTINGS)
    for block in re.findall(r"```shell\n(.*?)```", text, re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("line", [line for line in SH + SHELL if line.startswith("bitrix24-directories-mcp ")])
def test_each_command_line_is_understood(line: str) -> None:
    """The commands' effects are tested in test_cli.py, test_setup.py and test_oauth.py."""
    parser().parse_args(shlex.split(line)[1:])


def test_each_client_that_setup_knows_is_in_the_table() -> None:
    for text in (README, RUSSIAN):
        rows = dict(re.findall(r"^\| ([\w ]+) \| `([a-z-]+)` \| ", text, re.MULTILINE))
        assert rows == {client.title: name for name, client in CLIENTS.items()}


def test_the_settings_table_is_complete() -> None:
    rows = re.findall(r"^\| (`BITRIX24_.+?) \|", SETTINGS, re.MULTILINE)
    settings = {name for row in rows for name in re.findall(r"`(BITRIX24_\w+)`", row)}
    assert settings == {f"BITRIX24_{field.upper()}" for field in Settings.model_fields} | {ENV_FILE}


def test_ci_runs_the_readmes_test_command() -> None:
    (command,) = re.findall(r"^python3 -m venv .+pytest$", README, re.MULTILINE)
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_block_for_other_clients_is_the_example() -> None:
    example = (ROOT / "claude_desktop_config.example.json").read_text(encoding="utf-8")
    for text in (README, RUSSIAN):
        assert re.findall(r"```json\n(.*?)```", text, re.DOTALL) == [example]


async def test_the_example_configuration_works_after_changing_one_line(portal: RunningPortal, tmp_path: Path) -> None:
    example = (ROOT / "claude_desktop_config.example.json").read_text(encoding="utf-8")
    changed, lines = re.subn(r"https://your-portal[^\"]+", portal.webhook_url(), example)
    assert lines == 1
    (server,) = json.loads(changed)["mcpServers"].values()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = clean_environment(**server.pop("env"), PATH=path)
    async with Client(StdioServerParameters(**server, env=environment, cwd=tmp_path)) as client:
        result = await Assistant(client).call("get_directory_items", entityId="DEAL_STAGE")
    assert result.text == DEAL_STAGE_TEXT
