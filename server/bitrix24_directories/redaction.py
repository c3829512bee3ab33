"""Takes secrets out of whatever is shown, however a portal spelt them. A leaf: imports only `text`.

A portal may answer with the address or the token that it was asked with, as they are, percent-encoded, as JSON escapes
or HTML entities, with tags or invisible characters in between, and one inside the other.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from urllib.parse import unquote

from .text import INVISIBLE

MASK = "***"

_ROUNDS = 4  # encodings inside each other that are undone
_ENCODED = re.compile(rf"[%&\\<]|{INVISIBLE.pattern}")
_ESCAPE = re.compile(r"\\{1,9}(?:u\{?0{0,4}([0-9a-fA-F]{2,4})\}?|x([0-9a-fA-F]{2}))")
_TAG = re.compile(r"<[^<>]*>")

T = TypeVar("T")


class Redactor:
    """Takes secrets out of texts. `secrets` gives those known at the moment: tokens come and go."""

    def __init__(self, secrets: Callable[[], Iterable[str]]) -> None:
        self._secrets = secrets

    def __call__(self, text: str) -> str:
        """`text` without the secrets; a line in which one was spelt in another way is decoded throughout."""
        secrets = [secret for secret in self._secrets() if secret and secret not in MASK]
        for secret in secrets:
            text = text.replace(secret, MASK)
        if not secrets or not _ENCODED.search(text):
            return text
        # Decoding may go further than what a secret was encoded by, and decode the secret itself.
        spelt = {*secrets, *map(_wholly_decoded, secrets)} - {""}
        return "\n".join(_without_encoded(line, spelt) for line in text.split("\n"))

    def values(self, value: T) -> T:
        """A copy of parsed JSON without the secrets, in keys and values."""
        secrets = tuple(self._secrets())  # gathered once, not for each of its texts
        redacted: T = _walked(value, Redactor(lambda: secrets))
        return redacted


def _without_encoded(line: str, secrets: Iterable[str]) -> str:
    decoded = line
    for _ in range(_ROUNDS):
        before, decoded = decoded, _decoded(decoded)
        if any(secret in decoded for secret in secrets):
            for secret in secrets:
                decoded = decoded.replace(secret, MASK)
            line = decoded  # and on, for another one may be spelt in yet another way
        elif decoded == before:
            break
    return line


def _walked(value: Any, redact: Redactor) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list):
        return [_walked(item, redact) for item in value]
    if isinstance(value, dict):
        return {_walked(key, redact): _walked(item, redact) for key, item in value.items()}
    return value


def _wholly_decoded(text: str) -> str:
    for _ in range(_ROUNDS):
        text = _decoded(text)
    return text


def _decoded(text: str) -> str:
    """`text` with one layer of each encoding undone."""
    text = unquote(html.unescape(text), errors="replace")
    text = _ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
    return INVISIBLE.sub("", _TAG.sub("", text))
