"""All that a tool is, in one place; and how arguments are read that came as one text."""

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
    """A tool. Its name, description, arguments and output are those of `function`, which takes the session first.

    `scopes` are what the caller needs; `has_picture` says that clients with MCP Apps may show its result.
    """

    function: Callable[..., Awaitable[CallToolResult | InputRequiredResult]]
    title: str
    annotations: ToolAnnotations = field(default_factory=lambda: ToolAnnotations(**_READS))
    scopes: tuple[str, ...] = (READ_DIRECTORIES,)
    has_picture: bool = False

    @cached_property
    def name(self) -> str:
        return self.function.__name__

    @cached_property
    def writes(self) -> bool:
        """Whether it changes the portal."""
        return not self.annotations.read_only_hint

    @cached_property
    def _metadata(self) -> FuncMetadata:
        return func_metadata(self.function, skip_names=["session"])

    @cached_property
    def arguments(self) -> JsonSchema:
        """The schema with all that the arguments are held to."""
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
        """The values that the function takes. Raises Bitrix24Error, which names those that are wrong."""
        try:
            return self._metadata.validate_arguments(dict(arguments))
        except ValidationError as exc:
            named = (str(error["loc"][0]) for error in exc.errors(include_input=False) if error["loc"])
            wrong = [name for name in dict.fromkeys(named) if name in self.arguments["properties"]]
            if not wrong:
                raise
            raise refused(self.name, self.arguments, arguments, wrong) from None


def _for_all_clients(schema: JsonSchema) -> JsonSchema:
    """The keywords that each client and model API takes; what others would say goes into the descriptions.

    OpenAI's strict mode refuses `examples`, `default` and lengths, google-genai's bridge `additionalProperties`.
    """
    properties: JsonSchema = {}
    for name, of in schema["properties"].items():
        kept: JsonSchema = {key: of[key] for key in ("type", "description", "enum") if key in of}
        if "items" in of:
            kept["items"] = {"type": of["items"]["type"]}
        if "examples" in of:
            shown = (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in of["examples"])
            kept["description"] += f", such as {', '.join(shown)}"
        if "enum" not in of and (limit := of.get("items", of).get("maxLength")):
            kept["description"] += f"; at most {limit} characters{' each' if 'items' in of else ''}"
        properties[name] = kept
    return {"type": "object", "properties": properties} | {key: schema[key] for key in ("required",) if key in schema}


def listed(given: object) -> object:
    """A text that was sent for a list: one entry a line. Raises ValueError for a JSON list that is broken."""
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith('["'):
        raise ValueError("broken JSON")
    return [line for line in given.splitlines() if line.strip()]


def listed_ids(given: object) -> object:
    """The same for directory ids and fields: commas part them too, and so do blanks, unless they stand in a title."""
    entries = listed(given)
    if entries is given or not isinstance(entries, list):
        return given
    parts = (part.split() for entry in entries for part in re.split("[,;]", entry))
    return [one for words in parts for one in (words if all(map(could_be_id, words)) else [" ".join(words)])]


def listed_codes(given: object) -> object:
    """The same for codes: commas part them too."""
    entries = listed(given)
    if entries is given or not isinstance(entries, list):
        return given
    return [code for entry in entries for part in re.split("[,;]", entry) if (code := part.strip())]
