"""Calls that a batch would alter are sent alone: portals replace `$result[...]` in commands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from bitrix24_directories.rest import Answer, Bitrix24Client, Bitrix24Error, Outcome, RateLimits, Webhook, in_process
from bitrix24_directories.rest.wire.batches import Call, in_one_request
from support import PortalInProcess

pytestmark = pytest.mark.virtual_clock

Method = tuple[str, dict[str, Any]]


def client_of(portal: PortalInProcess, **options: Any) -> Bitrix24Client:
    return Bitrix24Client(Webhook.parse(portal.webhook_url()), transport=in_process(portal.portal.app), **options)


@pytest.fixture
async def client(portal_in_process: PortalInProcess) -> AsyncIterator[Bitrix24Client]:
    async with client_of(portal_in_process) as opened:
        yield opened


def add(name: str) -> Method:
    code = "".join(filter(str.isalpha, name)).upper()
    return "crm.status.add", {"fields": {"ENTITY_ID": "SOURCE", "STATUS_ID": code, "NAME": name}}


def look_for(name: str) -> Method:
    return "crm.status.list", {"filter": {"ENTITY_ID": "SOURCE", "NAME": name}}


def added(portal: PortalInProcess) -> list[str]:
    """Names of the directory's items in the order in which they were added."""
    return [item.name for item in sorted(portal.portal.store.of("SOURCE"), key=lambda item: item.id)]


def names_of(outcome: Outcome | None) -> list[str]:
    assert isinstance(outcome, Answer)
    return [row["NAME"] for row in outcome.result]


ODD = "$result[c0] is a name"
REFUSED: Method = ("crm.status.get", {"id": 0})


@pytest.mark.parametrize(
    ("params", "alone"),
    [
        ({}, False),
        ({"a": "$result"}, False),
        ({"a": "$results[0]"}, False),
        ({"a": "result[0]", "b": "$5", "c": None, "d": True, "e": 7}, False),
        ({"a": "$result[0]"}, True),
        ({"a": "costs $total[x] today"}, True),
        ({"a": "$next["}, True),
        ({"a": {"b": ["c", {"d": "$time[0]"}]}}, True),
        ({"a": ("$error[x]",)}, True),
        ({"filter": {"$result[0]": 1}}, True),
        ({"$total[0]": 1}, True),
    ],
)
def test_which_calls_go_alone(params: dict[str, Any], alone: bool) -> None:
    assert Call("crm.status.list", params).alone is alone
    assert Call("crm.status.list", params, batchable=False).alone


def test_requests_keep_the_order() -> None:
    ordinary, odd = Call("scope", {}), Call("scope", {"a": ODD})
    calls = [*[ordinary] * 60, odd, odd, ordinary]
    for expected in (50, 10, 1, 1, 1):
        request = in_one_request(calls)
        assert request == calls[:expected]
        calls = calls[expected:]
    assert not calls


async def test_in_batch(client: Bitrix24Client, portal_in_process: PortalInProcess) -> None:
    portal_in_process.portal.store.add("SOURCE", "ODD", ODD)
    outcomes = await client.batch([look_for("Website"), look_for(ODD), REFUSED, look_for("E-Mail")])
    assert portal_in_process.methods_called == ["crm.status.list", "crm.status.list", "batch"]
    assert [names_of(outcomes[index]) for index in (0, 1, 3)] == [["Website"], [ODD], ["E-Mail"]]
    assert isinstance(outcomes[2], Bitrix24Error)


async def test_in_batch_a_call_of_its_own_may_fail(client: Bitrix24Client, portal_in_process: PortalInProcess) -> None:
    outcomes = await client.batch([("crm.status.get", {"id": ODD}), look_for("E-Mail"), look_for("Website")])
    assert portal_in_process.methods_called == ["crm.status.get", "batch"]
    assert isinstance(outcomes[0], Bitrix24Error)
    assert [names_of(outcome) for outcome in outcomes[1:]] == [["E-Mail"], ["Website"]]


async def test_without_a_second_try(client: Bitrix24Client, portal_in_process: PortalInProcess) -> None:
    portal_in_process.portal.store.add("SOURCE", "ODD", ODD)
    portal_in_process.order(method="crm.status.list", status=502, times=1)
    calls = [look_for("E-Mail"), look_for("Website"), look_for(ODD), look_for(ODD)]
    outcomes = await client.batch(calls, retry=False)
    assert portal_in_process.methods_called == ["batch", "crm.status.list", "crm.status.list"]  # not repeated
    assert isinstance(outcomes[2], Bitrix24Error)
    assert [names_of(outcomes[index]) for index in (0, 1, 3)] == [["E-Mail"], ["Website"], [ODD]]


