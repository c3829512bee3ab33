"""Codes of new items by the rules of crm.status.add: alphabet, length, prefix, unique. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

from bitrix24_directories.directories.entity_ids import code_length, is_stages, prefix_of
from bitrix24_directories.text import shown_code
from bitrix24_directories.words import transliterated

NAME_LENGTH = 100
"""Characters of a name that the portal stores."""

_STAGE_CODE = re.compile(r"[0-9A-Za-z_-]+")


def checked_code(entity_id: str, code: str, taken: Collection[str]) -> str:
    """Return `code` with its prefix, or raise ValueError with a reason; `taken` is lower case."""
    prefix, longest, code = prefix_of(entity_id), code_length(entity_id), code.strip()  # Bitrix24 ignores blanks, too
    bare = code[len(prefix) :] if prefix and code.upper().startswith(prefix) else code
    if is_stages(entity_id) and _STAGE_CODE.fullmatch(bare) is None:
        raise ValueError("the code of a stage may hold only letters A-Z, digits, _ and -")
    if ":" in bare:
        raise ValueError(
            f"Bitrix24 cuts a code up to its first colon and would store {shown_code(bare.partition(':')[2])}: "
            "write it without a colon"
        )
    if not bare or len(bare) > longest:
        raise ValueError(f"a code here has 1 to {longest} characters, without its prefix")
    if f"{prefix}{bare}".casefold() in taken:
        raise ValueError(f"the code {shown_code(prefix + bare)} is taken")
    return prefix + bare


def checked_name(name: str) -> None:
    """Raise ValueError with the reason if the portal would not store the name unchanged."""
    if name in ("", "0"):
        raise ValueError('Bitrix24 takes no name that is empty or "0": write another name')
    if len(name) > NAME_LENGTH:
        raise ValueError(f"a name has {NAME_LENGTH} characters at most, and Bitrix24 would cut this one: shorten it")


def made_code(entity_id: str, name: str, taken: Collection[str]) -> str:
    """Make a code from a name: transliterated, in the portal's alphabet and length, not `taken`.

    `taken` is in lower case. The code is no text before a colon of the name, which a declaration would read as a code.
    """
    prefix, longest = prefix_of(entity_id), code_length(entity_id)
    stem = re.sub(r"[^A-Z0-9_]", "", transliterated(name).upper())[:longest].strip("_")
    stem = stem or f"UC_{hashlib.sha256(name.encode()).hexdigest()[:6].upper()}"
    heads = {name[: match.start()].strip().casefold() for match in re.finditer(":", name)}
    code, number = stem, 1
    while f"{prefix}{code}".casefold() in taken or code.casefold() in heads:
        number += 1
        code = f"{stem[: longest - len(str(number)) - 1]}_{number}"
    return prefix + code
