"""An application (OAuth) instead of a webhook.

The tests cover refreshing, sharing tokens between processes, surviving kills, and login.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp import Client
from mcp.client.stdio import stdio_client

from bitrix24_directories.cli.main import main
from bitrix24_directories.portal.app import ADMIN, READER
from bitrix24_directories.portal.oauth import CLIENT_ID, CLIENT_SECRET
from bitrix24_directories.rest import Application, Bitrix24Client, RateLimits
from bitrix24_directories.rest.authorization.tokens import TokenFile, Tokens
from support import Assistant, RunningPortal, ToolAnswer, ask, clean_environment, connect, spawn_parameters


def application(portal: RunningPortal, **tokens: str) -> Application:
    return Application(portal.address, CLIENT_ID, CLIENT_SECRET, oauth_url=f"{portal.address}/oauth/token/", **tokens)


def keep(file: TokenFile, tokens: Tokens) -> None:
    with file.replacement(5) as write:
        write(tokens)


def environment(portal: RunningPortal, **more: str) -> dict[str, str]:
    return {
        "BITRIX24_PORTAL_URL": portal.address,
        "BITRIX24_CLIENT_ID": CLIENT_ID,
        "BITRIX24_CLIENT_SECRET": CLIENT_SECRET,
        "BITRIX24_OAUTH_URL": f"{portal.address}/oauth/token/",
        "BITRIX24_CACHE_TTL": "0",
    } | more


def with_tokens(portal: RunningPortal, pair: dict[str, str], **more: str) -> dict[str, str]:
    """Environment of a process that starts with these tokens, with the test's own token file."""
    tokens = {f"BITRIX24_{name.upper()}": token for name, token in pair.items()}
    return environment(portal, XDG_STATE_HOME=os.environ["XDG_STATE_HOME"], **tokens, **more)


@pytest.fixture
def pair(portal: RunningPortal) -> dict[str, str]:
    issued = portal.portal.oauth.issue(ADMIN)
    return {"access_token": issued["access_token"], "refresh_token": issued["refresh_token"]}


@pytest.fixture
def authorised(portal: RunningPortal, pair: dict[str, str]) -> Application:
    return application(portal, **pair)


async def test_the_token_goes_into_the_body(portal: RunningPortal, authorised: Application) -> None:
    assert not (await ask(authorised, "get_directory_items", entityId="SOURCE")).is_error
    token = portal.portal.oauth.newest_access_token
    assert ("crm.status.entity.items", {"entityId": "SOURCE", "auth": token}) in portal.portal.calls
    assert {params["auth"] for _, params in portal.portal.calls} == {token}
    assert portal.portal.oauth.issued == 1
    assert not authorised.file.path.exists()


@pytest.mark.parametrize("code", ["expired_token", "invalid_token"])
async def test_an_expired_token_is_refreshed_and_the_call_repeated(
    portal: RunningPortal, authorised: Application, code: str
) -> None:
    portal.order(times=1, code=code)
    assert not (await ask(authorised, "get_directory_items", entityId="SOURCE")).is_error
    assert portal.methods_called.count("crm.status.entity.items") in (1, 2)  # or the fields' batch got the fault
    assert portal.portal.oauth.issued == 2
    tokens = authorised.file.read()
    assert tokens is not None
    assert tokens.access_token == portal.portal.oauth.newest_access_token
    if os.name == "posix":
        assert stat.S_IMODE(authorised.file.path.stat().st_mode) == 0o600
    assert {path.name for path in authorised.file.path.parent.iterdir()} <= {
        authorised.file.path.name,
        authorised.file.lock_path.name,
    }


@pytest.mark.parametrize("code", ["expired_token", "invalid_token"])
async def test_a_new_token_that_does_not_help_is_the_end(
    portal: RunningPortal, authorised: Application, code: str
) -> None:
    portal.order(code=code)
    result = await ask(authorised, "list_directories")
    assert result.error["code"] == code
    assert "bitrix24-directories-mcp login" in result.text
    assert len(portal.portal.calls) == 2
    assert portal.portal.oauth.issued == 2


async def test_however_many_calls_expire_together_one_refresh_goes_out(
    portal: RunningPortal, authorised: Application
) -> None:
    portal.portal.oauth.expire_access_tokens()
    results = []
    async with connect(authorised) as assistant:

        async def call(number: int) -> None:
            results.append(await assistant.call("get_directory_items", entityId="SOURCE", details=bool(number % 2)))
            results.append(await assistant.call("list_directories"))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(call, number)
    assert not any(answer.is_error for answer in results)
    assert portal.portal.oauth.issued == 2