async def test_changes_stay_in_order(client: Bitrix24Client, portal_in_process: PortalInProcess) -> None:
    calls = [add("One"), add("Two"), add(ODD), add("Three"), add("Four")]
    reported: list[Outcome] = []
    outcomes = await client.batch(calls, halt=True, on_outcome=reported.append)
    assert portal_in_process.methods_called == ["batch", "crm.status.add", "batch"]
    assert all(isinstance(outcome, Answer) for outcome in outcomes)
    assert reported == outcomes
    assert added(portal_in_process)[-5:] == ["One", "Two", ODD, "Three", "Four"]


@pytest.mark.parametrize(
    ("calls", "methods"),
    [
        ([add("One"), REFUSED, add(ODD), add("Two")], ["batch"]),
        ([add("One"), ("crm.status.get", {"id": ODD}), add("Two"), add("Three")], ["crm.status.add", "crm.status.get"]),
    ],
)
async def test_changes_stop_at_the_first_failure(
    client: Bitrix24Client, portal_in_process: PortalInProcess, calls: list[Method], methods: list[str]
) -> None:
    outcomes = await client.batch(calls, halt=True)
    assert portal_in_process.methods_called == methods
    assert [type(outcome).__name__ for outcome in outcomes] == ["Answer", "Bitrix24Error"]
    assert added(portal_in_process)[-1] == "One"


async def test_a_portal_that_goes_on_after_a_failure_gets_no_further_request(
    client: Bitrix24Client, portal_in_process: PortalInProcess
) -> None:
    answer = '{"result": {"result": {"c2": 7}, "result_error": {"c0": {"error": "ACCESS_DENIED"}}}}'
    portal_in_process.order(method="batch", body=answer, headers={"content-type": "application/json"})
    outcomes = await client.batch([add("One"), add("Two"), add("Three"), add(ODD)], halt=True)
    assert portal_in_process.methods_called == ["batch"]
    assert [outcome.kind if isinstance(outcome, Bitrix24Error) else outcome.result for outcome in outcomes] == [
        "ACCESS_DENIED",
        "UNEXPECTED_ANSWER",
        7,
    ]


async def test_changes_on_a_portal_without_batch(client: Bitrix24Client, portal_in_process: PortalInProcess) -> None:
    portal_in_process.order(method="batch", code="ERROR_METHOD_NOT_FOUND")
    await client.batch([add("One"), add("Two"), add(ODD), add("Three")], halt=True)
    assert portal_in_process.methods_called == ["batch", *["crm.status.add"] * 4]
    assert added(portal_in_process)[-4:] == ["One", "Two", ODD, "Three"]


async def test_changes_that_do_not_depend_on_each_other(
    client: Bitrix24Client, portal_in_process: PortalInProcess
) -> None:
    outcomes = await client.batch([look_for(ODD), add("One"), REFUSED, add(ODD), add("Two"), look_for(ODD)])
    assert portal_in_process.methods_called == [
        "crm.status.list",
        "batch",
        "crm.status.add",
        "crm.status.add",
        "crm.status.list",
    ]
    assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, True, False, True, True, True]
    assert [names_of(outcomes[index]) for index in (0, 5)] == [[], [ODD]]
    assert added(portal_in_process)[-3:] == ["One", ODD, "Two"]


async def test_a_request_that_fails_keeps_the_outcomes_before_it(
    client: Bitrix24Client, portal_in_process: PortalInProcess
) -> None:
    portal_in_process.order(method="batch", status=502)
    outcomes: list[Outcome] = []
    with pytest.raises(Bitrix24Error):
        await client.batch([add(ODD), add("One"), add("Two")], on_outcome=outcomes.append)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Answer"]
    assert added(portal_in_process)[-1] == ODD


async def test_what_waits_in_the_queue(portal_in_process: PortalInProcess) -> None:
    portal_in_process.portal.store.add("SOURCE", "ODD", ODD)
    answered: dict[str, list[str]] = {}
    async with client_of(portal_in_process, limits=RateLimits(burst=1, per_second=1)) as client:

        async def look(name: str) -> None:
            answered[name] = names_of(await client.call(*look_for(name)))

        await client.call("scope")
        async with anyio.create_task_group() as tasks:
            for name in ("Website", "Other", ODD, "E-Mail", "Advertising"):
                tasks.start_soon(look, name)
    assert portal_in_process.methods_called == ["scope", "batch", "crm.status.list", "batch"]
    assert answered == {name: [name] for name in ("Website", "Other", ODD, "E-Mail", "Advertising")}
