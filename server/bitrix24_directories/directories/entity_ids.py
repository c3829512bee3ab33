"""Facts in a directory's id: if it holds stages, of which records, and their codes. A leaf."""

from __future__ import annotations

import re

_PIPELINE_STAGES = re.compile(r"(DEAL|SMART_INVOICE|SMART_DOCUMENT|DYNAMIC_(?P<type>\d+))_STAGE_\d+")
_CHANNEL = re.compile(r"\d+\|")
_TYPES = {"DEAL": 2, "SMART_INVOICE": 31, "SMART_DOCUMENT": 36}
_ONE_FOR_A_TYPE = {"STATUS": 1, "DEAL_STAGE": 2, "QUOTE_STATUS": 7}


def could_be_id(text: str) -> bool:
    """True if a text has only the characters of ids; any other is a title or a field."""
    return re.fullmatch(r"[A-Za-z0-9_]+", text) is not None


def as_id(text: str) -> str:
    """Return a text in the spelling of ids; DEAL_STAGE_0, of the main pipeline, is DEAL_STAGE."""
    spelt = text.strip().upper()
    return "DEAL_STAGE" if spelt == "DEAL_STAGE_0" else spelt


def is_stages(entity_id: str) -> bool:
    """Return true if the directory holds stages."""
    return entity_type_of(entity_id) is not None


def entity_type_of(entity_id: str) -> int | None:
    """Return the type of the records whose stages a directory holds; None if it holds no stages."""
    if (match := _PIPELINE_STAGES.fullmatch(entity_id)) is None:
        return _ONE_FOR_A_TYPE.get(entity_id)
    return int(match["type"]) if match["type"] else _TYPES[match[1]]


def prefix_of(entity_id: str) -> str:
    """Return the prefix of the codes of a pipeline's stages, with its colon; "" for other codes."""
    if (match := _PIPELINE_STAGES.fullmatch(entity_id)) is None:
        return ""
    number = entity_id.rpartition("_")[2]
    return f"C{number}:" if match[1] == "DEAL" else f"DT{entity_type_of(entity_id)}_{number}:"


def code_length(entity_id: str) -> int:
    """Return the longest length of a STATUS_ID without its prefix (crm.status.add)."""
    longest = 22 if entity_id.startswith("DEAL_STAGE") else {"STATUS": 21, "QUOTE_STATUS": 22}.get(entity_id, 50)
    return longest - len(prefix_of(entity_id))


def is_channel_source(entity_id: str, code: str) -> bool:
    """True if an open channel made the source, from its number and a name: `16|WZ_WHATSAPP`."""
    return entity_id == "SOURCE" and _CHANNEL.match(code) is not None
