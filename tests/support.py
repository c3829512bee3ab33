"""Helpers of the tests: a demo portal on a real port, and an assistant that speaks MCP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import jsonschema
from hypothesis import settings
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult, ElicitResult, TextContent

from bitrix24_directories.directories.entity_ids import is_stages
from bitrix24_directories.directories.field_map import ON_EVERY_PORTAL, reads_of_map
from bitrix24_directories.directories.pipelines import ALONG
from bitrix24_directories.directories.reading.cache import Cache
from bitrix24_directories.directories.reads import meanings_of
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.portal import DemoPortal, Fault, listen, server
from bitrix24_directories.portal.app import ADMIN
from bitrix24_directories.portal.methods import run
from bitrix24_directories.portal.record_types import RecordType
from bitrix24_directories.portal.store import Directory
from bitrix24_directories.rest import Answer, Bitrix24Error, Credentials, Webhook, in_process
from bitrix24_directories.settings import Settings

ADMIN_SECRET = "demoadmin0000001"
READER_SECRET = "demoreader000007"
STRANGER_SECRET = "demostranger0009"
TASKS_ONLY_SECRET = "demotasksonly011"
_USERS = {ADMIN_SECRET: 1, READER_SECRET: 7, STRANGER_SECRET: 9, TASKS_ONLY_SECRET: 11}


SOURCE_FIELDS = [
    "deal.SOURCE_ID",
    "deal.UF_CRM_1724077760 (Second source)",
    "lead.SOURCE_ID",
    "contact.SOURCE_ID",
    "item(31).sourceId",
    "item(177).sourceId",
]
"""Fields that take the codes of the demo portal's SOURCE, in English."""


