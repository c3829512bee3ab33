"""The Python SDK 1.x, from 1.2 on: its results from the server whose command is given."""

from __future__ import annotations

import asyncio
import inspect
import sys
from typing import Any

from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from pydantic import AnyUrl
from steps import ADD, CALL, WRONG, Steps, environment


def text_of(result: Any) -> str:
    return "\n".join(block.text for block in result.content)


async def main() -> None:
    steps = Steps()
    parameters = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:], env=environment())
    more: dict[str, Any] = {}
    if "elicitation_callback" in inspect.signature(ClientSession.__init__).parameters:
        from mcp.types import ElicitResult

        async def accept(_context: Any, _params: Any) -> Any:
            steps.questions += 1
            return ElicitResult(action="accept", content={})

        more["elicitation_callback"] = accept
    async with stdio_client(parameters) as (read, write), ClientSession(read, write, **more) as session:
        await session.initialize()
        async with steps("list") as step:
            step.got = [tool.name for tool in (await session.list_tools()).tools]
        async with steps("call") as step:
            step.got = text_of(await session.call_tool(*CALL))
        async with steps("error") as step:
            step.got = text_of(await session.call_tool(*WRONG))
        if more:
            async with steps("ask") as step:
                step.got = text_of(await session.call_tool(*ADD))
        async with steps("complete") as step:
            from mcp import types

            kind = getattr(types, "ResourceTemplateReference", None) or types.ResourceReference
            reference = kind(type="ref/resource", uri="bitrix24://directories/{entityId}")
            step.got = (await session.complete(reference, {"name": "entityId", "value": "deal_s"})).completion.values
        async with steps("read") as step:
            step.got = (await session.read_resource(AnyUrl("bitrix24://directories/SOURCE"))).contents[0].text
        async with steps("subscribe") as step:
            await session.subscribe_resource(AnyUrl("bitrix24://directories/SOURCE"))
            step.got = "subscribed"
    steps.print()


asyncio.run(main())
