"""Limits of the portal, retries and deadlines on a virtual clock.

Most go through MCP; those of `batch` use the client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import pytest

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.app import LeakyBucket
from bitrix24_directories.rest import Answer, Bitrix24Client, Bitrix24Error, RateLimits, Webhook, in_process
from support import Assistant, PortalInProcess, ToolAnswer, connect

pytestmark = pytest.mark.virtual_clock

Calls = list[tuple[str, dict[str, Any]]]


@pytest.fixture
async def limited() -> PortalInProcess:
    """A portal that enforces burst 50 and 2 requests a second, with 200 directories."""
    portal = PortalInProcess(DemoPortal(clock=anyio.current_time, limit=(50, 2)))
    template = portal.portal.store.directories["INDUSTRY"]
    for number in range(200):
        name = f"LIST_{number}"
        portal.portal.store.directories[name] = type(template)(name, name)
        portal.portal.store.add(name, f"CODE_{number}", f"Name {number}")
    return portal


@pytest.fixture
async def assistant(limited: PortalInProcess) -> AsyncIterator[Assistant]:
    async with connect(limited) as opened:
        yield opened


async def ask_for_all(assistant: Assistant, numbers: range) -> tuple[list[ToolAnswer], float]:
    """Answers to calls at once, one for each number, and the seconds they take."""
    results: dict[int, ToolAnswer] = {}

    async def ask_for(number: int) -> None:
        results[number] = await assistant.call("get_directory_items", entityId=f"LIST_{number}")

    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:
        for number in numbers:
            tasks.start_soon(ask_for, number)
    return [results[number] for number in numbers], anyio.current_time() - started


def each_got_its_own(answers: list[ToolAnswer]) -> bool:
    return all(
        not result.is_error and result.structured["items"][0]["statusId"] == f"CODE_{number}"
        for number, result in enumerate(answers)
    )


async def test_up_to_the_burst_nothing_waits(assistant: Assistant, limited: PortalInProcess) -> None:
    answers, seconds = await ask_for_all(assistant, range(50))
    assert each_got_its_own(answers)
    assert seconds == 0
    assert limited.methods_called == ["crm.status.entity.items"] * 50


async def test_what_has_to_wait_goes_out_together(assistant: Assistant, limited: PortalInProcess) -> None:
    answers, seconds = await ask_for_all(assistant, range(200))
    assert each_got_its_own(answers)
    assert limited.methods_called == ["crm.status.entity.items"] * 50 + ["batch"] * 3
    assert seconds <= 2


async def test_a_bucket_that_others_have_filled(assistant: Assistant, limited: PortalInProcess) -> None:
    limited.portal.bucket = LeakyBucket(50, 2, anyio.current_time, level=50)
    answers, seconds = await ask_for_all(assistant, range(200))
    assert each_got_its_own(answers)
    assert seconds <= 5
    assert limited.methods_called.count("batch") == 4


async def test_one_that_waits_alone_goes_as_its_own_method(assistant: Assistant, limited: PortalInProcess) -> None:
    await ask_for_all(assistant, range(50))
    (result,), seconds = await ask_for_all(assistant, range(60, 61))
    assert not result.is_error
    assert seconds == pytest.approx(0.5)
    assert limited.portal.calls[-1] == ("crm.status.entity.items", {"entityId": "LIST_60"})


async def test_first_come_first_served(assistant: Assistant, limited: PortalInProcess) -> None:
    await ask_for_all(assistant, range(170))
    batches = [params["cmd"] for method, params in limited.portal.calls if method == "batch"]
    entity_ids = [command.partition("LIST_")[2] for batch in batches for command in batch.values()]
    assert entity_ids == [str(number) for number in range(50, 170)]


async def test_a_refusal_slows_everyone_not_just_its_victim(assistant: Assistant, limited: PortalInProcess) -> None:
    limited.order(times=1, code="QUERY_LIMIT_EXCEEDED")
    assert not (await assistant.call("get_directory_items", entityId="LIST_0")).is_error
    _, seconds = await ask_for_all(assistant, range(1, 2))
    assert seconds == pytest.approx(0.5)


async def test_the_enterprise_plan(limited: PortalInProcess) -> None:
    limited.portal.bucket = None
    async with connect(limited, plan="enterprise") as assistant:
        _, seconds = await ask_for_all(assistant, range(200))
    assert seconds == 0
    assert limited.methods_called == ["crm.status.entity.items"] * 200


@pytest.fixture
async def unlimited(limited: PortalInProcess) -> PortalInProcess:
    """A portal on a company's own server, which takes a second for each request."""
    limited.portal.bucket = None
    limited.order(delay=1)
    return limited


