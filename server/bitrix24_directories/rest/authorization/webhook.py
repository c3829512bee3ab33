"""How a call proves to the portal who makes it: an inbound webhook here, an application in `oauth`.

Not an httpx.Auth: to see `expired_token` such a flow has to read the whole answer first, and answers are bounded.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import httpx

_PATH = re.compile(r"(?P<before>/.*)?/rest/(?P<user>\d+)/(?P<secret>[A-Za-z0-9]{8,})(?:/[A-Za-z0-9_.]*)?/?")

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

    def request(self, method: str, params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        """The address and the body of a call, both with the secret in its place. Raises Bitrix24Error (NO_TOKEN)."""

    async def renew(self, refused: Collection[str]) -> Renewal:
        """Get other secrets than those `refused`, so that a repeated call may fare better."""


@dataclass(frozen=True)
class Webhook:
    """An inbound webhook: the portal's REST address, and the secret that belongs into the path of every call."""

    address: str
    user: int
    secret: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Webhook:
        """Read a webhook's URL as Bitrix24 shows it; a method name behind the secret is dropped.

        Raises ValueError, with a message that never holds any part of the URL, when it is no such URL, or is plain
        http to another machine.
        """
        parsed = safe_url(url.strip())
        if parsed.userinfo or parsed.query or parsed.fragment:
            raise ValueError("it must end after the webhook's code, without ? or # or a login")
        match = _PATH.fullmatch(parsed.path)
        if match is None:
            raise ValueError("its path is not /rest/<user id>/<webhook code>/")
        return cls(f"{origin(parsed)}{match['before'] or ''}/rest/", int(match["user"]), match["secret"])

    @property
    def description(self) -> str:
        return f"webhook {self.address}{self.user}/…{self.secret[-2:]}/"

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.address, self.secret)

    @property
    def secrets(self) -> Collection[str]:
        return (self.secret,)

    def request(self, method: str, params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return f"{self.address}{self.user}/{self.secret}/{method}", params

    async def renew(self, refused: Collection[str]) -> Renewal:  # noqa: ARG002 - a webhook has no other secret
        return "none"


def safe_url(url: str) -> httpx.URL:
    """Parse an absolute URL that a secret may be sent to: https, or plain http to this machine.

    Raises ValueError, with a message that holds no part of the URL.
    """
    try:
        parsed = httpx.URL(url)
        scheme, host, port = parsed.scheme, parsed.host, parsed.port
    except (httpx.InvalidURL, ValueError):  # idna's errors are ValueErrors, and quote the host
        raise ValueError("it is not a URL") from None
    if scheme not in ("https", "http") or not host or not 0 < (port or 443) < 65536:
        raise ValueError("it does not begin with https:// and the portal's address")
    if scheme == "http" and not _is_loopback(host):
        raise ValueError("plain http would show the secret to the network; it must begin with https://")
    return parsed


def origin(url: httpx.URL) -> str:
    """Scheme, host and port."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
