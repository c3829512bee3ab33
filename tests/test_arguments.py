"""Arguments as models send them: corrected if the meaning is plain, else refused plainly."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bitrix24_directories.mcp_server.tools.registry import changing_tools
from support import RunningPortal, ask, connect


@pytest.mark.parametrize(
    "arguments",
    [
        {"entityId": "SOURCE"},
        {"entity_id": "SOURCE"},
        {"ENTITY-ID": " source "},
        {"entityId": "SOURCE", "details": None},
        {"entityId": "SOURCE", "details": "false"},
        {"entityId": "SOURCE", "details": 0},
    ],
)
async def test_plain_meaning(portal: RunningPortal, arguments: dict[str, Any]) -> None:
    result = await ask(portal, "get_directory_items", **arguments)
    assert result.text.startswith("SOURCE: 15 items")
    assert portal.methods_called == ["crm.status.entity.items"]


@pytest.mark.parametrize("details", ["true", "yes", 1])
async def test_booleans_in_other_words(portal: RunningPortal, details: object) -> None:
    await ask(portal, "get_directory_items", entityId="SOURCE", details=details)
    assert portal.methods_called == ["crm.status.list"]


@pytest.mark.parametrize(
    ("tool", "arguments", "line"),
    [
        ("get_directory_items", {}, '- entityId: missing; expected text, such as "DEAL_STAGE"'),
        ("get_directory_items", {"entityId": None}, '- entityId: missing; expected text, such as "DEAL_STAGE"'),
        ("get_directory_items", {"entityId": " \t"}, '- entityId: empty; expected text, such as "DEAL_STAGE"'),
        ("get_directory_items", {"entityId": 7}, '- entityId: expected text, such as "DEAL_STAGE"; got a number'),
        (
            "get_directory_items",
            {"entityId": ["DEAL_STAGE", "SOURCE"]},
            '- entityId: expected text, such as "DEAL_STAGE"; got a list',
        ),
        (
            "get_directory_items",
            {"entityId": {"id": "DEAL_STAGE"}},
            '- entityId: expected text, such as "DEAL_STAGE"; got an object',
        ),
        (
            "get_directory_items",
            {"entityId": "DEAL_STAGE", "details": "maybe"},
            "- details: expected true or false; got text",
        ),
        (
            "get_directory_items",
            {"entityId": "DEAL_STAGE", "categoryId": 1},
            "- categoryId: no such argument; it takes entityId, details, fresh, query, after",
        ),
        ("list_directories", {"query": 3}, '- query: expected text, such as "deal"; got a number'),
    ],
)
async def test_refused_in_plain_lines(portal: RunningPortal, tool: str, arguments: dict[str, Any], line: str) -> None:
    """If an argument such as a pipeline were ignored, the answer would be to another question."""
    result = await ask(portal, tool, **arguments)
    assert result.text.splitlines() == [
        f"{tool} was called with wrong arguments (INVALID_ARGUMENTS).",
        "Next: Correct them and call again:",
        line,
        "Repeating the same call will not help.",
    ]
    assert result.error == {"code": "INVALID_ARGUMENTS", "category": "input", "retryable": False}
    assert portal.portal.calls == []


FIELDS = {"fields": ["TITLE=x"]}


@pytest.mark.parametrize(
    ("tool", "arguments", "line"),
    [
        (
            "find_directory_items",
            {"query": "won"},
            "- query: no such argument; it is queries; the tool takes queries, ",
        ),
        ("find_directory_items", {"Query": "won"}, "- Query: no such argument; it is queries; "),
        ("find_directory_items", {"text": "won"}, "- text: no such argument; it is queries; "),
        (
            "find_directory_items",
            {"queries": ["won"], "entityId": "SOURCE"},
            "- entityId: no such argument; it is entityIds",
        ),
        (
            "find_directory_items",
            {"queries": ["won"], "entity": "SOURCE"},
            "- entity: no such argument; it is entityIds",
        ),
        ("find_directory_items", {"items": ["won"]}, "- items: no such argument; it is queries; "),
        ("list_directories", {"queries": ["deal"]}, "- queries: no such argument; it is query; the tool takes query"),
        ("list_directories", {"search": "deal"}, "- search: no such argument; it is query; "),
        ("get_directory_items", {"id": "SOURCE"}, "- id: no such argument; it is entityId; "),
        ("get_directory_items", {"directory": "SOURCE"}, "- directory: no such argument; it is entityId; "),
        ("get_directory_items", {"entityIds": ["SOURCE"]}, "- entityIds: no such argument; it is entityId; "),
        ("get_directory_items", {"entityId": "SOURCE", "detail": 1}, "- detail: no such argument; it is details; "),
        ("get_directory_items", {"entityId": "SOURCE", "refresh": 1}, "- refresh: no such argument; it is fresh; "),
        ("get_directory_usage", {"entity_id": "SOURCE", "frsh": 1}, "- frsh: no such argument; it is fresh; "),
        ("check_record", {"entityType": "deal"} | FIELDS, "- entityType: no such argument; it is entity; "),
        ("check_record", {"entity_type_id": 2} | FIELDS, "- entity_type_id: no such argument; it is entity; "),
        ("check_record", {"entityId": "deal"} | FIELDS, "- entityId: no such argument; it is entity; "),
        ("check_record", {"entity": "deal", "id": 5} | FIELDS, "- id: no such argument; it is recordId; "),
        ("check_record", {"entity": "deal", "record": "TITLE=x"}, "- record: no such argument; it is fields; "),
        ("check_record", {"entity": "deal", "items": ["TITLE=x"]}, "- items: no such argument; it is fields; "),
        ("check_record", {"entity": "deal", "feilds": ["TITLE=x"]}, "- feilds: no such argument; it is fields; "),
        ("add_directory_item", {"entityId": "SOURCE", "title": "X"}, "- title: no such argument; it is name; "),
        ("add_directory_item", {"entityId": "SOURCE", "colour": "X"}, "- colour: no such argument; it is color; "),
        ("update_directory_item", {"entityId": "SOURCE", "code": "X"}, "- code: no such argument; it is statusId; "),
        ("delete_directory_item", {"entityId": "SOURCE", "plan": "X"}, "- plan: no such argument; it is planId; "),
        ("apply_directory", {"entityId": "SOURCE", "lines": ["X"]}, "- lines: no such argument; it is items; "),
        ("merge_directory_items", {"entityId": "SOURCE", "from": ["X"]}, "- from: no such argument; it is codes; "),
        ("merge_directory_items", {"entityId": "SOURCE", "target": "X"}, "- target: no such argument; it is into; "),
    ],
)
async def test_the_right_name_is_told(portal: RunningPortal, tool: str, arguments: dict[str, Any], line: str) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call(tool, **arguments)
    assert result.error["code"] == "INVALID_ARGUMENTS"
    assert line in result.text
    assert portal.portal.calls == []


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("find_directory_items", {"queries": ["won"], "query": "lost"}),  # the right one is given as well
        ("get_directory_items", {"entityId": "DEAL_STAGE", "entityTypeId": 2}),
        ("get_directory_items", {"entityTypeId": 2}),
        ("get_directory_items", {"categoryId": 1}),
        ("get_directory_items", {"recordId": 5}),
        ("get_directory_items", {"itemId": 5}),
        ("delete_directory_item", {"id": "WON"}),  # a directory's, an item's, or a record's
        ("delete_directory_item", {"entityId": "SOURCE", "id": 40}),
        ("update_directory_item", {"entityId": "SOURCE", "statusId": "WEB", "sort": 10}),
        ("list_directories", {"limit": 5}),
    ],
)
async def test_no_name_is_guessed(portal: RunningPortal, tool: str, arguments: dict[str, Any]) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call(tool, **arguments)
    assert "no such argument; it takes " in result.text


async def test_an_invisible_character_in_a_name_is_shown(portal: RunningPortal) -> None:
    arguments: dict[str, Any] = {"que\u200bry": "deal"}
    result = await ask(portal, "list_directories", **arguments)
    assert r"- que\u200bry: no such argument; it is query; " in result.text


LONG = "x" * 10**7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "arguments", "line"),
    [
        ("get_directory_items", {"entityId": LONG}, "entityId: it may have 100 characters at most; got 10000000"),
        ("list_directories", {"query": LONG}, "query: it may have 200 characters at most; got 10000000"),
        (
            "find_directory_items",
            {"queries": LONG},
            "queries: expected a list of 1 to 50 texts of at most 200 characters; got a text of 10000000",
        ),
        (
            "find_directory_items",
            {"queries": ["won", LONG]},
            "queries: each text may have 200 characters at most; got 10000000",
        ),
        (
            "find_directory_items",
            {"queries": ["won"], "entityIds": [LONG]},
            "entityIds: each text may have 100 characters at most; got 10000000",
        ),
        (
            "find_directory_items",
            {"queries": ["won"], "entityIds": "x " * 10**6},
            "entityIds: expected a list of 0 to 500 texts",
        ),
        (
            "find_directory_items",
            {"queries": "[" * 10**6},
            "queries: expected a list of 1 to 50 texts of at most 200 characters; got a text of 1000000",
        ),
        ("add_directory_item", {"entityId": "SOURCE", "name": LONG}, "name: it may have 255 characters at most"),
        ("add_directory_item", {"entityId": "SOURCE", "name": "Fair", "after": LONG}, "after: it may have 255"),
        ("add_directory_item", {"entityId": "SOURCE", "name": "Fair", "color": LONG}, "color: it may have 30"),
        ("update_directory_item", {"entityId": "SOURCE", "statusId": LONG}, "statusId: it may have 255"),
        ("delete_directory_item", {"entityId": "SOURCE", "statusId": "CALL", "planId": LONG}, "planId: it may have 30"),
        ("apply_directory", {"entityId": "SOURCE", "items": [LONG]}, "items: each text may have 500"),
        ("apply_directory", {"entityId": "SOURCE", "items": "x\n" * 10**6}, "items: expected a list of 0 to 500 texts"),
        ("list_directories", {LONG: 1}, "xxx: no such argument".replace("xxx", "x" * 39 + "…")),
    ],
)
async def test_what_is_too_long_is_refused_at_once(
    portal: RunningPortal, tool: str, arguments: dict[str, Any], line: str
) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call(tool, **arguments)
    assert result.error["code"] == "INVALID_ARGUMENTS"
    assert f"- {line}" in result.text
    assert len(result.text) < 1000
    assert portal.portal.calls == []


async def test_the_limits_stand_in_the_schemas(portal: RunningPortal) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        for tool in (await assistant.client.list_tools()).tools:
            for schema in tool.input_schema["properties"].values():
                result = schema["description"]
                assert schema["type"] == "boolean" or "enum" in schema or re.search(r"at most \d+ characters", result)
                assert schema["type"] != "array" or re.search(r"1 to \d+|\d+ at most", result)


async def test_each_wrong_argument_has_its_line(portal: RunningPortal) -> None:
    result = await ask(portal, "get_directory_items", entityId=[], details={})
    assert result.text.count("\n- ") == 2


@pytest.mark.parametrize("tool", sorted(changing_tools()))
async def test_a_changing_tool_where_writes_are_off(portal: RunningPortal, tool: str) -> None:
    result = await ask(portal, tool, entityId="SOURCE")
    assert result.error == {"code": "WRITES_OFF", "category": "configuration", "retryable": False}
    assert result.text.startswith(f"Changes are switched off on this server, and with them {tool} (WRITES_OFF).\n")
    assert "an administrator can switch them on: BITRIX24_ALLOW_WRITES=true in the server's settings" in result.text
    scopes = "directories:write and records:write" if tool.startswith("merge") else "directories:write"
    assert f"Over HTTP, the person's token needs {scopes} as well" in result.text
    assert portal.portal.calls == []


async def test_unknown_tool(portal: RunningPortal) -> None:
    result = await ask(portal, "crm_deal_add")
    assert result.error["code"] == "UNKNOWN_TOOL"
    assert (
        "Call one of: get_directory_items, list_directories, find_directory_items, check_record, get_directory_usage."
        in result.text
    )


ODD = "SOU\u200bRCE\u202e\x00"
SHOWN = r"SOU\u200bRCE\u202e\u0000"
OF_SOURCE = {"entityId": "SOURCE", "statusId": ODD}


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("get_directory_items", {"entityId": ODD}, "UNKNOWN_DIRECTORY"),
        ("get_directory_items", {"entityId": "SOURCE", "after": ODD}, "UNKNOWN_ITEM"),
        ("get_directory_usage", {"entityId": ODD}, "UNKNOWN_DIRECTORY"),
        ("check_record", {"entity": ODD, "fields": ["TITLE=x"]}, "UNKNOWN_RECORD_TYPE"),
        ("check_record", {"entity": "deal", "fields": ["TITLE=x"], "recordId": ODD}, "INVALID_ARGUMENTS"),
        ("check_record", {"entity": "deal", "fields": [ODD]}, "INVALID_ARGUMENTS"),
        ("check_record", {"entity": "deal", "fields": {"fields": {"TITLE": "x"}, ODD: 1}}, "INVALID_ARGUMENTS"),
        ("add_directory_item", {"entityId": ODD, "name": "X"}, "UNKNOWN_DIRECTORY"),
        ("add_directory_item", {"entityId": "SOURCE", "name": "X", "after": ODD}, "CHANGE_REFUSED"),
        ("update_directory_item", OF_SOURCE | {"name": "X"}, "CHANGE_REFUSED"),
        ("delete_directory_item", OF_SOURCE, "CHANGE_REFUSED"),
        ("apply_directory", {"entityId": "SOURCE", "planId": ODD}, "CHANGE_REFUSED"),
        ("merge_directory_items", {"entityId": "SOURCE", "codes": ["WEB"], "into": ODD}, "CHANGE_REFUSED"),
        ("list_directories", {ODD: "x"}, "INVALID_ARGUMENTS"),
    ],
)
async def test_invisible_characters_in_an_id_are_shown(
    portal: RunningPortal, tool: str, arguments: dict[str, Any], code: str
) -> None:
    """Otherwise the error names "SOURCE" as unknown, and SOURCE as the nearest."""
    async with connect(portal, allow_writes=True) as assistant:
        result = await assistant.call(tool, **arguments)
    assert result.error["code"] == code
    assert SHOWN in result.text


async def test_invisible_characters_that_a_title_is_spelt_with_stay(portal: RunningPortal) -> None:
    result = await ask(portal, "get_directory_items", entityId="\u2764\ufe0f stages")
    assert 'This portal has no directory "\u2764\ufe0f stages"' in result.text


async def test_a_field_of_several_lists_is_shown_as_it_came(portal: RunningPortal) -> None:
    result = await ask(portal, "get_directory_items", entityId="deal\u200b.STAGE_ID")
    assert r'no directory "deal\u200b.STAGE_ID"' in result.text