async def test_a_batch_that_expires_is_repeated(portal: RunningPortal, authorised: Application) -> None:
    answered: list[str] = []
    async with Bitrix24Client(authorised, limits=RateLimits(burst=1, per_second=4)) as client:

        async def call(entity_id: str) -> None:
            await client.call("crm.status.entity.items", {"entityId": entity_id})
            answered.append(entity_id)

        await client.call("scope")
        portal.portal.oauth.expire_access_tokens()
        async with anyio.create_task_group() as tasks:
            for entity_id in ("SOURCE", "STATUS", "INDUSTRY"):
                tasks.start_soon(call, entity_id)
    assert sorted(answered) == ["INDUSTRY", "SOURCE", "STATUS"]
    assert portal.portal.oauth.issued == 2
    # The refused batch; by the end of the refresh a slot is free, so one call goes alone and the rest together.
    assert portal.methods_called[:2] == ["scope", "batch"]
    assert portal.methods_called.count("batch") == 2


@pytest.mark.slow
async def test_two_processes_refresh_once(portal: RunningPortal, pair: dict[str, str], tmp_path: Path) -> None:
    env = with_tokens(portal, pair)
    async with Client(spawn_parameters(tmp_path, **env)) as first, Client(spawn_parameters(tmp_path, **env)) as second:
        assistants = [Assistant(first), Assistant(second)]
        for issued in (2, 3):  # in the second round both know the same newer token
            portal.portal.oauth.expire_access_tokens()
            results: list[ToolAnswer] = []

            async def call(assistant: Assistant, results: list[ToolAnswer] = results) -> None:
                results.append(await assistant.call("get_directory_items", entityId="SOURCE"))

            async with anyio.create_task_group() as tasks:
                for assistant in assistants:
                    tasks.start_soon(call, assistant)
            assert [answer.is_error for answer in results] == [False, False]
            assert portal.portal.oauth.issued == issued


async def test_tokens_of_another_process_that_have_expired_too(portal: RunningPortal, authorised: Application) -> None:
    other = portal.portal.oauth.issue(ADMIN)
    async with connect(authorised) as assistant:
        await assistant.call("list_directories")
        keep(authorised.file, Tokens(other["access_token"], other["refresh_token"]))
        portal.portal.oauth.expire_access_tokens()
        assert not (await assistant.call("get_directory_items", entityId="SOURCE")).is_error
    assert portal.portal.oauth.issued == 3


async def test_a_refresh_token_in_the_file_wins_over_an_older_one_in_the_environment(
    portal: RunningPortal, pair: dict[str, str]
) -> None:
    portal.portal.oauth.expire_access_tokens()
    for _ in range(3):  # a new process each time, with the same environment; the first refresh revokes its token
        portal.portal.oauth.expire_access_tokens()
        assert not (await ask(application(portal, **pair), "list_directories")).is_error
    assert portal.portal.oauth.issued == 4


async def test_a_newer_refresh_token_in_the_environment_serves_when_the_file_is_spent(
    portal: RunningPortal, pair: dict[str, str]
) -> None:
    app = application(portal, **pair)
    keep(app.file, Tokens("unknown", "spent"))
    assert not (await ask(app, "list_directories")).is_error


async def test_a_refresh_token_alone_is_enough(portal: RunningPortal, pair: dict[str, str]) -> None:
    app = application(portal, refresh_token=pair["refresh_token"])
    assert not (await ask(app, "list_directories")).is_error
    assert portal.portal.oauth.issued == 2


async def test_without_any_token_it_asks_for_a_login(portal: RunningPortal) -> None:
    result = await ask(application(portal), "list_directories")
    assert result.error["code"] == "NO_TOKEN"
    assert "bitrix24-directories-mcp login" in result.text
    assert portal.portal.calls == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "code", "category"),
    [
        ({"code": "invalid_grant"}, "invalid_grant", "authorization"),
        ({"code": "invalid_client"}, "invalid_client", "configuration"),
        ({"code": "wrong_client"}, "wrong_client", "configuration"),
        ({"code": "invalid_request"}, "invalid_request", "configuration"),
        ({"code": "invalid_scope"}, "invalid_scope", "authorization"),
        ({"code": "insufficient_scope"}, "insufficient_scope", "authorization"),
        ({"code": "PAYMENT_REQUIRED"}, "PAYMENT_REQUIRED", "authorization"),
        ({"code": "NOT_INSTALLED"}, "NOT_INSTALLED", "authorization"),
        ({"status": 502}, "SERVER_ERROR", "portal"),
        ({"body": "[]", "status": 200}, "NOT_OAUTH", "configuration"),
    ],
)
async def test_what_the_authorization_server_may_say(
    portal: RunningPortal, authorised: Application, answer: dict[str, Any], code: str, category: str
) -> None:
    portal.portal.oauth.expire_access_tokens()
    portal.order(method="oauth/token", **answer)
    result = await ask(authorised, "list_directories")
    assert (result.error["code"], result.error["category"]) == (code, category)
    assert not any(secret in result.everything for secret in authorised.secrets)