async def test_a_self_hosted_portal_is_asked_as_fast_as_it_answers(unlimited: PortalInProcess) -> None:
    async with connect(unlimited, plan="self-hosted") as assistant:
        answers, seconds = await ask_for_all(assistant, range(200))
        assert each_got_its_own(answers)
        _, again = await ask_for_all(assistant, range(4))
    assert seconds == 2
    assert again == 0
    assert unlimited.methods_called == ["crm.status.entity.items"] * 4 + ["batch"] * 4


async def test_whoever_gives_up_leaves_no_place_taken_on_it(unlimited: PortalInProcess) -> None:
    async with connect(unlimited, plan="self-hosted", cache_ttl=0) as assistant:
        for _ in range(3):
            with anyio.move_on_after(0.5):
                await ask_for_all(assistant, range(20))
        with anyio.move_on_after(1.5):
            await ask_for_all(assistant, range(20))
        await anyio.sleep(1)
        before = anyio.current_time()
        assert not (await assistant.call("get_directory_items", entityId="LIST_7")).is_error
        assert anyio.current_time() - before <= 2  # the fields take two requests


@pytest.mark.parametrize("fault", [{"code": "QUERY_LIMIT_EXCEEDED"}, {"status": 503}, {"status": 429, "body": "no"}])
async def test_one_that_refuses_is_left_alone_by_all(unlimited: PortalInProcess, fault: dict[str, Any]) -> None:
    async with connect(unlimited, plan="self-hosted") as assistant:
        unlimited.portal.faults.clear()
        unlimited.order(times=3, headers={"retry-after": "4"}, **fault)
        started = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(assistant.call, "get_directory_items", entityId="LIST_1"))
            await anyio.sleep(0.01)
            assert not (await assistant.call("get_directory_items", entityId="LIST_2")).is_error
            assert anyio.current_time() - started >= 4


@pytest.mark.parametrize(
    ("fault", "failures", "seconds"),
    [
        ({"status": 502}, 5, 15.5),
        ({"status": 503}, 5, 15.5),
        ({"status": 504}, 1, 0.5),
        ({"status": 429, "body": "slow down", "headers": {"retry-after": "3"}}, 1, 3),
        ({"status": 503, "headers": {"retry-after": "7"}}, 2, 14),
        ({"code": "QUERY_LIMIT_EXCEEDED"}, 3, 2),
        ({"code": "INTERNAL_SERVER_ERROR"}, 1, 0.5),
        ({"code": "ERROR_UNEXPECTED_ANSWER"}, 1, 0.5),
        ({"body": ""}, 1, 0.5),
        ({"body": '{"result": [', "headers": {"content-type": "application/json"}}, 1, 0.5),
        ({"delay": 60}, 1, 10.5),
    ],
)
async def test_what_can_heal_is_tried_again(
    portal_in_process: PortalInProcess, fault: dict[str, Any], failures: int, seconds: float
) -> None:
    portal_in_process.order(times=failures, **fault)
    async with connect(portal_in_process, timeout=20) as assistant:
        started = anyio.current_time()
        result = await assistant.call("get_directory_items", entityId="DEAL_STAGE")
    assert not result.is_error
    assert portal_in_process.methods_called == ["crm.status.entity.items"] * (failures + 1)
    assert seconds <= anyio.current_time() - started <= seconds * 1.25 + 0.01


