"""Quality of finding: sure and shown codes, and their cost, on the corpus (tests/corpus).

`python benchmarks/words.py` prints the figures by kind and by language.
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
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import bpe_openai
import vocabulary
from figures import HERE, Figure

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.finding.matching import Matcher
from bitrix24_directories.finding.names import words_of

sys.path.append(str(HERE.parent / "tests"))
from bitrix24_directories.portal import DemoPortal
from corpus import (
    DEMOS,
    LATER,
    Answer,
    Case,
    answer_all,
    bent_phrases,
    corpus,
    find_missing_items,
    made_up_portal,
    portals,
    scope_of,
)
from support import PortalInProcess, connect

SIZES = (300, 3_000, 10_000)
FINDING = HERE.parent / "server" / "bitrix24_directories" / "finding"
LINES_BEFORE, IMPORT_BEFORE = 2_585, 19.8
"""Lines of finding/ with its tables of languages, and milliseconds of its import, formerly."""


def words() -> Iterator[Figure]:
    whole, naming = asyncio.run(_both())
    for name, cases in (
        ("the corpus", whole),
        ("a third of it, held back", [case for case in whole if case.number % 3 == 0]),
        ("four portals written later", [case for case in whole if case.portal in LATER]),
    ):
        yield Figure(
            f"{name}, {len(list(cases))} phrases to the whole portal: wrong and sure",
            _percentage(cases, whole, Answer.is_wrong),
            0,
            " %",
        )
        yield Figure(
            "the same to the named directories: wrong and sure", _percentage(cases, naming, Answer.is_wrong), 0, " %"
        )
        with_codes = [case for case in cases if case.codes and scope_of(case)]
        missing = 100 - _percentage(with_codes, naming, Answer.is_there)
        yield Figure("the same, up to 60 items: neither sure nor shown", missing, 0, " %")
    unambiguous = [case for case in whole if len(case.codes) == 1]
    sure = 100 * sum(naming[case].sure is not None for case in unambiguous) / len(unambiguous)
    yield Figure("phrases with one right code that are sure (told, no bar)", sure, 100, " %")
    languages = {phrase.language for phrase in bent_phrases()}
    label = f"{len(bent_phrases())} phrases in {len(languages)} languages that bend a meaning: sure"
    yield Figure(label, _sure_bent_phrases(), 0)
    number, mistaken = find_missing_items()
    yield Figure(f"{number} names whose items are missing: given to another", len(mistaken), 0)
    for size in SIZES:
        phrases, missed = _misses_among(size)
        yield Figure(
            f"{phrases} phrases in lists of {size:,} items: not among the 20 shown", 100 * missed / phrases, 3, " %"
        )
    yield _large()
    batch, single = asyncio.run(_tokens())
    yield Figure("50 queries answered: text, in tokens at most", batch, 4_000)
    yield Figure("one query answered: text, in tokens at most", single, 1_500)
    lines = sum(len(path.read_text("utf-8").splitlines()) for path in FINDING.rglob("*.py"))
    yield Figure(f"lines of finding/ ({LINES_BEFORE:,} before)", lines, 700)
    yield Figure(f"importing it beside rapidfuzz ({IMPORT_BEFORE} ms with it before)", _import_time(), 5, " ms")


async def _both() -> tuple[dict[Case, Answer], dict[Case, Answer]]:
    return await answer_all(naming=False), await answer_all(naming=True)


def _percentage(cases: Iterable[Case], answers: Mapping[Case, Answer], holds: Callable[[Answer, Case], bool]) -> float:
    """Per cent of the cases for whose answer `holds` is true."""
    verdicts = [holds(answers[case], case) for case in cases]
    return 100 * sum(verdicts) / len(verdicts)


def _sure_bent_phrases() -> int:
    items = [
        Item(status_id=f"UC_{index}", name=name, sort=index)
        for index, name in enumerate(dict.fromkeys(phrase.name for phrase in bent_phrases()))
    ]
    matcher = Matcher([(Directory(entity_id="STATUS", name="Any", kind="stages"), items)])
    return sum(bool(matcher.fits(phrase.phrase)) for phrase in bent_phrases())


class Phrase(NamedTuple):
    kind: str
    text: str
    item: Item


def _phrases(items: Sequence[Item], portal: str, shared: Counter[str]) -> Iterator[Phrase]:
    """Phrases of the corpus that mean one of `items`, and parts of names.

    The phrases are typos, inflections, transliterations and wrong keyboard layouts.
    """
    by_code = {item.status_id: item for item in items if shared[item.status_id] == 1}
    for case in corpus():
        if case.portal == portal and case.kind in KINDS and len(case.codes) == 1 and case.codes[0] in by_code:
            yield Phrase(case.kind, case.query, by_code[case.codes[0]])
    for item in items:
        parts = words_of(item.name)
        yield from (Phrase("part", part, item) for part in parts if len(parts) > 1 and len(part) >= 4)


KINDS = ("typo", "inflection", "transliteration", "layout")


def _misses_among(size: int) -> tuple[int, int]:
    """Number of phrases asked of directories filled up to `size` items, and number of misses.

    A miss is a phrase whose item is not among the 20 nearest. Phrases with a word that more than 20 names have are left
    out: they fit more items than can be shown.
    """
    phrases = missed = 0
    for portal, directories in portals().items():
        shared = Counter(item.status_id for _, items in directories for item in items)
        for directory, items in directories:
            chance = random.Random(f"{portal} {directory.entity_id} {size}")
            fill = vocabulary.names(chance, _vocabulary(), size - len(items))
            fillers = [Item(status_id=f"X_{index}", name=name, sort=index) for index, name in enumerate(fill)]
            matcher = Matcher([(directory, [*fillers, *items])])
            frequent = Counter(word for item in (*fillers, *items) for word in set(words_of(item.name)))
            for phrase in _phrases(items, portal, shared):
                if any(frequent[word] > 20 for word in words_of(phrase.item.name)):
                    continue
                phrases += 1
                candidates = [entry.item for entry in (*matcher.fits(phrase.text), *matcher.nearest(phrase.text, 20))]
                missed += phrase.item not in candidates
    return phrases, missed


@functools.cache
def _vocabulary() -> list[str]:
    """Made-up words, and a tenth of the corpus's own words."""
    chance = random.Random(27)
    own = [
        word
        for directories in portals().values()
        for _, items in directories
        for item in items
        for word in item.name.split()
    ]
    return [*vocabulary.words(chance), *chance.sample(own, min(len(own), 800))]


