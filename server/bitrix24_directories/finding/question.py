"""A query's words, where each of them stands in an index, and how well each item fits them. Pure, below `matching`.

What denies what the other affirms, or counts otherwise, is no candidate at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from .entries import Entry, Evidence, Hit, Hits
from .item_index import WORDS_LOOKED_AT, ItemIndex
from .scopes import Scope, pipelines_of
from .tokens import Token, concepts_at, denials, initials_at, tokens_of

_LONG_FILLER = 4  # letters
_LOOKED_AT = 300  # items, for the nearest
_MEANINGS = (Evidence.STAGE, Evidence.CONCEPT)
# Concepts that end what a sentence has said before: "booked, and then cancelled".
_TURNS = {"won", "success", "lost", "failure", "rejected", "cancelled", "postponed"}
_SENTENCE = 4  # words of a query that may say more than a name


class Fit(IntEnum):
    """How well an item fits a query, the weakest first.

    NEAR: not every telling word of the query stands in it. PART: but for most of the name. MOST: one of its words is
    not asked for. MEANT: the whole name, by what its words mean or begin with. SPELT: the whole name with typos. WHOLE:
    the whole name.
    """

    NEAR = 0
    PART = 1
    MOST = 2
    MEANT = 3
    SPELT = 4
    WHOLE = 5


@dataclass(slots=True)
class Candidate:
    """An item, the share of the query's telling words that stand in it, and how well it fits."""

    entry: Entry
    share: float
    fit: Fit
    weakest: Evidence


