"""`merge` and `undo` on the command line: restored and unchanged records, and refusals."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitrix24_directories.cli import merge as merge_command
from bitrix24_directories.cli.main import main
from bitrix24_directories.portal import DemoPortal, Fault
from bitrix24_directories.rest import Transport, Webhook, in_process
from bitrix24_directories.settings import Settings
from support import PortalInProcess, RunningPortal, VirtualClockLoop, connect, examples

LEAD, DEAL = 1, 2
Values = dict[str, Any]


@pytest.fixture
def people(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch) -> RunningPortal:
    """A portal and a command line set up for it, with writes."""
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    monkeypatch.setenv("BITRIX24_ALLOW_WRITES", "true")
    return portal


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = main(argv)
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def records(portal: RunningPortal, number: int) -> list[Values]:
    return portal.portal.store.records.of(number)


def items(portal: RunningPortal, entity_id: str) -> list[tuple[str, str, str, str]]:
    return [(item.status_id, item.name, item.color, item.semantics) for item in portal.portal.store.of(entity_id)]


def snapshot(portal: RunningPortal) -> Any:
    return deepcopy(portal.portal.store.records.all), items(portal, "SOURCE"), items(portal, "DEAL_STAGE")


def test_merge_and_undo(people: RunningPortal, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(people)
    code, output = run(capsys, "merge", "SOURCE", "EMAIL", "website", "--into", "WEB", "--log", "log", "--yes")
    assert code == 0, output
    assert "SOURCE: 37 values of records moved to WEB (Website), none left." in output
    assert not any(lead["sourceId"] in ("EMAIL", "website") for lead in records(people, LEAD))
    code, output = run(capsys, "undo", "log", "--yes")
    assert code == 0, output
    assert "- EMAIL (E-Mail) is added again\n- 37 values of records get their old code back" in output
    assert "37 values of records got their old code back.\n- EMAIL was added again" in output
    assert snapshot(people) == before
    assert "0 values of records get their old code back" in run(capsys, "undo", "log", "--yes")[1]
    assert snapshot(people) == before


def test_stages_come_back_in_their_place_and_colour(people: RunningPortal, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(people)
    assert run(capsys, "merge", "DEAL_STAGE", "PREPARATION", "--into", "NEW", "--log", "log", "--yes")[0] == 0
    assert run(capsys, "merge", "DEAL_STAGE", "APOLOGY", "--into", "LOSE", "--log", "log2", "--yes")[0] == 0
    for log in ("log2", "log"):
        code, output = run(capsys, "undo", log, "--yes")
        assert code == 0, output
    assert snapshot(people) == before


def test_what_was_changed_since_stays(people: RunningPortal, capsys: pytest.CaptureFixture[str]) -> None:
    leads, deals = records(people, LEAD)[:3], records(people, DEAL)[:3]
    for lead in leads:
        lead["sourceId"] = "EMAIL"
    for deal, industries in zip(deals, (["FINANCE"], ["FINANCE", "IT"], ["FINANCE", "OTHER"]), strict=True):
        deal["ufCrm_1724077761"] = industries
    run(capsys, "merge", "SOURCE", "EMAIL", "--into", "WEB", "--log", "log", "--yes")
    run(capsys, "merge", "INDUSTRY", "FINANCE", "--into", "IT", "--log", "log", "--yes")
    records(people, LEAD)[0]["sourceId"] = "CALL"
    deals = records(people, DEAL)
    assert [deal["ufCrm_1724077761"] for deal in deals[:3]] == [["IT"], ["IT"], ["IT", "OTHER"]]
    deals[0]["ufCrm_1724077761"] = ["OTHER", "IT"]
    deals[1]["ufCrm_1724077761"] = ["IT", "OTHER"]
    deals[2]["ufCrm_1724077761"] = ["OTHER"]
    code, output = run(capsys, "undo", "log", "--yes")
    assert code == 2
    assert "holds several merges; choose one with --merge ID" in output
    keys = {line.split(": ")[1].split(" ")[0]: line.split(":")[0].strip() for line in output.splitlines()[1:]}
    for key in keys.values():
        code, output = run(capsys, "undo", "log", "--merge", key, "--yes")
        assert code == 0, output
    assert [lead["sourceId"] for lead in records(people, LEAD)[:3]] == ["CALL", "EMAIL", "EMAIL"]
    assert [deal["ufCrm_1724077761"] for deal in records(people, DEAL)[:3]] == [
        ["OTHER", "FINANCE"],
        ["FINANCE", "IT", "OTHER"],
        ["OTHER"],
    ]


def test_a_log_whose_fields_are_spelt_otherwise(people: RunningPortal, capsys: pytest.CaptureFixture[str]) -> None:
    """As older versions wrote them: an undoing counts for the field in any spelling."""
    for deal in records(people, DEAL)[:2]:
        deal["ufCrm_1724077761"] = ["IT", "FINANCE"]
    before = deepcopy(people.portal.store.records.all)
    run(capsys, "merge", "INDUSTRY", "FINANCE", "--into", "IT", "--log", "log", "--yes")
    Path("log").write_text(Path("log").read_text("utf-8").replace("UF_CRM_1724077761", "ufCrm_1724077761"), "utf-8")
    code, output = run(capsys, "undo", "log", "--yes")
    assert code == 0, output
    assert people.portal.store.records.all == before
    assert "- 0 values of records get their old code back" in run(capsys, "undo", "log", "--yes")[1]
    assert people.portal.store.records.all == before


def test_what_was_put_back_is_not_put_back_again(people: RunningPortal, capsys: pytest.CaptureFixture[str]) -> None:
    records(people, LEAD)[0]["sourceId"] = "website"
    run(capsys, "merge", "SOURCE", "website", "--into", "WEB", "--log", "log", "--yes")
    run(capsys, "undo", "log", "--yes")
    records(people, LEAD)[0]["sourceId"] = "WEB"  # by somebody, on purpose
    run(capsys, "undo", "log", "--yes")
    assert records(people, LEAD)[0]["sourceId"] == "WEB"


def test_lines_that_cannot_be_read_and_intents_without_outcome(
    people: RunningPortal, capsys: pytest.CaptureFixture[str]
) -> None:
    lead, other = records(people, LEAD)[:2]
    lead["sourceId"], other["sourceId"] = "website", "website"
    run(capsys, "merge", "SOURCE", "website", "--into", "WEB", "--log", "log", "--yes")
    lines = [line for line in Path("log").read_text().splitlines() if json.loads(line)["event"] == "intent"]
    broken = ["", "no JSON", "[]", '{"id": 1}', '{"id": "x", "event": "intent", "merge": "y"}', lines[0][:-9]]
    Path("log").write_text("\n".join([*broken, *lines, lines[-1][:40]]))
    assert run(capsys, "undo", "log", "--yes")[0] == 0
    assert [lead["sourceId"] for lead in records(people, LEAD)[:2]] == ["website", "website"]


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (
            ["merge", "SOURCE", "EMAIL", "--into", "WEB", "--yes"],
            2,
            "Name a file with --log, or in BITRIX24_AUDIT_LOG.",
        ),
        (["merge", "SOURCE", "EMAIL", "--into", "WEB", "--log", "log"], 2, "add --yes to carry it out"),
        (["merge", "SOURCE", "EMAIL", "--into", "WEB", "--log", "no/such/folder", "--yes"], 1, "audit log cannot be"),
        (["merge", "SOURCE", "WEB", "--into", "WEB", "--log", "log", "--yes"], 1, "to Bitrix24 they are the same code"),
        (["merge", "SOURCE", "nothing", "--into", "WEB", "--log", "log"], 0, "Nothing to do for SOURCE"),
        (["undo", "log", "--yes"], 2, "log cannot be read"),
        (["undo", "empty", "--yes"], 2, "empty holds no merge."),
        (["undo", "other", "--yes"], 1, "that merge was made on https://other.example/rest/"),
        (["undo", "other", "--merge", "x", "--yes"], 2, "holds no merge x, but these:"),
    ],
)
def test_what_is_refused(
    people: RunningPortal, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, words: str
) -> None:
    Path("empty").write_text("")
    intent: Values = {
        "when": "2026-01-01",
        "id": "1",
        "event": "intent",
        "tool": "merge",
        "merge": "k",
        "entityId": "SOURCE",
    }
    intent |= {"portal": "https://other.example/rest/", "into": "WEB", "entityTypeId": 1, "recordId": 1}
    Path("other").write_text(json.dumps(intent | {"field": "sourceId", "old": "EMAIL", "new": "WEB"}))
    before = snapshot(people)
    returned, output = run(capsys, *argv)
    assert returned == code
    assert words in output
    assert snapshot(people) == before


def test_without_writes_nothing_is_changed(
    people: RunningPortal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BITRIX24_ALLOW_WRITES")
    code, output = run(capsys, "merge", "SOURCE", "EMAIL", "--into", "WEB", "--log", "log", "--yes")
    assert code == 1
    assert "set BITRIX24_ALLOW_WRITES=true" in output
    assert "crm.item" not in str(people.portal.calls)


@pytest.mark.parametrize(("answer", "moved"), [("y", True), ("", False), ("n", False)])
def test_a_person_is_asked(
    people: RunningPortal,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    moved: bool,
) -> None:
    monkeypatch.setattr(merge_command, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    before = snapshot(people)
    code, output = run(capsys, "merge", "SOURCE", "EMAIL", "--into", "WEB", "--log", "log")
    assert (snapshot(people) != before) == moved
    assert code == (0 if moved else 1)
    assert ("Nothing was changed." in output) == (not moved)


@pytest.mark.parametrize("how", ["502", "empty", "cut"])
def test_answers_that_are_lost_while_merging_and_undoing(
    people: RunningPortal, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    before = snapshot(people)
    for argv in (["merge", "SOURCE", "EMAIL", "website", "--into", "WEB", "--log", "log"], ["undo", "log"]):
        fault = Fault.lost(how)
        fault.method, fault.times = "batch", 1
        people.portal.faults.order(fault)
        code, output = run(capsys, *argv, "--yes")
        assert code == 0, output
    assert snapshot(people) == before


def test_without_its_item_no_record_gets_its_code_back(
    people: RunningPortal, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "merge", "SOURCE", "EMAIL", "--into", "WEB", "--log", "log", "--yes")
    merged = snapshot(people)
    people.order(method="crm.status.add", code="", description="Error on creating status.")
    code, output = run(capsys, "undo", "log", "--yes")
    assert code == 1
    assert "0 values of records got their old code back." in output
    assert snapshot(people) == merged


class Portals:
    """Portals of random records, merged by MCP on a virtual clock, undone on the command line."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.portal = PortalInProcess(DemoPortal())
        caller = Webhook.parse(self.portal.webhook_url())
        settings = Settings.model_construct(allow_writes=True)

        def configured(_args: Any) -> tuple[Webhook, Settings, Transport]:
            return caller, settings, in_process(self.portal.portal.app)

        monkeypatch.setattr(merge_command, "configured", configured)

    def make(self, leads: list[Any], deals: list[list[str]]) -> None:
        self.portal = PortalInProcess(DemoPortal())
        store = self.portal.portal.store.records
        lead, deal = store.of(LEAD)[0], store.of(DEAL)[0]
        store.all = {
            (LEAD, number): lead | {"id": number, "sourceId": source} for number, source in enumerate(leads, 1)
        }
        store.all |= {
            (DEAL, number): deal | {"id": number, "ufCrm_1724077761": codes, "ufCrm_1724077760": None, "sourceId": None}
            for number, codes in enumerate(deals, 1000)
        }

    async def merge(self, entity_id: str, codes: list[str], into: str, log: str) -> None:
        """Merge until nothing is left to do, or nothing more can be done."""
        arguments: dict[str, Any] = {"entityId": entity_id, "codes": codes, "into": into}
        async with connect(self.portal, allow_writes=True, audit_log=log) as assistant:
            for _ in range(6):
                result = await assistant.call("merge_directory_items", **arguments)
                if "planId" not in result.structured:
                    return
                await assistant.call("merge_directory_items", **arguments, planId=result.structured["planId"])


