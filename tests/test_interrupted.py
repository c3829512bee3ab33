"""Ctrl+C and SIGTERM while a command works.

The command waits for the requests under way, records their outcome, and sends no more. Going on and undoing find all
that was moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
import anyio.to_thread
import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from bitrix24_directories.changing import audit as audit_module
from bitrix24_directories.changing.audit import Audit
from bitrix24_directories.changing.changes import Changes
from bitrix24_directories.changing.locks import DirectoryLocks
from bitrix24_directories.changing.merging.log import LoggedMerge, read_log
from bitrix24_directories.changing.merging.merges import Merges
from bitrix24_directories.changing.merging.undo import Undo
from bitrix24_directories.cli.main import main
from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.reading.cache import Cache
from bitrix24_directories.mcp_server import session
from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.rest import STANDARD, Bitrix24Client, Webhook, in_process
from bitrix24_directories.state.shared import Inside
from support import PortalInProcess, RunningPortal
from test_oauth import application, login

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="signals are sent to processes")]

LEAD = 1
MERGE = ["merge", "SOURCE", "EMAIL", "--into", "WEB", "--log", "log", "--yes"]
UNDO = ["undo", "log", "--yes"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
WRITING, READING, DELETING, ADDING = "crm.item.update", "crm.item.list", "crm.status.delete", "crm.status.add"


class Held:
    """Holds the portal's nth request that calls `method`, in a phase, until it is released.

    Phases: `sent` and not taken up; `half made`; `made`, with its answer under way; `never made`.
    """

    def __init__(self, portal: DemoPortal, method: str, phase: str, number: int = 1) -> None:
        self._app, self._method, self._phase, self._left = portal.app, method, phase, number
        self._commands = 0
        self.came, self.released = threading.Event(), threading.Event()
        portal.app = self.app  # type: ignore[assignment]
        portal.meanwhile = self._meanwhile

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _whole(receive)
        if not self._holds(scope["path"] + unquote(body.decode())):
            await self._app(scope, _again(body), send)
            return
        if self._phase in ("sent", "never made"):
            await self._hold()
        if self._phase == "never made":
            return
        self._commands = 1 if self._phase == "half made" else 0

        async def held(message: Message) -> None:
            if self._phase == "made" and message["type"] == "http.response.start":
                await self._hold()
            await send(message)

        await self._app(scope, _again(body), held)

    def _holds(self, text: str) -> bool:
        self._left -= self._method in text
        return self._method in text and self._left == 0

    def _meanwhile(self, method: str, _params: Mapping[str, Any]) -> None:
        """Wait between the first and the second command of the batch."""
        if self._commands and method == self._method:
            self._commands += 1
            if self._commands == 3:
                self._commands = 0
                self.came.set()
                assert self.released.wait(30)

    async def _hold(self) -> None:
        self.came.set()
        assert await anyio.to_thread.run_sync(self.released.wait, 30)


async def _whole(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def _again(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


@pytest.fixture
def people(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningPortal]:
    """A portal of 90 leads of one source, and a command line set up for it, with writes."""
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    monkeypatch.setenv("BITRIX24_ALLOW_WRITES", "true")
    monkeypatch.setenv("BITRIX24_WARM_UP", "false")
    leads(portal)
    app = portal.portal.app
    yield portal
    portal.portal.app = app


def leads(portal: RunningPortal) -> None:
    """Leave nothing but 90 leads of one source."""
    store = portal.portal.store.records
    like = store.of(LEAD)[0]
    store.all = {(LEAD, number): like | {"id": number, "sourceId": "EMAIL"} for number in range(1, 91)}


def snapshot(portal: RunningPortal) -> Any:
    store = portal.portal.store
    return deepcopy(store.records.all), [(item.status_id, item.name) for item in store.of("SOURCE")]


def moved(portal: RunningPortal) -> set[int]:
    return {lead["id"] for lead in portal.portal.store.records.of(LEAD) if lead["sourceId"] == "WEB"}


# The program, with plan ids that hold for all its processes.
_PROGRAM = """
import sys
from functools import partial
from bitrix24_directories.mcp_server import session
from bitrix24_directories.state.shared import Inside
state = Inside()
state.secrets = (b"one for all",)
session.session_of = partial(session.session_of, state=state)
from bitrix24_directories.cli.main import main
sys.exit(main())
"""


def written(portal: RunningPortal) -> int:
    """Number of requests that have written records."""
    return sum(WRITING in str(params) for _, params in portal.portal.calls)


@contextlib.contextmanager
def running(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *arguments], env=os.environ | environment, text=True, **pipes
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run_interrupted(held: Held, number: signal.Signals, *arguments: str, twice: bool = False) -> str:
    """Run a command until the portal holds it, and send the signal; returns the output."""
    with running(*arguments) as process:
        assert process.stderr is not None
        try:
            assert held.came.wait(20)
            process.send_signal(number)
            assert any("A second time ends it at once." in line for line in process.stderr)
            if twice:
                process.send_signal(number)
                assert process.wait(20) == CODES[number]
        finally:
            held.released.set()
        out, err = process.communicate(timeout=30)
    assert process.returncode == CODES[number], err
    assert "Traceback" not in err
    return out + err


def outcomes() -> list[str]:
    """Outcomes of the log's intents; asserts that each intent has one."""
    lines = [json.loads(line) for line in Path("log").read_text(encoding="utf-8").splitlines()]
    ended = {line["id"]: line["outcome"] for line in lines if line["event"] == "outcome"}
    assert ended.keys() == {line["id"] for line in lines if line["event"] == "intent"}
    return [*ended.values()]


