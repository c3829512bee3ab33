"""What a model passes to a tool: put right where its meaning is plain, refused in plain lines where it is not.

Works on published input schemas alone; knows no tool.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from bitrix24_directories.rest import Bitrix24Error, Entry
from bitrix24_directories.text import one_line

_KINDS = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "array": "a list of texts",
}
_GOT = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


def tidied(tool: str, schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`arguments` under their published names, whatever their letter case and underscores, and without nulls.

    Raises Bitrix24Error (INVALID_ARGUMENTS) for a name that the tool does not have: to leave it out in silence would
    answer another question than the one that was asked.
    """
    names = {_folded(name): name for name in schema["properties"]}
    given = {names.get(_folded(name), name): value for name, value in arguments.items() if value is not None}
    unknown = [name for name in given if name not in schema["properties"]]
    if unknown:
        takes = ", ".join(schema["properties"])
        raise _refused(tool, (f"{one_line(name[:200], 40)}: no such argument; it takes {takes}" for name in unknown))
    return given


def refused(tool: str, schema: Mapping[str, Any], given: Mapping[str, Any], wrong: Iterable[str]) -> Bitrix24Error:
    """The error for the arguments named in `wrong`, which validation against `schema` did not accept."""
    return _refused(tool, (_line(name, schema["properties"][name], given) for name in wrong))


def _line(name: str, schema: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    example = f", such as {json.dumps(schema['examples'][0])}" if "examples" in schema else ""
    expected = f"expected {_kind(schema)}{example}"
    if name not in given:
        return f"{name}: missing; {expected}"
    value = given[name]
    if isinstance(value, str) and not value.strip():
        return f"{name}: empty; {expected}"
    if too_long := _too_long(schema, value):
        return f"{name}: {too_long}"
    if isinstance(value, list) and schema["type"] == "array":
        texts = all(isinstance(item, str) for item in value)
        return f"{name}: {expected}; got {len(value)}" if texts else f"{name}: {expected}; it held something else"
    return f"{name}: {expected}; got {_GOT.get(type(value), 'something else')}"


def _too_long(schema: Mapping[str, Any], value: Any) -> str:
    """What is said of a text, or of texts in a list, that has more characters than the schema allows; else nothing."""
    limit = schema.get("items", schema).get("maxLength")
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    longest = max(map(len, texts), default=0)
    if limit is None or longest <= limit:
        return ""
    if isinstance(value, str) and schema["type"] == "array":
        return f"expected {_kind(schema)} of at most {limit} characters; got a text of {longest}"
    return f"{'each text' if isinstance(value, list) else 'it'} may have {limit} characters at most; got {longest}"


def _kind(schema: Mapping[str, Any]) -> str:
    if "maxItems" in schema:
        return f"a list of {schema.get('minItems', 0)} to {schema['maxItems']} texts"
    return _KINDS[schema["type"]]


def _refused(tool: str, lines: Iterable[str]) -> Bitrix24Error:
    listed = "\n".join(f"- {line}" for line in lines)
    return Bitrix24Error(
        "INVALID_ARGUMENTS",
        Entry(f"{tool} was called with wrong arguments", f"Correct them and call again:\n{listed}", "input"),
    )


def _folded(name: str) -> str:
    return name.replace("_", "").replace("-", "").casefold()


def secret_given() -> Bitrix24Error:
    """Neither CRM nor a conversation is a place for it."""
    return Bitrix24Error(
        "SECRET_IN_ARGUMENTS",
        Entry(
            "An argument holds this server's own secret, its webhook's or a token, so nothing was done with it",
            "Leave it out: no tool needs it, and it may stand neither in CRM nor in a conversation. Tell the user to "
            "replace it where others may have seen it.",
            "input",
        ),
        nothing_was_done=True,
    )


def unknown_tool(known: Mapping[str, Any]) -> Bitrix24Error:
    """Names those that there are."""
    return Bitrix24Error(
        "UNKNOWN_TOOL", Entry("There is no such tool here", f"Call one of: {', '.join(known)}.", "input")
    )
