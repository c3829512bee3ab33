"""From a human's words to items: which item of which directory a query means, or that it is not to be known.

Being wrong is worse than asking: whoever asks reads the codes to choose from better than any rule. So what denies, or
counts otherwise, is no candidate at all; and a candidate is sure only where nothing else fits, each telling word of
the query stands in it, and the query names enough of it. Pure: nothing here calls anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise
from typing import Literal

from bitrix24_directories.directories.models import Directory, Item, Match, QueryResult

from .item_index import WORDS_LOOKED_AT, Entry, Evidence, Hit, Hits, ItemIndex
from .languages import KNOWN
from .layouts import as_meant
from .scopes import Scope
from .tokens import Token, concepts_at, denials, initials_at, tokens_of

LISTED = 8
"""Candidates of an ambiguous query that are listed at most."""

NEAREST = 10
"""Items that are shown where nothing is sure."""

_LONG_FILLER = 4  # letters
_SENTENCE = 4  # words of a query that may say more than a name
_LOOKS_LIKE_A_CODE = re.compile(r"(?=.*[A-Z])[A-Z0-9]+(?:[_:][A-Z0-9]+)*")
_PREFIXED = re.compile(r"(?:C\d+|DT\d+_\d+):\S+", re.IGNORECASE)  # a code; if it is none of the portal's, it is wrong
_NO_WORD = re.compile(r"[\d_:]")
_QUOTES = "\"'`«»“”„()[].,;!?"


class Fit(IntEnum):
    """How well an item fits a query whose every telling word stands in it, the weakest first.

    PART: but for most of the name. MOST: one of its words is not asked for. MEANT: the whole name, by what its words
    mean or begin with. SPELT: the whole name with typos. WHOLE: the whole name.
    """

    PART = 1
    MOST = 2
    MEANT = 3
    SPELT = 4
    WHOLE = 5


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


@dataclass(slots=True)
class _Candidate:
    """An item, the share of the query's telling words that stand in it, and how well it fits where all of them do."""

    entry: Entry
    share: float
    fit: Fit | None
    weakest: Evidence


class Matcher:
    """Finds queries in the items of some directories."""

    def __init__(self, contents: Iterable[tuple[Directory, Sequence[Item]]]) -> None:
        self._index = ItemIndex(contents)

    def find(self, query: str) -> QueryResult:
        """What `query` means among the items of the directories.

        `exact` and `likely` are sure. The matches of `ambiguous` all fit; those of `none` are the nearest, if any.
        """
        if exact := self._exact(query):
            return _result(query, "exact" if len(exact) == 1 else "ambiguous", list(exact.items()))
        if _PREFIXED.fullmatch(query.strip()):
            return _result(query, "none", [])
        question = _Question(query, self._index)
        candidates = question.candidates()
        fitting = [one for one in candidates if one.fit]
        fitting = _named_rather(fitting + question.misheard(fitting))
        by_code = self._index.by_code(query.strip())
        if not fitting and not by_code:
            for meant in as_meant(query):
                found = self._meant(meant)
                if found is not None:
                    return found.model_copy(update={"query": query})
        doubtful = question.denials > 1
        sure = None if doubtful else _sure(fitting)
        if sure is not None and not any(entry is not sure.entry for entry in by_code):
            return _result(query, "likely", [(sure.entry, _REASONS[sure.weakest])])
        if not fitting and not doubtful and (told := question.told()):
            return _result(query, "likely", [(told, "all words of the name")])
        coded = [(entry, _by_code(entry, query)) for entry in by_code]
        named = [(one.entry, _REASONS[one.weakest]) for one in fitting if one.entry not in by_code]
        whole = [(one.entry, _REASONS[one.weakest]) for one in fitting if (one.fit or 0) >= Fit.SPELT]
        if len(coded) + len(named) > 1:
            return _result(
                query, "ambiguous", whole if len(whole) > 1 and {*by_code} <= {*dict(whole)} else coded + named
            )
        near = sorted(candidates, key=lambda one: (-(one.fit or 0), -one.share))
        others = [(one.entry, "near") for one in near if one.entry not in by_code]
        return _result(query, "none", (coded + others)[:NEAREST])

    def _meant(self, query: str) -> QueryResult | None:
        """What was meant by other keys: only a code or a whole name is taken for it."""
        question = _Question(query, self._index)
        whole = [one for one in question.candidates() if one.fit == Fit.WHOLE]
        exact = self._exact(query)
        entries = list(exact) or [one.entry for one in whole]
        if not entries:
            return None
        matches = [(entry, f'"{query}" in another keyboard layout') for entry in entries]
        return _result(query, "likely" if len(entries) == 1 else "ambiguous", matches)

    def _exact(self, query: str) -> dict[Entry, str]:
        """Items whose code or name the query is, and which of the two."""
        stripped = query.strip().strip(_QUOTES).strip()
        by_code, by_name = self._index.by_code(stripped), self._index.by_name(query)
        if by_code and (_LOOKS_LIKE_A_CODE.fullmatch(stripped) or _NO_WORD.search(stripped)):
            return {entry: _by_code(entry, stripped) for entry in by_code} | dict.fromkeys(by_name, "this name")
        found = dict.fromkeys(by_name, "this name")
        if found:
            found = dict.fromkeys(self._in_other_forms(query), "this name in another form") | found
        else:  # a word that is a code: only where the name says the same
            return {entry: _by_code(entry, stripped) for entry in by_code if self._agrees(entry, by_code, stripped)}
        for entry in by_code:
            found.setdefault(entry, _by_code(entry, stripped))
        return found

    def _in_other_forms(self, query: str) -> list[Entry]:
        """Items that one word may be the whole name of as well: "client" beside "Clients"."""
        question = _Question(query, self._index)
        if not question.is_one_word:
            return []
        whole = (one.entry for one in question.candidates() if one.fit == Fit.WHOLE)
        return [entry for entry in whole if len(tokens_of(entry.item.name)) == 1]

    def _agrees(self, entry: Entry, by_code: Sequence[Entry], query: str) -> bool:
        """Whether an item's name says what the word that is its code does, and no other item's does."""
        question = _Question(query, self._index)
        fitting = {one.entry for one in question.candidates() if one.fit and one.weakest > Evidence.CODE}
        return entry in fitting and fitting <= set(by_code)


