"""Limits on connections that are not authenticated yet: their time and their number.

A connection is idle until it carries a request of an admitted person, and while its client does not read its answer. It
may be idle for SECONDS, whatever it sends meanwhile, and the longest idle one is closed if there are too many:
strangers keep nobody out, whether they are silent or never stop.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any, ClassVar

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .access import Access, AccessLog

logger = logging.getLogger(__name__)

SECONDS = 10.0
"""Time for the head of a request to arrive, of the first as of each next one."""
LAST_SECONDS = 0.5
"""The same while the server ends: a request that a proxy has just sent is answered."""
MOST_CONNECTIONS = 8192
LET_IN = "let in"
"""Key in a request's `state` of the function to call once its person is known."""
_DESCRIPTORS = 512  # if the system does not say how many there are


def descriptors() -> int:
    """Return the number of files and connections that this process may have open."""
    if sys.platform == "win32":
        return _DESCRIPTORS
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft > 0 else 2 * MOST_CONNECTIONS


class Door:
    """Connections of one server, at most `most` at the same time."""

    def __init__(self, most: int) -> None:
        self._most, self._seconds = most, SECONDS
        self._open: set[Connection] = set()
        self._idle: dict[Connection, asyncio.TimerHandle] = {}

    def add(self, connection: Connection) -> None:
        """Add a connection; if there are too many, abort the one that is idle longest."""
        self._open.add(connection)
        self.start_idle_timer(connection)
        if len(self._open) > self._most:
            logger.warning("There are %d connections, and no more fit: the longest unused is closed", self._most)
            longest = next(iter(self._idle))
            self.remove(longest)
            longest.transport.abort()

    def start_idle_timer(self, connection: Connection) -> None:
        """Start a connection's idle time, or give it SECONDS more; its place in the order stays."""
        if timer := self._idle.get(connection):
            timer.cancel()
        seconds = self._seconds if connection.is_idle() else SECONDS

        def close() -> None:  # the client has as long again to read what was sent
            connection.transport.close()
            self._idle[connection] = connection.loop.call_later(SECONDS, connection.transport.abort)

        self._idle[connection] = connection.loop.call_later(seconds, close)

    def stop_idle_timer(self, connection: Connection) -> None:
        """Stop the idle timer of a connection."""
        if timer := self._idle.pop(connection, None):
            timer.cancel()

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        self.stop_idle_timer(connection)
        self._open.discard(connection)

    def end(self) -> None:
        """Wait for requests only LAST_SECONDS from now on."""
        self._seconds = LAST_SECONDS
        for connection in [*self._idle]:
            self.start_idle_timer(connection)


class Connection(H11Protocol):
    """uvicorn's connection with a Door; a subclass for each server sets it."""

    door: ClassVar[Door]
    _is_let_in = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.door.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.remove(self)
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Return True if the connection carries no request."""
        return self.cycle is None or self.cycle.response_complete

    def shutdown(self) -> None:
        """Leave an idle connection to the Door: a request may be on its way."""
        if not self.is_idle():
            super().shutdown()

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None:
            self.scope["state"][LET_IN] = self.let_in

    def pause_writing(self) -> None:
        super().pause_writing()
        self.door.start_idle_timer(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._is_let_in and not self.transport.is_closing():
            self.door.stop_idle_timer(self)

    def on_response_complete(self) -> None:
        self._is_let_in = False
        self.door.start_idle_timer(self)
        super().on_response_complete()

    def let_in(self) -> None:
        """Note that the request is that of an admitted person."""
        self._is_let_in = True
        if not self.flow.write_paused and not self.transport.is_closing():
            self.door.stop_idle_timer(self)


class OneLength:
    """Refuses requests with two lengths, of which a proxy may believe the other (RFC 9112, 6.3).

    Refused requests to the path `logged` are in the access log.
    """

    def __init__(self, app: ASGIApp, log: AccessLog, logged: str) -> None:
        self._app = app
        self._log = log
        self._logged = logged

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        names: set[Any] = {name for name, _ in scope.get("headers", ())}
        if {b"content-length", b"transfer-encoding"} <= names:
            text = "Content-Length and Transfer-Encoding: one of them is too many"
            await PlainTextResponse(text, 400, {"connection": "close"})(scope, receive, send)
            if scope["path"] == self._logged:
                self._log.write(Access(status=400))
            return
        await self._app(scope, receive, send)
