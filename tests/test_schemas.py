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

from support import RunningPortal, connect

SNAPSHOTS = Path(__file__).parent / "snapshots"
READ_TOOLS = ["get_directory_items", "list_directories", "find_directory_items", "check_record", "get_directory_usage"]
CHANGE_TOOLS = [
    "add_directory_item",
    "update_directory_item",
    "delete_directory_item",
    "apply_directory",
    "merge_directory_items",
]


@pytest.fixture
async def tools(portal: RunningPortal) -> list[Tool]:
    async with connect(portal, allow_writes=True) as assistant:
        return (await assistant.client.list_tools()).tools


@pytest.fixture
async def read_tools(portal: RunningPortal) -> list[Tool]:
    async with connect(portal) as assistant:
        return (await assistant.client.list_tools()).tools


async def test_which_tools_are_listed(tools: list[Tool], read_tools: list[Tool]) -> None:
    assert [tool.name for tool in read_tools] == READ_TOOLS
    assert [tool.name for tool in tools] == READ_TOOLS + CHANGE_TOOLS


@pytest.mark.parametrize("name", READ_TOOLS + CHANGE_TOOLS)
async def test_snapshot(tools: list[Tool], name: str) -> None:
    (tool,) = (candidate for candidate in tools if candidate.name == name)
    published = json.dumps(tool.model_dump(by_alias=True, mode="json", exclude_none=True), indent=2) + "\n"
    snapshot = SNAPSHOTS / f"{name}.json"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        snapshot.parent.mkdir(exist_ok=True)
        snapshot.write_text(published, encoding="utf-8")
    assert published == snapshot.read_text(encoding="utf-8")


async def test_inputs_hold_to_what_each_model_api_takes(tools: list[Tool]) -> None:
    """A rule for each keyword that one of the APIs refuses.

    OpenAI's strict mode: no `examples`, `default` or lengths; its SDK makes all else strict. google-genai's bridge: no
    `additionalProperties`, no empty text in an `enum`. Gemini and Anthropic: no references, unions or nulls.
    """
    for tool in tools:
        assert set(tool.input_schema) <= {"type", "properties", "required"}
        assert tool.input_schema["type"] == "object"
        for schema in tool.input_schema["properties"].values():
            assert set(schema) <= {"type", "description", "enum", "items"}
            assert schema["type"] in ("string", "boolean", "array")
            assert schema["description"]
            assert schema.get("items", {"type": "string"}) == {"type": "string"}
            assert ("items" in schema) == (schema["type"] == "array")
            assert all(schema.get("enum", ["x"]))


async def test_outputs_hold_to_what_strict_validators_take(tools: list[Tool]) -> None:
    """Ajv in strict mode refuses a `required` without a `type`, and unknown keywords."""
    for tool in tools:
        assert not {"anyOf", "oneOf", "allOf", "examples"} & set(_keys(tool.output_schema))
        for schema in _schemas(tool.output_schema):
            assert "required" not in schema or schema["type"] == "object"
            assert set(schema.get("required", ())) <= set(schema.get("properties", ()))


async def test_annotations_are_true(tools: list[Tool]) -> None:
    for tool in tools:
        assert tool.title
        assert tool.annotations is not None
        assert tool.annotations.open_world_hint
        assert tool.annotations.read_only_hint == (tool.name in READ_TOOLS)
        may_destroy = tool.name in CHANGE_TOOLS and tool.name != "add_directory_item"
        assert tool.annotations.destructive_hint == may_destroy
        again_changes = tool.name in ("add_directory_item", "delete_directory_item")
        assert tool.annotations.idempotent_hint != again_changes
        assert tool.description is not None
        assert len(tool.description.split()) <= 90


async def test_output_schemas_describe_results_and_errors(tools: list[Tool]) -> None:
    """The TypeScript SDK checks error results against the output schema too, and hides misfits."""
    for tool in tools:
        schema = tool.output_schema
        assert schema is not None
        jsonschema.Draft202012Validator.check_schema(schema)
        valid = jsonschema.Draft202012Validator(schema).is_valid
        words = {"message": "It failed.", "next": "Wait."}
        assert valid({"error": {"code": "X", "category": "input", "retryable": False} | words})
        assert not valid({"error": {"retryable": False} | words})
        assert not valid({"error": {"code": "X", "category": "weather", "retryable": False} | words})
        assert not valid({"error": {"code": "X", "retryable": False}})
        assert not valid({"items": [{"name": "without a code"}]}) or "items" not in schema["properties"]


async def test_what_the_tools_cost_in_context(read_tools: list[Tool]) -> None:
    """In tokens; the benchmarks show the distance to the limit."""
    encoding = bpe_openai.get_encoding("o200k_base")
    tools = [tool.model_dump(by_alias=True, mode="json", exclude_none=True) for tool in read_tools]
    definitions = [{key: tool[key] for key in ("name", "description", "inputSchema")} for tool in tools]
    assert len(encoding.encode(json.dumps(definitions, separators=(",", ":")))) <= 900
    assert len(encoding.encode(json.dumps({"tools": tools}, separators=(",", ":")))) <= 2850


def _keys(schema: Any) -> list[str]:
    if isinstance(schema, dict):
        return [*schema, *(key for value in schema.values() for key in _keys(value))]
    if isinstance(schema, list):
        return [key for value in schema for key in _keys(value)]
    return []


def _schemas(schema: Any) -> list[dict[str, Any]]:
    if isinstance(schema, list):
        return [subschema for value in schema for subschema in _schemas(value)]
    if not isinstance(schema, dict):
        return []
    return [schema, *(subschema for value in schema.values() for subschema in _schemas(value))]