LEAD_SOURCES = st.sampled_from([None, "", "CALL", "EMAIL", "WEB", "PARTNER", "email ", "website", "16|WZ", "4"])
INDUSTRIES = ["IT", "FINANCE", "OTHER", "MANUFACTURING", "ancient"]


@settings(max_examples=examples(20), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_only_what_was_planned_moves_and_undo_restores_it(
    data: st.DataObject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    portals, log = Portals(monkeypatch), tmp_path / "log"
    log.unlink(missing_ok=True)
    portals.make(
        data.draw(st.lists(LEAD_SOURCES, max_size=40)),
        data.draw(st.lists(st.lists(st.sampled_from(INDUSTRIES), unique=True, max_size=4), max_size=30)),
    )
    entity_id, into, choices, field, number = data.draw(
        st.sampled_from(
            [
                ("SOURCE", "WEB", ["CALL", "EMAIL", "PARTNER", "website", "16|WZ", "4"], "sourceId", LEAD),
                ("INDUSTRY", "IT", ["FINANCE", "OTHER", "MANUFACTURING", "ancient"], "ufCrm_1724077761", DEAL),
            ]
        )
    )
    codes = data.draw(st.lists(st.sampled_from(choices), unique=True, min_size=1))
    fail_at = data.draw(st.one_of(st.none(), st.integers(0, 30)))
    how = data.draw(st.sampled_from(["refused", "cut off"]))
    before = deepcopy(portals.portal.portal.store.records.all)
    had = items(portals.portal, entity_id)
    portals.portal.portal.fail_write = None if fail_at is None else (fail_at, how)
    anyio.run(portals.merge, entity_id, codes, into, str(log), backend_options={"loop_factory": VirtualClockLoop})
    portals.portal.portal.fail_write = None

    removed = {code.rstrip(" ").casefold() for code in codes}

    def expected(value: Any) -> Any:
        if isinstance(value, list):
            return list(dict.fromkeys(into if code.casefold() in removed else code for code in value))
        return into if value and value.rstrip(" ").casefold() in removed else value

    after = portals.portal.portal.store.records.all
    for key, values in before.items():
        changed = values | {field: expected(values[field])} if key[0] == number else values
        assert after[key] == changed
    gone_items = {*codes} - {"CALL"}  # a system item stays
    assert [item[0] for item in items(portals.portal, entity_id)] == [
        item[0] for item in had if item[0] not in gone_items
    ]

    if log.exists() and log.read_text():
        assert main(["undo", str(log), "--yes"]) == 0
    assert portals.portal.portal.store.records.all == before
    assert items(portals.portal, entity_id) == had


class Held:
    """Holds the portal at its nth request with changes, until the sender is killed."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.came, self.killed = threading.Event(), threading.Event()

    def __call__(self, method: str, params: Mapping[str, Any]) -> None:
        if method == "batch" and "crm.item.update" in str(params):
            self.left -= 1
            if self.left == 0:
                self.came.set()
                assert self.killed.wait(20)


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_and_can_be_taken_back(
    people: RunningPortal, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Killed with -9 as soon as its first, second, ... request with changes is at the portal."""
    store = people.portal.store.records
    like = store.of(LEAD)[0]
    store.all = {(LEAD, number): like | {"id": number, "sourceId": "EMAIL"} for number in range(1, 401)}
    before, log = snapshot(people), tmp_path / "log"
    command = [sys.executable, "-m", "bitrix24_directories", "merge", "SOURCE", "EMAIL", "--into", "WEB"]
    for requests in (1, 2, 3):
        people.portal.meanwhile = held = Held(requests)
        with subprocess.Popen([*command, "--log", str(log), "--yes"], stdout=subprocess.DEVNULL) as process:
            assert held.came.wait(20)
            process.kill()
        held.killed.set()
    people.portal.meanwhile = lambda _method, _params: None
    moved = sum(lead["sourceId"] == "WEB" for lead in records(people, LEAD))
    assert 0 < moved < 400
    code, output = run(capsys, "merge", "SOURCE", "EMAIL", "--into", "WEB", "--log", str(log), "--yes")
    assert code == 0, output
    assert "values of records moved to WEB (Website), none left." in output
    assert {lead["sourceId"] for lead in records(people, LEAD)} == {"WEB"}
    code, output = run(capsys, "undo", str(log), "--yes")
    assert code == 0, output
    assert snapshot(people) == before
