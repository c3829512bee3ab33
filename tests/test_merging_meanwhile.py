"""Merging while others act.

The others are automation that moves records back, a deletion, a colleague, and a second merge.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp_types import ElicitResult

from bitrix24_directories.changing.audit import Audit
from bitrix24_directories.changing.changes import Changes
from bitrix24_directories.changing.locks import DirectoryLocks
from bitrix24_directories.changing.merging.log import read_log
from bitrix24_directories.changing.merging.merges import Merges
from bitrix24_directories.changing.merging.models import Merge
from bitrix24_directories.changing.merging.undo import Undo, Undoing, Undone, undoing_text
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.reading.cache import Cache
from bitrix24_directories.portal.faults import INSIDE
from bitrix24_directories.portal.store import Age, PortalError
from bitrix24_directories.rest import Bitrix24Client, Bitrix24Error, Webhook, in_process
from bitrix24_directories.settings import Settings
from bitrix24_directories.state.shared import Inside, State
from support import PortalInProcess, connect, connect_person
from test_merging import DEAL, LEAD, TOOL, arguments, codes, merge, put, records, sources, updates

pytestmark = pytest.mark.virtual_clock

Values = dict[str, Any]


@pytest.fixture
def deals(portal: PortalInProcess) -> PortalInProcess:
    """Five deals in the stage EXECUTING of the main pipeline, and no others."""
    store = portal.portal.store.records
    like = store.of(DEAL)[0] | {"categoryId": 0, "stageId": "EXECUTING", "sourceId": None}
    store.all = {key: values for key, values in store.all.items() if key[0] != DEAL}
    store.all |= {(DEAL, number): like | {"id": number} for number in range(1, 6)}
    return portal


class Program:
    """The merging part of one process, with its log and its state shared with others."""

    def __init__(self, portal: PortalInProcess, log: Path, state: State | None = None, salt: str = "") -> None:
        self.portal, self.log, self.state, self.salt = portal, log, state, salt

    async def merge(self, entity_id: str, codes: list[str], into: str) -> Merge:
        """Plan and carry out to the end, as the command does."""
        async with self.tools() as (merges, _):
            planned = await merges.plan(entity_id, codes, into)
            if self.log.exists():
                planned = await merges.resumed(planned, read_log(self.log.read_text().splitlines()).merges)
            while True:
                result = await merges.carry_out("merge", planned, confirmed=False, to_the_end=True)
                if result.status != "moving":
                    return result
                planned = await merges.plan(entity_id, codes, into)

    async def undo(self) -> tuple[Undoing, Undone]:
        async with self.tools() as (_, undo):
            (logged,) = read_log(self.log.read_text().splitlines()).merges
            undoing = await undo.plan(logged)
            return undoing, await undo.carry_out(undoing)

    @asynccontextmanager
    async def tools(self) -> AsyncIterator[tuple[Merges, Undo]]:
        limits, transport = Settings.model_construct().limits, in_process(self.portal.portal.app)
        webhook = Webhook.parse(self.portal.webhook_url())
        async with Bitrix24Client(webhook, timeout=20, limits=limits, transport=transport) as client:
            directories = Directories(client, Cache(600))
            audit, locks = Audit(str(self.log), quiet=True), DirectoryLocks(20, self.state)
            changes = Changes(directories, audit, locks, 20, salt=(lambda: self.salt) if self.salt else None)
            merges = Merges(
                directories, changes, audit, locks, 20, limits, salt=(lambda: self.salt) if self.salt else None
            )
            yield merges, Undo(directories, changes, audit)


# Automation


async def test_a_record_that_automation_moves_back_is_moved_once(deals: PortalInProcess, tmp_path: Path) -> None:
    deals.order(**INSIDE["moved-back"])
    result = await Program(deals, tmp_path / "log").merge("DEAL_STAGE", ["EXECUTING"], "PREPARATION")
    assert updates(deals) == 5
    assert result.status == "incomplete"
    assert (result.moved, result.left, result.not_moved_total) == (0, 5, 5)
    assert {failure.why for failure in result.not_moved or ()} == {
        "it was moved, and carries EXECUTING again (automation?)"
    }
    assert "EXECUTING" in codes(deals, "DEAL_STAGE")


async def test_one_that_comes_back_among_others(deals: PortalInProcess, tmp_path: Path) -> None:
    def meanwhile(method: str, _params: Mapping[str, Any]) -> None:
        if method == "crm.item.list" and updates(deals) >= 5:
            deals.portal.store.records.all[DEAL, 3]["stageId"] = "EXECUTING"

    deals.portal.meanwhile = meanwhile
    result = await Program(deals, tmp_path / "log").merge("DEAL_STAGE", ["EXECUTING"], "PREPARATION")
    assert (result.status, result.moved, result.left) == ("incomplete", 4, 1)
    assert [failure.record for failure in result.not_moved or ()] == ["deal 3"]


class KilledError(BaseException):
    """The process was killed."""


async def test_after_a_restart_the_log_knows_what_was_moved(deals: PortalInProcess, tmp_path: Path) -> None:
    """The first program is killed after its first request.

    Records that it moved and that automation moved back stay as they are.
    """
    store, log = deals.portal.store.records, tmp_path / "log"
    like = store.of(DEAL)[0]
    store.all |= {(DEAL, number): like | {"id": number} for number in range(6, 31)}
    deals.order(**INSIDE["moved-back"])

    def kill(_moved: int) -> None:
        raise KilledError

    async with Program(deals, log).tools() as (merges, _):
        planned = await merges.plan("DEAL_STAGE", ["EXECUTING"], "PREPARATION")
        with pytest.raises(KilledError):
            await merges.carry_out("merge", planned, confirmed=False, to_the_end=True, on_progress=kill)
    moved = updates(deals)
    assert 0 < moved < 30
    result = await Program(deals, log).merge("DEAL_STAGE", ["EXECUTING"], "PREPARATION")
    assert updates(deals) == 30
    assert (result.status, result.moved, result.left, result.not_moved_total) == ("incomplete", 0, 30, 30)


async def test_a_later_merge_with_a_plan_of_its_own_may_move_it_again(deals: PortalInProcess, tmp_path: Path) -> None:
    log = tmp_path / "log"
    fault = deals.order(**INSIDE["moved-back"])
    assert (await Program(deals, log).merge("DEAL_STAGE", ["EXECUTING"], "PREPARATION")).status == "incomplete"
    deals.portal.faults.clear()
    del fault
    result = await Program(deals, log).merge("DEAL_STAGE", ["EXECUTING"], "PREPARATION")
    assert (result.status, result.moved) == ("done", 5)


async def test_undoing_does_not_loop_under_automation(deals: PortalInProcess, tmp_path: Path) -> None:
    program = Program(deals, tmp_path / "log")
    assert (await program.merge("DEAL_STAGE", ["EXECUTING"], "PREPARATION")).status == "done"
    deals.order(**INSIDE["moved-back"])
    before = updates(deals)
    _, undone = await program.undo()
    assert updates(deals) - before == 5
    assert undone.given_back == 5  # as the portal answered


def _lines(log: Path) -> list[Values]:
    return [json.loads(line) for line in log.read_text().splitlines()]


# The target


def _after_some_moves(portal: PortalInProcess, act: Callable[[], None]) -> None:
    """Call a function as soon as some records are moved."""
    acted: list[bool] = []

    def meanwhile(method: str, _params: Mapping[str, Any]) -> None:
        if method == "crm.item.list" and not acted and updates(portal) > 10:
            acted.append(True)
            act()

    portal.portal.meanwhile = meanwhile


def _many(portal: PortalInProcess, count: int) -> None:
    store = portal.portal.store.records
    like = store.of(LEAD)[0] | {"sourceId": "EMAIL"}
    store.all = {(LEAD, number): like | {"id": number} for number in range(1, count + 1)}


def _delete(portal: PortalInProcess, code: str) -> None:
    item = next(item for item in portal.portal.store.of("SOURCE") if item.status_id == code)
    del portal.portal.store.items[item.id]


def _rename(portal: PortalInProcess, code: str) -> None:
    store = portal.portal.store
    item = next(item for item in store.of("SOURCE") if item.status_id == code)
    store.put(type(item)(**vars(item) | {"name": "Something else"}))


@pytest.mark.parametrize("act", [_delete, _rename])
async def test_a_target_that_goes_stops_the_merge(portal: PortalInProcess, tmp_path: Path, act: Any) -> None:
    _many(portal, 400)
    _after_some_moves(portal, lambda: act(portal, "WEB"))
    program = Program(portal, tmp_path / "log")
    with pytest.raises(Bitrix24Error) as stopped:
        await program.merge("SOURCE", ["EMAIL"], "WEB")
    moved = sources(portal).count("WEB")
    assert 0 < moved < 100
    assert isinstance(stopped.value.partial_result, Merge)
    assert stopped.value.partial_result.status == "stopped"
    assert "WEB (Website) is no item of SOURCE any more, or has another name" in str(stopped.value)
    assert "undo" in stopped.value.agent_hint
    assert "EMAIL" in codes(portal, "SOURCE")
    portal.portal.meanwhile = lambda _method, _params: None
    assert (await program.undo())[1].given_back == moved
    assert set(sources(portal)) == {"EMAIL"}


async def test_no_item_goes_when_the_target_has_gone_at_last(portal: PortalInProcess, tmp_path: Path) -> None:
    _many(portal, 5)

    def meanwhile(method: str, params: Mapping[str, Any]) -> None:
        counts = method == "crm.item.list" and str(params.get("start")) == "0"
        if counts and updates(portal) == 5 and "WEB" in codes(portal, "SOURCE"):
            _delete(portal, "WEB")

    portal.portal.meanwhile = meanwhile
    with pytest.raises(Bitrix24Error) as stopped:
        await Program(portal, tmp_path / "log").merge("SOURCE", ["EMAIL"], "WEB")
    assert "is no item of SOURCE any more" in str(stopped.value)
    assert "EMAIL" in codes(portal, "SOURCE")


# A yes is used once


async def test_a_plan_ends_with_its_merge(portal: PortalInProcess) -> None:
    _many(portal, 5)
    for lead in records(portal, LEAD):
        lead["sourceId"] = "website"
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["website"], "WEB"))
        again = arguments("SOURCE", ["website"], "WEB") | {"planId": planned.structured["planId"]}
        assert (await assistant.call(TOOL, **again)).structured["status"] == "done"
        put(portal, ["website"] * 5)
        result = await assistant.call(TOOL, **again)
    assert result.structured["status"] == "planned"
    assert result.structured["planId"] != again["planId"]
    assert sources(portal) == ["website"] * 5


async def test_a_person_is_asked_again_for_other_records(portal: PortalInProcess) -> None:
    _many(portal, 5)
    async with connect_person(portal, lambda: ElicitResult(action="accept"), "auto") as (client, questions):
        for _ in range(2):
            for lead in records(portal, LEAD):
                lead["sourceId"] = "website"
            planned = await client.call_tool(TOOL, arguments("SOURCE", ["website"], "WEB"))
            plan_id = (planned.structured_content or {})["planId"]
            done = await client.call_tool(TOOL, arguments("SOURCE", ["website"], "WEB") | {"planId": plan_id})
            assert (done.structured_content or {})["status"] == "done"
    assert len(questions) == 2
    assert all(question.endswith("\nCarry it out?") for question in questions)


async def test_progress_and_agreement_are_one_for_all_replicas(portal: PortalInProcess, tmp_path: Path) -> None:
    """Each of two replicas continues the other's work, and reports the total of moved records."""
    _many(portal, 200)
    portal.order(method="batch", delay=6, changes_only=True)
    state = Inside()
    replicas = [Program(portal, tmp_path / "log", state, "s") for _ in range(2)]
    results: list[Merge] = []
    async with replicas[0].tools() as (first, _), replicas[1].tools() as (second, _):
        planned = await first.plan("SOURCE", ["EMAIL"], "WEB")
        while not results or results[-1].status == "moving":
            merges = (first, second)[len(results) % 2]
            now = await merges.plan("SOURCE", ["EMAIL"], "WEB")
            assert now.plan_id == planned.plan_id
            assert now.total == 200
            assert await merges.has_consent(now) == bool(results)
            results.append(await merges.carry_out("merge", now, confirmed=False))
    assert len(results) > 2
    moved = [merge.moved for merge in results]
    assert moved == sorted({number or 0 for number in moved})
    assert (results[-1].status, results[-1].moved) == ("done", 200)


