"""Sessions: the caller of a request, and the objects that serve it."""

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
"""Identifies a caller with their present rights; empty for a single caller."""


@dataclass(frozen=True)
class Writing:
    """The objects that tools use to change a portal."""

    changes: Changes
    merges: Merges


@dataclass(frozen=True)
class Session:
    """The objects for one request: the caller's view of a portal, within their rights.

    `writing` is None if writes are switched off. `portal_key` identifies the portal whose changes the caller can
    follow. `request` is None if a program opens a session without a client. `responses` and `state` are the client's
    answers to an earlier question.
    """

    directories: Directories
    writing: Writing | None = None
    portal_key: str = ""
    request: Request | None = None
    responses: Mapping[str, object] = field(default_factory=dict)
    state: str | None = None

    @property
    def changes(self) -> Changes:
        """Changes of directories; only for tools that exist with writes allowed."""
        assert self.writing is not None, "the changing tools are there only with writes allowed"
        return self.writing.changes

    @property
    def merges(self) -> Merges:
        """Merges of codes; only for tools that exist with writes allowed."""
        assert self.writing is not None, "the changing tools are there only with writes allowed"
        return self.writing.merges

    @property
    def can_ask(self) -> bool:
        """True if the client can show a form to a person; older ones send `elicitation: {}`."""
        capabilities = self.request.session.client_capabilities if self.request else None
        elicitation = capabilities.elicitation if capabilities else None
        return elicitation is not None and (elicitation.form is not None or elicitation.url is None)

    @property
    def shows_pictures(self) -> bool:
        """True if the client shows MCP Apps."""
        return self.request is not None and client_supports_apps(self.request)


class Sessions(ABC):
    """Opens a session for each request: for the only caller, or for one of a team's people."""

    on_refused: Callable[[Identity], object] | None = None
    """Called with the identity of a person whom the portal does not let in any more."""

    @abstractmethod
    def running(self) -> AbstractAsyncContextManager[None]:
        """Return the context to enter before the first session."""

    @abstractmethod
    def session(
        self, request: Request | None, operation: str, needed: Sequence[str]
    ) -> AbstractAsyncContextManager[Session]:
        """Open a session for `operation`, which needs some scopes.

        Raises Bitrix24Error if the caller lacks one of them (INSUFFICIENT_SCOPE), is not known any more, has too many
        calls under way, or is refused by the portal. Callers with many calls under way wait.
        """

    @abstractmethod
    def scopes(self, request: Request | None) -> Collection[str]:
        """Return the caller's scopes."""

    @abstractmethod
    def secrets(self) -> Collection[str]:
        """Return all texts that must appear nowhere."""

    @abstractmethod
    def connections(self) -> Mapping[str, PortalConnection]:
        """Return the portals that have been called so far, by address."""

    def identity(self, request: Request | None) -> Identity:
        """Look up the caller anew. Raises Bitrix24Error if they are not known any more."""
        del request
        return ()

    def portal_key(self, request: Request | None) -> str:
        """Return the caller's portal key. Raises Bitrix24Error if they are not known any more."""
        del request
        return ""

    def record_outcome(
        self, request: Request | None, outcome: str, tool: str | None = None, seconds: float = 0
    ) -> None:
        """Record a request's outcome, `ok` or its error's code; `tool` is set for a tool's call."""
        del request, outcome, tool, seconds

    def has_no_callers(self) -> bool:
        """True if nobody at all can connect."""
        return False

    def health(self) -> Mapping[str, object]:
        """Return more fields for the readiness answer."""
        return {}


class OneCaller(Sessions):
    """Sessions of the client that started this process; or the error in place of them."""

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
        self._session: Session | Bitrix24Error = failure("INTERNAL_ERROR")  # until `running`, before any request
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
    async def session(self, request: Request | None, operation: str, needed: Sequence[str]) -> AsyncIterator[Session]:
        del operation, needed  # a single caller may do everything
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
    """Return a session without a request yet, with the objects that `settings` allow.

    `name` is the person in the audit log. Replicas share `state`.
    """
    if not settings.allow_writes:
        return Session(directories)
    from bitrix24_directories.changing.audit import Audit  # few servers need these
    from bitrix24_directories.changing.changes import Changes
    from bitrix24_directories.changing.locks import DirectoryLocks
    from bitrix24_directories.changing.merging.merges import Merges

    portal, salt = directories.reader.identity[0], None
    if state is not None:

        def salt() -> str:
            """Return the same salt in all replicas for a person on a portal; a new secret changes it."""
            return hashlib.sha256(state.secrets[0] + f"{name} {portal}".encode()).hexdigest()

    audit, locks = audit or Audit(settings.audit_log, person=name), DirectoryLocks(settings.timeout, state, portal)
    changes = Changes(directories, audit, locks, settings.timeout, salt)
    merges = Merges(directories, changes, audit, locks, settings.timeout, settings.limits, salt=salt)
    return Session(directories, Writing(changes, merges))
