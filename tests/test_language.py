"""Language of texts: Russian too for a person in the terminal, English for an assistant."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitrix24_directories.cli import language
from bitrix24_directories.cli.configured import format_for_terminal
from bitrix24_directories.cli.language import phrases, say, spoken
from bitrix24_directories.cli.main import main
from bitrix24_directories.rest import CATALOGUE, Bitrix24Error, failure
from bitrix24_directories.settings import load_settings
from support import RunningPortal

PACKAGE = Path(__file__).parent.parent / "server" / "bitrix24_directories"
RUSSIAN = phrases("ru")
CYRILLIC = re.compile("[а-яё]", re.IGNORECASE)
Output = pytest.CaptureFixture[str]


@pytest.fixture
def russian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "ru_RU.UTF-8")


def skeleton(text: str) -> str:
    return re.sub(r"\{\w*\}", "{}", text)


def texts(node: ast.AST) -> Iterator[str]:
    """Texts in a piece of source, with {} for its variables."""
    for child in ast.walk(node):
        if isinstance(child, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in child.values)
            yield "".join(map(str, parts))
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value


def said_texts(path: Path) -> Iterator[str]:
    """Texts that a file passes to `say`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say" and node.args:
            argument = node.args[0]
            if isinstance(argument, ast.Constant | ast.JoinedStr):
                yield next(texts(argument))


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda path: path.name)
def test_all_that_is_said_is_said_in_russian(path: Path) -> None:
    skeletons = {skeleton(english) for english in RUSSIAN}
    assert {text for text in said_texts(path) if text not in skeletons} == set()


@pytest.mark.usefixtures("russian")
def test_every_error_is_said_in_russian() -> None:
    for kind, entry in CATALOGUE.items():
        text = format_for_terminal(failure(kind))
        happened, todo = text.split("\n→ ")
        assert CYRILLIC.search(happened), kind
        assert CYRILLIC.search(todo), kind
        assert entry.happened not in text
        of_a_team = format_for_terminal(failure(kind).for_a_team()).split("\n→ ")[1]
        assert CYRILLIC.search(of_a_team), kind


def test_nothing_is_in_the_file_that_nobody_says() -> None:
    sources = [ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")]
    every = "\n".join(text for source in sources for text in texts(source))
    rows = [row for entry in CATALOGUE.values() for row in (entry, entry.of_a_team)]
    parts = [part for row in rows for part in (row.happened, row.user_hint)]
    every += "\n".join(parts)

    def used(english: str) -> bool:
        pieces = [piece for part in re.split(r"\{\w*\}", english) if (piece := part.strip(" :.,"))]
        lowered = [pieces[0][:1].lower() + pieces[0][1:], *pieces[1:]]  # some begin with a small letter
        return all(piece in every for piece in pieces) or all(piece in every for piece in lowered)

    assert [english for english in RUSSIAN if not used(english)] == []


@pytest.mark.parametrize(("english", "russian"), RUSSIAN.items())
def test_both_have_the_same_parts_and_marks(english: str, russian: str) -> None:
    assert sorted(re.findall(r"\{\w*\}", english)) == sorted(re.findall(r"\{\w*\}", russian))
    marks = re.compile(r"`[^`]+`|BITRIX24_\w+|SSL_CERT_\w+|--[\w-]+|https?:")
    same_marks = sorted(marks.findall(russian)) == sorted(marks.findall(english))
    assert same_marks or "BITRIX24_PLAN=" in russian or re.search("[Cc]all (list_directories|check_record)", english)
    assert CYRILLIC.search(russian) or russian == english
    assert russian.strip() == russian


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "en"),
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru"}, "ru"),
        ({"LANG": "run"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "ru_RU"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "ru_RU.UTF-8", "BITRIX24_LANG": "en"}, "en"),
        ({"LANG": "de_DE.UTF-8", "BITRIX24_LANG": "RU"}, "ru"),
    ],
)
def test_the_systems_language_or_the_setting(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: str
) -> None:
    monkeypatch.delenv("LANG")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    language.choose(load_settings().lang)
    assert spoken() == expected


def test_a_setting_of_a_file_counts(tmp_path: Path, capsys: Output) -> None:
    (tmp_path / "portal.env").write_text("BITRIX24_LANG=ru\n")
    assert main(["check", "--demo", "--env-file", "portal.env"]) == 0
    assert "✓ связь: портал отвечает" in capsys.readouterr().out
    assert main(["check", "--demo"]) == 0
    assert "✓ reachability: the portal answers" in capsys.readouterr().out