class Question:
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
        self._numbers = [(place, self._tokens[place].whole) for place in said if self._tokens[place].kind == "number"]
        self._named_in: dict[Scope, frozenset[int]] = {}

    @cached_property
    def _hits(self) -> dict[int, list[Hits]]:
        """By its place, where each telling word stands: by itself, and as part of what words mean together."""
        index, tokens = self._index, self._tokens
        standing = {place: [hits] if (hits := index.hits(tokens[place])) else [] for place in self._telling}
        pairs = ((first, second) for first, second in pairwise(self._telling) if first + 1 == second)
        phrases = [(first, second + 1, index.joined_hits(tokens[first], tokens[second])) for first, second in pairs]
        phrases += [(start, end, index.concept_hits(concept)) for start, end, concept in concepts_at(tokens)]
        phrases += [(start, end, index.short_hits(letters)) for start, end, letters in initials_at(tokens)]
        for start, end, found in phrases:
            for place in range(start, end):
                if found and place in standing:
                    standing[place].append(found)
        return standing

    @cached_property
    def _naming(self) -> dict[int, frozenset[Scope]]:
        """By its place, the directories that each telling word names."""
        pipelines = pipelines_of(self._query)
        return {place: self._index.named_by(self._tokens[place], pipelines) for place in self._telling}

    def misheard(self, fitting: Sequence[Candidate]) -> list[Candidate]:
        """What else fits if words that say nothing were meant as others: "could call" for "Cold call"."""
        if len(self._tokens) >= _SENTENCE or not any(_as_word(token) is not token for token in self._tokens):
            return []
        known = {one.entry: one.fit for one in fitting}
        others = Question(self._query, self._index, all_words=True).fitting
        return [one for one in others if one.fit > known.get(one.entry, 0)]

    @property
    def is_one_word(self) -> bool:
        return len(self._telling) == 1

    @cached_property
    def fitting(self) -> list[Candidate]:
        """The items in which each telling word of the query stands, and that do not contradict it, the best first."""
        numbers = sorted(self._with_all_words())
        found = [one for number in numbers if (one := self._candidate(number)) is not None and one.fit]
        return sorted(found, key=lambda one: -one.fit)

    def near(self) -> list[Candidate]:
        """Items in which some of the telling words stand, most of them first: those with the rarest words."""
        rarest = sorted(self._telling, key=self._frequency)
        numbers = dict.fromkeys(number for place in rarest for some in self._hits[place] for number in some)
        some = itertools.islice(numbers, _LOOKED_AT)
        found = [one for number in some if (one := self._candidate(number)) is not None]
        return sorted(found, key=lambda one: -one.share)

    def _frequency(self, place: int) -> int:
        return sum(map(len, self._hits[place]))

    def _with_all_words(self) -> Iterator[int]:
        """Numbers of the items in which each word stands, but for those that name their directory."""
        plain = [place for place in self._telling if not self._naming[place]]
        if plain:
            rarest = min(plain, key=self._frequency)
            numbers = {number for some in self._hits[rarest] for number in some}
        else:
            numbers = {number for place in self._telling for some in self._hits[place] for number in some}
        for number in numbers:
            named = self._named(self._index.entries[number].scope)
            if all(place in named or _stands(hits, number) for place, hits in self._hits.items()):
                yield number

    def told(self) -> Entry | None:
        """The one item whose every telling word stands in the query, a sentence that says more than a name.

        Other names may stand in it as well, as long as they use none but the same words of the query; those of another
        directory that are one word are said by the way.
        """
        if len(self._tokens) < _SENTENCE or all(token.kind != "filler" for token in self._tokens):
            return None
        numbers = {number for hits in self._hits.values() for some in hits for number in some}
        standing = {number: places for number in numbers if (places := self._where_it_stands(number))}
        told = [number for number, places in standing.items() if self._is_told(number, places)]
        if not told:
            return None
        best = max(told, key=lambda number: len(standing[number]))
        scope = self._index.entries[best].scope
        others = (
            (other, places)
            for other, places in standing.items()
            if other != best and (len(places) > 1 or self._index.entries[other].scope is scope)
        )
        alone = all(
            places < standing[best] or (places == standing[best] and other not in told) for other, places in others
        )
        turned = any(
            name in _TURNS and not standing[best].issuperset(range(start, end))
            for start, end, name in concepts_at(self._tokens)
        )
        return self._index.entries[best] if alone and not turned else None

    def _where_it_stands(self, number: int) -> set[int]:
        """The places of an item's words; none where one of its telling words is missing."""
        places: set[int] = set()
        bits = 0
        for place, hits in self._hits.items():
            hit = _best(hits, number)
            if hit is not None and hit.evidence >= Evidence.DENIED:
                places.add(place)
                bits |= hit.bits
        return set() if self._index.entries[number].telling & ~bits else places

    def _is_told(self, number: int, places: set[int]) -> bool:
        """Whether it is more than one word that is told, and neither denied nor counted otherwise."""
        entry = self._index.entries[number]
        flips = sum(hit.denied for place in places if (hit := _best(self._hits[place], number)) is not None)
        words = entry.telling.bit_count() - len(entry.numbers) + self._denied
        agrees = (self._denied + bool(entry.denied) + flips) % 2 == 0
        return words > 1 and agrees and _is_part(entry.numbers, [value for _, value in self._numbers])

    def _named(self, scope: Scope) -> frozenset[int]:
        """The places of words that name the directory."""
        if scope not in self._named_in:
            self._named_in[scope] = frozenset(place for place in self._telling if scope in self._naming[place])
        return self._named_in[scope]

    def _candidate(self, number: int) -> Candidate | None:
        entry = self._index.entries[number]
        named = self._named(entry.scope)
        own: dict[int, Hit] = {}
        for place, hits in self._hits.items():
            hit = _best(hits, number)
            if hit is not None and not (hit.evidence == Evidence.CODE and place in named):
                own[place] = hit
        own = _without_second_readings(own)
        if not own:
            return None
        standing = _standing(own.values())
        if self._contradicts(entry, standing, named):
            return None
        share = (len(own.keys() | named) if named else len(own)) / len(self._telling)
        if share < 1 or (named and all(place in named and not _is_own(hit) for place, hit in own.items())):
            return Candidate(entry, share, Fit.NEAR, standing.weakest)
        fit = _fit(entry, standing)
        if fit != Fit.WHOLE and any(len(hits) > 1 for hits in self._hits.values()):
            wide = _standing(_widest(self._hits[place], number) for place in own)
            if (wider := _fit(entry, wide)) > fit:
                return Candidate(entry, share, wider, wide.weakest)
        return Candidate(entry, share, fit, standing.weakest)

    def _contradicts(self, entry: Entry, standing: _Standing, named: frozenset[int]) -> bool:
        """Whether one of the two denies what the other affirms, or the query counts otherwise."""
        if (self._denied + bool(entry.denied & standing.by_name) + standing.flips) % 2:
            return True
        asked = [number for place, number in self._numbers if place not in named]
        return bool(asked) and not _is_part(asked, entry.numbers)


