"""One POST and its answer over kept connections: redirects, size limits, network errors.

The only module that sends calls through httpx. Imports `addresses`, `errors` and `answers`.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from bitrix24_directories import __version__
from bitrix24_directories.errors.errors import Bitrix24Error, failure
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest.addresses import origin, redirected
from bitrix24_directories.text import one_line

from .answers import Answer, read_answer
from .bodies import ACCEPTED, read_body

USER_AGENT = f"bitrix24-directories-mcp/{__version__}"

ANSWER_LIMIT = 10 * 2**20
"""Bytes of an answer that are read at most; one directory of thousands of items is a tenth of that."""

# OpenSSL's errors for an answer that is no TLS at all.
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")

_REDIRECTS = {301, 302, 307, 308}
_MAX_HOPS = 3
_CONNECT_SECONDS = 10.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """A call to send: its address, its parameters, and the proof of the caller.

    The proof goes to this address alone.
    """

    url: str = field(repr=False)
    params: Mapping[str, Any]
    proof: Mapping[str, str] = field(default_factory=dict, repr=False)


def trusted(ca_file: str) -> ssl.SSLContext | Literal[True]:
    """Return the trust for httpx: the usual certificates, and those of `ca_file` if it is set.

    Raises Bitrix24Error (CA_FILE_UNREADABLE), and OSError for the usual ones.
    """
    if not ca_file:
        return True
    context = httpx.create_ssl_context()
    try:
        context.load_verify_locations(Path(ca_file).expanduser())
    except (OSError, RuntimeError, ValueError):
        raise failure("CA_FILE_UNREADABLE", detail=one_line(ca_file, 200)) from None
    return context


def connections(transport: httpx.AsyncBaseTransport | None, ca_file: str) -> httpx.AsyncClient:
    """Return connections to a portal for all its callers.

    `transport` replaces the network, and `ca_file` names one more trusted authority. Cookies are not stored: one
    caller's must not go to another. Raises Bitrix24Error if the environment's proxy or certificates cannot be used.
    """
    try:
        http = httpx.AsyncClient(
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": ACCEPTED},
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
            verify=trusted(ca_file),
            follow_redirects=False,
            event_hooks={"response": [_keep_location]},
            transport=transport,
        )
    except OSError as exc:  # SSL_CERT_FILE names no readable certificates
        raise failure("CERTIFICATES_UNREADABLE") from exc
    except (ImportError, ValueError, httpx.InvalidURL) as exc:  # a proxy that httpx cannot use
        raise failure("PROXY_FAILURE") from exc
    http.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))
    return http


async def _keep_location(response: httpx.Response) -> None:
    """Hide a redirect's address from httpx, which parses and fails on it even without following."""
    response.extensions["location"] = response.headers.pop("location", "")


async def post(http: httpx.AsyncClient, request: Request, redact: Redactor, logged_hosts: set[str]) -> Answer:
    """Return the answer to one POST of JSON; the caller limits its time.

    `redact` removes the secrets that no answer may show; `logged_hosts` collects the hosts that were logged for this
    caller. Follows a renamed portal's redirects itself: httpx would turn POST into GET. Another origin gets only what
    the redirect itself carries, and a redirect without proof of the caller is no renamed portal's, and is not followed.
    Raises Bitrix24Error if the portal gives no `result`.
    """
    url, home = request.url, origin(httpx.URL(request.url))
    for _ in range(_MAX_HOPS + 1):
        at_home = origin(httpx.URL(url)) == home
        body = {**request.params, **request.proof} if at_home else request.params
        try:
            async with http.stream("POST", url, json=body) as response:
                status = response.status_code
                if status not in _REDIRECTS:
                    return read_answer(status, response.headers, await read_body(response, ANSWER_LIMIT), redact)
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            error = network_error(exc, url)
            error.not_applied &= url == request.url  # else the portal got the call before it redirected it
            raise error from exc
        try:
            target = redirected(url, response.extensions["location"])
        except ValueError as exc:
            raise failure("PORTAL_MOVED", http_status=status, detail=str(exc)) from None
        host = redact(one_line(target.host, 100))
        if origin(target) != home and redact(str(target)) == str(target):
            raise failure("PORTAL_MOVED", http_status=status, detail=f"it is at {host} now")
        if host not in logged_hosts:
            logged_hosts.add(host)
            logger.warning("The portal sends callers to %s: update the address in the settings", host)
        url = str(target)
    raise failure("PORTAL_MOVED", http_status=status, detail="too many redirects")


def network_error(exc: Exception, url: str) -> Bitrix24Error:
    """Return the error that an httpx exception of a request to `url` means."""
    match exc:
        case httpx.ConnectError():
            kind = _connection_error_kind(exc)
            return failure("PROXY_FAILURE" if kind in _NO_CONNECTION and _uses_proxy(url) else kind)
        case httpx.ConnectTimeout():
            return failure("PROXY_FAILURE" if _uses_proxy(url) else "CONNECTION_FAILED")
        case httpx.TimeoutException():
            return failure("TIMEOUT")
        case httpx.ProxyError():
            return failure("PROXY_FAILURE")
        case httpx.DecodingError():
            return failure("BROKEN_ANSWER")
    return failure("CONNECTION_LOST")


_NO_CONNECTION = {"CONNECTION_REFUSED", "CONNECTION_FAILED", "DNS_FAILURE"}


def _uses_proxy(url: str) -> bool:
    """Return True if the environment has a proxy for `url`, as httpx reads it."""
    parsed = urlsplit(url)
    proxies = getproxies()
    return bool({parsed.scheme, "all"} & proxies.keys()) and not proxy_bypass(parsed.hostname or "")


def _connection_error_kind(error: BaseException) -> str:
    """Return the kind of the system's own error, which is at the end of httpx's chain of causes."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        match cause:
            case ssl.SSLError() if any(sign in str(cause) for sign in _NO_TLS):
                return "NOT_TLS"
            case ssl.SSLError():
                return "TLS_FAILURE"
            case socket.gaierror():
                return "DNS_FAILURE"
            case ConnectionRefusedError():
                return "CONNECTION_REFUSED"
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    return "CONNECTION_FAILED"
