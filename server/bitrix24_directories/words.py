"""Words of names and queries in one form: whatever their case, accents or alphabet. A leaf."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from .text import without_joiners

_TAG = re.compile(r"<[^<>]*>")
WORD = r"[^\W_](?:[^\W_]|[\u0300-\u036f\u064b-\u0652\u0900-\u0903\u093a-\u094f\u0e31-\u0e4e])*"
"""Letters and digits, with the marks that are written over, under or behind them."""

_WORD = re.compile(WORD)
_LETTERS = str.maketrans(
    dict(zip("абвгґдезийклмнопрстуфхыэіїәғқңөұүһ", "abvggdeziiklmnoprstufhieiiagknouuh", strict=True))
    | {"ё": "e", "ж": "zh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "sch", "ъ": "", "ь": "", "ю": "iu", "я": "ia",
       "є": "ie", "ı": "i", "ł": "l", "ø": "o", "đ": "d", "æ": "ae", "œ": "oe", "ة": "ه", "ى": "ي", "ـ": ""}
)  # fmt: skip
# Spellings of one sound, by which people write Cyrillic in Latin letters; harmless to words of other languages.
_SOUNDS = str.maketrans({"y": "i", "j": "i", "w": "v", "x": "ks", "q": "k"})
_PAIRS = {"shch": "sch", "kh": "h", "ph": "f", "ck": "k", "tz": "ts"}
_PAIR = re.compile("|".join(_PAIRS))
_ELECTRONIC = re.compile(r"(?<!\w)e-(?=[^\W\d_]{3})")
_DOUBLED = re.compile(r"(\D)\1")


@lru_cache(maxsize=50_000)
def same_text(text: str) -> str:
    """Equal for two texts that differ only in case, accents, punctuation, spacing, and ё for е."""
    found = _WORD.findall(plain(without_joiners(without_tags(text)).casefold()))
    return "".join(f"{word}," if word.isdigit() else word for word in found)


def transliterated(text: str) -> str:
    """Lower-case words in Latin letters, as people spell Cyrillic, joined by underscores."""
    return "_".join(plain(word.translate(_LETTERS)) for word in _WORD.findall(text.casefold()))


def without_tags(text: str) -> str:
    return _TAG.sub(" ", text)


@lru_cache(maxsize=10_000)
def split(text: str) -> tuple[str, ...]:
    """The words of a text, in lower case."""
    return tuple(_WORD.findall(lower(text)))


def lower(text: str) -> str:
    """In lower case, each letter with its accents as one character and no joiners; the Turkish İ is an i, and "e-mail"
    one word."""
    if text.isascii():
        text = text.lower()
    else:
        text = unicodedata.normalize("NFKC", without_joiners(text)).casefold().replace("i\u0307", "i")
        text = unicodedata.normalize("NFC", text)
    return _ELECTRONIC.sub("e", text) if "e-" in text else text


@lru_cache(maxsize=50_000)
def folded(word: str) -> str:
    """A lower-case word in plain Latin letters where it has any, each sound spelled in one way."""
    bare = word if word.isascii() else plain(word.translate(_LETTERS))
    bare = _PAIR.sub(lambda found: _PAIRS[found[0]], bare).translate(_SOUNDS)
    return _DOUBLED.sub(r"\1", bare)


def plain(text: str) -> str:
    """`text` without accents."""
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFKD", text)
    if not any(map(unicodedata.combining, apart)):
        return apart
    return "".join(char for char in apart if not unicodedata.combining(char))
