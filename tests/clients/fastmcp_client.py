"""FastMCP's client: its results from the server whose command is given."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from fastmcp import Client
from fastmcp.exceptions import ToolError
from steps import ADD, CALL, WRONG, Steps, environment


async def main() -> None:
    steps = Steps()

    async def accept(*_: Any) -> dict[str, Any]:
        steps.questions += 1
        return {}

    server = {"command": sys.argv[1], "args": sys.argv[2:], "env": environment()}
    async with Client({"mcpServers": {"bitrix24": server}}, elicitation_handler=accept) as client:
        async with steps("list") as step:
            step.got = [tool.name for tool in await client.list_tools()]
        async with steps("call") as step:
            step.got = (await client.call_tool(*CALL)).content[0].text
        async with steps("error") as step:
            try:
                await client.call_tool(*WRONG)
            except ToolError as exc:
                step.got = str(exc)
        async with steps("ask") as step:
            step.got = (await client.call_tool(*ADD)).content[0].text
        async with steps("complete") as step:
            from mcp_types import ResourceTemplateReference

            reference = ResourceTemplateReference(uri="bitrix24://directories/{entityId}")
            step.got = (await client.complete(reference, {"name": "entityId", "value": "deal_s"})).values
        async with steps("read") as step:
            step.got = (await client.read_resource("bitrix24://directories/SOURCE"))[0].text
    steps.print()


asyncio.run(main())
