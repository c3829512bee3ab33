"""No secret appears, in any spelling: results, errors, logs, printed checks, stored logs."""

from __future__ import annotations

import html
import json
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from mcp.client.stdio import stdio_client

from bitrix24_directories import redaction
from bitrix24_directories.cli.main import main
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.portal import Fault
from bitrix24_directories.portal.app import ADMIN
from bitrix24_directories.redaction import MASK, Redactor
from bitrix24_directories.rest import Bitrix24Client, Bitrix24Error, Webhook
from bitrix24_directories.settings import Settings
from support import ADMIN_SECRET, Assistant, RunningPortal, ask, clean_environment, connect, spawn_parameters
from test_oauth import application, authorised, login, pair, with_tokens

__all__ = ["authorised", "pair"]  # fixtures

SECRETS = ["Demo4dmin0000001", "a.b-c_d~e%20&+<x>", "тайна"]
OTHERS = [f"{number:02}othersecrets" for number in range(50)]
"""Enough secrets for the other way of searching."""


def spellings_of(text: str) -> dict[str, str]:
    return {
        "as it is": text,
        "percent": "".join(f"%{byte:02X}" for byte in text.encode()),
        "percent, lower case": "".join(f"%{byte:02x}" for byte in text.encode()),
        "percent, twice": quote(quote(text, safe=""), safe=""),
        "JSON": "".join(f"\\u{ord(char):04x}" for char in text),
        "JSON, twice": "".join(f"\\\\u{ord(char):04X}" for char in text),
        "JavaScript": "".join(f"\\u{{{ord(char):x}}}" for char in text),
        "entities": "".join(f"&#{ord(char)};" for char in text),
        "entities, hexadecimal": "".join(f"&#x{ord(char):X};" for char in text),
        "entities, twice": "".join(f"&amp;#{ord(char)};" for char in text),
        "tags": "<i></i>".join(text) if "<" not in text else text,
        "invisible": "\u200b".join(text),
        "joiners": "\u200d".join(text),
        "non-joiners": "\u200c".join(text),
        "variation selectors": "\ufe0f".join(text),
    }


def decode_all(text: str) -> str:
    """Decode `text` as an attacker would."""
    for _ in range(3):
        text = html.unescape(unquote(text))
        text = re.sub(r"\\+u\{?0*([0-9a-fA-F]{2,4})\}?", lambda match: chr(int(match[1], 16)), text)
        text = re.sub("[\u200b-\u200d\ufe0f]|<i></i>", "", text)
    return text


def redactor(*secrets: str) -> Redactor:
    return Redactor(lambda: secrets)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("spelling", spellings_of("x"))
@pytest.mark.parametrize("other_secrets", [[], OTHERS], ids=["few", "many"])
def test_each_spelling(secret: str, spelling: str, other_secrets: list[str]) -> None:
    text = f"no such address: /rest/1/{spellings_of(secret)[spelling]}/ was called"
    redacted = redactor(*SECRETS, *other_secrets)(text)
    assert secret not in decode_all(redacted)
    assert MASK in redacted
    assert redacted.endswith("/ was called")


@given(
    spellings=st.lists(st.sampled_from(list(spellings_of("x"))), min_size=len(SECRETS[0]), max_size=len(SECRETS[0])),
    before=st.text("abc %&<\\u\n", max_size=9),
    after=st.text("abc %&<\\u\n", max_size=9),
    other_secrets=st.sampled_from([[], OTHERS]),
)
def test_each_character_in_a_spelling_of_its_own(
    spellings: list[str], before: str, after: str, other_secrets: list[str]
) -> None:
    mixed = "".join(spellings_of(char)[spelling] for char, spelling in zip(SECRETS[0], spellings, strict=True))
    assert SECRETS[0] not in decode_all(redactor(SECRETS[0], *other_secrets)(f"{before};{mixed};{after}"))


@given(text=st.text(), secret=st.text(min_size=1), other_secrets=st.sampled_from([[], OTHERS]))
def test_whatever_the_secret_is(text: str, secret: str, other_secrets: list[str]) -> None:
    redacted = redactor(secret, *other_secrets)(f"{text}{secret}{text}")
    assert secret in MASK or not any(secret in part for part in redacted.split(MASK))


