"""Nobody is locked out by faults in the file of people while a real server serves them."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bitrix24_directories.cli.main import main
from bitrix24_directories.logs import configure_logging
from bitrix24_directories.redaction import Redactor
from bitrix24_directories.team import people as people_module
from bitrix24_directories.team.people import People, Person
from support import ADMIN_SECRET, READER_SECRET, RunningPortal, clean_environment
from team_support import TeamServer, call_tool, request_of
from test_team_commands import ACCEPT, CALL

NAMES = ("anna", "bert", "carl")
DEEP = "[" * 100_000
USER = 65534


class ServerProcess:
    """A server in a process of its own, as `serve --http` starts it."""

    def __init__(self, url: str, log: Path) -> None:
        self.url = url
        self._log = log
        self._seen = 0

    def call(self, token: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}", **ACCEPT}
        return httpx.post(f"{self.url}/mcp", json=CALL, headers=headers, timeout=20)

    def let_in(self, tokens: dict[str, str]) -> set[str]:
        answers = {name: self.call(token) for name, token in tokens.items()}
        assert {answer.status_code for answer in answers.values()} <= {200, 401}, answers
        assert all("PREPARATION" in answer.text for answer in answers.values() if answer.is_success)
        return {name for name, answer in answers.items() if answer.is_success}

    def ready(self) -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{self.url}/readyz", timeout=20)
        return answer.status_code, answer.json()

    def logged(self) -> list[str]:
        """New lines of the log since the last call."""
        lines = self._log.read_text().splitlines()
        new, self._seen = lines[self._seen :], len(lines)
        return new


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[ServerProcess]:
    log = folder / "stderr.txt"
    command = [sys.executable, "-m", "bitrix24_directories", "serve", "--http", "0"]
    with log.open("w") as errors:
        people = {"BITRIX24_PEOPLE": str(folder / "people.jsonl"), "BITRIX24_ACCESS_LOG": "off"}
        environment = clean_environment(**people, **environment)
        process = subprocess.Popen(command, env=environment, cwd=folder, stderr=errors)
    try:
        while (match := re.search(r"Serving MCP on (\S+)/mcp", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
        served = ServerProcess(match[1], log)
        yield served
    finally:
        process.terminate()
        process.wait(timeout=30)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def _write(path: Path, *lines: str) -> None:
    path.write_text("\n".join(lines))


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


BROKEN: dict[str, tuple[Callable[[Path], object], set[str], str]] = {
    "a line that is none": (lambda path: _write(path, "{broken", *_lines(path)), set(NAMES), "line 1 of people.jsonl"),
    "a line that is deep": (lambda path: _write(path, DEEP, *_lines(path)), set(NAMES), "line 1 of people.jsonl"),
    "a byte that is no text": (
        lambda path: path.write_bytes(path.read_bytes() + b'{"name": "d\xff"}\n'), set(NAMES), "line 4 of people.jsonl"
    ),
    "bert's line": (
        lambda path: _write(path, *(line.replace('"bert"', '"b ert"') for line in _lines(path))),
        {"anna", "carl"},
        "line 2 of people.jsonl",
    ),
    "anna's line, twice": (lambda path: _write(path, *_lines(path), _lines(path)[0]), set(NAMES), "line 4 of people"),
    "no line that is any": (lambda path: _write(path, "<html>", "</html>"), set(NAMES), "no line of people.jsonl"),
    "another encoding": (
        lambda path: path.write_bytes(path.read_text().encode("utf-16")), set(NAMES), "no line of people.jsonl"
    ),
    "no byte": (lambda path: path.write_bytes(b""), set(NAMES), "people.jsonl is empty, or ends in the middle of a"),
    "half of bert's line": (
        lambda path: path.write_bytes(path.read_bytes()[: len(_lines(path)[0]) + 40]),
        set(NAMES),
        "people.jsonl is empty, or ends in the middle of a line",
    ),
    "more than is read": (
        lambda path: _write(path, "#" * 10 * 2**20, *_lines(path)), set(NAMES), "people.jsonl has more than 10 MiB"
    ),
    "a mode that others can read": (lambda path: path.chmod(0o644), set(NAMES), "needs mode 0600"),
    "no file": (lambda path: path.unlink(), set(NAMES), "people.jsonl cannot be read"),
    "a folder": (_folder, set(NAMES), "people.jsonl is no regular file"),
}  # fmt: skip


def _restored(path: Path, text: str) -> None:
    if path.is_dir():
        path.rmdir()
    new = path.with_name("new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(path)


@pytest.fixture
def tokens(portal: RunningPortal, tmp_path: Path) -> dict[str, str]:
    team = TeamServer(portal, tmp_path)
    return {
        name: team.add(name, secret) for name, secret in zip(NAMES, [ADMIN_SECRET, READER_SECRET] * 2, strict=False)
    }


@pytest.mark.slow
def test_whatever_is_wrong_with_the_file_nobody_else_is_shut_out(tokens: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "people.jsonl"
    good = path.read_text()
    with serving(tmp_path) as served:
        assert served.let_in(tokens) == set(NAMES)
        assert served.ready() == (200, served.ready()[1])
        served.logged()
        for kind, (break_it, remaining, words) in BROKEN.items():
            break_it(path)
            assert served.let_in(tokens) == remaining, kind
            status, ready = served.ready()
            assert (status, ready["ready"]) == (200, True), kind
            assert words in ready["people"], kind
            assert str(tmp_path) not in ready["people"]
            (line,) = served.logged()
            assert " ERROR " in line, kind
            assert words in line, kind
            _restored(path, good)
            assert served.let_in(tokens) == set(NAMES), kind
            assert "people" not in served.ready()[1]
            assert served.logged() == []
        _restored(path, f"# those of the office\n\n{good}")
        assert served.let_in(tokens) == set(NAMES)
        assert "people" not in served.ready()[1]
        assert served.logged() == []
    assert ADMIN_SECRET not in (tmp_path / "stderr.txt").read_text()


def test_a_group_may_read_what_is_roots(folder_of_a_user: Path) -> None:
    """A file of a Kubernetes Secret: a link to root's own file, readable by a group."""
    mounted = folder_of_a_user / "..data"
    mounted.write_text('{"name": "anna", "scopes": []}\n')
    mounted.chmod(0o440)
    (folder_of_a_user / "people.jsonl").symlink_to(mounted)
    people = People(folder_of_a_user / "people.jsonl")
    assert people.with_name("anna") is not None
    os.chown(mounted, USER, USER)
    people.look()
    assert "needs mode 0600" in people.trouble


