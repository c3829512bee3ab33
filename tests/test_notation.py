"""What is printed of a directory is read back as it was, whatever its users and their portal put into it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix24_directories.changing.planning import Planner
from bitrix24_directories.directories.models import DirectoryItems, Item
from bitrix24_directories.directories.rows import read_statuses
from bitrix24_directories.mcp_server.answers import items_text

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
    "the directory exists and has no items",
    "The codes go into deal.STAGE_ID",
    '"quoted"',
    '"half',
    "back\\slash",
    "A: B",
    "NEW",
    "0",
    "CALL: Call [success] #FFFFFF (id 3)",
    "line\nbreak\u2028and\x85more",
    "ünï #abc",
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
    "#123456",
    "[success]",
    "\u202e",
]
CODES = st.one_of(st.sampled_from(HOSTILE_CODES), st.text(min_size=1, max_size=8))
TEXTS = st.one_of(st.sampled_from(HOSTILE_NAMES), st.text(max_size=30))
COLORS = st.sampled_from([None, "", "#39A8EF", "39a8ef", "#abc", "red", "#FF5752 (id 9)", "[success]"])


@st.composite
def directories(draw: st.DrawFn, lowest: int = -5) -> list[Item]:
    """The items of a directory as our reader makes them of a portal's rows, with SORT from `lowest` on."""
    codes = draw(st.lists(CODES, min_size=1, max_size=6, unique=True))
    sorts = sorted(draw(st.lists(st.integers(lowest, 60), min_size=len(codes), max_size=len(codes))))
    rows = [
        {
            "ID": str(number),
            "ENTITY_ID": "SOURCE",
            "STATUS_ID": code,
            "NAME": draw(TEXTS),
            "SORT": str(sort),
            "SYSTEM": draw(st.sampled_from("YN")),
            "COLOR": draw(COLORS),
            "SEMANTICS": draw(st.sampled_from([None, "S", "F", "P"])),
        }
        for number, (code, sort) in enumerate(zip(codes, sorts, strict=True), 1)
    ]
    return read_statuses(rows, "SOURCE")


def printed(items: list[Item], *, details: bool = True) -> str:
    shown = items if details else [Item(status_id=one.status_id, name=one.name, sort=one.sort) for one in items]
    used_in = ["deal.SOURCE_ID"]
    return items_text(DirectoryItems(entity_id="SOURCE", items=shown, total=len(shown), used_in=used_in))


@settings(max_examples=1000)
@given(items=directories(), details=st.booleans(), at_once=st.booleans())
def test_what_is_printed_is_unchanged_when_handed_back(items: list[Item], details: bool, at_once: bool) -> None:
    text = printed(items, details=details)
    plan = Planner("SOURCE", items).declare([text] if at_once else text.splitlines())
    assert not plan.steps


@settings(max_examples=500)
@given(items=directories(lowest=1), place=st.integers(0, 5), details=st.booleans())
def test_with_one_line_edited_only_that_item_changes(items: list[Item], place: int, details: bool) -> None:
    item = items[place % len(items)]
    edited = [one.model_copy(update={"name": "Another name"}) if one is item else one for one in items]
    plan = Planner("SOURCE", items).declare(printed(edited, details=details).splitlines())
    assert not plan.refused
    assert [operation.item for operation in plan.operations] == ([item] if item.name != "Another name" else [])


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_each_hostile_name(name: str) -> None:
    row = {"ID": "4", "ENTITY_ID": "SOURCE", "STATUS_ID": "X", "NAME": name, "SORT": "10"}
    items = read_statuses([row], "SOURCE")
    assert len(printed(items).splitlines()) == 3
    assert not Planner("SOURCE", items).declare([printed(items)]).steps


def item(code: str, number: int) -> Item:
    return Item(status_id=code, name=f"Name {number}", sort=10 * number, id=number)


@pytest.mark.parametrize(
    ("codes", "typed", "meant"),
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
    codes: list[str], typed: str, meant: str | None
) -> None:
    items = [item(code, number) for number, code in enumerate(codes, 1)]
    declared = [f"{typed}: Another name"]
    plan = Planner("DEAL_STAGE_1", items).declare(declared)
    changed = [operation.step.status_id for operation in plan.operations if operation.step.action == "update"]
    if meant is None:
        assert not plan.operations
        assert any("fits several codes" in (step.why or "") for step in plan.refused)
    else:
        assert changed == [meant]
