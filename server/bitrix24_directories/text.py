"""What people typed, made safe to show: on one line, without characters that nobody sees. A leaf: imports nothing.

Names come from the portal's users and are data; invisible characters are how instructions get smuggled into them.
"""

from __future__ import annotations

import json
import re

# Controls, surrogates, private use, and Unicode's "default ignorable" characters: zero-width, bidirectional, tags,
# variation selectors, fillers.
INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U0010ffff]"
)
"""One character that nobody sees."""

_PREFIX = re.compile(r"^(?:C\d+|DT\d+_\d+):", re.IGNORECASE)
_NOT_PLAIN = re.compile(rf'[\s"]|{INVISIBLE.pattern}')


def one_line(text: str, limit: int) -> str:
    """`text` with white space folded to single blanks and invisible characters gone, `limit` characters at most."""
    folded = " ".join(INVISIBLE.sub("", " ".join(text.split())).split())
    return folded if len(folded) <= limit else f"{folded[: limit - 1]}…"


def shown_code(code: str) -> str:
    """A STATUS_ID for a text: as it is, or as a JSON string where it holds anything but plain visible characters."""
    return code if code and _NOT_PLAIN.search(code) is None else quoted(code)


def quoted(value: object) -> str:
    """A text, or anything else that JSON knows, as JSON in which everything can be seen."""
    return INVISIBLE.sub(_escaped, json.dumps(value, ensure_ascii=False))


def bare_code(code: str) -> str:
    """A STATUS_ID without its pipeline's prefix."""
    return _PREFIX.sub("", code)


def spellings(code: str) -> tuple[str, str]:
    """How people may write a STATUS_ID, in lower case: with and without its pipeline's prefix."""
    return code.casefold(), bare_code(code).casefold()


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]
