"""Certain matches: a code in any notation, or a whole name; and phrases never certain."""

from __future__ import annotations

import pytest

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.directories.notation import item_line
from bitrix24_directories.finding.matching import Matcher
from bitrix24_directories.finding.names import without_common_marks
from bitrix24_directories.text import shown_code
from bitrix24_directories.words import name_key

PIPELINES = {
    "DEAL_STAGE": ["NEW: New", "PREPARATION: Preparation", "WON: Deal Won"],
    "DEAL_STAGE_1": ["C1:NEW: Request received", "C1:WON: Deal Won", "C1:UC_9F4K2L: Shipping 🚚"],
    "DEAL_STAGE_14": ["C14:NEW: New", "C14:WON: Deal Won"],
    "DEAL_STAGE_20": ["C20:NEW: Start", "C20:PREPAYMENT_INVOIC: Prepayment"],
    "DYNAMIC_177_STAGE_7": ["DT177_7:CLIENT: With the client", "DT177_7:NEW: Start"],
    "DYNAMIC_1062_STAGE_5": ["DT1062_5:CLIENT: At the client's", "DT1062_5:NEW: Begin"],
    "SOURCE": ["CALL: Call", "16|WZ_CHAT: Chat", "Лесное дело: Forestry", "UC_C0LD01: Cold call"],
}


def matcher_of(*entity_ids: str) -> Matcher:
    contents = []
    for entity_id in entity_ids or PIPELINES:
        items: list[Item] = []
        for line in PIPELINES[entity_id]:
            code, _, name = line.rpartition(": ")
            items.append(Item(status_id=code, name=name, sort=10 * (len(items) + 1)))
        contents.append((Directory(entity_id=entity_id, name=entity_id, kind="list"), items))
    return Matcher(contents)


def codes(text: str, *entity_ids: str) -> list[str]:
    """Codes that `text` certainly means; several if they cannot be told apart."""
    return [entry.item.status_id for entry in matcher_of(*entity_ids).fits(text)]


def of_names(text: str, *names: str) -> list[str]:
    items = [Item(status_id=f"UC_{index}", name=name, sort=index) for index, name in enumerate(names)]
    return [
        entry.item.name for entry in Matcher([(Directory(entity_id="ANY", name="Any", kind="list"), items)]).fits(text)
    ]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("C1:WON", "C1:WON"),
        ("c1:won", "C1:WON"),
        (" C1:WON ", "C1:WON"),
        ('"C1:WON"', "C1:WON"),
        ("C1:WON: Deal Won", "C1:WON"),
        ("C1:WON: Deal Won [success] #7BD500 (id 40, system)", "C1:WON"),
        ("C1:WON (Deal Won)", "C1:WON"),
        ("C1:WON (Deal Won) in DEAL_STAGE_1 [this code]", "C1:WON"),
        ("UC_9F4K2L", "C1:UC_9F4K2L"),
        ("16|WZ_CHAT: Chat", "16|WZ_CHAT"),
        ("лесное дело", "Лесное дело"),
        ('"Лесное дело": Forestry', "Лесное дело"),
        # nearly right
        ("C0:PREPARATION", "PREPARATION"),
        ("C20:PREPAYMENT_INVOICE", "C20:PREPAYMENT_INVOIC"),
        ("PREPAYMENT_INVOICE", "C20:PREPAYMENT_INVOIC"),
        ("С14:NEW", "C14:NEW"),
        ("C14: NEW", "C14:NEW"),
        ("C14_NEW", "C14:NEW"),
        ("c14 new", "C14:NEW"),
        ("DEAL_STAGE_14:NEW", "C14:NEW"),
        ("DEAL_STAGE:WON", "WON"),
        ("DT1062:CLIENT", "DT1062_5:CLIENT"),
        ("DT1062_5: CLIENT", "DT1062_5:CLIENT"),
        ("DYNAMIC_177_STAGE_7:CLIENT", "DT177_7:CLIENT"),
        ("SOURCE: CALL", "CALL"),
        ("SОURCE:САLL", "CALL"),  # with Cyrillic letters
    ],
)
def test_codes(text: str, code: str) -> None:
    assert codes(text) == [code]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("WON", ["WON", "C1:WON", "C14:WON"]),
        ("won", ["WON", "C1:WON", "C14:WON"]),
        ("Deal Won", ["WON", "C1:WON", "C14:WON"]),
        ("CLIENT", ["DT177_7:CLIENT", "DT1062_5:CLIENT"]),
    ],
)
def test_several(text: str, expected: list[str]) -> None:
    assert codes(text) == expected