async def test_an_authorization_server_out_of_reach(portal: RunningPortal, pair: dict[str, str]) -> None:
    portal.portal.oauth.expire_access_tokens()
    app = Application(portal.address, CLIENT_ID, CLIENT_SECRET, oauth_url="http://127.0.0.1:9/", **pair)
    assert (await ask(app, "list_directories")).error["code"] == "CONNECTION_REFUSED"
    assert (await ask(application(portal, **pair), "list_directories")).is_error is False


async def test_a_disk_that_does_not_keep_tokens(portal: RunningPortal, authorised: Application) -> None:
    """The disk is tested before the refresh token is spent, so that nothing is lost."""
    authorised.file.path.parent.parent.mkdir(parents=True)
    authorised.file.path.parent.write_text("a file where the folder should be")
    portal.portal.oauth.expire_access_tokens()
    result = await ask(authorised, "list_directories")
    assert (result.error["code"], result.error["category"]) == ("TOKENS_NOT_KEPT", "configuration")
    assert portal.portal.oauth.issued == 1


async def test_a_cancelled_call_does_not_lose_the_new_tokens(portal: RunningPortal, authorised: Application) -> None:
    portal.portal.oauth.expire_access_tokens()
    portal.order(method="oauth/token", delay=0.3)
    async with connect(authorised) as assistant:
        with anyio.move_on_after(0.3):
            await assistant.call("list_directories")
        assert not (await assistant.call("list_directories")).is_error
    assert portal.portal.oauth.issued == 2


def wait_for_refreshes(app: Application) -> None:
    """Return as soon as no process holds the lock."""
    from filelock import FileLock

    if app.file.lock_path.exists():
        with FileLock(app.file.lock_path, timeout=20):
            pass


@contextlib.contextmanager
def server_process(cwd: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "bitrix24_directories", "call", "list_directories"]
    with subprocess.Popen(
        command, cwd=cwd, env=clean_environment(**env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        yield process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX's")
def test_kill_9_at_any_moment_of_a_refresh(
    portal: RunningPortal, authorised: Application, pair: dict[str, str], tmp_path: Path
) -> None:
    """After each kill the file holds a whole pair, old or new, and the portal accepts it."""
    keep(authorised.file, Tokens(**pair))
    env = environment(portal, XDG_STATE_HOME=os.environ["XDG_STATE_HOME"])
    portal.order(method="oauth/token", delay=0.05)
    killed_while_refreshing = 0
    for step in range(8):
        portal.portal.oauth.expire_access_tokens()
        calls, issued = len(portal.portal.calls), portal.portal.oauth.issued
        with server_process(tmp_path, env) as process:
            while len(portal.portal.calls) == calls and process.poll() is None:
                """Wait for the call that finds its token expired."""
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=step * 0.05)
            killed_while_refreshing += process.poll() is None
            process.send_signal(signal.SIGKILL)
        wait_for_refreshes(authorised)
        tokens = authorised.file.read()
        assert tokens is not None
        assert portal.portal.oauth.accepts_refresh_token(tokens.refresh_token)
        assert portal.portal.oauth.issued <= issued + 1
    assert killed_while_refreshing >= 3
    with server_process(tmp_path, env) as process:
        assert process.wait(timeout=20) == 0


WRITER = """
import sys
from pathlib import Path
from bitrix24_directories.rest.authorization.tokens import TokenFile, Tokens
file = TokenFile(Path(sys.argv[1]))
while True:
    for letter in "ab":
        with file.replacement(5) as write:
            write(Tokens(letter * 4000, letter * 4000))
        print(flush=True)
"""


@pytest.mark.slow
def test_the_file_is_always_a_whole_one(tmp_path: Path) -> None:
    """A process that only writes leaves the old pair or the new one when it is killed."""
    file = TokenFile(tmp_path / "state" / "tokens.json")
    for _ in range(8):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(file.path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.03)
            process.kill()
        tokens = file.read()
        assert tokens is not None
        assert tokens.access_token == tokens.refresh_token
        assert set(tokens.access_token) in ({"a"}, {"b"})


async def test_no_token_is_written_anywhere_even_at_debug_level(
    portal: RunningPortal, pair: dict[str, str], tmp_path: Path
) -> None:
    env = with_tokens(portal, pair, BITRIX24_LOG_LEVEL="DEBUG")
    with (tmp_path / "stderr.txt").open("w+") as errors:
        async with Client(stdio_client(spawn_parameters(tmp_path, **env), errors)) as client:
            portal.portal.oauth.expire_access_tokens()
            assert not (await Assistant(client).call("list_directories")).is_error
            newest = portal.portal.oauth.newest_access_token
            portal.order(code="ODD", description=f"no {newest} {pair['access_token']}")
            result = await Assistant(client).call("list_directories")
        errors.seek(0)
        logged = errors.read()
    assert "HTTP Request: POST http://127.0.0.1" in logged
    for secret in (*pair.values(), newest, CLIENT_SECRET):
        assert secret not in logged
        assert secret not in result.everything


def test_check_covers_applications(
    portal: RunningPortal, pair: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment(portal, BITRIX24_REFRESH_TOKEN=pair["refresh_token"]).items():
        monkeypatch.setenv(name, value)
    assert main(["check"]) == 0
    configuration, *lines = capsys.readouterr().out.splitlines()
    assert configuration.startswith(f"✓ configuration: application {CLIENT_ID} on {portal.address}, tokens in ")
    assert [line[:4] for line in lines] == ["✓ re", "✓ au", "✓ sc", "✓ re"]
    portal.portal.oauth.forget_everything()
    assert main(["check"]) == 1
    printed = capsys.readouterr().out
    assert "✗ authorisation: The authorization server no longer takes the application's refresh token" in printed
    assert "→ Run `bitrix24-directories-mcp login`" in printed
    assert CLIENT_SECRET not in printed


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"BITRIX24_CLIENT_ID": ""}, "BITRIX24_CLIENT_ID is not set"),
        ({"BITRIX24_PORTAL_URL": "http://portal.example"}, "must begin with https://"),
        ({"BITRIX24_WEBHOOK_URL": "https://portal.example/rest/1/abcdefgh/"}, "Both a webhook"),
        ({"BITRIX24_PLAN": "golden"}, "BITRIX24_PLAN must be standard, enterprise or self-hosted"),
        ({"BITRIX24_CACHE_TTL": "-1"}, "BITRIX24_CACHE_TTL must be a number of seconds from 0"),
    ],
)
def test_a_wrong_configuration_is_named(
    portal: RunningPortal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, str],
    part: str,
) -> None:
    for name, value in environment(portal, **changed).items():
        monkeypatch.setenv(name, value)
    assert main(["check"]) == 1
    assert part in capsys.readouterr().out


