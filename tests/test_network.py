"""What can go wrong on the way to the portal, made to happen with real sockets."""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from support import ADMIN_SECRET, RunningPortal, ask

pytestmark = pytest.mark.usefixtures("no_pauses")

Answering = Callable[[socket.socket], None]


@contextlib.contextmanager
def raw_server(answer: Answering) -> Iterator[str]:
    """A server that reads a request and then does with the connection what `answer` says; gives the webhook's URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        answer(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/rest/1/{ADMIN_SECRET}/"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(timeout=5)


def hang_up(_: socket.socket) -> None:
    """Answer nothing."""


def break_off(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{")


def talk_nonsense(connection: socket.socket) -> None:
    connection.sendall(b"220 mail.example ESMTP\r\n")


def send_broken_gzip(connection: socket.socket) -> None:
    body = gzip.compress(b'{"result": []}')[:-12] + b"x" * 12
    head = f"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (hang_up, "CONNECTION_LOST"),
        (break_off, "CONNECTION_LOST"),
        (talk_nonsense, "CONNECTION_LOST"),
        (send_broken_gzip, "BROKEN_ANSWER"),
    ],
)
async def test_connections_that_break(answer: Answering, code: str) -> None:
    with raw_server(answer) as url:
        said = await ask(url, "list_directories")
    assert said.error["code"] == code
    assert said.error["retryable"] is True
    assert ADMIN_SECRET not in said.everything


async def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    said = await ask(f"http://127.0.0.1:{port}/rest/1/{ADMIN_SECRET}/", "list_directories")
    assert said.error == {
        "code": "CONNECTION_REFUSED",
        "category": "network",
        "retryable": True,
        "retryAfterSeconds": 30,
    }


async def test_host_name_that_does_not_exist() -> None:
    said = await ask(f"https://portal.invalid/rest/1/{ADMIN_SECRET}/", "list_directories")
    assert said.error["code"] == "DNS_FAILURE"
    assert "spelling" in said.text


async def test_certificate_that_is_not_trusted(tls_portal: RunningPortal) -> None:
    said = await ask(tls_portal, "list_directories")
    assert said.error == {"code": "TLS_FAILURE", "category": "network", "retryable": False}
    assert "SSL_CERT_FILE" in said.text


async def test_plain_http_where_tls_is_spoken(portal: RunningPortal) -> None:
    said = await ask(portal.webhook_url().replace("http://", "https://"), "list_directories")
    assert said.error["code"] == "TLS_FAILURE"


async def test_certificate_file_that_does_not_exist(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "does-not-exist.pem")
    assert (await ask(portal, "list_directories")).error["code"] == "TLS_FAILURE"


async def test_proxy_that_cannot_be_used(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "gopher://proxy.invalid")
    assert (await ask(portal, "list_directories")).error["code"] == "PROXY_FAILURE"


async def test_portal_that_does_not_answer_in_time(portal: RunningPortal) -> None:
    portal.order(delay=60)
    said = await ask(portal, "list_directories", timeout=0.1)
    assert said.error == {"code": "TIMEOUT", "category": "network", "retryable": True, "retryAfterSeconds": 5}
    assert "BITRIX24_TIMEOUT" in said.text


async def test_renamed_portal_is_followed_with_post_and_the_same_body(portal: RunningPortal) -> None:
    portal.order(times=2, status=302, headers={"location": f"{portal.webhook_url()}crm.status.entity.items.json"})
    said = await ask(portal, "get_directory_items", entityId="DEAL_STAGE")
    assert said.structured["total"] == 8
    assert portal.portal.calls == [("crm.status.entity.items", {"entityId": "DEAL_STAGE"})] * 3


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
    said = await ask(portal, "list_directories")
    assert said.error["code"] == "PORTAL_MOVED"
    assert said.error["category"] == "configuration"
    assert detail in said.text
    assert ADMIN_SECRET not in said.everything
    assert len(portal.portal.calls) <= 4
