"""`serve --http` and `person` on the command line, as an administrator uses them."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import httpx
import pytest

from bitrix24_directories.cli.main import main
from bitrix24_directories.mcp_server.scopes import READING, SCOPES
from bitrix24_directories.team.people import People, Person
from support import ADMIN_SECRET, READER_SECRET, STRANGER_SECRET, TASKS_ONLY_SECRET, RunningPortal

CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "get_directory_items", "arguments": {"entityId": "DEAL_STAGE", "fresh": True}},
}
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "people.jsonl"
    monkeypatch.setenv("BITRIX24_PEOPLE", str(path))
    return path


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_people_come_and_go(
    people: Path, portal: RunningPortal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("webhook.txt").write_text(f"{portal.webhook_url()}\n")
    code, token, _ = run(capsys, "person", "add", "anna", "--webhook-file", "webhook.txt", "--write")
    assert code == 0
    assert re.fullmatch(r"b24d_[\w-]{43}\n", token)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"\ufeff{portal.webhook_url()}"))
    assert run(capsys, "person", "add", "bert", "--webhook-file", "-")[0] == 0
    assert run(capsys, "person", "add", "carl")[0] == 0
    assert run(capsys, "person", "add", "dora", "--oauth", "--write")[0] == 0
    _, table, note = run(capsys, "person", "list")
    webhook = f"(webhook of user 1 on {portal.address}/rest/)"
    now = datetime.now(UTC)
    today = {(now - timedelta(minutes=minutes)).strftime("; created %Y-%m-%d %H:%M UTC") for minutes in (0, 1)}
    lines = table.splitlines()
    assert {line[line.index("; ") :] for line in lines} <= today
    assert [line.partition("; ")[0] for line in lines] == [
        f"anna: directories:read directories:write records:read records:write {webhook}",
        f"bert: directories:read records:read {webhook}",
        "carl: directories:read records:read (shared)",
        "dora: directories:read directories:write records:read records:write (application)",
    ]
    assert "demoadmin" not in table
    assert note == "When people called last is kept where BITRIX24_AUDIT_LOG or BITRIX24_REDIS_URL is set.\n"
    _, other, _ = run(capsys, "person", "rotate", "anna")
    assert other != token
    with_another = [line for line in run(capsys, "person", "list")[1].splitlines() if line not in lines]
    assert [re.sub(r"; token of 20\d\d-\d\d-\d\d \d\d:\d\d UTC$", "", line) for line in with_another] == [lines[0]]
    assert run(capsys, "person", "remove", "anna")[0] == 0
    code, _, why = run(capsys, "person", "remove", "anna")
    assert (code, why) == (1, "there is no anna\n")
    assert token.strip() not in people.read_text()


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["add", "anna", "--write"], 2, "people only read: give --webhook-file"),
        (["add", "anna", "--webhook-file", "none.txt"], 2, "none.txt cannot be read"),
        (["add", "anna", "--webhook-file", "wrong.txt"], 2, "holds no inbound webhook's URL"),
        (["add", "anna", "--oauth", "--webhook-file", "wrong.txt"], 2, "have no webhook of their own"),
        (["add", "a b"], 1, "a name has 1 to 64"),
        (["list"], 1, "people.jsonl cannot be read"),
    ],
)
def test_what_is_refused(
    people: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, words: str
) -> None:
    Path("wrong.txt").write_text("https://secretsecret.example")
    returned, _, message = run(capsys, "person", *argv)
    assert returned == code
    assert words in message
    assert "secretsecret" not in message
    assert not people.exists()


def people_of(path: Path) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in map(json.loads, path.read_text().splitlines())}


def test_another_webhook_and_other_scopes_leave_the_token(
    people: Path, portal: RunningPortal, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "person", "add", "carl")
    run(capsys, "person", "add", "dora", "--oauth")
    before = people_of(people)
    assert run(capsys, "person", "scopes", "carl", "--write") == (
        1, "", "carl has no webhook; through the shared one people only read. Give them one with `webhook` first.\n",
    )  # fmt: skip
    Path("webhook.txt").write_text(portal.webhook_url())
    for name in ("carl", "dora"):
        assert run(capsys, "person", "webhook", name, "--webhook-file", "webhook.txt") == (0, "", "")
        assert run(capsys, "person", "scopes", name, "--write") == (0, "", "")
    after = people_of(people)
    assert {line["webhook"] for line in after.values()} == {portal.webhook_url()}
    assert [line["scopes"] for line in after.values()] == [[*SCOPES]] * 2
    assert [line["token"] for line in after.values()] == [line["token"] for line in before.values()]
    assert run(capsys, "person", "scopes", "carl", "--read-only")[0] == 0
    assert people_of(people)["carl"]["scopes"] == [*READING]
    assert [person.acts_alone for person in read_people(people)] == [True, True]
    for command in (["webhook", "eva", "--webhook-file", "webhook.txt"], ["scopes", "eva", "--read-only"]):
        assert run(capsys, "person", *command) == (1, "", "there is no eva\n")


def read_people(path: Path) -> list[Person]:
    registry = People(path)
    registry.make_sure()
    assert not registry.trouble
    return [*registry.all()]


@pytest.mark.parametrize("command", ["add", "webhook"])
def test_a_webhook_that_the_portal_refuses_is_not_taken(
    people: Path, portal: RunningPortal, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    if command == "webhook":
        run(capsys, "person", "add", "anna")
    before = people.read_text() if people.exists() else ""
    Path("webhook.txt").write_text(portal.webhook_url("wrongwebhook0001"))
    argv = ["person", command, "anna", "--webhook-file", "webhook.txt"]
    code, out, message = run(capsys, *argv)
    assert (code, out) == (1, "")
    assert message.startswith(
        "anna's webhook is not taken, for the portal refuses it: The portal does not know this webhook"
    )
    assert "`bitrix24-directories-mcp person webhook NAME`" in message
    assert message.endswith("With --unchecked it is taken all the same.\n")
    assert not [word for word in ("BITRIX24_WEBHOOK_URL", "claude", "wrongwebhook") if word in message]
    assert (people.read_text() if people.exists() else "") == before
    assert portal.methods_called.count("crm.status.entity.types") <= 1
    assert run(capsys, *argv, "--unchecked")[0] == 0
    assert "wrongwebhook0001" in people.read_text()


def test_who_may_not_read_is_refused(people: Path, portal: RunningPortal, capsys: pytest.CaptureFixture[str]) -> None:
    for secret in (STRANGER_SECRET, TASKS_ONLY_SECRET):
        Path("webhook.txt").write_text(portal.webhook_url(secret))
        assert run(capsys, "person", "add", "anna", "--webhook-file", "webhook.txt")[0] == 1
    assert not people.exists()


@pytest.mark.usefixtures("no_pauses")
def test_a_webhook_that_cannot_be_tried_is_taken_with_a_warning(
    people: Path, portal: RunningPortal, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("webhook.txt").write_text("http://127.0.0.1:9/rest/1/nobodythere00001/")
    code, token, message = run(capsys, "person", "add", "anna", "--webhook-file", "webhook.txt")
    assert (code, token[:5]) == (0, "b24d_")
    assert message.startswith(
        "anna's webhook is taken, but could not be tried: Nothing answers at the portal's address"
    )
    portal.order(status=503, echo=True)
    Path("webhook.txt").write_text(portal.webhook_url())
    code, _, message = run(capsys, "person", "add", "bert", "--webhook-file", "webhook.txt")
    assert code == 0
    assert message.startswith("bert's webhook is taken, but could not be tried: ")
    assert ADMIN_SECRET not in message
    assert [person.name for person in read_people(people)] == ["anna", "bert"]


BROKEN = b'{oops "\xff"'


def test_a_line_that_is_broken_stays_as_it_is_while_others_are_changed(
    people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise nobody could be removed before it is repaired; it may be a person's line."""
    odd = b'{"name":"odd","note":"\\ud83d",  "big":1' + b"0" * 5000 + b"}"
    run(capsys, "person", "add", "anna")
    people.write_bytes(b"# those of the office\r\n\r\n" + people.read_bytes() + BROKEN + b"\n" + odd)
    message = (
        "lines 4, 5 of people.jsonl: no person's, or another one's too: correct or delete it; all others are let in\n"
    )
    code, token, note = run(capsys, "person", "add", "bert")
    assert (code, note) == (0, message)
    assert run(capsys, "person", "rotate", "anna")[::2] == (0, message)
    comment, blank, anna, *rest = people.read_bytes().splitlines()
    assert (comment, blank, rest[:2]) == (b"# those of the office", b"", [BROKEN, odd])
    assert run(capsys, "person", "list")[2].count(message) == 1
    assert run(capsys, "person", "remove", "anna")[0] == 0
    assert anna not in people.read_bytes()
    assert People(people).with_token(token.strip()) is not None


