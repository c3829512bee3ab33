"""Each person's own client of their portal, and what of the portal they share with all who see the same of it.

Directories and fields are the portal's: kept once for all whom it shows the same of them, and given to a person whose
own credentials it has accepted within the access time. Counts are each person's own.
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
from bitrix24_directories.rest import Bitrix24Client, Bitrix24Error, Credentials, Link, failure, unwrap
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import State

from .people import Person
from .views import View, fits, reads_of_view, types_shown, view_of

logger = logging.getLogger(__name__)

_VIEWS = 1_000
_UNCERTAIN_SECONDS = 300.0
"""After which a person is asked for again whom the portal did not tell all, so that nobody shares with them."""


class Portal:
    """One portal: its limit, its connections, and what is kept of it. `types` are those that anybody has been shown,
    besides those of every portal."""

    def __init__(self, address: str, settings: Settings, link: Link, state: State) -> None:
        self.state = state
        self.address = address
        self.link = link
        self.cache = Cache(settings.cache_ttl, SharedTier(state, address, settings.cache_ttl))
        self.types: frozenset[int] = frozenset()
        self._digests: LRUCache[str, Mapping[str, str]] = LRUCache(_VIEWS)

    async def digests_of(self, view: str) -> Mapping[str, str] | None:
        """What a view shows, if it is still known here or in another replica."""
        if view not in self._digests and (text := await self.state.recall(f"view:{self.address}:{view}")) is not None:
            self._digests[view] = json.loads(text)
        return self._digests.get(view)

    async def keep_view(self, view: View, seconds: float) -> None:
        """Let it be known for as long as people may be admitted with it."""
        self._digests[view.name] = view.digests
        await self.state.remember(f"view:{self.address}:{view.name}", json.dumps(view.digests), seconds)


@dataclass
class _Asking:
    """The question whether the portal accepts a person, which all their calls wait for."""

    done: anyio.Event = field(default_factory=anyio.Event)
    error: Bitrix24Error | None = None


class Member:
    """One person on their portal. To be made in an event loop; `run` keeps the client for as long as it runs."""

    def __init__(self, person: Person, credentials: Credentials, portal: Portal, settings: Settings) -> None:
        self.person = person
        self.credentials = credentials
        self.portal = portal
        self._settings = settings
        self._accepted_until = -math.inf
        self._view = ""
        self._digests: Mapping[str, str] = {}
        self._sees_otherwise = False
        self._asking: _Asking | None = None
        self._tasks: TaskGroup | None = None
        self._session: Session | None = None
        self._client: Bitrix24Client | None = None
        self._end = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        async with (
            Bitrix24Client(self.credentials, timeout=self._settings.timeout, link=self.portal.link) as self._client,
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
        self._end.set()

    async def admitted(self) -> Session:
        """What they work with, if the portal has accepted them within the access time, or does so now.

        Raises Bitrix24Error where it does not.
        """
        assert self._session is not None, "it runs before anybody calls"
        self.portal.cache.use_generation(await self.portal.state.generation(self.portal.address))
        if anyio.current_time() < self._accepted_until:
            return self._session
        if self._asking is None:
            assert self._tasks is not None
            self._asking = _Asking()
            self._tasks.start_soon(self._asked, self._asking)
        asking = self._asking
        with anyio.move_on_after(self._settings.timeout):
            await asking.done.wait()
            if asking.error is not None:
                raise asking.error
            return self._session
        detail = f"waited {self._settings.timeout:g} s for the portal to accept this person"
        raise failure("TIMEOUT", detail=detail, never_sent=True)

    async def _asked(self, asking: _Asking) -> None:
        """Ask to the end, although whoever began it may have given up: their next call finds the answer.

        In a company of thousands that begins at nine, asking anew each time would never come to an end.
        """
        try:
            await self._ask()
        except Bitrix24Error as exc:
            asking.error = exc
        except Exception:
            logger.exception("Asking for a person failed in a way that it should not")
            asking.error = failure("INTERNAL_ERROR")
        finally:
            self._asking = None
            asking.done.set()

    def _on_rows(self, read: Read[Any], rows: list[Any]) -> None:
        """Share with nobody what the portal has not shown the others, and ask anew with whom to share."""
        if not fits(self._digests, read, rows):
            self._view, self._digests, self._sees_otherwise = self._own_view(), {}, True
            self._accepted_until = -math.inf

    def _own_view(self) -> str:
        return hashlib.sha256(repr((self._view, self.credentials.identity)).encode()).hexdigest()

    async def _ask(self) -> None:
        """Whether another replica knows of it; else one batch: whether they may read CRM, and what they see of it."""
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
        unwrap(outcomes[TYPES])  # who may not read these may read nothing
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
