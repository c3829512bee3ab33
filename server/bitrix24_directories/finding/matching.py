"""From a human's words to items: which item of which directory a query means, or that it is not to be known.

Being wrong is worse than asking. So each word of a query that carries a meaning has to stand in the item's name or
code, or to name its directory; what lacks one is at best near. Pure: nothing here calls anybody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from bitrix24_directories.directories.models import Directory, Item, Match, QueryResult
from bitrix24_directories.words import Word, words_of

from .item_index import NAME_BITS, WORDS_LOOKED_AT, Entry, Hits, ItemIndex
from .scopes import Scope
from .vocabulary import CARRY_NOTHING, CLOSED, FAILURE, NEGATIONS, stage_meaning

LISTED = 8
"""Candidates of an ambiguous query that are listed at most."""

_NEAREST = 3
_FOUND = 0.84  # of a query's words, for the item to be what is meant
_GOOD = 0.78  # what the score has to be besides: a typo and most of the name missing is too little
_NEAR = 0.5
_MARGIN = 0.08  # by which the best has to be better than the next
_LOOKS_LIKE_A_CODE = re.compile(r"(?=.*[A-Z])[A-Z0-9]+(?:[_:][A-Z0-9]+)*")
_PREFIXED = re.compile(r"(?:C\d+|DT\d+_\d+):\S+", re.IGNORECASE)  # a code; if it is none of the portal's, it is wrong
_QUOTES = "\"'`«»“”„()[].,;!?"


@dataclass(slots=True)
class _Scored:
    entry: Entry
    found: float
    score: float
    reason: str


class Matcher:
    """Finds queries in the items of some directories."""

    def __init__(self, contents: Iterable[tuple[Directory, Sequence[Item]]]) -> None:
        self._index = ItemIndex(contents)

    def find(self, query: str) -> QueryResult:
        """What `query` means among the items of the directories."""
        exact = self._exact(query)
        if exact:
            matches = [_match(entry, 100, reason) for entry, reason in exact.items()]
            return _result(query, "exact" if len(exact) == 1 else "ambiguous", matches)
        question = _Question(query, self._index)
        fitting = [] if _PREFIXED.fullmatch(query.strip()) else _best_first(question.score(_FOUND))
        fitting = [one for one in fitting if one.score >= _GOOD]
        if not fitting:
            near = _best_first(question.score(_NEAR))[:_NEAREST]
            return _result(query, "none", [_match(one.entry, _percent(one), "near") for one in near])
        best = [one for one in fitting if one.score >= fitting[0].score - _MARGIN]
        matches = [_match(one.entry, _percent(one), one.reason) for one in best]
        return _result(query, "likely" if len(best) == 1 else "ambiguous", matches)

    def _exact(self, query: str) -> dict[Entry, str]:
        """Items whose code or name the query is, and which of the two."""
        stripped = query.strip().strip(_QUOTES).strip()
        by_code = self._index.by_code(stripped)
        if _LOOKS_LIKE_A_CODE.fullmatch(stripped):
            typed = [entry for entry in by_code if stripped in (entry.item.status_id, entry.bare_code)]
            if typed:
                return {entry: _by_code(entry, stripped) for entry in typed}
        found = dict.fromkeys(self._index.by_name(query), "this name")
        for entry in by_code:
            found.setdefault(entry, _by_code(entry, stripped))
        words = words_of(query)
        if found and len(words) == 1:  # one word: "service" can mean the item Services, whatever its own code is
            for entry in self._index.by_stem(words[0]):
                found.setdefault(entry, "this name in another form")
        return found


class _Question:
    """A query's words, and where each of them stands in an index."""

    def __init__(self, query: str, index: ItemIndex) -> None:
        self._index = index
        words = _read_words(query, index)
        ended_badly = any(not FAILURE.isdisjoint(word) for word in words)
        self._negated = any(word.whole in NEGATIONS for word in words)
        self._hits: list[list[Hits]] = [[index.hits(word)] for word in words]
        for place, (word, following) in enumerate(pairwise(words)):
            joined = index.joined_hits(word, following)
            self._hits[place].append(joined)
            self._hits[place + 1].append(joined)
        self._meant: list[int] = []
        for place, word in enumerate(words):
            if word.whole not in NEGATIONS and not _carries_nothing(word, query, ended_badly=ended_badly):
                self._meant.append(place)
                if sign := stage_meaning(word):
                    self._hits[place].append(index.meaning_hits(sign))
        self._named = {scope: [scope.likeness(word, query) for word in words] for scope in index.scopes}

    def score(self, threshold: float) -> Iterator[_Scored]:
        """The items in which at least `threshold` of the words that carry a meaning is found."""
        for number in sorted(self._candidates(threshold)):
            scored = self._score(number)
            if scored is not None and scored.found >= threshold:
                yield scored

    def _candidates(self, threshold: float) -> Iterator[int]:
        """Numbers of the items that may reach `threshold`, found by the rarest words that they cannot do without."""
        chosen: dict[int, set[Scope]] = {place: set() for place in self._meant}
        for scope, named in self._named.items():
            others = sorted(
                (place for place in self._meant if not named[place]),
                key=lambda place: sum(len(hits) for hits in self._hits[place]),
            )
            needed = max(1, math.ceil(threshold * len(self._meant) - (len(self._meant) - len(others))))
            for place in others[: max(0, len(others) - needed + 1)] if others else self._meant:
                chosen[place].add(scope)
        seen: set[int] = set()
        for place, scopes in chosen.items():
            if scopes:
                for hits in self._hits[place]:
                    for number in hits:
                        if number not in seen and self._index.entries[number].scope in scopes:
                            seen.add(number)
                            yield number

    def _score(self, number: int) -> _Scored | None:
        """How well the item is what the query means; None when all that fits is the name of its directory."""
        entry = self._index.entries[number]
        named = self._named[entry.scope]
        found = [_best(hits, number) for hits in self._hits]
        bits = 0
        for _, of_word in found:
            bits |= of_word
        own = [place for place in self._meant if found[place][0] > named[place]]
        if not own:
            return None
        share = sum(max(found[place][0], named[place]) for place in self._meant) / len(self._meant)
        if self._denies(entry, found):
            share /= 2
        covered = max(_covered(bits, entry.name_bits), 0.95 * _covered(bits, entry.code_bits), 0.6 * (not bits))
        reason = "words of the name"
        if any(not found[place][1] for place in own):
            reason = "meaning of the stage"
        elif any(found[place][0] < 0.9 for place in own):
            reason = "similar spelling"
        return _Scored(entry, share, 0.75 * share + 0.25 * covered, reason)

    def _denies(self, entry: Entry, found: list[tuple[float, int]]) -> bool:
        """Whether one of the two is negated and the other is not. What a negated name means is not its code's words."""
        in_name = any(found[place][1] & NAME_BITS for place in self._meant)
        if self._negated:
            return not (entry.negated and in_name)
        return entry.negated and in_name


