"""Authorization server of the demo portal: codes, access tokens, rotating refresh tokens.

Imports only `calls` (the User) and `store` (the error).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from .calls import User
from .store import PortalError

ACCESS_SECONDS = 3600
REFRESH_SECONDS = 180 * 24 * 3600
CODE_SECONDS = 30

CLIENT_ID = "local.demo.application"
CLIENT_SECRET = "demo-client-secret-not-for-use"  # noqa: S105 - a public fixture


class OAuth:
    """Tokens of one application on one portal; `issued` counts the pairs given out.

    `clock` returns Unix time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._access: dict[str, tuple[User, float]] = {}
        self._refresh: dict[str, tuple[User, float]] = {}
        self._codes: dict[str, tuple[User, float]] = {}
        self.issued = 0

    def authorize(self, user: User) -> str:
        """Return a code as the browser would get it: valid for 30 seconds, once."""
        return _grant(self._codes, user, self._clock() + CODE_SECONDS)

    def issue(self, user: User) -> dict[str, Any]:
        """Return a new pair of tokens: the token endpoint's answer without its addresses."""
        now = self._clock()
        self.issued += 1
        return {
            "access_token": _grant(self._access, user, now + ACCESS_SECONDS),
            "refresh_token": _grant(self._refresh, user, now + REFRESH_SECONDS),
            "expires": int(now + ACCESS_SECONDS),
            "expires_in": ACCESS_SECONDS,
            "member_id": "demo0member0id",
            "scope": ",".join(user.scopes),
            "user_id": user.id,
            "status": "L",
        }

    def expire_access_tokens(self) -> None:
        """Let all access tokens expire."""
        self._access = {token: (user, 0.0) for token, (user, _) in self._access.items()}

    def forget_everything(self) -> None:
        """Forget all tokens, as when the application is deleted and installed anew."""
        self._access.clear()
        self._refresh.clear()

    @property
    def newest_access_token(self) -> str:
        """Return the access token that was issued last."""
        return list(self._access)[-1]

    def accepts_refresh_token(self, refresh_token: str) -> bool:
        """Return true if a refresh token can be used."""
        return refresh_token in self._refresh

    def user(self, access_token: str) -> User:
        """Return the user of an access token. Raises PortalError if it is not good."""
        if access_token not in self._access:
            raise PortalError("Unable to get application by token", code="invalid_token", status=401)
        user, expires = self._access[access_token]
        if self._clock() >= expires:
            raise PortalError("The access token provided has expired.", code="expired_token", status=401)
        return user

    def token(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Answer as the token endpoint; each refresh token or authorization code works once.

        `grant_type` is refresh_token or authorization_code.
        """
        if query.get("client_id") != CLIENT_ID or query.get("client_secret") != CLIENT_SECRET:
            raise PortalError("Client authentication failed", code="invalid_client", status=400)
        match query.get("grant_type"):
            case "refresh_token":
                return self.issue(self._spend(self._refresh, query.get("refresh_token", "")))
            case "authorization_code":
                return self.issue(self._spend(self._codes, query.get("code", "")))
        raise PortalError("Invalid grant_type parameter", code="invalid_request", status=400)

    def _spend(self, grants: dict[str, tuple[User, float]], grant: str) -> User:
        user, expires = grants.pop(grant, (None, 0.0))
        if user is None or self._clock() >= expires:
            raise PortalError("Invalid or expired grant", code="invalid_grant", status=400)
        return user


def _grant(grants: dict[str, tuple[User, float]], user: User, expires: float) -> str:
    token = secrets.token_hex(35)
    grants[token] = (user, expires)
    return token
