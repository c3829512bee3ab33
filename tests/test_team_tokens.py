"""Tokens of an identity provider: which are taken, and every way in which one is not good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from bitrix24_directories.mcp_server.scopes import READING, SCOPES
from bitrix24_directories.settings import Settings
from bitrix24_directories.team.people import People
from bitrix24_directories.team.tokens import Tokens

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER, AUDIENCE = "https://id.example", "api://directories"
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tokens:
    people = People(tmp_path / "people.jsonl")
    people.add("anna@example.com", SCOPES, None)
    people.add("bert@example.com", READING, None)
    settings = Settings.model_construct(jwt_issuer=ISSUER, jwt_audience=AUDIENCE)
    published = {**json.loads(RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "1", "use": "sig", "alg": "RS256"}
    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", lambda _self: {"keys": [published]})
    return Tokens(people, settings)


def claims(**changes: Any) -> dict[str, Any]:
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "exp": int(time.time()) + 600,
        "email": "anna@example.com",
        "scope": "openid directories:read directories:write",
        "sub": "42",
    } | changes
    return {name: value for name, value in whole.items() if value is not None}


def signed(key: Any = KEY, kid: str = "1", algorithm: str = "RS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers={"kid": kid})


async def test_a_good_token(tokens: Tokens) -> None:
    token = await tokens.verify(signed())
    assert token is not None
    assert (token.client_id, token.scopes) == ("anna@example.com", ["directories:read", "directories:write"])
    assert (token.subject, token.token) == ("42", "")


async def test_the_file_says_what_one_may_at_most(tokens: Tokens) -> None:
    token = await tokens.verify(signed(email="bert@example.com"))
    assert token is not None
    assert token.scopes == ["directories:read"]


async def test_scopes_in_a_list(tokens: Tokens) -> None:
    token = await tokens.verify(signed(scope=["directories:read", 7]))
    assert token is not None
    assert token.scopes == ["directories:read"]


def _unsigned() -> str:
    return jwt.encode(claims(), "", algorithm="none", headers={"kid": "1"})


def _public_key_as_a_secret() -> str:
    import base64
    import hashlib
    import hmac

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    head = part({"alg": "HS256", "typ": "JWT", "kid": "1"}) + b"." + part(claims())
    sign = base64.urlsafe_b64encode(hmac.new(PUBLIC, head, hashlib.sha256).digest()).rstrip(b"=")
    return (head + b"." + sign).decode()


BAD: dict[str, Callable[[], str]] = {
    "unsigned": _unsigned,
    "the public key as a secret": _public_key_as_a_secret,
    "another key": lambda: signed(OTHER),
    "an unknown key": lambda: signed(kid="2"),
    "another issuer": lambda: signed(iss="https://evil.example"),
    "no issuer": lambda: signed(iss=None),
    "another audience": lambda: signed(aud="api://other"),
    "no audience": lambda: signed(aud=None),
    "expired": lambda: signed(exp=int(time.time()) - 60),
    "without end": lambda: signed(exp=None),
    "not yet": lambda: signed(nbf=int(time.time()) + 600),
    "nobody known": lambda: signed(email="eva@example.com"),
    "no name": lambda: signed(email=None),
    "a name that is none": lambda: signed(email=["anna@example.com"]),
    "cut": lambda: signed()[:-4],
    "no JWT": lambda: "a.b.c",
    "endless": lambda: signed() + "x" * 20_000,
}


@pytest.mark.parametrize("kind", BAD)
async def test_bad_tokens(tokens: Tokens, kind: str) -> None:
    assert await tokens.verify(BAD[kind]()) is None


async def test_without_a_provider_no_jwt_is_taken(tmp_path: Path) -> None:
    people = People(tmp_path / "people.jsonl")
    people.add("anna@example.com", SCOPES, None)
    assert await Tokens(people, Settings.model_construct()).verify(signed()) is None


async def test_a_provider_that_does_not_answer(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_self: Any) -> Any:
        raise jwt.PyJWKClientConnectionError("down")

    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", fails)
    assert await tokens.verify(signed()) is None