# A colleague


def _move_by_colleague(portal: PortalInProcess, at: str) -> None:
    """Make a colleague move the deal 3 to another pipeline.

    The move comes right before the request, or between its reading and its writing.
    """

    def meanwhile(method: str, params: Mapping[str, Any]) -> None:
        right_now = method == at and ("crm.item.update" in str(params) if at == "batch" else str(params["id"]) == "3")
        if right_now and not acted:
            acted.append(True)
            portal.portal.store.records.all[DEAL, 3] |= {"categoryId": 2, "stageId": "C2:EXECUTING"}

    acted: list[bool] = []
    portal.portal.meanwhile = meanwhile


@pytest.mark.parametrize("at", ["batch", "crm.item.update"])
@pytest.mark.parametrize("age", ["today", "older", "oldest"])
async def test_a_record_that_changed_its_pipeline_keeps_its_stage(
    deals: PortalInProcess, tmp_path: Path, age: Age, at: str
) -> None:
    deals.portal.store.age = age
    _move_by_colleague(deals, at)
    result = await Program(deals, tmp_path / "log").merge("DEAL_STAGE", ["EXECUTING"], "PREPARATION")
    assert deals.portal.store.records.all[DEAL, 3]["stageId"] == "C2:EXECUTING"
    assert result.moved == 4
    assert [failure.record for failure in result.not_moved or ()] == ["deal 3"]


