"""The corpus: what people say in twelve languages, through the front door, against what the product promises."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from corpus import LATER, Answer, Case, answered, corpus, left_out, portals

WRONG, THERE, RIGHT = 0.001, 0.99, 0.95
LEFT_OUT = 0.001


@pytest.fixture
async def answers() -> dict[Case, Answer]:
    return await answered()


def share(answered: Iterable[bool]) -> float:
    told = list(answered)
    return sum(told) / len(told)


async def test_the_bars(answers: dict[Case, Answer]) -> None:
    """Those that were held back while tuning have to do as well as the others."""
    for some in (
        {case: answers[case] for case in answers if case.held_back is held_back} for held_back in (False, True)
    ):
        wrong = {case.query: answer.sure for case, answer in some.items() if answer.wrong(case)}
        assert len(wrong) / len(some) <= WRONG, wrong
        assert share(answer.there(case) for case, answer in some.items()) >= THERE
        assert share(answer.right(case) for case, answer in some.items()) >= RIGHT


def test_a_name_whose_item_is_missing_is_not_given_to_another() -> None:
    """Each item in turn is left out of its directory, and asked for."""
    asked, sure = left_out()
    assert asked > 400
    assert len(sure) / asked <= LEFT_OUT, sure


def test_the_corpus_is_as_large_as_promised() -> None:
    cases = corpus()
    assert len(cases) >= 1000
    assert sum(len(case.codes) != 1 for case in cases) >= 250
    assert len({case.language for case in cases}) >= 12
    assert len({case.portal for case in cases}) >= 10
    assert sum(case.portal in LATER for case in cases) >= 200
    assert all(len(items) == len({item.status_id for item in items}) for one in portals().values() for _, items in one)


def test_every_expected_code_is_one_of_its_portal() -> None:
    for name, directories in portals().items():
        codes = {item.status_id for _, items in directories for item in items}
        assert {code for case in corpus() if case.portal == name for code in case.codes} <= codes
