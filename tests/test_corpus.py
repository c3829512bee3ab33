"""The corpus: people's phrases in many languages, by MCP, against the product's promises."""

from __future__ import annotations

import pytest

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.finding.matching import Matcher
from corpus import LATER, answer_all, bent_phrases, corpus, find_missing_items, portals, scope_of


@pytest.mark.parametrize("naming", [True, False])
async def test_nothing_wrong_is_sure(naming: bool) -> None:
    answers = await answer_all(naming=naming)
    assert {case.query: answer.sure for case, answer in answers.items() if answer.is_wrong(case)} == {}


async def test_what_is_meant_is_sure_or_shown() -> None:
    answers = await answer_all(naming=True)
    missing = [case for case, answer in answers.items() if case.codes and scope_of(case) and not answer.is_there(case)]
    assert [(case.portal, case.query, case.codes) for case in missing] == []


def test_a_name_whose_item_is_missing_is_not_given_to_another() -> None:
    """Each item in turn is left out of its directory, and asked for."""
    number, sure = find_missing_items()
    assert number > 400
    assert sure == []


def test_a_phrase_that_bends_a_meaning_is_never_sure() -> None:
    """Denial around or inside a word, modality, time, condition, sign, emoji, "almost", "except"."""
    for language in {phrase.language for phrase in bent_phrases()}:
        names = list(dict.fromkeys(phrase.name for phrase in bent_phrases() if phrase.language == language))
        items = [Item(status_id=f"UC_{index}", name=name, sort=index) for index, name in enumerate(names)]
        matcher = Matcher([(Directory(entity_id="STATUS", name="Any", kind="stages"), items)])
        for name in names:
            assert [entry.item.name for entry in matcher.fits(name)] == [name]
        for phrase in bent_phrases():
            if phrase.language == language:
                assert not matcher.fits(phrase.phrase), phrase
                assert phrase.name in [entry.item.name for entry in matcher.nearest(phrase.phrase, 20)], phrase


def test_the_corpus_is_as_large_as_promised() -> None:
    cases = corpus()
    assert len(cases) >= 1000
    assert sum(len(case.codes) != 1 for case in cases) >= 250
    assert len({case.language for case in cases}) >= 12
    assert len({case.portal for case in cases}) >= 10
    assert sum(case.portal in LATER for case in cases) >= 200
    assert len(bent_phrases()) >= 200
    assert len({phrase.language for phrase in bent_phrases()}) >= 30
    assert all(
        len(items) == len({item.status_id for item in items})
        for directories in portals().values()
        for _, items in directories
    )


def test_every_expected_code_is_one_of_its_portal() -> None:
    for name, directories in portals().items():
        codes = {item.status_id for _, items in directories for item in items}
        assert {code for case in corpus() if case.portal == name for code in case.codes} <= codes
