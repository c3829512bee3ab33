"""Gets new tokens, in a process of its own that outlives its caller.

The authorization server takes a refresh token once: if the process that asked is killed before it has written the
answer down, a person has to authorise again. So the asking and the writing are left to a child that whatever ends the
server does not reach: `python -m` this module reads an Order as JSON on stdin; on stdout it prints an error as JSON, or
nothing.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from bitrix24_directories.rest.catalogue import CATALOGUE
from bitrix24_directories.rest.errors import Bitrix24Error, failure, from_authorization_server
from bitrix24_directories.rest.wire.exchange import network_error

from .tokens import TokenFile, Tokens

_SECONDS = 20.0


@dataclass(frozen=True)
class Order:
    """What to refresh: the file at `path`, unless its access token is already another than `refused`.

    `refresh_tokens` are tried after the one in the file.
    """

    path: str
    endpoint: str
    client_id: str
    client_secret: str
    refused: str
    refresh_tokens: list[str]


def refresh_elsewhere(order: Order) -> None:
    """Carry `order` out in a child process and wait for it. Raises Bitrix24Error when there are no new tokens.

    May be abandoned at any moment: the child ends what it has begun.
    """
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that signals to the server's process group pass it by
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
    ) as child:
        said, _ = child.communicate(json.dumps(asdict(order)).encode())
    if child.returncode == 0:
        return
    try:
        error = json.loads(said)
    except ValueError:
        raise failure("INTERNAL_ERROR") from None
    raise Bitrix24Error(entry=CATALOGUE[error["kind"]], **error)


def request_tokens(endpoint: str, grant: Mapping[str, str]) -> Tokens:
    """Ask the token endpoint for a pair. Raises Bitrix24Error for whatever it answers instead, and for the network."""
    try:
        answer = httpx.get(endpoint, params=grant, timeout=_SECONDS)
        said = answer.json()
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise network_error(exc) from exc
    except ValueError:
        raise from_authorization_server("", "", answer.status_code) from None
    tokens = Tokens.read(said)
    if tokens is None:
        said = said if isinstance(said, dict) else {}
        code, description = str(said.get("error", "")), str(said.get("error_description", ""))
        raise from_authorization_server(code, description, answer.status_code)
    return tokens


def _carry_out(order: Order) -> None:
    from filelock import FileLock

    file = TokenFile(Path(order.path))
    file.make_folder()
    with FileLock(file.lock_path, mode=0o600):
        kept = file.read()
        if kept is not None and kept.access_token != order.refused:
            return
        known = [kept.refresh_token] if kept else []
        file.write(_refreshed(order, known + [token for token in order.refresh_tokens if token not in known]))


def _refreshed(order: Order, refresh_tokens: list[str]) -> Tokens:
    """A new pair for the first of `refresh_tokens` that the server still takes."""
    error = failure("NO_TOKEN")
    for refresh_token in refresh_tokens:
        grant = {
            "grant_type": "refresh_token",
            "client_id": order.client_id,
            "client_secret": order.client_secret,
            "refresh_token": refresh_token,
        }
        try:
            return request_tokens(order.endpoint, grant)
        except Bitrix24Error as exc:
            if exc.kind != "invalid_grant":
                raise
            error = exc
    raise error


def main() -> int:
    try:
        order = Order(**json.load(sys.stdin))
    except (ValueError, TypeError):  # whoever ordered was killed half-way: nothing has been asked for yet
        return 2
    try:
        _carry_out(order)
    except Bitrix24Error as exc:
        said: dict[str, Any] = {"kind": exc.kind, "http_status": exc.http_status, "words": exc.words, "code": exc.code}
    except OSError:
        said = {"kind": "TOKENS_NOT_KEPT"}
    else:
        return 0
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(json.dumps(said))
        sys.stdout.flush()
    return 1


if __name__ == "__main__":
    sys.exit(main())
