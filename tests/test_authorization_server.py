"""Failures of the authorization server: errors blame its host and setting, not the portal."""

from __future__ import annotations

from typing import Any

import pytest

from bitrix24_directories.cli.configured import format_for_terminal
from bitrix24_directories.errors.catalogue import AT_AUTHORIZATION_SERVER, BY_OAUTH_CODE
from bitrix24_directories.portal.oauth import CLIENT_ID, CLIENT_SECRET
from bitrix24_directories.rest import CATALOGUE, Application, Bitrix24Client, Bitrix24Error
from bitrix24_directories.rest.authorization import renewal_process
from bitrix24_directories.rest.authorization.renewal import AT_ONCE
from support import RunningPortal, ask, connect
from test_network import Answering, answering, hang_up, raw_server, reset_in_the_body
from test_oauth import authorised, pair

__all__ = ["authorised", "pair"]  # fixtures

GRANT = {"client_secret": CLIENT_SECRET, "refresh_token": "a-refresh-token", "code": "a-code"}
JSON = {"content-type": "application/json"}
PAGE = "<html>There is nothing here</html>"

# fault | kind | category
ANSWERS: list[tuple[dict[str, Any], str, str]] = [
    ({"status": 404}, "NOT_OAUTH", "configuration"),
    ({"status": 404, "body": ""}, "NOT_OAUTH", "configuration"),
    ({"status": 401, "body": PAGE}, "NOT_OAUTH", "configuration"),
    ({"status": 403, "body": PAGE}, "NOT_OAUTH", "configuration"),
    ({"status": 405, "body": PAGE}, "NOT_OAUTH", "configuration"),
    ({"status": 410, "body": PAGE}, "NOT_OAUTH", "configuration"),
    ({"status": 418, "body": PAGE}, "NOT_OAUTH", "configuration"),
    ({"status": 200, "body": PAGE}, "NOT_OAUTH", "configuration"),
    ({"status": 200, "body": "[]"}, "NOT_OAUTH", "configuration"),
    ({"status": 200, "body": '{"result": []}'}, "NOT_OAUTH", "configuration"),
    ({"status": 404, "body": '{"message": "no such page"}'}, "NOT_OAUTH", "configuration"),
    ({"status": 302, "body": "", "headers": {"location": "https://elsewhere.example/"}}, "NOT_OAUTH", "configuration"),
    ({"status": 200, "body": " " * 100_000}, "NOT_OAUTH", "configuration"),
    ({"status": 200, "body": ""}, "OAUTH_UNAVAILABLE", "portal"),
    ({"status": 200, "body": '{"access_token": "a', "headers": JSON}, "OAUTH_UNAVAILABLE", "portal"),
    ({"status": 429}, "OAUTH_UNAVAILABLE", "portal"),
    ({"status": 500}, "OAUTH_UNAVAILABLE", "portal"),
    ({"status": 501}, "NOT_OAUTH", "configuration"),
    ({"status": 503}, "OAUTH_UNAVAILABLE", "portal"),
    ({"status": 502, "body": "[]"}, "OAUTH_UNAVAILABLE", "portal"),
    ({"status": 500, "code": "NEW_CODE", "description": "Later."}, "OAUTH_UNAVAILABLE", "portal"),
    ({"status": 400, "code": "NEW_CODE", "description": "Never."}, "OAUTH_REFUSED", "authorization"),
    ({"status": 404, "code": "ERROR_METHOD_NOT_FOUND", "description": "Never."}, "OAUTH_REFUSED", "authorization"),
    ({"status": 401, "code": "NO_AUTH_FOUND", "description": "Never."}, "OAUTH_REFUSED", "authorization"),
    ({"status": 503, "code": "QUERY_LIMIT_EXCEEDED", "description": "Later."}, "OAUTH_UNAVAILABLE", "portal"),
]


def names_the_server(text: str, host: str) -> bool:
    return all(part in text for part in ("uthorization server", host, "BITRIX24_OAUTH_URL"))


def blames_the_portal(text: str) -> bool:
    return any(part in text for part in ("The portal", "BITRIX24_WEBHOOK_URL", "BITRIX24_PORTAL_URL"))


