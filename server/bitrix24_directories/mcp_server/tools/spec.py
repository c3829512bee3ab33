"""The complete description of a tool; and the reading of list arguments sent as one text."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any

from mcp.server.mcpserver.utilities.func_metadata import FuncMetadata, func_metadata
from mcp_types import CallToolResult, InputRequiredResult, Tool, ToolAnnotations
from pydantic import Field, StringConstraints, ValidationError

from bitrix24_directories.directories.entity_ids import could_be_id
from bitrix24_directories.directories.models import JsonSchema, lean
from bitrix24_directories.directories.naming import ENTITY_ID_LIMIT
from bitrix24_directories.mcp_server.scopes import READ_DIRECTORIES

from .arguments import refused

QUERY_LIMIT = 200
"""Characters of one query."""

EntityId = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=ENTITY_ID_LIMIT),
    Field(description="Directory id, or a field", examples=["DEAL_STAGE", "deal.UF_CRM_17"]),
]
"""The argument that names a directory."""


_READS = {"read_only_hint": True, "destructive_hint": False, "idempotent_hint": True, "open_world_hint": True}


def writing_hints(*, destructive: bool, idempotent: bool) -> ToolAnnotations:
    """The annotations of a tool that changes a portal."""
    return ToolAnnotations(
        read_only_hint=False, destructive_hint=destructive, idempotent_hint=idempotent, open_world_hint=True
    )


@dataclass(frozen=True)
class ToolSpec:
    """A tool, described by `function`: name, description, arguments after the session, output.

    `scopes` are those that the caller needs; with `has_picture`, clients with MCP Apps may show its result.
    """

    function: Callable[..., Awaitable[CallToolResult | InputRequiredResult]]
    title: str
    annotations: ToolAnnotations = field(default_factory=lambda: ToolAnnotations(**_READS))
    scopes: tuple[str, ...] = (READ_DIRECTORIES,)
    has_picture: bool = False

    @cached_property
    def name(self) -> str:
        """Name that clients call."""
        return self.function.__name__

    @cached_property
    def writes(self) -> bool:
        """True if the tool changes the portal."""
        return not self.annotations.read_only_hint

    @cached_property
    def _metadata(self) -> FuncMetadata:
        return func_metadata(self.function, skip_names=["session"])

    @cached_property
    def arguments(self) -> JsonSchema:
        """The schema with all limits of the arguments."""
        schema: JsonSchema = self._metadata.arg_model.model_json_schema(by_alias=True)
        lean(schema)
        return schema

    @cached_property
    def published(self) -> Tool:
        """The tool as clients see it."""
        return Tool(
            name=self.name,
            title=self.title,
            description=" ".join((self.function.__doc__ or "").split()),
            input_schema=_for_all_clients(self.arguments),
            output_schema=self._metadata.output_schema,
            annotations=self.annotations,
        )

    def validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values for the function. Raises Bitrix24Error with the names of wrong ones."""
        try:
            return self._metadata.validate_arguments(dict(arguments))
        except ValidationError as exc:
            names = (str(error["loc"][0]) for error in exc.errors(include_input=False) if error["loc"])
            wrong = [name for name in dict.fromkeys(names) if name in self.arguments["properties"]]
            if not wrong:
                raise
            raise refused(self.name, self.arguments, arguments, wrong) from None


def _for_all_clients(schema: JsonSchema) -> JsonSchema:
    """Return the schema keywords that every client and model API takes.

    Other keywords become part of the descriptions. OpenAI's strict mode refuses `examples`, `default` and lengths,
    google-genai's bridge `additionalProperties`.
    """
    properties: JsonSchema = {}
    for name, definition in schema["properties"].items():
        reduced: JsonSchema = {key: definition[key] for key in ("type", "description", "enum") if key in definition}
        if "items" in definition:
            reduced["items"] = {"type": definition["items"]["type"]}
        if "examples" in definition:
            examples = definition["examples"]
            texts = (text if isinstance(text, str) else json.dumps(text, ensure_ascii=False) for text in examples)
            reduced["description"] += f", such as {', '.join(texts)}"
        if "enum" not in definition and (limit := definition.get("items", definition).get("maxLength")):
            reduced["description"] += f"; at most {limit} characters{' each' if 'items' in definition else ''}"
        properties[name] = reduced
    return {"type": "object", "properties": properties} | {key: schema[key] for key in ("required",) if key in schema}


def as_lines(value: object) -> object:
    """Split a text that was sent for a list into lines. Raises ValueError for broken JSON lists."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith('["'):
        raise ValueError("broken JSON")
    return [line for line in value.splitlines() if line.strip()]


def as_ids(value: object) -> object:
    """Split a text as `as_lines`, and entries at commas; also at blanks unless it is a title."""
    entries = as_lines(value)
    if entries is value or not isinstance(entries, list):
        return value
    parts = (part.split() for entry in entries for part in re.split("[,;]", entry))
    return [text for words in parts for text in (words if all(map(could_be_id, words)) else [" ".join(words)])]


def as_codes(value: object) -> object:
    """Split a text as `as_lines`, and entries at commas."""
    entries = as_lines(value)
    if entries is value or not isinstance(entries, list):
        return value
    return [code for entry in entries for part in re.split("[,;]", entry) if (code := part.strip())]
