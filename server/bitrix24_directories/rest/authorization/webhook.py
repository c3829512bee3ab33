"""An inbound webhook as the caller; its secret is in the path of every call."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bitrix24_directories.rest.addresses import origin, safe_url
from bitrix24_directories.rest.wire.exchange import Request
from bitrix24_directories.text import INVISIBLE

_QUOTES = "\"'`“”„‘’«»"
_EXAMPLE = "//your-portal."
_PATH = re.compile(r"(?P<before>/.*)?/rest/(?P<user>\d+)/(?P<secret>[A-Za-z0-9]{8,})(?:/[A-Za-z0-9_.]*)?/?")


@dataclass(frozen=True)
class Webhook:
    """Inbound webhook: the portal's REST address, and the secret for the path of every call."""

    address: str
    user: int
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Webhook:
        """Read a webhook's URL as Bitrix24 shows it; a method name after the secret is dropped.

        Raises ValueError if it is no such URL, or is plain http to another machine; the message holds no part of the
        URL.
        """
        url = url.strip()
        if url[:1] in _QUOTES or url[-1:] in _QUOTES:
            raise ValueError("quotation marks stand around it, which do not belong to it")
        if INVISIBLE.search(url) or any(char.isspace() for char in url):
            raise ValueError("it holds blanks or invisible characters, as texts that were copied out of a page may do")
        if _EXAMPLE in url:
            raise ValueError("it is still the example's")
        parsed = safe_url(url)
        if parsed.userinfo or parsed.query or parsed.fragment:
            raise ValueError("it must end after the webhook's code, without ? or # or a login")
        match = _PATH.fullmatch(parsed.path)
        if match is None:
            raise ValueError("its path is not /rest/<user id>/<webhook code>/")
        return cls(f"{origin(parsed)}{match['before'] or ''}/rest/", int(match["user"]), match["secret"])

    @property
    def description(self) -> str:
        """Text for a person, with only the last two characters of the secret."""
        return f"webhook {self.address}{self.user}/…{self.secret[-2:]}/"

    @property
    def identity(self) -> tuple[str, ...]:
        """Unique to this caller on this portal: callers may see different data."""
        return (self.address, self.secret)

    @property
    def secrets(self) -> Collection[str]:
        """All texts that must be hidden everywhere."""
        return (self.secret,)

    def request(self, method: str, params: Mapping[str, Any]) -> Request:
        """Return a call with the secret in its path."""
        return Request(f"{self.address}{self.user}/{self.secret}/{method}", params)

    async def renew(self, refused: Collection[str]) -> Literal["none"]:  # noqa: ARG002 - a webhook has no other secret
        """Do nothing: a webhook cannot be renewed."""
        return "none"
