"""Failures while an application's tokens are renewed; the refresh token is never lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from bitrix24_directories.cli.main import main
from bitrix24_directories.portal.app import ADMIN
from bitrix24_directories.rest import Application, Bitrix24Error, failure
from bitrix24_directories.rest.authorization import renewal, renewal_process
from bitrix24_directories.rest.authorization import tokens as tokens_module
from bitrix24_directories.rest.authorization.renewal import Order, Renewals
from bitrix24_directories.rest.authorization.tokens import Tokens
from support import Assistant, RunningPortal, ask, clean_environment, connect
from test_network import drip, raw_server
from test_oauth import application, authorised, environment, keep, login, pair, with_tokens

pytestmark = pytest.mark.slow

__all__ = ["authorised", "pair"]  # fixtures

posix = pytest.mark.skipif(os.name != "posix", reason="pipes and limits on files are POSIX's")


@posix
async def test_a_full_disk_is_noticed_before_the_refresh_token_is_spent(
    portal: RunningPortal, pair: dict[str, str], tmp_path: Path
) -> None:
    env = with_tokens(portal, pair)
    portal.portal.oauth.expire_access_tokens()
    no_room = ["-c", 'ulimit -f 0; exec "$@"', "-", sys.executable, "-m", "bitrix24_directories"]
    server = StdioServerParameters(command="/bin/sh", args=no_room, env=clean_environment(**env), cwd=tmp_path)
    async with Client(server) as client:
        result = await Assistant(client).call("list_directories")
    assert result.error["code"] == "TOKENS_NOT_KEPT"
    assert portal.portal.oauth.accepts_refresh_token(pair["refresh_token"])
    assert not (await ask(application(portal, **pair), "list_directories")).is_error  # with free space again


@posix
async def test_a_login_tries_the_disk_first_too(portal: RunningPortal, tmp_path: Path) -> None:
    folder = application(portal).file.path.parent
    folder.parent.mkdir(parents=True)
    folder.write_text("a file where the folder should be")
    with login(portal, tmp_path) as (process, _):
        code = portal.portal.oauth.authorize(ADMIN)
        _, err = process.communicate(f"{code}\n", timeout=20)
    assert "TOKENS_NOT_KEPT" in err
    assert portal.portal.oauth.issued == 0


DAMAGED: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "no JSON": lambda path: path.write_bytes(b"tokens"),
    "no object": lambda path: path.write_text("[]"),
    "no pair": lambda path: path.write_text('{"access_token": "abc"}'),
    "nested beyond measure": lambda path: path.write_text("[" * 9000),
    "not UTF-8": lambda path: path.write_bytes(b'{"access_token": "\xff\xfe", "refresh_token": "x"}'),
    "not ASCII": lambda path: path.write_text('{"access_token": "тайна", "refresh_token": "x"}', encoding="utf-8"),
    "half a character": lambda path: path.write_text('{"access_token": "\\ud800", "refresh_token": "x"}'),
    "a line break": lambda path: path.write_text('{"access_token": "a\\nb", "refresh_token": "x"}'),
    "numbers": lambda path: path.write_text('{"access_token": 1, "refresh_token": 2}'),
    "endless": lambda path: path.write_bytes(b" " * 50_000_000),
}
NO_FILE: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("how", DAMAGED)
async def test_a_damaged_file_says_the_way_out(portal: RunningPortal, pair: dict[str, str], how: str) -> None:
    app = application(portal)
    app.file.path.parent.mkdir(parents=True)
    DAMAGED[how](app.file.path)
    result = await ask(app, "list_directories")
    assert (result.error["code"], result.error["category"]) == ("TOKENS_DAMAGED", "configuration")
    assert "bitrix24-directories-mcp login" in result.text
    # With tokens of another origin it recovers.
    portal.portal.oauth.expire_access_tokens()
    assert not (await ask(application(portal, **pair), "list_directories")).is_error
    assert app.file.read() is not None


@posix
@pytest.mark.parametrize("how", NO_FILE)
async def test_what_is_no_file_is_refused_and_not_waited_for(
    portal: RunningPortal, pair: dict[str, str], how: str
) -> None:
    for app in (application(portal), application(portal, **pair)):
        app.file.path.parent.mkdir(parents=True, exist_ok=True)
        if not app.file.path.exists():
            NO_FILE[how](app.file.path)
        portal.portal.oauth.expire_access_tokens()
        result = await ask(app, "list_directories")
        assert (result.error["code"], result.error["category"]) == ("TOKENS_NOT_KEPT", "configuration")
    assert portal.portal.oauth.accepts_refresh_token(pair["refresh_token"])


@pytest.mark.parametrize("token", ["тайна", "a b", "a\nb", "x" * 5000])
def test_tokens_of_the_settings_that_cannot_be_sent(
    portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], token: str
) -> None:
    for name, value in environment(portal, BITRIX24_ACCESS_TOKEN=token).items():
        monkeypatch.setenv(name, value)
    assert main(["check"]) == 1
    printed = capsys.readouterr().out
    assert "ids, secrets and tokens are printable ASCII" in printed
    assert token not in printed


async def test_an_authorization_server_that_takes_longer_than_the_caller_waits(
    portal: RunningPortal, authorised: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets an error; the renewal goes on, alone, and later calls wait for it."""
    begun = 0
    run_child = renewal._run_child  # noqa: SLF001

    def counted(order: Order) -> None:
        nonlocal begun
        begun += 1
        run_child(order)

    monkeypatch.setattr(renewal, "_run_child", counted)
    portal.portal.oauth.expire_access_tokens()
    portal.order(method="oauth/token", delay=4)
    async with connect(authorised, timeout=1.3) as assistant:
        for _ in range(2):
            result = await assistant.call("list_directories")
            assert result.error["code"] == "TIMEOUT"
            assert "for a new access token" in result.text
        with anyio.fail_after(20):
            while (await assistant.call("list_directories")).is_error:
                """Wait until the authorization server has answered."""
    assert begun == 1
    assert portal.portal.oauth.issued == 2


