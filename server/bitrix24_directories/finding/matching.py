"""From a human's words to items: which item of which directory a query means, or that it is not to be known.

Being wrong is worse than asking: whoever asks reads the codes to choose from better than any rule. So what denies, or
counts otherwise, is no candidate at all; and a candidate is sure only where nothing else fits, each telling word of
the query stands in it, and the query names enough of it. Pure: nothing here calls anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from bitrix24_directories.directories.models import Directory, Item, Match, QueryResult
from bitrix24_directories.words import plain

from .entries import Entry, Evidence
from .item_index import ItemIndex
from .languages import KNOWN
from .layouts import as_meant
from .question import Candidate, Fit, Question
from .tokens import tokens_of

LISTED = 8
"""Candidates of an ambiguous query that are listed at most."""

NEAREST = 10
"""Items that are shown where nothing is sure."""

_LOOKS_LIKE_A_CODE = re.compile(r"(?=.*[A-Z])[A-Z0-9]+(?:[_:][A-Z0-9]+)*")
_PREFIXED = re.compile(r"(?:C\d+|DT\d+_\d+):\S+", re.IGNORECASE)  # a code; if it is none of the portal's, it is wrong
_NO_WORD = re.compile(r"[\d_:]")
_QUOTES = "\"'`«»“”„()[].,;!?"


_REASONS = {
    Evidence.SAME: "words of the name",
    Evidence.STEM: "words of the name in another form",
    Evidence.DENIED: "the same denied in other words",
    Evidence.TYPO: "similar spelling",
    Evidence.TWO_TYPOS: "similar spelling",
    Evidence.CONCEPT: "another word for it",
    Evidence.STAGE: "meaning of the stage",
    Evidence.BEGINNING: "beginnings of words",
    Evidence.CODE: "words of the code",
}


class Matcher:
    """Finds queries in the items of some directories."""

    def __init__(self, contents: Iterable[tuple[Directory, Sequence[Item]]]) -> None:
        self._index = ItemIndex(contents)

    def find(self, query: str) -> QueryResult:
        """What `query` means among the items of the directories.

        `exact` and `likely` are sure. The matches of `ambiguous` all fit; those of `none` are the nearest, if any.
        """
        question = Question(query, self._index)
        if exact := self._exact(query, question):
            return _result(query, "exact" if len(exact) == 1 else "ambiguous", list(exact.items()))
        if _PREFIXED.fullmatch(query.strip()):
            return _result(query, "none", [])
        fitting = _named_rather(question.fitting + question.misheard(question.fitting))
        by_code = self._index.by_code(query.strip())
        if question.denials < 2:  # what is denied twice is too hard to tell
            sure = _sure(fitting)
            if sure is not None and all(entry is sure.entry for entry in by_code):
                return _result(query, "likely", [(sure.entry, _REASONS[sure.weakest])])
            if not fitting and (told := question.told()):
                return _result(query, "likely", [(told, "all words of the name")])
        if not fitting and not by_code and (meant := self._meant(query)):
            return _result(query, "likely" if len(meant) == 1 else "ambiguous", meant)
        return self._unsure(query, question, fitting, by_code)

    def _unsure(
        self, query: str, question: Question, fitting: Sequence[Candidate], by_code: Sequence[Entry]
    ) -> QueryResult:
        """Several that fit, whole names before parts of them; or the nearest."""
        coded = [(entry, _by_code(entry, query)) for entry in by_code]
        named = [(one.entry, _REASONS[one.weakest]) for one in fitting if one.entry not in by_code]
        whole = {one.entry: _REASONS[one.weakest] for one in fitting if one.fit >= Fit.SPELT}
        if len(whole) > 1 and whole.keys() >= set(by_code):
            return _result(query, "ambiguous", list(whole.items()))
        if len(coded) + len(named) > 1:
            return _result(query, "ambiguous", coded + named)
        others = [(one.entry, "near") for one in fitting or question.near() if one.entry not in by_code]
        return _result(query, "none", (coded + others)[:NEAREST])

    def _meant(self, query: str) -> list[tuple[Entry, str]]:
        """What was meant by the same keys in another layout: only a code or a whole name is taken for it."""
        for meant in as_meant(query):
            question = Question(meant, self._index)
            whole = (one.entry for one in question.fitting if one.fit == Fit.WHOLE)
            entries = list(self._exact(meant, question)) or list(whole)
            if entries:
                return [(entry, f'"{meant}" in another keyboard layout') for entry in entries]
        return []

    def _exact(self, query: str, question: Question) -> dict[Entry, str]:
        """Items whose code or name the query is, and which of the two."""
        stripped = query.strip().strip(_QUOTES).strip()
        by_code, by_name = self._index.by_code(stripped), self._index.by_name(query)
        if by_code and (_LOOKS_LIKE_A_CODE.fullmatch(stripped) or _NO_WORD.search(stripped)):
            return {entry: _by_code(entry, stripped) for entry in by_code} | dict.fromkeys(by_name, "this name")
        if not by_name:  # a word that is a code: only where the name says the same
            return {entry: _by_code(entry, stripped) for entry in _agreeing(by_code, question)}
        found = dict.fromkeys(_in_other_forms(question), "this name in another form")
        found |= dict.fromkeys(by_name, "this name")
        for entry in by_code:
            found.setdefault(entry, _by_code(entry, stripped))
        return found


def means_something(text: str) -> bool:
    """Whether a word of `text` is known to mean something, whatever has it as its code."""
    return any(plain(token.text) in KNOWN for token in tokens_of(text))


def record_match(directory: Directory, item: Item, number: int) -> Match:
    """The item that `number` is the numeric record id of."""
    return _match(directory, item, f"{number} is the record id; this is the code")


def _in_other_forms(question: Question) -> list[Entry]:
    """Items that one word may be the whole name of as well: "client" beside "Clients"."""
    if not question.is_one_word:
        return []
    whole = (one.entry for one in question.fitting if one.fit == Fit.WHOLE)
    return [entry for entry in whole if len(tokens_of(entry.item.name)) == 1]


def _agreeing(by_code: Sequence[Entry], question: Question) -> list[Entry]:
    """Those whose names say what the words that are their codes do, where no other item's name does."""
    fitting = {one.entry: one.fit for one in question.fitting if one.weakest > Evidence.CODE}
    alone = fitting.keys() <= set(by_code)
    return [entry for entry in by_code if alone and fitting.get(entry, Fit.NEAR) >= Fit.MEANT]