async def test_its_own_stage_is_given_back_to_it(deals: PortalInProcess, tmp_path: Path) -> None:
    """On a portal that takes the first stage of its pipeline for ours."""
    deals.order(**INSIDE["swapped"])
    _move_by_colleague(deals, "batch")
    result = await Program(deals, tmp_path / "log").merge("DEAL_STAGE", ["EXECUTING"], "PREPARATION")
    assert deals.portal.store.records.all[DEAL, 3]["stageId"] == "C2:EXECUTING"
    assert [failure.why for failure in result.not_moved or ()] == [
        'somebody had just moved it to another pipeline, and Bitrix24 put "C2:NEW"; it has "C2:EXECUTING" again'
    ]
    assert result.status == "done"


async def test_what_cannot_be_given_back_is_named_and_undone(deals: PortalInProcess, tmp_path: Path) -> None:
    deals.order(**INSIDE["swapped"])
    _move_by_colleague(deals, "batch")
    before = deals.portal.meanwhile

    def meanwhile(method: str, params: Mapping[str, Any]) -> None:
        before(method, params)
        if method == "crm.item.update" and "C2:EXECUTING" in str(params):
            raise PortalError("Not now", code="0")

    deals.portal.meanwhile = meanwhile
    program = Program(deals, tmp_path / "log")
    result = await program.merge("DEAL_STAGE", ["EXECUTING"], "PREPARATION")
    assert deals.portal.store.records.all[DEAL, 3]["stageId"] == "C2:NEW"
    assert (result.status, result.moved) == ("incomplete", 4)
    assert [failure.record for failure in result.not_moved or ()] == ["deal 3"]
    deals.portal.meanwhile = lambda _method, _params: None
    assert (await program.undo())[1].given_back == 5
    stages = {values["id"]: values["stageId"] for values in deals.portal.store.records.of(DEAL)}
    assert stages == dict.fromkeys(range(1, 6), "EXECUTING") | {3: "C2:EXECUTING"}


