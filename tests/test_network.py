"""Failures on the way to the portal, produced with real sockets."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bitrix24_directories.portal.app import ADMIN
from bitrix24_directories.portal.oauth import CLIENT_ID, CLIENT_SECRET
from bitrix24_directories.rest import Application, Bitrix24Client, Bitrix24Error, Webhook
from bitrix24_directories.rest import client as client_module
from bitrix24_directories.rest.addresses import redirected
from bitrix24_directories.rest.authorization.renewal_process import request_tokens
from support import ADMIN_SECRET, RunningPortal, ask, connect

pytestmark = pytest.mark.usefixtures("no_pauses")

Answering = Callable[[socket.socket], None]


@contextlib.contextmanager
def raw_server(*answers: Answering) -> Iterator[tuple[str, list[bytes]]]:
    """A server that treats each connection by the next of `answers`, later ones by the last.

    Yields the webhook's URL and a list to which each request is added.
    """
    requests: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(ConnectionError):
                        requests.append(_request(connection))
                        answers[min(len(requests), len(answers)) - 1](connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/rest/1/{ADMIN_SECRET}/", requests
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)


def _request(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    length = re.search(rb"content-length: (\d+)", received, re.IGNORECASE)
    while length and len(received.partition(b"\r\n\r\n")[2]) < int(length[1]):
        received += connection.recv(65536)
    return received


def answering(body: bytes, status: str = "200 OK", length: int | None = None, **headers: str) -> Answering:
    def answer(connection: socket.socket) -> None:
        lines = [
            f"HTTP/1.1 {status}",
            f"content-length: {len(body) if length is None else length}",
            "connection: close",
        ]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        connection.sendall("\r\n".join([*lines, "\r\n"]).encode() + body)

    return answer


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_in_the_body(connection: socket.socket) -> None:
    answering(b'{"result": [', length=500)(connection)
    reset(connection)


def hang_up(_: socket.socket) -> None:
    """Close without an answer."""


def talk_nonsense(connection: socket.socket) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n")


def drip(connection: socket.socket) -> None:
    """Send one byte now and then, without an end."""
    answering(b"", length=10**9)(connection)
    with contextlib.suppress(OSError):
        while connection.send(b" "):
            threading.Event().wait(0.01)


ROWS = json.dumps({"result": [{"STATUS_ID": "NEW", "NAME": "New", "SORT": 10}]}).encode()
healthy = answering(ROWS, content_type="application/json")
broken_gzip = answering(gzip.compress(ROWS)[:-12] + b"x" * 12, content_encoding="gzip")
bad_gateway = answering(b"<html><h1>502 Bad Gateway</h1></html>", "502 Bad Gateway", content_type="text/html")
unavailable = answering(b"<html>Service Unavailable</html>", "503 Service Unavailable", content_type="text/html")

BROKEN: list[tuple[Answering, str]] = [
    (hang_up, "CONNECTION_LOST"),
    (reset, "CONNECTION_LOST"),
    (reset_in_the_body, "CONNECTION_LOST"),
    (answering(ROWS, length=len(ROWS) + 100), "CONNECTION_LOST"),
    (talk_nonsense, "CONNECTION_LOST"),
    (answering(ROWS, length=len(ROWS) - 9), "BROKEN_ANSWER"),
    (answering(ROWS[:-9]), "BROKEN_ANSWER"),
    (broken_gzip, "BROKEN_ANSWER"),
    (answering(b""), "EMPTY_ANSWER"),
    (bad_gateway, "SERVER_ERROR"),
    (unavailable, "SERVER_ERROR"),
]


@pytest.mark.parametrize("answer", [answer for answer, _ in BROKEN])
async def test_what_breaks_once_is_not_noticed(answer: Answering) -> None:
    with raw_server(answer, healthy) as (url, requests):
        result = await ask(url, "get_directory_items", entityId="STATUS")
    assert result.text.splitlines()[:2] == ["STATUS: 1 item, in order (code: name)", "NEW: New"]
    assert len(requests) == 2


@pytest.mark.parametrize(("answer", "code"), BROKEN)
async def test_what_stays_broken_is_said(answer: Answering, code: str) -> None:
    with raw_server(answer) as (url, requests):
        result = await ask(url, "list_directories")
    assert result.error["code"] == code
    assert result.error["retryable"] is True
    assert ADMIN_SECRET not in result.everything
    assert 1 < len(requests) <= 6


async def test_503_five_times_and_then_healthy() -> None:
    with raw_server(*[unavailable] * 5, healthy) as (url, requests):
        assert not (await ask(url, "get_directory_items", entityId="STATUS")).is_error
    assert len(requests) == 6


async def test_an_endless_slow_drip_ends_with_the_timeout() -> None:
    with raw_server(drip) as (url, requests):
        result = await ask(url, "list_directories", timeout=0.6)
        assert result.error["code"] == "TIMEOUT"
    assert len(requests) <= 2  # the server's thread has ended: its connection was closed


async def test_a_huge_answer_is_refused_while_it_streams_in() -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        answering(b"", length=50 * 2**20)(connection)
        for _ in range(50):
            connection.sendall(b"x" * 2**20)
            sent += 2**20

    with raw_server(flood) as (url, requests):
        result = await ask(url, "list_directories")
    assert result.error["code"] == "ANSWER_TOO_LARGE"
    assert not result.error["retryable"]
    assert len(requests) == 1
    assert sent < 40 * 2**20  # ten were read, the rest is in socket buffers


async def test_a_huge_answer_that_was_packed_small() -> None:
    packed = answering(gzip.compress(b"x" * 50 * 2**20), content_encoding="gzip")
    with raw_server(packed) as (url, _):
        assert (await ask(url, "list_directories")).error["code"] == "ANSWER_TOO_LARGE"


async def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = await ask(f"http://127.0.0.1:{port}/rest/1/{ADMIN_SECRET}/", "list_directories")
    assert result.error == {
        "code": "CONNECTION_REFUSED",
        "category": "network",
        "retryable": True,
        "retryAfterSeconds": 30,
    }


async def test_host_name_that_does_not_exist() -> None:
    result = await ask(f"https://portal.invalid/rest/1/{ADMIN_SECRET}/", "list_directories")
    assert result.error["code"] == "DNS_FAILURE"
    assert "spelling" in result.text


async def test_certificate_that_is_not_trusted(tls_portal: RunningPortal) -> None:
    result = await ask(tls_portal, "list_directories")
    assert result.error == {"code": "TLS_FAILURE", "category": "network", "retryable": False}
    assert "BITRIX24_CA_FILE" in result.text


async def test_an_authority_of_ones_own(tls_portal: RunningPortal, authority: trustme.CA, tmp_path: Path) -> None:
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    async with connect(tls_portal, ca_file=str(bundle)) as assistant:
        result = await assistant.call("list_directories")
    assert not result.is_error


async def test_an_authority_of_ones_own_for_tokens(
    tls_portal: RunningPortal, authority: trustme.CA, tmp_path: Path
) -> None:
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    for ca_file, code in (("", "TLS_FAILURE"), (str(bundle), "invalid_client"), ("none.pem", "CA_FILE_UNREADABLE")):
        with pytest.raises(Bitrix24Error) as caught:
            await request_tokens(f"{tls_portal.address}/oauth/token/", {"client_id": "nobody"}, ca_file)
        assert caught.value.code == code


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_an_authority_that_cannot_be_read(portal: RunningPortal, tmp_path: Path, content: bytes | None) -> None:
    bundle = tmp_path / "authority.pem"
    if content is not None:
        bundle.write_bytes(content)
    async with connect(portal, ca_file=str(bundle)) as assistant:
        result = await assistant.call("list_directories")
    assert result.error == {"code": "CA_FILE_UNREADABLE", "category": "configuration", "retryable": False}
    assert str(bundle) in result.text


async def test_plain_http_where_tls_is_spoken(portal: RunningPortal) -> None:
    result = await ask(portal.webhook_url().replace("http://", "https://"), "list_directories")
    assert result.error["code"] == "NOT_TLS"


async def test_certificate_file_that_does_not_exist(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "does-not-exist.pem")
    assert (await ask(portal, "list_directories")).error["code"] == "CERTIFICATES_UNREADABLE"


async def test_proxy_that_cannot_be_used(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://proxy.invalid")
    assert (await ask(portal, "list_directories")).error["code"] == "PROXY_FAILURE"


async def test_portal_that_does_not_answer_in_time(portal: RunningPortal) -> None:
    portal.order(delay=60)
    result = await ask(portal, "list_directories", timeout=0.1)
    assert result.error == {"code": "TIMEOUT", "category": "network", "retryable": True, "retryAfterSeconds": 5}
    assert "BITRIX24_TIMEOUT" in result.text


async def test_renamed_portal_is_followed_with_post_and_the_same_body(portal: RunningPortal) -> None:
    portal.order(times=2, status=302, headers={"location": f"{portal.webhook_url()}crm.status.entity.items.json"})
    result = await ask(portal, "get_directory_items", entityId="DEAL_STAGE")
    assert result.structured["total"] == 8
    assert portal.portal.calls == [("crm.status.entity.items", {"entityId": "DEAL_STAGE"})] * 3


@pytest.fixture
def authorised(portal: RunningPortal) -> Application:
    issued = portal.portal.oauth.issue(ADMIN)
    tokens = {name: issued[name] for name in ("access_token", "refresh_token")}
    return Application(portal.address, CLIENT_ID, CLIENT_SECRET, oauth_url=f"{portal.address}/oauth/token/", **tokens)


async def test_the_token_goes_to_the_portals_own_origin_only(portal: RunningPortal, authorised: Application) -> None:
    with raw_server(healthy) as (elsewhere, requests):
        portal.order(status=307, headers={"location": elsewhere})
        result = await ask(authorised, "get_directory_items", entityId="STATUS")
    assert result.error["code"] == "PORTAL_MOVED"
    assert "it is at 127.0.0.1 now" in result.text
    assert "BITRIX24_PORTAL_URL" in result.text
    assert requests == []


async def test_a_redirect_that_carries_the_token_itself_is_followed(
    portal: RunningPortal, authorised: Application
) -> None:
    token = portal.portal.oauth.newest_access_token
    with raw_server(healthy) as (elsewhere, requests):
        location = {"location": f"{elsewhere}crm.status.entity.items?auth={token}"}
        portal.order(method="crm.status.entity.items", status=302, headers=location)
        result = await ask(authorised, "get_directory_items", entityId="STATUS")
    assert result.structured["total"] == 1
    (request,) = requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"?auth={token}".encode() in head
    assert json.loads(body) == {"entityId": "STATUS"}


async def test_a_redirect_inside_the_portal_keeps_the_token(portal: RunningPortal, authorised: Application) -> None:
    portal.order(times=1, status=302, headers={"location": "/rest/crm.status.entity.items.json"})
    assert not (await ask(authorised, "get_directory_items", entityId="STATUS")).is_error


async def test_another_origin_gets_a_webhooks_call_only_with_its_path(portal: RunningPortal) -> None:
    with raw_server(healthy) as (elsewhere, requests):
        portal.order(times=1, status=302, headers={"location": f"{elsewhere}crm.status.entity.items"})
        assert not (await ask(portal, "get_directory_items", entityId="STATUS")).is_error
        assert len(requests) == 1
        portal.order(status=302, headers={"location": elsewhere.replace(ADMIN_SECRET, "guess")})
        assert (await ask(portal, "get_directory_items", entityId="STATUS")).error["code"] == "PORTAL_MOVED"
        assert len(requests) == 1


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:8000/", "https://localhost/", "https://[::1]/", "http://localhost:631/admin"]
)
def test_a_portal_elsewhere_leads_nobody_to_this_machine(location: str) -> None:
    with pytest.raises(ValueError, match="leads to this machine"):
        redirected("https://portal.example/rest/", location)
    assert redirected("http://127.0.0.1:8024/rest/", location)
    assert redirected("https://portal.example/rest/", "https://renamed.example/rest/").host == "renamed.example"


@pytest.mark.parametrize(
    ("location", "detail"),
    [
        ("http://portal.example/rest/1/{secret}/x", "plain http would show the secret"),
        ("ftp://portal.example/", "does not begin with https://"),
        ("https://127.0.0.1:99999999/", "does not begin with https://"),
        ("https://portal.example:port/", "it is not a URL"),
        ("https://xn--a.example/", "it is not a URL"),
        ("", "too many redirects"),
        ("{here}scope", "too many redirects"),
    ],
)
async def test_redirects_that_are_not_followed(portal: RunningPortal, location: str, detail: str) -> None:
    address = location.format(secret=ADMIN_SECRET, here=portal.webhook_url())
    portal.order(method="crm.status.entity.types", status=302, headers={"location": address})
    portal.order(method="scope", status=301, headers={"location": f"{portal.webhook_url()}crm.status.entity.types"})
    result = await ask(portal, "list_directories")
    assert result.error["code"] == "PORTAL_MOVED"
    assert result.error["category"] == "configuration"
    assert detail in result.text
    assert ADMIN_SECRET not in result.everything
    assert len(portal.portal.calls) <= 4


async def test_each_request_is_a_span_without_secrets(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("tests")
    monkeypatch.setattr(client_module, "_tracer", tracer)
    portal.order(method="crm.status.entity.types", status=403)
    with tracer.start_as_current_span("tools/call") as call:
        async with Bitrix24Client(Webhook.parse(portal.webhook_url())) as client:
            await client.call("crm.status.fields")
            with pytest.raises(Bitrix24Error):
                await client.call("crm.status.entity.types")
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert [*spans] == ["bitrix24 crm.status.fields", "bitrix24 crm.status.entity.types", "tools/call"]
    for name in ("bitrix24 crm.status.fields", "bitrix24 crm.status.entity.types"):
        parent = spans[name].parent
        assert parent is not None
        assert parent.span_id == call.get_span_context().span_id
    assert ADMIN_SECRET not in "".join(span.to_json() for span in spans.values())