class _Question:
    """A query's words, and where each of them stands in an index."""

    def __init__(self, query: str, index: ItemIndex, *, all_words: bool = False) -> None:
        self._query = query
        self._index = index
        self._tokens = tokens_of(query)[: 2 * WORDS_LOOKED_AT]
        if all_words:
            self._tokens = tuple(_as_word(token) for token in self._tokens)
        self.denials = denials(self._tokens)
        self._denied = self.denials > 0
        said = [place for place, token in enumerate(self._tokens) if token.kind in ("word", "number")]
        self._telling = said or [place for place, token in enumerate(self._tokens) if token.kind == "filler"]
        self._numbers = [self._tokens[place].whole for place in said if self._tokens[place].kind == "number"]
        self._hits: dict[int, list[Hits]] = {place: [index.hits(self._tokens[place])] for place in self._telling}
        for first, second in pairwise(self._telling):
            joined = index.joined_hits(self._tokens[first], self._tokens[second])
            self._hits[first].append(joined)
            self._hits[second].append(joined)
        phrases = [(start, end, index.concept_hits(concept)) for start, end, concept in concepts_at(self._tokens)]
        phrases += [(start, end, index.short_hits(letters)) for start, end, letters in initials_at(self._tokens)]
        for start, end, found in phrases:
            for place in range(start, end):
                if found and place in self._hits:
                    self._hits[place].append(found)
        self._named = {scope: self._naming(scope) for scope in index.scopes}

    def misheard(self, fitting: Sequence[_Candidate]) -> list[_Candidate]:
        """What else fits if words that say nothing were meant as others: "could call" for "Cold call"."""
        if len(self._tokens) >= _SENTENCE or not any(_as_word(token) is not token for token in self._tokens):
            return []
        known = {one.entry: one.fit or 0 for one in fitting}
        others = _Question(self._query, self._index, all_words=True).candidates()
        return [one for one in others if (one.fit or 0) > known.get(one.entry, 0)]

    @property
    def is_one_word(self) -> bool:
        return len(self._telling) == 1

    def candidates(self) -> list[_Candidate]:
        """The items in which something of the query stands and that do not contradict it, the best first."""
        numbers = {number for hits in self._hits.values() for some in hits for number in some}
        found = [one for number in sorted(numbers) if (one := self._candidate(number)) is not None]
        return sorted(found, key=lambda one: (-one.share, -(one.fit or 0)))

    def told(self) -> Entry | None:
        """The one item whose every telling word stands in the query, a sentence that says more than a name."""
        if len(self._tokens) < _SENTENCE:
            return None
        standing: dict[int, list[Hit]] = {}
        for hits in self._hits.values():
            for number, hit in _best_of(hits).items():
                if hit.evidence >= Evidence.DENIED:
                    standing.setdefault(number, []).append(hit)
        told = [self._index.entries[number] for number, hits in standing.items() if self._is_told(number, hits)]
        return told[0] if len(told) == 1 else None

    def _is_told(self, number: int, hits: Sequence[Hit]) -> bool:
        entry = self._index.entries[number]
        bits = 0
        for hit in hits:
            bits |= hit.bits
        denials = self._denied + bool(entry.denied) + sum(hit.denied for hit in hits)
        words = entry.telling.bit_count() - len(entry.numbers) + self._denied
        whole = not entry.telling & ~bits and words > 1
        return whole and denials % 2 == 0 and _is_part(entry.numbers, self._numbers)

    def _naming(self, scope: Scope) -> set[int]:
        """The places of words that name the directory."""
        languages = self._index.languages
        return {place for place in self._telling if scope.is_named_by(self._tokens[place], languages, self._query)}

    def _candidate(self, number: int) -> _Candidate | None:
        entry = self._index.entries[number]
        named = self._named[entry.scope]
        own = {
            place: hit
            for place in self._telling
            if (hit := _best(self._hits[place], number)) is not None
            and not (place in named and hit.evidence == Evidence.CODE)
        }
        if not own:
            return None
        if self._contradicts(entry, own, named):
            return None
        share = len(own.keys() | named) / len(self._telling)
        weakest = min(hit.evidence for hit in own.values())
        if share < 1 or set(own) <= named - _told_by(own):
            return _Candidate(entry, share, None, weakest)
        fit = self._fit(entry, own)
        wide = {place: _widest(self._hits[place], number) for place in own}
        if (wider := self._fit(entry, wide)) > fit:
            return _Candidate(entry, share, wider, min(hit.evidence for hit in wide.values()))
        return _Candidate(entry, share, fit, weakest)

    def _contradicts(self, entry: Entry, own: dict[int, Hit], named: set[int]) -> bool:
        """Whether one of the two denies what the other affirms, or the query counts otherwise."""
        flips = sum(hit.denied for hit in own.values())
        by_name = {place: hit for place, hit in own.items() if hit.evidence != Evidence.STAGE}
        if (self._denied + bool(entry.denied & _bits(by_name)) + flips) % 2:
            return True
        asked = [token.whole for place in self._telling if (token := self._tokens[place]).kind == "number"
                 and place not in named]  # fmt: skip
        return bool(asked) and not _is_part(asked, entry.numbers)

    def _fit(self, entry: Entry, own: dict[int, Hit]) -> Fit:
        bits = _bits(own)
        left = min((side & ~bits).bit_count() for side in (entry.telling, *entry.sides))
        evidence = {hit.evidence for hit in own.values()}
        strong = max(evidence) >= Evidence.TYPO
        if left or entry.denied & ~bits:
            several = (entry.telling & bits).bit_count() + bool(entry.denied & bits) > 1
            return Fit.MOST if several and left == 1 and strong and not entry.denied & ~bits else Fit.PART
        if min(evidence) >= Evidence.DENIED:
            return Fit.WHOLE
        if min(evidence) >= Evidence.TYPO:
            return Fit.SPELT
        if Evidence.CODE in evidence or not (strong or evidence <= {Evidence.CONCEPT, Evidence.STAGE}):
            return Fit.PART
        return Fit.MEANT


