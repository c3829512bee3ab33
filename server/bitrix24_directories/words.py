"""Normal form of names, equal for equal names, and codes made from names. A leaf."""

from __future__ import annotations

import html
import re
import unicodedata
from functools import lru_cache

_QUOTES = "\"'`´‘’‚‛“”„‟‹›«»ʹʺʻʼʽʾʿˈˊˋ′″＇＂"
_QUOTE = re.compile(f"(?<!\\d)[{_QUOTES}]")  # behind a digit it means feet or inches
_FOLDED = str.maketrans({"ё": "е", "−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-"})
_IGNORED = re.compile("[\u00ad\u200b-\u200f\u2060\ufe0e\ufe0f\ufeff\u0640]|(?<=i)\u0307")  # also the dot that İ leaves
_ENTITY = re.compile(r"&#?\w+;")
# 10² is no 102.
_NUMBER_SIGNS = re.compile("([\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u209f\u2150-\u218f\u2460-\u24ff])")
_MINUS = re.compile(r"(?<!\S)-(?=\d)")
_EMOTICON = re.compile(r"(?<!\S)[:;]-?([()])(?!\S)")
_RANGE = re.compile(r"(?<=\d)\s*-\s*(?=\d)")
_PUNCTUATION = re.compile(r"(?<!\d)[.,:;/\\|·•()\[\]{}_…。、，・](?!\d)|(?<=[^\W\d_])\s*-\s*(?=[^\W\d_])")


@lru_cache(maxsize=50_000)
def name_key(name: str) -> str:
    """Return a key that is equal for equal names; the name itself if nothing is left of it.

    Letter case, Unicode's compatibility forms, punctuation between words, quotes and the number of blanks make no
    difference. Signs that carry a meaning do: minus, per cent, plus, exclamation and question marks, emoji, and
    everything between digits.
    """
    text = _ENTITY.sub(lambda entity: html.unescape(entity[0]), name)
    parts = _NUMBER_SIGNS.split(text)
    parts[::2] = [unicodedata.normalize("NFKC", part) for part in parts[::2]]
    text = unicodedata.normalize("NFC", "".join(parts).casefold())
    text = _IGNORED.sub("", text).translate(_FOLDED)
    text = _EMOTICON.sub(lambda face: "\1" if face[1] == "(" else "\2", _MINUS.sub("\0", text))
    text = _PUNCTUATION.sub(" ", _RANGE.sub("-", _QUOTE.sub("", text)))
    return " ".join(text.split()) or name.strip() or name


def transliterated(text: str) -> str:
    """Return lower-case words in Latin letters, joined by underscores."""
    from anyascii import anyascii  # not needed by most calls

    return "_".join(re.findall("[a-z0-9]+", anyascii(text).replace("'", "").lower()))