def test_the_log_is_written_though_stderr_is_in_the_middle_of_something(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A signal handler that writes to a stream in the middle of a write gets a RuntimeError."""
    audit = Audit(str(tmp_path / "log"))
    audit.intend_all([{"entityId": "SOURCE", "statusId": code} for code in ("A", "B")])
    monkeypatch.setattr(audit_module.logger, "info", raises)
    with pytest.raises(RuntimeError, match="reentrant"):
        audit.cut_off()
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in records] == ["intent", "intent", "outcome", "outcome"]
    assert all(line["outcome"].startswith("unknown: ") for line in records[2:])


def raises(*_: object) -> None:
    raise RuntimeError("reentrant call inside <_io.BufferedWriter>")


def in_log() -> set[int]:
    """Ids of the records that `undo` would look at."""
    with Path("log").open(encoding="utf-8") as lines:
        return {where.record_id for merge in read_log(lines).merges for where in merge.moves}


def assert_merge_and_undo(portal: RunningPortal, before: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Merge to the end, and check that `undo` restores exactly the moved records."""
    assert main(MERGE) == 0, capsys.readouterr()
    assert moved(portal) == set(range(1, 91))
    assert main(UNDO) == 0, capsys.readouterr()
    assert snapshot(portal) == before


slow = pytest.mark.slow
Output = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("phase", "number"),
    [
        pytest.param("sent", signal.SIGINT, marks=slow),
        ("half made", signal.SIGINT),
        pytest.param("made", signal.SIGINT, marks=slow),
        pytest.param("sent", signal.SIGTERM, marks=slow),
        pytest.param("half made", signal.SIGTERM, marks=slow),
        pytest.param("made", signal.SIGTERM, marks=slow),
    ],
)
def test_what_has_left_is_waited_for(people: RunningPortal, capsys: Output, phase: str, number: signal.Signals) -> None:
    before = snapshot(people)
    output = run_interrupted(Held(people.portal, WRITING, phase, 2), number, *MERGE)
    assert {*outcomes()} == {"moved"}
    assert moved(people) == in_log()
    assert 12 < len(moved(people)) < 90
    assert f"Interrupted. Changes made by then: {len(moved(people))}." in output
    assert "To go on, run the same command again." in output
    assert "`bitrix24-directories-mcp undo log`" in output
    assert main(UNDO) == 0, capsys.readouterr()
    assert snapshot(people) == before
    assert_merge_and_undo(people, before, capsys)


@pytest.mark.parametrize("phase", ["never made", *(pytest.param(phase, marks=slow) for phase in ("half made", "made"))])
def test_a_second_time_ends_it_at_once_and_tells_what_is_unknown(
    people: RunningPortal, capsys: Output, phase: str
) -> None:
    before = snapshot(people)
    output = run_interrupted(Held(people.portal, WRITING, phase, 2), signal.SIGINT, *MERGE, twice=True)
    assert "Ended at once: of what was sent and not answered it is unknown what became of it." in output
    assert {outcome.partition(":")[0] for outcome in outcomes()} == {"moved", "unknown"}
    assert_merge_and_undo(people, before, capsys)


