"""What proves to the portal who calls: a webhook or an application. Imports `exchange` for the Request.

Not an httpx.Auth: to see `expired_token` such a flow has to read the whole answer first, and answers are bounded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal, Protocol

from bitrix24_directories.rest.wire.exchange import Request

Renewal = Literal["none", "adopted", "refreshed"]
"""`adopted`: another process had already got new tokens; how long ago is not known, so they may have expired too."""


class Credentials(Protocol):
    """Who calls which portal."""

    @property
    def description(self) -> str:
        """For a person's eyes: of any secret only its last two characters."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Tells one caller of one portal from all others; what one may see is not for another."""

    @property
    def secrets(self) -> Collection[str]:
        """All that must appear nowhere."""

    def request(self, method: str, params: Mapping[str, Any]) -> Request:
        """A call with the secret in its place. Raises Bitrix24Error (NO_TOKEN, TOKENS_DAMAGED, TOKENS_NOT_KEPT)."""

    async def renew(self, refused: Collection[str]) -> Renewal:
        """Get other secrets than those `refused`, so that a repeated call may fare better."""
