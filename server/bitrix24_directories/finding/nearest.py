"""Ranks items by how near their names and codes are to some words: to be shown, never to be taken for what is meant.

Words are compared in Latin letters, whole, by their beginnings, with typos, inside longer ones, and as the same keys
write them in another layout. Pure.
"""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import islice

from rapidfuzz.distance import JaroWinkler
from rapidfuzz.process import extract

from bitrix24_directories.directories.models import Item
from bitrix24_directories.text import bare_code

from .names import words_of

_MOST_WORDS = 12  # of a query
_LONGEST = 40  # letters of a word that are compared: its parts are as many as its length squared
_SIMILAR = 0.8  # Jaro-Winkler, from which a word may be a misspelling or another form
_CONTAINED = 0.85  # for a word that stands inside a longer one, on either side
_SAME_JOINED = 0.92  # for all words without their blanks
_OF_CODE = 0.9  # for a word of the code, beside one of the name
_LONG = 4  # letters of a word that is looked for inside others
_PLAUSIBLE = 0.85  # of the best similarity there can be, below which other layouts are tried

# The same keys of other layouts in the same order; upper case is told from the lower one's.
_LATIN = "`qwertyuiop[]asdfghjkl;'zxcvbnm,.1234567890-="
_CYRILLIC = {
    "ru": "ёйцукенгшщзхъфывапролджэячсмитьбю1234567890-=",
    "uk": "'йцукенгшщзхїфівапролджєячсмитьбю1234567890-=",
    "kk": '(йцукенгшщзхъфывапролджэячсмитьбю"әіңғ,.үұқөһ',
}
_TO_CYRILLIC = [str.maketrans(_LATIN, keys) for keys in _CYRILLIC.values()]
_TO_LATIN = [str.maketrans(keys, _LATIN) for keys in _CYRILLIC.values()]


class NearestIndex:
    """Words of names and codes, and the items that have them, by their numbers."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._names: defaultdict[str, array[int]] = defaultdict(lambda: array("L"))
        self._codes: defaultdict[str, array[int]] = defaultdict(lambda: array("L"))
        self._lengths: list[int] = []
        for number, item in enumerate(items):
            words = words_of(item.name)
            for word in {*words, "".join(words)}:
                self._names[word].append(number)
            for word in set(words_of(bare_code(item.status_id))):
                self._codes[word].append(number)
            self._lengths.append(len(words))
        self._words = sorted({*self._names, *self._codes})
        self._text = "\n".join(["", *self._words, ""])

    def rank(self, text: str, most: int, *, filled: bool = False) -> list[int]:
        """The numbers of the items that are nearest to `text`, the nearest first, `most` of them at most.

        If it is to be `filled`, the first of the others come behind those that are near at all.
        """
        scores, share = self._scores(words_of(text))
        if share < _PLAUSIBLE:
            lower = text.casefold()
            latin = any("a" <= char <= "z" for char in lower)
            cyrillic = any("\u0400" <= char <= "\u04ff" for char in lower)
            tables = _TO_CYRILLIC if latin else _TO_LATIN
            for meant in dict.fromkeys(lower.translate(table) for table in tables if latin != cyrillic):
                others, other_share = self._scores(words_of(meant))
                if other_share > share:
                    scores, share = others, other_share
        wanted = len(words_of(text))
        ranked = nsmallest(
            most, scores, key=lambda number: (-round(scores[number], 6), abs(self._lengths[number] - wanted), number)
        )
        rest = (number for number in range(len(self._lengths)) if filled and number not in scores)
        return [*ranked, *islice(rest, most - len(ranked))]

    def _scores(self, words: Sequence[str]) -> tuple[dict[int, float], float]:
        """A score for each item that is near at all, and the greatest one's share of what could be reached."""
        scores: defaultdict[int, float] = defaultdict(float)
        possible = 0.0
        words = list(dict.fromkeys(words))[:_MOST_WORDS]
        for word in words:
            found: dict[int, float] = {}
            for similar, similarity in self._similar(word):
                for numbers, factor in ((self._names.get(similar, ()), 1.0), (self._codes.get(similar, ()), _OF_CODE)):
                    for number in numbers:
                        if found.get(number, 0.0) < similarity * factor:
                            found[number] = similarity * factor
            weight = 1 + math.log((1 + len(self._lengths)) / (1 + len(found)))
            possible += weight
            for number, similarity in found.items():
                scores[number] += weight * similarity
        if len(words) > 1:
            for similar, similarity in self._similar("".join(words)):
                for number in self._names.get(similar, ()) if similarity >= _SAME_JOINED else ():
                    scores[number] = max(scores[number], possible * similarity)
        return scores, max(scores.values(), default=0.0) / possible if possible else 1.0

    def _similar(self, word: str) -> Iterator[tuple[str, float]]:
        """Words of the items that `word` may stand for, and how similar they are; numbers only for themselves."""
        word = word[:_LONGEST]
        if word.isdecimal():
            yield word, 1.0
            return
        for similar, similarity, _ in extract(
            word, self._words, scorer=JaroWinkler.normalized_similarity, score_cutoff=_SIMILAR, limit=None
        ):
            if not similar.isdecimal():
                yield similar, similarity
        if len(word) >= _LONG:
            start = self._text.find(word)
            while start >= 0:  # the words that it stands in
                end = self._text.index("\n", start)
                yield self._text[self._text.rindex("\n", 0, start) + 1 : end], _CONTAINED
                start = self._text.find(word, end)
            parts = {word[start:end] for start in range(len(word)) for end in range(start + _LONG, len(word) + 1)}
            yield from ((part, _CONTAINED) for part in parts if part in self._names)