async def test_an_answer_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal_process, "SECONDS", 0.3)
    with raw_server(drip) as (url, _):
        with pytest.raises(Bitrix24Error) as caught:
            await renewal_process.request_tokens(url, {}, "")
        assert caught.value.code == "TIMEOUT"


async def test_a_portal_that_takes_no_new_token_gets_a_bounded_number_of_renewals(
    portal: RunningPortal, authorised: Application
) -> None:
    portal.order(code="expired_token")
    async with connect(authorised) as assistant:
        for _ in range(8):
            result = await assistant.call("list_directories")
            assert result.error["code"] == "expired_token"
    assert portal.portal.oauth.issued == 1 + renewal.AT_ONCE


async def test_an_authorization_server_that_keeps_failing_is_asked_ever_more_rarely(
    portal: RunningPortal, authorised: Application
) -> None:
    portal.portal.oauth.expire_access_tokens()
    fault = portal.order(method="oauth/token", status=502, times=100)
    async with connect(authorised) as assistant:
        for _ in range(renewal.AT_ONCE + 3):
            result = await assistant.call("list_directories")
            assert result.error["code"] == "SERVER_ERROR"
    assert fault.times == 100 - renewal.AT_ONCE
    assert 30 < result.error["retryAfterSeconds"] <= renewal.FIRST_PAUSE


async def test_the_pause_grows_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    order = Order("", "", "", "", "", [])
    made: list[float] = []
    now = 1_000_000.0
    monkeypatch.setattr(renewal, "_run_child", lambda _: made.append(now))
    renewals = Renewals(lambda: now)
    for _ in range(4 * 3600):
        await renewals.renew(order)
        now += 1
    gaps = [after - before for before, after in pairwise(made[2:])]
    assert gaps[:6] == [60, 120, 240, 480, 960, 1800]
    assert set(gaps[6:]) == {1800}
    now += 3600  # a token's lifetime: this renewal is normal, and so are the next ones
    made.clear()
    for _ in range(5):
        await renewals.renew(order)
    assert len(made) == renewal.AT_ONCE
    now -= 10**6  # a clock that was set back
    await renewals.renew(order)
    assert len(made) == renewal.AT_ONCE
    now += renewal.FIRST_PAUSE
    await renewals.renew(order)
    assert len(made) == renewal.AT_ONCE + 1


async def test_failures_before_anything_was_asked_cost_no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0

    def offline(_: Order) -> None:
        nonlocal made
        made += 1
        raise failure("DNS_FAILURE")

    monkeypatch.setattr(renewal, "_run_child", offline)
    renewals = Renewals()
    for _ in range(10):
        with pytest.raises(Bitrix24Error, match="DNS_FAILURE"):
            await renewals.renew(Order("", "", "", "", "", []))
    assert made == 10