@pytest.fixture
def folder_of_a_user() -> Iterator[Path]:
    """A folder of a user that is not root, for tests that root runs."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs another user")
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, USER, USER)
        yield Path(name)


@contextmanager
def as_user() -> Iterator[None]:
    """Act as a user other than root; their programs can't read these sources on every machine."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(USER)
    os.seteuid(USER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


async def test_a_file_of_another_owner(
    portal: RunningPortal, folder_of_a_user: Path, caplog: pytest.LogCaptureFixture
) -> None:
    team = TeamServer(portal, folder_of_a_user)
    anna, path = team.add("anna"), team.people.path

    async def ready() -> dict[str, Any]:
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{team.url}/readyz")
            assert answer.status_code == 200
            return dict(answer.json())

    async with team.running(), team.client(anna) as client:
        os.chown(path, USER, USER)
        with as_user():
            assert "people" not in await ready()
        os.chown(path, 0, 0)
        with as_user():
            for _ in range(2):
                assert (await call_tool(client, "get_directory_items", entityId="SOURCE"))["total"]
            assert "people.jsonl cannot be read (Permission denied)" in (await ready())["people"]
        assert sum("Permission denied" in record.getMessage() for record in caplog.records) == 1
        os.chown(path, USER, USER)
        with as_user():
            assert "people" not in await ready()


def test_root_keeps_owner_group_and_mode(
    folder_of_a_user: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise the server could not read the file any more, nor its user change it."""
    path, lock = folder_of_a_user / "people.jsonl", folder_of_a_user / "people.jsonl.lock"
    monkeypatch.setenv("BITRIX24_PEOPLE", str(path))
    assert main(["person", "add", "anna"]) == 0  # a new file belongs to the folder's owner
    assert (path.stat().st_uid, path.stat().st_mode & 0o777) == (USER, 0o600)
    os.chown(path, USER, USER - 1)
    path.chmod(0o400)
    assert main(["person", "rotate", "anna"]) == 0
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (USER, USER - 1, 0o400)
    lock.unlink()
    assert main(["person", "add", "bert"]) == 0
    assert lock.stat().st_uid == USER
    with as_user():
        assert main(["person", "add", "carl"]) == 0
        assert main(["person", "list"]) == 0
    assert {line.partition(":")[0] for line in capsys.readouterr().out.splitlines()} >= set(NAMES)
    os.chown(path, 0, 0)
    with as_user():
        assert main(["person", "remove", "carl"]) == 1
    assert path.stat().st_uid == 0


def test_root_follows_no_link_to_make_the_lock(folder_of_a_user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITRIX24_PEOPLE", str(folder_of_a_user / "people.jsonl"))
    victim = folder_of_a_user / "victim"
    victim.touch()
    (folder_of_a_user / "people.jsonl.lock").symlink_to(victim)
    assert main(["person", "add", "anna"]) == 1
    assert victim.stat().st_uid == 0


def test_where_nobody_can_be_let_in_there_is_a_sentence(tokens: dict[str, str], tmp_path: Path) -> None:
    """Not 401, as no token is wrong; after the file is repaired, no restart is needed."""
    path = tmp_path / "people.jsonl"
    shutil.move(path, tmp_path / "elsewhere")
    with serving(tmp_path) as served:
        refused = served.call(tokens["anna"])
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert "can let nobody in" in refused.json()["error_description"]
        status, ready = served.ready()
        assert (status, ready["ready"]) == (503, False)
        assert ready["people"] == "people.jsonl cannot be read (No such file or directory); nobody is let in"
        assert sum("nobody is let in" in line for line in served.logged()) == 1
        shutil.copy(tmp_path / "elsewhere", path)
        assert served.let_in(tokens) == set(NAMES)
        assert served.ready()[0] == 200
        people = People(path)
        for name in NAMES:
            people.remove(name)
        assert served.call(tokens["anna"]).status_code == 503
        assert "person add" in served.ready()[1]["people"]


async def test_what_redacts_the_log_reads_no_file(
    portal: RunningPortal, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    team = TeamServer(portal, tmp_path)
    anna = team.add("anna")
    async with team.running():
        async with team.client(anna) as client:
            assert await call_tool(client, "get_directory_items", entityId="SOURCE")
        handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
        configure_logging("ERROR", Redactor(team.team.secrets))
        monkeypatch.setattr(Path, "stat", lambda *_args, **_kwargs: pytest.fail("the log was redacted by reading"))
        monkeypatch.setattr(os, "open", lambda *_args, **_kwargs: pytest.fail("the log was redacted by reading"))
        try:
            logging.getLogger("any").error("said %s", ADMIN_SECRET)
        finally:
            monkeypatch.undo()
            logging.basicConfig(handlers=handlers, level=level, force=True)
    assert "said ***" in capfd.readouterr().err


def test_when_one_of_thousands_changes_the_others_are_not_parsed_again(
    tokens: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 5,000 people every call would wait for it, 130 ms each time."""
    people, parsed = People(tmp_path / "people.jsonl"), list[bytes]()
    parse = people_module._person  # noqa: SLF001 - what takes the time

    def counted(text: bytes) -> Person | None:
        parsed.append(text)
        return parse(text)

    monkeypatch.setattr(people_module, "_person", counted)
    assert people.with_token(tokens["anna"])
    assert len(parsed) == 3
    token = people.rotate("bert")
    assert people.with_token(token) == people.with_name("bert")
    assert people.with_token(tokens["bert"]) is None
    assert len(parsed) == 4
    good = people.path.read_text()
    people.path.write_text("{}")
    people.look()
    _restored(people.path, good)
    assert people.with_token(token)
    assert len(parsed) == 5


def test_a_file_that_is_too_large_is_not_read_with_each_call(
    tokens: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = People(tmp_path / "people.jsonl")
    assert people.with_token(tokens["anna"])
    with people.path.open("ab") as file:
        file.write(b"#" * 10 * 2**20)
    monkeypatch.setattr(People, "_content", lambda *_: pytest.fail("it was read"))
    assert people.with_token(tokens["anna"])
    assert people.trouble == "people.jsonl has more than 10 MiB; those are let in who were before: 3"


def test_secrets_are_gathered_once_until_people_change(portal: RunningPortal, tmp_path: Path) -> None:
    from bitrix24_directories.team.team import Team

    server = TeamServer(portal, tmp_path)
    server.add("anna")
    team = Team(server.people, server.settings, None)
    server.people.look()
    assert team.secrets() is team.secrets()
    assert ADMIN_SECRET in team.secrets()
    server.add("bert", READER_SECRET)
    server.people.look()
    assert READER_SECRET in team.secrets()
    server.people.remove("bert")
    server.people.look()
    assert READER_SECRET not in team.secrets()


async def test_the_secret_of_who_is_taken_out_while_their_call_begins_stays_one(
    portal: RunningPortal, tmp_path: Path
) -> None:
    server = TeamServer(portal, tmp_path)
    server.add("anna")
    server.add("bert", READER_SECRET)
    async with server.running():
        bert = server.people.with_name("bert")
        assert bert is not None
        server.people.remove("bert")
        server.people.look()
        assert READER_SECRET not in server.team.secrets()
        async with server.team.session(request_of(bert), "test", ()):  # which calls the portal with it
            assert READER_SECRET in server.team.secrets()
