"""Verifies bearer tokens: those of the file of people, or those of an identity provider.

Facts (RFC 9068, and the providers' practice): Entra puts scopes into `scp`, Keycloak into `scope`; neither names people
as the file does, so the claim with the name is a setting, as is the audience.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Any

import jwt
from mcp.server.auth.provider import AccessToken
from pydantic import Field, InstanceOf

from bitrix24_directories.mcp_server.scopes import SCOPES
from bitrix24_directories.settings import Settings

from .keys import Keys, KeysError
from .people import People, Person

logger = logging.getLogger(__name__)

# Only asymmetric ones: a public key must not be taken for a shared secret.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
LEEWAY = 30
"""Seconds for which a token is good after its end, as clocks differ."""
_LONGEST = 16_384


class PersonToken(AccessToken):
    """A verified token, and its person as the file was then."""

    person: Annotated[InstanceOf[Person], Field(exclude=True, repr=False)]


class TokenVerifier:
    """Verifies tokens of `people`, and with an issuer JWTs whose names are in the file too."""

    def __init__(self, people: People, settings: Settings) -> None:
        self._people = people
        self._settings = settings
        self._keys: Keys | None = None
        if settings.jwt_issuer:
            address = settings.jwt_jwks_url or f"{settings.jwt_issuer.rstrip('/')}/.well-known/jwks.json"
            self._keys = Keys(address, settings.ca_file)

    async def verify(self, token: str) -> PersonToken | None:
        """Return the token's person and scopes; None if it is invalid.

        Raises KeysError if that cannot be known.
        """
        if len(token) > _LONGEST:
            return None
        person = self._people.with_token(token)
        if person is not None:
            return PersonToken(token="", client_id=person.name, scopes=list(person.scopes), person=person)
        if self._keys is None or token.count(".") != 2:
            return None
        try:
            head = jwt.get_unverified_header(token)
            if head.get("alg") not in _ALGORITHMS:
                return None
            key = await self._keys.get(str(head.get("kid", "")))
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=LEEWAY,
                options={"require": ["exp", "iss", "aud"]},
            )
            return self._from_claims(claims)
        except KeysError:
            raise
        except Exception as exc:  # a stranger may send anything, and libraries may raise anything
            logger.info("A token of the identity provider was not taken: %s", type(exc).__name__)
            return None

    def _from_claims(self, claims: Mapping[str, Any]) -> PersonToken | None:
        """Return the token of a person of the file, from the claims of a verified JWT."""
        name, scopes = claims.get(self._settings.jwt_name_claim), claims.get(self._settings.jwt_scope_claim)
        person = self._people.with_name(name) if isinstance(name, str) else None
        if person is None:
            return None
        words = scopes.split() if isinstance(scopes, str) else scopes if isinstance(scopes, list) else []
        expires_at, subject = claims["exp"], claims.get("sub")
        return PersonToken(
            token="",
            client_id=person.name,
            scopes=[scope for scope in SCOPES if scope in words and scope in person.scopes],
            expires_at=int(expires_at),
            subject=subject if isinstance(subject, str) else None,
            claims={"iss": claims["iss"]},
            person=person,
        )