@given(text=st.text())
def test_a_text_without_secrets_stays_as_it_is(text: str) -> None:
    assert redactor("Demo4dmin0000001")(text) == text
    assert redactor()(text) == text


@given(
    secrets=st.lists(st.text("abA*%2é", min_size=1, max_size=4), min_size=2, max_size=6),
    text=st.text("abA*%2é <", max_size=30),
    other_secrets=st.sampled_from([[], OTHERS]),
)
def test_secrets_that_stand_in_each_other(secrets: list[str], text: str, other_secrets: list[str]) -> None:
    redacted = redactor(*secrets, *other_secrets)(text)
    for part in redacted.split(MASK):
        assert not any(secret in part for secret in secrets if secret not in MASK)
    if not any(secret in text for secret in secrets) and "%" not in text and "<" not in text:
        assert redacted == text


@pytest.mark.parametrize("other_secrets", [[], OTHERS], ids=["few", "many"])
def test_the_longest_of_two_secrets_goes_first(other_secrets: list[str]) -> None:
    assert redactor("abcd", "abcdefgh", *other_secrets)("say abcdefghi") == "say ***i"


def test_secrets_come_and_go() -> None:
    secrets = ["first"]
    redact = Redactor(lambda: secrets)
    assert redact("first second") == "*** second"
    secrets.append("second")
    assert redact("first second") == "*** ***"
    secrets.remove("first")
    assert redact("first second") == "first ***"


def test_the_same_secrets_are_compared_once() -> None:
    secrets = [frozenset(OTHERS), frozenset([*OTHERS])]
    redact = Redactor(lambda: secrets[0])
    sought = redact._current_patterns()  # noqa: SLF001 - thousands of them for each text would take their time
    secrets.reverse()
    assert redact._current_patterns() is sought  # noqa: SLF001
    assert sought.secrets is secrets[0]


