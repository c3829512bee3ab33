"""`report`: records of each code in the whole portal, as a table, JSON, CSV and HTML."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from bitrix24_directories.cli.main import main
from bitrix24_directories.portal.store import Directory, PortalError
from bitrix24_directories.text import INVISIBLE, quoted, shown_code
from support import RunningPortal, change_field, examples

Output = pytest.CaptureFixture[str]
HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
"""Characters that control a terminal or turn a text around.

A joiner between letters that need it is none of them.
"""
FORMULA = "=+-@＝＋－＠"


@pytest.fixture
def configured(portal: RunningPortal, monkeypatch: pytest.MonkeyPatch) -> RunningPortal:
    monkeypatch.setenv("BITRIX24_WEBHOOK_URL", portal.webhook_url())
    return portal


@pytest.fixture
def clean(configured: RunningPortal) -> RunningPortal:
    """A portal with no unknown codes."""
    records = configured.portal.store.records.all
    codes = {item.status_id.casefold() for item in configured.portal.store.of("SOURCE")}
    for key in [
        key for key, record in records.items() if str(record.get("sourceId") or "CALL").strip().casefold() not in codes
    ]:
        del records[key]
    return configured


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.usefixtures("configured")
def test_tables_and_the_exit_status(capsys: Output) -> None:
    assert main(["report", "COMPANY_TYPE"]) == 0
    table = capsys.readouterr().out
    assert "COMPANY_TYPE: Company types" in table
    assert "CUSTOMER" in table
    assert main(["report", "lead.SOURCE_ID"]) == 1  # records hold codes that SOURCE does not have
    output = capsys.readouterr().out
    assert '"website": not in the directory, perhaps WEB (Website)' in output


def test_the_whole_portal_as_json(configured: RunningPortal, capsys: Output) -> None:
    assert main(["report", "--json"]) == 1
    parts: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    by_id = {part["entityId"]: part for part in parts}
    assert len(parts) == 21
    assert by_id["deal.UF_CRM_1724"]["records"] == 120
    leads = configured.portal.store.records.of(1)
    assert by_id["STATUS"]["records"] == len(leads)
    assert sum(item["count"] for item in by_id["STATUS"]["items"]) == len(leads)
    why = "call list status cannot be counted: no REST method reads these records"
    assert by_id["CALL_LIST"]["partial"] == [why]


def test_counts_of_all_directories_share_their_requests(configured: RunningPortal, capsys: Output) -> None:
    main(["report", "--json"])
    commands = str(configured.portal.calls).count("crm.item.list")
    assert len(configured.portal.calls) <= 5 + -(-commands // 50) + 1
    capsys.readouterr()


def test_rows_for_a_spreadsheet(configured: RunningPortal, capsys: Output) -> None:
    configured.portal.store.add("SOURCE", "EVIL", '=HYPERLINK("http://x")')
    assert main(["report", "SOURCE", "--csv"]) == 1
    table = rows(capsys.readouterr().out)
    assert next(row for row in table if row["code"] == "EVIL")["name"] == '\'=HYPERLINK("http://x")'
    calls = [row for row in table if row["code"] == "CALL"]
    assert [row["field"] for row in calls][:2] == ["deal.SOURCE_ID", "deal.UF_CRM_1724077760"]
    leads = sum(lead["sourceId"] in ("CALL", "Call ") for lead in configured.portal.store.records.of(1))
    assert next(row["records"] for row in calls if row["field"] == "lead.SOURCE_ID") == str(leads)
    unknown = [row for row in table if row["in the directory"] == "no"]
    assert unknown
    assert all(row["first ids"] for row in unknown)


class Page(HTMLParser):
    """Tags of a page, and the text outside its style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_one_html_file(configured: RunningPortal, capsys: Output, tmp_path: Path) -> None:
    configured.portal.store.add("SOURCE", "EVIL", "<script>alert(1)</script><img src=x onerror=alert(1)>")
    assert main(["report", "--html", "report.html"]) == 1
    assert capsys.readouterr().out == "Written to report.html\n"
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "<script>alert(1)</script><img src=x onerror=alert(1)>" in page.texts
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "link", "iframe", "a"})
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "http://" not in text
    assert "https://" not in text
    bars = [attributes.get("style") or "" for tag, attributes in page.tags if tag == "span"]
    assert any("background:#7BD500" in style for style in bars)
    assert "default-src 'none'" in text


