"""Process that requests new tokens and stores them, even if its parent has ended.

Reads an Order as JSON on stdin; prints an error as JSON on stdout, or nothing.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import anyio
import httpx

from bitrix24_directories.errors.errors import (
    Bitrix24Error,
    clean,
    failure,
    from_authorization_server,
    of_authorization_server,
)
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest.wire.answers import not_json
from bitrix24_directories.rest.wire.bodies import ACCEPTED, read_body
from bitrix24_directories.rest.wire.exchange import USER_AGENT, network_error, trusted

from .renewal import Order
from .tokens import TokenFile, Tokens

SECONDS = 120.0
"""The authorization server's time in all. By then the caller has got its own timeout."""

_QUEUE_SECONDS = SECONDS + 30  # for another process that renews the same tokens
_SECRETS = ("client_secret", "refresh_token", "code")
_ANSWER_LIMIT = 64 * 2**10
_REPORTED = ("kind", "http_status", "detail", "portal_message", "code", "not_applied")  # of an error, on stdout


async def request_tokens(endpoint: str, grant: Mapping[str, str], ca_file: str) -> Tokens:
    """Request a pair of tokens; `ca_file`, if named, is one more trusted authority.

    Raises Bitrix24Error for every other answer, and for the network; its text names the endpoint's host.
    """
    host = httpx.URL(endpoint).netloc.decode("ascii")
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": ACCEPTED}
    try:
        with anyio.fail_after(SECONDS):
            async with (
                httpx.AsyncClient(headers=headers, timeout=None, verify=trusted(ca_file)) as client,  # noqa: S113 - the deadline is above
                client.stream("GET", endpoint, params=grant) as answer,
            ):
                body = await read_body(answer, _ANSWER_LIMIT)
    except TimeoutError:
        raise of_authorization_server(failure("TIMEOUT"), host) from None
    except Bitrix24Error as exc:  # the body, or the certificates
        raise of_authorization_server(exc, host) from None
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise of_authorization_server(network_error(exc, endpoint), host) from exc
    except OSError as exc:  # SSL_CERT_FILE names no readable certificates
        raise failure("CERTIFICATES_UNREADABLE") from exc
    except (ImportError, ValueError) as exc:  # a proxy in the environment that httpx cannot use
        raise failure("PROXY_FAILURE") from exc
    if answer.is_redirect:  # it is not followed: the address holds the secrets
        raise failure("NOT_OAUTH", http_status=answer.status_code, detail=host)
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise of_authorization_server(not_json(answer.status_code, answer.headers, body), host) from None
    tokens = Tokens.read(parsed)
    if tokens is None:
        redact = Redactor(lambda: [grant[name] for name in _SECRETS if name in grant])
        texts = (parsed.get(key, "") if isinstance(parsed, dict) else "" for key in ("error", "error_description"))
        code, description = (redact(clean(str(text))) for text in texts)
        raise from_authorization_server(code, description, answer.status_code, host)
    return tokens


def carry_out(order: Order) -> None:
    """Renew the tokens of `order`. Raises Bitrix24Error; errors of the disk precede any request."""
    file = TokenFile(Path(order.path))
    try:
        with file.replacement(_QUEUE_SECONDS) as write:
            try:
                current = file.read()
            except ValueError:
                current = None
            if current is not None and current.access_token != order.refused:
                return
            candidates = [current.refresh_token] if current else []
            candidates += [token for token in order.refresh_tokens if token not in candidates]
            write(anyio.run(_refreshed, order, candidates))
    except TimeoutError:
        raise failure("RENEWAL_FAILED", detail="another process has been at it for minutes") from None
    except OSError:
        raise failure("TOKENS_NOT_KEPT") from None


async def _refreshed(order: Order, refresh_tokens: list[str]) -> Tokens:
    """Return a new pair for the first of `refresh_tokens` that the server accepts."""
    error = failure("NO_TOKEN")
    for refresh_token in refresh_tokens:
        grant = {
            "grant_type": "refresh_token",
            "client_id": order.client_id,
            "client_secret": order.client_secret,
            "refresh_token": refresh_token,
        }
        try:
            return await request_tokens(order.endpoint, grant, order.ca_file)
        except Bitrix24Error as exc:
            if exc.kind != "invalid_grant":
                raise
            error = exc
    raise error


def main() -> int:
    """Renew the tokens of the order on standard input; return the exit code."""
    try:
        order = Order(**json.load(sys.stdin))
    except (ValueError, TypeError):  # the parent was killed half-way: nothing has been requested yet
        return 2
    try:
        carry_out(order)
    except Bitrix24Error as exc:
        fields = {name: getattr(exc, name) for name in _REPORTED}
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(json.dumps(fields))
            sys.stdout.flush()
        return 1
    return 0
