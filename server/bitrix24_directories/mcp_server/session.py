"""Sessions: who makes a request, and what tools, prompts and resources work with for them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.apps import client_supports_apps
from mcp.server.context import ServerRequestContext

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.reading.cache import Cache
from bitrix24_directories.logs import network_logs_redacted
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import Bitrix24Client, Bitrix24Error, Credentials, PortalConnection, Transport, failure
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import State

from .scopes import SCOPES

if TYPE_CHECKING:
    from bitrix24_directories.changing.audit import Audit
    from bitrix24_directories.changing.changes import Changes
    from bitrix24_directories.changing.merging.merges import Merges

Request = ServerRequestContext[Any, Any]
"""The SDK's context of one request."""
Identity = tuple[str, ...]
"""Tells one caller from all others, and from themselves with other rights; empty where there is one alone."""


@dataclass(frozen=True)
class Writing:
    """What the tools that change a portal work with."""

    changes: Changes
    merges: Merges


@dataclass(frozen=True)
class Session:
    """What a tool, a prompt or a resource works with in one request: the caller's view of a portal, by their
    rights.

    `writing` is None where writes are switched off. `portal` tells whose news the caller hears. `request` is None if a
    program opens a session without a client. `responses` and `state` are what a client sends back after it was asked
    something.
    """

    directories: Directories
    writing: Writing | None = None
    portal: str = ""
    request: Request | None = None
    responses: Mapping[str, object] = field(default_factory=dict)
    state: str | None = None

    @property
    def changes(self) -> Changes:
        """Changes of directories, for tools that are there only with writes allowed."""
        assert self.writing is not None, "the changing tools are there only with writes allowed"
        return self.writing.changes

    @property
    def merges(self) -> Merges:
        """Merges of codes, for tools that are there only with writes allowed."""
        assert self.writing is not None, "the changing tools are there only with writes allowed"
        return self.writing.merges

    @property
    def can_ask(self) -> bool:
        """Whether the client can put a form before a person; `elicitation: {}` is how older ones say so."""
        capabilities = self.request.session.client_capabilities if self.request else None
        elicitation = capabilities.elicitation if capabilities else None
        return elicitation is not None and (elicitation.form is not None or elicitation.url is None)

    @property
    def shows_pictures(self) -> bool:
        """Whether the client shows MCP Apps."""
        return self.request is not None and client_supports_apps(self.request)


class Sessions(ABC):
    """Opens a session for each request to a server: of the one caller there is, or of one of a team's people."""

    on_refused: Callable[[Identity], object] | None = None
    """Called with the identity of a person whom the portal does not let in any more."""

    @abstractmethod
    def running(self) -> AbstractAsyncContextManager[None]:
        """To be entered before the first session."""

    @abstractmethod
    def session(
        self, request: Request | None, what: str, needed: Sequence[str]
    ) -> AbstractAsyncContextManager[Session]:
        """A session for `what`, which needs some scopes.

        Raises Bitrix24Error where the caller lacks one of them (INSUFFICIENT_SCOPE), is not known any more, has too
        many calls under way, or is not let in by the portal. Whoever has many calls under way waits.
        """

    @abstractmethod
    def scopes(self, request: Request | None) -> Collection[str]:
        """What the caller may do here."""

    @abstractmethod
    def secrets(self) -> Collection[str]:
        """All that must appear nowhere."""

    @abstractmethod
    def connections(self) -> Mapping[str, PortalConnection]:
        """The portals that have been called so far, by address."""

    def identity(self, request: Request | None) -> Identity:
        """Who calls, looked up anew. Raises Bitrix24Error where they are not known any more."""
        del request
        return ()

    def portal(self, request: Request | None) -> str:
        """Tells whose news the caller hears. Raises Bitrix24Error where they are not known any more."""
        del request
        return ""

    def ended(self, request: Request | None, outcome: str, tool: str | None = None, seconds: float = 0) -> None:
        """Hear how a request has ended: `ok`, or the code of its error; `tool` is set for the call of one."""
        del request, outcome, tool, seconds

    def nobody(self) -> bool:
        """Whether nobody at all can be let in."""
        return False

    def said(self) -> Mapping[str, object]:
        """What readiness says besides."""
        return {}


class OneCaller(Sessions):
    """Sessions of the one whose client has started this process; or the error that stands in their place."""

    def __init__(
        self,
        portal: Credentials | Bitrix24Error,
        settings: Settings,
        *,
        transport: Transport | None = None,
        cache: Cache | None = None,
        audit: Audit | None = None,
    ) -> None:
        self._portal = portal
        self._audit = audit
        self._settings = settings
        self._connection = PortalConnection(settings.limits, transport, ca_file=settings.ca_file)
        self._cache = cache
        self._session: Session | Bitrix24Error = failure("INTERNAL_ERROR")  # until it runs, before any request
        if settings.allow_writes and not isinstance(portal, Bitrix24Error):
            from bitrix24_directories.changing.changes import audit_trouble

            self._portal = audit_trouble(settings.audit_log) or portal

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        settings = self._settings
        if isinstance(self._portal, Bitrix24Error):
            self._session = self._portal
            yield
            return
        with network_logs_redacted(Redactor(self.secrets)):
            async with Bitrix24Client(self._portal, timeout=settings.timeout, connection=self._connection) as client:
                directories = Directories(client, self._cache or Cache(settings.cache_ttl))
                self._session = session_of(directories, settings, audit=self._audit)
                try:
                    yield
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._connection.close()

    @asynccontextmanager
    async def session(self, request: Request | None, what: str, needed: Sequence[str]) -> AsyncIterator[Session]:
        del what, needed  # one alone may do all
        if isinstance(self._session, Bitrix24Error):
            raise self._session
        yield replace(self._session, request=request)

    def scopes(self, request: Request | None) -> Collection[str]:
        del request
        return SCOPES

    def secrets(self) -> Collection[str]:
        return () if isinstance(self._portal, Bitrix24Error) else self._portal.secrets

    def connections(self) -> Mapping[str, PortalConnection]:
        return {} if isinstance(self._portal, Bitrix24Error) else {self._portal.identity[0]: self._connection}


def session_of(
    directories: Directories,
    settings: Settings,
    *,
    name: str = "",
    state: State | None = None,
    audit: Audit | None = None,
) -> Session:
    """A session without a request yet, with what `settings` allow.

    `name` stands in the audit log. Replicas share `state`.
    """
    if not settings.allow_writes:
        return Session(directories)
    from bitrix24_directories.changing.audit import Audit  # what most never need
    from bitrix24_directories.changing.changes import Changes
    from bitrix24_directories.changing.locks import Turns
    from bitrix24_directories.changing.merging.merges import Merges

    portal, salt = directories.reader.identity[0], None
    if state is not None:

        def salt() -> str:
            """The same in all replicas for one person on one portal; another one when they agree on another secret."""
            return hashlib.sha256(state.secrets[0] + f"{name} {portal}".encode()).hexdigest()

    audit, turns = audit or Audit(settings.audit_log, person=name), Turns(settings.timeout, state, portal)
    changes = Changes(directories, audit, turns, settings.timeout, salt)
    merges = Merges(directories, changes, audit, turns, settings.timeout, settings.limits, salt=salt)
    return Session(directories, Writing(changes, merges))