@pytest.mark.usefixtures("configured")
def test_what_cannot_be_done(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["report", "SOURCEX"]) == 2
    assert 'This portal has no directory "SOURCEX"' in capsys.readouterr().err
    assert main(["report", "SOURCE", "--html", "no/such/folder/report.html"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    monkeypatch.delenv("BITRIX24_WEBHOOK_URL")
    assert main(["report"]) == 2
    assert "BITRIX24_WEBHOOK_URL is not set" in capsys.readouterr().err


def test_a_directory_that_cannot_be_read(configured: RunningPortal, capsys: Output) -> None:
    configured.portal.refuse_in_batch["SOURCE"] = "Access denied."
    configured.order(method="crm.status.entity.items", code="", description="Access denied.")
    for shape, part in (([], "could not be counted"), (["--json"], "CRM_ACCESS_DENIED"), (["--csv"], "could not be")):
        assert main(["report", "SOURCE", "COMPANY_TYPE", *shape]) == 2
        printed = capsys.readouterr().out
        assert part in printed
        assert "HTTP 200" in printed or "--json" in shape  # with Bitrix24's name for it, not only with ours


SEPARATORS = ",;\t|\n"
odd = st.one_of(
    st.text(),
    st.text(
        st.sampled_from([*"=+-@;,|\t\r\n\"' A1", "\u202e", "\x1b", "\u2066", "\x9b", "\u200d", "\U000e0041", "＝"])
    ),
    st.sampled_from(["\x1b[31mred\x1b[0m", "\u202eevil", "a;=1+1", 'a\t"=1"', "=cmd|' /C calc'!A0", "</td><script>"]),
)


@pytest.mark.slow
@settings(max_examples=examples(20))
@given(codes=st.lists(odd, max_size=3, unique=True), name=odd, carried=odd, title=odd)
def test_hostile_codes_and_names_in_every_form(
    configured: RunningPortal, capsys: Output, tmp_path: Path, codes: list[str], name: str, carried: str, title: str
) -> None:
    store = configured.portal.store
    store.items = {key: item for key, item in store.items.items() if item.entity_id != "SOURCE"}
    for code in codes:
        store.add("SOURCE", code.strip() or "X", f"N{name}")
    change_field(configured.portal, 2, "UF_CRM_1724077760", title=title)
    store.directories = store.directories | {"SOURCE": Directory("SOURCE", f"D{title}")}
    for lead in store.records.of(1):
        lead["sourceId"] = carried
    stored = [item.status_id for item in store.of("SOURCE")]
    printed = {}
    for shape in ("", "--json", "--csv", "--html=report.html"):
        assert main(["report", "SOURCE", *filter(None, [shape])]) in (0, 1)
        printed[shape] = capsys.readouterr().out
    printed["--html=report.html"] = (tmp_path / "report.html").read_text(encoding="utf-8")
    for shape, text in printed.items():
        assert not HARMFUL.search(text.replace("\n", "")), shape
    for shape in ("--json", "--csv"):
        assert not INVISIBLE.search(printed[shape].replace("\n", "")), shape
    (part,) = json.loads(printed["--json"])
    assert [item["statusId"] for item in part["items"]] == stored
    for code in stored:
        assert f"{shown_code(code)}:" in printed[""]
        assert any(row["code"].replace("'", "") == shown_code(code).replace("'", "") for row in rows(printed["--csv"]))
    for group in part.get("unknown", []):
        assert f"{quoted(group['code'])}:" in printed[""]
    _check_csv(printed["--csv"])
    page = Page(printed["--html=report.html"])
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "link", "iframe", "a"})


