"""An application (OAuth) as the caller: its tokens in a shared file, and their renewal.

Facts: an access token lasts an hour; it is refreshed after a call says `expired_token`, not before; each refresh gives
a new refresh token and ends the old one.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal
from urllib.parse import urlencode

import anyio
import platformdirs

from bitrix24_directories.errors.errors import Bitrix24Error, failure
from bitrix24_directories.rest.addresses import origin, safe_url
from bitrix24_directories.rest.limits.waiting import current_wait
from bitrix24_directories.rest.wire.exchange import Request

from .renewal import Order, Renewals
from .tokens import TokenFile, Tokens, is_token

_CODE_SECONDS = 20.0
_RECENT = 20  # tokens that are looked for in every text that is shown

BITRIX24_OAUTH_URL = "https://oauth.bitrix.info/oauth/token/"


class Application:
    """One application on one portal, with the newest tokens that this process knows.

    `access_token` and `refresh_token` are those of the configuration, either may be empty; tokens in the file come
    first, because they descend from these or from a later authorisation. Each `person` of a team has tokens of their
    own. `ca_file` is one more trusted authority for renewals. Raises ValueError if an address must not get a secret, or
    a token has characters that no token has; the message holds no part of it.
    """

    def __init__(
        self,
        portal_url: str,
        client_id: str,
        client_secret: str,
        *,
        access_token: str = "",
        refresh_token: str = "",
        oauth_url: str = BITRIX24_OAUTH_URL,
        person: str = "",
        ca_file: str = "",
    ) -> None:
        portal = safe_url(portal_url.strip())
        self.portal = origin(portal)
        self.address = f"{self.portal}/rest/"
        self.client_id = client_id
        self.client_secret = client_secret
        self.endpoint = str(safe_url(oauth_url.strip()))
        # One file for each portal and application, and for each person of a team.
        whose = f"{portal.host}\n{client_id}" + (f"\n{person}" if person else "")
        digest = hashlib.sha256(whose.encode()).hexdigest()[:12]
        name = f"{re.sub(r'[^a-z0-9.-]', '_', portal.host)}-{digest}.json"
        self.file = TokenFile(platformdirs.user_state_path("bitrix24-directories-mcp", appauthor=False) / name)
        for token in (client_id, client_secret, access_token, refresh_token):
            if token and not is_token(token):
                raise ValueError("ids, secrets and tokens are printable ASCII without blanks")
        self.ca_file = ca_file
        self.on_new_secrets: Callable[[], object] = lambda: None
        """Called whenever `secrets` has changed."""
        self._configured = access_token, refresh_token
        self._tokens: Tokens | None = None
        self._has_read_file = self._damaged = False
        self._secrets = [secret for secret in (client_secret, access_token, refresh_token) if secret]
        self._recent_secrets: deque[str] = deque(maxlen=_RECENT)
        self._renewing = anyio.Lock()
        self._renewals = Renewals()

    @property
    def description(self) -> str:
        """Description for a person, without secrets."""
        return f"application {self.client_id} on {self.portal}, tokens in {self.file.path}"

    @property
    def identity(self) -> tuple[str, ...]:
        """Portal, application and user; part of cache keys."""
        self._access_token()
        return (self.address, self.client_id, self._tokens.user if self._tokens else "")

    @property
    def secrets(self) -> Collection[str]:
        """Secrets to remove from all texts."""
        return {*self._secrets, *self._recent_secrets}

    def authorize_url(self, state: str) -> str:
        """Return the address at which a person authorises the application."""
        return f"{self.portal}/oauth/authorize/?{urlencode({'client_id': self.client_id, 'state': state})}"

    def use(self, tokens: Tokens) -> None:
        """Call with `tokens` from now on."""
        self._tokens = tokens
        self.hide(tokens.access_token, tokens.refresh_token)

    def hide(self, *secrets: str) -> None:
        """Add `secrets` to those that are hidden everywhere, in place of the oldest, expired ones."""
        new = [secret for secret in secrets if secret not in self._recent_secrets]
        self._recent_secrets.extend(new)
        if new:
            self.on_new_secrets()

    def request(self, method: str, params: Mapping[str, Any]) -> Request:
        """Return a call with its token. Raises Bitrix24Error if there is no usable token.

        The codes are NO_TOKEN, TOKENS_DAMAGED and TOKENS_NOT_KEPT.
        """
        access_token = self._access_token()
        if not access_token:
            raise self._no_token()
        return Request(f"{self.address}{method}", params, {"auth": access_token})

    async def renew(self, refused: Collection[str]) -> Literal["none", "adopted", "refreshed"]:
        """Get secrets other than those `refused`, so that a repeated call may succeed.

        `adopted`: another process had already got new tokens; their age is not known, so they may have expired too.
        Raises Bitrix24Error if the authorization server or the disk refuses.
        """
        with current_wait().waiting_for("a new access token"):
            async with self._renewing:
                if (token := self._read_file()) and token not in refused:
                    return "adopted"
                refresh_tokens = [self._configured[1]] if self._configured[1] else []
                if self._tokens is None and not refresh_tokens:
                    raise self._no_token()
                order = Order(
                    path=str(self.file.path),
                    endpoint=self.endpoint,
                    client_id=self.client_id,
                    client_secret=self.client_secret,
                    refused=self._access_token(),
                    refresh_tokens=refresh_tokens,
                    ca_file=self.ca_file,
                )
                await self._renewals.renew(order)
                return "none" if self._read_file() in refused else "refreshed"

    def _read_file(self) -> str:
        """Read the file, which another process may have written; return the access token to use."""
        tokens = None
        try:
            tokens = self.file.read()
            self._damaged = False
        except ValueError:
            self._damaged = True
        except OSError:
            raise failure("TOKENS_NOT_KEPT") from None
        self._has_read_file = True
        if tokens is not None:
            self.use(tokens)
        return self._access_token()

    def _no_token(self) -> Bitrix24Error:
        return failure("TOKENS_DAMAGED" if self._damaged else "NO_TOKEN")

    def _access_token(self) -> str:
        if not self._has_read_file:
            self._read_file()
        return self._tokens.access_token if self._tokens else self._configured[0]


def authorise(application: Application, code: str) -> None:
    """Exchange a code for tokens, and store them; the code is at most 30 seconds old.

    The portal gave the code to a person's browser. The disk is tried first, because a request uses the code up. Raises
    Bitrix24Error for every other answer of the authorization server, for the network, and if the disk cannot store the
    tokens (TOKENS_NOT_KEPT).
    """
    from .renewal_process import request_tokens

    application.hide(code)
    grant = {
        "grant_type": "authorization_code",
        "client_id": application.client_id,
        "client_secret": application.client_secret,
        "code": code,
    }
    try:
        with application.file.replacement(_CODE_SECONDS) as write:
            tokens = anyio.run(request_tokens, application.endpoint, grant, application.ca_file)
            application.use(tokens)
            write(tokens)
    except OSError:
        raise failure("TOKENS_NOT_KEPT") from None
