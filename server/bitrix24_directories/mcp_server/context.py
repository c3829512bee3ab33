"""What tools, prompts and resources work with: the portal's directories, or why there is no portal to ask."""

from __future__ import annotations

from mcp.server.mcpserver import Context

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.rest import Bitrix24Error

Portal = Directories | Bitrix24Error
"""The portal's directories, or the error that stands in their place."""


def directories_of(ctx: Context[Portal]) -> Directories:
    """The portal's directories. Raises the Bitrix24Error that stands in their place while there is no portal."""
    portal = ctx.request_context.lifespan_context
    if isinstance(portal, Bitrix24Error):
        raise portal
    return portal
