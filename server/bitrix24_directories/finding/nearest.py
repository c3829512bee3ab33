"""Ranks items by the nearness of their names and codes to words: to show, not to decide.

Words are compared in Latin letters: whole words, beginnings, typos, words inside longer ones, and words typed in
another keyboard layout. Pure.
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
_LONGEST = 40  # compared letters of a word: the number of its parts grows with the square
_SIMILAR = 0.8  # Jaro-Winkler: least value for a misspelling or another form
_CONTAINED = 0.85  # for a word inside a longer one, in either direction
_SAME_JOINED = 0.92  # for all words without their blanks
_OF_CODE = 0.9  # for a word of the code, relative to one of the name
_LONG = 4  # least letters of a word to find inside others
_PLAUSIBLE = 0.85  # share of the best possible score, below which other layouts are tried

# The same keys of other layouts in the same order, in lower case only.
_LATIN = "`qwertyuiop[]asdfghjkl;'zxcvbnm,.1234567890-="
_CYRILLIC = {
    "ru": "ёйцукенгшщзхъфывапролджэячсмитьбю1234567890-=",
    "uk": "'йцукенгшщзхїфівапролджєячсмитьбю1234567890-=",
    "kk": '(йцукенгшщзхъфывапролджэячсмитьбю"әіңғ,.үұқөһ',
}
_TO_CYRILLIC = [str.maketrans(_LATIN, keys) for keys in _CYRILLIC.values()]
_TO_LATIN = [str.maketrans(keys, _LATIN) for keys in _CYRILLIC.values()]


class NearestIndex:
    """Words of names and codes, with the numbers of their items."""

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
        """Return the numbers of at most `most` items, the nearest to `text` first.

        With `filled`, the first of the other items follow those that are near at all.
        """
        scores, share = self._scores(words_of(text))
        if share < _PLAUSIBLE:
            lower = text.casefold()
            latin = any("a" <= char <= "z" for char in lower)
            cyrillic = any("\u0400" <= char <= "\u04ff" for char in lower)
            tables = _TO_CYRILLIC if latin else _TO_LATIN
            for variant in dict.fromkeys(lower.translate(table) for table in tables if latin != cyrillic):
                other_scores, other_share = self._scores(words_of(variant))
                if other_share > share:
                    scores, share = other_scores, other_share
        length = len(words_of(text))
        ranked = nsmallest(
            most, scores, key=lambda number: (-round(scores[number], 6), abs(self._lengths[number] - length), number)
        )
        rest = (number for number in range(len(self._lengths)) if filled and number not in scores)
        return [*ranked, *islice(rest, most - len(ranked))]

    def _scores(self, words: Sequence[str]) -> tuple[dict[int, float], float]:
        """Return a score for each item that is near at all, and the share of the best possible one."""
        scores: defaultdict[int, float] = defaultdict(float)
        possible = 0.0
        words = list(dict.fromkeys(words))[:_MOST_WORDS]
        for word in words:
            similarities: dict[int, float] = {}
            for similar, similarity in self._similar(word):
                for numbers, factor in ((self._names.get(similar, ()), 1.0), (self._codes.get(similar, ()), _OF_CODE)):
                    for number in numbers:
                        if similarities.get(number, 0.0) < similarity * factor:
                            similarities[number] = similarity * factor
            weight = 1 + math.log((1 + len(self._lengths)) / (1 + len(similarities)))
            possible += weight
            for number, similarity in similarities.items():
                scores[number] += weight * similarity
        if len(words) > 1:
            for similar, similarity in self._similar("".join(words)):
                for number in self._names.get(similar, ()) if similarity >= _SAME_JOINED else ():
                    scores[number] = max(scores[number], possible * similarity)
        return scores, max(scores.values(), default=0.0) / possible if possible else 1.0

    def _similar(self, word: str) -> Iterator[tuple[str, float]]:
        """Yield words of the items for which `word` may stand, with similarity; only equal numbers."""
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
            while start >= 0:  # the words that contain it
                end = self._text.index("\n", start)
                yield self._text[self._text.rindex("\n", 0, start) + 1 : end], _CONTAINED
                start = self._text.find(word, end)
            parts = {word[start:end] for start in range(len(word)) for end in range(start + _LONG, len(word) + 1)}
            yield from ((part, _CONTAINED) for part in parts if part in self._names)
