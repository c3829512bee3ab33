"""Judges a code among the items of a list: a directory's, an enumeration's, pipelines, currencies. Pure.

Facts: a wrong code is stored as it is; records hold an enumeration's ID, and its text becomes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.finding.matching import Matcher, means_something
from bitrix24_directories.text import spellings
from bitrix24_directories.words import same_text

from .verdicts import Verdict, option

WORDS_LIMIT = 200
"""Characters of a value that are looked for among names."""

SHOWN = 20
"""Items of a list that are all shown where nothing fits."""


@dataclass(frozen=True)
class CodeList:
    """A list of codes: what it is called in texts, and its items."""

    directory: Directory
    items: Sequence[Item]

    @cached_property
    def matcher(self) -> Matcher:
        """Made once: many records may be looked up in a long list."""
        return Matcher([(self.directory, self.items)])


def code_text(value: Any) -> str:
    """A value as a code: records carry `79` and `"79"` alike."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def judge_code(value: Any, lists: Sequence[CodeList], otherwise: str) -> Verdict:
    """What `value` is among the codes of `lists`: right as it stands, or what its words mean.

    `otherwise` is what Bitrix24 would do with it where it is not right.
    """
    text = code_text(value)
    items = [item for of in lists for item in of.items]
    for item in items:
        if item.status_id == text:
            namesakes = [one for one in items if one is not item and same_text(one.name) == same_text(text) != ""]
            if namesakes:
                note = f"it is the code of one and the name of {'another' if len(namesakes) == 1 else 'others'}"
                return Verdict("ambiguous", candidates=(item, *namesakes), note=note)
            return Verdict("right", value, item.name)
    called = " or ".join(dict.fromkeys(of.directory.name or of.directory.entity_id for of in lists))
    if not items:
        return Verdict("wrong", note=f"{called} has no items", otherwise=otherwise)
    matches: tuple[Item, ...] = ()
    if text.strip() and len(text) <= WORDS_LIMIT:
        matcher = lists[0].matcher if len(lists) == 1 else Matcher((of.directory, of.items) for of in lists)
        found = matcher.find(text)
        matches = tuple(option(one.status_id, one.name) for one in found.matches)
        if found.status in ("exact", "likely"):
            return Verdict("likely", matches[0].status_id, matches[0].name, otherwise=otherwise)
        if found.status == "ambiguous":
            return Verdict("ambiguous", candidates=matches, otherwise=otherwise)
        cased = [item for item in items if text.strip().casefold() in spellings(item.status_id)]
        if len(cased) == 1 and not means_something(text):
            return Verdict("likely", cased[0].status_id, cased[0].name, otherwise=otherwise)
    near = tuple(items) if len(items) <= SHOWN else matches
    return Verdict("wrong", candidates=near, note=f"no code or name of {called}", otherwise=otherwise)
