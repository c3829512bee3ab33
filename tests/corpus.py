"""Reads the corpus (tests/corpus): made-up portals, people's phrases, and good answers.

A portal's file has its directories (`directory ID | title | kind | success CODE | failure CODE | pipeline NUMBER NAME`,
then `CODE: name` lines) and its phrases (`phrases LANGUAGE KIND`, then `query => CODE`, `=> A+B` for an ambiguous one,
`=> -` for a phrase without a match). demo.txt asks the two demo portals, in a format of its own.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.finding.matching import Matcher
from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal import store as portal_store
from support import PortalInProcess, connect

FOLDER = Path(__file__).with_name("corpus")
DEMOS = ("en", "ru")
ALL_SHOWN = 60
"""Largest number of items of the named directories together that are all shown."""

LATER = ("en_software", "ru_clinic", "de_travel", "en_cars")
"""Portals with phrases written after the matcher, and unseen until it was measured on them."""


@dataclass(frozen=True)
class Case:
    """One phrase: its query, portal and directories, and the expected codes.

    One code: it is the right one. Several: the phrase is ambiguous. None: the portal has no match.
    """

    number: int
    portal: str
    language: str
    kind: str
    query: str
    codes: tuple[str, ...]
    entity_ids: tuple[str, ...]

    @property
    def held_back(self) -> bool:
        return self.portal in LATER or self.number % 3 == 0


@dataclass(frozen=True)
class Answer:
    """Answer to a case: the code given as sure, if any, and all codes in the answer."""

    sure: str | None
    codes: frozenset[str]

    def is_wrong(self, case: Case) -> bool:
        """True if a wrong code was given as sure."""
        return self.sure is not None and case.codes != (self.sure,)

    def is_there(self, case: Case) -> bool:
        """True if the right code is sure, or can be chosen from the answer."""
        return not self.is_wrong(case) and set(case.codes) <= self.codes


@functools.cache
def portals() -> dict[str, list[tuple[Directory, list[Item]]]]:
    """The made-up portals by name, each with its directories."""
    return {path.stem: list(_directories(path)) for path in sorted(FOLDER.glob("??_*.txt"))}


@functools.cache
def corpus() -> list[Case]:
    rows = [*(row for path in sorted(FOLDER.glob("??_*.txt")) for row in _phrases(path)), *_demo()]
    return [Case(number, *row) for number, row in enumerate(rows, 1)]


def made_up_portal(name: str) -> DemoPortal:
    """The demo portal with nothing but the directories of a made-up one."""
    portal = DemoPortal()
    portal.store.directories, portal.store.items = {}, {}
    for directory, items in portals()[name]:
        kind = directory.kind == "stages"
        portal.store.directories[directory.entity_id] = portal_store.Directory(
            directory.entity_id,
            directory.name,
            entity_type_id=(1 if directory.entity_id == "STATUS" else 2) if kind else None,
            prefix=f"C{directory.category_id}" if directory.category_id else "",
            category_id=directory.category_id or (0 if kind else None),
            category_name=directory.pipeline or "",
        )
        for item in items:
            semantics = {directory.success: "S", directory.failure: "F"}.get(item.status_id, "")
            columns = (portal.store.next_id(), directory.entity_id, item.status_id, item.name, item.sort)
            portal.store.put(portal_store.Item(*columns, semantics=semantics))
    return portal


def _read_answer(result: dict[str, Any], choices: dict[str, list[str]]) -> Answer:
    """Answer that a program reads from one result of find_directory_items."""
    codes = [match["statusId"] for match in result["matches"]]
    sure = codes[0] if result["status"] == "exact" else None
    choice_codes = [choice.partition(": ")[0] for of_directory in choices.values() for choice in of_directory]
    elsewhere = [match["statusId"] for match in result.get("elsewhere", ())]
    return Answer(sure, frozenset([*codes, *choice_codes, *elsewhere]))


def scope_of(case: Case) -> tuple[str, ...]:
    """Directories that an assistant would name for a case: those of its codes, up to 60 items."""
    if case.portal in DEMOS:
        return case.entity_ids
    having = [
        (directory.entity_id, len(items))
        for directory, items in portals()[case.portal]
        if {item.status_id for item in items} & set(case.codes)
    ]
    ids = [entity_id for entity_id, _ in having]
    return tuple(ids) if sum(number for _, number in having) <= ALL_SHOWN else ()


async def answer_all(*, naming: bool) -> dict[Case, Answer]:
    """Answers to all cases, asked as an assistant would, up to 50 queries a call for each scope.

    With `naming` a call names the directories of the codes, if these have at most 60 items together. Otherwise it names
    only those that the corpus itself names.
    """
    by_portal: dict[str, dict[tuple[str, ...], list[Case]]] = defaultdict(lambda: defaultdict(list))
    for case in corpus():
        by_portal[case.portal][scope_of(case) if naming else case.entity_ids].append(case)
    answers: dict[Case, Answer] = {}
    for name, by_scope in by_portal.items():
        portal = DemoPortal("en" if name == "en" else "ru") if name in DEMOS else made_up_portal(name)
        async with connect(PortalInProcess(portal), plan="enterprise") as assistant:
            for entity_ids, cases in by_scope.items():
                for group in (cases[start : start + 50] for start in range(0, len(cases), 50)):
                    queries = [case.query for case in group]
                    result = await assistant.call("find_directory_items", queries=queries, entityIds=list(entity_ids))
                    assert not result.is_error, result.text
                    read = functools.partial(_read_answer, choices=result.structured.get("choices", {}))
                    answers |= zip(group, map(read, result.structured["results"]), strict=True)
    return answers


def find_missing_items() -> tuple[int, list[tuple[str, str]]]:
    """Number of names asked for in directories without their items, and the false matches."""
    number, sure = 0, []
    for directory, items in (pair for portal in portals().values() for pair in portal):
        for item in items:
            fits = [*Matcher([(directory, [other for other in items if other is not item])]).fits(item.name)]
            number += 1
            if len(fits) == 1:
                sure.append((item.name, fits[0].item.name))
    return number, sure


@dataclass(frozen=True)
class Bent:
    """A phrase that denies, wishes, dates or excepts the meaning of an item's name."""

    language: str
    name: str
    phrase: str


