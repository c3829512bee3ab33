"""A client for MCP over stdio, line by line, so that little but the server is measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self


class Server:
    """A spawned server; `ready` is the seconds from spawn to the answer to `tools/list`."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={key: value for key, value in os.environ.items() if not key.startswith("BITRIX24_")} | environment,
        )
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.ask("initialize", client)
        self._send({"method": "notifications/initialized"})
        self.tools = self.ask("tools/list", {})
        self.ready = time.perf_counter() - started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=5)
        self.process.stdout.close()

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return self.ask("tools/call", {"name": tool, "arguments": arguments})

    def timed(self, tool: str, **arguments: Any) -> float:
        """Seconds that one call takes."""
        started = time.perf_counter()
        result = self.call(tool, **arguments)
        seconds = time.perf_counter() - started
        assert not result["isError"], result
        return seconds

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._send({"id": 1, "method": method, "params": params})
        assert self.process.stdout is not None
        result: dict[str, Any] = json.loads(self.process.stdout.readline())["result"]
        return result

    def _send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0"} | message).encode() + b"\n")
        self.process.stdin.flush()