@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        ({"status": 502}, 6),
        ({"code": "INTERNAL_SERVER_ERROR"}, 2),
        ({"body": ""}, 2),
        ({"code": "NO_AUTH_FOUND"}, 1),
        ({"code": "OVERLOAD_LIMIT"}, 1),
        ({"code": "ERROR_CORE"}, 1),
        ({"status": 404}, 1),
        ({"status": 503, "headers": {"retry-after": "60"}}, 1),
    ],
)
async def test_what_does_not_heal_is_said(
    portal_in_process: PortalInProcess, fault: dict[str, Any], tries: int
) -> None:
    portal_in_process.order(**fault)
    async with connect(portal_in_process, timeout=30) as assistant:
        assert (await assistant.call("list_directories")).is_error
    assert len(portal_in_process.portal.calls) == tries


def operating_limit(seconds: float) -> dict[str, Any]:
    body = {"error": "OPERATION_TIME_LIMIT", "time": {"operating_reset_at": time.time() + seconds}}
    return {"status": 429, "body": json.dumps(body)}


async def test_a_method_that_opens_in_time_is_waited_for(portal_in_process: PortalInProcess) -> None:
    portal_in_process.order(times=1, **operating_limit(8))
    async with connect(portal_in_process) as assistant:
        started = anyio.current_time()
        assert not (await assistant.call("list_directories")).is_error
        assert 7 < anyio.current_time() - started < 9


async def test_a_method_that_opens_too_late_fails_at_once_until_then(portal_in_process: PortalInProcess) -> None:
    portal_in_process.order(times=1, method="crm.status.entity.types", **operating_limit(100))
    async with connect(portal_in_process) as assistant:
        started = anyio.current_time()
        assert (await assistant.call("list_directories")).error["retryAfterSeconds"] == 100
        await anyio.sleep(60)
        result = await assistant.call("list_directories")
        assert result.error["code"] == "OPERATION_TIME_LIMIT"
        assert result.error["retryAfterSeconds"] == 40
        assert not (await assistant.call("get_directory_items", entityId="SOURCE")).is_error
        assert portal_in_process.methods_called == ["crm.status.entity.types", "crm.status.entity.items"]
        await anyio.sleep(started + 100 - anyio.current_time())
        assert not (await assistant.call("list_directories")).is_error


@pytest.mark.parametrize(
    ("header", "longest"),
    [("99999", 25), ("Wed, 21 Oct 2115 07:28:00 GMT", 25), ("10", 10)],
)
async def test_a_portal_that_asks_for_years_is_left_alone_for_as_long_as_its_bucket_takes_to_drain(
    portal_in_process: PortalInProcess, header: str, longest: float
) -> None:
    portal_in_process.order(times=1, code="QUERY_LIMIT_EXCEEDED", headers={"retry-after": header})
    async with connect(portal_in_process) as assistant:
        with anyio.fail_after(longest + 1):
            while (await assistant.call("list_directories")).is_error:  # noqa: ASYNC110 - as an assistant asks again
                await anyio.sleep(0.5)
    assert len(portal_in_process.portal.calls) == 2


async def test_after_a_wait_that_was_asked_for_one_request_goes_out_first(portal_in_process: PortalInProcess) -> None:
    portal_in_process.order(times=2, code="QUERY_LIMIT_EXCEEDED", headers={"retry-after": "10"})
    sent: list[int] = []
    async with Bitrix24Client(
        Webhook.parse(portal_in_process.webhook_url()), timeout=60, transport=in_process(portal_in_process.portal.app)
    ) as client:

        async def call(number: int) -> None:
            await client.call(
                "crm.status.add", {"fields": {"ENTITY_ID": "SOURCE", "NAME": "X", "STATUS_ID": f"X{number}"}}
            )

        async with anyio.create_task_group() as tasks:
            started = anyio.current_time()
            tasks.start_soon(call, 0)
            await anyio.sleep(1)
            for number in range(1, 6):
                tasks.start_soon(call, number)
            for until in (9.9, 10.4, 19.9, 20.4, 40):
                await anyio.sleep(until - (anyio.current_time() - started))
                sent.append(len(portal_in_process.portal.calls))
    assert sent == [1, 2, 2, 3, 8]


