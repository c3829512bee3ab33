"""What a directory's id alone tells: whether it holds stages, of which records, and how its codes are made. A leaf."""

from __future__ import annotations

import re

_PIPELINE_STAGES = re.compile(r"(DEAL|SMART_INVOICE|SMART_DOCUMENT|DYNAMIC_(?P<type>\d+))_STAGE_\d+")
_CHANNEL = re.compile(r"\d+\|")
_TYPES = {"DEAL": 2, "SMART_INVOICE": 31, "SMART_DOCUMENT": 36}
_ONE_FOR_A_TYPE = {"STATUS": 1, "DEAL_STAGE": 2, "QUOTE_STATUS": 7}


def could_be_id(text: str) -> bool:
    """Whether a text is made of what the portal's ids are made of; what is not can only be a title or a field."""
    return re.fullmatch(r"[A-Za-z0-9_]+", text) is not None


def as_id(text: str) -> str:
    """A text as ids are spelt. The stages of the deals' main pipeline, whose number is 0, are DEAL_STAGE."""
    spelt = text.strip().upper()
    return "DEAL_STAGE" if spelt == "DEAL_STAGE_0" else spelt


def is_stages(entity_id: str) -> bool:
    return entity_type_of(entity_id) is not None


def entity_type_of(entity_id: str) -> int | None:
    """The type of the records whose stages a directory holds; None for directories of other things."""
    if (match := _PIPELINE_STAGES.fullmatch(entity_id)) is None:
        return _ONE_FOR_A_TYPE.get(entity_id)
    return int(match["type"]) if match["type"] else _TYPES[match[1]]


def prefix_of(entity_id: str) -> str:
    """What the portal puts before the codes of a pipeline's stages, colon included; empty elsewhere."""
    if (match := _PIPELINE_STAGES.fullmatch(entity_id)) is None:
        return ""
    number = entity_id.rpartition("_")[2]
    return f"C{number}:" if match[1] == "DEAL" else f"DT{entity_type_of(entity_id)}_{number}:"


def code_length(entity_id: str) -> int:
    """How many characters a STATUS_ID may have without its prefix (crm.status.add)."""
    longest = 22 if entity_id.startswith("DEAL_STAGE") else {"STATUS": 21, "QUOTE_STATUS": 22}.get(entity_id, 50)
    return longest - len(prefix_of(entity_id))


def is_channel_source(entity_id: str, code: str) -> bool:
    """Whether a source is an open channel's own, which the channel makes of its number and a name: `16|WZ_WHATSAPP`."""
    return entity_id == "SOURCE" and _CHANNEL.match(code) is not None
