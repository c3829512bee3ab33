"""Removes secrets from all texts that are shown, in any spelling. A leaf: imports `text`.

A portal may answer with the address or the token of a request: unchanged, percent-encoded, as JSON escapes or HTML
entities, with tags or invisible characters between, and in several of these at once.
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

_ROUNDS = 4  # nested encodings that are undone
_FEW = 16  # words in one pattern at most
_ENCODED = re.compile(rf"[%&\\<]|{INVISIBLE.pattern}")
_ESCAPE = re.compile(r"\\{1,9}(?:u\{?0{0,4}([0-9a-fA-F]{2,4})\}?|x([0-9a-fA-F]{2}))")
_TAG = re.compile(r"<[^<>]*>")

T = TypeVar("T")


class Redactor:
    """Removes secrets from texts. `secrets` returns the present ones: tokens come and go.

    The cost for a text does not grow with their number; an identical frozenset is not even compared.
    """

    def __init__(self, secrets: Callable[[], Iterable[str]]) -> None:
        self._secrets = secrets
        self._sought = _Patterns(frozenset())

    def __call__(self, text: str) -> str:
        """Return `text` without the secrets; a line with an encoded secret is decoded as a whole."""
        return self._current_patterns().hidden(text)

    def values(self, value: T) -> T:
        """Return a copy of parsed JSON without the secrets, in keys and values."""
        redacted: T = _redacted(value, self._current_patterns().hidden)  # gathered once, not for each of its texts
        return redacted

    def _current_patterns(self) -> _Patterns:
        secrets, sought = frozenset(self._secrets()), self._sought
        if secrets is not sought.secrets:
            if secrets != sought.secrets:
                self._sought = sought = _Patterns(secrets)
            sought.secrets = secrets  # equal ones, which need no comparison the next time
        return sought


class _Patterns:
    """Patterns for all secrets at one moment."""

    def __init__(self, secrets: frozenset[str]) -> None:
        self.secrets = secrets
        self._plain = _masking(secrets)
        # Decoding may undo more than was encoded, and change the secret itself.
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
                    lines[index] = decoded = masked  # and on: another secret may have another spelling
                elif decoded == before:
                    break
        return "\n".join(lines)


def _masking(secrets: Iterable[str]) -> Callable[[str], str]:
    """Return a function that masks `secrets` in a text, the longest first.

    A few make one pattern. For many, a pattern finds stretches of their characters at least as long as the shortest of
    them, and each position in a stretch is looked up: thousands cost as much as a few.
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


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_redacted(item, redact) for item in value]
    if isinstance(value, dict):
        return {_redacted(key, redact): _redacted(item, redact) for key, item in value.items()}
    return value


def _decoded(text: str) -> str:
    """Return `text` with one layer of each encoding undone."""
    text = unquote(html.unescape(text), errors="replace")
    text = _ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
    return INVISIBLE.sub("", _TAG.sub("", text))
