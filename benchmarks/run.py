"""Measures the figures of benchmarks/README.md.

Ratios are of medians, measured side by side in this one run. `python benchmarks/run.py` prints the table and exits 1
if a figure misses its bar; names of measures after it (`tokens finding`) run only those.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import httpx
import psutil
import vocabulary
from company import company
from context import context
from figures import HERE, Figure, call_count, count, measure_in_turns, medians, percentile99, portal
from large import merging, report
from mcp import Client
from people import people
from portal import DIRECTORIES, wide_names
from replicas import replicas
from stdio import Server
from words import words

from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.rest import Webhook
from bitrix24_directories.settings import Settings

sys.path.append(str(HERE.parent / "tests"))
from records import portal_of_long_lists
from support import PortalInProcess, ToolAnswer, connect

BARE = (str(HERE / "bare_server.py"),)
OURS = ("-m", "bitrix24_directories")
GET = "get_directory_items"
FIND = "find_directory_items"
WORDS = ["won in wholesale", "cold cal", "website", "junk lead", "over 500 employees"]
CHECK = "check_record"
USAGE = "get_directory_usage"
STAGES = {"entityId": "DEAL_STAGE"}
RECORD = {
    "entity": "deal",
    "fields": [
        "CATEGORY_ID=1",
        "STAGE_ID=Deal Won",
        "SOURCE_ID=CALL",
        "UF_CRM_1724=Large",
        "OPENED=yes",
        "STAGE=won",
        "TYPE_ID=service",
        "TITLE=Order 5",
    ],
}
COUNTED = {"entityId": "COUNTED"}
RIGHT = {
    "entity": "deal",
    "fields": ["CATEGORY_ID=1", "STAGE_ID=C1:WON", "SOURCE_ID=CALL", "UF_CRM_1724=79", "OPENED=Y", "TYPE_ID=SALE"],
}


def start_up() -> Iterator[Figure]:
    def ready(*arguments: str, **environment: str) -> float:
        with Server(*arguments, **environment) as server:
            return server.ready

    with portal() as webhook:
        bare, ours, writing = medians(
            21,
            lambda: ready(*BARE),
            lambda: ready(*OURS, BITRIX24_WEBHOOK_URL=webhook),
            lambda: ready(*OURS, BITRIX24_WEBHOOK_URL=webhook, BITRIX24_ALLOW_WRITES="true"),
        )
    yield Figure("from spawn to `tools/list` answered, against the bare server", ours / bare, 1.15)
    yield Figure("the same with writes on", writing / bare, 1.25)
    with portal("100", program="constant_portal.py") as webhook:
        ahead, cold = medians(5, lambda: first_answer(webhook, "true"), lambda: first_answer(webhook, "false"))
    yield Figure("the first record checked, a second after that, the portal 100 ms away", 1000 * ahead, 100, " ms")
    yield Figure("the same, against a server that has read nothing ahead", ahead / cold, 0.4)


def first_answer(webhook: str, warm_up: str) -> float:
    """Seconds of a new conversation's first question: people are slower than any client."""
    with Server(*OURS, BITRIX24_WEBHOOK_URL=webhook, BITRIX24_WARM_UP=warm_up) as server:
        time.sleep(1)
        return server.timed(CHECK, **RIGHT)


def calls() -> Iterator[Figure]:
    with (
        portal(program="constant_portal.py") as webhook,
        Server(*BARE) as bare,
        Server(*OURS, BITRIX24_WEBHOOK_URL=webhook) as ours,
        Server(*OURS, BITRIX24_WEBHOOK_URL=webhook, BITRIX24_PLAN="self-hosted", BITRIX24_CACHE_TTL="0") as uncached,
        asyncio.Runner() as runner,
    ):
        for server in (ours, uncached):  # the first answer also reads the fields that take the codes
            server.call(GET, **STAGES)
        taken = measure_in_turns(2000, lambda: bare.timed(GET, **STAGES), lambda: ours.timed(GET, **STAGES))
        constant, cached = map(statistics.median, taken)
        yield Figure("a cached call over stdio, against the bare server's constant tool", cached / constant, 1)
        constant, cached = map(percentile99, taken)
        yield Figure("the same: 99th percentile, against the bare server's", cached / constant, 1.2)

        http = httpx.AsyncClient()

        def post() -> float:
            async def timed() -> float:
                started = time.perf_counter()
                (await http.post(f"{webhook}crm.status.entity.items", json=STAGES)).json()
                return time.perf_counter() - started

            return runner.run(timed())

        taken = measure_in_turns(1000, lambda: bare.timed(GET, **STAGES), post, lambda: uncached.timed(GET, **STAGES))
        runner.run(http.aclose())
        constant, posted, call_count = map(statistics.median, taken)
        yield Figure(
            "an uncached call on a portal that costs nothing, against the same POST with a bare `httpx.AsyncClient` "
            "plus the bare call",
            call_count / (posted + constant),
            1.5,
        )
        constant, posted, call_count = map(percentile99, taken)
        yield Figure("the same: 99th percentile, against theirs", call_count / (posted + constant), 1.5)


