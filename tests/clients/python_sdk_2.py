"""Today's Python SDK: its client's results in the newest protocol.

The server is the one whose command is given.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from mcp import Client, StdioServerParameters
from mcp_types import ElicitResult, ResourceTemplateReference
from steps import ADD, CALL, WRONG, Steps, environment


async def main() -> None:
    steps = Steps()

    async def accept(_context: Any, _params: Any) -> ElicitResult:
        steps.questions += 1
        return ElicitResult(action="accept")

    parameters = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:], env=environment())
    async with Client(parameters, elicitation_callback=accept) as client:
        async with steps("list") as step:
            step.got = [tool.name for tool in (await client.list_tools()).tools]
        for name, call in (("call", CALL), ("error", WRONG), ("ask", ADD)):
            async with steps(name) as step:
                step.got = (await client.call_tool(*call)).content[0].text
        async with steps("complete") as step:
            reference = ResourceTemplateReference(uri="bitrix24://directories/{entityId}")
            step.got = (await client.complete(reference, {"name": "entityId", "value": "deal_s"})).completion.values
        async with steps("read") as step:
            step.got = (await client.read_resource("bitrix24://directories/SOURCE")).contents[0].text
        listening = client.listen(resource_subscriptions=["bitrix24://directories/SOURCE"])
        async with steps("subscribe") as step, listening:
            step.got = "subscribed"
    steps.print()


asyncio.run(main())