async def test_what_stood_there_at_the_same_time_is_not_known(deals: PortalInProcess, tmp_path: Path) -> None:
    deals.order(**INSIDE["swapped"])
    _move_by_colleague(deals, "crm.item.update")
    result = await Program(deals, tmp_path / "log").merge("DEAL_STAGE", ["EXECUTING"], "PREPARATION")
    assert result.status == "incomplete"
    assert [failure.why for failure in result.not_moved or ()] == [
        'somebody moved it to another pipeline at the same time, where it has "C2:NEW" now'
    ]


# Codes in the spelling of records


async def test_a_code_that_is_a_name_too_is_asked_about(portal: PortalInProcess) -> None:
    _many(portal, 5)
    put(portal, ["website"] * 3)
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call(TOOL, **arguments("SOURCE", ["Website"], "CALL"))
        assert result.error["code"] == "CHANGE_REFUSED"
        assert '"Website" may be the code "website", which records carry, or the name of WEB' in result.text
        assert 'call again with "website" or WEB' in result.text
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["website"], "CALL"))
        assert '- "website": 3 in lead.SOURCE_ID' in planned.text


async def test_an_orphan_is_shown_as_it_is_stored(portal: PortalInProcess) -> None:
    _many(portal, 5)
    put(portal, ["Old Fair"] * 3)
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call(TOOL, **arguments("SOURCE", ["OLD FAIR "], "CALL"))
        assert '- "Old Fair": 3 in lead.SOURCE_ID' in planned.text
        done = await merge(assistant, "SOURCE", ["OLD FAIR "], "CALL")
    assert done.structured["status"] == "done"
    assert sources(portal).count("CALL") == 3


