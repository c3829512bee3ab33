"""HTTP application and process of a team's server: the MCP endpoint, health and readiness."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from urllib.parse import urlsplit

import anyio
import uvicorn
from mcp.server.auth.routes import build_resource_metadata_url, create_protected_resource_routes
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import AnyHttpUrl
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.server import HANDLED_SIGNALS

from bitrix24_directories.logs import refusals_limited
from bitrix24_directories.mcp_server.listening import STREAMS
from bitrix24_directories.mcp_server.scopes import SCOPES
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.mcp_server.session import Sessions
from bitrix24_directories.settings import Settings

from .access import AccessLog
from .door import MOST_CONNECTIONS, SECONDS, Connection, Door, OneLength, descriptors
from .gate import BODY_LIMIT, Gate, Verify
from .team import Team

GRACE_SECONDS = 20
"""For calls to finish after SIGTERM."""
_PROBED_SECONDS = 5.0
_LOOPBACK_HOSTS = ["127.0.0.1:*", "localhost:*", "[::1]:*"]


class ServingError(Exception):
    """The server cannot start, for a reason in words for an administrator."""


def application(
    server: DirectoriesServer, sessions: Sessions, settings: Settings, verify: Verify | None, *, beyond_loopback: bool
) -> Starlette:
    """Return the application: `/mcp`, `/healthz`, `/readyz`, `/metrics`, and OAuth metadata.

    Raises ServingError for settings that would admit people by mistake.
    """
    if beyond_loopback and verify is None:
        raise ServingError(
            "Beyond this machine everybody has to say who they are: name the file of people in BITRIX24_PEOPLE "
            "(`bitrix24-directories-mcp person add NAME` makes it), or an identity provider in BITRIX24_JWT_ISSUER."
        )
    manager = server.over_http(_security(settings, beyond_loopback=beyond_loopback), BODY_LIMIT)
    routes, metadata_url = _metadata(settings)
    try:
        log = AccessLog(settings.access_log)
    except OSError as exc:
        raise ServingError(f"BITRIX24_ACCESS_LOG cannot be written: {exc.strerror or exc}") from None
    gate = Gate(manager.handle_request, verify, log, metadata_url, sessions.has_no_callers)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        with contextlib.closing(log):
            async with manager.run():
                yield

    probing = anyio.Lock()

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def ready(_: Request) -> Response:
        """Not ready if no portal answers, or if no person may call.

        Both are checked here: a server that gets no calls would not notice that they are well again.
        """
        async with probing:  # one probe at a time, for any number of requests
            portals, connections = [], sessions.connections()
            now = anyio.current_time()
            for address, connection in connections.items():
                failed_at = connection.failed_at
                if connection.fails and failed_at is not None and now - failed_at > _PROBED_SECONDS:
                    await connection.probe(address)
                reached = None if connection.reached_at is None else int(anyio.current_time() - connection.reached_at)
                host = urlsplit(address).netloc
                portals.append({"portal": host, "answers": not connection.fails, "reachedSecondsAgo": reached})
            reachable = not connections or not all(connection.fails for connection in connections.values())
            is_ready = not sessions.has_no_callers() and reachable
        return JSONResponse({"ready": is_ready, "portals": portals, **sessions.health()}, 200 if is_ready else 503)

    async def measured(_: Request) -> Response:
        metrics = sessions.metrics if isinstance(sessions, Team) else None
        if metrics is None:
            return PlainTextResponse("Metrics need the extra: pip install 'bitrix24-directories-mcp[team]'", 404)
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return Starlette(
        routes=[
            Route("/mcp", gate),
            Route("/healthz", alive, methods=["GET"]),
            Route("/readyz", ready, methods=["GET"]),
            Route("/metrics", measured, methods=["GET"]),
            *routes,
        ],
        middleware=[Middleware(OneLength, log=log, logged="/mcp")],
        lifespan=lifespan,
    )


def _security(settings: Settings, *, beyond_loopback: bool) -> TransportSecuritySettings:
    hosts = [host.strip() for host in settings.allowed_hosts.split(",") if host.strip()]
    origins = [origin.strip() for origin in settings.allowed_origins.split(",") if origin.strip()]
    if settings.public_url:
        hosts.append(urlsplit(settings.public_url).netloc)
    if beyond_loopback and not hosts:
        raise ServingError(
            "By what name do clients reach this server? Set BITRIX24_PUBLIC_URL (https://directories.example.com/mcp), "
            "or BITRIX24_ALLOWED_HOSTS (names with ports, commas between them)."
        )
    if not beyond_loopback:
        hosts += _LOOPBACK_HOSTS
        origins += [f"http://{host}" for host in _LOOPBACK_HOSTS]
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)


def _metadata(settings: Settings) -> tuple[list[Route], str]:
    """Return routes that name the identity provider; none if the tokens are the server's own."""
    if not settings.jwt_issuer:
        return [], ""
    if not settings.public_url:
        raise ServingError("With BITRIX24_JWT_ISSUER clients need BITRIX24_PUBLIC_URL, this server's own address.")
    if not settings.jwt_audience:
        raise ServingError("BITRIX24_JWT_AUDIENCE has to say for whom the tokens of BITRIX24_JWT_ISSUER are given out.")
    resource = AnyHttpUrl(settings.public_url)
    routes = create_protected_resource_routes(resource, [AnyHttpUrl(settings.jwt_issuer)], list(SCOPES))
    return routes, str(build_resource_metadata_url(resource))


def is_loopback(host: str) -> bool:
    """Return true for an address of this machine."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that accepts connections. Raises OSError if that fails."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host.strip("[]"), port), family=family)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    return listening


class HttpServer(uvicorn.Server):
    """Server that ends listening streams first: they would delay its end by all its grace time.

    Half of the descriptors are for connections, half of these for streams; at most another eighth of the descriptors is
    for connections that wait to be accepted.
    """

    def __init__(self, app: Starlette, server: DirectoriesServer, announce: Callable[[], None] = lambda: None) -> None:
        """Call `announce` once requests are answered, and SIGTERM is an orderly end."""
        most = descriptors()
        connections = min(MOST_CONNECTIONS, most // 2)
        self._door, self._most_streams = Door(connections), connections // 2

        class Accepted(Connection):
            door = self._door

        config = uvicorn.Config(
            app,
            http=Accepted,
            ws="none",  # the Door would not count an upgraded connection
            backlog=min(2048, most // 8),
            timeout_keep_alive=int(SECONDS),
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._mcp, self._announce, self._accepted = server, announce, Accepted
        # Otherwise the signal would cut off answers under way; all other streams end by themselves.
        AppStatus.enable_automatic_graceful_drain = False

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._mcp.listeners.most = min(STREAMS, self._most_streams)
        with refusals_limited():
            await super().serve(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End in order with a signal; uvicorn raises it again, so that it looks like a crash."""
        before = {number: signal.signal(number, self.handle_exit) for number in HANDLED_SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order: each client that has connected by now gets a last answer."""
        self._mcp.listeners.close()
        self._door.end()
        self.server_state.default_headers.append((b"connection", b"close"))
        waiting = []
        for listening in sockets or ():  # clients that have connected and were not accepted yet would be reset
            with contextlib.suppress(OSError):
                while True:
                    waiting.append(listening.accept()[0])
        for server in self.servers:
            server.close()
        protocol = partial(
            self._accepted, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
        await super().shutdown(sockets)