@pytest.mark.parametrize(
    ("text", "entity_id", "code"),
    [("WON", "DEAL_STAGE_1", "C1:WON"), ("NEW", "DEAL_STAGE", "NEW"), ("New", "DEAL_STAGE_14", "C14:NEW")],
)
def test_without_prefix_in_the_named_pipeline(text: str, entity_id: str, code: str) -> None:
    assert codes(text, entity_id) == [code]


@pytest.mark.parametrize(
    "text",
    [
        "C1:WON: Deal Lost",
        "C1:WON (Request received)",
        "C7:WON",
        "C14:UC_9F4K2L",
        "DT9:CLIENT",
        "40",
        "Won",
        "deal",
        "C1:",
        ":",
        "",
    ],
)
def test_no_code(text: str) -> None:
    assert codes(text, "DEAL_STAGE_1", "DYNAMIC_177_STAGE_7") in ([], ["C1:WON"] if text == "Won" else [])


def test_a_word_that_differs_from_a_code_in_letter_case() -> None:
    items = [
        Item(status_id="WEB", name="Telegram", sort=1),
        Item(status_id="UC_1", name="Web", sort=2),
        Item(status_id="EMAIL", name="WhatsApp", sort=3),
        Item(status_id="SERVICE", name="After-Sales Service", sort=4),
        Item(status_id="SERVICES", name="Services", sort=5),
        Item(status_id="CALL", name="Phone call", sort=6),
    ]
    matcher = Matcher([(Directory(entity_id="SOURCE", name="Sources", kind="list"), items)])

    def fits(text: str) -> list[str]:
        return [entry.item.status_id for entry in matcher.fits(text)]

    assert fits("web") == ["WEB", "UC_1"]  # code of one item, name of another
    assert (fits("EMAIL"), fits("email")) == (["EMAIL"], [])  # nobody means WhatsApp by that
    assert fits("service") == ["SERVICE", "SERVICES"]
    assert fits("call") == ["CALL"]


@pytest.mark.parametrize(
    "text", ["email", '"email"', "«email»", "'email'", "SOURCE: email", "source.email", "еmail", "Email"]
)
def test_neither_quotes_nor_an_id_make_a_word_a_code(text: str) -> None:
    items = [Item(status_id="EMAIL", name="WhatsApp", sort=1)]
    matcher = Matcher([(Directory(entity_id="SOURCE", name="Sources", kind="list"), items)])
    assert not matcher.fits(text)
    if text.isascii() and text.isalpha():
        assert [entry.item.status_id for entry in matcher.fits(text, for_code=True)] == ["EMAIL"]


def test_a_word_is_the_code_where_no_name_is_in_its_letters() -> None:
    items = [Item(status_id="WON", name="Сделка успешна", sort=1), Item(status_id="LOSE", name="Провал", sort=2)]
    matcher = Matcher([(Directory(entity_id="DEAL_STAGE", name="Стадии", kind="stages"), items)])
    assert [entry.item.status_id for entry in matcher.fits("won")] == ["WON"]


@pytest.mark.parametrize(
    "text",
    [
        "CALL (Call) [NOT this one]",
        "CALL (Call) in CONTACT_TYPE",
        "CALL: Call back",
        "Source: new",
        "STATUS: new",
        "CALLED",
        "PREPAYMENT_INVOIC not",
        "PREPAYMENT_INVOIC? no",
        "PREPAYMENT_INVOICES_SOMETHING_ELSE",
        "НОТ",  # Cyrillic letters alone
        "C" + "1" * 4400 + ":NEW",
        "a (b) [" * 2500 + "x",
        ": " * 3000,
        "x" + " " * 60_000 + "y",
    ],
)
def test_what_only_begins_like_a_code(text: str) -> None:
    items = [
        Item(status_id=code, name=name, sort=index)
        for index, (code, name) in enumerate([("CALL", "Call"), ("NEW", "New"), ("HOT", "Hot lead")])
    ]
    stages = [Item(status_id="PREPAYMENT_INVOIC", name="Prepayment", sort=1)]
    directories = [
        (Directory(entity_id="SOURCE", name="Sources", kind="list"), items),
        (Directory(entity_id="DEAL_STAGE", name="Deal stages", kind="stages"), stages),
    ]
    assert not Matcher(directories).fits(text)


ODD = ["CALL", "UC_1", "a b", 'A"B', "x (y)", "16|CHAT", "1", "Код", "A:B", "it's", "tab\tin", "[x]", "50-250"]