@slow
def test_no_longer_than_the_timeout(people: RunningPortal, capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    """A portal that never answers; the outcome of requests under way is unknown."""
    before = snapshot(people)
    monkeypatch.setenv("BITRIX24_TIMEOUT", "3")
    held = Held(people.portal, WRITING, "never made", 2)
    with running(*MERGE) as process:
        assert held.came.wait(20)
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 130
        held.released.set()
    assert {outcome.partition(":")[0] for outcome in outcomes()} == {"moved", "unknown"}
    monkeypatch.delenv("BITRIX24_TIMEOUT")
    assert_merge_and_undo(people, before, capsys)


@slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_reading_is_not_waited_for(people: RunningPortal, number: signal.Signals) -> None:
    before = snapshot(people)
    held = Held(people.portal, READING, "sent")
    with running(*MERGE) as process:
        assert held.came.wait(20)
        process.send_signal(number)
        assert process.wait(20) == CODES[number]
        held.released.set()
        _, err = process.communicate()
    assert "Interrupted: nothing was changed." in err
    assert "Traceback" not in err
    assert snapshot(people) == before


@slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("phase", ["sent", "made"])
def test_a_deletion_is_waited_for(people: RunningPortal, capsys: Output, phase: str, number: signal.Signals) -> None:
    before = snapshot(people)
    run_interrupted(Held(people.portal, DELETING, phase), number, *MERGE)
    assert {*outcomes()} == {"moved", "done"}
    assert main(UNDO) == 0, capsys.readouterr()
    assert snapshot(people) == before


@slow
@pytest.mark.parametrize("phase", ["sent", "made"])
def test_a_deletion_that_is_not_waited_for_is_unknown(people: RunningPortal, capsys: Output, phase: str) -> None:
    before = snapshot(people)
    run_interrupted(Held(people.portal, DELETING, phase), signal.SIGINT, *MERGE, twice=True)
    assert outcomes()[-1].startswith("unknown")
    assert main(UNDO) == 0, capsys.readouterr()
    assert snapshot(people) == before


@pytest.mark.parametrize(
    ("phase", "number", "twice"),
    [
        pytest.param("sent", signal.SIGINT, False, marks=slow),
        ("half made", signal.SIGTERM, False),
        pytest.param("made", signal.SIGINT, False, marks=slow),
        *(pytest.param(phase, signal.SIGINT, True, marks=slow) for phase in ("never made", "half made", "made")),
    ],
)
def test_undo_is_interrupted_and_goes_on(
    people: RunningPortal, capsys: Output, phase: str, number: signal.Signals, *, twice: bool
) -> None:
    before = snapshot(people)
    assert main(MERGE) == 0, capsys.readouterr()
    before_that = written(people)
    output = run_interrupted(Held(people.portal, WRITING, phase, 2), number, *UNDO, twice=twice)
    assert 0 < len(moved(people)) < 90
    assert written(people) - before_that <= 2
    if not twice:
        assert moved(people) == in_log()
        assert "To go on, run the same command again." in output
    assert main(UNDO) == 0, capsys.readouterr()
    assert snapshot(people) == before


CALLS = {
    "merge": (WRITING, 2, ["merge_directory_items", "entityId=SOURCE", "codes=EMAIL", "into=WEB"]),
    "add": (ADDING, 1, ["add_directory_item", "entityId=SOURCE", "name=Podcast"]),
    "apply": (
        ADDING,
        1,
        ["apply_directory", "entityId=HONORIFIC", f"items={json.dumps([f'N{n}: N{n}' for n in range(70)])}"],
    ),
}


def call(command: str, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> list[str]:
    """Arguments of a call that is carried out, with its planId if it needs one."""
    _, _, arguments = CALLS[command]
    state = Inside()
    state.secrets = (b"one for all",)
    monkeypatch.setattr(session, "session_of", partial(session.session_of, state=state))
    if command != "add":
        assert main(["call", *arguments, "--json"]) == 0
        arguments = [*arguments, f"planId={json.loads(capsys.readouterr().out)['planId']}"]
    return ["call", *arguments]


@pytest.mark.parametrize(
    ("command", "phase", "number"),
    [
        ("add", "sent", signal.SIGINT),
        pytest.param("add", "made", signal.SIGTERM, marks=slow),
        pytest.param("merge", "sent", signal.SIGTERM, marks=slow),
        pytest.param("merge", "half made", signal.SIGINT, marks=slow),
        pytest.param("merge", "made", signal.SIGINT, marks=slow),
        pytest.param("apply", "half made", signal.SIGINT, marks=slow),
        pytest.param("apply", "made", signal.SIGTERM, marks=slow),
    ],
)
def test_a_call_that_changes(
    people: RunningPortal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    command: str,
    phase: str,
    number: signal.Signals,
) -> None:
    monkeypatch.setenv("BITRIX24_AUDIT_LOG", "log")
    before, (method, nth, _) = snapshot(people), CALLS[command]
    output = run_interrupted(Held(people.portal, method, phase, nth), number, *call(command, monkeypatch, capsys))
    made = [outcome for outcome in outcomes() if outcome in ("moved", "done")]
    assert f"Interrupted. Changes made by then: {len(made)}." in output
    match command:
        case "add":
            assert outcomes() == ["done"]
            assert "PODCAST" in [item.status_id for item in people.portal.store.of("SOURCE")]
        case "apply":
            assert {outcome.partition(":")[0] for outcome in outcomes()} == {"done", "not done"}
            assert 0 < sum(item.status_id[0] == "N" for item in people.portal.store.of("HONORIFIC")) < 70
        case "merge":
            assert {*outcomes()} == {"moved"}
            assert moved(people) == in_log()
            assert 12 < len(moved(people)) < 90
            assert main(UNDO) == 0, capsys.readouterr()
            assert snapshot(people) == before


@slow
@pytest.mark.parametrize("command", CALLS)
def test_a_call_that_is_ended_at_once(
    people: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: Output, command: str
) -> None:
    monkeypatch.setenv("BITRIX24_AUDIT_LOG", "log")
    before, (method, nth, _) = snapshot(people), CALLS[command]
    held = Held(people.portal, method, "made", nth)
    run_interrupted(held, signal.SIGINT, *call(command, monkeypatch, capsys), twice=True)
    assert "unknown" in {outcome.partition(":")[0] for outcome in outcomes()} <= {"unknown", "moved"}
    if command == "merge":
        assert main(UNDO) == 0, capsys.readouterr()
        assert snapshot(people) == before


@slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_call_that_reads(people: RunningPortal, number: signal.Signals) -> None:
    held = Held(people.portal, READING, "sent")
    with running("call", "get_directory_usage", "entityId=SOURCE") as process:
        assert held.came.wait(10)
        process.send_signal(number)
        assert process.wait(20) == CODES[number]
        held.released.set()
        out, err = process.communicate()
    assert out == ""
    assert "Interrupted: nothing was changed." in err
    assert "Traceback" not in err


@dataclass(frozen=True)
class Library:
    """Parts of this package that a program uses as a library."""

    changes: Changes
    merges: Merges
    undo: Undo


@contextlib.asynccontextmanager
async def library(portal: PortalInProcess) -> AsyncIterator[Library]:
    caller = Webhook.parse(portal.webhook_url())
    async with Bitrix24Client(caller, transport=in_process(portal.portal.app)) as client:
        directories, audit, locks = Directories(client, Cache(300)), Audit("log", quiet=True), DirectoryLocks(30)
        changes = Changes(directories, audit, locks, 30)
        merges = Merges(directories, changes, audit, locks, 30, STANDARD)
        yield Library(changes, merges, Undo(directories, changes, audit))


def logged() -> LoggedMerge:
    (merge,) = read_log(Path("log").read_text(encoding="utf-8").splitlines()).merges
    return merge


@pytest.mark.virtual_clock
@pytest.mark.parametrize("native", [False, True])
async def test_cancelled_by_anyio_and_past_it(portal_in_process: PortalInProcess, *, native: bool) -> None:
    """Cancellation by a program that uses this as a library, and by asyncio itself at its end."""
    portal = portal_in_process
    leads(portal)
    async with library(portal) as ours:
        planned = await ours.merges.plan("SOURCE", ["EMAIL"], "WEB")
        await ours.merges.carry_out("merge", planned, confirmed=False, to_the_end=True)
        undo = partial(ours.undo.carry_out, await ours.undo.plan(logged()))
        portal.order(method="batch", changes_only=True, delay=5)
        before = written(portal)
        if native:
            task = asyncio.ensure_future(undo())
            await anyio.sleep(6)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(undo)
                await anyio.sleep(6)
                tasks.cancel_scope.cancel()
        await anyio.sleep(60)
    assert written(portal) - before == 2
    assert 0 < len(moved(portal)) < 90
    assert moved(portal) <= in_log()
    assert native or moved(portal) == in_log()
    assert "not sent" not in outcomes()


@pytest.mark.virtual_clock
async def test_a_change_cut_off_past_the_shield_is_unknown(portal_in_process: PortalInProcess) -> None:
    async with library(portal_in_process) as ours:
        planned = await ours.changes.plan_adding("SOURCE", "Podcast")
        portal_in_process.order(changes_only=True, delay=5)
        task = asyncio.ensure_future(ours.changes.carry_out("test", planned, confirmed=False))
        await anyio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert outcomes() == ["unknown: the answer was lost, and the directory does not show the change so far"]


@contextlib.contextmanager
def hold_tokens(portal: RunningPortal) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Hold the answer with the tokens; yields the events of its arrival and of its release."""
    came, released, app = threading.Event(), threading.Event(), portal.portal.app

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if scope["path"] == "/oauth/token/" and message["type"] == "http.response.start":
                came.set()
                assert await anyio.to_thread.run_sync(released.wait, 30)
            await send(message)

        await app(scope, receive, sending)

    portal.portal.app = held  # type: ignore[assignment]
    yield came, released
    portal.portal.app = app


@pytest.mark.parametrize(
    ("number", "twice"),
    [
        (signal.SIGINT, False),
        pytest.param(signal.SIGTERM, False, marks=slow),
        pytest.param(signal.SIGINT, True, marks=slow),
    ],
)
def test_a_login_waits_for_the_tokens(
    portal: RunningPortal, tmp_path: Path, number: signal.Signals, *, twice: bool
) -> None:
    file = application(portal).file
    with hold_tokens(portal) as (came, released), login(portal, tmp_path) as (process, address):
        code = httpx.URL(httpx.get(address).headers["location"]).params["code"]
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(f"{code}\n")
        process.stdin.flush()
        assert came.wait(10)
        process.send_signal(number)
        assert "holds the tokens" in process.stderr.readline()
        if twice:
            process.send_signal(number)
            assert process.wait(20) == CODES[number]
        released.set()
        out, err = process.communicate(timeout=20)
    assert process.returncode == CODES[number]
    assert "Traceback" not in err
    contents = file.read()
    if twice:
        assert contents is None
    else:
        assert contents is not None
        assert contents.access_token == portal.portal.oauth.newest_access_token
        assert str(file.path) in out


@slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_login_that_waits_for_a_person(portal: RunningPortal, tmp_path: Path, number: signal.Signals) -> None:
    with login(portal, tmp_path) as (process, _):
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert process.returncode == CODES[number]
    assert err == "Interrupted: no tokens were asked for. To go on, run the same command again.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@slow
def test_a_person_who_is_asked_may_leave(people: RunningPortal, number: signal.Signals) -> None:
    before = snapshot(people)
    with run_in_terminal(*MERGE[:-1]) as (process, screen):
        assert "Carry it out?" in read_until("Carry it out? [y/N] ", screen)
        while Path(f"/proc/{process.pid}/stat").read_text().split(") ")[1][0] != "S":
            """Wait until it reads: a signal right before that takes effect at the next signal or line."""
        process.send_signal(number)
        assert process.wait(20) == CODES[number]
        assert "Interrupted: nothing was changed." in read_until(None, screen)
    assert snapshot(people) == before


def test_the_bar_names_what_is_done(people: RunningPortal) -> None:
    with run_in_terminal(*MERGE) as (process, screen):
        output = read_until(None, screen)
        assert process.wait(20) == 0
    places = [output.index(phase) for phase in ("Reading", "Moving", "Deleting")]
    assert places == sorted(places)
    assert len(people.portal.store.of("SOURCE")) > 0


@contextlib.contextmanager
def run_in_terminal(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a command in a terminal of its own; yields it and the terminal's other side."""
    screen, terminal = os.openpty()
    command = [sys.executable, "-m", "bitrix24_directories", *arguments]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal)
    with subprocess.Popen(command, env=os.environ | {"TERM": "xterm"}, **streams) as process:  # type: ignore[call-overload]
        os.close(terminal)
        try:
            yield process, screen
        finally:
            process.kill()
            os.close(screen)


def read_until(text: str | None, screen: int) -> str:
    """Output up to a text, or to the end."""
    output = ""
    with contextlib.suppress(OSError):  # the error at a terminal's end
        while (text is None or text not in output) and (read := os.read(screen, 4096)):
            output += read.decode(errors="replace")
    return output
