"""Words of names and queries in one form: whatever their case, accents, grammatical ending or alphabet. A leaf."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import snowballstemmer
from rapidfuzz import process
from rapidfuzz.distance import OSA

_TAG = re.compile(r"<[^<>]*>")
_WORD = re.compile(r"[^\W_]+")
_CONTRACTION = re.compile(r"\b[a-z]+n['’]t\b")  # "won't" has nothing to do with what is won
_CYRILLIC = re.compile("[а-яё]")
_LETTERS = dict(zip("абвгдезийклмнопрстуфхыэ", "abvgdeziiklmnoprstufhie", strict=True)) | {
    "ж": "zh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "sch", "ъ": "", "ь": "", "ю": "iu", "я": "ia",
}  # fmt: skip
# Spellings of one sound, by which people write Russian in Latin letters; harmless to English words.
_SOUNDS = (("shch", "sch"), ("kh", "h"), ("ph", "f"), ("ck", "k"), ("tz", "ts"), ("y", "i"), ("j", "i"), ("w", "v"),
           ("x", "ks"), ("q", "k"))  # fmt: skip
_DOUBLED = re.compile(r"(\D)\1")

_ENGLISH = snowballstemmer.stemmer("english")
_RUSSIAN = snowballstemmer.stemmer("russian")


class Word(NamedTuple):
    """A word as it stands and without its ending, both in plain Latin letters."""

    whole: str
    stem: str


@lru_cache(maxsize=50_000)
def words_of(text: str) -> tuple[Word, ...]:
    """The words of a name, title or query, in their order."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", _TAG.sub(" ", text)).casefold())
    return tuple(_word(found) for found in _WORD.findall(_CONTRACTION.sub("not", plain)))


@lru_cache(maxsize=50_000)
def same_text(text: str) -> str:
    """Equal for two texts that differ only in case, accents, punctuation, spacing, and ё for е."""
    found = _WORD.findall(_without_accents(_TAG.sub(" ", text).casefold()))
    return "".join(f"{word}," if word.isdigit() else word for word in found)


def transliterated(text: str) -> str:
    """Lower-case words in Latin letters, as people spell Russian, joined by underscores."""
    return "_".join(_without_accents(_romanized(word)) for word in _WORD.findall(text.casefold()))


@lru_cache(maxsize=50_000)
def _word(text: str) -> Word:
    text = text.replace("ё", "е")
    stemmer = _RUSSIAN if _CYRILLIC.search(text) else _ENGLISH
    return Word(_latin(text), _latin(stemmer.stemWord(text)))


def _latin(text: str) -> str:
    bare = _without_accents(_romanized(text))
    for spelling, sound in _SOUNDS:
        bare = bare.replace(spelling, sound)
    return _DOUBLED.sub(r"\1", bare)


def _romanized(text: str) -> str:
    return "".join(_LETTERS.get(char, char) for char in text.replace("ё", "е"))


def _without_accents(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFKD", text) if not unicodedata.combining(char))


def similar_forms(form: str, known: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Those of `known` that `form` may be a misspelling or another form of, with their likeness, 0 to 1."""
    if len(form) < 4 or any(char.isdigit() for char in form):
        return
    for other, typos, _ in process.extract(form, known, scorer=OSA.distance, score_cutoff=2, limit=20):
        shorter = min(len(form), len(other))
        if shorter >= 4 and (typos == 1 or shorter >= 8) and not other.isdigit():
            # People rarely mistype the first letter: other words begin otherwise.
            yield other, 0.8 if typos == 2 or shorter == 4 or form[0] != other[0] else 0.87
    for other in known:
        if other.startswith(form) and len(other) <= 2.5 * len(form):
            yield other, 0.86
        elif len(other) >= 5 and form.startswith(other) and len(form) <= len(other) + 3:
            yield other, 0.88
