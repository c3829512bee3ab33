"""The command line as a person uses it: commands, exit codes, output in any encoding."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bitrix24_directories.cli.arguments import parser
from bitrix24_directories.cli.main import main
from bitrix24_directories.rest import CATALOGUE, ErrorKind
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
        (["call", "--demo", "no_such_tool"], 2, "Call one of: get_directory_items"),
        (["call", "--demo", "--fault", "OVERLOAD_LIMIT", "list_directories"], 1, "only Bitrix24's support"),
        (["call", "--demo", "--fault", "502", "list_directories"], 1, "HTTP 502"),
        (["call", "list_directories"], 1, "BITRIX24_WEBHOOK_URL is not set"),
        (["call", "--demo", "get_directory_items", "SOURCE"], 2, "'SOURCE' is not key=value"),
        (["call", "--demo", "get_directory_items", "entityId=A", "entityId=B"], 2, "entityId is given twice"),
        (["call", "--demo", "get_directory_items"], 2, "- entityId: missing"),
        (["call", "--demo"], 2, "Name a tool, or --list"),
        (["call", "--demo", "find_directory_items", 'queries=["won", "los'], 2, "queries: expected a list of 1 to 50"),
        (["call", "--fault", "502", "list_directories"], 2, "--fault and --lang are for the demo portal"),
        (["check", "--lang", "ru"], 2, "--fault and --lang are for the demo portal"),
        (["call", "--demo", "--fault", "lost:nothing", "list_directories"], 2, "--fault lost:nothing"),
    ],
)
@pytest.mark.usefixtures("no_pauses")
def test_call_fails_with_an_exit_code(arguments: list[str], code: int, part: str, capsys: Output) -> None:
    """Exit code 2 means wrong usage; the error is on stderr."""
    assert main(arguments) == code
    printed = capsys.readouterr()
    assert part in printed.err
    assert printed.out == ""


def test_call_lists_the_tools(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["call", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "get_directory_items: Get the items of a Bitrix24 directory" in lines
    assert any(line.startswith("  entityId: Directory id") for line in lines)
    assert any(line.startswith("  fresh?: Read now") for line in lines)
    assert not any(line.startswith("apply_directory") for line in lines)
    monkeypatch.setenv("BITRIX24_ALLOW_WRITES", "true")
    assert main(["call", "--list"]) == 0
    assert "apply_directory: " in capsys.readouterr().out


@pytest.mark.parametrize("text", ['["won", "lost"]', "won\nlost", "won\r\n\r\nlost\n"])
def test_a_list_is_json_or_one_text_a_line(text: str, capsys: Output) -> None:
    assert (
        main(["call", "--json", "--demo", "find_directory_items", f"queries={text}", "entityIds=DEAL_STAGE, source"])
        == 0
    )
    assert [result["query"] for result in json.loads(capsys.readouterr().out)["results"]] == ["won", "lost"]


@pytest.mark.parametrize("command", ["serve", "call", "check", "login", "setup", "portal", ""])
def test_each_help_has_an_example_that_is_understood(command: str, capsys: Output) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"] if command else ["--help"])
    _, _, examples = capsys.readouterr().out.partition("example")
    commands = [shlex.split(line)[1:] for line in examples.splitlines()[1:] if line]
    assert commands
    for arguments in commands:
        parser().parse_args(arguments)


def test_wrong_options_are_wrong_usage() -> None:
    for arguments in (["--no-such-option"], ["no-such-command"], ["setup", "emacs"], ["portal", "--port", "x"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)


def test_call_json_of_an_error(capsys: Output) -> None:
    assert main(["call", "--demo", "--json", "get_directory_items", "entityId=NOPE"]) == 1
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "UNKNOWN_DIRECTORY"


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


@pytest.mark.parametrize(
    ("self_hosted", "plan", "code", "last"),
    [
        (True, "", 0, "✓ plan: standard, although the portal counts no running time"),
        (True, "self-hosted", 0, "✓ reading: "),
        (False, "standard", 0, "✓ reading: "),
        (False, "self-hosted", 1, "✗ plan: self-hosted, although the portal counts running time"),
    ],
)
def test_check_of_the_plan(
    portal: RunningPortal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    self_hosted: bool,
    plan: str,
    code: int,
    last: str,
) -> None:
    portal.portal.self_hosted = self_hosted
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    monkeypatch.setenv("BITRIX24_PLAN", plan)
    assert main(["check"]) == code
    (line,) = [line for line in capsys.readouterr().out.splitlines()[-2:] if line[0] in "✓✗"][-1:]
    assert line.startswith(last)


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


@pytest.mark.slow
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


posix = pytest.mark.skipif(os.name != "posix", reason="POSIX's files and terminals")


@pytest.mark.slow
@posix
@pytest.mark.parametrize("command", ["call --demo list_directories", "check --demo", "--demo"])
@pytest.mark.parametrize("streams", [">/dev/full", ">&-", "<&-", "<&- >&- 2>&-"])
def test_streams_that_are_full_or_closed_are_no_crash(tmp_path: Path, command: str, streams: str) -> None:
    line = f'"{sys.executable}" -m bitrix24_directories {command} {streams}'
    if "<" not in streams:
        line += " </dev/null"
    done = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, cwd=tmp_path, env=clean_environment(), timeout=60, check=False
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    if streams == ">/dev/full" and command != "--demo":
        assert done.returncode == 1
        assert b"Standard output cannot be written to: No space left on device" in done.stderr


def run_in_terminal(cwd: Path, *arguments: str, typed: bytes = b"", until: bytes, **environment: str) -> str:
    """Output of the program in a terminal up to `until`; `typed` is typed after its first words."""
    import pty

    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "bitrix24_directories", *arguments]
    with subprocess.Popen(
        command,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=cwd,
        env=clean_environment(**environment),
        start_new_session=True,
    ) as process:
        os.close(terminal)
        output = b""
        try:
            while until not in output:
                part = os.read(controller, 65536)
                output += part
                if typed and part:
                    os.write(controller, typed)
                    typed = b""
        except OSError:  # the program has ended
            pass
        finally:
            process.kill()
            os.close(controller)
    return output.decode()


@pytest.mark.slow
@posix
def test_in_a_terminal_the_bare_command_says_what_it_is(tmp_path: Path) -> None:
    output = run_in_terminal(tmp_path, until=b"Ctrl+C ends it")
    assert "an MCP server: a client starts it" in output
    assert "no portal is set up" in output
    assert "`check`" in output
    assert "webhook https://demo.bitrix24.example/rest/1/…01/" in run_in_terminal(tmp_path, "--demo", until=b"Ctrl+C")


@posix
def test_check_asks_a_person_for_the_webhook(portal: RunningPortal, tmp_path: Path) -> None:
    output = run_in_terminal(tmp_path, "check", typed=portal.webhook_url().encode() + b"\n", until=b"setup --help")
    assert "it is not shown" in output
    assert "reading: 19 directories" in output
    assert ADMIN_SECRET not in output


@posix
def test_setup_asks_a_person_for_the_webhook(portal: RunningPortal, tmp_path: Path) -> None:
    output = run_in_terminal(
        tmp_path,
        *("setup", "cursor", "--write"),
        typed=portal.webhook_url().encode() + b"\n",
        until=b"Restart Cursor",
        HOME=str(tmp_path),
    )
    assert ADMIN_SECRET not in output
    assert portal.webhook_url() in (tmp_path / ".cursor" / "mcp.json").read_text()


@pytest.mark.parametrize("entry", CATALOGUE.values(), ids=CATALOGUE)
def test_each_failure_has_words_for_a_person(entry: ErrorKind) -> None:
    words = entry.user_hint
    assert words[0].isupper()
    assert words.endswith(".")
    assert not re.search(r"the user\b|\b[Cc]all (again|the)|same (tool|call)", words)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://your-portal.bitrix24.com/rest/1/your-webhook-code/", "it is still the example's"),
        (f"'https://portal.example/rest/1/{ADMIN_SECRET}/'", "quotation marks stand around it"),
        (f"“https://portal.example/rest/1/{ADMIN_SECRET}/”", "quotation marks stand around it"),
        (f"https://portal.example/rest/1/\u200b{ADMIN_SECRET}/", "it holds blanks or invisible characters"),
        (f"https://portal.example/rest/1/ {ADMIN_SECRET}/", "it holds blanks or invisible characters"),
    ],
)
def test_check_says_what_is_wrong_with_the_url(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, url: str, says: str
) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", url)
    assert main(["check"]) == 1
    printed = capsys.readouterr().out
    assert says in printed
    assert ADMIN_SECRET not in printed


@pytest.mark.parametrize(
    ("environment", "fault", "says"),
    [
        ({"ALL_PROXY": "http://127.0.0.1:9"}, {}, "The proxy that the environment sets"),
        ({"HTTP_PROXY": "http://127.0.0.1:9"}, {}, "The proxy that the environment sets"),
        ({"HTTP_PROXY": "http://[::"}, {}, "The proxy that the environment sets"),
        ({"HTTP_PROXY": "http://proxy.invalid:3128"}, {}, "The proxy that the environment sets"),
        ({"SSL_CERT_FILE": "/no/such/file.pem"}, {}, "trusted certificates that SSL_CERT_FILE or SSL_CERT_DIR names"),
        ({}, {"status": 501, "body": "<h1>Not Implemented</h1>"}, "A web page came back instead of a REST answer"),
        ({}, {"status": 405, "body": "<h1>Not Allowed</h1>"}, "A web page came back instead of a REST answer"),
    ],
)
@pytest.mark.usefixtures("no_pauses")
def test_check_names_the_right_culprit(
    portal: RunningPortal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    environment: dict[str, str],
    fault: dict[str, object],
    says: str,
) -> None:
    if fault:
        portal.order(**fault)
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["check"]) == 1
    assert says in capsys.readouterr().out


def test_check_of_plain_http_behind_https(
    portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url().replace("http:", "https:"))
    assert main(["check"]) == 1
    assert "does not speak TLS (https)" in capsys.readouterr().out


def test_a_redirect_is_logged_once(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    redirect = {"location": f"{portal.webhook_url()}crm.status.entity.items"}
    portal.order(times=3, method="crm.status.entity.items", status=302, headers=redirect)
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    assert main(["call", "get_directory_items", "entityId=SOURCE"]) == 0
    assert capsys.readouterr().err.count("The portal sends callers to") == 1


def test_the_shell_completes(tmp_path: Path) -> None:
    """Protocol of argcomplete: the line so far in the environment, the answer on descriptor 8."""
    script = f"exec 8>completed; {sys.executable} -m bitrix24_directories"
    environment = {
        "_ARGCOMPLETE": "1",
        "COMP_LINE": "bitrix24-directories-mcp set",
        "COMP_POINT": "28",
        "_ARGCOMPLETE_IFS": "\n",
    }
    subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=tmp_path,
        env=clean_environment(**environment),
        timeout=60,
        check=False,
        capture_output=True,
    )
    assert (tmp_path / "completed").read_text().split() == ["setup"]


def test_the_shells_are_told_by_the_readmes_line() -> None:
    register = Path(sys.executable).with_name("register-python-argcomplete")
    output = subprocess.run([register, "bitrix24-directories-mcp"], capture_output=True, text=True, check=True).stdout
    assert "complete" in output
    assert "bitrix24-directories-mcp" in output


def test_a_stdin_that_cannot_be_polled_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS answers POLLNVAL at once for some kinds of stdin; so does a fake poller here."""
    import select

    from bitrix24_directories.cli import serve

    rests: list[float] = []

    class Poller:
        def register(self, *_: object) -> None: ...

        def poll(self, _: float) -> list[tuple[int, int]]:
            return [(0, select.POLLNVAL)]

    def rest(seconds: float) -> None:
        rests.append(seconds)
        if len(rests) == 5:
            monkeypatch.setattr(os, "getppid", lambda: -1)  # the parent has gone

    ended: list[int] = []
    monkeypatch.setattr(select, "poll", Poller)
    monkeypatch.setattr(time, "sleep", rest)
    monkeypatch.setattr(os, "_exit", ended.append)
    serve._watch(0, os.getppid())  # noqa: SLF001
    assert len(rests) == 6  # one sleep for each check, and the grace period
    assert ended == [0]