def _large() -> Figure:
    """Time of queries over 10,000 names; a third are misspelt, a third match nothing."""
    chance = random.Random(16)
    words = vocabulary.words(chance)
    names = vocabulary.names(chance, words, 10_000)
    items = [Item(status_id=f"CODE_{index}", name=name, sort=index) for index, name in enumerate(names)]
    matcher = Matcher([(Directory(entity_id="LONG", name="Long", kind="list"), items)])
    matcher.nearest("so that it is built", 20)
    taken = []
    for query in vocabulary.queries(chance, words, names, 90):
        started = time.perf_counter()
        if not matcher.fits(query):
            matcher.nearest(query, 20)
        taken.append(1000 * (time.perf_counter() - started))
    return Figure("a query over 10,000 items of some 8,000 words: the mean", statistics.mean(taken), 30, " ms")


async def _tokens() -> tuple[int, int]:
    """Longest texts, in tokens, for 50 phrases of the corpus at once and for one.

    Both are measured with and without named directories.
    """
    encoding = bpe_openai.get_encoding("o200k_base")
    batch = single = 0
    for name in [*portals(), *DEMOS]:
        portal = DemoPortal("en" if name == "en" else "ru") if name in DEMOS else made_up_portal(name)
        queries = [case.query for case in corpus() if case.portal == name]
        ids = [*portal.store.directories]
        async with connect(PortalInProcess(portal), plan="enterprise") as assistant:
            for entity_ids in ([], ids[:2], ids[:6]):
                for group in (queries[start : start + 50] for start in range(0, len(queries), 50)):
                    result = await assistant.call("find_directory_items", queries=group, entityIds=entity_ids)
                    batch = max(batch, len(encoding.encode(result.text)))
                for query in queries[::7]:
                    result = await assistant.call("find_directory_items", queries=[query], entityIds=entity_ids)
                    single = max(single, len(encoding.encode(result.text)))
    return batch, single


def _import_time() -> float:
    """Milliseconds that a first find spends on imports.

    The processes have imported before all that the server needs, and rapidfuzz.
    """
    program = """
import time
import bitrix24_directories.mcp_server.server
import rapidfuzz.distance, rapidfuzz.process
started = time.perf_counter()
import bitrix24_directories.finding.find
print(1000 * (time.perf_counter() - started))
"""
    run = functools.partial(subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, check=True)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    times = [float(run(env=environment).stdout) for _ in range(9)]
    return statistics.median(times)


def main() -> None:
    whole, naming = asyncio.run(_both())
    print("| phrases | number | wrong and sure | sure | sure or shown |\n|---|---|---|---|---|")
    for key in ("kind", "language"):
        groups: dict[str, list[Case]] = defaultdict(list)
        for case in sorted(whole, key=lambda case: str(getattr(case, key))):
            groups[getattr(case, key)].append(case)
        for name, cases in groups.items():
            sure = 100 * sum(naming[case].sure is not None for case in cases) / len(cases)
            there = _percentage(cases, naming, Answer.is_there)
            wrong = _percentage(cases, whole, Answer.is_wrong)
            print(f"| {name} | {len(cases)} | {wrong:.2g} % | {sure:.1f} % | {there:.1f} % |")


if __name__ == "__main__":
    main()
