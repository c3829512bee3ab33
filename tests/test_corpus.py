"""The corpus: what people say, through the front door, against the bars that the product promises."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest

from bitrix24_directories.directories.models import QueryResult
from bitrix24_directories.portal import DemoPortal
from corpus import Case, corpus
from support import RunningPortal, assistant


@pytest.fixture
async def results(put_on: Callable[[DemoPortal], RunningPortal]) -> dict[Case, QueryResult]:
    """Asked as an assistant would: up to 50 queries a call, for each portal and set of directories."""
    asked: dict[tuple[str, tuple[str, ...]], list[Case]] = defaultdict(list)
    for case in corpus():
        asked[case.language, tuple(case.entity_ids)].append(case)
    answered: dict[Case, QueryResult] = {}
    for language in ("en", "ru"):
        async with assistant(put_on(DemoPortal(language)), plan="enterprise") as someone:
            for (of_language, entity_ids), cases in asked.items():
                for group in (cases[start : start + 50] for start in range(0, len(cases), 50)):
                    if of_language == language:
                        queries = [case.query for case in group]
                        said = await someone.call("find_directory_items", queries=queries, entityIds=list(entity_ids))
                        found = [QueryResult.model_validate(row) for row in said.structured["results"]]
                        answered |= dict(zip(group, found, strict=True))
    return answered


async def test_the_bars(results: dict[Case, QueryResult]) -> None:
    right = sum(case.right(result) for case, result in results.items())
    wrong = [(case.query, result.matches[0].status_id) for case, result in results.items() if case.wrong(result)]
    missed = [(case.query, result.status) for case, result in results.items() if not case.right(result)]
    assert right / len(results) >= 0.97, missed
    assert len(wrong) / len(results) <= 0.005, wrong


async def test_what_was_held_back_while_tuning_does_as_well(results: dict[Case, QueryResult]) -> None:
    held_back = [case for case in results if case.held_back]
    assert sum(case.right(results[case]) for case in held_back) / len(held_back) >= 0.97


def test_the_corpus_is_as_large_as_promised() -> None:
    cases = corpus()
    assert len(cases) >= 300
    assert sum(case.status in ("ambiguous", "none") for case in cases) >= 60
    assert len({case.query for case in cases}) > 300
    assert {case.language for case in cases} == {"en", "ru"}
