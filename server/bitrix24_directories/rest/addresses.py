"""Checks of the addresses to which a secret may be sent. Imports nothing of this package."""

from __future__ import annotations

import ipaddress
from urllib.parse import urljoin

import httpx


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
    """Return scheme, host and port."""
    return f"{url.scheme}://{url.netloc.decode('ascii')}"


def redirected(url: str, location: str) -> httpx.URL:
    """Return the target of a redirect of `url`. Raises ValueError as `safe_url` does.

    Only redirects from this machine may lead to this machine: other portals must not reach local services.
    """
    target = safe_url(urljoin(url, location))
    if _is_loopback(target.host) and not _is_loopback(httpx.URL(url).host):
        raise ValueError("it leads to this machine itself")
    return target


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
