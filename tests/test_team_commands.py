"""`serve --http` and `person` on the command line, as an administrator uses them."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from bitrix24_directories.cli.main import main
from support import RunningPortal

CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "get_directory_items", "arguments": {"entityId": "DEAL_STAGE", "fresh": True}},
}
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "people.jsonl"
    monkeypatch.setenv("BITRIX24_PEOPLE", str(path))
    return path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_people_come_and_go(
    people: Path, portal: RunningPortal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("webhook.txt").write_text(f"{portal.webhook_url()}\n")
    code, token, _ = run(capsys, "person", "add", "anna", "--webhook-file", "webhook.txt", "--write")
    assert code == 0
    assert re.fullmatch(r"b24d_[\w-]{43}\n", token)
    monkeypatch.setattr(sys, "stdin", io.StringIO(portal.webhook_url()))
    assert run(capsys, "person", "add", "bert", "--webhook-file", "-")[0] == 0
    assert run(capsys, "person", "add", "carl")[0] == 0
    assert run(capsys, "person", "add", "dora", "--oauth", "--write")[0] == 0
    _, listed, _ = run(capsys, "person", "list")
    webhook = f"(webhook of user 1 on {portal.address}/rest/)"
    assert listed.splitlines() == [
        f"anna: directories:read directories:write records:read records:write {webhook}",
        f"bert: directories:read records:read {webhook}",
        "carl: directories:read records:read (shared)",
        "dora: directories:read directories:write records:read records:write (application)",
    ]
    assert "demoadmin" not in listed
    _, other, _ = run(capsys, "person", "rotate", "anna")
    assert other != token
    assert run(capsys, "person", "remove", "anna")[0] == 0
    code, _, why = run(capsys, "person", "remove", "anna")
    assert (code, why) == (1, "there is no anna\n")
    assert token.strip() not in people.read_text()


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["add", "anna", "--write"], 2, "people only read: give --webhook-file"),
        (["add", "anna", "--webhook-file", "none.txt"], 2, "none.txt cannot be read"),
        (["add", "anna", "--webhook-file", "wrong.txt"], 2, "holds no inbound webhook's URL"),
        (["add", "anna", "--oauth", "--webhook-file", "wrong.txt"], 2, "have no webhook of their own"),
        (["add", "a b"], 1, "a name has 1 to 64"),
        (["list"], 1, "people.jsonl cannot be read"),
    ],
)
def test_what_is_refused(
    people: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, words: str
) -> None:
    Path("wrong.txt").write_text("https://secretsecret.example")
    returned, _, said = run(capsys, "person", *argv)
    assert returned == code
    assert words in said
    assert "secretsecret" not in said
    assert not people.exists()


def test_without_a_file_of_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "person", "list") == (2, "", "Which file holds the people? Name it in BITRIX24_PEOPLE.\n")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("0.0.0.0:0", "Beyond this machine everybody has to say who they are"),
        ("x", "--http takes a port"),
        (":8080", "--http takes a port"),
        ("127.0.0.1:99999", "--http takes a port"),
        ("192.0.2.1:0", "Beyond this machine"),
    ],
)
def test_what_is_not_served(capsys: pytest.CaptureFixture[str], where: str, words: str) -> None:
    code, _, said = run(capsys, "serve", "--http", where, "--demo")
    assert code != 0
    assert words in said


@contextmanager
def served(portal: RunningPortal) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = os.environ | {"BITRIX24_WEBHOOK_URL": portal.webhook_url(), "BITRIX24_LOG_LEVEL": "DEBUG"}
    command = [sys.executable, "-m", "bitrix24_directories", "serve", "--http", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"Serving MCP on (\S+)", line):
                yield process, found[1]
                break
        process.kill()


@pytest.mark.slow
async def test_sigterm_lets_calls_finish_and_shows_no_secret(portal: RunningPortal) -> None:
    with served(portal) as (process, url):
        async with httpx.AsyncClient(timeout=20, headers=ACCEPT) as http:
            assert (await http.post(url, json=CALL)).status_code == 200
            assert (await http.post(url, content=b"[" * 100_000)).status_code == 400
            fault = portal.order(method="crm.status.entity.items", delay=1.5, times=1)
            answers: list[str] = []

            async def ask() -> None:
                answers.append((await http.post(url, json=CALL)).text)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                with anyio.fail_after(10):
                    while fault.times:  # noqa: ASYNC110 - until the portal has the call
                        await anyio.sleep(0.05)
                process.send_signal(signal.SIGTERM)
        assert "PREPARATION" in answers[0]
        assert process.stderr is not None
        logs = await anyio.to_thread.run_sync(process.stderr.read)
        assert process.wait(timeout=10) == 0
    assert "demoadmin" not in logs
