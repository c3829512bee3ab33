"""Authentication before the MCP endpoint, and limits for bodies and for open streams.

Pure ASGI, in front of the SDK's session manager. Tools decide which calls a person may make, and how many at a time;
the gate only refuses earlier for clients that can get another token. It reads the body alone, because headers that
repeat the request are a client's claim.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp_types import INVALID_REQUEST
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bitrix24_directories.mcp_server.scopes import READ_DIRECTORIES
from bitrix24_directories.mcp_server.tools.registry import tool_named

from .access import SCOPE_KEY, Access, AccessLog, request_fields
from .door import LET_IN
from .keys import ASKED_EVERY, KeysError

Verify = Callable[[str], Awaitable[AccessToken | None]]
"""Returns a bearer token's person; None for an invalid one. Raises KeysError if that cannot be known."""

LISTENING_OF_ONE = 20
"""Streams that a person may keep open for events of changes."""
BODY_LIMIT = 2**20
"""Bytes of a request; 500 items or 50 records are a tenth of that."""
BODY_SECONDS = 10.0


class Gate:
    """Passes requests on to `app`, and logs each. Without `verify` nobody needs a token.

    `metadata_url` is the address at which clients learn how to get a token; `nobody` returns True if no person may call
    at all, which is no fault of a token.
    """

    def __init__(
        self,
        app: ASGIApp,
        verify: Verify | None,
        log: AccessLog,
        metadata_url: str = "",
        nobody: Callable[[], bool] = lambda: False,
    ) -> None:
        self._app = app
        self._verify = verify
        self._log = log
        self._nobody = nobody
        self._metadata_url = metadata_url
        self._listening: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        access = scope[SCOPE_KEY] = Access()
        try:
            await self._serve(access, scope, receive, access.recording(send))
        except Exception:
            access.outcome = access.outcome or "500"
            raise
        finally:
            self._log.write(access)

    async def _serve(self, access: Access, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            # A legacy client's stream would stay open for nothing: without sessions nobody would write to it.
            await JSONResponse({"error": "only POST is served here"}, 405, {"allow": "POST"})(scope, receive, send)
            return
        try:
            token = await self._authenticate(Headers(scope=scope))
            access.person = token.client_id if token else ""
            if let_in := scope.get("state", {}).get(LET_IN):
                let_in()
            body = await _read_body(receive)
            try:
                message = json.loads(body)
            except (ValueError, RecursionError):
                message = None
            message = message if isinstance(message, dict) else {}  # the SDK answers what is wrong with it
            access.fields = request_fields(message)
            params = message.get("params")
            name = params.get("name") if isinstance(params, dict) and message.get("method") == "tools/call" else None
            if token and self._metadata_url and isinstance(name, str):  # a client that can get another token
                tool = tool_named(name)
                needed = tool.scopes if tool else (READ_DIRECTORIES,)
                if missing := [scope for scope in needed if scope not in token.scopes]:
                    raise self._refusal(403, "insufficient_scope", missing)
        except _RefusedError as exc:
            await JSONResponse(exc.body, exc.status, exc.headers)(scope, receive, send)
            return
        if token is None:
            await self._pass_on("", message, scope, _replayed(body, receive), send)
            return
        user = AuthenticatedUser(token)
        scope["user"] = user
        reset = auth_context_var.set(user)
        try:
            await self._pass_on(token.client_id, message, scope, _replayed(body, receive), send)
        finally:
            auth_context_var.reset(reset)

    async def _authenticate(self, headers: Headers) -> AccessToken | None:
        """Return the request's token, None if none is needed. Raises _RefusedError for a bad one."""
        if self._verify is None:
            return None
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        try:
            token = await self._verify(bearer.strip()) if kind.lower() == "bearer" and bearer.strip() else None
        except KeysError as exc:
            raise _RefusedError(503, f"{exc}; try again later", {"retry-after": f"{ASKED_EVERY:.0f}"}) from None
        if token is None and self._nobody():
            refusal = _RefusedError(503, "nobody_is_let_in", {"retry-after": "60"})
            refusal.body["error_description"] = _DESCRIPTIONS[503]
            raise refusal
        if token is None:
            raise self._refusal(401, "invalid_token" if bearer else "", [READ_DIRECTORIES])
        return token

    async def _pass_on(self, name: str, message: Mapping[str, Any], scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, unless it would be one stream too many."""
        if message.get("method") != "subscriptions/listen":
            await self._app(scope, receive, send)
            return
        if name and self._listening[name] >= LISTENING_OF_ONE:
            text = f"{LISTENING_OF_ONE} streams of yours listen already: close one, or listen to more on one of them"
            error = {"code": INVALID_REQUEST, "message": text}
            body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "error": error})  # an id may be half a letter
            await Response(body, 400, media_type="application/json")(scope, receive, send)
            return
        self._listening[name] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._listening[name] -= 1
            if not self._listening[name]:
                del self._listening[name]

    def _refusal(self, status: int, error: str, scopes: list[str]) -> _RefusedError:
        facts: dict[str, str] = {"error": error} if error else {}
        facts["scope"] = " ".join(scopes)
        facts |= {"resource_metadata": self._metadata_url} if self._metadata_url else {}
        challenge = ", ".join(f'{name}="{value}"' for name, value in facts.items())
        refusal = _RefusedError(status, error or "unauthorized", {"www-authenticate": f"Bearer {challenge}"})
        refusal.body["error_description"] = _DESCRIPTIONS[status]
        return refusal


_DESCRIPTIONS: Mapping[int, str] = {
    401: "Missing or unknown token; ask the administrator of this server.",
    403: "This token does not allow that; the administrator of this server can give another.",
    503: "This server can let nobody in at the moment; its administrator finds the reason at /readyz and in its log.",
}


class _RefusedError(Exception):
    """Answer to a request that is not passed on."""

    def __init__(self, status: int, error: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.body = {"error": error}
        self.headers = headers
        super().__init__(error)


async def _read_body(receive: Receive) -> bytes:
    """Return the whole body. Raises _RefusedError if it is too slow or too large."""
    body = bytearray()
    with anyio.move_on_after(BODY_SECONDS):
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _RefusedError(400, "the body ended early")
            body += message.get("body", b"")
            if len(body) > BODY_LIMIT:
                raise _RefusedError(413, f"the body has more than {BODY_LIMIT} bytes")
            if not message.get("more_body", False):
                return bytes(body)
    raise _RefusedError(408, f"the body did not come within {BODY_SECONDS:g} s", {"connection": "close"})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that repeats a body, and then goes on with the original one."""
    left = [body]

    async def received() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return received