def test_only_what_may_hold_a_secret_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a megabyte of an argument blocks the server for two seconds."""
    redact, decoded = redactor(*OTHERS), list[str]()
    decode = redaction._decoded  # noqa: SLF001 - what takes the time

    def counted(text: str) -> str:
        decoded.append(text)
        return decode(text)

    monkeypatch.setattr(redaction, "_decoded", counted)
    text = "%\n" * 1000 + "a line that holds nothing\n" * 1000
    assert redact(f"{text}{spellings_of(OTHERS[0])['percent']}") == f"{text}***"
    assert len(decoded) < 10


def test_structured_values_keep_their_shape() -> None:
    values: dict[str, Any] = {"a": [1, None, True, "x SECRET y"], "SECRET": {"deep": ["%53ECRET"]}, "b": 1.5}
    redacted = redactor("SECRET").values(values)
    assert redacted == {"a": [1, None, True, "x *** y"], "***": {"deep": ["***"]}, "b": 1.5}


@pytest.mark.parametrize("spelling", spellings_of("x"))
@pytest.mark.parametrize("where", ["error", "error_description", "result"])
async def test_a_portal_that_echoes_the_webhook(portal: RunningPortal, spelling: str, where: str) -> None:
    said_back = spellings_of(f"/rest/1/{ADMIN_SECRET}/")[spelling]
    rows = [{"STATUS_ID": "NEW", "NAME": said_back, "SORT": 10}, {"STATUS_ID": said_back, "NAME": "X", "SORT": 20}]
    body = {"result": rows} if where == "result" else {"error": "ODD", "error_description": "odd"} | {where: said_back}
    portal.order(body=json.dumps(body), headers={"content-type": "application/json"})
    async with connect(portal) as assistant:
        result = await assistant.call("get_directory_items", entityId="STATUS")
        answer = await assistant.call("find_directory_items", queries=["new"], entityIds=["STATUS"])
    for text in (result.everything, answer.everything):
        assert ADMIN_SECRET not in decode_all(text)
    assert (await client_error(portal)).find(ADMIN_SECRET) == -1


async def client_error(portal: RunningPortal) -> str:
    """Traceback seen by a program that uses the client alone, decoded."""
    async with Bitrix24Client(Webhook.parse(portal.webhook_url())) as client:
        try:
            return repr(await client.call("scope"))
        except Bitrix24Error as exc:
            return decode_all(f"{exc!r} {exc} {exc.code} {exc.portal_message}")


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
async def test_an_echo_reaches_neither_results_nor_logs(portal: RunningPortal, tmp_path: Path, level: str) -> None:
    portal.portal.faults.order(Fault.parse("echo"))
    server = spawn_parameters(tmp_path, BITRIX24_WEBHOOK_URL=portal.webhook_url(), BITRIX24_LOG_LEVEL=level)
    with (tmp_path / "stderr.txt").open("w+") as errors:
        async with Client(stdio_client(server, errors)) as client:
            result = await Assistant(client).call("list_directories")
        errors.seek(0)
        logged = errors.read()
    assert "HTTP Request: POST" in logged
    assert result.is_error
    assert ADMIN_SECRET not in decode_all(result.everything) + decode_all(logged)


async def test_an_echo_of_a_token(portal: RunningPortal, authorised: Any) -> None:
    portal.portal.faults.order(Fault.parse("echo"))
    result = await ask(authorised, "list_directories")
    assert portal.portal.oauth.newest_access_token not in decode_all(result.everything)


async def test_an_authorization_server_that_echoes(portal: RunningPortal, authorised: Any) -> None:
    portal.portal.oauth.expire_access_tokens()
    portal.order(method="oauth/token", echo=True)
    result = await ask(authorised, "list_directories")
    for secret in authorised.secrets:
        assert secret not in decode_all(result.everything)


@pytest.mark.parametrize("by", ["webhook", "application"])
def test_check_and_login_print_no_echo(
    portal: RunningPortal,
    pair: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    by: str,
) -> None:
    portal.portal.faults.order(Fault.parse("echo"))
    settings = {"BITRIX24_WEBHOOK_URL": portal.webhook_url()}
    if by == "application":
        settings = with_tokens(portal, pair)
    for name, value in (settings | {"BITRIX24_LOG_LEVEL": "DEBUG"}).items():
        monkeypatch.setenv(name, value)
    assert main(["check"]) == 1
    out, err = capfd.readouterr()
    for secret in (ADMIN_SECRET, *pair.values()):
        assert secret not in decode_all(out + err)


@pytest.mark.parametrize("fails", [False, True])
def test_login_logs_neither_the_code_nor_the_secret(
    portal: RunningPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """httpx logs the whole address of the token endpoint, in which both are encoded."""
    verbose = {"BITRIX24_LOG_LEVEL": "DEBUG", "XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}
    monkeypatch.setattr("test_oauth.clean_environment", lambda **env: clean_environment(**(env | verbose)))
    if fails:
        portal.order(method="oauth/token", echo=True)
    with login(portal, tmp_path) as (process, _):
        code = portal.portal.oauth.authorize(ADMIN)
        out, err = process.communicate(f"{code}\n", timeout=20)
    assert process.returncode == int(fails)
    assert "HTTP Request: GET" in err
    contents = application(portal).file.read()
    tokens = (contents.access_token, contents.refresh_token) if contents else ()
    for secret in (code, "demo-client-secret-not-for-use", *tokens):
        assert secret not in decode_all(out + err)


async def test_a_program_that_embeds_the_server_logs_no_secret(
    portal: RunningPortal, caplog: pytest.LogCaptureFixture
) -> None:
    """In any logging setup: httpx's lines are redacted before any handler gets them."""
    caplog.set_level(logging.DEBUG)
    server = DirectoriesServer(Webhook.parse(portal.webhook_url()), Settings.model_construct())
    async with Client(server.mcp) as client:
        await Assistant(client).call("list_directories")
        portal.order(times=1, status=302, headers={"location": f"{portal.webhook_url()}scope"})
        await Assistant(client).call("get_directory_items", entityId="SOURCE", fresh=True)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("http")]
    assert any("HTTP Request: POST" in line for line in ours)
    assert any("location" in line for line in ours)
    assert ADMIN_SECRET not in decode_all("".join(ours))


def test_an_embedded_server_leaves_logging_alone() -> None:
    root = logging.getLogger()
    before = (root.level, [*root.handlers])
    DirectoriesServer(Webhook.parse("https://p.example/rest/1/abcdefgh12/"), Settings(log_level="DEBUG"))
    assert (root.level, root.handlers) == before


@pytest.mark.parametrize("make", [lambda: {"a": ["x"]}, list])
def test_values_without_secrets_are_equal(make: Callable[[], Any]) -> None:
    assert redactor("SECRET").values(make()) == make()
