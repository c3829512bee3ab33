"""mcp-use: the results of its session with the server whose command is given."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from mcp.types import ElicitResult
from mcp_use import MCPClient
from steps import ADD, CALL, WRONG, Steps, environment


def text_of(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


async def main() -> None:
    steps = Steps()
    server = {"command": sys.argv[1], "args": sys.argv[2:], "env": environment()}

    async def accept(*_: Any) -> ElicitResult:
        steps.questions += 1
        return ElicitResult(action="accept", content={})

    client = MCPClient(config={"mcpServers": {"bitrix24": server}}, elicitation_callback=accept)
    session = await client.create_session("bitrix24")
    async with steps("list") as step:
        step.got = [tool.name for tool in await session.list_tools()]
    for name, call in (("call", CALL), ("error", WRONG), ("ask", ADD)):
        async with steps(name) as step:
            step.got = text_of(await session.call_tool(*call))
    async with steps("read") as step:
        step.got = (await session.read_resource("bitrix24://directories/SOURCE")).contents[0].text
    await client.close_all_sessions()
    steps.print()


asyncio.run(main())