@functools.cache
def bent_phrases() -> list[Bent]:
    """The phrases of bent.txt: `name LANGUAGE NAME`, then one phrase a line."""
    phrases: list[Bent] = []
    language = name = ""
    for line in _lines(FOLDER / "bent.txt"):
        if line.startswith("name "):
            _, language, name = line.split(" ", 2)
        else:
            phrases.append(Bent(language, name, line))
    return phrases


def _lines(path: Path) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line


def _directories(path: Path) -> Iterator[tuple[Directory, list[Item]]]:
    items: list[Item] = []
    for line in _lines(path):
        if line.startswith("directory "):
            entity_id, title, kind, *rest = (cell.strip() for cell in line.removeprefix("directory ").split("|"))
            more = dict(cell.split(" ", 1) for cell in rest)
            number, _, pipeline = more.pop("pipeline", "").partition(" ")
            items = []
            yield (
                Directory.model_validate(
                    {"entityId": entity_id, "name": title, "kind": kind, "categoryId": number or None}
                    | {"pipeline": pipeline or None}
                    | more
                ),
                items,
            )
        elif not line.startswith("phrases ") and " => " not in line:
            code, _, name = line.partition(": ")
            items.append(Item(status_id=code, name=name, sort=10 * (len(items) + 1)))


_Row = tuple[str, str, str, str, tuple[str, ...], tuple[str, ...]]


def _phrases(path: Path) -> Iterator[_Row]:
    language = kind = ""
    for line in _lines(path):
        if line.startswith("phrases "):
            _, language, kind = line.split()
        elif " => " in line:
            query, _, codes = line.partition(" => ")
            yield path.stem, language, kind, query, _codes(codes), ()


def _demo() -> Iterator[_Row]:
    """Lines of the older format: portal | entityIds (* all) | query | status | codes."""
    for line in _lines(FOLDER / "demo.txt"):
        language, scope, query, status, codes = (cell.strip() for cell in line.split(" |"))
        exact = _codes("+".join(codes.split("+")[:1])) if status in ("exact", "likely") else ()
        ambiguous = _codes(codes) if status == "ambiguous" else ()
        yield (
            language,
            language,
            "demo",
            query,
            exact or ambiguous,
            () if scope == "*" else tuple(scope.split(",")),
        )


def _codes(text: str) -> tuple[str, ...]:
    return tuple(code for code in text.strip().split("+") if code not in ("", "-"))
