"""From a human's words to items: which item of which directory a query means, or that it is not to be known.

Being wrong is worse than asking. So each word of a query that carries a meaning has to stand in the item's name or
code, or to name its directory; what lacks one is at best near. Pure: nothing here calls anybody.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from .models import Directory, Item, Match, QueryResult
from .scopes import Scope
from .vocabulary import CARRY_NOTHING, CLOSED, FAILURE, NEGATIONS, stage_meaning
from .words import Word, same_text, similar_forms, words_of

LISTED = 8
"""Candidates of an ambiguous query that are listed at most."""

_NEAREST = 3
_FOUND = 0.84  # of a query's words, for the item to be what is meant
_GOOD = 0.78  # what the score has to be besides: a typo and most of the name missing is too little
_NEAR = 0.5
_MARGIN = 0.08  # by which the best has to be better than the next
_LOOKS_LIKE_A_CODE = re.compile(r"(?=.*[A-Z])[A-Z0-9]+(?:[_:][A-Z0-9]+)*")
_PREFIXED = re.compile(r"(?:C\d+|DT\d+_\d+):\S+", re.IGNORECASE)  # a code; if it is none of the portal's, it is wrong
_LONGEST = 24  # words of a name that are looked at
_CODE = _LONGEST  # bits of a code's words stand above those of the name's


@dataclass(eq=False, slots=True)
class Entry:
    """One item that can be found. `meaning` is 1 for the stage of success, -1 for failure, -0.8 for further ones."""

    item: Item
    scope: Scope
    meaning: float
    bare_code: str
    name_bits: int = 0
    code_bits: int = 0
    negated: bool = False


@dataclass(slots=True)
class _Hit:
    """How well one word of a query stands in one item, and for which of the item's words (bits)."""

    likeness: float
    bits: int = 0


@dataclass(slots=True)
class _Scored:
    entry: Entry
    found: float
    score: float
    reason: str


class Matcher:
    """Finds queries in the items of some directories."""

    def __init__(self, contents: Iterable[tuple[Directory, Sequence[Item]]]) -> None:
        self._entries: list[Entry] = []
        self._scopes: list[Scope] = []
        self._by_code: dict[str, list[Entry]] = defaultdict(list)
        self._by_name: dict[str, list[Entry]] = defaultdict(list)
        self._by_word: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._alike: dict[str, list[tuple[str, float]]] = {}
        for directory, items in contents:
            self._add(directory, items)
        self._words = list(self._by_word)

    def find(self, query: str) -> QueryResult:
        """What `query` means among the items of the directories."""
        exact = self._exact(query)
        if exact:
            matches = [_match(entry, 100, reason) for entry, reason in exact]
            return _result(query, "exact" if len(exact) == 1 else "ambiguous", matches)
        scored = sorted(self._scored(query), key=lambda one: -one.score)
        fitting = [one for one in scored if one.found >= _FOUND and one.score >= _GOOD]
        if _PREFIXED.fullmatch(query.strip()):
            fitting = []
        if not fitting:
            near = [one for one in scored if one.found >= _NEAR][:_NEAREST]
            return _result(query, "none", [_match(one.entry, _percent(one), "near") for one in near])
        best = [one for one in fitting if one.score >= fitting[0].score - _MARGIN]
        matches = [_match(one.entry, _percent(one), one.reason) for one in best]
        return _result(query, "likely" if len(best) == 1 else "ambiguous", matches)

    def _add(self, directory: Directory, items: Sequence[Item]) -> None:
        scope = Scope(directory)
        self._scopes.append(scope)
        ends = next((place for place, item in enumerate(items) if item.status_id == directory.success), len(items))
        for place, item in enumerate(items):
            meaning = 0.0
            if item.status_id == directory.success:
                meaning = 1.0
            elif item.status_id == directory.failure:
                meaning = -1.0
            elif directory.kind == "stages" and place > ends:
                meaning = -0.8
            entry = Entry(item, scope, meaning, item.status_id.rpartition(":")[2])
            self._by_code[item.status_id.casefold()].append(entry)
            if entry.bare_code != item.status_id:
                self._by_code[entry.bare_code.casefold()].append(entry)
            self._by_name[same_text(item.name)].append(entry)
            self._index(entry)

    def _index(self, entry: Entry) -> None:
        number = len(self._entries)
        self._entries.append(entry)
        name = words_of(entry.item.name)[:_LONGEST]
        entry.negated = any(word.whole in NEGATIONS for word in name)
        for bits, form in _forms(name):
            self._by_word[form].append((number, bits))
        telling = [
            bit for bit, word in enumerate(name) if word.whole not in CARRY_NOTHING and not entry.scope.names(word)
        ]
        entry.name_bits = sum(1 << bit for bit in telling or range(len(name)))
        if not entry.bare_code.upper().startswith("UC_"):  # made up by the portal, no words of people's
            code = words_of(entry.bare_code.replace("_", " "))[:_LONGEST]
            for bits, form in _forms(code):
                self._by_word[form].append((number, bits << _CODE))
            entry.code_bits = ((1 << len(code)) - 1) << _CODE

    def _exact(self, query: str) -> list[tuple[Entry, str]]:
        """Items whose code or name the query is, and which of the two."""
        stripped = query.strip().strip("\"'`«»“”„()[].,;!?").strip()
        by_code = self._by_code.get(stripped.casefold(), [])
        if _LOOKS_LIKE_A_CODE.fullmatch(stripped):
            typed = [entry for entry in by_code if stripped in (entry.item.status_id, entry.bare_code)]
            if typed:
                return [(entry, _by_code(entry, stripped)) for entry in typed]
        text = same_text(query)
        by_name = self._by_name.get(text, []) if text else []
        found = dict.fromkeys(by_name, "this name")
        for entry in by_code:
            found.setdefault(entry, _by_code(entry, stripped))
        words = words_of(query)
        if found and len(words) == 1:  # one word: "service" can mean the item Services, whatever its own code is
            for number, _ in self._by_word.get(words[0].stem, ()):
                entry = self._entries[number]
                if [word.stem for word in words_of(entry.item.name)] == [words[0].stem]:
                    found.setdefault(entry, "this name in another form")
        return list(found.items())

    def _scored(self, query: str) -> Iterator[_Scored]:
        """All items in which any word of the query stands."""
        words = self._words_of(query)
        negated = any(word.whole in NEGATIONS for word in words)
        ended_badly = any(not FAILURE.isdisjoint(word) for word in words)
        meant = [word.whole not in NEGATIONS and not _carries_nothing(word, query, ended_badly) for word in words]
        hits: dict[int, dict[int, _Hit]] = defaultdict(dict)
        for place, word in enumerate(words):
            self._note(hits, word, [place])
            if place + 1 < len(words):
                joined = word.whole + words[place + 1].whole
                self._note(hits, Word(joined, joined), [place, place + 1], similar=False)
            if meant[place] and (sign := stage_meaning(word)):
                self._note_meaning(hits, place, sign)
        named = {id(scope): [scope.likeness(word, query) for word in words] for scope in self._scopes}
        for number, of_entry in hits.items():
            entry = self._entries[number]
            scored = _score(entry, of_entry, named[id(entry.scope)], meant, negated=negated)
            if scored is not None:
                yield scored

    def _words_of(self, query: str) -> list[Word]:
        """The query's words: "unpaid" is "not paid" where nothing is called "unpaid", and "50-250" is one word."""
        words: list[Word] = []
        for word in words_of(query)[: 2 * _LONGEST]:
            rest = word.whole[2:]
            if words and word.whole.isdigit() and words[-1].whole.isdigit():
                joined = words.pop().whole + word.whole
                word = Word(joined, joined)
            if word.whole.startswith(("un", "ne")) and word.whole not in self._by_word and rest in self._by_word:
                words += [Word("not", "not"), Word(rest, rest)]
            else:
                words.append(word)
        return words

    def _note(self, hits: dict[int, dict[int, _Hit]], word: Word, places: list[int], *, similar: bool = True) -> None:
        for form, likeness in self._forms_like(word) if similar else [(word.whole, 1.0)]:
            for number, bits in self._by_word.get(form, ()):
                of_entry = hits[number]
                for place in places:
                    known = of_entry.get(place)
                    if known is None:
                        of_entry[place] = _Hit(likeness, bits)
                    else:
                        known.likeness = max(known.likeness, likeness)
                        known.bits |= bits

    def _note_meaning(self, hits: dict[int, dict[int, _Hit]], place: int, sign: int) -> None:
        for number, entry in enumerate(self._entries):
            likeness = 0.9 * entry.meaning * sign
            if likeness > 0 and (place not in hits[number] or hits[number][place].likeness < likeness):
                hits[number][place] = _Hit(likeness)

    def _forms_like(self, word: Word) -> list[tuple[str, float]]:
        """Indexed forms that `word` may stand for: itself, else what begins alike or differs by a typo."""
        key = word.whole
        if key not in self._alike:
            same = [
                (form, likeness) for form, likeness in ((word.whole, 1.0), (word.stem, 0.97)) if form in self._by_word
            ]
            self._alike[key] = same or [
                like for form in {word.whole, word.stem} for like in similar_forms(form, self._words)
            ]
        return self._alike[key]


