"""Printed directories are read back unchanged, with any text of users and their portal."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix24_directories.changing.planning.planner import Planner
from bitrix24_directories.directories.models import DirectoryItems, Item
from bitrix24_directories.directories.notation import SWITCHED_OFF, is_part, read_lines, shown_name
from bitrix24_directories.directories.rows import read_statuses
from bitrix24_directories.mcp_server.texts.directories import items_text
from bitrix24_directories.text import one_line
from support import examples

HOSTILE_NAMES = [
    "",
    "\u200b",
    "Hot #123456",
    "#123456",
    "won [success]",
    "[failure]",
    "x (id 12)",
    "(id 7, system)",
    "3 items, in order (",
    "3 items, in order (code: name)",
    "2 of 3 items, in order (code: name [meaning] colour (id)), read 12 s ago",
    "Tip: 3 items, in order (a, b, c)",
    "SOURCE: 2 of 3 items, in order (code: name)",
    "the directory exists and has no items",
    "the directory exists and has no items.",
    "a: the directory exists and has no items",
    "none of its 3 items fits.",
    "SOURCE: none of its 3 items stands behind that code.",
    "17 more are not shown: go on with after=",
    "17 more are not shown: go on with after=X, or narrow with query",
    "The codes go into deal.STAGE_ID",
    "The codes go into production",
    SWITCHED_OFF.format(),
    '"quoted"',
    '"half',
    "back\\slash",
    "A: B",
    "NEW",
    "0",
    "CALL: Call [success] #FFFFFF (id 3)",
    "line\nbreak\u2028and\x85more",
    "ünï #abc",
    "❤\ufe0f 👨\u200d👩\u200d👧 می\u200cخواهم",
    "x" * 300,
]
HOSTILE_CODES = [
    "0",
    "1",
    "CALL",
    "call",
    "Call",
    "A:X",
    "X",
    "C1:X",
    "a b",
    '"',
    "A:",
    ":",
    '"A:',
    '"A": ',
    "#123456",
    "[success]",
    "\u202e",
]
CODES = st.one_of(st.sampled_from(HOSTILE_CODES), st.text(min_size=1, max_size=8))
TEXTS = st.one_of(st.sampled_from(HOSTILE_NAMES), st.text(max_size=30))
USED_IN = st.one_of(
    st.sampled_from(["deal.SOURCE_ID", "item(177).stageId"]),
    st.builds("deal.UF_CRM_1724 ({})".format, TEXTS.map(lambda text: one_line(text, 200))),
)
COLORS = st.sampled_from([None, "", "#39A8EF", "39a8ef", "#abc", "red", "#FF5752 (id 9)", "[success]"])


PARTS = ["whole", "empty", "none shown", "part", "last part"]


@st.composite
def directories(draw: st.DrawFn, lowest: int = -5, names: st.SearchStrategy[str] = TEXTS) -> list[Item]:
    """Items of a directory as our reader makes them of a portal's rows; SORT from `lowest` on."""
    codes = draw(st.lists(CODES, min_size=1, max_size=6, unique=True))
    sorts = sorted(draw(st.lists(st.integers(lowest, 60), min_size=len(codes), max_size=len(codes))))
    rows = [
        {
            "ID": str(number),
            "ENTITY_ID": "SOURCE",
            "STATUS_ID": code,
            "NAME": draw(names),
            "SORT": str(sort),
            "SYSTEM": draw(st.sampled_from("YN")),
            "COLOR": draw(COLORS),
            "SEMANTICS": draw(st.sampled_from([None, "S", "F", "P"])),
        }
        for number, (code, sort) in enumerate(zip(codes, sorts, strict=True), 1)
    ]
    return read_statuses(rows, "SOURCE")


@st.composite
def results(draw: st.DrawFn, names: st.SearchStrategy[str] = TEXTS) -> DirectoryItems:
    """A directory, or a part of it, with all texts that may be printed around its items."""
    items, part = draw(directories(names=names)), draw(st.sampled_from(PARTS))
    if part in ("empty", "none shown"):
        items = []
    elif not draw(st.booleans()):
        items = [without_details(item) for item in items]
    missing = draw(st.integers(1, 300)) if part in ("none shown", "part", "last part") else 0
    return DirectoryItems(
        entity_id=draw(CODES),
        items=items,
        total=len(items) + missing,
        fitting=draw(st.sampled_from([None, 0])),
        more=missing if part == "part" else None,
        used_in=draw(st.lists(USED_IN, max_size=2)) or None,
        age_seconds=draw(st.sampled_from([None, 1, 12])),
    )


def without_details(item: Item) -> Item:
    return Item(status_id=item.status_id, name=item.name, sort=item.sort)


def parse_printed(lines: list[str], items: list[Item]) -> list[Item]:
    """The items given by printed lines, with only the fields that the lines give."""
    return [
        Item(status_id=line.code or "", name=line.name, semantics=line.meaning, color=line.color)
        for line in read_lines(lines, items)
    ]


def as_printed(items: list[Item]) -> list[Item]:
    return [
        Item(
            status_id=item.status_id,
            name=item.name,
            semantics=None if item.semantics == "process" else item.semantics,
            color=item.color and item.color.upper(),
        )
        for item in items
    ]


def printed(items: list[Item], *, details: bool = True) -> str:
    printed = items if details else [without_details(item) for item in items]
    used_in = ["deal.SOURCE_ID"]
    return items_text(DirectoryItems(entity_id="SOURCE", items=printed, total=len(printed), used_in=used_in))