def test_a_language_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITRIX24_LANG", "klingon")
    with pytest.raises(Bitrix24Error, match="BITRIX24_LANG must be en or ru"):
        load_settings()


@pytest.mark.usefixtures("russian")
def test_check_in_russian(capsys: Output) -> None:
    assert main(["check", "--demo"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "✓ настройки: вебхук https://demo.bitrix24.example/rest/1/…01/",
        "✓ связь: портал отвечает",
        "✓ авторизация: портал знает, кто обращается",
        "✓ право crm: есть",
        "✓ чтение: справочников: 19; в DEAL_STAGE элементов: 8",
    ]


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({}, "✗ настройки: Портал Битрикс24 не задан: нет BITRIX24_WEBHOOK_URL (NOT_CONFIGURED).\n  → Задайте в"),
        ({"BITRIX24_WEBHOOK_URL": '"https://x/"'}, "не адрес входящего вебхука: вокруг него стоят лишние кавычки"),
        ({"BITRIX24_TIMEOUT": "soon"}, "✗ настройки: BITRIX24_TIMEOUT: нужно число секунд от 0.1 до 3600"),
        ({"BITRIX24_CLIENT_ID": "app"}, "Приложение задано не полностью: нет BITRIX24_PORTAL_URL"),
        ({"BITRIX24_WEBHOOK_URL": "http://127.0.0.1:9/rest/1/abcdefgh1/"}, "✗ связь: По адресу портала никто не"),
    ],
)
@pytest.mark.usefixtures("russian")
def test_check_says_in_russian_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, variables: dict[str, str], part: str
) -> None:
    monkeypatch.setattr("bitrix24_directories.rest.limits.pacing.FIRST_PAUSE", 0.0)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["check"]) == 1
    printed = capsys.readouterr().out
    assert part in printed
    assert "→ " in printed
    assert "Tell the user" not in printed


@pytest.mark.usefixtures("russian")
def test_setup_in_russian(capsys: Output) -> None:
    assert main(["setup", "cursor"]) == 0
    printed = capsys.readouterr()
    assert "Для Cursor это нужно записать в " in printed.err
    assert "`bitrix24-directories-mcp setup cursor --write` запишет это туда вместе с секретом." in printed.err


@pytest.mark.usefixtures("russian")
def test_report_in_russian(tmp_path: Path, capsys: Output) -> None:
    main(["report", "contact.SOURCE_ID", "--demo", "--lang", "ru"])
    table = capsys.readouterr().out
    assert "название" in table
    assert "Посчитано то, что видит пользователь вебхука." in table
    main(["report", "contact.SOURCE_ID", "--demo", "--html", "report.html"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<html lang="ru">' in page
    assert "<h1>Коды в записях CRM</h1>" in page
    assert "нет в справочнике, возможно, WEB (Website)" in page
    main(["report", "contact.SOURCE_ID", "--demo", "--csv"])
    assert capsys.readouterr().out.splitlines()[-2].startswith('"SOURCE","Sources","BOOKING","Online booking","yes",')


@pytest.mark.usefixtures("russian")
def test_the_report_says_in_russian_what_it_cannot_do(capsys: Output) -> None:
    for arguments, part in (
        (
            ["NOPE"],
            "На этом портале нет справочника «NOPE» (UNKNOWN_DIRECTORY).\n→ Возьмите один из ближайших: COMPANY_TYPE",
        ),
        (["deal.TITLE"], "не использует коды справочника; его тип — string"),
        (["--html", "/no/such/folder/x.html"], "/no/such/folder/x.html нельзя записать: "),
    ):
        assert main(["report", "--demo", *arguments]) == 2
        assert part in capsys.readouterr().err
    assert main(["report", "--fault", "502"]) == 2
    assert "добавьте --demo" in capsys.readouterr().err


@pytest.mark.usefixtures("russian")
def test_what_an_assistant_reads_stays_english(
    portal: RunningPortal, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    main(["call", "get_directory_items", "entityId=NOPE"])
    assert not CYRILLIC.search(capsys.readouterr().err)
    main(["call", "get_directory_usage", "entityId=DEAL_STAGE", "--json"])
    assert not CYRILLIC.search(capsys.readouterr().out)


@pytest.mark.usefixtures("russian")
def test_parts_of_a_sentence_are_said_too() -> None:
    assert say("Not counted: deal.X cannot be counted") == "Не посчитано: deal.X посчитать нельзя"
    assert say("something that nobody has translated") == "something that nobody has translated"
