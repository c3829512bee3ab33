"""All people of a team's server: a session for each request, on the person's own portal."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser

from bitrix24_directories.logs import network_logs_redacted
from bitrix24_directories.mcp_server.scopes import READING, SCOPES, out_of_scope
from bitrix24_directories.mcp_server.session import Identity, Request, Session, Sessions
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.rest import (
    Application,
    Bitrix24Error,
    Credentials,
    ErrorKind,
    PortalConnection,
    Transport,
    failure,
)
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import Inside, State

from .access import note
from .call_slots import CallSlots
from .members import Member, Portal
from .people import People, Person
from .seen import Seen
from .tokens import LEEWAY, PersonToken

if TYPE_CHECKING:
    from .metrics import Metrics

MOST_MEMBERS = 5_000
"""People whose clients are kept at the same time; the longest unused go first."""


class Team(Sessions):
    """People of a file, each on their portal; `shared` is the webhook of people without one.

    Replicas share `state`; `secret` is the one that they have agreed on before.
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
        self._cached_secrets: frozenset[str] | None = None
        self._secrets_version = 0
        self._tasks: TaskGroup | None = None
        self._members_lock = anyio.Lock()
        self._call_slots = CallSlots()
        self.metrics: Metrics | None = None

    def connected(self) -> int:
        """Return the number of people whose clients are kept."""
        return len(self._members)

    def record_outcome(
        self, request: Request | None, outcome: str, tool: str | None = None, seconds: float = 0
    ) -> None:
        if self.metrics is not None and tool is not None:
            self.metrics.count_call(tool, outcome, seconds)
        note(request, outcome)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        with network_logs_redacted(Redactor(self.secrets)):
            async with self._state.running(), anyio.create_task_group() as self._tasks:
                keeping = anyio.CancelScope()
                if self.seen.is_kept:
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
                            await portal.connection.close()

    @asynccontextmanager
    async def session(self, request: Request | None, operation: str, needed: Sequence[str]) -> AsyncIterator[Session]:
        token = _token(request)
        person, scopes = token.person, self.scopes(request)
        self.seen.note(person.name)
        missing = [scope for scope in needed if scope not in scopes]
        if missing:
            raise out_of_scope(operation, missing)
        try:
            async with AsyncExitStack() as stack:
                # Within a call's time and no longer: a change would begin its own time only then.
                with anyio.move_on_after(self._settings.timeout) as waiting:
                    await stack.enter_async_context(self._call_slots.slot(person.name))
                if waiting.cancelled_caught:
                    detail = f"waited {self._settings.timeout:g} s for other calls of the same person to end"
                    raise failure("TIMEOUT", detail=detail, never_sent=True)
                credentials = self._credentials(person)
                member = await self._member(person, credentials)
                try:
                    session = await member.admitted()
                except Bitrix24Error as exc:
                    if exc.category == "authorization" and self.on_refused is not None:
                        self.on_refused(_identity(person, credentials))
                    raise
                yield replace(session, portal_key=member.portal.address, request=request)
        except Bitrix24Error as exc:
            # Commands install people's own credentials; the shared webhook is a setting.
            raise (exc.for_a_team() if person.acts_alone else exc) from None

    def scopes(self, request: Request | None) -> Collection[str]:
        token = _token(request)
        allowed = SCOPES if token.person.acts_alone else READING
        return [scope for scope in token.person.scopes if scope in token.scopes and scope in allowed]

    def identity(self, request: Request | None) -> Identity:
        token = _token(request)
        person = self._people.with_name(token.client_id)
        if person is None or (token.expires_at and time.time() > token.expires_at + LEEWAY):  # while a stream was open
            raise _unknown()
        return _identity(person, self._credentials(person))

    def portal_key(self, request: Request | None) -> str:
        return self._credentials(_token(request).person).identity[0]

    def has_no_callers(self) -> bool:
        self._people.look()
        return not self._people.all()

    def health(self) -> Mapping[str, object]:
        trouble = self._people.trouble
        return {**self._state.health(), **({"people": trouble} if trouble else {})}

    def connections(self) -> Mapping[str, PortalConnection]:
        return {address: portal.connection for address, portal in self.portals.items()}

    def secrets(self) -> frozenset[str]:
        """Return the same set until people or tokens change, so that many texts need it only once.

        The secrets of people who were removed from the file are in it for as long as their client is kept.
        """
        if self._cached_secrets is None or self._secrets_version != self._people.version:
            self._secrets_version = self._people.version
            callers: list[Credentials | None] = [person.webhook for person in self._people.all()]
            callers += [member.credentials for member in [*self._members.values()]]
            callers += self._applications.values()
            every = (*callers, self._shared)
            self._cached_secrets = frozenset(secret for caller in every if caller for secret in caller.secrets)
        return self._cached_secrets

    def _forget_secrets(self) -> None:
        self._cached_secrets = None

    def _credentials(self, person: Person) -> Credentials:
        if person.oauth:
            if person.name not in self._applications:
                application = self._settings.application(person.name)
                application.on_new_secrets = self._forget_secrets
                self._applications[person.name] = application
                self._forget_secrets()
            return self._applications[person.name]
        credentials = person.webhook or self._shared
        if credentials is None:
            raise Bitrix24Error(
                "NOT_CONFIGURED",
                ErrorKind(
                    f"{person.name} has no webhook of their own, and this server has none that is shared",
                    "Tell the user to ask the administrator of this server to give them a webhook (`person webhook "
                    "NAME --webhook-file FILE`).",
                    "configuration",
                ),
                not_applied=True,
            )
        return credentials

    async def _member(self, person: Person, credentials: Credentials) -> Member:
        key = (person.name, *credentials.identity)
        async with self._members_lock:
            member = self._members.get(key)
            if member is None:
                address = credentials.identity[0]
                if address not in self.portals:
                    settings, state = self._settings, self._state
                    connection = PortalConnection(
                        settings.limits, self._transport, ca_file=settings.ca_file, address=address, state=state
                    )
                    self.portals[address] = Portal(address, settings, connection, state)
                member = Member(person, credentials, self.portals[address], self._settings)
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


def _identity(person: Person, credentials: Credentials) -> Identity:
    return (person.name, person.token_hash, *person.scopes, *credentials.identity)


def _token(request: Request | None) -> PersonToken:
    """Return the token that admitted a request. Raises Bitrix24Error if there is none."""
    user = request.request.scope.get("user") if request is not None and request.request is not None else None
    token = user.access_token if isinstance(user, AuthenticatedUser) else None
    if not isinstance(token, PersonToken):
        raise _unknown()
    return token


def _unknown() -> Bitrix24Error:
    return Bitrix24Error(
        "UNKNOWN_PERSON",
        ErrorKind(
            "This token has been withdrawn",
            "Tell the user to ask the administrator of this server for a new token.",
            "authorization",
        ),
        not_applied=True,
    )
