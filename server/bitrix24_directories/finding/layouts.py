"""What was typed with the keyboard left in another layout, as it was meant. A leaf."""

from __future__ import annotations

from collections.abc import Iterator

# The same keys in the same order; upper case is told from the lower one's.
_LATIN = "`qwertyuiop[]asdfghjkl;'zxcvbnm,.1234567890-="
_CYRILLIC = {
    "ru": "ёйцукенгшщзхъфывапролджэячсмитьбю1234567890-=",
    "uk": "'йцукенгшщзхїфівапролджєячсмитьбю1234567890-=",
    "kk": '(йцукенгшщзхъфывапролджэячсмитьбю"әіңғ,.үұқөһ',
}
_TO_CYRILLIC = [str.maketrans(_LATIN, keys) for keys in _CYRILLIC.values()]
_TO_LATIN = [str.maketrans(keys, _LATIN) for keys in _CYRILLIC.values()]


def as_meant(text: str) -> Iterator[str]:
    """`text` as the same keys write it in other layouts; nothing where it has letters of both alphabets, or of none."""
    lower = text.casefold()
    latin = any("a" <= char <= "z" for char in lower)
    cyrillic = any("\u0400" <= char <= "\u04ff" for char in lower)
    if latin != cyrillic:
        yield from dict.fromkeys(lower.translate(table) for table in (_TO_CYRILLIC if latin else _TO_LATIN))