@pytest.mark.parametrize("seconds", [10**9, 10**6])
async def test_a_clock_that_is_off_closes_no_method_for_longer_than_ten_minutes(
    portal_in_process: PortalInProcess, seconds: float
) -> None:
    """After ten minutes one call goes out, and the others wait for its answer."""
    portal_in_process.order(times=2, method="crm.status.entity.items", **operating_limit(seconds))
    async with connect(portal_in_process, cache_ttl=0) as assistant:
        answers: list[bool] = []

        async def call(entity_id: str) -> None:
            answers.append((await assistant.call("get_directory_items", entityId=entity_id)).is_error)

        async def all_at_once() -> list[bool]:
            answers.clear()
            async with anyio.create_task_group() as tasks:
                for entity_id in ("SOURCE", "STATUS", "DEAL_STAGE", "INDUSTRY", "EMPLOYEES"):
                    tasks.start_soon(call, entity_id)
            return list(answers)

        def sent() -> int:
            return portal_in_process.methods_called.count("crm.status.entity.items")

        await call("SOURCE")
        assert await all_at_once() == [True] * 5  # closed
        assert sent() == 1
        await anyio.sleep(600)
        assert await all_at_once() == [True] * 5  # the probe was refused
        assert sent() == 2
        await anyio.sleep(600)
        assert await all_at_once() == [False] * 5
        assert sent() == 7


async def test_a_probe_that_is_cancelled_leaves_its_place_to_the_next(portal_in_process: PortalInProcess) -> None:
    portal_in_process.order(times=1, method="crm.status.entity.items", **operating_limit(10**9))
    async with connect(portal_in_process, cache_ttl=0, timeout=20) as assistant:
        await assistant.call("get_directory_items", entityId="SOURCE")
        await anyio.sleep(600)
        portal_in_process.order(times=1, method="crm.status.entity.items", delay=10**6)
        with anyio.move_on_after(1):
            await assistant.call("get_directory_items", entityId="SOURCE")
        assert not (await assistant.call("get_directory_items", entityId="STATUS")).is_error


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"delay": 60}, "waited 5 s for the portal's answer"),
        ({"status": 503, "headers": {"retry-after": "4"}}, "not working at the moment"),
    ],
)
async def test_one_deadline_for_all(portal_in_process: PortalInProcess, fault: dict[str, Any], reason: str) -> None:
    """Retries end within the timeout; one that would come too late is not made."""
    portal_in_process.order(**fault)
    async with connect(portal_in_process, timeout=5) as assistant:
        started = anyio.current_time()
        result = await assistant.call("list_directories")
        assert anyio.current_time() - started <= 5
    assert result.is_error
    assert reason in result.text


async def test_past_the_deadline_it_says_how_long_it_waited_and_for_what(limited: PortalInProcess) -> None:
    async with connect(limited, timeout=30) as assistant:
        await ask_for_all(assistant, range(50))
    limited.order(method="crm.status.entity.items", delay=60)
    async with connect(limited, timeout=30) as assistant:
        result = await assistant.call("get_directory_items", entityId="LIST_1")
    assert result.error["code"] == "TIMEOUT"
    assert "waited 30 s for the portal's answer" in result.text


async def test_clients_that_ask_are_told_why_they_wait(limited: PortalInProcess) -> None:
    reports: list[tuple[float, float | None, str | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))

    async with connect(limited, mode="legacy") as assistant:
        limited.order(times=3, status=503)
        await assistant.client.call_tool("list_directories", {}, progress_callback=tell)
        before = list(reports)
        await assistant.client.call_tool("list_directories", {}, progress_callback=tell)
    seconds, totals, messages = zip(*before, strict=True)
    assert seconds == (1, 2, 3, 4)[: len(seconds)]
    assert set(totals) == {20}
    (message,) = set(messages)
    assert message.startswith("Waiting for another try, for the last one failed: The portal, or a proxy before it, is")
    assert reports == before  # a cached answer needs no wait