def means_something(text: str) -> bool:
    """Whether a word of `text` is known to mean something, whatever has it as its code."""
    return any(token.whole in KNOWN for token in tokens_of(text))


def record_match(directory: Directory, item: Item, number: int) -> Match:
    """The item that `number` is the numeric record id of."""
    return _match(directory, item, f"{number} is the record id; this is the code")


def _named_rather(fitting: list[_Candidate]) -> list[_Candidate]:
    """What is called so; what only stands where others do that are, where nothing is."""
    named = [one for one in fitting if one.weakest != Evidence.STAGE]
    return named if any((one.fit or 0) >= Fit.MEANT for one in named) else fitting


def _sure(fitting: Sequence[_Candidate]) -> _Candidate | None:
    """The one that is meant: a whole name beside parts of others, else what alone fits."""
    if not fitting:
        return None
    best = max(fitting, key=lambda one: one.fit or 0)
    assert best.fit is not None
    rivals = [one for one in fitting if one is not best]
    if best.fit >= Fit.SPELT:
        return None if any((one.fit or 0) >= Fit.MEANT for one in rivals) else best
    if best.fit == Fit.MEANT and best.weakest == Evidence.CONCEPT:  # what means the same may be part of a longer name
        return None if any(one.fit != Fit.PART or one.weakest > Evidence.CONCEPT for one in rivals) else best
    return best if best.fit >= Fit.MOST and not rivals else None


def _as_word(token: Token) -> Token:
    """A word that says nothing, as one that does, where it is long enough to be a misspelling of it."""
    return replace(token, kind="word") if token.kind == "filler" and len(token.whole) >= _LONG_FILLER else token


def _told_by(own: dict[int, Hit]) -> set[int]:
    """Places of words that are an item's own, even if they name its directory as well."""
    return {place for place, hit in own.items() if hit.evidence >= Evidence.DENIED and hit.bits}


def _best(hits: list[Hits], number: int) -> Hit | None:
    found = [hit for some in hits if (hit := some.get(number)) is not None]
    return max(found, key=lambda hit: hit.evidence) if found else None


def _widest(hits: list[Hits], number: int) -> Hit:
    """The hit that stands for the most words of an item."""
    found = [hit for some in hits if (hit := some.get(number)) is not None]
    return max(found, key=lambda hit: (hit.bits.bit_count(), hit.evidence))


def _bits(own: dict[int, Hit]) -> int:
    bits = 0
    for hit in own.values():
        bits |= hit.bits
    return bits


def _best_of(hits: list[Hits]) -> dict[int, Hit]:
    best: dict[int, Hit] = {}
    for some in hits:
        for number, hit in some.items():
            if number not in best or hit.evidence > best[number].evidence:
                best[number] = hit
    return best


def _is_part(some: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether the numbers stand in `whole` in their order."""
    rest: Iterator[str] = iter(whole)
    return all(one in rest for one in some)


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
