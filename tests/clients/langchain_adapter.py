"""LangChain's adapter: the tools it makes, and the messages it hands to a model.

The tools are those of the server whose command is given.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from mcp.types import ElicitResult
from steps import ADD, CALL, WRONG, Steps, environment


async def main() -> None:
    steps = Steps()

    async def accept(*_: Any, **__: Any) -> ElicitResult:
        steps.questions += 1
        return ElicitResult(action="accept", content={})

    server: Any = {"transport": "stdio", "command": sys.argv[1], "args": sys.argv[2:], "env": environment()}
    client = MultiServerMCPClient({"bitrix24": server}, callbacks=Callbacks(on_elicitation=accept))
    tools: dict[str, Any] = {}

    async def call_message(name: str, arguments: dict[str, Any]) -> Any:
        """The message that the next call to a model would carry."""
        call = {"type": "tool_call", "id": "1", "name": name, "args": arguments}
        return (await tools[name].ainvoke(call)).content

    async with steps("list") as step:
        tools = {tool.name: tool for tool in await client.get_tools()}
        step.got = list(tools)
    async with steps("convert") as step:
        step.got = [convert_to_openai_tool(tool, strict=True)["function"]["name"] for tool in tools.values()]
    for name, step_call in (("call", CALL), ("error", WRONG), ("ask", ADD)):
        async with steps(name) as step:
            step.got = await call_message(*step_call)
    async with steps("read") as step:
        (blob,) = await client.get_resources("bitrix24", uris="bitrix24://directories/SOURCE")
        step.got = blob.as_string()
    steps.print()


asyncio.run(main())