def _check_csv(text: str) -> None:
    """Assert that each cell is quoted, and none begins like a formula, with any separator."""
    lines = list(csv.reader(io.StringIO(text), strict=True))
    assert {len(line) for line in lines} == {8}
    again = io.StringIO()
    csv.writer(again, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(lines)
    assert again.getvalue() == text
    for separator in SEPARATORS:
        for cell in text.split(separator):
            bare = cell.lstrip("\"' ")
            assert not bare.startswith(tuple(FORMULA)) or "'" in cell[: len(cell) - len(bare)]
    for line in lines:
        for cell in line:
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def lines_of(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


@pytest.mark.usefixtures("configured")
def test_the_terminal_ends_with_a_summary(capsys: Output) -> None:
    main(["report", "SOURCE", "COMPANY_TYPE", "CALL_LIST"])
    text = capsys.readouterr().out
    summary = " ".join(text[text.index("127.0.0.1") :].split())
    assert re.fullmatch(
        r"127\.0\.0\.1:\d+, \d{4}-\d\d-\d\d \d\d:\d\d: 3 codes that no directory has, in 10 records: SOURCE 3 "
        "Not counted, for no REST method reads the records: CALL_LIST",
        summary,
    )


def test_a_record_that_may_be_counted_twice_is_not_said_to_be_two(configured: RunningPortal, capsys: Output) -> None:
    records = configured.portal.store.records
    deal = records.of(2)[0]
    records.all = {(2, deal["id"]): deal | {"sourceId": "GONE", "ufCrm_1724077760": "GONE"}}
    main(["report", "SOURCE"])
    assert "1 code that no directory has, in up to 2 records: SOURCE 1" in " ".join(capsys.readouterr().out.split())


def test_the_summary_is_red_where_colours_are_on(
    configured: RunningPortal, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    main(["report", "lead.SOURCE_ID"])
    assert re.search(r"\x1b\[31m127\.0\.0\.1", capsys.readouterr().out)
    configured.portal.store.records.all = {}
    main(["report", "lead.SOURCE_ID"])
    assert "\x1b[31m" not in capsys.readouterr().out


def test_the_terminal_breaks_no_word_at_80_columns(configured: RunningPortal, capsys: Output) -> None:
    code, name = "UC_" + "LONG" * 11, "Messe in Niederösterreich-Süd 展览会 " + "wort" * 15 + " kurz" * 30
    configured.portal.store.add("SOURCE", code, name)
    main(["report"])
    lines = lines_of(capsys.readouterr().out)
    assert any(f"{code}:" in line for line in lines)
    (item,) = (item for item in configured.portal.store.of("SOURCE") if item.status_id == code)
    for word in item.name[:90].split()[:-1]:
        assert any(word in line.split() for line in lines), word
    assert all(cell_len(line) <= 80 or len(line.split()) == 1 for line in lines)


@pytest.mark.usefixtures("configured")
def test_what_a_person_knows_stands_beside_the_id(capsys: Output) -> None:
    main(["report", "SOURCE"])
    text = " ".join(capsys.readouterr().out.split())
    assert "item(177).sourceId (Equipment rental)" in text
    assert "item(31).sourceId (invoice): 336, 355" in text


def test_the_exit_status(clean: RunningPortal, capsys: Output) -> None:
    assert main(["report", "SOURCE"]) == 0
    assert "no record carries a code that its directory does not have" in " ".join(capsys.readouterr().out.split())
    clean.portal.store.records.of(1)[0]["sourceId"] = "GONE"
    assert main(["report", "SOURCE"]) == 1

    def refuse(method: str, params: Mapping[str, Any]) -> None:
        if method == "crm.item.list" and str(params["entityTypeId"]) == "3":
            raise PortalError("Access denied.", code="ACCESS_DENIED")

    clean.portal.meanwhile = refuse
    for shape in ("--csv", "--json", "--html=x.html", ""):
        assert main(["report", "SOURCE", *filter(None, [shape])]) == 2, shape
    text = " ".join(capsys.readouterr().out.split())
    assert "Could not be counted, or not in full: SOURCE" in text


@pytest.mark.usefixtures("configured")
def test_a_list_that_no_method_reads(capsys: Output, tmp_path: Path) -> None:
    for shape in ("--csv", "--html=report.html", "--json", ""):
        assert main(["report", "CALL_LIST", *filter(None, [shape])]) == 0
    assert "no REST method reads these records" in " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "no REST method reads the records: CALL_LIST" in page
    assert main(["report", "SMART_DOCUMENT_STAGE_5"]) == 0  # stages that are switched off
    text = " ".join(capsys.readouterr().out.split())
    assert "no field of a record takes these codes" in text
    assert "REST method" not in text


def test_the_page_begins_with_the_summary_and_its_shares_are_shares(
    configured: RunningPortal, capsys: Output, tmp_path: Path
) -> None:
    main(["report", "lead.SOURCE_ID", "--html", "report.html"])
    capsys.readouterr()
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.index("1 code that no directory has, in 1 record: SOURCE 1") < text.index("<table>")
    leads = [lead["sourceId"] for lead in configured.portal.store.records.of(1) if lead["sourceId"]]
    shares = [float(share) for share in re.findall(r"<small>([\d.]+) %</small>", text)]
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", text.partition("</style>")[2])]
    assert shares == widths
    assert 99 < sum(shares) < 101
    calls = sum(source.strip().upper() == "CALL" for source in leads)
    assert f"<small>{100 * calls / len(leads):.1f} %</small>" in text
