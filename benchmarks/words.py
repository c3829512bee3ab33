"""How well words become codes: the corpus (tests/corpus), through the front door.

`python benchmarks/words.py` prints the three figures by kind and by language.
"""

from __future__ import annotations

import asyncio
import functools
import os
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

import vocabulary
from figures import HERE, Figure

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.finding.matching import Matcher

sys.path.append(str(HERE.parent / "tests"))
from corpus import LATER, Answer, Case, answered, left_out


def words() -> Iterator[Figure]:
    answers = asyncio.run(answered())
    for name, some in (
        ("the corpus", answers),
        ("a third of it, held back while tuning", {case: answers[case] for case in answers if case.number % 3 == 0}),
        ("four portals written after the matcher", {case: answers[case] for case in answers if case.portal in LATER}),
    ):
        wrong, not_there, not_right = _missed(some)
        yield Figure(f"{name}, {len(some)} phrases: wrong and sure", wrong, 0.1, " %")
        yield Figure("the same: neither sure nor shown", not_there, 0.5, " %")
        yield Figure("the same: not right, or not sure of it", not_right, 7, " %")
    asked, sure = left_out()
    yield Figure(f"{asked} names whose items are missing: given to another", 100 * len(sure) / asked, 0.1, " %")
    yield _large()
    yield _imported()


def _large() -> Figure:
    """Names and queries of thousands of different words, a third of the queries misspelt, a third not there."""
    chance = random.Random(16)
    known = vocabulary.words(chance)
    names = vocabulary.names(chance, known, 10_000)
    items = [Item(status_id=f"CODE_{place}", name=name, sort=place) for place, name in enumerate(names)]
    matcher = Matcher([(Directory(entity_id="LONG", name="Long", kind="list"), items)])
    taken = []
    for query in vocabulary.queries(chance, known, names, 90):
        started = time.perf_counter()
        matcher.find(query)
        taken.append(1000 * (time.perf_counter() - started))
    return Figure("a query over 10,000 items of some 8,000 words: the mean", statistics.mean(taken), 30, " ms")


def _imported() -> Figure:
    """What a first find has to import, in processes that have imported what the server needs before."""
    program = """
import time
import bitrix24_directories.mcp_server.server
started = time.perf_counter()
import bitrix24_directories.finding.find
print(1000 * (time.perf_counter() - started))
"""
    run = functools.partial(subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    times = [float(run(env=environment).stdout) for _ in range(9)]
    return Figure("importing what find needs", statistics.median(times), 60, " ms")


def _missed(answers: Mapping[Case, Answer]) -> tuple[float, float, float]:
    """Per cent of the cases: wrong and sure; neither sure nor shown; not right, or not sure of it."""
    wrong = sum(answer.wrong(case) for case, answer in answers.items())
    there = sum(answer.there(case) for case, answer in answers.items())
    right = sum(answer.right(case) for case, answer in answers.items())
    return 100 * wrong / len(answers), 100 - 100 * there / len(answers), 100 - 100 * right / len(answers)


def main() -> None:
    answers = asyncio.run(answered())
    groups: dict[str, dict[Case, Answer]] = defaultdict(dict)
    for key in ("kind", "language"):
        for case in sorted(answers, key=lambda case: str(getattr(case, key))):
            groups[getattr(case, key)][case] = answers[case]
    print("| phrases | number | wrong and sure | sure or shown | right and sure |\n|---|---|---|---|---|")
    for name, some in groups.items():
        wrong, not_there, not_right = _missed(some)
        print(f"| {name} | {len(some)} | {wrong:.2g} % | {100 - not_there:.1f} % | {100 - not_right:.1f} % |")


if __name__ == "__main__":
    main()