@settings(max_examples=examples(1000))
@given(items=directories(), details=st.booleans(), at_once=st.booleans())
def test_what_is_printed_is_unchanged_when_handed_back(items: list[Item], details: bool, at_once: bool) -> None:
    text = printed(items, details=details)
    plan = Planner("SOURCE", items).declare([text] if at_once else text.splitlines())
    assert not plan.steps


@settings(max_examples=examples(500))
@given(items=directories(lowest=1), index=st.integers(0, 5), details=st.booleans())
def test_with_one_line_edited_only_that_item_changes(items: list[Item], index: int, details: bool) -> None:
    item = items[index % len(items)]
    edited = [other.model_copy(update={"name": "Another name"}) if other is item else other for other in items]
    plan = Planner("SOURCE", items).declare(printed(edited, details=details).splitlines())
    assert not plan.refused
    assert [operation.item for operation in plan.operations] == ([item] if item.name != "Another name" else [])


CALL = Item(status_id="CALL", name="Call", sort=10, id=3, semantics="success", color="#FFFFFF")
PRINTED = sorted(
    {
        line
        for items in ([CALL], [without_details(CALL)], [])
        for entity_id, total, fitting, age in product(("SOURCE", "a b"), (0, 1, 30), (None, 0), (None, 12))
        for line in items_text(
            DirectoryItems(
                entity_id=entity_id,
                items=items,
                total=total,
                fitting=fitting,
                more=29,
                used_in=["deal.SOURCE_ID", "deal.UF_CRM_1724 (Size)"],
                age_seconds=age,
            )
        ).splitlines()
    }
)
# Also the texts behind the code.
NAMES = st.sampled_from(PRINTED + [line.partition(": ")[2] for line in PRINTED]) | TEXTS


@settings(max_examples=examples(500))
@given(result=results(names=NAMES), at_once=st.booleans())
def test_what_is_printed_is_read_back(result: DirectoryItems, at_once: bool) -> None:
    text = f"{items_text(result)}\n{SWITCHED_OFF.format()}"
    lines = [text] if at_once else text.splitlines()
    assert parse_printed(lines, result.items) == as_printed(result.items)
    assert is_part(lines) == (len(result.items) < result.total)


@settings(max_examples=examples(300))
@given(items=directories(names=NAMES), cut=st.integers(1, 5))
def test_all_parts_of_a_directory_are_the_directory(items: list[Item], cut: int) -> None:
    parts = [part for part in (items[:cut], items[cut:]) if part]
    texts = [items_text(DirectoryItems(entity_id="SOURCE", items=part, total=len(items))) for part in parts]
    assert parse_printed(texts, items) == as_printed(items)
    assert not is_part(texts)
    assert is_part(texts[:1]) == (len(parts) > 1)


@given(names=st.lists(NAMES.map(lambda name: one_line(name, 200))))
def test_names_alone_are_read_as_names(names: list[str]) -> None:
    """Except for `CALL: Name`, which has a code."""
    lines = read_lines([shown_name(name) for name in names], [])
    for line, name in zip(lines, names, strict=True):
        assert line.name == name if line.code is None else name.startswith(f"{line.code}:")


@pytest.mark.parametrize(
    "name",
    [
        "Tip: 3 items, in order (a, b, c)",
        "a: the directory exists and has no items",
        "17 more are not shown: go on with after=",
        "The codes go into production",
    ],
)
def test_a_name_that_is_only_like_a_line_of_ours_needs_no_quotes(name: str) -> None:
    items = read_statuses([{"ID": "4", "ENTITY_ID": "SOURCE", "STATUS_ID": "X", "NAME": name, "SORT": "10"}], "SOURCE")
    for details in (False, True):
        text = printed(items, details=details)
        assert f"X: {name}" in text
        assert not is_part([text])
        assert parse_printed([text], items) == as_printed(items)
    assert [line.name for line in read_lines([name], [])] == [name]
    assert not is_part([name])


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_each_hostile_name(name: str) -> None:
    row = {"ID": "4", "ENTITY_ID": "SOURCE", "STATUS_ID": "X", "NAME": name, "SORT": "10"}
    items = read_statuses([row], "SOURCE")
    assert len(printed(items).splitlines()) == 3
    assert not Planner("SOURCE", items).declare([printed(items)]).steps


def item(code: str, number: int) -> Item:
    return Item(status_id=code, name=f"Name {number}", sort=10 * number, id=number)


@pytest.mark.parametrize(
    ("codes", "typed", "expected"),
    [
        (["A:X", "X"], "X", "X"),
        (["A:X", "X"], "A:X", "A:X"),
        (["call", "CALL"], "CALL", "CALL"),
        (["call", "CALL"], "call", "call"),
        (["call", "CALL"], "Call", None),
        (["C1:NEW", "C1:WON"], "won", "C1:WON"),
        (["C1:WON", "WON", "won"], "Won", None),
        (["0", "1"], "0", "0"),
    ],
)
def test_an_exact_code_wins_and_a_looser_one_has_to_fit_one_item_alone(
    codes: list[str], typed: str, expected: str | None
) -> None:
    items = [item(code, number) for number, code in enumerate(codes, 1)]
    declared = [f"{typed}: Another name"]
    plan = Planner("DEAL_STAGE_1", items).declare(declared)
    changed = [operation.step.status_id for operation in plan.operations if operation.step.action == "update"]
    if expected is None:
        assert not plan.operations
        assert any("fits several codes" in (step.why or "") for step in plan.refused)
    else:
        assert changed == [expected]
