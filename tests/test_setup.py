"""`setup` prints and writes each MCP client's documented configuration, and nothing else."""

from __future__ import annotations

import getpass
import json
import os
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client, StdioServerParameters
from pydantic import SecretStr

from bitrix24_directories.cli import setup as setup_command
from bitrix24_directories.cli.client_files import CLIENTS, SERVER
from bitrix24_directories.cli.main import main
from bitrix24_directories.settings import Settings
from support import ADMIN_SECRET, READER_SECRET, Assistant, RunningPortal, clean_environment

Output = pytest.CaptureFixture[str]
COMMAND = str(Path(sys.executable).with_name("bitrix24-directories-mcp"))

# Where each client documents the entry, as keys; and its file on Linux, macOS and Windows.
PLACES = {
    "claude": ("mcpServers", ".config/Claude", "Library/Application Support/Claude", "Claude"),
    "claude-code": ("mcpServers", ".claude.json", ".claude.json", ".claude.json"),
    "cursor": ("mcpServers", ".cursor/mcp.json", ".cursor/mcp.json", ".cursor/mcp.json"),
    "vscode": ("servers", ".config/Code/User/mcp.json", "Library/Application Support/Code/User/mcp.json", "Code/User"),
    "codex": ("mcp_servers", ".codex/config.toml", ".codex/config.toml", ".codex/config.toml"),
    "gemini": ("mcpServers", ".gemini/settings.json", ".gemini/settings.json", ".gemini/settings.json"),
    "windsurf": ("mcpServers", ".codeium/windsurf/mcp_config.json", ".codeium/windsurf", ".codeium/windsurf"),
    "zed": ("context_servers", ".config/zed/settings.json", ".config/zed/settings.json", "Zed/settings.json"),
}


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("APPDATA", str(home / "AppData" / "Roaming"))
    return home


def parsed(name: str, text: str) -> dict[str, Any]:
    config: dict[str, Any] = tomllib.loads(text) if name == "codex" else json.loads(text)
    return config


