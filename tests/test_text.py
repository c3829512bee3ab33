"""Names as shown: invisible characters go, except in emoji and scripts that need them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix24_directories.text import INVISIBLE, one_line, quoted, shown_code, shown_id
from bitrix24_directories.words import name_key
from support import examples

ZWNJ, ZWJ, AS_TEXT, AS_PICTURE = "\u200c", "\u200d", "\ufe0e", "\ufe0f"
FAMILY = ZWJ.join("👨👩👧")
HEART = f"❤{AS_PICTURE}"
RAINBOW_FLAG = f"🏳{AS_PICTURE}{ZWJ}🌈"
I_WANT = f"می{ZWNJ}خواهم"
KSHA = f"क\u094d{ZWJ}ष"

SPELT_SO = [
    FAMILY,
    HEART,
    RAINBOW_FLAG,
    f"Kiss 👩🏽{ZWJ}{HEART}{ZWJ}💋{ZWJ}👨🏿!",
    f"☎{AS_TEXT} Phone",
    f"1{AS_PICTURE}\u20e3 first",
    I_WANT,
    KSHA,
    f"\u09b0{ZWJ}\u09cd\u09af\u09be\u09ac",  # Bengali: the joiner stands between a letter and a mark
    f"\u0d9a\u0dca{ZWJ}\u0dbb\u0dd2",  # Sinhala
]
SMUGGLED = [
    (f"ad{ZWJ}min", "admin"),
    (f"ad{ZWNJ}min", "admin"),
    (f"ad{AS_PICTURE}min", "admin"),
    (f"за{ZWJ}каз", "заказ"),
    (f"1{AS_PICTURE}2", "12"),
    (f"{ZWNJ}می", "می"),
    (f"می{ZWNJ}", "می"),
    (f"می{ZWNJ} خواهم", "می خواهم"),
    (f"می{ZWNJ}{ZWNJ}خواهم", "میخواهم"),
    (f"می\u200b{ZWNJ}خواهم", "میخواهم"),
    (f"۲{ZWNJ}۳", "۲۳"),
    (f"می{ZWJ}a", "میa"),
    (f"👨{ZWJ}", "👨"),
    (f"{ZWJ}👨", "👨"),
    (f"👨{ZWNJ}👩", "👨👩"),
    (f"👨{ZWJ}{ZWJ}👩", "👨👩"),
    (f"❤{AS_PICTURE}{AS_TEXT}", HEART),
    (AS_PICTURE, ""),
    ("🏴\U000e0067\U000e0062\U000e007f", "🏴"),  # tags, in which whole sentences have been hidden
    ("\u202ea\ue000b\u00adc", "abc"),
]
CHARACTERS = st.sampled_from([ZWNJ, ZWJ, AS_TEXT, AS_PICTURE, "\u200b", "\u061c", *"aж1 …\n👨👩❤🏽می۲क\u094dष\u20e3"])


@pytest.mark.parametrize("text", SPELT_SO)
def test_what_a_name_is_spelt_with_stays(text: str) -> None:
    assert one_line(text, 100) == text
    assert one_line(f"  {text}\n{text}{ZWJ}\t", 100) == f"{text} {text}"


@pytest.mark.parametrize(("text", "expected"), SMUGGLED)
def test_what_nobody_sees_goes(text: str, expected: str) -> None:
    assert one_line(text, 100) == expected


def test_no_joiner_is_left_where_a_name_is_cut() -> None:
    assert one_line(I_WANT, 4) == "می…"
    assert one_line(FAMILY, 3) == "👨…"
    assert one_line(f"a1{AS_PICTURE}\u20e3b", 4) == "a1…"


@settings(max_examples=examples(1000))
@given(st.lists(CHARACTERS).map("".join) | st.text(), st.integers(1, 12))
def test_any_text(text: str, limit: int) -> None:
    line = one_line(text, limit)
    assert len(line) <= limit
    assert one_line(line, limit) == line
    assert len(line.splitlines()) <= 1
    for match in INVISIBLE.finditer(line):
        before, after = line[: match.start()], line[match.end() :]
        assert before
        assert match[0] in (ZWNJ, ZWJ, AS_TEXT, AS_PICTURE)
        if match[0] in (ZWNJ, ZWJ):
            assert INVISIBLE.match(after) is None
            assert not after.startswith(("a", "ж", "1", " ", "…"))
            assert after
        if INVISIBLE.match(before[-1]):
            assert (before[-1], match[0]) in ((AS_TEXT, ZWJ), (AS_PICTURE, ZWJ))
    visible = INVISIBLE.sub("", " ".join(text.split()))
    assert INVISIBLE.sub("", one_line(text, len(text) + 1)) == " ".join(visible.split())


@given(st.lists(CHARACTERS).map("".join) | st.text())
def test_codes_are_quoted_with_all_that_they_hold(text: str) -> None:
    assert INVISIBLE.search(quoted(text)) is None
    assert json.loads(quoted(text)) == text
    printed = shown_code(text)
    assert printed == text or json.loads(printed) == text
    assert INVISIBLE.search(printed) is None


@pytest.mark.parametrize(("typed", "name"), [("میخواهم", I_WANT), ("क\u094dष", KSHA)])
def test_names_are_found_without_their_joiners(typed: str, name: str) -> None:
    assert name_key(typed) == name_key(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SOURCE", "SOURCE"),
        ("two  words", "two  words"),
        ("x" * 30, "x" * 19 + "…"),
        ("SOU\u200bRCE", r"SOU\u200bRCE"),
        ("SOU\nRCE", r"SOU\nRCE"),
        ('"\u200b', r"\"\u200b"),
        ("\u200b" + "x" * 30, r"\u200b" + "x" * 18 + "…"),
        ("\u2764\ufe0f", "\u2764\ufe0f"),
    ],
)
def test_an_id_as_it_came(text: str, expected: str) -> None:
    assert shown_id(text, 20) == expected
