"""What holds of finding whatever a directory has in it: names, codes, denials, and items that come later."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitrix24_directories.directories.models import Directory, Item, QueryResult
from bitrix24_directories.finding.matching import Matcher
from corpus import portals

SURE = ("exact", "likely")
DENIALS = {
    "en": "not {}",
    "de": "nicht {}",
    "ru": "не {}",
    "uk": "не {}",
    "pl": "nie {}",
    "es": "no {}",
    "pt": "não {}",
    "it": "non {}",
    "fr": "pas {}",
    "tr": "{} değil",
    "kk": "{} емес",
}
TEXT = """
    won lost new call calls called email mail web website form sent send offer offers partner partners signed unsigned
    contract contracts paid unpaid first second 1 2 50 % over up to not no cold by the договор подписан неподписан не
    звонок звонки звонков реклама рекламация Angebot Angebote versendet nicht erreicht oferta wysłana reklama reklamacja
    teklif gönderildi gönderilmedi rechazado rechazados / - E-Mail CRM
"""

words = st.lists(st.sampled_from(TEXT.split()), min_size=1, max_size=4).map(" ".join)
names = st.lists(words, min_size=1, max_size=8, unique=True)


def finder(named: Sequence[str]) -> Matcher:
    items = [Item(status_id=f"UC_{place}", name=name, sort=place) for place, name in enumerate(named)]
    return Matcher([(Directory(entity_id="ANY", name="Any", kind="list"), items)])


def codes(result: QueryResult) -> list[str]:
    return [match.status_id for match in result.matches]


@settings(max_examples=120)
@given(names)
def test_a_full_name_gives_its_item_or_is_ambiguous(named: list[str]) -> None:
    matcher = finder(named)
    for place, name in enumerate(named):
        if any(char.isalnum() for char in name):
            result = matcher.find(name)
            assert result.status in ("exact", "ambiguous")
            assert f"UC_{place}" in codes(result)


@settings(max_examples=120)
@given(names, st.sampled_from(["WON", "C1:NEW", "UC_7A", "NEW_2", "CALL"]))
def test_a_code_gives_its_item_or_is_ambiguous(named: list[str], code: str) -> None:
    items = [Item(status_id=f"X_{place}", name=name, sort=place) for place, name in enumerate(named)]
    items.append(Item(status_id=code, name="Anything else", sort=1000))
    result = Matcher([(Directory(entity_id="ANY", name="Any", kind="list"), items)]).find(code)
    assert result.status in ("exact", "ambiguous")
    assert code in codes(result)


@settings(max_examples=200)
@example(["call", "calls"], "calls called", "called")
@given(names, words, words)
def test_an_item_that_is_added_never_makes_another_one_sure(named: list[str], query: str, added: str) -> None:
    before, after = finder(named).find(query), finder([*named, added]).find(query)
    if after.status in SURE and codes(after) != [f"UC_{len(named)}"]:
        assert before.status in SURE
        assert codes(before) == codes(after)


@settings(max_examples=120)
@given(names, st.sampled_from(sorted(DENIALS)))
def test_what_a_query_denies_is_never_sure(named: list[str], language: str) -> None:
    affirmed = [name for name in named if not {"not", "no", "не", "nicht"} & set(name.split())]
    for name in affirmed:
        result = finder(affirmed).find(DENIALS[language].format(name))
        if result.status in SURE:
            assert result.matches[0].name != name


@pytest.mark.parametrize("portal", sorted(portals()))
def test_denied_names_of_the_corpus_are_never_sure(portal: str) -> None:
    """Whatever language denies them, and whichever the name is in."""
    for directory, items in portals()[portal]:
        matcher = Matcher([(directory, items)])
        for item in items:
            for denial in DENIALS.values() if "Nessuna" not in item.name else ():  # "non ... nessuna" denies once
                result = matcher.find(denial.format(item.name.lower()))
                assert result.status not in SURE or result.matches[0].status_id != item.status_id
