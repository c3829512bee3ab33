"""Helpers of the tests of a team's server: a server on a free port, and its people."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.request_state import RequestStateSecurity
from mcp_types import CallToolRequestParams, CallToolResult

from bitrix24_directories.mcp_server.scopes import SCOPES
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.rest import Webhook
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import Inside, State
from bitrix24_directories.team.metrics import Metrics
from bitrix24_directories.team.news import PortalSubscriptions
from bitrix24_directories.team.people import People, Person
from bitrix24_directories.team.sealing import SharedSeal
from bitrix24_directories.team.serving import HttpServer, application, listen
from bitrix24_directories.team.team import Team
from bitrix24_directories.team.tokens import PersonToken, TokenVerifier
from support import ADMIN_SECRET, RunningPortal


class TeamServer:
    """A server on a free port, and the people who may call it."""

    def __init__(
        self, portal: RunningPortal, folder: Path, *, state: State | None = None, secret: bytes = b"", **settings: Any
    ) -> None:
        self.state, self.secret = state or Inside(), secret
        self.portal = portal
        self.people = People(folder / "people.jsonl")
        self.settings = Settings.model_construct(**({"timeout": 20, "allow_writes": True} | settings))
        self.shared: Webhook | None = None
        self.url = ""
        self.http: HttpServer | None = None

    def add(self, name: str, secret: str = ADMIN_SECRET, scopes: tuple[str, ...] = SCOPES) -> str:
        return self.people.add(name, scopes, Webhook.parse(self.portal.webhook_url(secret)))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self.team = Team(self.people, self.settings, self.shared, state=self.state, secret=self.secret)
        self.team.metrics = Metrics(self.team.portals, self.team.connected)
        security = RequestStateSecurity(codec=SharedSeal(self.state)) if self.secret else None
        server = DirectoriesServer(
            self.team, self.settings, news=PortalSubscriptions(self.state).bus, request_state_security=security
        )
        logging.getLogger().setLevel(logging.WARNING)
        verify = TokenVerifier(self.people, self.settings).verify
        app = application(server, self.team, self.settings, verify, beyond_loopback=False)
        listening = listen("127.0.0.1", 0)
        self._listening = listening
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        self.http = HttpServer(app, server)
        async with anyio.create_task_group() as tasks:
            with _signals_untouched(self.http):
                tasks.start_soon(self.http.serve, [listening])
                while not self.http.started:  # noqa: ASYNC110 - uvicorn has no event for it
                    await anyio.sleep(0.01)
                try:
                    yield
                finally:
                    self.http.should_exit = True

    async def end(self) -> None:
        """End at this moment, as with SIGTERM."""
        assert self.http is not None
        await self.http.shutdown([self._listening])

    @contextlib.asynccontextmanager
    async def client(self, token: str, mode: str = "auto", **options: Any) -> AsyncIterator[Client]:
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(f"{self.url}/mcp", http_client=http)
            async with Client(transport, mode=mode, **options) as client:
                yield client


@contextlib.contextmanager
def _signals_untouched(server: HttpServer) -> Any:
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    yield


async def call_tool(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    assert result.structured_content is not None
    return dict(result.structured_content)


ACCEPT = {"accept": "application/json, text/event-stream"}


def tool_call(tool: str, **arguments: Any) -> dict[str, Any]:
    """The call as JSON-RPC, for tests that speak HTTP themselves."""
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def request_of(person: Person, scopes: Sequence[str] = SCOPES) -> Any:
    """The SDK's context of a person's request, as far as the server uses it, without HTTP."""
    user = AuthenticatedUser(PersonToken(token="", client_id=person.name, scopes=list(scopes), person=person))
    session = SimpleNamespace(client_capabilities=None)
    return SimpleNamespace(request=SimpleNamespace(scope={"user": user}), session=session, meta=None)


async def call_tool_as(server: DirectoriesServer, person: Person, tool: str, **arguments: Any) -> CallToolResult:
    """Result of a person's tool call, without HTTP."""
    params = CallToolRequestParams(name=tool, arguments=arguments)
    result = await server.on_call_tool(request_of(person), params)
    assert isinstance(result, CallToolResult)
    return result