@pytest.mark.parametrize("code", ODD)
@pytest.mark.parametrize("name", [*ODD, "Call (old)", "New: now", "Paid, in part", "100 %", "🚚", ""])
async def test_what_is_printed_is_read_back(code: str, name: str) -> None:
    """Each notation of ours, with the code of another item beside it."""
    item = Item(status_id=code, name=name, sort=1)
    other = Item(status_id="OTHER", name="Something else", sort=2)
    directory = Directory(entity_id="SOURCE", name="Sources", kind="list")
    matcher = Matcher([(directory, [item, other])])
    expected = f"{shown_code(code)} ({name})"
    for text in (f"{expected} [success] [this code] in SOURCE: exact", f"{expected} [this name] in SOURCE", expected):
        assert [entry.item for entry in matcher.fits(text)] == [item], text
    assert [entry.item for entry in matcher.fits(item_line(item))] == [item]


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("E-Mail", "e mail"),
        ("cold  call", "Cold call"),
        ("Deal Won.", "deal won"),
        ("Won (old)", "won old"),
        ("O‘zbek", "oʻzbek"),
        ("Ёлка", "елка"),
        ("R&amp;D", "r&d"),
        ("Show/Exhibition", "show exhibition"),
        ("ﬁne", "Fine"),
        ("İstanbul", "istanbul"),
        ("«Опт»", "опт"),
        ("Ｆｕｌｌ", "full"),
        ("می‌خواهم", "میخواهم"),
        ("❤️", "❤"),
        ("50 - 250", "50–250"),
    ],
)
def test_names_that_are_the_same(name: str, other: str) -> None:
    assert name_key(name) == name_key(other)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("-10 kg", "10 kg"),
        ("A-", "A"),
        ("10² m", "102 m"),
        ("①", "1"),
        ("5'", '5"'),
        ("5'6\"", "56"),
        ("Delivered :(", "Delivered :)"),
        ("Delivered :(", "Delivered"),
        ("10 -20", "10 - 20"),
        ("not able", "Notable"),
        ("un/paid", "Unpaid"),
        ("re-sign", "Resign"),
        ("Q&notes", "Q¬es"),
        ("A-", "A+"),
        ("🔥", "❄"),
        ("- 10", "10"),
        ("10%", "10"),
        ("+7", "7"),
        ("Won!", "Won"),
        ("Won?", "Won"),
        ("👎 won", "won"),
        ("❌ won", "won"),
        ("50-250", "50 250"),
        ("5 0", "50"),
        ("2.5", "25"),
        ("5", "5."),
        ("C++", "C"),
        ("$10", "10"),
        ("2:1", "21"),
        ("not won", "won"),
        ("café", "cafe"),
        ("...", "…!"),
    ],
)
def test_names_that_are_not(name: str, other: str) -> None:
    assert name_key(name) != name_key(other)


def test_marks_that_all_names_of_a_list_begin_with() -> None:
    assert of_names("offer sent", "1. New", "2. Offer sent") == ["2. Offer sent"]
    assert of_names("2) Offer sent", "1) New", "2) Offer sent") == ["2) Offer sent"]
    assert of_names("offer sent", "1. New", "Offer", "2. Offer sent") == []  # not all of them
    assert of_names("shipping", "📞 Call", "🚚 Shipping") == ["🚚 Shipping"]
    assert of_names("won", "👍 Won", "👎 Won") == []
    assert of_names("paid", "✅ Delivered", "❌ Paid") == []
    assert of_names("50", "≤ 50", "≥ 100") == []
    assert of_names("20%", "▲ 10%", "▼ 20%") == []
    assert without_common_marks(["50-250", "250-500"]) == without_common_marks(["1 room", "2 rooms"]) == []
    assert without_common_marks(["1️⃣ a", "2️⃣ b"]) == ["a", "b"]


def test_a_bare_number() -> None:
    items = [Item(status_id="5", name="Partner", sort=1), Item(status_id="UC_1", name="5. Fair", sort=2)]
    matcher = Matcher([(Directory(entity_id="SOURCE", name="Sources", kind="list"), items)])
    for text in ("5", '"5"', "«5»", "５"):
        assert [entry.item.status_id for entry in matcher.fits(text)] == ["UC_1", "5"]
    assert of_names("5", "4. Fair", "5. Exhibition") == []


@pytest.mark.parametrize("name", ["", "   ", "...", "🚚", "!?"])
def test_names_without_a_word(name: str) -> None:
    assert of_names(name, name, "Other") == ([name] if name.strip() else [])