def load() -> Iterator[Figure]:
    with portal() as webhook:
        requests, _, errors = asyncio.run(at_once(webhook, [STAGES] * 100, after_another=True))
    yield Figure("100 equal calls at once: HTTP requests", requests, 1)
    yield Figure("100 equal calls at once: errors seen", errors, 0)
    for state, label, bar in (
        ("limited", "that enforces burst 50, 2/s", 5),
        ("full", "whose bucket is already full", 10),
    ):
        with portal(state) as webhook:
            _, seconds, errors = asyncio.run(at_once(webhook, [{"entityId": name} for name in DIRECTORIES]))
        yield Figure(f"200 different calls at once on a portal {label}", seconds, bar, " s")
        yield Figure("the same: errors seen", errors, 0)
        if state == "limited":
            with portal(state) as webhook:
                alone = asyncio.run(one_by_one(webhook, DIRECTORIES))
            yield Figure("the same, against 200 calls one by one with a bare `httpx.AsyncClient`", seconds / alone, 0.1)

    with portal("long") as webhook:
        requests, _, errors = asyncio.run(at_once(webhook, [{"entityId": "LONG", "details": True}], after_another=True))
    yield Figure("a directory of 10,000 items with details: HTTP requests", requests, 5)
    yield Figure("the same: errors seen", errors, 0)


async def one_by_one(webhook: str, names: Sequence[str]) -> float:
    """Seconds of the same calls one by one, with a wait of half a second after each refusal."""
    started = time.perf_counter()
    async with httpx.AsyncClient() as client:
        left = [*names]
        while left:
            answer = await client.post(f"{webhook}crm.status.entity.items", json={"entityId": left[0]})
            if answer.is_success:
                del left[0]
            else:
                await asyncio.sleep(0.5)
    return time.perf_counter() - started


async def at_once(
    webhook: str, arguments: list[dict[str, Any]], *, after_another: bool = False
) -> tuple[int, float, int]:
    """HTTP requests, seconds until all calls are answered, and errors seen.

    The calls are a new server's first ones, or follow another call, whose answer needed the fields of records as well.
    """
    errors = 0
    server = DirectoriesServer(Webhook.parse(webhook), Settings.model_construct(log_level="ERROR"))
    async with Client(server.mcp) as client, httpx.AsyncClient() as http:
        address = webhook.partition("/rest/")[0]

        async def call(arguments: dict[str, Any]) -> None:
            nonlocal errors
            errors += bool((await client.call_tool(GET, arguments)).is_error)

        if after_another:
            await call({"entityId": "INDUSTRY"})
        before = (await http.get(f"{address}/demo/calls")).json()["calls"]
        started = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for argument in arguments:
                tasks.start_soon(call, argument)
        seconds = time.perf_counter() - started
        return (await http.get(f"{address}/demo/calls")).json()["calls"] - before, seconds, errors


def tokens() -> Iterator[Figure]:
    with portal() as webhook, Server(*OURS, BITRIX24_WEBHOOK_URL=webhook, BITRIX24_ALLOW_WRITES="true") as server:
        writing = server.tools
    with portal(program="constant_portal.py") as webhook, Server(*OURS, BITRIX24_WEBHOOK_URL=webhook) as server:
        tool_list = server.tools
        bare = bare_rows(webhook)
        result = server.call(GET, **STAGES)
        response = httpx.post(f"{webhook}crm.status.entity.items", json=STAGES).json()
        checked = server.call(CHECK, **RECORD)
        used = server.call(USAGE, **STAGES)
        search = server.call(FIND, queries=WORDS)
    definitions = [{key: tool[key] for key in ("name", "description", "inputSchema")} for tool in tool_list["tools"]]
    yield Figure("name, description and input schema of all read tools, in tokens", count(definitions), 900)
    (record,) = (tool for tool in definitions if tool["name"] == CHECK)
    yield Figure("the same of check_record alone", count(record), 300)
    yield Figure("the whole `tools/list`, in tokens", count(tool_list), 2850)
    yield Figure("the same with writes on", count(writing), 6500)
    text, structured = count(result["content"][0]["text"]), count(result["structuredContent"])
    alone = count(response["result"])
    yield Figure("the documented 8 items: text, in tokens of the REST method's `result` alone", text / alone, 0.95)
    yield Figure("the same: structured", structured / alone, 0.95)
    yield Figure(
        "a record of 8 fields, 5 of them not right: text, in tokens", count(checked["content"][0]["text"]), 320
    )
    yield Figure("the same: structured, in tokens", count(checked["structuredContent"]), 400)
    long = asyncio.run(five_lists())
    yield Figure("a record with five values wrong, five lists of 20 shown: text, in tokens", count(long.text), 1200)
    yield Figure("the same: structured, in tokens", count(long.structured), 1200)
    yield Figure("five queries, three of them uncertain: text, in tokens", count(search["content"][0]["text"]), 500)
    yield Figure("the same: structured, in tokens", count(search["structuredContent"]), 800)
    yield Figure(
        "the same, against the rows of all directories, which one would read instead",
        count(search["structuredContent"]) / count(bare),
        0.35,
    )
    yield Figure("the usage of 8 stages: text, in tokens", count(used["content"][0]["text"]), 200)
    yield Figure("the same: structured, in tokens", count(used["structuredContent"]), 200)


