"""OpenAI's Agents SDK: its strict conversion of tools, and the messages for a model."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from agents.mcp import MCPServerStdio, MCPUtil
from agents.run_context import RunContextWrapper
from steps import ADD, CALL, WRONG, Steps, environment


async def main() -> None:
    steps = Steps()
    parameters: Any = {"command": sys.argv[1], "args": sys.argv[2:], "env": environment()}
    async with MCPServerStdio(params=parameters) as server:
        tools = {tool.name: tool for tool in await server.list_tools()}

        async def call_message(name: str, arguments: dict[str, Any]) -> Any:
            return await MCPUtil.invoke_mcp_tool(server, tools[name], RunContextWrapper(None), json.dumps(arguments))

        async with steps("list") as step:
            step.got = list(tools)
        async with steps("convert") as step:
            made = [MCPUtil.to_function_tool(tool, server, convert_schemas_to_strict=True) for tool in tools.values()]
            assert all(tool.strict_json_schema for tool in made)
            step.got = [tool.name for tool in made]
        for name, call in (("call", CALL), ("error", WRONG), ("ask", ADD)):
            async with steps(name) as step:
                step.got = await call_message(*call)
        async with steps("read") as step:
            step.got = (await server.read_resource("bitrix24://directories/SOURCE")).contents[0].text
    steps.print()


asyncio.run(main())