@pytest.mark.parametrize("name", CLIENTS)
def test_printed_it_is_what_the_client_documents(
    portal: RunningPortal, capsys: Output, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    monkeypatch.setenv("BITRIX24_ALLOW_WRITES", "true")
    assert main(["setup", name]) == 0
    out, err = capsys.readouterr()
    entry = parsed(name, out)[PLACES[name][0]][SERVER]
    environment = {"BITRIX24_WEBHOOK_URL": "<the webhook's URL>", "BITRIX24_ALLOW_WRITES": "true"}
    typed = {"type": "stdio"} if name in ("vscode", "claude-code") else {}
    assert entry == typed | {"command": COMMAND, "env": environment}
    assert str(CLIENTS[name].path) in err
    assert ADMIN_SECRET not in out + err


def test_each_secret_setting_is_printed_as_a_placeholder(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    secrets = [name for name, field in Settings.model_fields.items() if field.annotation is SecretStr]
    for name in secrets:
        monkeypatch.setenv(f"BITRIX24_{name.upper()}", "https://portal.example/rest/1/abcdefgh12/")
    assert main(["setup", "claude"]) == 0
    printed = capsys.readouterr()
    assert "abcdefgh12" not in printed.out + printed.err
    environment = parsed("claude", printed.out)["mcpServers"][SERVER]["env"]
    assert environment.keys() == {f"BITRIX24_{name.upper()}" for name in secrets}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIENTS)
async def test_written_it_starts_the_server(
    portal: RunningPortal, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    assert await anyio.to_thread.run_sync(main, ["setup", name, "--write"]) == 0
    path = CLIENTS[name].path
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    entry = parsed(name, path.read_text(encoding="utf-8"))[PLACES[name][0]][SERVER]
    # As an application that does not see the shell's PATH would.
    environment = clean_environment(**entry["env"]) | {"PATH": "/nowhere"}
    server = StdioServerParameters(command=entry["command"], args=entry.get("args", []), env=environment, cwd=tmp_path)
    async with Client(server) as client:
        assert not (await Assistant(client).call("list_directories")).is_error


@pytest.mark.parametrize("name", CLIENTS)
@pytest.mark.parametrize(("system", "column"), [("linux", 1), ("darwin", 2), ("win32", 3)])
def test_where_the_file_lies(monkeypatch: pytest.MonkeyPatch, name: str, system: str, column: int) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert PLACES[name][column] in str(CLIENTS[name].path).replace("\\", "/")


BEFORE = (
    '{\n\t"theme": "dark", "big": 1e400,\n\t"mcpServers": {\n\t\t"other": {"command": "x", "args": [1.50]}\n\t}\n}\n'
)


def test_nothing_else_is_touched_and_a_backup_is_made(
    portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, home: Path, capsys: Output
) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    file = home / ".cursor" / "mcp.json"
    file.parent.mkdir()
    file.write_text(BEFORE)
    file.chmod(0o640)
    assert main(["setup", "cursor", "--write"]) == 0
    first = file.read_text()
    assert first.startswith(BEFORE[: BEFORE.index("\n\t}\n}")])
    assert first.endswith("\n\t}\n}\n")
    assert f'\n\t\t"{SERVER}": {{\n\t\t\t"command": ' in first
    assert file.with_name("mcp.json.backup").read_text() == BEFORE
    assert "mcp.json.backup" in capsys.readouterr().out
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o640
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url(READER_SECRET))
    assert main(["setup", "cursor", "--write"]) == 0
    assert file.read_text() == first.replace(portal.webhook_url(), portal.webhook_url(READER_SECRET))
    assert file.with_name("mcp.json.backup-2").read_text() == first
    assert main(["setup", "cursor", "--remove"]) == 0
    assert file.read_text() == BEFORE
    assert "mcp.json.backup-3" in capsys.readouterr().out
    assert main(["setup", "cursor", "--remove"]) == 0
    assert "is not in" in capsys.readouterr().out
    assert not file.with_name("mcp.json.backup-4").exists()


@pytest.mark.parametrize("name", CLIENTS)
def test_the_demo_needs_no_portal(name: str, capsys: Output) -> None:
    assert main(["setup", name, "--demo"]) == 0
    assert parsed(name, capsys.readouterr().out)[PLACES[name][0]][SERVER]["args"][-1] == "--demo"
    assert main(["setup", name, "--demo", "--write"]) == 0
    path = CLIENTS[name].path
    entry = parsed(name, path.read_text(encoding="utf-8"))[PLACES[name][0]][SERVER]
    assert entry["args"][-1] == "--demo"
    assert "env" not in entry
    assert main(["setup", name, "--remove"]) == 0
    assert SERVER not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "wrong", ["https://portal.bitrix24.com/crm/deal/", "https://your-portal.bitrix24.com/rest/1/your-code/", "WON", ""]
)
def test_a_wrong_paste_is_asked_again(
    portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: Output, wrong: str
) -> None:
    pasted = iter([wrong, portal.webhook_url()])
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: next(pasted))
    monkeypatch.setattr(setup_command, "is_interactive", lambda: True)
    assert main(["setup", "cursor", "--write"]) == 0
    assert "→ " in capsys.readouterr().err
    assert portal.webhook_url() in CLIENTS["cursor"].path.read_text(encoding="utf-8")


def test_a_client_without_a_file_has_nothing_to_remove(capsys: Output) -> None:
    assert main(["setup", "cursor", "--remove"]) == 0
    assert "is not in" in capsys.readouterr().out
    assert not CLIENTS["cursor"].path.parent.exists()


def test_nothing_is_written_if_the_check_fails(
    portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url("nosuchsecret0001"))
    assert main(["setup", "claude", "--write"]) == 1
    printed = capsys.readouterr()
    assert "✗ authorisation" in printed.out
    assert "Nothing was written" in printed.err
    assert not CLIENTS["claude"].path.exists()


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)
ENTRY = {"command": r"C:\Program Files\x\"quoted\"\b.exe", "env": {"BITRIX24_WEBHOOK_URL": "https://p.example/ä/"}}


