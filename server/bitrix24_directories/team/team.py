"""All people who may call a team's server: who calls now, and what their portal lets them do."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup
from mcp.server.auth.middleware.auth_context import get_access_token

from bitrix24_directories.logs import network_logs_redacted
from bitrix24_directories.mcp_server.callers import Caller, Callers
from bitrix24_directories.mcp_server.scopes import READING
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import Application, Bitrix24Error, Credentials, Entry, Link, Transport, failure
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import Inside, State

from .access import note
from .members import Member, Portal
from .people import People, Person
from .places import Places
from .seen import Seen
from .tokens import LEEWAY

if TYPE_CHECKING:
    from .metrics import Metrics

_OF_SETTINGS = ("NOT_CONFIGURED", "INVALID_CONFIGURATION")
_portal: ContextVar[str] = ContextVar("portal", default="")
"""The portal that this call works on."""
MOST_MEMBERS = 5_000
"""People whose clients are kept at the same time; the longest unused go first."""


class Team(Callers):
    """The people of a file, each on their own portal; `shared` is the webhook of those who have none of their own.

    Replicas share `state`; `secret` is what they have agreed on before.
    """

    def __init__(
        self,
        people: People,
        settings: Settings,
        shared: Credentials | None,
        *,
        transport: Transport | None = None,
        state: State | None = None,
        secret: bytes = b"",
    ) -> None:
        self._state = state or Inside()
        if secret:
            self._state.secrets = (secret,)
        self._people = people
        self._settings = settings
        self._shared = shared
        self._transport = transport
        self._applications: dict[str, Application] = {}
        self._members: OrderedDict[tuple[str, ...], Member] = OrderedDict()
        self.seen = Seen(self._state, settings.audit_log)
        self.portals: dict[str, Portal] = {}
        self._known_secrets: frozenset[str] | None = None
        self._known_of = 0
        self._tasks: TaskGroup | None = None
        self._turn = anyio.Lock()
        self._places = Places()
        self.metrics: Metrics | None = None

    def connected(self) -> int:
        """People whose clients are kept."""
        return len(self._members)

    def told(self, tool: str, outcome: str, seconds: float) -> None:
        if self.metrics is not None:
            self.metrics.told(tool, outcome, seconds)
        note(outcome)

    def failed(self, code: str) -> None:
        note(code)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with network_logs_redacted(Redactor(self.secrets)):
            async with self._state.running(), anyio.create_task_group() as self._tasks:
                keeping = anyio.CancelScope()
                if self.seen.kept:
                    self._tasks.start_soon(self.seen.run, keeping)
                try:
                    yield
                finally:
                    keeping.cancel()
                    for member in self._members.values():
                        member.end()
                    with anyio.CancelScope(shield=True):
                        await self.seen.keep()
                        for portal in self.portals.values():
                            await portal.link.close()

    def person(self) -> Person:
        """Whoever calls now. Raises Bitrix24Error where they have been taken out meanwhile."""
        token = get_access_token()
        person = None if token is None else self._people.named(token.client_id)
        if person is None:
            raise _unknown()
        self.seen.note(person.name)
        return replace(person, scopes=tuple(scope for scope in person.scopes if token and scope in token.scopes))

    def scopes(self) -> Collection[str]:
        try:
            person = self.person()
        except Bitrix24Error:
            return ()
        return person.scopes if person.acts_alone else [one for one in person.scopes if one in READING]

    async def admitted(self) -> Caller:
        member = await self._member(self.person())
        _portal.set(member.portal.address)
        return await member.admitted()

    def worded(self, error: Bitrix24Error) -> Bitrix24Error:
        """What people have of their own is put in by commands; the shared webhook is a setting."""
        try:
            return error.for_a_team() if self.person().acts_alone or error.kind in _OF_SETTINGS else error
        except Bitrix24Error:
            return error.for_a_team()

    def nobody(self) -> bool:
        self._people.look()
        return not self._people.all()

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for it within the time that a call has, and no longer: a change would begin its own only then."""
        async with AsyncExitStack() as place:
            with anyio.move_on_after(self._settings.timeout) as waiting:
                await place.enter_async_context(self._places.place(self.person().name))
            if waiting.cancelled_caught:
                detail = f"waited {self._settings.timeout:g} s for other calls of the same person to end"
                raise failure("TIMEOUT", detail=detail, never_sent=True)
            yield

    def said(self) -> Mapping[str, object]:
        trouble = self._people.trouble
        return {**self._state.said(), **({"people": trouble} if trouble else {})}

    def who(self) -> tuple[str, ...]:
        token, person = get_access_token(), self.person()
        if token and token.expires_at and time.time() > token.expires_at + LEEWAY:  # while a stream was open
            raise _unknown()
        return (person.name, person.token_hash, *self._credentials(person).identity)

    def portal(self) -> str:
        """That of whoever was let in for this call: they may have been taken out of the file since."""
        return _portal.get() or self._credentials(self.person()).identity[0]

    def links(self) -> Mapping[str, Link]:
        return {address: portal.link for address, portal in self.portals.items()}

    def secrets(self) -> frozenset[str]:
        """The same set until people or their tokens change, so that it is gathered once for all texts in between.

        Those of people who were taken out of the file are secrets for as long as their client is kept.
        """
        if self._known_secrets is None or self._known_of != self._people.version:
            self._known_of = self._people.version
            callers: list[Credentials | None] = [person.webhook for person in self._people.all()]
            callers += [member.credentials for member in [*self._members.values()]]
            callers += self._applications.values()
            every = (*callers, self._shared)
            self._known_secrets = frozenset(secret for one in every if one is not None for secret in one.secrets)
        return self._known_secrets

    def _forget_secrets(self) -> None:
        self._known_secrets = None

    def _credentials(self, person: Person) -> Credentials:
        if person.oauth:
            if person.name not in self._applications:
                application = self._settings.application(person.name)
                application.on_new_secrets = self._forget_secrets
                self._applications[person.name] = application
                self._forget_secrets()
            return self._applications[person.name]
        found = person.webhook or self._shared
        if found is None:
            raise _without_webhook(person.name)
        return found

    async def _member(self, person: Person) -> Member:
        credentials = self._credentials(person)
        key = (person.name, *credentials.identity)
        async with self._turn:
            member = self._members.get(key)
            if member is None:
                member = Member(person, credentials, self._portal(credentials.identity[0]), self._settings)
                assert self._tasks is not None, "it runs before anybody calls"
                await self._tasks.start(member.run)
                self._members[key] = member
                if not {*credentials.secrets} <= self.secrets():  # taken out of the file since the call began
                    self._forget_secrets()
            self._members.move_to_end(key)
            if len(self._members) > MOST_MEMBERS:
                _, longest_unused = self._members.popitem(last=False)
                longest_unused.end()
        return member

    def _portal(self, address: str) -> Portal:
        if address not in self.portals:
            link = Link(
                self._settings.limits,
                self._transport,
                ca_file=self._settings.ca_file,
                address=address,
                state=self._state,
            )
            self.portals[address] = Portal(address, self._settings, link, self._state)
        return self.portals[address]


def _unknown() -> Bitrix24Error:
    return Bitrix24Error(
        "UNKNOWN_PERSON",
        Entry(
            "Whoever this token belongs to is not let in here any more",
            "Tell the user to ask whoever keeps this server for a new token.",
            "authorization",
        ),
        nothing_was_done=True,
    )


def _without_webhook(name: str) -> Bitrix24Error:
    return Bitrix24Error(
        "NOT_CONFIGURED",
        Entry(
            f"{name} has no webhook of their own, and this server has none that is shared",
            "Tell the user to ask whoever keeps this server to give them a webhook (`person webhook NAME "
            "--webhook-file FILE`).",
            "configuration",
        ),
        nothing_was_done=True,
    )
