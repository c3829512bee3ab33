"""The published tools: a changed word fails until the snapshot is renewed on purpose.

Renew with `UPDATE_SNAPSHOTS=1 pytest tests/test_schemas.py` and read the difference before committing it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import bpe_openai
import jsonschema
import pytest
from mcp_types import Tool

from support import RunningPortal, assistant

SNAPSHOTS = Path(__file__).parent / "snapshots"
READ_TOOLS = ["get_directory_items", "list_directories", "find_directory_items"]
CHANGE_TOOLS = ["add_directory_item", "update_directory_item", "delete_directory_item", "apply_directory"]


@pytest.fixture
async def tools(portal: RunningPortal) -> list[Tool]:
    async with assistant(portal, allow_writes=True) as someone:
        return (await someone.client.list_tools()).tools


@pytest.fixture
async def read_tools(portal: RunningPortal) -> list[Tool]:
    async with assistant(portal) as someone:
        return (await someone.client.list_tools()).tools


async def test_which_tools_are_listed(tools: list[Tool], read_tools: list[Tool]) -> None:
    assert [tool.name for tool in read_tools] == READ_TOOLS
    assert [tool.name for tool in tools] == READ_TOOLS + CHANGE_TOOLS


@pytest.mark.parametrize("name", READ_TOOLS + CHANGE_TOOLS)
async def test_snapshot(tools: list[Tool], name: str) -> None:
    (tool,) = (found for found in tools if found.name == name)
    published = json.dumps(tool.model_dump(by_alias=True, mode="json", exclude_none=True), indent=2) + "\n"
    snapshot = SNAPSHOTS / f"{name}.json"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_text(published, encoding="utf-8")
    assert published == snapshot.read_text(encoding="utf-8")


async def test_inputs_are_flat(tools: list[Tool]) -> None:
    """Strict clients take no references, unions or nulls, and defaults only of the property's own type."""
    python = {"string": str, "boolean": bool, "integer": int, "array": list}
    for tool in tools:
        assert tool.input_schema["additionalProperties"] is False
        for schema in tool.input_schema["properties"].values():
            known = {"type", "description", "default", "examples", "minLength", "maxLength"}
            assert set(schema) <= known | {"items", "minItems", "maxItems"}
            assert schema.get("items", {}).keys() <= {"type", "maxLength"}
            assert schema.get("items", {"type": "string"})["type"] == "string"
            assert isinstance(schema.get("default", python[schema["type"]]()), python[schema["type"]])
        assert not {"$ref", "$defs", "anyOf", "oneOf", "null"} & set(_keys(tool.input_schema))


async def test_annotations_are_true(tools: list[Tool]) -> None:
    for tool in tools:
        assert tool.title
        assert tool.annotations is not None
        assert tool.annotations.open_world_hint
        assert tool.annotations.read_only_hint == (tool.name in READ_TOOLS)
        may_destroy = tool.name in ("update_directory_item", "delete_directory_item", "apply_directory")
        assert tool.annotations.destructive_hint == may_destroy
        again_changes = tool.name in ("add_directory_item", "delete_directory_item")
        assert tool.annotations.idempotent_hint != again_changes
        assert tool.description is not None
        assert len(tool.description.split()) <= 90


async def test_output_schemas_describe_results_and_errors_and_nothing_else(tools: list[Tool]) -> None:
    """The TypeScript SDK checks error results against the output schema too and hides what does not fit."""
    for tool in tools:
        schema = tool.output_schema
        assert schema is not None
        jsonschema.Draft202012Validator.check_schema(schema)
        valid = jsonschema.Draft202012Validator(schema).is_valid
        assert valid({"error": {"code": "X", "category": "input", "retryable": False}})
        assert not valid({"error": {"retryable": False}})
        assert not valid({"error": {"code": "X", "category": "weather", "retryable": False}})
        assert not valid({})
        assert not valid({"total": 1})


async def test_what_the_tools_cost_in_context(read_tools: list[Tool]) -> None:
    """In tokens; the benchmarks show how much room is left."""
    encoding = bpe_openai.get_encoding("o200k_base")
    listed = [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in read_tools]
    shown = [{key: tool[key] for key in ("name", "description", "inputSchema")} for tool in listed]
    assert len(encoding.encode(json.dumps(shown, separators=(",", ":")))) <= 800
    assert len(encoding.encode(json.dumps({"tools": listed}, separators=(",", ":")))) <= 2000


def _keys(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        return [*schema, *(key for value in schema.values() for key in _keys(value))]
    if isinstance(schema, list):
        return [key for value in schema for key in _keys(value)]
    return []