def test_who_has_a_line_that_is_no_persons_can_be_taken_out_or_put_right(
    people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "person", "add", "zoe")
    with people.open("ab") as file:
        file.write(
            b'{"name": "a b", "note": "\\ud83d"}\n{"name": "eva", "token": "", "scopes": 5, "note": "\\ud83d"}\n'
        )
    assert run(capsys, "person", "remove", "a b")[0] == 0
    assert run(capsys, "person", "scopes", "eva", "--read-only") == (0, "", "")
    assert [person.name for person in read_people(people)] == ["zoe", "eva"]
    assert b"ud83d" in people.read_bytes()


def test_a_file_that_is_another_one_is_not_changed(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    people.touch(mode=0o600)
    for content in (b"name,token\nanna,b24d_x\n", BROKEN, "{}".encode("utf-16")):
        people.write_bytes(content)
        code, _, message = run(capsys, "person", "add", "anna")
        assert (code, message) == (1, f"no line of {people} is a person's; mend it first\n")
        assert people.read_bytes() == content


def test_a_file_that_is_too_large_loses_nobody(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "person", "add", "anna")
    content = b"#" * 10 * 2**20 + b"\n" + people.read_bytes()
    people.write_bytes(content)
    for command in (["add", "bert"], ["remove", "anna"], ["list"]):
        assert run(capsys, "person", *command) == (1, "", f"{people} has more than 10 MiB\n")
    assert people.read_bytes() == content
    people.write_bytes(content[-(10 * 2**20 - 9) :])  # one more person would make it too large
    assert run(capsys, "person", "add", "bert") == (1, "", f"{people} cannot be written (File too large)\n")
    assert len(people.read_bytes()) == 10 * 2**20 - 9


def test_a_link_is_not_replaced(
    people: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server may read the link's target, and would go on letting in a removed person."""
    run(capsys, "person", "add", "anna")
    people.rename("real.jsonl")
    people.symlink_to("real.jsonl")
    code, _, message = run(capsys, "person", "remove", "anna")
    assert (code, message) == (1, f"{people} is a link: BITRIX24_PEOPLE has to name the file itself\n")
    assert people.is_symlink()
    assert run(capsys, "person", "list")[0] == 0
    monkeypatch.setattr(Path, "is_symlink", lambda _: False)  # as if the link came a moment later
    assert run(capsys, "person", "remove", "anna")[0] == 1
    monkeypatch.undo()
    assert people.is_symlink()


def test_the_last_one_leaves_a_file_that_is_not_empty(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty file may be half-written: for such a file the server keeps the people of before."""
    run(capsys, "person", "add", "anna")
    server = People(people)
    assert server.with_name("anna")
    assert run(capsys, "person", "remove", "anna") == (
        0, "", "people.jsonl names nobody: `bitrix24-directories-mcp person add NAME`\n",
    )  # fmt: skip
    assert not server.with_name("anna")
    assert people.read_text() == "# nobody\n"
    assert run(capsys, "person", "add", "bert")[0] == 0
    assert "nobody" not in people.read_text()
    people.write_bytes(people.read_bytes() + BROKEN)
    assert server.with_name("bert")
    assert run(capsys, "person", "remove", "bert")[0] == 0
    assert not server.with_name("bert")


URL = "https://portal.example/rest/1/secretsecret0001/"


@pytest.mark.parametrize(
    "argv",
    [
        ["person", "add", "anna", "--webhook-file", URL],
        ["person", "add", "anna", "--webhook-file", URL.removeprefix("https://")],
        ["person", "webhook", "anna", "--webhook-file", URL],
        ["person", "webhook", "anna", URL],
        ["person", "webhook", URL, "--webhook-file", "webhook.txt", "--unchecked"],
        ["person", "add", URL, "--webhook-file", "webhook.txt"],
        ["person", "rotate", URL],
        ["person", "remove", URL],
        ["person", "add", "anna", "--webhook-file", URL.removeprefix("https://portal.example/")],
        ["person", "add", "anna", "--webhook-file", quote(URL, safe="")],
        ["person", "add", "anna", "--webhook-file", quote(URL.removeprefix("https://"), safe="")],
        ["person", "add", "anna", URL],
        ["person", URL],
        ["person", "import", URL, "--tokens", "tokens.csv"],
        ["person", "import", "people.csv", "--tokens", URL],
        ["person", "list", "--env-file", URL],
        ["serve", "--http", "0", URL],
    ],
)
@pytest.mark.usefixtures("people")
def test_a_url_in_the_place_of_a_file_is_not_printed_back(capsys: pytest.CaptureFixture[str], argv: list[str]) -> None:
    Path("people.csv").write_text("name,webhook,write\nanna,,no\n")
    Path("webhook.txt").write_text("https://portal.example/rest/1/anothercode00001/")
    try:
        code = main(argv)
    except SystemExit as exc:
        code = int(str(exc.code))
    captured = capsys.readouterr()
    assert code != 0
    assert captured.err
    assert "secretsecret" not in captured.out + captured.err


class TestImport:
    """Import of a whole CSV, or of nobody."""

    def give(self, capsys: pytest.CaptureFixture[str], text: str, *more: str) -> tuple[int, str, str]:
        Path("people.csv").write_text(text, encoding="utf-8-sig")
        return run(capsys, "person", "import", "people.csv", "--tokens", "tokens.csv", *more)

    def test_everybody_gets_a_token(
        self, people: Path, portal: RunningPortal, capsys: pytest.CaptureFixture[str]
    ) -> None:
        own, other = portal.webhook_url(), portal.webhook_url(READER_SECRET)
        run(capsys, "person", "add", "zoe")
        code, out, message = self.give(capsys, f"name,webhook,write\nanna,{own},yes\nbert,{other},no\ncarl,,\n")
        assert (code, out) == (0, "")
        assert message == "People added: 3. Their tokens are in tokens.csv, readable by you only.\n"
        assert portal.methods_called == ["crm.status.entity.types"] * 2
        written = Path("tokens.csv")
        assert written.stat().st_mode & 0o777 == 0o600
        head, *rows = written.read_text().splitlines()
        assert head == "name,token"
        tokens = dict(row.split(",") for row in rows)
        registry = People(people)
        assert [registry.with_token(token) for token in tokens.values()] == [
            registry.with_name(name) for name in tokens
        ]
        assert [(person.name, person.scopes, person.webhook is not None) for person in registry.all()] == [
            ("zoe", READING, False), ("anna", SCOPES, True), ("bert", READING, True), ("carl", READING, False),
        ]  # fmt: skip
        assert not any(token in people.read_text() for token in tokens.values())

    @pytest.mark.parametrize("head", ["write;name;webhook", "name,webhook,write", "Name, Webhook ,WRITE"])
    def test_as_spreadsheets_write_it(self, people: Path, capsys: pytest.CaptureFixture[str], head: str) -> None:
        row = "No;anna;" if ";" in head else 'anna,"",NO'
        assert self.give(capsys, f"{head}\r\n{row}\r\n\r\n")[0] == 0
        assert [person.name for person in read_people(people)] == ["anna"]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "people.csv needs the columns name,webhook,write in its first line"),
            ("name,webhook\nanna,\n", "people.csv needs the columns"),
            ("name,webhook,write,write\nanna,,no,no\n", "people.csv needs the columns"),
            ("x" * 200_000, "people.csv is no CSV"),
            (f'name,webhook,write\nanna,"{"x" * 200_000}",no\n', "people.csv is no CSV"),
            ("name,webhook,write\n", "people.csv names nobody"),
            ("name,webhook,write\nanna,,no\na b,,no\n", "Line 3 of people.csv: a name has 1 to 64"),
            (f"name,webhook,write\n{URL},anna,no\n", "Line 2 of people.csv: a name has 1 to 64"),
            (f"name,webhook,write\nanna,no,{URL}\n", "Line 2 of people.csv: write is yes or no"),
            ("name,webhook,write\nanna,https://x/secretsecret/,no\n", "Line 2 of people.csv: its path is not /rest/"),
            ("name,webhook,write\nanna,,yes\n", "Line 2 of people.csv: through the shared webhook people only read"),
            ("name,webhook,write\nanna,,no,more\n", "Line 2 of people.csv: it has more or fewer columns"),
            ("name,webhook,write\nanna\n", "Line 2 of people.csv: it has more or fewer columns"),
            ("name,webhook,write\nanna,,no\nanna,,no\n", "anna is there already"),
            ("name,webhook,write\nanna,,no\nzoe,,no\n", "zoe is there already"),
        ],
    )
    def test_one_wrong_line_lets_nobody_in(
        self, people: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
    ) -> None:
        run(capsys, "person", "add", "zoe")
        before = people.read_text()
        code, _, message = self.give(capsys, text, "--unchecked")
        assert code != 0
        assert words in message
        assert "secretsecret" not in message
        assert people.read_text() == before
        assert not Path("tokens.csv").exists()

    def test_one_refused_webhook_lets_nobody_in(
        self, people: Path, portal: RunningPortal, capsys: pytest.CaptureFixture[str]
    ) -> None:
        wrong = portal.webhook_url("wrongwebhook0001")
        text = f"name,webhook,write\nanna,{portal.webhook_url()},no\nbert,{wrong},no\n"
        code, _, message = self.give(capsys, text)
        assert (code, message.partition(" ")[0]) == (1, "bert's")
        assert not people.exists()
        assert not Path("tokens.csv").exists()
        assert self.give(capsys, text, "--unchecked")[0] == 0
        assert len(read_people(people)) == 2

    def test_never_over_a_file(self, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("tokens.csv").symlink_to("nowhere")
        code, _, message = self.give(capsys, "name,webhook,write\nanna,,no\n")
        assert (code, message[:32]) == (2, "tokens.csv is there already, and")
        assert not people.exists()
        Path("tokens.csv").unlink()
        Path("people.csv").write_text("name,webhook,write\nanna,,no\n")
        code, _, message = run(capsys, "person", "import", "people.csv", "--tokens", "no/tokens.csv")
        assert (code, message) == (1, "no/tokens.csv cannot be written: No such file or directory\n")
        assert not people.exists()

    def test_tokens_have_a_file_of_their_own(self, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
        Path("people.csv").write_text("name,webhook,write\nanna,,no\n")
        code, _, message = run(capsys, "person", "import", "people.csv", "--tokens", f"./{people.name}")
        assert (code, message) == (2, "The tokens need a file of their own: BITRIX24_PEOPLE names this one.\n")
        assert not people.exists()

    def test_no_webhook_is_tried_for_a_name_that_is_taken(
        self, people: Path, portal: RunningPortal, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run(capsys, "person", "add", "zoe")
        before = people.read_text()
        own = portal.webhook_url()
        code, _, message = self.give(capsys, f"name,webhook,write\nanna,{own},no\nzoe,{own},no\n")
        assert (code, message.partition(":")[0]) == (1, "zoe is there already")
        assert (portal.methods_called, people.read_text()) == ([], before)

    def test_where_the_file_of_people_cannot_be_written_no_tokens_stay(
        self, people: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: Any) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(People, "_replace", full)
        code, _, message = self.give(capsys, "name,webhook,write\nanna,,no\n")
        assert (code, "No space left" in message) == (1, True)
        assert not Path("tokens.csv").exists()
        assert not people.exists()


def test_in_russian(
    people: Path, portal: RunningPortal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "ru_RU.UTF-8")
    Path("webhook.txt").write_text(portal.webhook_url("wrongwebhook0001"))
    message = run(capsys, "person", "add", "anna", "--webhook-file", "webhook.txt")[2]
    assert message.startswith(
        "Вебхук для anna не принят, портал его не пускает: Портал не знает этого вебхука или токена"
    )
    assert "администратор этого сервера запишет его адрес командой" in message
    assert run(capsys, "person", "add", "anna")[0] == 0
    assert run(capsys, "person", "add", "anna")[2].startswith("anna уже есть: `rotate` даст другой токен")
    assert run(capsys, "person", "remove", "eva")[2] == "eva здесь нет\n"
    assert "; добавлен 2" in run(capsys, "person", "list")[1]
    people.chmod(0o644)
    assert run(capsys, "person", "list")[2] == f"{people} могут читать другие: нужны права 0600\n"


def test_without_a_file_of_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "person", "list") == (2, "", "Which file holds the people? Name it in BITRIX24_PEOPLE.\n")


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("0.0.0.0:0", "Beyond this machine everybody has to say who they are"),
        ("x", "--http takes a port"),
        (":8080", "--http takes a port"),
        ("127.0.0.1:99999", "--http takes a port"),
        ("192.0.2.1:0", "Beyond this machine"),
    ],
)
def test_what_is_not_served(capsys: pytest.CaptureFixture[str], where: str, words: str) -> None:
    code, _, message = run(capsys, "serve", "--http", where, "--demo")
    assert code != 0
    assert words in message


def test_a_redis_that_cannot_be_reached_at_start(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    People(people).add("anna", SCOPES, None)
    monkeypatch.setenv("BITRIX24_REDIS_URL", "redis://127.0.0.1:1/0")
    code, _, message = run(capsys, "serve", "--http", "0", "--demo")
    assert code == 1
    assert message.endswith("The Redis that BITRIX24_REDIS_URL names cannot be reached\n")
    assert "Traceback" not in message


@contextmanager
def serve(portal: RunningPortal) -> Iterator[tuple[subprocess.Popen[str], str]]:
    environment = os.environ | {"BITRIX24_WEBHOOK_URL": portal.webhook_url(), "BITRIX24_LOG_LEVEL": "DEBUG"}
    command = [sys.executable, "-m", "bitrix24_directories", "serve", "--http", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if match := re.search(r"Serving MCP on (\S+)", line):
                yield process, match[1]
                break
        process.kill()


@pytest.mark.slow
async def test_sigterm_lets_calls_finish_and_shows_no_secret(portal: RunningPortal) -> None:
    with serve(portal) as (process, url):
        async with httpx.AsyncClient(timeout=20, headers=ACCEPT) as http:
            assert (await http.post(url, json=CALL)).status_code == 200
            assert (await http.post(url, content=b"[" * 100_000)).status_code == 400
            fault = portal.order(method="crm.status.entity.items", delay=1.5, times=1)
            answers: list[str] = []

            async def ask() -> None:
                answers.append((await http.post(url, json=CALL)).text)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask)
                with anyio.fail_after(10):
                    while fault.times:  # noqa: ASYNC110 - until the portal has the call
                        await anyio.sleep(0.05)
                process.send_signal(signal.SIGTERM)
        assert "PREPARATION" in answers[0]
        assert process.stderr is not None
        logs = await anyio.to_thread.run_sync(process.stderr.read)
        assert process.wait(timeout=10) == 0
    assert "demoadmin" not in logs
