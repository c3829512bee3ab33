"""Each person of a team sees exactly what the portal shows them, and shares the rest.

It makes no difference who asks first.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import httpx
import pytest

from bitrix24_directories.mcp_server.scopes import SCOPES
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.portal import DemoPortal, Fault
from bitrix24_directories.portal.app import WEBHOOKS
from bitrix24_directories.portal.calls import User
from bitrix24_directories.portal.store import PortalError
from bitrix24_directories.rest import Webhook, in_process
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.in_redis import InRedis
from bitrix24_directories.state.shared import Inside, State
from bitrix24_directories.team.people import People, Person
from bitrix24_directories.team.team import Team
from support import ADMIN_SECRET, READER_SECRET
from team_support import call_tool_as, request_of
from test_replicas import Valkey, valkey

__all__ = ["valkey"]

CARL_SECRET = "democarl00000008"


@pytest.fixture(autouse=True)
def carl(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a user with the same view as bert."""
    monkeypatch.setitem(WEBHOOKS, CARL_SECRET, User(8, "Carl", administers=False))


Hidden = Callable[[DemoPortal], contextlib.AbstractContextManager[None]]
"""Hides something of a portal for one request."""


def _refused(method: str, type_id: int = 0) -> Hidden:
    @contextlib.contextmanager
    def hidden(portal: DemoPortal) -> Iterator[None]:
        def refuse(called: str, params: Mapping[str, Any]) -> None:
            if called == method and type_id in (0, int(params.get("entityTypeId", 0))):
                raise PortalError("Access denied.", code="ACCESS_DENIED", status=403)

        portal.meanwhile = refuse
        try:
            yield
        finally:
            portal.meanwhile = lambda _method, _params: None

    return hidden


@contextlib.contextmanager
def _without_field(portal: DemoPortal) -> Iterator[None]:
    kind = portal.store.records.types[2]
    portal.store.records.types[2] = replace(
        kind, fields=tuple(field for field in kind.fields if field.old_name != "UF_CRM_1724")
    )
    try:
        yield
    finally:
        portal.store.records.types[2] = kind


@contextlib.contextmanager
def _without_type(portal: DemoPortal) -> Iterator[None]:
    kind = portal.store.records.types.pop(177)
    try:
        yield
    finally:
        portal.store.records.types[177] = kind


@contextlib.contextmanager
def _without_pipeline(portal: DemoPortal) -> Iterator[None]:
    store = portal.store
    directories, items = dict(store.directories), dict(store.items)
    del store.directories["DEAL_STAGE_2"]
    store.items = {key: item for key, item in items.items() if item.entity_id != "DEAL_STAGE_2"}
    try:
        yield
    finally:
        store.directories, store.items = directories, items


