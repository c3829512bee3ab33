"""Names for the ranking: their words, and the marks at their start in a list. A leaf."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from anyascii import anyascii

_JUDGING = re.compile("[✅☑✓✔✕-✘❌❎⛔🚫🛑👍👎➕➖➗❓❗⚠🔺🔻🔼🔽⬆⬇]")
_EMOJI = re.compile(
    "(?:[0-9#*]\ufe0f?\u20e3|[\u203c\u2049\u2122\u2139\u2300-\u25b1\u25c4-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff])"
    "(?:[\ufe0e\ufe0f\u200d\u20e3]|[\u2640\u2642\U0001f000-\U0001faff])*\\s*"
)
_WORD = re.compile("[a-z]+|[0-9]+")
_LIST_NUMBER = re.compile(r"\s*(\d{1,3})[.)]\s+(?=\S)")


@lru_cache(maxsize=50_000)
def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a text in lower-case Latin letters, and its numbers."""
    latin = text if text.isascii() else anyascii(text)
    return tuple(_WORD.findall(latin.replace("'", "").lower()))


def list_number(name: str) -> str:
    """Return the list number at a name's start: `3` of `3. Offer` or `3) Offer`, "" of `50-250`."""
    match = _LIST_NUMBER.match(name)
    return match[1] if match else ""


def without_common_marks(names: Sequence[str]) -> list[str]:
    """Return the names without the list numbers or emoji that all of them start with.

    Empty if some names lack them, or if a mark may say yes, no, more or less.
    """
    for mark in (_LIST_NUMBER, _EMOJI):
        matches = [mark.match(name) for name in names]
        bare = [name[match.end() :] for name, match in zip(names, matches, strict=True) if match]
        judging = any(_JUDGING.search(match[0]) for match in matches if match)
        if len(names) > 1 and len(bare) == len(names) and all(bare) and not judging:
            return bare
    return []
