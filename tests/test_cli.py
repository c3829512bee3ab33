"""The command line as a person uses it: commands, exit codes, what is printed, and that it can always be printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bitrix24_directories.cli.main import main
from support import ADMIN_SECRET, STRANGER_SECRET, TASKS_ONLY_SECRET, RunningPortal, clean_environment
from test_get_directory_items import DEAL_STAGE_TEXT

Output = pytest.CaptureFixture[str]


def test_call_prints_what_an_assistant_reads(capsys: Output) -> None:
    assert main(["call", "get_directory_items", "entityId=deal_stage", "--demo"]) == 0
    assert capsys.readouterr().out == f"{DEAL_STAGE_TEXT}\n"


def test_call_json_prints_the_structured_result(capsys: Output) -> None:
    assert main(["--demo", "call", "--json", "get_directory_items", "entityId=SOURCE", "details=true"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["items"][0] == {"statusId": "CALL", "name": "Call", "sort": 10, "id": 1, "system": True}


def test_call_of_a_portal_over_http(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    assert main(["call", "list_directories", "query=wholesale"]) == 0
    assert "DEAL_STAGE_1: Deal stages (Wholesale)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["call", "--demo", "get_directory_items", "entityId=NOPE"], 1, "This portal has no directory"),
        (["call", "--demo", "no_such_tool"], 1, "Call one of: get_directory_items"),
        (["call", "--demo", "--fault", "OVERLOAD_LIMIT", "list_directories"], 1, "only Bitrix24's support"),
        (["call", "--demo", "--fault", "502", "list_directories"], 1, "HTTP 502"),
        (["call", "list_directories"], 1, "BITRIX24_WEBHOOK_URL is not set"),
        (["call", "--demo", "get_directory_items", "SOURCE"], 2, "'SOURCE' is not key=value"),
    ],
)
@pytest.mark.usefixtures("no_pauses")
def test_call_fails_with_an_exit_code(arguments: list[str], code: int, part: str, capsys: Output) -> None:
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert part in printed.out + printed.err


def test_call_json_of_an_error(capsys: Output) -> None:
    assert main(["call", "--demo", "--json", "get_directory_items", "entityId=NOPE"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "UNKNOWN_DIRECTORY"


def test_the_demo_portal_in_russian(capsys: Output) -> None:
    assert main(["call", "--demo", "--lang", "ru", "get_directory_items", "entityId=DEAL_STAGE"]) == 0
    assert "WON: Сделка успешна" in capsys.readouterr().out


def test_check_of_the_demo(capsys: Output) -> None:
    assert main(["check", "--demo"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "✓ configuration: webhook https://demo.bitrix24.example/rest/1/…01/",
        "✓ reachability: the portal answers",
        "✓ authorisation: the portal knows who calls",
        "✓ scope crm: granted",
        "✓ reading: 19 directories; DEAL_STAGE has 8 items",
    ]


@pytest.mark.parametrize(
    ("secret", "last"),
    [
        ("wrongsecret00000", "✗ authorisation: The portal does not know this webhook"),
        (TASKS_ONLY_SECRET, "✗ scope crm: The webhook or application has no permission for CRM"),
        (STRANGER_SECRET, "✗ reading: The webhook's user has no right to do this in CRM"),
    ],
)
def test_check_says_what_is_wrong_and_what_to_do(
    portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: Output, secret: str, last: str
) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url(secret))
    assert main(["check"]) == 1
    printed = capsys.readouterr().out
    *_, failed, todo = printed.splitlines()
    assert failed.startswith(last)
    assert todo.startswith("  → ")
    assert "the user" not in todo.lower()
    assert secret not in printed


@pytest.mark.parametrize(
    ("url", "first_failure"),
    [
        ("", "✗ configuration: No Bitrix24 portal is set up"),
        (f"https://portal.example/{ADMIN_SECRET}", "✗ configuration: BITRIX24_WEBHOOK_URL is not an inbound webhook's"),
        (f"http://portal.example/rest/1/{ADMIN_SECRET}/", "✗ configuration: BITRIX24_WEBHOOK_URL is not an inbound"),
        (f"https://portal.invalid/rest/1/{ADMIN_SECRET}/", "✗ reachability: The portal's host name cannot be resolved"),
    ],
)
def test_check_without_a_portal(monkeypatch: pytest.MonkeyPatch, capsys: Output, url: str, first_failure: str) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", url)
    assert main(["check"]) == 1
    printed = capsys.readouterr().out
    assert first_failure in printed
    assert ADMIN_SECRET not in printed


def test_check_of_a_web_page(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    portal.order(body="<html>Log in</html>")
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    assert main(["check"]) == 1
    assert "✗ reachability: A web page came back" in capsys.readouterr().out


def run(cwd: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "bitrix24_directories", *arguments],
        capture_output=True,
        cwd=cwd,
        env=clean_environment(**environment),
        check=False,
        timeout=30,
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1251", "utf-8:strict"])
def test_whatever_the_locale_everything_can_be_printed_and_read(tmp_path: Path, encoding: str) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": encoding}
    done = run(tmp_path, "call", "--demo", "--lang", "ru", "list_directories", "query=опт", **locale)
    assert done.returncode == 0
    assert "Стадии сделки (Опт)".encode() in done.stdout
    assert "✓" in run(tmp_path, "check", "--demo", **locale).stdout.decode()


def test_a_reader_that_goes_away_is_no_crash(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bitrix24_directories", "check", "--demo"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=clean_environment()
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=30)
    assert errors == b""


def test_the_portal_command_serves_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    command = [sys.executable, "-m", "bitrix24_directories", "portal", "--port", "0", "--lang", "ru", "--limit"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=clean_environment()) as process:
        assert process.stdout is not None
        process.stdout.readline()
        variable, _, url = process.stdout.readline().strip().partition("=")
        monkeypatch.setenv(variable, url)
        try:
            assert main(["call", "get_directory_items", "entityId=DEAL_STAGE"]) == 0
        finally:
            process.terminate()
    assert "WON: Сделка успешна" in capsys.readouterr().out


def test_the_portal_command_says_why_it_cannot_run(portal: RunningPortal, capsys: Output) -> None:
    taken = portal.address.rpartition(":")[2]
    assert main(["portal", "--port", taken]) == 1
    assert main(["portal", "--certfile", "no-such-file.pem"]) == 1
    printed = capsys.readouterr()
    assert printed.err.count("The demo portal cannot run on port") == 2
    assert printed.out == ""
    with pytest.raises(SystemExit, match="2"):
        main(["portal", "--port", "99999"])
    assert "must be a number from 0 to 65535" in capsys.readouterr().err
