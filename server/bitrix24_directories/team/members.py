"""Each person's own client of their portal, and what of the portal they share with all who see the same of it.

Directories and fields are the portal's: kept once for all whom it shows the same pipelines, and given to a person whose
own credentials it has accepted within the access time. Counts are each person's own.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

from bitrix24_directories.directories.cache import Cache
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.fields import FIRST_SMART_PROCESS
from bitrix24_directories.directories.reads import OWNERS, TYPES
from bitrix24_directories.directories.shared_answers import SharedAnswers
from bitrix24_directories.mcp_server.callers import Caller, caller_of
from bitrix24_directories.rest import Answer, Bitrix24Client, Bitrix24Error, Credentials, Link, Outcome, failure
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import State

from .people import Person

logger = logging.getLogger(__name__)

_WITH_PIPELINES = (2, 31, 36)
_OF_TYPES = "crm.category.list"


class Portal:
    """One portal: its limit, its connections, and what is kept of it. `type_ids` are those with pipelines, as far as
    they are known."""

    def __init__(self, address: str, settings: Settings, link: Link, state: State, secret: bytes) -> None:
        self.state = state
        self.secret = secret
        self.address = address
        self.link = link
        self.cache = Cache(settings.cache_ttl)
        self.answers = SharedAnswers(state, address, settings.cache_ttl)
        self.type_ids: tuple[int, ...] = _WITH_PIPELINES

    async def forget_what_is_old(self) -> None:
        """Drop what is kept, if another replica has changed something since."""
        generation = await self.state.generation(self.address)
        if generation != self.answers.generation:
            self.answers.generation = generation
            self.cache.clear()


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
        self._accepted_at: float | None = None
        self._view = ""
        self._asking: _Asking | None = None
        self._tasks: TaskGroup | None = None
        self._caller: Caller | None = None
        self._client: Bitrix24Client | None = None
        self._end = anyio.Event()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        async with (
            Bitrix24Client(self.credentials, timeout=self._settings.timeout, link=self.portal.link) as self._client,
            anyio.create_task_group() as self._tasks,
        ):
            directories = Directories(self._client, self.portal.cache, self._owner, self.portal.answers)
            self._caller = caller_of(
                directories,
                self._settings,
                name=self.person.name,
                state=self.portal.state,
                secret=self.portal.secret,
            )
            task_status.started()
            await self._end.wait()
            self._tasks.cancel_scope.cancel()

    def end(self) -> None:
        self._end.set()

    async def admitted(self) -> Caller:
        """What they work with, if the portal has accepted them within the access time, or does so now.

        Raises Bitrix24Error where it does not.
        """
        assert self._caller is not None, "it runs before anybody calls"
        await self.portal.forget_what_is_old()
        if self._is_accepted():
            return self._caller
        if self._asking is None:
            assert self._tasks is not None
            self._asking = _Asking()
            self._tasks.start_soon(self._asked, self._asking)
        asking = self._asking
        with anyio.move_on_after(self._settings.timeout):
            await asking.done.wait()
            if asking.error is not None:
                raise asking.error
            return self._caller
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

    def _is_accepted(self) -> bool:
        accepted_at = self._accepted_at
        return accepted_at is not None and anyio.current_time() - accepted_at < self._settings.access_ttl

    def _owner(self) -> tuple[str, ...]:
        return (self.portal.address, self._view)

    async def _ask(self) -> None:
        """Whether another replica knows of it; else one batch: whether they may read CRM, and what they see of it."""
        key = f"accepted:{hashlib.sha256(repr(self.credentials.identity).encode()).hexdigest()}"
        asked_at = anyio.current_time()
        if (known := await self.portal.state.recall(key)) is not None:
            self._view, _, since = known.partition(" ")
            self._accepted_at = asked_at - max(0.0, time.time() - float(since))
            return
        await self._ask_portal()
        await self.portal.state.remember(key, f"{self._view} {time.time():.0f}", self._settings.access_ttl)

    async def _ask_portal(self) -> None:
        assert self._client is not None
        assert self._caller is not None
        self._accepted_at = None
        asked_for = self.portal.type_ids
        outcomes = await self._client.batch(_questions(asked_for))
        types = outcomes["types"]
        if isinstance(types, Bitrix24Error):
            raise types
        owners = outcomes["owners"]
        if isinstance(owners, Answer):
            known = (one.id for one in OWNERS.rows(owners))
            of_portal = (*_WITH_PIPELINES, *sorted(one for one in known if one >= FIRST_SMART_PROCESS))
            if of_portal != asked_for:
                self.portal.type_ids = of_portal
                outcomes |= await self._client.batch(_questions(of_portal))
        self._view = _digest(outcomes)
        await self._caller.directories.reader.keep_answer(TYPES, types)
        self._accepted_at = anyio.current_time()


def _questions(type_ids: tuple[int, ...]) -> dict[str, tuple[str, Mapping[str, Any]]]:
    asked: dict[str, tuple[str, Mapping[str, Any]]] = {
        "types": (TYPES.method, TYPES.params),
        "owners": (OWNERS.method, OWNERS.params),
    }
    return asked | {str(type_id): (_OF_TYPES, {"entityTypeId": type_id}) for type_id in type_ids}


def _digest(outcomes: Mapping[str, Outcome]) -> str:
    """The same for all whom the portal shows the same directories and pipelines."""
    seen: list[Any] = []
    for key, outcome in sorted(outcomes.items()):
        if isinstance(outcome, Bitrix24Error):
            if outcome.retryable:
                raise outcome
            seen.append([key, outcome.kind])
        elif key == "types":
            seen.append([key, sorted(one.entity_id for one in TYPES.rows(outcome))])
        elif key != "owners":
            rows = outcome.result.get("categories") if isinstance(outcome.result, dict) else None
            ids = [str(row.get("id")) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
            seen.append([key, sorted(ids)])
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]