class _Standing(NamedTuple):
    """What some hits come to in an item: its words that are found (bits), and those of them by more than its stage; how
    many are denied; the weakest and the strongest evidence, and whether it is all of meanings.
    """

    bits: int
    by_name: int
    flips: int
    weakest: Evidence
    strongest: Evidence
    meant: bool


def _standing(hits: Iterable[Hit]) -> _Standing:
    bits = by_name = flips = 0
    weakest, strongest, meant = Evidence.SAME, Evidence.CODE, True
    for evidence, of_hit, denied in hits:
        bits |= of_hit
        flips += denied
        if evidence != Evidence.STAGE:
            by_name |= of_hit
        meant = meant and evidence in _MEANINGS
        if evidence < weakest:
            weakest = evidence
        if evidence > strongest:
            strongest = evidence
    return _Standing(bits, by_name, flips, weakest, strongest, meant)


def _fit(entry: Entry, standing: _Standing) -> Fit:
    bits = standing.bits
    left = (
        min((side & ~bits).bit_count() for side in entry.sides) if entry.sides else (entry.telling & ~bits).bit_count()
    )
    strong = standing.strongest >= Evidence.TYPO
    undecided = entry.denied & ~bits
    if left or undecided:
        several = (entry.telling & bits).bit_count() + bool(entry.denied & bits) > 1
        return Fit.MOST if several and left == 1 and strong and not undecided else Fit.PART
    if standing.weakest >= Evidence.DENIED:
        return Fit.WHOLE
    if standing.weakest >= Evidence.TYPO:
        return Fit.SPELT
    return Fit.MEANT if standing.meant or (strong and standing.weakest > Evidence.CODE) else Fit.PART


def _as_word(token: Token) -> Token:
    """A word that says nothing, as one that does, where it is long enough to be a misspelling of it."""
    return replace(token, kind="word") if token.kind == "filler" and len(token.whole) >= _LONG_FILLER else token


def _without_second_readings(own: dict[int, Hit]) -> dict[int, Hit]:
    """Without a typo of what another word of the query is: "sold cold" does not say "sold" twice."""
    if all(hit.evidence >= Evidence.DENIED for hit in own.values()):
        return own
    certain = 0
    for hit in own.values():
        certain |= hit.bits if hit.evidence >= Evidence.DENIED else 0
    typos = (Evidence.TYPO, Evidence.TWO_TYPOS)
    return {place: hit for place, hit in own.items() if hit.evidence not in typos or hit.bits & ~certain}


def _is_own(hit: Hit) -> bool:
    """Whether a word is an item's own, even if it names its directory as well."""
    return hit.evidence >= Evidence.DENIED and bool(hit.bits)


def _stands(hits: list[Hits], number: int) -> bool:
    for some in hits:  # noqa: SIM110 - any() takes twice as long, and this is asked for each item
        if number in some:
            return True
    return False


def _best(hits: list[Hits], number: int) -> Hit | None:
    best: Hit | None = None
    for some in hits:
        hit = some.get(number)
        if hit is not None and (best is None or hit.evidence > best.evidence):
            best = hit
    return best


def _widest(hits: list[Hits], number: int) -> Hit:
    """The hit that stands for the most words of an item."""
    found = [hit for some in hits if (hit := some.get(number)) is not None]
    return max(found, key=lambda hit: (hit.bits.bit_count(), hit.evidence))


def _is_part(some: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether the numbers stand in `whole` in their order."""
    rest: Iterator[str] = iter(whole)
    return all(one in rest for one in some)