@given(
    settings=st.dictionaries(st.text(), json_values, max_size=4),
    servers=st.one_of(st.none(), st.dictionaries(st.one_of(st.text(), st.just(SERVER)), json_values, max_size=3)),
    indent=st.one_of(st.none(), st.just(2), st.just(4), st.just("\t")),
    windows=st.booleans(),
)
def test_any_file_of_a_client_keeps_what_it_holds(
    settings: dict[str, Any], servers: dict[str, Any] | None, indent: int | str | None, windows: bool
) -> None:
    before = {key: value for key, value in settings.items() if key != "mcpServers"}
    if servers is not None:
        before["mcpServers"] = servers
    text = json.dumps(before, indent=indent, ensure_ascii=False)
    text = text.replace("\n", "\r\n") if windows and indent else text
    merged = CLIENTS["cursor"].merged(text, ENTRY)
    assert json.loads(merged) == before | {"mcpServers": (servers or {}) | {SERVER: ENTRY}}
    assert CLIENTS["cursor"].merged(merged, ENTRY) == merged
    if "\r\n" in text:
        assert "\n" not in merged.replace("\r\n", "")
    remaining = {key: value for key, value in (servers or {}).items() if key != SERVER}
    assert json.loads(CLIENTS["cursor"].without(merged)) == before | {"mcpServers": remaining}


TOML = '# mine\nmodel = "x"\n\n[mcp_servers.other]\ncommand = "y"\nargs = ["[mcp_servers.bitrix24-directories]"]\n'


@pytest.mark.parametrize("behind", ["", "\n[profiles.work]\nmodel = 'z'\n"])
def test_toml_keeps_what_it_holds(behind: str) -> None:
    codex = CLIENTS["codex"]
    merged = codex.merged(TOML + behind, ENTRY)
    assert merged.startswith(TOML.rstrip("\n"))
    assert tomllib.loads(merged)["mcp_servers"][SERVER] == ENTRY
    assert codex.merged(merged, ENTRY) == merged
    changed = codex.merged(f"{merged}\n[later]\nkey = 1\n", ENTRY | {"command": "new", "args": ["-P"]})
    config = tomllib.loads(changed)
    assert config["mcp_servers"][SERVER] == {"command": "new", "args": ["-P"], "env": ENTRY["env"]}
    assert config["later"] == {"key": 1}
    assert config["mcp_servers"]["other"]["command"] == "y"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("zed", '{\n  // my settings\n  "theme": "One"\n}\n'),
        ("cursor", '{"mcpServers": ['),
        ("cursor", "[]"),
        ("cursor", '{"mcpServers": []}'),
        ("codex", "no toml ="),
        ("codex", 'mcp_servers = {"bitrix24-directories" = {command = "inline"}}\n'),
    ],
)
def test_a_file_that_is_not_understood_is_left_as_it_is(
    portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: Output, name: str, content: str
) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    path = CLIENTS[name].path
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert main(["setup", name, "--write"]) == 1
    assert path.read_text() == content
    assert "was left as it is" in capsys.readouterr().err
    assert list(path.parent.iterdir()) == [path]


def test_a_file_of_settings_is_named_and_not_copied(portal: RunningPortal, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "portal.env").write_text(f"BITRIX24_WEBHOOK_URL={portal.webhook_url()}\n")
    assert main(["setup", "claude", "--env-file", "portal.env", "--write"]) == 0
    written = CLIENTS["claude"].path.read_text()
    assert json.loads(written)["mcpServers"][SERVER]["env"] == {"BITRIX24_ENV_FILE": str(tmp_path / "portal.env")}
    assert "Restart Claude Desktop." in capsys.readouterr().out


def test_without_a_portal_nothing_is_written(capsys: Output) -> None:
    assert main(["setup", "claude", "--write"]) == 1
    printed = capsys.readouterr().err
    assert "No Bitrix24 portal is set up" in printed
    assert "the user" not in printed
    assert not CLIENTS["claude"].path.exists()


def test_windows_paths_come_back_as_they_were() -> None:
    for client in CLIENTS.values():
        read = tomllib.loads(client.text(ENTRY)) if client.form == "toml" else json.loads(client.text(ENTRY))
        assert read[client.servers][SERVER]["command"] == ENTRY["command"]
