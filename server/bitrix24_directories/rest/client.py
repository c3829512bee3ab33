"""The shared Bitrix24 client: one `call`, which gives an Answer or raises Bitrix24Error. Knows nothing of MCP."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import httpx

from bitrix24_directories import __version__

from .auth import Webhook, WebhookAuth, safe_url
from .errors import Bitrix24Error, failure
from .wire import Answer, read_answer

_REDIRECTS = {301, 302, 307, 308}
_MAX_HOPS = 3
_CONNECT_SECONDS = 10.0

Transport = httpx.AsyncBaseTransport
"""What carries the calls: the network, unless another is given."""

logger = logging.getLogger(__name__)


def in_process(app: Callable[..., Awaitable[None]]) -> Transport:
    """A transport that calls an ASGI application inside this process, without a socket."""
    return httpx.ASGITransport(app)


class Bitrix24Client:
    """Calls the REST methods of one portal with one webhook, over connections that are kept and shared.

    `timeout` bounds each step of a request, in seconds. `transport` replaces the network, for the demo portal.
    Raises Bitrix24Error when the environment's proxy or certificate settings cannot be used.
    """

    def __init__(self, webhook: Webhook, *, timeout: float = 30, transport: Transport | None = None) -> None:
        self._webhook = webhook
        self._auth = WebhookAuth(webhook)
        try:
            self._http = httpx.AsyncClient(
                headers={"User-Agent": f"bitrix24-directories-mcp/{__version__}"},
                timeout=httpx.Timeout(timeout, connect=min(timeout, _CONNECT_SECONDS)),
                follow_redirects=False,
                event_hooks={"response": [_keep_location]},
                transport=transport,
            )
        except OSError as exc:  # SSL_CERT_FILE names no readable certificates
            raise failure("TLS_FAILURE") from exc
        except (ImportError, ValueError) as exc:  # a proxy in the environment that httpx cannot use
            raise failure("PROXY_FAILURE") from exc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def call(self, method: str, params: Mapping[str, Any] | None = None) -> Answer:
        """POST `params` as JSON to one REST method.

        Raises Bitrix24Error for whatever keeps the portal from answering with a `result`.
        """
        try:
            response = await self._post(method, params or {})
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise _network_error(exc) from exc
        # A page may quote the address it was asked for, and that address is the secret.
        body = response.content.replace(self._webhook.secret.encode(), b"***")
        return read_answer(response.status_code, response.headers, body)

    async def _post(self, method: str, params: Mapping[str, Any]) -> httpx.Response:
        """Follow a renamed portal's redirects by hand: a client's own following turns POST into GET."""
        response = await self._http.post(f"{self._webhook.address}{method}", json=params, auth=self._auth)
        for _ in range(_MAX_HOPS):
            if response.status_code not in _REDIRECTS:
                return response
            target = _redirect_target(response)
            logger.warning("The portal has moved to %s: update BITRIX24_WEBHOOK_URL", target.host)
            response = await self._http.post(target, json=params)
        if response.status_code in _REDIRECTS:
            raise failure("PORTAL_MOVED", http_status=response.status_code, detail="too many redirects")
        return response


async def _keep_location(response: httpx.Response) -> None:
    """Keep httpx from reading the address of a redirect, which it does even when not following, and trips over."""
    response.extensions["location"] = response.headers.pop("location", "")


def _redirect_target(response: httpx.Response) -> httpx.URL:
    try:
        return safe_url(urljoin(str(response.url), response.extensions["location"]))
    except ValueError as exc:
        raise failure("PORTAL_MOVED", http_status=response.status_code, detail=str(exc)) from None


def _network_error(exc: Exception) -> Bitrix24Error:
    match exc:
        case httpx.ConnectError():
            return failure(_connect_kind(_causes(exc)))
        case httpx.ConnectTimeout():
            return failure("CONNECTION_FAILED")
        case httpx.TimeoutException():
            return failure("TIMEOUT")
        case httpx.ProxyError():
            return failure("PROXY_FAILURE")
        case httpx.DecodingError():
            return failure("BROKEN_ANSWER")
    return failure("CONNECTION_LOST")


def _connect_kind(causes: list[BaseException]) -> str:
    for cause in causes:
        match cause:
            case ssl.SSLError():
                return "TLS_FAILURE"
            case socket.gaierror():
                return "DNS_FAILURE"
            case ConnectionRefusedError():
                return "CONNECTION_REFUSED"
    return "CONNECTION_FAILED"


def _causes(exc: BaseException) -> list[BaseException]:
    """The exception and everything it came from; httpx hides the system's own error at the bottom."""
    found: list[BaseException] = []
    current: BaseException | None = exc
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found
