"""google-genai's bridge: conversion of each tool into a declaration for Gemini.

The tools are those of the server whose command is given.
"""

from __future__ import annotations

import asyncio
import sys

from google.genai._mcp_utils import mcp_to_gemini_tool
from mcp import Client, StdioServerParameters
from steps import CALL, WRONG, Steps, environment


async def main() -> None:
    steps = Steps()
    parameters = StdioServerParameters(command=sys.argv[1], args=sys.argv[2:], env=environment())
    async with Client(parameters) as client:
        tools = (await client.list_tools()).tools
        async with steps("list") as step:
            step.got = [tool.name for tool in tools]
        async with steps("convert") as step:
            declared = [mcp_to_gemini_tool(tool).function_declarations[0] for tool in tools]
            assert all(declaration.parameters.properties for declaration in declared)
            step.got = [declaration.name for declaration in declared]
        for name, call in (("call", CALL), ("error", WRONG)):
            async with steps(name) as step:
                step.got = (await client.call_tool(*call)).model_dump(by_alias=True, exclude_none=True)
    steps.print()


asyncio.run(main())
