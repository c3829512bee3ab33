"""Makes people's texts safe to show: one line, no invisible characters. A leaf.

Names come from the portal's users and are data; invisible characters can smuggle instructions into them. Those that
emoji and some scripts need stay, one between two characters that need it. Imports nothing.
"""

from __future__ import annotations

import json
import re
import unicodedata

# Controls, surrogates, private use, and Unicode's "default ignorable" characters: zero-width, bidirectional, tags,
# variation selectors, fillers.
INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U0010ffff]"
)
"""One invisible character."""

LIKE_A_WEBHOOK = re.compile(r"\S*(?:[a-z]{2,}:(?:/|%2f)|(?:\b|%2f)rest(?:/|%2f)\d+(?:/|%2f)\w{8})\S*", re.IGNORECASE)
"""A URL, or most of a webhook's, in place of another value: not to be shown."""

_JOINER = "\u200d"
_NON_JOINER = "\u200c"
_VARIATIONS = ("\ufe0e", "\ufe0f")  # as text, as a picture
_KEYS = tuple("0123456789#*")
_EMOJI = re.compile(
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2190-\u21ff\u2300-\u23ff\u24c2\u25a0-\u27bf\u2934\u2935\u2b00-\u2bff\u3030"
    "\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
# Scripts whose letters joiners join or separate: Arabic and its relatives, the scripts of India and theirs.
_JOINING = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1700-\u18af\u1900-\u1aaf\u1b00-\u1c7f\u1cd0-\u1cff\ua840-\ua95f\ua980-\uaaff"
    "\uabc0-\uabff\ufb50-\ufdff\ufe70-\ufefc\U00010ac0-\U00010aff\U00010d00-\U00010d3f\U00010f30-\U00010fdf"
    "\U00011000-\U00011aaf\U00011c00-\U00011eff\U0001e900-\U0001e95f]"
)

_PREFIX = re.compile(r"^(?:C\d+|DT\d+_\d+):", re.IGNORECASE)
_NOT_PLAIN = re.compile(rf'[\s"]|{INVISIBLE.pattern}')


def one_line(text: str, limit: int) -> str:
    """Return `text` on one line without invisible characters, at most `limit` characters.

    White space is folded to single blanks. A joiner stays between letters that need it, and within an emoji; a
    variation selector stays right after an emoji.
    """
    folded = " ".join(_visible(" ".join(text.split())).split())
    return folded if len(folded) <= limit else _visible(f"{folded[: limit - 1]}…")


def shown_code(code: str) -> str:
    """Return a STATUS_ID for a text; as a JSON string unless it is plain visible characters."""
    return code if code and _NOT_PLAIN.search(code) is None else quoted(code)


def shown_id(text: str, limit: int) -> str:
    """Return a caller's id for use in quotes: blanks stay, invisible characters are escaped.

    Otherwise nobody could see why it is not the id that it looks like.
    """
    short = text if len(text) <= limit else f"{text[: limit - 1]}…"
    return short if _visible(text) == text else quoted(short)[1:-1]


def quoted(value: object, *, indent: int | None = None) -> str:
    """Return a text, or any JSON value, as JSON in which every character is visible."""
    lines = json.dumps(value, ensure_ascii=False, indent=indent).split("\n")  # breaks of the layout: others are escaped
    return "\n".join(map(escaped, lines))


def escaped(text: str) -> str:
    """Return `text` with its invisible characters as JSON escapes."""
    return INVISIBLE.sub(lambda match: json.dumps(match[0])[1:-1], text)


def without_joiners(text: str) -> str:
    """Return `text` without joiners and non-joiners, which not everybody types."""
    return text.replace(_NON_JOINER, "").replace(_JOINER, "")


def bare_code(code: str) -> str:
    """Return a STATUS_ID without its pipeline's prefix."""
    return _PREFIX.sub("", code)


def spellings(code: str) -> tuple[str, str]:
    """Return a STATUS_ID in lower case, with and without its pipeline's prefix.

    People may write it in both ways.
    """
    return code.casefold(), bare_code(code).casefold()


def _visible(text: str) -> str:
    return INVISIBLE.sub(_needed, text)


def _needed(match: re.Match[str]) -> str:
    """Return an invisible character that its neighbours need, or an empty text."""
    char, text, at = match[0], match.string, match.start()
    before, after = text[max(at - 2, 0) : at], text[at + 1 : at + 2]
    if char in _VARIATIONS:
        keycap = before[-1:] in _KEYS and after == "\u20e3"
        return char if keycap or _EMOJI.fullmatch(before[-1:]) else ""
    if char == _JOINER and _EMOJI.fullmatch(after):
        emoji = before[:-1] if before.endswith(_VARIATIONS) else before[-1:]
        return char if _EMOJI.fullmatch(emoji) else ""
    if char in (_JOINER, _NON_JOINER) and _joins(before[-1:]) and _joins(after):
        return char
    return ""


def _joins(char: str) -> bool:
    letter_or_mark = bool(char) and unicodedata.category(char)[0] in "LM"
    return letter_or_mark and _JOINING.fullmatch(char) is not None and INVISIBLE.fullmatch(char) is None
