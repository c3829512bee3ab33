"""What tools, prompts and resources work with: whoever calls now, and their view of the portal."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from mcp.server.mcpserver import Context

from bitrix24_directories.directories.directories import Directories

from .callers import Caller

calling: ContextVar[Caller] = ContextVar("calling")
"""Who calls, set by the server around all that is done for one call."""

Calls = Context[None, Any]
"""The SDK's context of one call."""


def directories_of(_: Calls) -> Directories:
    """The portal's directories, as the caller sees them."""
    return calling.get().directories