@contextlib.contextmanager
def login(portal: RunningPortal, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a login that waits for its paste; yields it and the address that it printed."""
    env = clean_environment(**environment(portal), XDG_STATE_HOME=os.environ["XDG_STATE_HOME"])
    command = [sys.executable, "-m", "bitrix24_directories", "login"]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=cwd, env=env, text=True, **pipes) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process, process.stdout.readline().strip()


@pytest.mark.parametrize("pasted", ["address", "code"])
def test_login(portal: RunningPortal, tmp_path: Path, pasted: str) -> None:
    with login(portal, tmp_path) as (process, address):
        landed = httpx.get(address).headers["location"]
        code = httpx.URL(landed).params["code"]
        out, err = process.communicate(f"{landed if pasted == 'address' else code}\n", timeout=20)
    assert (process.returncode, err) == (0, "")
    app = application(portal)
    assert str(app.file.path) in out
    printed = json.loads(out[out.index("{") :])
    assert printed["env"]["BITRIX24_CLIENT_ID"] == CLIENT_ID
    tokens = app.file.read()
    assert tokens is not None
    assert tokens.access_token == portal.portal.oauth.newest_access_token
    for secret in (code, tokens.access_token, tokens.refresh_token, CLIENT_SECRET):
        assert secret not in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("paste", "part"),
    [
        ("", "Nothing was pasted"),
        ("https://app.example/?code=abc&state=another", "its state differs"),
        ("https://app.example/?error=access_denied&state={state}", "holds no code"),
        ("stale-code", "invalid_grant"),
    ],
)
def test_login_that_fails(portal: RunningPortal, tmp_path: Path, paste: str, part: str) -> None:
    with login(portal, tmp_path) as (process, address):
        state = httpx.URL(address).params["state"]
        _, err = process.communicate(f"{paste.format(state=state)}\n", timeout=20)
    assert process.returncode == 1
    assert part in err
    assert "Traceback" not in err
    assert not application(portal).file.path.exists()


async def test_one_users_answers_are_not_anothers(portal: RunningPortal) -> None:
    identities = set()
    for user in (ADMIN, READER):
        issued = portal.portal.oauth.issue(user)
        app = application(portal)
        keep(app.file, Tokens(issued["access_token"], issued["refresh_token"], str(user.id)))
        identities.add(app.identity)
    assert len(identities) == 2
