"""Language of the terminal: English or Russian. Texts for assistants stay English.

Translations are in `languages/`, a file for each language except English.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_VARIABLES = ("BITRIX24_LANG", "LC_ALL", "LC_MESSAGES", "LANG")  # the first that is set decides, as in gettext
_LANGUAGES = ("ru",)
_PART = re.compile(r"\{(\w+)\}")

_chosen = ""


def choose(language: str) -> None:
    """Use `language` from now on; empty means the system's."""
    global _chosen
    _chosen = language


def spoken() -> str:
    """`ru` or `en`."""
    system = next((value for name in _VARIABLES if (value := os.environ.get(name))), "")
    if not system and sys.platform == "win32":
        import ctypes
        import locale

        system = locale.windows_locale.get(ctypes.windll.kernel32.GetUserDefaultUILanguage(), "")
    preferred = (_chosen or system).lower()
    return next((language for language in _LANGUAGES if re.match(rf"{language}(?![a-z])", preferred)), "en")


def say(text: str) -> str:
    """Return a sentence in the chosen language, or unchanged if it has no translation.

    The variable parts of a sentence are translated too.
    """
    language = spoken()
    if language == "en":
        return text
    translations = phrases(language)
    if text in translations:
        return translations[text]
    for pattern, translation in _patterns(language):
        if (match := pattern.fullmatch(text)) is not None:
            return translation.format(**{name: say(part) for name, part in match.groupdict().items()})
    return text


@cache
def phrases(language: str) -> Mapping[str, str]:
    """Return each English sentence with its translation into `language`."""
    text = Path(__file__).with_name("languages").joinpath(f"{language}.txt").read_text(encoding="utf-8")
    blocks = [block for block in re.split(r"\n{2,}", text.strip()) if not block.startswith("#")]
    return dict(block.split("\n") for block in blocks)


@cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], str]]:
    """Return patterns for sentences with variable parts; the longest, most specific ones first."""
    templates = [(english, translation) for english, translation in phrases(language).items() if _PART.search(english)]
    patterns: list[tuple[re.Pattern[str], str]] = []
    for english, translation in sorted(templates, key=lambda pair: -len(_PART.sub("", pair[0]))):
        parts = _PART.split(english)
        fixed = [re.escape(part) if number % 2 == 0 else f"(?P<{part}>.+?)" for number, part in enumerate(parts)]
        patterns.append((re.compile("".join(fixed), re.DOTALL), translation))
    return patterns
