"""Names compared without accents, and codes made of them: whatever their case or alphabet. A leaf."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from .text import without_joiners

_TAG = re.compile(r"<[^<>]*>")
_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f\u064b-\u0652\u0900-\u0903\u093a-\u094f\u0e31-\u0e4e])*")


@lru_cache(maxsize=50_000)
def same_text(text: str) -> str:
    """Equal for two texts that differ only in case, accents, punctuation, spacing, and ё for е."""
    found = _WORD.findall(_plain(without_joiners(_TAG.sub(" ", text)).casefold()))
    return "".join(f"{word}," if word.isdigit() else word for word in found)


def transliterated(text: str) -> str:
    """Lower-case words in Latin letters, joined by underscores."""
    from anyascii import anyascii  # what most calls do not need

    return "_".join(re.findall("[a-z0-9]+", anyascii(text).replace("'", "").lower()))


def _plain(text: str) -> str:
    apart = unicodedata.normalize("NFKD", text)
    return "".join(char for char in apart if not unicodedata.combining(char))
