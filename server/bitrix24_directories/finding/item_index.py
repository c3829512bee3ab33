"""The items of some directories, and where each word of a query stands in them. Pure, below `matching`."""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.words import plain, same_text

from .entries import Entry, Evidence, Hit, Hits, bits_of, denied_words, sides_of
from .languages import BY_DEFAULT, KNOWN, LANGUAGES, Script, candidates, languages_of, script_of
from .scopes import Scope
from .tokens import Token, concepts_at, initials_at, stems, tokens_of, unnegated

WORDS_LOOKED_AT = 24
"""Of a name; more are passed over."""

_WON, _LOST = ("won", "success"), ("lost", "failure")  # concepts: a deal is won, a call is a success
_WORDS_KEPT = 5_000  # of queries, with where they stand
_ONE_TYPO, _TWO_TYPOS = 4, 7  # letters that a word has to have
_BEGINNING, _DOTTED_BEGINNING = 4, 2  # letters of a word that begins another
_TYPOS_LOOKED_AT = 20


Postings = dict[str, dict[int, int]]
"""For each form of a word the items in which it stands, and as which of their words (bits)."""


class ItemIndex:
    """Entries in their directories' order, numbered from 0."""

    def __init__(self, contents: Iterable[tuple[Directory, Sequence[Item]]]) -> None:
        self.entries: list[Entry] = []
        self.scopes: list[Scope] = []
        self._by_code: dict[str, list[Entry]] = defaultdict(list)
        self._by_code_words: dict[str, list[Entry]] = defaultdict(list)
        self._by_name: dict[str, list[Entry]] = defaultdict(list)
        self._wholes: Postings = defaultdict(dict)
        self._stems: Postings = defaultdict(dict)
        self._bare: Postings = defaultdict(dict)
        self._concepts: Postings = defaultdict(dict)
        self._stages: Postings = defaultdict(dict)
        self._codes: Postings = defaultdict(dict)
        self._words: set[str] = set()
        self._dotted: Postings = defaultdict(dict)
        self._initials: Postings = defaultdict(dict)
        self._short: Postings = defaultdict(dict)
        self._hits: dict[Token, Hits] = {}
        self._named: dict[tuple[Token, frozenset[int]], frozenset[Scope]] = {}
        self._read: dict[tuple[Token, tuple[str, ...]], _Forms] = {}
        known = [(directory, items, frozenset(_words(directory, items))) for directory, items in contents]
        fallback = languages_of(frozenset().union(*(words for _, _, words in known)))
        leads_alone = [directory.entity_id for directory, *_ in known if directory.kind == "stages"] == ["STATUS"]
        used: set[str] = set()
        for directory, items, words in known:
            languages = _languages(words, fallback)
            used.update(languages)
            self._add(directory, items, languages, leads_alone=leads_alone)
        self.languages = tuple(sorted(used))
        self._read.clear()
        self._forms = sorted(form for form in self._words if not form.startswith("#"))
        self._by_length: dict[int, list[str]] = defaultdict(list)
        for form in self._forms:
            self._by_length[len(form)].append(form)

    def by_code(self, code: str) -> list[Entry]:
        """Items with this code, in any letter case, with or without its pipeline's prefix; else those whose code is the
        same words, "web form" for WEBFORM.
        """
        words = same_text(code)
        return self._by_code.get(code.casefold()) or (self._by_code_words.get(words, []) if words else [])

    def by_name(self, name: str) -> list[Entry]:
        text = same_text(name)
        return self._by_name.get(text, []) if text else []

    def named_by(self, token: Token, pipelines: frozenset[int]) -> frozenset[Scope]:
        """The directories that a query's token names; `pipelines` are those that the query numbers."""
        if token.kind == "number" and not pipelines:
            return frozenset()
        key = (token, pipelines)
        if key not in self._named:
            named = (scope for scope in self.scopes if scope.is_named_by(token, self.languages, pipelines))
            self._named[key] = frozenset(named)
        return self._named[key]

    def hits(self, token: Token) -> Hits:
        """Where `token` stands: itself, in another form, or something that it may be meant for."""
        if token not in self._hits:
            if len(self._hits) >= _WORDS_KEPT:
                self._hits.clear()
                self._named.clear()
            self._hits[token] = self._found(token)
        return self._hits[token]

    def joined_hits(self, first: Token, second: Token) -> Hits:
        """Where two words stand written as one."""
        found = self._wholes.get(first.whole + second.whole, {})
        return {number: Hit(Evidence.SAME, bits) for number, bits in found.items()}

    def short_hits(self, letters: str) -> Hits:
        """Where words are written as their initials, in capitals."""
        return {number: Hit(Evidence.BEGINNING, bits) for number, bits in self._short.get(letters, {}).items()}

    def concept_hits(self, concept: str) -> Hits:
        """The items in whose names the concept stands, or whose stage means it."""
        stages = self._stages.get(concept, {})
        found = {number: Hit(Evidence.STAGE, bits) for number, bits in stages.items()}
        for number, bits in self._concepts.get(concept, {}).items():
            found[number] = Hit(Evidence.CONCEPT, bits | stages.get(number, 0))
        return found

    def _found(self, token: Token) -> Hits:
        found: dict[int, Hit] = {}
        if token.kind == "number":
            _merge(found, self._wholes.get(token.whole), Evidence.SAME)
            return found
        languages = _of_script(self.languages, token.text)
        own = stems(token, languages)
        bare = unnegated(token, languages)
        for stem in own:
            _merge(found, self._stems.get(stem), Evidence.STEM)
        for form in (token.whole, *own):
            _merge(found, self._bare.get(form), Evidence.DENIED, denied=True)
        for one in bare:
            _merge(found, self._wholes.get(one.whole), Evidence.DENIED, denied=True)
            for stem in stems(one, languages):
                _merge(found, self._stems.get(stem), Evidence.DENIED, denied=True)
        _merge(found, self._wholes.get(token.whole), Evidence.SAME)
        if not found and plain(token.text) not in KNOWN:
            self._misspelt(token, bare, [own_stem.partition(":")[2] for own_stem in own], found)
        self._begun(token, found)
        _merge(found, self._initials.get(token.whole), Evidence.BEGINNING)
        _merge(found, self._codes.get(token.whole), Evidence.CODE)
        return found

    def _misspelt(self, token: Token, bare: Sequence[Token], stems: Sequence[str], found: dict[int, Hit]) -> None:
        """Words that differ by a typo. What is nearer without its negation is that word's negation."""
        near = dict(self._near(token.whole))
        for one in bare:
            for form, typos in self._near(one.whole):
                if typos <= near.get(form, typos):
                    near.pop(form, None)
                    _merge(found, self._wholes[form], Evidence.DENIED, denied=True)
        for form, typos in near.items():
            _merge(found, self._wholes[form], Evidence.TYPO if typos == 1 else Evidence.TWO_TYPOS)
        for stem in stems:
            for form, typos in self._near(stem):
                if typos == 1:
                    _merge(found, self._wholes[form], Evidence.TWO_TYPOS)

    def _near(self, form: str) -> Iterator[tuple[str, int]]:
        if len(form) < _ONE_TYPO or any(char.isdigit() for char in form):
            return
        alike = (other for length in range(len(form) - 2, len(form) + 3) for other in self._by_length.get(length, ()))
        for other, typos, _ in process.extract(
            form, list(alike), scorer=OSA.distance, score_cutoff=2, limit=_TYPOS_LOOKED_AT
        ):
            shorter = min(len(form), len(other))
            if shorter >= (_ONE_TYPO if typos == 1 else _TWO_TYPOS) and typos:
                weak = shorter == _ONE_TYPO or form[0] != other[0]  # people rarely mistype the first letter
                yield other, 2 if weak else int(typos)

    def _begun(self, token: Token, found: dict[int, Hit]) -> None:
        """Words that begin with this one, or that this one begins with."""
        length = _DOTTED_BEGINNING if token.dotted else _BEGINNING
        if len(token.whole) < length:
            return
        place = bisect.bisect_left(self._forms, token.whole)
        while place < len(self._forms) and self._forms[place].startswith(token.whole):
            if self._forms[place] != token.whole:
                _merge(found, self._wholes[self._forms[place]], Evidence.BEGINNING)
            place += 1
        for end in range(_DOTTED_BEGINNING, len(token.whole)):
            begun = token.whole[:end]
            _merge(found, (self._wholes if end >= _BEGINNING else self._dotted).get(begun), Evidence.BEGINNING)

    def _add(
        self, directory: Directory, items: Sequence[Item], languages: tuple[str, ...], *, leads_alone: bool
    ) -> None:
        scope = Scope(directory, languages)
        self.scopes.append(scope)
        won = next((place for place, item in enumerate(items) if item.status_id == directory.success), len(items))
        for place, item in enumerate(items):
            entry = Entry(item, scope)
            number = len(self.entries)
            self.entries.append(entry)
            self._by_code[item.status_id.casefold()].append(entry)
            if entry.bare_code != item.status_id:
                self._by_code[entry.bare_code.casefold()].append(entry)
            self._by_code_words[same_text(entry.bare_code)].append(entry)
            self._by_name[same_text(item.name)].append(entry)
            self._add_name(number, entry, languages)
            self._add_code(number, entry)
            if directory.entity_id == "STATUS" and item.status_id == directory.failure:
                self._post(self._stages, "junk", number, entry.telling)
            if directory.kind == "stages" and (directory.entity_id != "STATUS" or leads_alone):
                self._add_meaning(number, entry, past_won=place > won)

    def _add_name(self, number: int, entry: Entry, languages: tuple[str, ...]) -> None:
        tokens = tokens_of(entry.item.name)[:WORDS_LOOKED_AT]
        said = [place for place, token in enumerate(tokens) if token.kind in ("word", "number")]
        tell = [place for place in said if not entry.scope.names(tokens[place], languages)]
        entry.telling = sum(1 << place for place in tell or said or range(len(tokens)))
        entry.sides = tuple(sides_of(entry.item.name, entry.telling)) if "/" in entry.item.name else ()
        entry.denied = denied_words(tokens)
        entry.numbers = tuple(token.whole for token in tokens if token.kind == "number")
        for place, token in enumerate(tokens):
            forms = self._read.get((token, languages))
            if forms is None:
                forms = self._read[token, languages] = _forms(token, languages)
                self._words |= forms.wholes
            for postings, some in ((self._wholes, forms.wholes), (self._stems, forms.stems), (self._bare, forms.bare)):
                for form in some:
                    self._post(postings, form, number, 1 << place)
            if token.dotted:
                self._post(self._dotted, token.whole, number, 1 << place)
        for place, (token, following) in enumerate(pairwise(tokens)):
            if token.kind == following.kind == "word":
                self._post(self._wholes, token.whole + following.whole, number, 3 << place)
        for start, end, concept in concepts_at(tokens):
            self._post(self._concepts, concept, number, bits_of(start, end))
        for start, end, letters in initials_at(tokens):
            self._post(self._initials, letters, number, bits_of(start, end))
        for place, token in enumerate(tokens):
            if token.upper:
                self._post(self._short, token.whole, number, 1 << place)

    def _add_meaning(self, number: int, entry: Entry, *, past_won: bool) -> None:
        """Success and failure, which each pipeline has a stage for, whatever it is called; and what else has failed."""
        directory, code = entry.scope.directory, entry.item.status_id
        meanings = _WON if code == directory.success else _LOST if code == directory.failure or past_won else ()
        final = code in (directory.success, directory.failure)
        said = final and any(number in self._concepts.get(concept, ()) for concept in meanings)
        for concept in meanings:
            self._post(self._concepts if said else self._stages, concept, number, entry.telling if final else 0)

    def _add_code(self, number: int, entry: Entry) -> None:
        if not entry.bare_code.upper().startswith("UC_"):  # made up by the portal, no words of people's
            for token in tokens_of(entry.bare_code.replace("_", " "))[:WORDS_LOOKED_AT]:
                self._post(self._codes, token.whole, number, 0)

    @staticmethod
    def _post(postings: Postings, form: str, number: int, bits: int) -> None:
        known = postings[form]
        known[number] = known.get(number, 0) | bits