@pytest.mark.parametrize(
    "child",
    ["exit 1", "exit 3", "kill -9 $$", "echo garbage; exit 1", "echo '[]'; exit 1", 'echo \'{"kind": "X"}\'; exit 1'],
)
@posix
async def test_a_child_that_dies(
    portal: RunningPortal, authorised: Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, child: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{child}\n")
    python.chmod(0o700)
    portal.portal.oauth.expire_access_tokens()
    monkeypatch.setattr(sys, "executable", str(python))
    result = await ask(authorised, "list_directories")
    assert (result.error["code"], result.error["category"]) == ("RENEWAL_FAILED", "configuration")
    assert "bitrix24-directories-mcp login" in result.text


@pytest.mark.parametrize("executable", ["", "/no/such/python"])
async def test_a_child_that_cannot_begin(
    portal: RunningPortal, authorised: Application, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    portal.portal.oauth.expire_access_tokens()
    monkeypatch.setattr(sys, "executable", executable)
    assert (await ask(authorised, "list_directories")).error["code"] == "RENEWAL_FAILED"


@pytest.mark.parametrize(
    ("fault", "code"), [({"code": "invalid_grant"}, "invalid_grant"), ({"status": 502}, "SERVER_ERROR")]
)
async def test_a_change_whose_token_cannot_be_renewed_is_not_done(
    portal: RunningPortal, authorised: Application, fault: dict[str, str], code: str
) -> None:
    async with connect(authorised, allow_writes=True) as assistant:
        await assistant.call("get_directory_items", entityId="SOURCE")
        portal.order(changes_only=True, code="expired_token")
        portal.order(method="oauth/token", **fault)
        result = await assistant.call("add_directory_item", entityId="SOURCE", name="Fair")
    assert result.error["code"] == code
    assert [step["outcome"] for step in result.structured["steps"]] == ["not done"]


async def test_tokens_that_no_file_can_hold_are_not_kept(portal: RunningPortal, authorised: Application) -> None:
    portal.portal.oauth.expire_access_tokens()
    portal.order(method="oauth/token", body='{"access_token": "a", "refresh_token": "\\ud800"}')
    result = await ask(authorised, "list_directories")
    assert result.error["code"] == "NOT_OAUTH"
    assert not authorised.file.path.exists()


async def test_a_later_login_ends_the_pause(portal: RunningPortal, authorised: Application) -> None:
    portal.portal.oauth.expire_access_tokens()
    portal.order(method="oauth/token", code="invalid_grant")
    async with connect(authorised) as assistant:
        for _ in range(renewal.AT_ONCE + 2):
            assert (await assistant.call("list_directories")).error["code"] == "invalid_grant"
        issued = portal.portal.oauth.issue(ADMIN)
        keep(authorised.file, Tokens(issued["access_token"], issued["refresh_token"]))
        assert not (await assistant.call("list_directories")).is_error


async def test_windows_keeps_a_file_that_is_being_read_for_a_moment(
    portal: RunningPortal, authorised: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake of Windows' refusal: new tokens are stored as soon as the file is free."""
    refusals = 5
    replace = Path.replace

    def refusing(self: Path, target: Path) -> Path:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise PermissionError("another process reads it")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refusing)
    monkeypatch.setattr(tokens_module, "_PAUSE", 0.0)
    keep(authorised.file, Tokens("new", "pair"))
    assert authorised.file.read() == Tokens("new", "pair")
    refusals = 1000
    with pytest.raises(PermissionError):
        keep(authorised.file, Tokens("newer", "pair"))
    assert authorised.file.read() == Tokens("new", "pair")
    assert portal.portal.calls == []


async def test_windows_gives_the_renewing_child_a_group_of_its_own(
    portal: RunningPortal, authorised: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the flags of Windows: Ctrl+C in the server's console does not reach the child."""
    monkeypatch.setattr(subprocess, "CREATE_NO_WINDOW", 0x08000000, raising=False)
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x00000200, raising=False)
    begun: list[dict[str, Any]] = []

    def popen(*_: Any, **more: Any) -> Any:
        begun.append(more)
        raise OSError("no Windows here")

    monkeypatch.setattr(subprocess, "Popen", popen)
    portal.portal.oauth.expire_access_tokens()
    assert (await ask(authorised, "list_directories")).error["code"] == "RENEWAL_FAILED"
    assert begun[0]["creationflags"] == 0x08000200
    assert begun[0]["start_new_session"]


def test_secrets_are_not_collected_for_ever(portal: RunningPortal, pair: dict[str, str]) -> None:
    """A server that runs for a year renews thousands of times, and searches for each secret."""
    app = application(portal, **pair)
    for number in range(1000):
        app.use(Tokens(f"access{number}", f"refresh{number}"))
    assert len(app.secrets) < 30
    assert {*pair.values(), "access999", "refresh999", app.client_secret} <= {*app.secrets}