def record_match(directory: Directory, item: Item, number: int) -> Match:
    """The item that `number` is the numeric record id of."""
    return _match(Entry(item, Scope(directory)), 99, f"{number} is the record id; this is the code")


def _read_words(query: str, index: ItemIndex) -> list[Word]:
    """The query's words: "unpaid" is "not paid" where nothing is called "unpaid", and "50-250" is one word."""
    words: list[Word] = []
    for word in words_of(query)[: 2 * WORDS_LOOKED_AT]:
        rest = word.whole[2:]
        if words and word.whole.isdigit() and words[-1].whole.isdigit():
            joined = words.pop().whole + word.whole
            words.append(Word(joined, joined))
        elif word.whole.startswith(("un", "ne")) and not (index.knows(word.whole) or stage_meaning(word)):
            bare = Word(rest, word.stem[2:])
            words += [Word("not", "not"), bare] if index.knows(rest) or stage_meaning(bare) else [word]
        else:
            words.append(word)
    return words


def _carries_nothing(word: Word, query: str, *, ended_badly: bool) -> bool:
    if ended_badly and not CLOSED.isdisjoint(word):
        return True
    return word.whole in CARRY_NOTHING and not (re.search(rf"\b{word.whole.upper()}\b", query) and not query.isupper())


def _best(hits: list[Hits], number: int) -> tuple[float, int]:
    likeness, bits = 0.0, 0
    for some in hits:
        if (hit := some.get(number)) is not None:
            likeness, bits = max(likeness, hit[0]), bits | hit[1]
    return likeness, bits


def _covered(bits: int, mask: int) -> float:
    return (bits & mask).bit_count() / mask.bit_count() if mask else 0.0


def _best_first(scored: Iterable[_Scored]) -> list[_Scored]:
    return sorted(scored, key=lambda one: -one.score)


def _by_code(entry: Entry, typed: str) -> str:
    return "this code" if typed.casefold() == entry.item.status_id.casefold() else "this code, without its prefix"


def _percent(scored: _Scored) -> int:
    return min(99, round(100 * scored.score))


def _match(entry: Entry, score: int, reason: str) -> Match:
    directory = entry.scope.directory
    return Match(
        entity_id=directory.entity_id,
        status_id=entry.item.status_id,
        name=entry.item.name,
        directory=directory.name,
        score=score,
        reason=reason,
        used_in=directory.used_in,
    )


def _result(query: str, status: Literal["exact", "likely", "ambiguous", "none"], matches: list[Match]) -> QueryResult:
    apart: Literal["pipeline", "directory", "full name"] | None = None
    if status == "ambiguous":
        used_in = {tuple(match.used_in or (match.entity_id,)) for match in matches}
        apart = "directory" if len(used_in) > 1 else "pipeline"
        if len({match.entity_id for match in matches}) == 1:
            apart = "full name"
    more = max(0, len(matches) - LISTED)
    return QueryResult(query=query, status=status, matches=matches[:LISTED], tell_apart=apart, more=more or None)
