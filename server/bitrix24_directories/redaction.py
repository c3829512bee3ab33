"""Takes secrets out of whatever is shown, however a portal spelt them. A leaf: imports only `text`.

A portal may answer with the address or the token that it was asked with, as they are, percent-encoded, as JSON escapes
or HTML entities, with tags or invisible characters in between, and one inside the other.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

from .text import INVISIBLE

MASK = "***"

_ROUNDS = 4  # encodings inside each other that are undone
_FEW = 16  # words that a pattern is made of
_ENCODED = re.compile(rf"[%&\\<]|{INVISIBLE.pattern}")
_ESCAPE = re.compile(r"\\{1,9}(?:u\{?0{0,4}([0-9a-fA-F]{2,4})\}?|x([0-9a-fA-F]{2}))")
_TAG = re.compile(r"<[^<>]*>")

T = TypeVar("T")


class Redactor:
    """Takes secrets out of texts. `secrets` gives those known at the moment: tokens come and go.

    What a text costs does not grow with their number; a frozenset that is the same as before is not even compared.
    """

    def __init__(self, secrets: Callable[[], Iterable[str]]) -> None:
        self._secrets = secrets
        self._sought = _Patterns(frozenset())

    def __call__(self, text: str) -> str:
        """`text` without the secrets; a line in which one was spelt in another way is decoded throughout."""
        return self._refreshed().hidden(text)

    def values(self, value: T) -> T:
        """A copy of parsed JSON without the secrets, in keys and values."""
        redacted: T = _walked(value, self._refreshed().hidden)  # gathered once, not for each of its texts
        return redacted

    def _refreshed(self) -> _Patterns:
        secrets, sought = frozenset(self._secrets()), self._sought
        if secrets is not sought.secrets:
            if secrets != sought.secrets:
                self._sought = sought = _Patterns(secrets)
            sought.secrets = secrets  # the same ones again, which need not be compared the next time
        return sought


class _Patterns:
    """All secrets at one moment, ready to be looked for."""

    def __init__(self, secrets: frozenset[str]) -> None:
        self.secrets = secrets
        self._plain = _masking(secrets)
        # Decoding may go further than what a secret was encoded by, and decode the secret itself.
        decoded = {secret for secret in secrets if _ENCODED.search(secret)}
        for _ in range(_ROUNDS):
            decoded = {_decoded(secret) for secret in decoded}
        self._spelt = _masking(secrets | decoded) if decoded else self._plain
        self._shortest = min(map(len, secrets | decoded), default=0)

    def hidden(self, text: str) -> str:
        if len(text) < self._shortest:  # decoding makes none longer
            return text
        text = self._plain(text)
        if not self.secrets or not _ENCODED.search(text):
            return text
        lines = text.split("\n")
        for index, line in enumerate(lines):
            if len(line) < self._shortest or not _ENCODED.search(line):
                continue
            decoded = line
            for _ in range(_ROUNDS):
                before, decoded = decoded, _decoded(decoded)
                masked = self._spelt(decoded)
                if masked != decoded:
                    lines[index] = decoded = masked  # and on, for another one may be spelt in yet another way
                elif decoded == before:
                    break
        return "\n".join(lines)


def _masking(secrets: Iterable[str]) -> Callable[[str], str]:
    """What masks `secrets` wherever they stand, the longest first.

    A few are a pattern by themselves. Of many, a pattern finds stretches of their characters that are as long as the
    shortest of them, and what begins there is looked up: thousands cost what a few do.
    """
    words = sorted({word for word in secrets if word not in MASK}, key=len, reverse=True)
    if not words:
        return str
    if len(words) <= _FEW:
        return partial(re.compile("|".join(map(re.escape, words))).sub, MASK)
    shortest = len(words[-1])
    by_start: dict[str, list[str]] = {}
    for word in words:
        by_start.setdefault(word[:shortest], []).append(word)

    def masked(match: re.Match[str]) -> str:
        stretch, parts, done, at = match[0], [], 0, 0
        while at <= len(stretch) - shortest:
            starting = by_start.get(stretch[at : at + shortest])
            if starting is None:
                at += 1
                continue
            word = next((candidate for candidate in starting if stretch.startswith(candidate, at)), "")
            if word:
                parts += [stretch[done:at], MASK]
                done = at + len(word)
            at = done if word else at + 1
        return "".join([*parts, stretch[done:]])

    characters = "".join(map(re.escape, sorted(set().union(*words))))
    return partial(re.compile(f"[{characters}]{{{shortest},}}").sub, masked)


def _walked(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_walked(item, redact) for item in value]
    if isinstance(value, dict):
        return {_walked(key, redact): _walked(item, redact) for key, item in value.items()}
    return value


def _decoded(text: str) -> str:
    """`text` with one layer of each encoding undone."""
    text = unquote(html.unescape(text), errors="replace")
    text = _ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
    return INVISIBLE.sub("", _TAG.sub("", text))