class OnePortal(httpx.AsyncBaseTransport):
    """A portal that hides something from everybody whose secret is not in `see_all`."""

    def __init__(self, hidden: Hidden) -> None:
        self.portal = DemoPortal()
        self.see_all = {ADMIN_SECRET}
        self._hidden = hidden
        self._turn = anyio.Lock()
        self._app = in_process(self.portal.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sees_all = any(secret in request.url.path for secret in self.see_all)
        hidden = contextlib.nullcontext() if sees_all else self._hidden(self.portal)
        async with self._turn:
            with hidden:
                return await self._app.handle_async_request(request)


class Everybody(People):
    def __init__(self) -> None:
        where = {"anna": (1, ADMIN_SECRET), "bert": (7, READER_SECRET), "carl": (8, CARL_SECRET)}
        self._people = {
            name: Person(name, "", SCOPES, Webhook.parse(f"https://one.example/rest/{user}/{secret}/"))
            for name, (user, secret) in where.items()
        }

    def with_name(self, name: str) -> Person | None:
        return self._people.get(name)

    def all(self) -> list[Person]:
        return list(self._people.values())


class Company:
    """Two replicas on one portal, or one process."""

    def __init__(self, hidden: Hidden, states: list[State]) -> None:
        self.transport = OnePortal(hidden)
        self.portal = self.transport.portal
        settings = Settings.model_construct(timeout=20, log_level="ERROR", allow_writes=True)
        self._people = Everybody()
        self._teams = [Team(self._people, settings, None, transport=self.transport, state=state) for state in states]
        self._servers = [DirectoriesServer(team, settings) for team in self._teams]
        self._turn = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as running:
            for team in self._teams:
                await running.enter_async_context(team.running())
            yield

    def _person(self, name: str) -> Person:
        person = self._people.with_name(name)
        assert person is not None
        return person

    async def call(self, name: str, tool: str, /, **arguments: Any) -> str:
        """Answer to a person, by one replica after the other."""
        self._turn += 1
        result = await call_tool_as(
            self._servers[self._turn % len(self._servers)], self._person(name), tool, **arguments
        )
        ages_and_statuses = r", 'ageSeconds': \d+|, HTTP \d+|'httpStatus': \d+, "  # a command of a batch has no status
        return re.sub(ages_and_statuses, "", str(result.structured_content))

    async def add(self, name: str, entity_id: str, item: str) -> None:
        async with self._teams[0].session(request_of(self._person(name)), "test", SCOPES) as session:
            planned = await session.changes.plan_adding(entity_id, item)
            assert (await session.changes.carry_out("test", planned, confirmed=True)).status == "done"

    async def seen(self, name: str) -> list[str]:
        ask = partial(self.call, name)
        return [
            await ask("list_directories", query="e"),
            await ask("get_directory_items", entityId="SOURCE"),
            await ask("get_directory_items", entityId="deal.SOURCE_ID"),
            await ask("get_directory_items", entityId="deal.UF_CRM_1724"),
            await ask("find_directory_items", queries=["Large customers"]),
            await ask("check_record", entity="deal", fields=["UF_CRM_1724=79", "TITLE=x"]),
            await ask("check_record", entity="item(177)", fields=["stageId=DT177_7:NEW", "title=x"]),
        ]


HIDDEN = {
    "the fields of deals": _refused("crm.item.fields", 2),
    "the fields of leads": _refused("crm.item.fields", 1),
    "the fields of a smart process": _refused("crm.item.fields", 177),
    "a field": _without_field,
    "a smart process": _without_type,
    "a pipeline": _without_pipeline,
    "pipelines": _refused("crm.category.list", 2),
}


@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("first", ["anna", "bert"])
@pytest.mark.parametrize("kind", ["inside", pytest.param("redis", marks=pytest.mark.slow)])
async def test_whoever_asks_first(hidden: Hidden, first: str, kind: str, valkey: Valkey) -> None:
    alone: dict[str, list[str]] = {}
    for name in ("anna", "bert"):
        company = Company(hidden, [Inside()])
        async with company.running():
            alone[name] = await company.seen(name)
    assert alone["anna"] != alone["bert"]
    company = Company(hidden, [Inside()] if kind == "inside" else [InRedis(valkey.url), InRedis(valkey.url)])
    async with company.running():
        for _ in range(2):
            for name in sorted(alone, reverse=first == "bert"):
                assert await company.seen(name) == alone[name]


@pytest.mark.virtual_clock
@pytest.mark.parametrize("hidden", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("amount", ["more", "less"])
async def test_whoever_is_shown_other_things_by_now_shares_them_with_nobody(hidden: Hidden, amount: str) -> None:
    company = Company(hidden, [Inside()])
    async with company.running():
        whole = await company.seen("anna")
    company = Company(hidden, [Inside()])
    see_all = company.transport.see_all
    see_all |= {READER_SECRET, CARL_SECRET} if amount == "less" else set()
    async with company.running():
        before = await company.seen("bert")
        assert await company.seen("carl") == before
        see_all ^= {READER_SECRET}
        for _ in range(2):
            await anyio.sleep(400)  # the cache is old, but the portal has let in all of them within the hour
            seen = await company.seen("bert")
            assert amount == "less" or seen == whole
            assert await company.seen("carl") == before


@pytest.mark.slow
async def test_replicas_know_what_those_are_shown_who_share(valkey: Valkey) -> None:
    company = Company(_without_field, [InRedis(valkey.url), InRedis(valkey.url)])
    field, fresh = "deal.UF_CRM_1724", {"fresh": True}
    async with company.running():
        for name in ("bert", "bert", "carl", "carl"):
            assert "Large" not in await company.call(name, "get_directory_items", entityId=field)
        company.transport.see_all.add(READER_SECRET)
        for _ in range(2):
            assert "Large" in await company.call("bert", "get_directory_items", entityId=field, **fresh)
            for _ in range(2):
                assert "Large" not in await company.call("carl", "get_directory_items", entityId=field)


async def test_who_is_shown_the_same_reads_nothing_again(valkey: Valkey) -> None:
    """Neither process reads anything again; only each person's access is checked, once."""
    company = Company(_without_field, [InRedis(valkey.url), InRedis(valkey.url)])
    async with company.running():
        await company.seen("bert")
        await company.seen("anna")
        company.portal.calls.clear()
        for _ in range(2):
            await company.seen("carl")
    assert [method for method, _ in company.portal.calls] == ["batch"]


@pytest.mark.virtual_clock
async def test_what_the_portal_does_not_tell_is_shared_with_nobody() -> None:
    """A passing failure does not mean missing rights, and locks nobody out."""
    company = Company(_refused("crm.item.fields", 2), [Inside()])
    company.portal.faults.order(Fault(method="crm.item.fields", code="INTERNAL_SERVER_ERROR", after=True))
    async with company.running():
        for name in ("anna", "bert"):
            assert "'total': 15" in await company.call(name, "get_directory_items", entityId="SOURCE")
        company.portal.faults.clear()
        await anyio.sleep(400)
        assert "Large" in await company.call("anna", "get_directory_items", entityId="deal.UF_CRM_1724")
        assert "Large" not in await company.call("bert", "get_directory_items", entityId="deal.UF_CRM_1724")


@pytest.mark.parametrize("kind", ["inside", pytest.param("redis", marks=pytest.mark.slow)])
async def test_a_change_is_seen_by_those_who_are_shown_other_things(kind: str, valkey: Valkey) -> None:
    company = Company(_without_field, [Inside()] if kind == "inside" else [InRedis(valkey.url), InRedis(valkey.url)])
    async with company.running():
        for name in ("bert", "bert", "anna"):
            assert "Fax" not in await company.call(name, "get_directory_items", entityId="SOURCE")
        await company.add("anna", "SOURCE", "Fax")
        for name in ("bert", "bert", "anna", "anna"):
            assert "Fax" in await company.call(name, "get_directory_items", entityId="SOURCE")
