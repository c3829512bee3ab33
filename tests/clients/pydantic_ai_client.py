"""Pydantic AI: the messages its toolset hands to a model, here one that is a function."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from steps import ADD, CALL, WRONG, Steps, environment


async def main() -> None:
    steps = Steps()

    async def accept(*_: Any) -> dict[str, Any]:
        steps.questions += 1
        return {}

    server = {"command": sys.argv[1], "args": sys.argv[2:], "env": environment()}
    toolset = MCPToolset({"mcpServers": {"bitrix24": server}}, elicitation_handler=accept)
    names: list[str] = []

    async def call_message(name: str, arguments: dict[str, Any]) -> Any:
        """Content of the message after the call."""
        seen: list[Any] = []

        def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            names[:] = [tool.name for tool in info.function_tools]
            parts = [part for message in messages for part in message.parts if hasattr(part, "tool_name")]
            answers = [part for part in parts if part.part_kind in ("tool-return", "retry-prompt")]
            if not answers:
                return ModelResponse(parts=[ToolCallPart(name, arguments)])
            seen.extend(answers)
            return ModelResponse(parts=[TextPart("done")])

        await Agent(FunctionModel(model), toolsets=[toolset]).run("go")
        return seen[0].content

    async with toolset:
        for name, call in (("call", CALL), ("error", WRONG), ("ask", ADD)):
            async with steps(name) as step:
                step.got = await call_message(*call)
        async with steps("list") as step:
            step.got = names
    steps.print()


asyncio.run(main())
