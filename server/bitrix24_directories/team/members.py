"""Each person's client of their portal, and the portal data that people share.

Directories and fields are cached once for all people whom the portal shows the same, and given to a person whose own
credentials it has accepted within the access time. Counts are each person's own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup
from cachetools import LRUCache

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.reading.cache import Cache
from bitrix24_directories.directories.reading.cached_reader import Read
from bitrix24_directories.directories.reading.shared_tier import SharedTier
from bitrix24_directories.directories.reads import TYPES
from bitrix24_directories.mcp_server.session import Session, session_of
from bitrix24_directories.rest import Bitrix24Client, Bitrix24Error, Credentials, PortalConnection, failure, unwrap
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import State

from .people import Person
from .views import View, fits, reads_of_view, types_shown, view_of

logger = logging.getLogger(__name__)

_VIEWS = 1_000
_UNCERTAIN_SECONDS = 300.0
"""Until the portal is asked again about a person whose view is incomplete, so that nobody shares it."""


class Portal:
    """One portal: its limit, its connections, and its cache.

    `types` are the record types that anybody has been shown, besides those of every portal.
    """

    def __init__(self, address: str, settings: Settings, connection: PortalConnection, state: State) -> None:
        self.state = state
        self.address = address
        self.connection = connection
        self.cache = Cache(settings.cache_ttl, SharedTier(state, address, settings.cache_ttl))
        self.types: frozenset[int] = frozenset()
        self._digests: LRUCache[str, Mapping[str, str]] = LRUCache(_VIEWS)

    async def digests_of(self, view: str) -> Mapping[str, str] | None:
        """Return the digests of a view, if this or another replica still knows it."""
        if view not in self._digests and (text := await self.state.recall(f"view:{self.address}:{view}")) is not None:
            self._digests[view] = json.loads(text)
        return self._digests.get(view)

    async def keep_view(self, view: View, seconds: float) -> None:
        """Keep a view for as long as people may be admitted with it."""
        self._digests[view.name] = view.digests
        await self.state.remember(f"view:{self.address}:{view.name}", json.dumps(view.digests), seconds)


@dataclass
class _Approval:
    """A request for the portal's approval of a person, for which all their calls wait."""

    done: anyio.Event = field(default_factory=anyio.Event)
    error: Bitrix24Error | None = None


class Member:
    """One person on their portal. Create it in an event loop; `run` keeps the client open."""

    def __init__(self, person: Person, credentials: Credentials, portal: Portal, settings: Settings) -> None:
        self.person = person
        self.credentials = credentials
        self.portal = portal
        self._settings = settings
        self._accepted_until = -math.inf
        self._view = ""
        self._digests: Mapping[str, str] = {}
        self._sees_otherwise = False
        self._approval: _Approval | None = None
        self._tasks: TaskGroup | None = None
        self._session: Session | None = None
        self._client: Bitrix24Client | None = None
        self._end = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Keep the client open until `end`."""
        async with (
            Bitrix24Client(
                self.credentials, timeout=self._settings.timeout, connection=self.portal.connection
            ) as self._client,
            anyio.create_task_group() as self._tasks,
        ):
            directories = Directories(
                self._client, self.portal.cache, lambda: (self.portal.address, self._view), self._on_rows
            )
            self._session = session_of(directories, self._settings, name=self.person.name, state=self.portal.state)
            task_status.started()
            await self._end.wait()
            self._tasks.cancel_scope.cancel()

    def end(self) -> None:
        """End `run`."""
        self._end.set()

    async def admitted(self) -> Session:
        """Return the person's session, if the portal accepts them now or did within the access time.

        Raises Bitrix24Error if it does not.
        """
        assert self._session is not None, "it runs before anybody calls"
        self.portal.cache.use_generation(await self.portal.state.generation(self.portal.address))
        if anyio.current_time() < self._accepted_until:
            return self._session
        if self._approval is None:
            assert self._tasks is not None
            self._approval = _Approval()
            self._tasks.start_soon(self._complete_approval, self._approval)
        approval = self._approval
        with anyio.move_on_after(self._settings.timeout):
            await approval.done.wait()
            if approval.error is not None:
                raise approval.error
            return self._session
        detail = f"waited {self._settings.timeout:g} s for the portal to accept this person"
        raise failure("TIMEOUT", detail=detail, never_sent=True)

    async def _complete_approval(self, approval: _Approval) -> None:
        """Complete the request even if its first caller has left: their next call uses its result.

        In a company of thousands that begins at nine, new requests for each try would never end.
        """
        try:
            await self._request_approval()
        except Bitrix24Error as exc:
            approval.error = exc
        except Exception:
            logger.exception("Asking for a person failed in a way that it should not")
            approval.error = failure("INTERNAL_ERROR")
        finally:
            self._approval = None
            approval.done.set()

    def _on_rows(self, read: Read[Any], rows: list[Any]) -> None:
        """Stop sharing if the portal shows this person other rows than the others; ask it again."""
        if not fits(self._digests, read, rows):
            self._view, self._digests, self._sees_otherwise = self._own_view(), {}, True
            self._accepted_until = -math.inf

    def _own_view(self) -> str:
        return hashlib.sha256(repr((self._view, self.credentials.identity)).encode()).hexdigest()

    async def _request_approval(self) -> None:
        """Use another replica's result, or ask the portal in one batch for their rights and view."""
        me = hashlib.sha256(repr(self.credentials.identity).encode()).hexdigest()
        asked_at, seconds = anyio.current_time(), self._settings.access_ttl
        (cached,) = await self.portal.state.recall_many([f"admitted:{me}"])
        digests = None if cached is None or self._sees_otherwise else await self.portal.digests_of(cached.text)
        if cached is not None and digests is not None:
            self._view, self._digests, self._accepted_until = cached.text, digests, asked_at - cached.age + seconds
            return
        self._accepted_until = -math.inf
        assert self._session is not None
        reader, began = self._session.directories.reader, anyio.current_time()
        outcomes = await reader.fetch(reads_of_view(self.portal.types))
        unwrap(outcomes[TYPES])  # a person who may not read these may read nothing
        types = types_shown(outcomes)
        reads = reads_of_view(types)
        if missing := [read for read in reads if read not in outcomes]:
            self.portal.types |= {*types}
            outcomes |= await reader.fetch(missing)
        own = {read: outcomes[read] for read in reads}
        view = view_of(own)
        self._view, self._digests = view.name, view.digests
        if not view.certain:
            self._view, self._digests = self._own_view(), {}
        await reader.store(own, began)
        if view.certain:
            await self.portal.keep_view(view, seconds)
            await self.portal.state.remember(f"admitted:{me}", view.name, seconds)
        self._sees_otherwise = False
        self._accepted_until = asked_at + (seconds if view.certain else min(seconds, _UNCERTAIN_SECONDS))
