"""How a call proves to the portal who makes it. Imports httpx only."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Generator
from dataclasses import dataclass, field

import httpx

_PATH = re.compile(r"(?P<before>/.*)?/rest/(?P<user>\d+)/(?P<secret>[A-Za-z0-9]{8,})(?:/[A-Za-z0-9_.]*)?/?")


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
        netloc = parsed.netloc.decode("ascii")
        address = f"{parsed.scheme}://{netloc}{match['before'] or ''}/rest/"
        return cls(address, int(match["user"]), match["secret"])

    @property
    def masked(self) -> str:
        """The URL for a person's eyes: of the secret only its last two characters."""
        return f"{self.address}{self.user}/…{self.secret[-2:]}/"


class WebhookAuth(httpx.Auth):
    """Puts the webhook's secret into the path at the last moment, so that no other code handles such URLs."""

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        method = str(request.url).removeprefix(self._webhook.address)
        request.url = httpx.URL(f"{self._webhook.address}{self._webhook.user}/{self._webhook.secret}/{method}")
        yield request


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


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