def _forms(words: Sequence[Word]) -> Iterator[tuple[int, str]]:
    """Each form under which a word, or two words written as one, can be found, with the bits of those words."""
    for place, word in enumerate(words):
        for form in {word.whole, word.stem}:
            yield 1 << place, form
        if place + 1 < len(words):
            yield 3 << place, word.whole + words[place + 1].whole


def _carries_nothing(word: Word, query: str, ended_badly: bool) -> bool:
    if ended_badly and not CLOSED.isdisjoint(word):
        return True
    return word.whole in CARRY_NOTHING and not (re.search(rf"\b{word.whole.upper()}\b", query) and not query.isupper())


def _score(
    entry: Entry, hits: dict[int, _Hit], named: Sequence[float], meant: Sequence[bool], *, negated: bool
) -> _Scored | None:
    """How well the item is what the query means; None when all that fits is the name of its directory."""
    total, counted, own, bits, reason = 0.0, 0, False, 0, "words of the name"
    for place, is_meant in enumerate(meant):
        hit = hits.get(place)
        if hit is not None:
            bits |= hit.bits
        if not is_meant:
            continue
        likeness = hit.likeness if hit else 0.0
        total += max(likeness, named[place])
        counted += 1
        if likeness > named[place] or (likeness and not named[place]):
            own = True
            if hit is not None and not hit.bits:
                reason = "meaning of the stage"
            elif likeness < 0.9:
                reason = "similar spelling"
    if not own:
        return None
    found = total / counted
    if negated != entry.negated and bits & ((1 << _CODE) - 1):
        found /= 2
    covered = max(_covered(bits, entry.name_bits), 0.95 * _covered(bits, entry.code_bits), 0.6 * (not bits))
    return _Scored(entry, found, 0.75 * found + 0.25 * covered, reason)


def record_match(directory: Directory, item: Item, number: int) -> Match:
    """The item that `number` is the numeric record id of."""
    entry = Entry(item, Scope(directory), 0.0, "")
    return _match(entry, 99, f"{number} is the record id; this is the code")


def _covered(bits: int, mask: int) -> float:
    return (bits & mask).bit_count() / mask.bit_count() if mask else 0.0


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