def _named_rather(fitting: list[Candidate]) -> list[Candidate]:
    """What is called so; what only stands where others do that are, where nothing is."""
    named = [one for one in fitting if one.weakest != Evidence.STAGE]
    return named if any(one.fit >= Fit.MEANT for one in named) else fitting


def _sure(fitting: Sequence[Candidate]) -> Candidate | None:
    """The one that is meant: a whole name beside parts of others, else what alone fits."""
    if not fitting:
        return None
    best = max(fitting, key=lambda one: one.fit)
    rivals = [one for one in fitting if one is not best]
    if best.fit >= Fit.SPELT:
        return None if any(one.fit >= Fit.MEANT for one in rivals) else best
    if best.fit == Fit.MEANT and best.weakest == Evidence.CONCEPT:  # what means the same may be part of a longer name
        return None if any(one.fit != Fit.PART or one.weakest > Evidence.CONCEPT for one in rivals) else best
    return best if best.fit >= Fit.MOST and not rivals else None


def _by_code(entry: Entry, typed: str) -> str:
    return "this code" if typed.casefold() == entry.item.status_id.casefold() else "this code, without its prefix"


def _match(directory: Directory, item: Item, reason: str) -> Match:
    return Match(entity_id=directory.entity_id, status_id=item.status_id, name=item.name, reason=reason)


def _result(
    query: str, status: Literal["exact", "likely", "ambiguous", "none"], found: Sequence[tuple[Entry, str]]
) -> QueryResult:
    apart: Literal["pipeline", "directory", "full name"] | None = None
    if status == "ambiguous":
        directories = {entry.scope.directory.entity_id: entry.scope.directory for entry, _ in found}
        used_in = {tuple(one.used_in or (one.entity_id,)) for one in directories.values()}
        apart = "full name" if len(directories) == 1 else "directory" if len(used_in) > 1 else "pipeline"
    listed = found[: NEAREST if status == "none" else LISTED]
    return QueryResult(
        query=query,
        status=status,
        matches=[_match(entry.scope.directory, entry.item, reason) for entry, reason in listed],
        tell_apart=apart,
        more=(len(found) - len(listed) or None) if status == "ambiguous" else None,
    )