@pytest.mark.parametrize("state", ["in flight", "queued", "in a batch", "before another try"])
async def test_a_cancelled_call_leaves_nothing_behind(limited: PortalInProcess, state: str) -> None:
    async with connect(limited) as assistant:
        if state in ("queued", "in a batch"):
            await ask_for_all(assistant, range(50))
        tasks = len(asyncio.all_tasks())
        fault = {"status": 503} if state == "before another try" else {"delay": 60.0}
        limited.order(**fault)
        called = len(limited.portal.calls)
        with anyio.move_on_after(0.25 if state == "queued" else 1.0):
            await ask_for_all(assistant, range(60, 62 if state == "in a batch" else 61))
        await anyio.wait_all_tasks_blocked()
        assert len(asyncio.all_tasks()) == tasks
        assert len(limited.portal.calls) - called == {"queued": 0, "before another try": 2}.get(state, 1)
        limited.portal.faults.clear()
        await anyio.sleep(30)
        assert len(limited.portal.calls) - called == {"queued": 0, "before another try": 2}.get(state, 1)
        _, seconds = await ask_for_all(assistant, range(70, 71))
        assert seconds == 0


async def test_the_others_in_a_batch_get_their_answers(assistant: Assistant, limited: PortalInProcess) -> None:
    await ask_for_all(assistant, range(50))
    limited.order(times=1, method="batch", delay=2)
    async with anyio.create_task_group() as tasks:
        impatient = anyio.CancelScope()

        async def give_up() -> None:
            with impatient:
                await ask_for_all(assistant, range(60, 61))

        tasks.start_soon(give_up)
        await anyio.wait_all_tasks_blocked()

        async def cancel() -> None:
            await anyio.sleep(1)
            impatient.cancel()

        tasks.start_soon(cancel)
        answers, _ = await ask_for_all(assistant, range(50, 55))
    assert not any(result.is_error for result in answers)
    assert limited.methods_called[50:] == ["batch"]


@pytest.fixture
async def client(portal_in_process: PortalInProcess) -> AsyncIterator[Bitrix24Client]:
    async with client_of(portal_in_process) as opened:
        yield opened


def client_of(portal: PortalInProcess, **options: Any) -> Bitrix24Client:
    return Bitrix24Client(Webhook.parse(portal.webhook_url()), transport=in_process(portal.portal.app), **options)


async def test_batch_takes_any_number_in_groups_of_50(
    client: Bitrix24Client, portal_in_process: PortalInProcess
) -> None:
    calls: Calls = [("crm.status.list", {"filter": {"ENTITY_ID": "SOURCE"}, "start": number}) for number in range(120)]
    outcomes = await client.batch([*calls, ("crm.status.get", {"id": 99999}), ("no.such.method", {})])
    assert portal_in_process.methods_called == ["batch"] * 3
    *successes, bad, none = outcomes
    assert len(successes) == 120
    assert isinstance(bad, Bitrix24Error)
    assert isinstance(none, Bitrix24Error)
    assert (bad.kind, none.kind) == ("NOT_FOUND", "ERROR_METHOD_NOT_FOUND")
    for number, outcome in enumerate(successes):
        assert not isinstance(outcome, Bitrix24Error)
        assert (len(outcome.result), outcome.total) == (max(0, 15 - number), 15)


async def test_batch_of_nothing(client: Bitrix24Client, portal_in_process: PortalInProcess) -> None:
    assert await client.batch([]) == []
    assert portal_in_process.portal.calls == []


async def test_changes_halt_at_the_first_error(client: Bitrix24Client) -> None:
    command: tuple[str, dict[str, Any]] = ("crm.status.update", {"id": 1, "fields": {"SORT": 10}})
    done, refused = await client.batch([command, ("crm.status.delete", {"id": 0}), command], halt=True)
    assert isinstance(done, Answer)
    assert done.result is True
    assert isinstance(refused, Bitrix24Error)
    assert refused.not_applied