async def five_lists() -> ToolAnswer:
    made, fields = portal_of_long_lists()
    async with connect(PortalInProcess(made)) as assistant:
        return await assistant.call(CHECK, entity="deal", fields=fields)


def bare_rows(webhook: str) -> list[Any]:
    """Results of the REST methods for the portal's directories and all their items."""

    def result(method: str, **params: str) -> Any:
        return httpx.post(f"{webhook}{method}", json=params).json()["result"]

    types = result("crm.status.entity.types")
    return [types, *(result("crm.status.entity.items", entityId=row["ID"]) for row in types)]


def records() -> Iterator[Figure]:
    """A check from cold, against the same two batches with bare httpx; and a cached one.

    Each check from cold has a new server.
    """
    with portal() as webhook:
        requests = asyncio.run(cold(webhook, CHECK, RECORD, count_requests=True))
        yield Figure("a record checked from cold: HTTP requests", requests, 2)
        bare, first = medians(
            20,
            lambda: asyncio.run(two_batches(webhook)),
            lambda: asyncio.run(cold(webhook, CHECK, RECORD, count_requests=False)),
        )
        yield Figure("the same, against the same two batches with a bare `httpx.AsyncClient`", first / bare, 2)
        with Server(*OURS, BITRIX24_WEBHOOK_URL=webhook, BITRIX24_WARM_UP="false") as server:
            server.call(CHECK, **RIGHT)
            server.call(GET, **STAGES)
            before = call_count(webhook)
            got, checking = medians(300, lambda: server.timed(GET, **STAGES), lambda: server.timed(CHECK, **RIGHT))
            yield Figure("a record checked with all kept: HTTP requests", call_count(webhook) - before, 0)
            yield Figure("the same, against one cached call", checking / got, 2)


def usage() -> Iterator[Figure]:
    """Counting a directory of 12 codes in 3 fields from cold, against a request for each count."""
    with portal("counted") as webhook:
        requests = asyncio.run(cold(webhook, USAGE, COUNTED, count_requests=True))
        yield Figure("the usage of 12 codes in 3 fields from cold: HTTP requests", requests, 3)
        one_by_one, together = medians(
            5,
            lambda: asyncio.run(counts_one_by_one(webhook)),
            lambda: asyncio.run(cold(webhook, USAGE, COUNTED, count_requests=False)),
        )
        yield Figure(
            "the same, against one request for each count with a bare `httpx.AsyncClient`", together / one_by_one, 1
        )


async def counts_one_by_one(webhook: str) -> float:
    """Seconds for 12 codes in 3 fields, each counted by a request of its own."""
    started = time.perf_counter()
    async with httpx.AsyncClient() as client:
        for type_id in (1, 2, 3):
            for number in range(12):
                params = {"entityTypeId": type_id, "filter": {"=ufCrm_1": f"CODE_{number}"}, "select": ["id"]}
                (await client.post(f"{webhook}crm.item.list", json=params)).raise_for_status().json()
    return time.perf_counter() - started


async def cold(webhook: str, tool: str, arguments: dict[str, Any], *, count_requests: bool) -> float:
    """Seconds of a new server's first call, or the number of its requests."""
    server = DirectoriesServer(Webhook.parse(webhook), Settings.model_construct())
    async with Client(server.mcp) as client:
        before = call_count(webhook) if count_requests else 0
        started = time.perf_counter()
        result = await client.call_tool(tool, arguments)
        seconds = time.perf_counter() - started
    assert not result.is_error
    return call_count(webhook) - before if count_requests else seconds


