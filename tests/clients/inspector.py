"""The Inspector's command line, with its strict look at the schemas: one process a call."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

from steps import ADD, CALL, WRONG, Steps


def inspector(*options: str) -> Any:
    """Parsed output of the Inspector.

    Raises CalledProcessError if it fails. Exit code 5 is a tool's error, which is no failure here; 6 is a schema that
    some client refuses.
    """
    command = ["npx", "mcp-inspector", "--cli", "-e", "BITRIX24_ALLOW_WRITES=true", *options, "--", *sys.argv[1:]]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if done.returncode != 5:
        done.check_returncode()
    return json.loads(done.stdout)


def call(name: str, arguments: dict[str, Any]) -> str:
    pairs = [part for key, value in arguments.items() for part in ("--tool-arg", f"{key}={value}")]
    text: str = inspector("--method", "tools/call", "--tool-name", name, *pairs)["content"][0]["text"]
    return text


async def main() -> None:
    steps = Steps()
    async with steps("list") as step:
        step.got = [tool["name"] for tool in inspector("--method", "tools/list")["tools"]]
    async with steps("convert") as step:
        step.got = [tool["name"] for tool in inspector("--method", "tools/list", "--strict")["tools"]]
    for name, step_call in (("call", CALL), ("error", WRONG), ("ask", ADD)):
        async with steps(name) as step:
            step.got = call(*step_call)
    async with steps("read") as step:
        step.got = inspector("--method", "resources/read", "--uri", "bitrix24://directories/SOURCE")["contents"][0][
            "text"
        ]
    steps.print()


asyncio.run(main())