@pytest.mark.parametrize(("ordered", "kind", "category"), ANSWERS)
async def test_answers(portal: RunningPortal, ordered: dict[str, Any], kind: str, category: str) -> None:
    portal.order(method="oauth/token", **ordered)
    with pytest.raises(Bitrix24Error) as caught:
        await renewal_process.request_tokens(f"{portal.address}/oauth/token/", GRANT, "")
    error = caught.value
    assert (error.kind, error.category, error.http_status) == (kind, category, ordered["status"])
    assert not error.not_applied
    for text in (str(error), format_for_terminal(error)):
        assert names_the_server(text, portal.address.removeprefix("http://"))
        assert not blames_the_portal(text)
        assert ("Later." in text, "Never." in text) == tuple(
            ordered.get("description") == words for words in ("Later.", "Never.")
        )
        assert not any(secret in text for secret in GRANT.values())


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (hang_up, "CONNECTION_LOST"),
        (reset_in_the_body, "CONNECTION_LOST"),
        (answering(b"{}", content_encoding="gzip"), "BROKEN_ANSWER"),
    ],
)
async def test_broken_connections(answer: Answering, code: str) -> None:
    with raw_server(answer) as (url, _):
        await fails_as(url, "OAUTH_UNAVAILABLE", code)


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/", "https://oauth.invalid/oauth/token/"])
async def test_no_connection(address: str) -> None:
    await fails_as(
        address, "OAUTH_UNREACHABLE", "CONNECTION_REFUSED" if "127" in address else "DNS_FAILURE", sent=False
    )


async def test_no_tls(portal: RunningPortal, tls_portal: RunningPortal) -> None:
    await fails_as(portal.address.replace("http:", "https:"), "OAUTH_UNREACHABLE", "NOT_TLS", sent=False)
    await fails_as(tls_portal.address, "OAUTH_TLS_FAILURE", "TLS_FAILURE", sent=False)


async def fails_as(address: str, kind: str, code: str, *, sent: bool = True) -> None:
    with pytest.raises(Bitrix24Error) as caught:
        await renewal_process.request_tokens(address, GRANT, "")
    error = caught.value
    assert (error.kind, error.code, error.not_applied) == (kind, code, not sent)
    assert names_the_server(str(error), address.split("/")[2])
    assert not blames_the_portal(str(error))
    assert not any(secret in str(error) for secret in GRANT.values())


async def test_an_assistant_is_told_again_while_the_server_is_left_alone(
    portal: RunningPortal, authorised: Application
) -> None:
    """The text comes from the renewing process, and stays whole with another wait in it."""
    portal.portal.oauth.expire_access_tokens()
    portal.order(method="oauth/token", status=404)
    async with connect(authorised) as assistant:
        for _ in range(AT_ONCE + 1):
            result = await assistant.call("list_directories")
            assert result.error["code"] == "NOT_OAUTH"
            assert names_the_server(result.text, portal.address.removeprefix("http://"))
            assert not any(secret in result.everything for secret in authorised.secrets)


async def test_a_wrong_address(portal: RunningPortal, pair: dict[str, str]) -> None:
    """A portal, or any other site, in place of the authorization server."""
    portal.portal.oauth.expire_access_tokens()
    app = Application(portal.address, CLIENT_ID, CLIENT_SECRET, oauth_url=f"{portal.address}/rest/", **pair)
    result = await ask(app, "list_directories")
    assert result.error["code"] == "NOT_OAUTH"
    assert names_the_server(result.text, portal.address.removeprefix("http://"))


@pytest.mark.parametrize("code", ["PAYMENT_REQUIRED", "insufficient_scope"])
async def test_a_refusal_is_asked_for_ever_more_rarely_too(
    portal: RunningPortal, authorised: Application, code: str
) -> None:
    portal.portal.oauth.expire_access_tokens()
    fault = portal.order(method="oauth/token", code=code, times=100)
    async with connect(authorised) as assistant:
        for _ in range(AT_ONCE + 2):
            assert (await assistant.call("list_directories")).error["code"] == code
    assert fault.times == 100 - AT_ONCE


async def test_a_call_whose_token_cannot_be_renewed_is_over(portal: RunningPortal, authorised: Application) -> None:
    """The portal refused the token; later errors of the authorization server change nothing."""
    portal.portal.oauth.expire_access_tokens()
    portal.order(method="oauth/token", status=502)
    async with Bitrix24Client(authorised) as client:
        with pytest.raises(Bitrix24Error) as caught:
            await client.call("crm.status.add", {"fields": {"ENTITY_ID": "SOURCE", "STATUS_ID": "X", "NAME": "X"}})
    error = caught.value
    assert (error.kind, error.not_applied) == ("OAUTH_UNAVAILABLE", True)


def test_rows_of_the_authorization_server_blame_no_portal() -> None:
    for kind in {*AT_AUTHORIZATION_SERVER.values(), "OAUTH_REFUSED"}:
        entry = CATALOGUE[kind]
        assert "uthorization server" in entry.happened
        assert "BITRIX24_OAUTH_URL" in entry.agent_hint
        assert "BITRIX24_OAUTH_URL" in entry.user_hint
    assert CATALOGUE.keys() >= {*AT_AUTHORIZATION_SERVER, *BY_OAUTH_CODE.values()}