def _merge(
    found: dict[int, Hit], posted: Mapping[int, int] | None, evidence: Evidence, *, denied: bool = False
) -> None:
    """Keep the best evidence for each item; an item in which the word stands twice has the bits of both."""
    for number, bits in (posted or {}).items():
        known = found.get(number)
        if known is None or evidence > known.evidence:
            found[number] = Hit(evidence, bits, denied)
        elif evidence == known.evidence and denied == known.denied:
            found[number] = Hit(evidence, bits | known.bits, denied)


class _Forms(NamedTuple):
    """The forms under which a word of a name is found: as it is, its stems, and what it may be the negation of."""

    wholes: frozenset[str]
    stems: tuple[str, ...]
    bare: frozenset[str]


def _forms(token: Token, languages: tuple[str, ...]) -> _Forms:
    of_script = _of_script(languages, token.text)
    bare = (form for one in unnegated(token, of_script) for form in (one.whole, *stems(one, of_script)))
    spelt = (form for name in of_script for form in LANGUAGES[name].spelt(token.text))
    return _Forms(frozenset([token.whole, *spelt]), stems(token, of_script), frozenset(bare))


def _words(directory: Directory, items: Sequence[Item]) -> Iterator[str]:
    for text in (directory.name, directory.pipeline or "", *(item.name for item in items)):
        yield from (token.text for token in tokens_of(text))


def _languages(words: Iterable[str], fallback: Mapping[Script, tuple[str, ...]]) -> tuple[str, ...]:
    """Those of a directory's own words, script by script; else the portal's."""
    own = languages_of(words)
    scripts = sorted(set(map(script_of, words)))
    return tuple(name for script in scripts for name in own.get(script) or fallback.get(script) or BY_DEFAULT[script])


def _of_script(languages: tuple[str, ...], word: str) -> tuple[str, ...]:
    known = candidates(word)
    return tuple(name for name in languages if name in known)