async def two_batches(webhook: str) -> float:
    """Seconds of a check's calls without a server: types and fields first, then the directories."""
    first = ["crm.status.entity.types", "crm.enum.ownertype", "crm.item.fields?entityTypeId=2", "crm.deal.fields"]
    directories = ["DEAL_STAGE", "DEAL_STAGE_1", "DEAL_STAGE_2", "SOURCE", "DEAL_TYPE"]
    second = [f"crm.status.entity.items?entityId={entity_id}" for entity_id in directories]
    started = time.perf_counter()
    async with httpx.AsyncClient() as client:
        for commands in (first, second):
            cmd = {f"c{index}": command for index, command in enumerate(commands)}
            (await client.post(f"{webhook}batch", json={"halt": 0, "cmd": cmd})).raise_for_status().json()
    return time.perf_counter() - started


def finding() -> Iterator[Figure]:
    chance, entity_ids = random.Random(18), DIRECTORIES[:40]
    names = [name for entity_id in entity_ids for name in wide_names()[entity_id]]
    words = vocabulary.words(random.Random(17))

    def find(queries: Sequence[str]) -> float:
        return server.timed(FIND, queries=queries, entityIds=entity_ids)

    def asked_for() -> list[str]:
        return vocabulary.queries(chance, words, names, 50)

    again = asked_for()
    with portal("wide") as webhook, Server(*OURS, BITRIX24_WEBHOOK_URL=webhook) as server:
        find(again)
        taken = measure_in_turns(
            200, lambda: server.timed(GET, entityId=entity_ids[0]), lambda: find(again), lambda: find(asked_for())
        )
    got, same, new = map(statistics.median, taken)
    label = "50 queries over 40 cached directories of 50 items, a third each right, misspelt and unknown"
    yield Figure(f"{label}, asked again: against one cached call", same / got, 50)
    yield Figure(
        "the same with new queries each time, those without an answer looked for in 160 others", 1000 * new, 150, " ms"
    )
    yield Figure("the same: 99th percentile", 1000 * percentile99(taken[2]), 400, " ms")


def memory() -> Iterator[Figure]:
    """Memory over calls of all tools: most cached, every 50th on the portal, some changes."""
    source = {"entityId": "LIST_150", "statusId": "BENCH"}
    changing: list[tuple[str, dict[str, Any]]] = [
        ("add_directory_item", source | {"name": "Bench"}),
        ("update_directory_item", source | {"name": "Benches"}),
        ("apply_directory", {"entityId": "LIST_151", "items": [f"CODE_{number}: Name" for number in range(8)]}),
        ("merge_directory_items", {"entityId": "SOURCE", "codes": ["WEB"], "into": "CALL"}),
        ("delete_directory_item", source),
    ]
    kinds: list[tuple[str, dict[str, Any]]] = [
        *((GET, {"entityId": name, "details": details}) for name in DIRECTORIES[:20] for details in (False, True)),
        *(("list_directories", {"query": f"list_{number}"}) for number in range(50)),
        *((FIND, {"queries": [f"name {number}", "won"], "entityIds": DIRECTORIES[:number]}) for number in (5, 10, 15)),
        (FIND, {"queries": WORDS}),
        (CHECK, RECORD),
        (CHECK, RIGHT),
        (USAGE, STAGES),
        *changing,
        (GET, {"entityId": 7}),
        (GET, {}),
        ("no_such_tool", {}),
    ]
    settings = {"BITRIX24_PLAN": "self-hosted", "BITRIX24_ALLOW_WRITES": "true"}
    failed: set[str] = set()
    with portal() as webhook, Server(*OURS, BITRIX24_WEBHOOK_URL=webhook, **settings) as server:
        process = psutil.Process(server.process.pid)
        resident = []
        for number in range(10_001):
            if number in (500, 10_000):
                resident.append(process.memory_info().rss)
            tool, arguments = kinds[number % len(kinds)]
            result = server.call(tool, **arguments)
            if tool == "delete_directory_item":  # changes that cannot be undone are planned first
                result = server.call(tool, **arguments, planId=result["structuredContent"]["planId"])
            if result["isError"]:
                failed.add(tool)
            if number % 50 == 0:
                server.call(GET, **STAGES, fresh=True)
    assert failed == {GET, "no_such_tool"}, failed
    yield Figure("memory after 10,000 calls of all tools, against after 500", resident[1] / resident[0], 1.1)


MEASURES = {
    measure.__name__: measure
    for measure in (
        *(start_up, calls, load, tokens, records, usage, report, merging, finding, memory),
        *(context, words, company, people, replicas),
    )
}


def main() -> int:
    if unknown := set(sys.argv[1:]) - set(MEASURES):
        print(f"No such measure: {', '.join(sorted(unknown))}. There are {', '.join(MEASURES)}.", file=sys.stderr)
        return 2
    print("| figure | measured | bar | met |\n|---|---|---|---|")
    missed = False
    for name in sys.argv[1:] or MEASURES:
        for figure in MEASURES[name]():
            print(figure, flush=True)
            missed |= not figure.met
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
