"""Command that calls a tool as an assistant would, and prints the result."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import anyio
from mcp import Client
from mcp_types import CallToolRequestParams, CallToolResult, InputRequiredResult

from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.mcp_server.session import Request
from bitrix24_directories.text import quoted

from .arguments import UsageError
from .configured import configured, print_error
from .interruption import EndedBySignalError, Interruption, so_far
from .language import say

if TYPE_CHECKING:
    from bitrix24_directories.changing.audit import Audit

_WRONG_USAGE = {"UNKNOWN_TOOL", "INVALID_ARGUMENTS"}


def call(args: argparse.Namespace) -> int:
    """Call the tool, or list all tools; return the exit code."""
    if args.tool is None and not args.list:
        raise UsageError("Name a tool, or --list to see them.")
    arguments: dict[str, str] = {}
    for argument in args.arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise UsageError(f"{argument!r} is not key=value")
        if key in arguments:
            raise UsageError(f"{key} is given twice; a list is JSON, or one text a line")
        arguments[key] = value
    portal, settings, transport = configured(args)
    audit: Audit | None = None
    if settings.allow_writes:
        from bitrix24_directories.changing.audit import Audit

        audit = Audit(settings.audit_log)
    interruption = Interruption(audit)

    class Server(DirectoriesServer):
        """Cancels the call in its own task, and waits until it has ended before it closes anything."""

        async def on_call_tool(
            self, request: Request, params: CallToolRequestParams
        ) -> CallToolResult | InputRequiredResult:
            with interruption.cancels():
                return await super().on_call_tool(request, params)
            return CallToolResult(content=[], is_error=True)

    async def run() -> int:
        async with Client(Server(portal, settings, transport=transport, audit=audit).mcp) as client:
            if args.list:
                for tool in (await client.list_tools()).tools:
                    print(f"{tool.name}: {tool.title}")
                    required = tool.input_schema.get("required", [])
                    for name, schema in tool.input_schema["properties"].items():
                        print(f"  {name}{'' if name in required else '?'}: {schema['description']}")
                return 0
            result = await client.call_tool(args.tool, arguments)
        if interruption.cancelled:
            return 1
        to = sys.stderr if result.is_error else sys.stdout
        if args.json:
            print(quoted(result.structured_content, indent=2), file=to)
        else:
            print(*(block.text for block in result.content if block.type == "text"), sep="\n", file=to)
        code = ((result.structured_content or {}).get("error") or {}).get("code")
        return 2 if code in _WRONG_USAGE else int(result.is_error)

    try:
        code = anyio.run(run)
        interruption.reraise()
    except EndedBySignalError:
        print_error(so_far(audit))
        if audit is not None and audit.said["unknown"]:
            print_error(say("Look in a minute or two what became of these before you go on."))
        raise
    return code
