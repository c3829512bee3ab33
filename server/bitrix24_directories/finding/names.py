"""Names in the one form in which two that are the same are equal, and their words. A leaf.

Letter case, Unicode's compatibility forms, blanks, punctuation between words, and quotes make no difference. Signs that
carry a meaning do: minus, per cent, plus, exclamation and question marks, emoji, and all that stands between digits.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from anyascii import anyascii

_QUOTES = "\"'`´‘’‚‛“”„‟‹›«»ʹʺʻʼʽʾʿˈˊˋ′″＇＂"
_FOLDED = str.maketrans({"ё": "е", "−": "-", "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-"} | dict.fromkeys(_QUOTES))
_IGNORED = re.compile("[\u00ad\u200b-\u200f\u2060\ufe0e\ufe0f\ufeff\u0640]|(?<=i)\u0307")  # also the dot that İ leaves
_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s+(?=\d)")
_PUNCTUATION = re.compile(r"(?<!\d)[.,:;/\\|·•()\[\]{}_…。、，・](?!\d)|(?<!\d)-(?!\s*\d)")  # not beside digits
_EMOJI = re.compile(
    "(?:[0-9#*]\ufe0f?\u20e3|[\u203c\u2049\u2122\u2139\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff])"
    "(?:[\ufe0e\ufe0f\u200d\u20e3]|[\u2640\u2642\U0001f000-\U0001faff])*\\s*"
)
_WORD = re.compile("[a-z]+|[0-9]+")
_LIST_NUMBER = re.compile(r"\s*(\d{1,3})[.)]\s+(?=\S)")


@lru_cache(maxsize=50_000)
def name_key(name: str) -> str:
    """Equal for two names that are the same; the name itself if nothing is left of it."""
    text = unicodedata.normalize("NFKC", html.unescape(name) if "&" in name else name).casefold()
    text = _IGNORED.sub("", unicodedata.normalize("NFKC", text)).translate(_FOLDED)
    text = _BETWEEN_DIGITS.sub("\0", _PUNCTUATION.sub(" ", text).strip())
    return "".join(text.split()) or name


@lru_cache(maxsize=50_000)
def words_of(text: str) -> tuple[str, ...]:
    """The words of a text in lower-case Latin letters, and its numbers."""
    latin = text if text.isascii() else anyascii(text)
    return tuple(_WORD.findall(latin.replace("'", "").lower()))


def list_number(name: str) -> str:
    """The number of a list that a name begins with: `3` of `3. Offer` and `3) Offer`; empty for `50-250`."""
    match = _LIST_NUMBER.match(name)
    return match[1] if match else ""


def without_marks(names: Sequence[str]) -> list[str]:
    """The names without the list numbers, or emoji, that all of them begin with; none where some do not."""
    for mark in (_LIST_NUMBER, _EMOJI):
        matches = [mark.match(name) for name in names]
        bare = [name[match.end() :] for name, match in zip(names, matches, strict=True) if match]
        if len(names) > 1 and len(bare) == len(names) and all(bare):
            return bare
    return []
