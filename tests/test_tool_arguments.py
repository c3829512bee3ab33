"""The table of all tools' arguments in docs/TOOLS.md is made of the published schemas."""

from __future__ import annotations

import os
from pathlib import Path

from bitrix24_directories.mcp_server.tools.registry import changing_tools, reading_tools

PAGE = Path(__file__).parent.parent / "docs" / "TOOLS.md"
HEAD = "| tool | argument | type | required | meaning |\n|---|---|---|---|---|\n"
TYPES = {"array": "list of texts", "string": "text", "boolean": "true or false", "integer": "number"}


def table() -> str:
    """A row for each argument, in the order in which clients see them."""
    rows: list[str] = []
    for tool in (*reading_tools().values(), *changing_tools().values()):
        schema = tool.published.input_schema
        for name, argument in schema["properties"].items():
            kind = " or ".join(f"`{value}`" for value in argument.get("enum", ())) or TYPES[argument["type"]]
            required = "yes" if name in schema.get("required", ()) else ""
            rows.append(f"| {tool.name} | `{name}` | {kind} | {required} | {argument['description']} |\n")
    return HEAD + "".join(rows)


def test_each_argument_is_in_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(HEAD)
    rows, _, after = rest.partition("\n\n")
    if os.environ.get("UPDATE_SNAPSHOTS"):
        PAGE.write_text(f"{before}{table()}\n{after}", encoding="utf-8")
    else:
        assert f"{HEAD}{rows}\n" == table()