@pytest.mark.parametrize("code", ["ERROR_METHOD_NOT_FOUND", "ERROR_BATCH_METHOD_NOT_ALLOWED"])
async def test_a_portal_without_batch_gets_single_calls(
    client: Bitrix24Client, portal_in_process: PortalInProcess, code: str
) -> None:
    portal_in_process.order(method="batch", code=code)
    calls: Calls = [("scope", {}), ("crm.status.get", {"id": 0})]
    for _ in range(2):
        outcomes = await client.batch(calls)
        assert [type(outcome).__name__ for outcome in outcomes] == ["Answer", "Bitrix24Error"]
    assert portal_in_process.methods_called == ["batch"] + ["scope", "crm.status.get"] * 2


@pytest.mark.parametrize("code", ["ERROR_METHOD_NOT_FOUND", "ERROR_BATCH_METHOD_NOT_ALLOWED"])
async def test_waiting_calls_on_a_portal_without_batch(
    assistant: Assistant, limited: PortalInProcess, code: str
) -> None:
    limited.order(method="batch", code=code)
    answers, seconds = await ask_for_all(assistant, range(70))
    assert each_got_its_own(answers)
    assert seconds < 15
    assert limited.methods_called.count("batch") == 1


async def test_a_method_that_may_not_be_in_a_batch_goes_alone(assistant: Assistant, limited: PortalInProcess) -> None:
    answers = {
        "result": [],
        "result_error": {f"c{index}": {"error": "ERROR_BATCH_METHOD_NOT_ALLOWED"} for index in range(10)},
    }
    limited.order(times=1, method="batch", body=json.dumps({"result": answers}))
    result, _ = await ask_for_all(assistant, range(60))
    assert each_got_its_own(result)
    assert limited.methods_called.count("batch") == 1


async def test_a_batch_that_lacks_an_answer_says_so(assistant: Assistant, limited: PortalInProcess) -> None:
    limited.order(times=1, method="batch", body='{"result": {"result": [], "result_error": []}}')
    result, _ = await ask_for_all(assistant, range(52))
    assert [answer.error["code"] for answer in result if answer.is_error] == ["UNEXPECTED_ANSWER"] * 2


ADD = ("crm.status.add", {"fields": {"ENTITY_ID": "SOURCE", "STATUS_ID": "X", "NAME": "x"}})


@pytest.mark.parametrize(
    ("fault", "calls"),
    [
        ({"code": "QUERY_LIMIT_EXCEEDED"}, 2),
        ({"status": 502}, 1),
        ({"status": 503}, 1),
        ({"code": "INTERNAL_SERVER_ERROR"}, 1),
        ({"body": ""}, 1),
        ({"delay": 60}, 1),
    ],
)
async def test_a_write_is_repeated_only_where_nothing_was_done(
    portal_in_process: PortalInProcess, fault: dict[str, Any], calls: int
) -> None:
    portal_in_process.order(times=1, **fault)
    async with client_of(portal_in_process) as client:
        try:
            await client.call(*ADD)
        except Bitrix24Error:
            assert calls == 1
    assert portal_in_process.methods_called == ["crm.status.add"] * calls


async def test_writes_are_neither_shared_nor_put_into_batches(portal_in_process: PortalInProcess) -> None:
    async with client_of(portal_in_process, limits=RateLimits(burst=1, per_second=1)) as client:

        async def add() -> None:
            with contextlib.suppress(Bitrix24Error):  # the second call finds the code in use
                await client.call(*ADD)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(client.call, "crm.status.entity.types")
            for _ in range(2):
                tasks.start_soon(add)
            for entity_id in ("STATUS", "SOURCE"):
                tasks.start_soon(client.call, "crm.status.entity.items", {"entityId": entity_id})
    assert sorted(portal_in_process.methods_called) == ["batch", "crm.status.add", "crm.status.add"]