def examples(number: int) -> int:
    """Number of examples of a property: all with `--hypothesis-profile=thorough`, as CI runs it."""
    return number if settings.get_current_profile_name() == "thorough" else max(10, number // 5)


@dataclass(frozen=True)
class RunningPortal:
    """A demo portal that answers real HTTP at `address` (scheme and authority)."""

    portal: DemoPortal
    address: str

    def webhook_url(self, secret: str = ADMIN_SECRET) -> str:
        return f"{self.address}/rest/{_USERS.get(secret, 1)}/{secret}/"

    def order(self, **fault: Any) -> Fault:
        """Order a fault; its `times` is the number of times that it is still to come."""
        ordered = Fault(**fault)
        self.portal.faults.order(ordered)
        return ordered

    @property
    def methods_called(self) -> list[str]:
        return [method for method, _ in self.portal.calls]


class PortalInProcess(RunningPortal):
    """A demo portal that is called without a socket, as a virtual clock needs it."""

    def __init__(self, portal: DemoPortal) -> None:
        super().__init__(portal, "http://localhost")


class PortalHost:
    """An ASGI application for one portal after another: a server per test would take too long."""

    def __init__(self) -> None:
        self.portal = DemoPortal()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        await self.portal.app(scope, receive, send)


@contextlib.contextmanager
def serve_http(host: PortalHost, *, certfile: str | None = None) -> Iterator[str]:
    """Serve a host on a free port, in its own thread, until the block ends; yields the address."""
    running, listening = server(host.app, certfile=certfile), listen(0)
    thread = threading.Thread(target=running.run, args=([listening],), daemon=True)
    thread.start()
    try:
        scheme, domain = ("https", "localhost") if certfile else ("http", "127.0.0.1")
        yield f"{scheme}://{domain}:{listening.getsockname()[1]}"
    finally:
        running.should_exit = running.force_exit = True
        thread.join(timeout=10)


@dataclass(frozen=True)
class ToolAnswer:
    """Result of a tool call: its text, its structured content, and the error flag."""

    text: str
    structured: dict[str, Any]
    is_error: bool

    @property
    def error(self) -> dict[str, Any]:
        """The facts of an error result; its sentences are those of the text."""
        assert self.is_error, self.text
        facts: dict[str, Any] = dict(self.structured["error"])
        assert self.text.startswith(f"{facts.pop('message')}\nNext: {facts.pop('next')}\n")
        return facts

    @property
    def everything(self) -> str:
        return self.text + json.dumps(self.structured, ensure_ascii=False)


class Assistant:
    """Calls tools as a model does, and checks both channels and the schema of each answer."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._schemas: dict[str, dict[str, Any] | None] = {}

    async def call(self, tool: str, /, **arguments: Any) -> ToolAnswer:
        if not self._schemas:
            tools = (await self.client.list_tools()).tools
            self._schemas = {definition.name: definition.output_schema for definition in tools}
        return self._checked(tool, await self.client.call_tool(tool, arguments))

    def _checked(self, tool: str, result: CallToolResult) -> ToolAnswer:
        (block,) = result.content
        assert isinstance(block, TextContent)
        structured = result.structured_content
        assert isinstance(structured, dict)
        if (schema := self._schemas.get(tool)) is not None:
            jsonschema.Draft202012Validator(schema).validate(structured)  # test_schemas checks the schemas themselves
        assert ("error" in structured) == result.is_error
        return ToolAnswer(block.text, structured, result.is_error)


Reachable = str | RunningPortal | Credentials | Bitrix24Error


@contextlib.asynccontextmanager
async def connect(
    portal: Reachable,
    *,
    mode: str = "auto",
    cache: Cache | None = None,
    secret: str = ADMIN_SECRET,
    fields_kept: bool = True,
    **settings: Any,
) -> AsyncIterator[Assistant]:
    """Connect an assistant to a server in this process.

    The server calls the portal over real HTTP, unless it is a PortalInProcess. The fields of records are cached already
    unless `fields_kept` is False, so that a test of directories sees the requests for directories alone.
    """
    transport = in_process(portal.portal.app) if isinstance(portal, PortalInProcess) else None
    configured = Settings.model_construct(**({"timeout": 20, "cache_ttl": 300} | settings))
    cache = cache or Cache(configured.cache_ttl)
    caller = Webhook.parse(_address(portal, secret)) if isinstance(portal, str | RunningPortal) else portal
    if isinstance(caller, Webhook) and fields_kept:
        keep_fields(cache, caller, portal.portal if isinstance(portal, RunningPortal) else DemoPortal())
    async with Client(DirectoriesServer(caller, configured, transport=transport, cache=cache).mcp, mode=mode) as client:
        yield Assistant(client)


@contextlib.asynccontextmanager
async def connect_person(
    portal: PortalInProcess, answer: Callable[[], ElicitResult], mode: str
) -> AsyncIterator[tuple[Client, list[str]]]:
    """Connect a client that asks a person; yields it and the list of questions."""
    questions: list[str] = []

    async def callback(context: Any, params: Any) -> ElicitResult:
        del context
        questions.append(params.message)
        assert params.requested_schema == {"type": "object", "properties": {}}
        await anyio.sleep(120)  # people take their time
        return answer()

    settings = Settings.model_construct(allow_writes=True, log_level="ERROR")
    server = DirectoriesServer(Webhook.parse(portal.webhook_url()), settings, transport=in_process(portal.portal.app))
    async with Client(server.mcp, mode=mode, elicitation_callback=callback) as client:
        yield client, questions


class _Described(NamedTuple):
    types: dict[int, RecordType]
    directories: dict[str, Directory]
    rows: dict[tuple[str, ...], list[Any]]


_described: list[_Described] = []


def keep_fields(cache: Cache, caller: Credentials, portal: DemoPortal) -> None:
    """Put the portal's record fields and pipelines into a cache, as if they had just been read."""
    types, directories = portal.store.records.types, portal.store.directories  # equal for many portals
    described = next(
        (item.rows for item in _described if item.types is types and item.directories == directories), None
    )
    if described is None:
        stages = [meanings_of(entity_id) for entity_id in directories if is_stages(entity_id)]
        reads = [*reads_of_map((*ON_EVERY_PORTAL, 36, 177)), *ALONG, *stages]
        described = {
            read.key: read.rows(Answer(run(portal.store, ADMIN, read.method, read.params).result)) for read in reads
        }
        _described.append(_Described(types, dict(directories), described))
    for key, rows in described.items():
        cache.store((caller.identity, *key), rows)


def change_field(portal: DemoPortal, number: int, old_name: str, **changes: Any) -> None:
    """Change the description of a field on one portal."""
    records = portal.store.records
    kind = records.types[number]
    fields = (replace(field, **changes) if field.old_name == old_name else field for field in kind.fields)
    records.types = records.types | {number: replace(kind, fields=tuple(fields))}


def _address(portal: str | RunningPortal, secret: str) -> str:
    return portal if isinstance(portal, str) else portal.webhook_url(secret)


async def ask(portal: Reachable, tool: str, /, timeout: float = 20, **arguments: Any) -> ToolAnswer:
    """Call a tool once, with a fresh assistant."""
    async with connect(portal, timeout=timeout) as assistant:
        return await assistant.call(tool, **arguments)


class VirtualClockLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time.

    When nothing else is to do, its clock jumps to the next timer.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout if timeout is None else 0)
        if not ready and timeout:
            self.now += timeout
        return ready


def free_port() -> int:
    """A port of 127.0.0.1 without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def spawn_parameters(cwd: Path, *arguments: str, **environment: str) -> StdioServerParameters:
    """Parameters that start the server as a client would: as a process, with a bare environment."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "bitrix24_directories", *arguments],
        env=clean_environment(**environment),
        cwd=cwd,
    )


def clean_environment(**environment: str) -> dict[str, str]:
    """Environment of this process without the server's settings, plus `environment`.

    Nothing is read ahead unless `environment` says so, so that a test sees its own requests alone.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("BITRIX24_", "PYTHON", "LC_"))}
    return inherited | {"BITRIX24_WARM_UP": "false"} | environment
