"""Arguments from models: corrected if their meaning is clear, else refused in plain lines.

Uses published input schemas only; knows no tool.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bitrix24_directories.rest import Bitrix24Error, ErrorKind
from bitrix24_directories.text import shown_id

_KINDS = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "array": "a list of texts",
}
_GOT = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}

_RIGHT_NAMES = {
    **dict.fromkeys(("query", "search", "text", "texts", "words", "names", "q"), ("query", "queries")),
    "queries": ("query",),
    "items": ("queries", "fields"),
    "id": ("recordId", "entityId", "statusId"),
    "itemid": ("recordId",),
    **dict.fromkeys(("entityid", "entity", "directory", "directoryid"), ("entityId", "entityIds", "entity")),
    "directories": ("entityIds",),
    **dict.fromkeys(("entitytype", "entitytypeid", "type", "typeid", "kind"), ("entity",)),
    **dict.fromkeys(("record", "records", "values", "data"), ("fields",)),
    **dict.fromkeys(("code", "status", "statuscode"), ("statusId", "codes")),
    **dict.fromkeys(("from", "statusids"), ("codes",)),
    **dict.fromkeys(("to", "target"), ("into",)),
    **dict.fromkeys(("title", "label", "newname"), ("name",)),
    **dict.fromkeys(("lines", "list"), ("items",)),
    "plan": ("planId",),
    "meaning": ("semantics",),
    **dict.fromkeys(("refresh", "nocache", "force"), ("fresh",)),
    "verbose": ("details",),
}
"""Wrong names of arguments, folded, and the right ones: used if a tool has only one of these."""

_LIKE = 0.82  # of difflib: `feilds` is fields, `entityTypeId` is not entityId


def tidied(tool: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments under their published names, without nulls.

    Letter case and underscores of names don't matter. Raises Bitrix24Error (INVALID_ARGUMENTS) for a name that the tool
    does not have: to ignore it silently would answer another question.
    """
    names = {_folded(name): name for name in schema["properties"]}
    values = {names.get(_folded(name), name): value for name, value in arguments.items() if value is not None}
    wrong = []
    for name in values:
        if name not in schema["properties"]:
            from difflib import get_close_matches  # only mistakes need it

            folded = _folded(name[:200])
            fitting = [right for right in _RIGHT_NAMES.get(folded, ()) if right in names.values()]
            fitting = fitting or [names[near] for near in get_close_matches(folded, names, n=1, cutoff=_LIKE)]
            is_clear = len(fitting) == 1 and fitting[0] not in values
            rather = f"it is {fitting[0]}; the tool takes" if is_clear else "it takes"
            wrong.append(f"{shown_id(name[:200], 40)}: no such argument; {rather} {', '.join(names.values())}")
    if wrong:
        raise _refused(tool, wrong)
    return values


def refused(tool: str, schema: Mapping[str, Any], arguments: Mapping[str, Any], wrong: Iterable[str]) -> Bitrix24Error:
    """Return the error for the arguments in `wrong`, which `schema` does not accept."""
    return _refused(tool, (_line(name, schema["properties"][name], arguments) for name in wrong))


def _line(name: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str:
    example = f", such as {json.dumps(schema['examples'][0])}" if "examples" in schema else ""
    if "maxItems" in schema:
        kind = f"a list of {schema.get('minItems', 0)} to {schema['maxItems']} texts"
    else:
        kind = _KINDS[schema["type"]]
    expected = f"expected {kind}{example}"
    if name not in arguments:
        return f"{name}: missing; {expected}"
    value = arguments[name]
    if isinstance(value, str) and not value.strip():
        return f"{name}: empty; {expected}"
    limit = schema.get("items", schema).get("maxLength")
    longest = max(
        (len(text) for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)), default=0
    )
    if limit is not None and longest > limit:
        if isinstance(value, str) and schema["type"] == "array":
            return f"{name}: expected {kind} of at most {limit} characters; got a text of {longest}"
        which = "each text" if isinstance(value, list) else "it"
        return f"{name}: {which} may have {limit} characters at most; got {longest}"
    if isinstance(value, list) and schema["type"] == "array":
        texts = all(isinstance(item, str) for item in value)
        return f"{name}: {expected}; got {len(value)}" if texts else f"{name}: {expected}; it held something else"
    return f"{name}: {expected}; got {_GOT.get(type(value), 'something else')}"


def _refused(tool: str, lines: Iterable[str]) -> Bitrix24Error:
    text = "\n".join(f"- {line}" for line in lines)
    return Bitrix24Error(
        "INVALID_ARGUMENTS",
        ErrorKind(f"{tool} was called with wrong arguments", f"Correct them and call again:\n{text}", "input"),
    )


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()


def secret_given() -> Bitrix24Error:
    """Return the error for a secret in arguments: it belongs neither in CRM nor in a chat."""
    return Bitrix24Error(
        "SECRET_IN_ARGUMENTS",
        ErrorKind(
            "An argument holds this server's own secret, its webhook's or a token, so nothing was done with it",
            "Leave it out: no tool needs it, and it may stand neither in CRM nor in a conversation. Tell the user to "
            "replace it where others may have seen it.",
            "input",
        ),
        not_applied=True,
    )


def unknown_tool(tools: Mapping[str, Any]) -> Bitrix24Error:
    """Return the error for an unknown tool, with the names of those that exist."""
    return Bitrix24Error(
        "UNKNOWN_TOOL", ErrorKind("There is no such tool here", f"Call one of: {', '.join(tools)}.", "input")
    )


def writes_off(tool: str, scopes: Sequence[str]) -> Bitrix24Error:
    """Return the error for a tool that exists only if changes are allowed."""
    return Bitrix24Error(
        "WRITES_OFF",
        ErrorKind(
            f"Changes are switched off on this server, and with them {tool}",
            "Tell the user that an administrator can switch them on: BITRIX24_ALLOW_WRITES=true in the server's "
            f"settings, then a restart. Over HTTP, the person's token needs {' and '.join(scopes)} as well.",
            "configuration",
        ),
        not_applied=True,
    )
