"""Files in the working directory and environment variables get no control of the program."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from bitrix24_directories.cli.main import main
from bitrix24_directories.portal.app import ADMIN
from bitrix24_directories.portal.oauth import CLIENT_ID, CLIENT_SECRET
from support import Assistant, RunningPortal, clean_environment

Output = pytest.CaptureFixture[str]

SCRIPT = str(Path(sys.executable).with_name("bitrix24-directories-mcp"))
WAYS = {
    "script": [SCRIPT],
    "module": [sys.executable, "-m", "bitrix24_directories"],
    "safe module": [sys.executable, "-P", "-m", "bitrix24_directories"],
}
EVERY_MODULE = """
import runpy, pkgutil, sys
python_itself = {name.partition(".")[0] for name in sys.modules}
import bitrix24_directories.rest.authorization.renewal, bitrix24_directories.mcp_server.server, filelock, mcp
import bitrix24_directories.changing.changes, bitrix24_directories.finding.find, bitrix24_directories.cli.main
print(*{name.partition(".")[0] for name in sys.modules} | sys.stdlib_module_names)
print(*python_itself)
"""


@pytest.fixture
def way(request: pytest.FixtureRequest) -> list[str]:
    return WAYS[request.param]


@pytest.fixture
def hostile_folder(tmp_path: Path, way: list[str]) -> Path:
    """A folder with a file for each module that the program or Python itself may import.

    Before `-m` without `-P` runs any code of the program, Python itself has imported modules from such a folder.
    """
    folder = tmp_path / "repository"
    folder.mkdir()
    process = subprocess.run([sys.executable, "-P", "-c", EVERY_MODULE], capture_output=True, text=True, check=True)
    modules, python_itself = process.stdout.splitlines()
    names = {*modules.split(), "sitecustomize", "usercustomize"} - {"__main__", "bitrix24_directories"}
    if way == WAYS["module"]:
        names -= {*python_itself.split()}
    assert {"httpx", "json", "mcp", "filelock", "pydantic"} <= names
    taken_over = f"with open({str(tmp_path / 'taken over')!r}, 'a') as file: print(__name__, file=file)\n"
    for name in names:
        (folder / f"{name}.py").write_text(taken_over)
    (folder / "pyvenv.cfg").write_text("home = .\n")
    return folder


def oauth_environment(portal: RunningPortal) -> dict[str, str]:
    """Environment of an application with an expired access token; the first call renews it."""
    pair = portal.portal.oauth.issue(ADMIN)
    portal.portal.oauth.expire_access_tokens()
    return {
        "BITRIX24_PORTAL_URL": portal.address,
        "BITRIX24_CLIENT_ID": CLIENT_ID,
        "BITRIX24_CLIENT_SECRET": CLIENT_SECRET,
        "BITRIX24_OAUTH_URL": f"{portal.address}/oauth/token/",
        "BITRIX24_ACCESS_TOKEN": pair["access_token"],
        "BITRIX24_REFRESH_TOKEN": pair["refresh_token"],
        "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"],
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, indirect=True)
def test_code_in_the_working_directory_never_runs(portal: RunningPortal, hostile_folder: Path, way: list[str]) -> None:
    """For all commands, and for the renewal's process, which the last of them starts."""
    for arguments in (["--version"], ["check", "--demo"], ["call", "find_directory_items", "queries=won"]):
        done = subprocess.run(
            [*way, *arguments],
            cwd=hostile_folder,
            env=clean_environment(**oauth_environment(portal)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert portal.portal.oauth.issued == 4  # three new pairs, and the one renewal
    assert not (hostile_folder.parent / "taken over").exists()


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS, indirect=True)
async def test_code_in_the_working_directory_never_runs_while_serving(
    portal: RunningPortal, hostile_folder: Path, way: list[str]
) -> None:
    command, *arguments = way
    environment = clean_environment(**oauth_environment(portal), BITRIX24_ALLOW_WRITES="true")
    server = StdioServerParameters(command=command, args=arguments, env=environment, cwd=hostile_folder)
    async with Client(server) as client:
        assistant = Assistant(client)
        assert not (await assistant.call("add_directory_item", entityId="SOURCE", name="Fair")).is_error
        assert not (await assistant.call("find_directory_items", queries=["fair"])).is_error
    assert portal.portal.oauth.issued == 2
    assert not (hostile_folder.parent / "taken over").exists()


def test_no_file_of_settings_is_read_unless_it_is_named(portal: RunningPortal, tmp_path: Path, capsys: Output) -> None:
    (tmp_path / ".env").write_text(f"BITRIX24_WEBHOOK_URL={portal.webhook_url()}\n")
    assert main(["call", "list_directories"]) == 1
    message = capsys.readouterr().err
    assert "NOT_CONFIGURED" in message
    assert "in the file that --env-file or BITRIX24_ENV_FILE names" in message
    assert portal.portal.calls == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["call", "get_directory_items", "entityId=SOURCE"],
        ["check"],
    ],
)
def test_the_named_file_of_settings_is_read(
    portal: RunningPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    file = tmp_path / "portal.env"
    file.write_text(f"BITRIX24_WEBHOOK_URL = '{portal.webhook_url()}'\nOTHER=1\n", encoding="utf-8-sig")
    assert main(["--env-file", str(file), *command]) == 0
    assert main([command[0], "--env-file", "portal.env", *command[1:]]) == 0
    monkeypatch.setenv("BITRIX24_ENV_FILE", str(file))
    assert main(command) == 0
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", "https://portal.invalid/rest/1/abcdefgh12/")
    assert main(command) == 1  # the environment has priority


@pytest.mark.slow
def test_serving_does_not_pay_for_what_only_a_report_needs(tmp_path: Path) -> None:
    """httpx and the SDK import rich if it is installed."""
    command = [sys.executable, "-X", "importtime", "-m", "bitrix24_directories", "--demo"]
    served = subprocess.run(command, stdin=subprocess.DEVNULL, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "mcp.server.mcpserver" in served.stderr
    assert "rich._extension" not in served.stderr  # loaded with rich itself


@pytest.mark.slow
async def test_the_server_reads_the_named_file_too(portal: RunningPortal, tmp_path: Path) -> None:
    (tmp_path / "portal.env").write_text(f"BITRIX24_WEBHOOK_URL={portal.webhook_url()}\n")
    for arguments in (["--env-file", "portal.env"], ["serve", "--env-file", "portal.env"]):
        server = StdioServerParameters(command=SCRIPT, args=arguments, env=clean_environment(), cwd=tmp_path)
        async with Client(server) as client:
            assert not (await Assistant(client).call("list_directories")).is_error


def test_login_reads_the_named_file_too(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "portal.env").write_text("BITRIX24_PORTAL_URL=https://portal.example\n")
    assert main(["login", "--env-file", "portal.env"]) == 1
    assert "BITRIX24_CLIENT_ID, BITRIX24_CLIENT_SECRET is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (None, "is no file"),
        (Path.mkdir, "is no file"),
        (lambda path: path.write_text("BITRIX24_PLAN=standard", encoding="utf-16"), "may have made it UTF-16"),
        (
            lambda path: path.write_text("BITRIX24_PLAN=gold"),
            "BITRIX24_PLAN must be standard, enterprise or self-hosted",
        ),
    ],
)
def test_a_file_of_settings_that_cannot_be_read_is_named(
    tmp_path: Path, capsys: Output, make: Callable[[Path], object] | None, says: str
) -> None:
    if make is not None:
        make(tmp_path / "portal.env")
    assert main(["call", "--json", "--env-file", "portal.env", "list_directories"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "INVALID_CONFIGURATION"
    assert main(["call", "--env-file", "portal.env", "list_directories"]) == 1
    assert says in capsys.readouterr().err
