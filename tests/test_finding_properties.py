"""Properties of finding in any directory: names, codes, denials, and items added later."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.directories.notation import item_line
from bitrix24_directories.finding.matching import Matcher
from support import examples

TEXT = """
    won lost new call calls called email mail web website form sent send offer offers partner partners signed unsigned
    contract contracts paid unpaid first second 1 2 50 % over up to not no cold by the договор подписан неподписан не
    звонок звонки звонков реклама рекламация Angebot Angebote versendet nicht erreicht oferta wysłana reklama reklamacja
    teklif gönderildi gönderilmedi rechazado rechazados / - E-Mail CRM ! ? 👎 ❌ -10 +7 3. (old) 未付款 已付款
"""

words = st.lists(st.sampled_from(TEXT.split()), min_size=1, max_size=4).map(" ".join)
names = st.lists(words, min_size=1, max_size=8, unique=True)


def finder(names: Sequence[str]) -> Matcher:
    items = [Item(status_id=f"UC_{index}", name=name, sort=index) for index, name in enumerate(names)]
    return Matcher([(Directory(entity_id="ANY", name="Any", kind="list"), items)])


def codes(matcher: Matcher, text: str) -> list[str]:
    return [entry.item.status_id for entry in matcher.fits(text)]


@settings(max_examples=examples(120))
@given(names)
def test_a_whole_name_gives_its_item_among_those_that_fit(names: list[str]) -> None:
    matcher = finder(names)
    for index, name in enumerate(names):
        assert f"UC_{index}" in codes(matcher, name)


@settings(max_examples=examples(120))
@given(names, st.sampled_from(["WON", "C1:NEW", "UC_7A", "NEW_2", "CALL"]))
def test_a_code_gives_its_item_among_those_that_fit(names: list[str], code: str) -> None:
    items = [Item(status_id=f"X_{index}", name=name, sort=index) for index, name in enumerate(names)]
    items.append(Item(status_id=code, name="Anything else", sort=1000))
    matcher = Matcher([(Directory(entity_id="ANY", name="Any", kind="list"), items)])
    assert code in codes(matcher, code)
    assert codes(matcher, item_line(items[-1])) == [code]


@settings(max_examples=examples(200))
@example(["call", "calls"], "calls called", "called")
@given(names, words, words)
def test_an_item_that_is_added_never_makes_another_one_certain(names: list[str], query: str, added: str) -> None:
    before, after = codes(finder(names), query), codes(finder([*names, added]), query)
    if len(after) == 1 and after != [f"UC_{len(names)}"]:
        assert before == after


@settings(max_examples=examples(300))
@given(names, words, words)
def test_a_name_with_a_word_more_or_less_is_not_that_name(names: list[str], name: str, word: str) -> None:
    matcher = finder([name])
    for text in (f"{word} {name}", f"{name} {word}"):
        if any(char.isalnum() for char in word):
            assert codes(matcher, text) == []
    del names


@settings(max_examples=examples(100))
@given(names, st.text(max_size=30), st.integers(1, 20))
def test_nearest_are_items_each_once_and_as_many_as_asked_for_at_most(names: list[str], text: str, most: int) -> None:
    nearest = finder(names).nearest(text, most)
    assert len(nearest) == len(set(nearest)) <= most
