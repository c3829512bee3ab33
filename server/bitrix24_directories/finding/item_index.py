"""The items of some directories, to be found by code, by name and by word. Pure, below `matching`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.text import bare_code
from bitrix24_directories.words import Word, same_text, similar_forms, words_of

from .scopes import Scope
from .vocabulary import CARRY_NOTHING, NEGATIONS

WORDS_LOOKED_AT = 24
"""Of a name; more are passed over."""

_WORDS_KEPT = 5_000  # of queries, with where they stand

# Which of an item's words were found is a bit mask: 50 queries over 2,000 items take 1.5 times as long with frozensets.
_CODE = WORDS_LOOKED_AT  # bits of a code's words stand above those of the name's
NAME_BITS = (1 << _CODE) - 1

Hits = Mapping[int, tuple[float, int]]
"""Items by their numbers in which a word stands: how alike, 0 to 1, and which of the item's words it is (bits)."""


@dataclass(eq=False, slots=True)
class Entry:
    """One item that can be found.

    `meaning` is 1 for the stage of success, -1 for the one of failure, -0.8 for further ones. `name_bits` and
    `code_bits` are the words that tell it from others: names of its directory do not.
    """

    item: Item
    scope: Scope
    meaning: float = 0.0
    name_bits: int = 0
    code_bits: int = 0
    negated: bool = False

    @property
    def bare_code(self) -> str:
        return bare_code(self.item.status_id)


class ItemIndex:
    """Entries in their directories' order, numbered from 0."""

    def __init__(self, contents: Iterable[tuple[Directory, Sequence[Item]]]) -> None:
        self.entries: list[Entry] = []
        self.scopes: list[Scope] = []
        self._by_code: dict[str, list[Entry]] = defaultdict(list)
        self._by_name: dict[str, list[Entry]] = defaultdict(list)
        self._by_form: dict[str, dict[int, int]] = defaultdict(dict)
        self._hits: dict[str, Hits] = {}
        for directory, items in contents:
            self._add(directory, items)
        self._forms = list(self._by_form)

    def by_code(self, code: str) -> list[Entry]:
        """Items with this code, in any letter case, with or without its pipeline's prefix."""
        return self._by_code.get(code.casefold(), [])

    def by_name(self, name: str) -> list[Entry]:
        text = same_text(name)
        return self._by_name.get(text, []) if text else []

    def by_stem(self, word: Word) -> list[Entry]:
        """Items whose whole name is this word in any form."""
        entries = (self.entries[number] for number in self._by_form.get(word.stem, ()))
        return [entry for entry in entries if [found.stem for found in words_of(entry.item.name)] == [word.stem]]

    def knows(self, form: str) -> bool:
        return form in self._by_form

    def hits(self, word: Word) -> Hits:
        """Where `word` stands: itself, else what begins alike or differs by a typo."""
        if word.whole not in self._hits:
            if len(self._hits) >= _WORDS_KEPT:
                self._hits.clear()
            same = [(form, alike) for form, alike in ((word.whole, 1.0), (word.stem, 0.97)) if form in self._by_form]
            forms = same or [like for form in {*word} for like in similar_forms(form, self._forms)]
            found: dict[int, tuple[float, int]] = {}
            for form, likeness in forms:
                for number, bits in self._by_form[form].items():
                    known, known_bits = found.get(number, (0.0, 0))
                    found[number] = max(known, likeness), known_bits | bits
            self._hits[word.whole] = found
        return self._hits[word.whole]

    def joined_hits(self, first: Word, second: Word) -> Hits:
        """Where two words stand written as one."""
        return {number: (1.0, bits) for number, bits in self._by_form.get(first.whole + second.whole, {}).items()}

    def meaning_hits(self, sign: int) -> Hits:
        """The stages that mean success (sign 1) or failure (-1)."""
        means = ((number, 0.9 * entry.meaning * sign) for number, entry in enumerate(self.entries))
        return {number: (likeness, 0) for number, likeness in means if likeness > 0}

    def _add(self, directory: Directory, items: Sequence[Item]) -> None:
        scope = Scope(directory)
        self.scopes.append(scope)
        won = next((place for place, item in enumerate(items) if item.status_id == directory.success), len(items))
        for place, item in enumerate(items):
            entry = Entry(item, scope)
            if item.status_id == directory.success:
                entry.meaning = 1.0
            elif item.status_id == directory.failure:
                entry.meaning = -1.0
            elif directory.kind == "stages" and place > won:
                entry.meaning = -0.8
            self._by_code[item.status_id.casefold()].append(entry)
            if entry.bare_code != item.status_id:
                self._by_code[entry.bare_code.casefold()].append(entry)
            self._by_name[same_text(item.name)].append(entry)
            self._add_words(entry)

    def _add_words(self, entry: Entry) -> None:
        number = len(self.entries)
        self.entries.append(entry)
        name = words_of(entry.item.name)[:WORDS_LOOKED_AT]
        entry.negated = any(word.whole in NEGATIONS for word in name)
        tell = [bit for bit, word in enumerate(name) if not (word.whole in CARRY_NOTHING or entry.scope.names(word))]
        entry.name_bits = sum(1 << bit for bit in tell or range(len(name)))
        code: tuple[Word, ...] = ()
        if not entry.bare_code.upper().startswith("UC_"):  # made up by the portal, no words of people's
            code = words_of(entry.bare_code.replace("_", " "))[:WORDS_LOOKED_AT]
            entry.code_bits = ((1 << len(code)) - 1) << _CODE
        for words, shift in ((name, 0), (code, _CODE)):
            for bits, form in _forms(words):
                known = self._by_form[form]
                known[number] = known.get(number, 0) | bits << shift


def _forms(words: Sequence[Word]) -> Iterator[tuple[int, str]]:
    """Each form under which a word, or two words written as one, can be found, with the bits of those words."""
    for place, word in enumerate(words):
        for form in {*word}:
            yield 1 << place, form
        if place + 1 < len(words):
            yield 3 << place, word.whole + words[place + 1].whole
