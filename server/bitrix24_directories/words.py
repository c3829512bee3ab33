"""Names in the one form in which two that are the same are equal, and codes made of names. A leaf."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

_QUOTES = "\"'`´‘’‚‛“”„‟‹›«»ʹʺʻʼʽʾʿˈˊˋ′″＇＂"
_FOLDED = str.maketrans({"ё": "е", "−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-"} | dict.fromkeys(_QUOTES))
_IGNORED = re.compile("[\u00ad\u200b-\u200f\u2060\ufe0e\ufe0f\ufeff\u0640]|(?<=i)\u0307")  # also the dot that İ leaves
_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s+(?=\d)")
_PUNCTUATION = re.compile(r"(?<!\d)[.,:;/\\|·•()\[\]{}_…。、，・](?!\d)|(?<=[^\W\d_])\s*-\s*(?=[^\W\d_])")  # no minus


@lru_cache(maxsize=50_000)
def name_key(name: str) -> str:
    """Equal for two names that are the same; the name itself if nothing is left of it.

    Letter case, Unicode's compatibility forms, blanks, punctuation between words, and quotes make no difference. Signs
    that carry a meaning do: minus, per cent, plus, exclamation and question marks, emoji, and all between digits.
    """
    text = unicodedata.normalize("NFKC", html.unescape(name) if "&" in name else name).casefold()
    text = _IGNORED.sub("", unicodedata.normalize("NFKC", text)).translate(_FOLDED)
    text = _BETWEEN_DIGITS.sub("\0", _PUNCTUATION.sub(" ", text).strip())
    return "".join(text.split()) or name


def transliterated(text: str) -> str:
    """Lower-case words in Latin letters, joined by underscores."""
    from anyascii import anyascii  # what most calls do not need

    return "_".join(re.findall("[a-z0-9]+", anyascii(text).replace("'", "").lower()))
