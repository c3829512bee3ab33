"""What stands before the MCP endpoint: who is let in, how many requests at a time, and how long a body may take.

Pure ASGI, in front of the SDK's session manager. What a person may do is decided where tools are called; the gate only
says it earlier to clients that can get another token, and whose headers name the tool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import anyio
from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bitrix24_directories.mcp_server.scopes import READ_DIRECTORIES, needed_for

Verify = Callable[[str], Awaitable[AccessToken | None]]
"""Who a bearer token belongs to; None for one that is good for nothing."""

IN_FLIGHT = 256
"""Requests that are worked on at the same time; for one person at most IN_FLIGHT_OF_ONE."""
IN_FLIGHT_OF_ONE = 16
LISTENING_OF_ONE = 20
"""Streams that a person keeps open to hear of changes."""
BODY_SECONDS = 10.0


class Gate:
    """Lets requests through to `app`. Without `verify` nobody has to say who they are.

    `metadata_url` tells clients where they find out how to get a token; `nobody` tells that there is nobody to let in,
    which is no fault of a token.
    """

    def __init__(
        self, app: ASGIApp, verify: Verify | None, metadata_url: str = "", nobody: Callable[[], bool] = lambda: False
    ) -> None:
        self._app = app
        self._verify = verify
        self._nobody = nobody
        self._metadata_url = metadata_url
        self._working: Counter[str] = Counter()
        self._listening: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if scope["method"] != "POST":
            # A legacy client's stream would stay open for nothing: without sessions nobody would write to it.
            await JSONResponse({"error": "only POST is served here"}, 405, {"allow": "POST"})(scope, receive, send)
            return
        if self._verify is None:
            await self._counted("", headers, scope, receive, send)
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        token = await self._verify(given.strip()) if kind.lower() == "bearer" and given.strip() else None
        if token is None and self._nobody():
            body = {"error": "nobody_is_let_in", "error_description": _SAID[503]}
            await JSONResponse(body, 503, {"retry-after": "60"})(scope, receive, send)
            return
        if token is None:
            why = "invalid_token" if given else ""
            await self._refused(401, why, [READ_DIRECTORIES], scope, receive, send)
            return
        if self._metadata_url and (missing := _missing(headers, token)):  # who can get another token is told how
            await self._refused(403, "insufficient_scope", missing, scope, receive, send)
            return
        user = AuthenticatedUser(token)
        scope["user"] = user
        reset = auth_context_var.set(user)
        try:
            await self._counted(token.client_id, headers, scope, receive, send)
        finally:
            auth_context_var.reset(reset)

    async def _counted(self, name: str, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it through if there are not too many already."""
        listens = headers.get("mcp-method") == "subscriptions/listen"
        counts, most = (self._listening, LISTENING_OF_ONE) if listens else (self._working, IN_FLIGHT_OF_ONE)
        if name and counts[name] >= most:
            text = "too many requests of one person at the same time"
            await JSONResponse({"error": text}, 429, {"retry-after": "1"})(scope, receive, send)
            return
        if not listens and self._working.total() >= IN_FLIGHT:
            text = "too many requests at the same time"
            await JSONResponse({"error": text}, 503, {"retry-after": "1"})(scope, receive, send)
            return
        counts[name] += 1
        try:
            await self._app(scope, _in_time(receive), send)
        except _SlowBodyError:
            text = f"the body did not come within {BODY_SECONDS:g} s"
            await JSONResponse({"error": text}, 408, {"connection": "close"})(scope, receive, send)
        finally:
            counts[name] -= 1
            if not counts[name]:
                del counts[name]

    async def _refused(
        self, status: int, error: str, scopes: list[str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        facts: dict[str, str] = {"error": error} if error else {}
        facts["scope"] = " ".join(scopes)
        facts |= {"resource_metadata": self._metadata_url} if self._metadata_url else {}
        challenge = ", ".join(f'{name}="{value}"' for name, value in facts.items())
        body = {"error": error or "unauthorized", "error_description": _SAID[status]}
        await JSONResponse(body, status, {"www-authenticate": f"Bearer {challenge}"})(scope, receive, send)


def _missing(headers: Headers, token: AccessToken) -> list[str]:
    """The scopes that the tool which the headers name takes, and the token does not have."""
    needed = needed_for(headers.get("mcp-name", "")) if headers.get("mcp-method") == "tools/call" else ()
    return [scope for scope in needed if scope not in token.scopes]


_SAID: Mapping[int, str] = {
    401: "A token is needed that this server knows; whoever keeps it gives one out.",
    403: "This token is not good for that; whoever keeps this server can give another.",
    503: "This server can let nobody in at the moment; whoever keeps it finds the reason at /readyz and in its log.",
}


class _SlowBodyError(Exception):
    pass


def _in_time(receive: Receive) -> Receive:
    """Receives a body within BODY_SECONDS, and then whatever comes, whenever."""
    complete = False
    deadline = anyio.current_time() + BODY_SECONDS

    async def received() -> Message:
        nonlocal complete
        if complete:
            return await receive()
        with anyio.CancelScope(deadline=deadline) as scope:
            message = await receive()
        if scope.cancelled_caught:
            raise _SlowBodyError
        complete = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    return received
