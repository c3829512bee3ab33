"""The baseline: an MCPServer with one tool that returns a constant result, and nothing else.

The result is the answer of `get_directory_items` for DEAL_STAGE of the demo portal, in both channels.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, TypedDict

_modules: dict[str, Any] = sys.modules
_modules["rich"] = None  # it is installed for our report alone, but httpx and the SDK would import it

from mcp.server.mcpserver import MCPServer  # noqa: E402
from mcp_types import CallToolResult, TextContent  # noqa: E402

STAGES = {
    "NEW": "New",
    "PREPARATION": "Document Preparation",
    "PREPAYMENT_INVOICE": "Prepayment Invoice",
    "EXECUTING": "In Progress",
    "FINAL_INVOICE": "Final Invoice",
    "WON": "Deal Won",
    "LOSE": "Deal Lost",
    "APOLOGY": "Analyzing Cause of Loss",
}
TEXT = "\n".join(["DEAL_STAGE: 8 items, in order (code: name)", *(f"{code}: {name}" for code, name in STAGES.items())])
STRUCTURED = {
    "entityId": "DEAL_STAGE",
    "items": [
        {"statusId": code, "name": name, "sort": 10 * position}
        for position, (code, name) in enumerate(STAGES.items(), 1)
    ],
    "total": 8,
}


class Item(TypedDict):
    statusId: str
    name: str
    sort: int


class Items(TypedDict):
    entityId: str
    items: list[Item]
    total: int


server = MCPServer("bare", log_level="WARNING")


@server.tool()
async def get_directory_items(entityId: str) -> Annotated[CallToolResult, Items]:  # noqa: ARG001, N803
    """The constant tool."""
    return CallToolResult(content=[TextContent(type="text", text=TEXT)], structured_content=STRUCTURED)


if __name__ == "__main__":
    server.run()
