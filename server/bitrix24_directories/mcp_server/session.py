"""One request: who calls, their view of the portal, and what their client can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mcp.server.apps import client_supports_apps
from mcp.server.context import ServerRequestContext

from bitrix24_directories.directories.directories import Directories

from .callers import Caller

if TYPE_CHECKING:
    from bitrix24_directories.changing.changes import Changes
    from bitrix24_directories.changing.merging.merges import Merges

Request = ServerRequestContext[Any, Any]
"""The SDK's context of one request."""


@dataclass(frozen=True)
class Session:
    """What a tool, a prompt or a resource works with.

    `request` is None if a program calls a tool without a client. `responses` and `state` are what a client sends back
    after it was asked something.
    """

    caller: Caller
    request: Request | None = None
    responses: Mapping[str, object] = field(default_factory=dict)
    state: str | None = None

    @property
    def directories(self) -> Directories:
        """The portal's directories, as the caller sees them."""
        return self.caller.directories

    @property
    def changes(self) -> Changes:
        """Changes of directories, for tools that are there only with writes allowed."""
        assert self.caller.changes is not None, "the changing tools are there only with writes allowed"
        return self.caller.changes

    @property
    def merges(self) -> Merges:
        """Merges of codes, for tools that are there only with writes allowed."""
        assert self.caller.merges is not None, "the changing tools are there only with writes allowed"
        return self.caller.merges

    @property
    def can_ask(self) -> bool:
        """Whether the client can put a form before a person; `elicitation: {}` is how older ones say so."""
        capabilities = self.request.session.client_capabilities if self.request else None
        elicitation = capabilities.elicitation if capabilities else None
        return elicitation is not None and (elicitation.form is not None or elicitation.url is None)

    @property
    def shows_pictures(self) -> bool:
        """Whether the client shows MCP Apps."""
        return self.request is not None and client_supports_apps(self.request)
