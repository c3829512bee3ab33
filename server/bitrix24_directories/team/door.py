"""Connections before anybody has said who they are: how long they may take, and how many there may be.

A connection rests until it carries a request of somebody who is let in, and while its client does not read what it is
sent. It rests for SECONDS at most, whatever comes over it meanwhile, and the one that has rested longest is closed if
there are too many: strangers keep nobody out, whether they say nothing or never cease.
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
"""For the head of a request to come, the first as well as the next one."""
LAST_SECONDS = 0.5
"""The same when the server is ending: what a proxy has just sent is answered."""
MOST_CONNECTIONS = 8192
LET_IN = "let in"
"""What in a request's `state` is to be called once it is known whose it is."""
_DESCRIPTORS = 512  # where the system does not tell how many there are


def descriptors() -> int:
    """How many files and connections this process may have open."""
    if sys.platform == "win32":
        return _DESCRIPTORS
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft > 0 else 2 * MOST_CONNECTIONS


class Door:
    """The connections of one server, `most` of them at the same time."""

    def __init__(self, most: int) -> None:
        self._most, self._seconds = most, SECONDS
        self._open: set[Connection] = set()
        self._resting: dict[Connection, asyncio.TimerHandle] = {}

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)
        self.rests(connection)
        if len(self._open) > self._most:
            logger.warning("There are %d connections, and no more fit: the longest unused is closed", self._most)
            longest = next(iter(self._resting))
            self.closed(longest)
            longest.transport.abort()

    def rests(self, connection: Connection) -> None:
        """It does from now on; or for SECONDS more, and has rested for as long as before."""
        if timer := self._resting.get(connection):
            timer.cancel()
        seconds = self._seconds if connection.is_idle() else SECONDS

        def close() -> None:  # what its client has not read by then may take as long again
            connection.transport.close()
            self._resting[connection] = connection.loop.call_later(SECONDS, connection.transport.abort)

        self._resting[connection] = connection.loop.call_later(seconds, close)

    def works(self, connection: Connection) -> None:
        if timer := self._resting.pop(connection, None):
            timer.cancel()

    def closed(self, connection: Connection) -> None:
        self.works(connection)
        self._open.discard(connection)

    def end(self) -> None:
        """Wait for requests only LAST_SECONDS from now on."""
        self._seconds = LAST_SECONDS
        for connection in [*self._resting]:
            self.rests(connection)


class Connection(H11Protocol):
    """uvicorn's, with a door; a subclass for each server names it."""

    door: ClassVar[Door]
    _is_let_in = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.door.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.door.closed(self)
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Whether it carries no request."""
        return self.cycle is None or self.cycle.response_complete

    def shutdown(self) -> None:
        """Let the door close it if it is idle: a request may be on its way."""
        if not self.is_idle():
            super().shutdown()

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None:
            self.scope["state"][LET_IN] = self.let_in

    def pause_writing(self) -> None:
        super().pause_writing()
        self.door.rests(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._is_let_in and not self.transport.is_closing():
            self.door.works(self)

    def on_response_complete(self) -> None:
        self._is_let_in = False
        self.door.rests(self)
        super().on_response_complete()

    def let_in(self) -> None:
        """Hear that the request is that of somebody who is let in."""
        self._is_let_in = True
        if not self.flow.write_paused and not self.transport.is_closing():
            self.door.works(self)


class OneLength:
    """Refuses requests that say their length in two ways, of which a proxy may believe the other (RFC 9112, 6.3).

    Those to the path `logged` are in the log.
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
