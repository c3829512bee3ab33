"""Who calls, and what the tools work with for them: one caller on stdio, each person of a team over HTTP."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.reading.cache import Cache
from bitrix24_directories.logs import network_logs_redacted
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import Bitrix24Client, Bitrix24Error, Credentials, Link, Transport, failure
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import State

from .scopes import SCOPES

if TYPE_CHECKING:
    from bitrix24_directories.changing.audit import Audit
    from bitrix24_directories.changing.changes import Changes
    from bitrix24_directories.changing.merging.merges import Merges


@dataclass
class Caller:
    """One who calls, with their own view of a portal, as the portal's rights have it.

    `changes` and `merges` are None where writes are switched off.
    """

    directories: Directories
    changes: Changes | None = None
    merges: Merges | None = None


class Callers(ABC):
    """All who may call a server."""

    @abstractmethod
    def running(self) -> AbstractAsyncContextManager[None]:
        """To be entered before the first call."""

    @abstractmethod
    async def admitted(self) -> Caller:
        """Who calls now, if the portal lets them in. Raises Bitrix24Error where there is none, or it does not."""

    @abstractmethod
    def scopes(self) -> Collection[str]:
        """What whoever calls now may do here."""

    @abstractmethod
    def secrets(self) -> Collection[str]:
        """All that must appear nowhere."""

    @abstractmethod
    def links(self) -> Mapping[str, Link]:
        """The portals that have been called so far, by address."""

    def place(self) -> AbstractAsyncContextManager[None]:
        """Where the work for whoever calls now is done; to wait for, where they have many calls under way.

        Raises Bitrix24Error where they have too many.
        """
        return nullcontext()

    def told(self, tool: str, outcome: str, seconds: float) -> None:
        """Hear of a call that has ended: `ok`, or the code of its error."""
        del tool, outcome, seconds

    def worded(self, error: Bitrix24Error) -> Bitrix24Error:
        """An error in words for whoever calls now."""
        return error

    def nobody(self) -> bool:
        """Whether nobody at all can be let in."""
        return False

    def failed(self, code: str) -> None:
        """Hear why a request that is no call of a tool could not be answered."""
        del code

    def said(self) -> Mapping[str, object]:
        """What readiness says besides."""
        return {}

    def who(self) -> tuple[str, ...]:
        """Tells whoever calls now from all others, and from themselves with other rights; empty where there is one
        alone. Raises Bitrix24Error where they are not known any more."""
        return ()

    def portal(self) -> str:
        """Tells whose news whoever calls now hears."""
        return ""


class OneCaller(Callers):
    """The one whose client has started this process; or the error that stands in their place."""

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
        self._link = Link(settings.limits, transport, ca_file=settings.ca_file)
        self._cache = cache
        self._caller: Caller | Bitrix24Error = failure("INTERNAL_ERROR")  # until it runs, before any request
        if settings.allow_writes and not isinstance(portal, Bitrix24Error):
            from bitrix24_directories.changing.changes import audit_trouble

            self._portal = audit_trouble(settings.audit_log) or portal

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        settings = self._settings
        if isinstance(self._portal, Bitrix24Error):
            self._caller = self._portal
            yield
            return
        logs = network_logs_redacted(Redactor(self.secrets))
        with logs:
            async with Bitrix24Client(self._portal, timeout=settings.timeout, link=self._link) as client:
                self._caller = caller_of(
                    Directories(client, self._cache or Cache(settings.cache_ttl)), settings, audit=self._audit
                )
                try:
                    yield
                finally:
                    with anyio.CancelScope(shield=True):
                        await self._link.close()

    async def admitted(self) -> Caller:
        if isinstance(self._caller, Bitrix24Error):
            raise self._caller
        return self._caller

    def scopes(self) -> Collection[str]:
        return SCOPES

    def secrets(self) -> Collection[str]:
        return () if isinstance(self._portal, Bitrix24Error) else self._portal.secrets

    def links(self) -> Mapping[str, Link]:
        return {} if isinstance(self._portal, Bitrix24Error) else {self._portal.identity[0]: self._link}


def caller_of(
    directories: Directories,
    settings: Settings,
    *,
    name: str = "",
    state: State | None = None,
    audit: Audit | None = None,
) -> Caller:
    """A caller with what `settings` allow; `name` stands in the audit log. Replicas share `state`."""
    if not settings.allow_writes:
        return Caller(directories)
    from bitrix24_directories.changing.audit import Audit  # what most never need
    from bitrix24_directories.changing.changes import Changes
    from bitrix24_directories.changing.locks import Turns
    from bitrix24_directories.changing.merging.merges import Merges

    portal = directories.reader.identity[0]
    salt = None if state is None else partial(_salt, state, f"{name} {portal}")
    audit, turns = audit or Audit(settings.audit_log, person=name), Turns(settings.timeout, state, portal)
    timeout, limits = settings.timeout, settings.limits
    changes = Changes(directories, audit, turns, timeout, salt)
    merges = Merges(directories, changes, audit, turns, timeout, limits, salt=salt)
    return Caller(directories, changes, merges)


def _salt(state: State, of: str) -> str:
    """The same in all replicas for one person on one portal; another one when they agree on another secret."""
    return hashlib.sha256(state.secrets[0] + of.encode()).hexdigest()