# Messages of undo


async def test_undo_tells_apart_what_it_finds(portal: PortalInProcess, tmp_path: Path) -> None:
    _many(portal, 5)
    program = Program(portal, tmp_path / "log")
    await program.merge("SOURCE", ["EMAIL"], "WEB")
    store = portal.portal.store.records
    store.all[LEAD, 2]["sourceId"] = "PARTNER"
    store.all[LEAD, 3]["sourceId"] = "EMAIL"
    del store.all[LEAD, 4]
    async with program.tools() as (_, undo):
        (logged,) = read_log(program.log.read_text().splitlines()).merges
        undoing = await undo.plan(logged)
    text = undoing_text(undoing)
    assert "- 2 values of records get their old code back" in text
    assert "- 1 have their old code already" in text
    assert '- 1 carry another code than WEB now, and stay as they are: lead 2 ("PARTNER")' in text
    assert "- 1 cannot be read: they are deleted, or this user does not see them: lead 4" in text
    assert "The log is not signed" in text
    assert (await program.undo())[1].given_back == 2
    assert [values["sourceId"] for values in store.of(LEAD)] == ["EMAIL", "PARTNER", "EMAIL", "EMAIL"]


async def test_an_undoing_that_was_cut_off_is_done_again(portal: PortalInProcess, tmp_path: Path) -> None:
    """An intent without an outcome may have had no effect."""
    _many(portal, 5)
    program = Program(portal, tmp_path / "log")
    await program.merge("SOURCE", ["EMAIL"], "WEB")
    await program.undo()
    lines = program.log.read_text().splitlines()
    undone = [number for number, line in enumerate(lines) if '"tool": "undo"' in line and '"recordId"' in line]
    program.log.write_text("\n".join(lines[: undone[-1] + 1]) + "\n{cut")
    portal.portal.store.records.all[LEAD, 5]["sourceId"] = "WEB"
    log = read_log(program.log.read_text().splitlines())
    assert log.unread == 1
    undoing, undone_now = await program.undo()
    assert (undone_now.given_back, undoing.already) == (1, 4)
