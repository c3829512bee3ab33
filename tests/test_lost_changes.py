"""Outcomes of changes are true, done, not done or unknown, even if the answer is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from bitrix24_directories.cli.main import main
from bitrix24_directories.portal import Fault
from bitrix24_directories.portal.faults import LOST
from support import Assistant, PortalInProcess, RunningPortal, ToolAnswer, connect, spawn_parameters

ADD: dict[str, Any] = {"entityId": "SOURCE", "name": "Podcast", "after": "WEB"}
HOW = [*(how for how in LOST if how != "silent"), "500", "502", "504"]


@pytest.fixture(autouse=True)
def _without_records(portal: RunningPortal) -> None:
    """Remove all records, so that no record uses an item to be deleted."""
    portal.portal.store.records.all.clear()


def codes_named(portal: RunningPortal, name: str) -> list[str]:
    return [item.status_id for item in portal.portal.store.of("SOURCE") if item.name == name]


async def wait_until(true: Callable[[], bool]) -> None:
    """Wait for another process or thread."""
    with anyio.fail_after(20):
        while not true():  # noqa: ASYNC110 - nothing else tells of it
            await anyio.sleep(0.02)


def assert_unknown_outcome(result: ToolAnswer) -> None:
    """Assert that an unknown outcome names a check, and never advises to call again."""
    assert result.error["code"] == "CHANGE_UNKNOWN"
    assert not result.error["retryable"]
    assert "call again" not in result.text.lower()
    assert "get_directory_items" in result.text


@pytest.mark.parametrize("how", HOW)
async def test_a_change_whose_answer_is_lost_is_settled_by_reading(portal: RunningPortal, how: str) -> None:
    portal.portal.faults.order(Fault.lost(how))
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("add_directory_item", **ADD)
        again = await assistant.call("add_directory_item", **ADD)
    assert result.structured["status"] == "done", result.text
    assert again.structured["status"] == "unchanged"
    assert "it already exists" in again.text
    assert codes_named(portal, "Podcast") == ["PODCAST"]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["502", "cut"])
async def test_over_stdio(portal: RunningPortal, tmp_path: Path, how: str) -> None:
    portal.portal.faults.order(Fault.lost(how))
    server = spawn_parameters(tmp_path, BITRIX24_WEBHOOK_URL=portal.webhook_url(), BITRIX24_ALLOW_WRITES="true")
    async with Client(server) as client:
        result = await Assistant(client).call("add_directory_item", **ADD)
    assert result.structured["status"] == "done", result.text
    assert codes_named(portal, "Podcast") == ["PODCAST"]


@pytest.mark.parametrize("tool", ["add", "update", "delete"])
@pytest.mark.parametrize("fault", [{"status": 502}, {"body": ""}, {"body": '{"error": 503}', "status": 503}])
async def test_what_is_not_there_yet_proves_nothing(portal: RunningPortal, tool: str, fault: dict[str, Any]) -> None:
    """The portal fails and does nothing, which cannot be told from doing it later."""
    before = portal.portal.store.of("SOURCE")
    portal.order(changes_only=True, **fault)
    async with connect(portal, allow_writes=True) as assistant:
        result = await change(assistant, tool)
    assert_unknown_outcome(result)
    assert [step["outcome"] for step in result.structured["steps"]] == ["unknown"]
    assert portal.portal.store.of("SOURCE") == before


@pytest.mark.parametrize("tool", ["add", "update", "delete"])
@pytest.mark.parametrize("code", ["INTERNAL_SERVER_ERROR", "ERROR_CORE", "0", "NEW_CODE"])
async def test_an_error_of_the_portal_after_which_nothing_has_changed(
    portal: RunningPortal, tool: str, code: str
) -> None:
    """The portal itself has finished with the call, so it will change nothing later."""
    portal.order(changes_only=True, code=code, description="Something is wrong.")
    async with connect(portal, allow_writes=True) as assistant:
        result = await change(assistant, tool)
    assert [step["outcome"] for step in result.structured["steps"]] == ["not done"]
    assert 'Bitrix24 says: "Something is wrong."' in result.text


async def change(assistant: Assistant, method: str) -> ToolAnswer:
    if method == "add":
        return await assistant.call("add_directory_item", **ADD)
    item = {"entityId": "SOURCE", "statusId": "ADVERTISING"}
    if method == "update":
        return await assistant.call("update_directory_item", **item, name="Ads")
    plan = await assistant.call("delete_directory_item", **item)
    return await assistant.call("delete_directory_item", **item, planId=plan.structured["planId"])


@pytest.mark.parametrize("method", ["add", "update", "delete"])
@pytest.mark.parametrize("code", ["ACCESS_DENIED", "NO_AUTH_FOUND", "", "OVERLOAD_LIMIT"])
async def test_a_documented_refusal_is_not_done(portal: RunningPortal, method: str, code: str) -> None:
    portal.order(changes_only=True, code=code)
    async with connect(portal, allow_writes=True) as assistant:
        result = await change(assistant, method)
    assert [step["outcome"] for step in result.structured["steps"]] == ["not done"]
    assert result.error["code"] == (code or "REFUSED")


async def test_a_portal_that_commits_after_our_timeout(portal: RunningPortal) -> None:
    portal.order(changes_only=True, delay=1.5)
    async with connect(portal, allow_writes=True, timeout=0.7) as assistant:
        result = await assistant.call("add_directory_item", **ADD)
        assert_unknown_outcome(result)
        assert "PODCAST (Podcast) is there" in result.text
        await wait_until(lambda: bool(codes_named(portal, "Podcast")))
        again = await assistant.call("add_directory_item", **ADD)
    assert again.structured["status"] == "unchanged"
    assert codes_named(portal, "Podcast") == ["PODCAST"]


STEPS = ["CALL: Call", "EMAIL: E-Mail", "One", "Two", "Three", "WEB: Website"]


@pytest.mark.slow
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("how", [*HOW, "silent"])
async def test_many_changes_whose_answer_is_lost(portal: RunningPortal, how: str, batch: bool) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        plan = await assistant.call("apply_directory", entityId="SOURCE", items=STEPS)
        if not batch:
            portal.order(times=1, method="batch", code="ERROR_METHOD_NOT_FOUND")
        portal.portal.faults.order(Fault.lost(how))
        result = await assistant.call(
            "apply_directory", entityId="SOURCE", items=STEPS, planId=plan.structured["planId"]
        )
        listing = await assistant.call("get_directory_items", entityId="SOURCE", details=True, fresh=True)
    there = {item["statusId"] for item in listing.structured["items"]}
    for step in result.structured["steps"]:
        if step.get("outcome") == "done":
            assert (step["statusId"] in there) == (step["action"] != "remove")
        elif step["action"] != "refused":
            assert step["outcome"] == ("unknown" if batch else "not done")
    if batch:
        assert result.structured["status"] == "done", result.text


async def test_a_batch_that_says_nothing_of_what_it_did_not_do(portal: RunningPortal) -> None:
    """The answer mentions no command, and nothing is changed: each step stays unknown."""
    portal.order(changes_only=True, body='{"result": {"result": [], "result_error": []}}')
    async with connect(portal, allow_writes=True) as assistant:
        plan = await assistant.call("apply_directory", entityId="SOURCE", items=STEPS)
        result = await assistant.call(
            "apply_directory", entityId="SOURCE", items=STEPS, planId=plan.structured["planId"]
        )
    assert_unknown_outcome(result)
    outcomes = [step["outcome"] for step in result.structured["steps"] if step["action"] != "refused"]
    assert outcomes == ["unknown"] * len(outcomes)


async def test_result_false_that_did_nothing_is_no_success(portal: RunningPortal) -> None:
    portal.order(changes_only=True, body='{"result": false}', headers={"content-type": "application/json"})
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call("update_directory_item", entityId="SOURCE", statusId="WEB", name="Site")
    assert [step["outcome"] for step in result.structured["steps"]] == ["not done"]
    assert codes_named(portal, "Site") == []


async def test_two_of_one_name_only_with_a_code(portal: RunningPortal) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        elsewhere = await assistant.call("add_directory_item", entityId="SOURCE", name="website", after="CALL")
        assert elsewhere.error["code"] == "CHANGE_REFUSED"
        assert "WEB" in elsewhere.text
        added = await assistant.call("add_directory_item", entityId="SOURCE", name="Website", statusId="WEB_2")
    assert added.structured["status"] == "done"
    assert codes_named(portal, "Website") == ["WEB", "WEB_2"]


@pytest.mark.virtual_clock
async def test_waiting_behind_another_change_counts(portal: PortalInProcess) -> None:
    portal.order(changes_only=True, times=1, delay=9)
    results: list[ToolAnswer] = []
    async with connect(portal, allow_writes=True, timeout=10) as assistant:

        async def add(name: str) -> None:
            results.append(await assistant.call("add_directory_item", entityId="SOURCE", name=name))

        started = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(add, f"Podcast {number}")
                await anyio.sleep(0.1)
        assert anyio.current_time() - started < 11
    assert [answer.is_error for answer in results].count(False) == 1
    for answer in results:
        if answer.is_error:
            assert "othing was changed" in answer.text


@pytest.mark.virtual_clock
async def test_a_cancelled_change_that_has_left_is_recorded(portal: PortalInProcess, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    portal.order(changes_only=True, delay=5)
    async with connect(portal, allow_writes=True, audit_log=str(log)) as assistant:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(assistant.call, "add_directory_item", **ADD))
            await anyio.sleep(1)
            tasks.cancel_scope.cancel()
        await anyio.sleep(20)
    intent, outcome = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    assert (intent["event"], outcome["event"], outcome["outcome"]) == ("intent", "outcome", "done")
    assert codes_named(portal, "Podcast") == ["PODCAST"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
async def test_a_process_killed_half_way_leaves_its_intent(portal: RunningPortal, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    portal.order(changes_only=True, delay=3)
    environment = {"BITRIX24_WEBHOOK_URL": portal.webhook_url(), "BITRIX24_ALLOW_WRITES": "true"}
    environment |= {"BITRIX24_AUDIT_LOG": str(log)}
    call = ["call", "add_directory_item", "entityId=SOURCE", "name=Podcast"]
    command = [sys.executable, "-m", "bitrix24_directories", *call]
    async with await anyio.open_process(command, env=os.environ | environment) as process:
        await wait_until(lambda: "crm.status.add" in portal.methods_called)
        process.send_signal(signal.SIGKILL)
    (intent,) = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines())
    assert (intent["event"], intent["statusId"]) == ("intent", "PODCAST")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="pipes and devices in the file system")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "link to a pipe", "foreign link", "no folder"])
async def test_an_audit_log_that_is_no_file_is_refused_at_start(
    portal: RunningPortal,
    tmp_path: Path,
    kind: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "audit"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/null")
        case "folder":
            path.mkdir()
        case "link to a pipe":
            os.mkfifo(tmp_path / "pipe")
            path.symlink_to(tmp_path / "pipe")
        case "foreign link":
            (tmp_path / "other").touch()
            path.symlink_to(tmp_path / "other")
            mine = os.geteuid()
            monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
        case "no folder":
            path = tmp_path / "no" / "such" / "folder"
    settings = {
        "BITRIX24_WEBHOOK_URL": portal.webhook_url(),
        "BITRIX24_ALLOW_WRITES": "true",
        "BITRIX24_AUDIT_LOG": str(path),
    }
    if kind != "foreign link":
        async with Client(spawn_parameters(tmp_path, **settings)) as client:
            result = await Assistant(client).call("get_directory_items", entityId="SOURCE")
        assert result.error["code"] == "AUDIT_LOG_FAILED"
        assert "BITRIX24_AUDIT_LOG" in result.text
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert await anyio.to_thread.run_sync(main, ["check"]) == 1
    assert "BITRIX24_AUDIT_LOG" in capsys.readouterr().out


def test_the_demo_portal_loses_answers_to_order(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BITRIX24_ALLOW_WRITES", "true")
    add = ["call", "add_directory_item", "entityId=SOURCE", "name=Podcast", "--demo", "--fault"]
    assert main([*add, "lost:empty"]) == 0
    assert "PODCAST: Podcast - done" in capsys.readouterr().out.replace(" (after BOOKING)", "")
    assert main([*add, "lost:sight"]) == 2
    assert "lost as cut, empty" in capsys.readouterr().err


async def test_a_change_that_is_sent_on_to_nobody_is_unknown(portal: RunningPortal) -> None:
    """The portal has had the call; its effect before the redirect is unknown."""
    async with connect(portal, allow_writes=True) as assistant:
        await assistant.call("get_directory_items", entityId="SOURCE")
        nobody = portal.webhook_url().replace(portal.address, "http://127.0.0.1:9")
        portal.order(changes_only=True, status=307, headers={"location": f"{nobody}crm.status.add"})
        result = await assistant.call("add_directory_item", **ADD)
    assert_unknown_outcome(result)


def test_processes_that_write_to_one_log_do_not_break_each_others_lines(tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    script = (
        "import sys; from bitrix24_directories.changing.audit import Audit\n"
        "audit = Audit(sys.argv[1], quiet=True)\n"
        "for _ in range(40): audit.intend_all([{'text': 'x' * 400}] * 48)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(log)]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    lines = log.read_text().splitlines()
    assert len(lines) == 2 * 40 * 48
    assert {len(json.loads(line)["text"]) for line in lines} == {400}
