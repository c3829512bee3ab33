"""Tokens of an identity provider: the accepted ones, and every reason for a refusal."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from bitrix24_directories.mcp_server import listening
from bitrix24_directories.mcp_server.scopes import READING, SCOPES
from bitrix24_directories.settings import Settings
from bitrix24_directories.team import keys as team_keys
from bitrix24_directories.team.keys import KeysError
from bitrix24_directories.team.people import People
from bitrix24_directories.team.tokens import TokenVerifier
from support import RunningPortal
from team_support import ACCEPT, TeamServer, tool_call

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER, AUDIENCE = "https://id.example", "api://directories"
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


class KeyServer:
    """Serves an identity provider's keys, or a test's replacement for them."""

    def __init__(self) -> None:
        self.requests = 0
        self.body = json.dumps({"keys": [published(KEY, "1")]}).encode()
        self.status = 200
        self.answers = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests += 1
                if not server.answers:
                    time.sleep(1)
                    return
                self.send_response(server.status)
                self.end_headers()
                self.wfile.write(server.body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/keys"


def published(key: rsa.RSAPrivateKey, kid: str) -> dict[str, Any]:
    return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", "alg": "RS256"}


@pytest.fixture
def keys() -> Iterator[KeyServer]:
    server = KeyServer()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def tokens(tmp_path: Path, keys: KeyServer) -> TokenVerifier:
    people = People(tmp_path / "people.jsonl")
    people.add("anna@example.com", SCOPES, None)
    people.add("bert@example.com", READING, None)
    return TokenVerifier(
        people, Settings.model_construct(jwt_issuer=ISSUER, jwt_audience=AUDIENCE, jwt_jwks_url=keys.url)
    )


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


async def test_a_good_token(tokens: TokenVerifier) -> None:
    token = await tokens.verify(signed())
    assert token is not None
    assert (token.client_id, token.scopes) == ("anna@example.com", ["directories:read", "directories:write"])
    assert (token.subject, token.token) == ("42", "")


async def test_the_file_says_what_one_may_at_most(tokens: TokenVerifier) -> None:
    token = await tokens.verify(signed(email="bert@example.com"))
    assert token is not None
    assert token.scopes == ["directories:read"]


async def test_scopes_in_a_list(tokens: TokenVerifier) -> None:
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
async def test_bad_tokens(tokens: TokenVerifier, kind: str) -> None:
    assert await tokens.verify(BAD[kind]()) is None


async def test_without_a_provider_no_jwt_is_taken(tmp_path: Path) -> None:
    people = People(tmp_path / "people.jsonl")
    people.add("anna@example.com", SCOPES, None)
    assert await TokenVerifier(people, Settings.model_construct()).verify(signed()) is None


RUBBISH: dict[str, bytes] = {
    "nothing": b"",
    "a web page": b"<html>",
    "a list": b"[]",
    "no keys": b'{"keys": []}',
    "keys that are none": b'{"keys": [1, null, {"kty": "?"}]}',
    "keys that are a number": b'{"keys": 5}',
    "no text": b"\xff\xfe\x00",
    "nested": b"[" * 100_000,
    "endless": b" " * (2**20 + 1),
}


@pytest.mark.parametrize("kind", RUBBISH)
async def test_a_key_server_that_answers_rubbish(
    tokens: TokenVerifier, keys: KeyServer, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    keys.body = RUBBISH[kind]
    for _ in range(5):
        with pytest.raises(KeysError):
            await tokens.verify(signed())
    assert keys.requests == 1
    assert [keys.url in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("status", [302, 404, 500])
async def test_a_key_server_that_refuses(tokens: TokenVerifier, keys: KeyServer, status: int) -> None:
    keys.status = status
    with pytest.raises(KeysError):
        await tokens.verify(signed())


async def test_a_key_server_that_says_nothing(
    tokens: TokenVerifier, keys: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team_keys, "_PATIENCE", 0.2)
    keys.answers = False
    started = anyio.current_time()
    async with anyio.create_task_group() as tasks:

        async def ask() -> None:
            with pytest.raises(KeysError):
                await tokens.verify(signed())

        for _ in range(20):
            tasks.start_soon(ask)
    assert (keys.requests, anyio.current_time() - started < 0.9) == (1, True)


async def test_made_up_keys_cost_the_provider_one_request_in_ten_seconds(
    tokens: TokenVerifier, keys: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        assert await tokens.verify(signed(kid=f"made up {number}")) is None
    assert keys.requests == 1
    monkeypatch.setattr(team_keys, "ASKED_EVERY", 0)
    keys.body = json.dumps({"keys": [published(OTHER, "2")]}).encode()
    assert await tokens.verify(signed(OTHER, kid="2")) is not None  # after that time, new keys are found
    assert await tokens.verify(signed()) is None


async def test_known_keys_stay_good_while_the_provider_is_down(
    tokens: TokenVerifier, keys: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await tokens.verify(signed()) is not None
    monkeypatch.setattr(team_keys, "ASKED_EVERY", 0)
    monkeypatch.setattr(team_keys, "FRESH", 0)
    keys.status = 500
    assert await tokens.verify(signed()) is not None
    monkeypatch.setattr(team_keys, "KEPT", 0)
    with pytest.raises(KeysError):
        await tokens.verify(signed())


async def test_only_one_waits_for_a_slow_provider_while_keys_are_known(
    tokens: TokenVerifier, keys: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await tokens.verify(signed()) is not None
    monkeypatch.setattr(team_keys, "FRESH", 0)
    monkeypatch.setattr(team_keys, "ASKED_EVERY", 0)
    monkeypatch.setattr(team_keys, "_PATIENCE", 0.5)
    keys.answers = False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tokens.verify, signed())
        await anyio.sleep(0.2)
        with anyio.fail_after(0.1):
            assert await tokens.verify(signed()) is not None


async def test_an_odd_key_spoils_no_other(tokens: TokenVerifier, keys: KeyServer) -> None:
    odd = [published(OTHER, "2") | {"kid": ["2"]}, "key", {}, published(KEY, "1")]
    keys.body = json.dumps({"keys": odd}).encode()
    assert await tokens.verify(signed()) is not None


async def test_a_stream_ends_with_its_token(
    portal: RunningPortal, tmp_path: Path, keys: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitrix24_directories.team.team.LEEWAY", 0)
    monkeypatch.setattr(listening, "_SHORTEST_LOOK", 0.05)
    provider: dict[str, Any] = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": keys.url}
    team = TeamServer(portal, tmp_path, public_url="http://127.0.0.1/mcp", access_ttl=1, **provider)
    team.add("anna@example.com")
    token = signed(exp=int(time.time()) + 3)
    async with (
        team.running(),
        team.client(token) as client,
        client.listen(resource_subscriptions=["bitrix24://directories"]) as events,
    ):
        with anyio.fail_after(5):
            assert [event async for event in events] == []
    assert time.time() > jwt.decode(token, options={"verify_signature": False})["exp"]


async def test_without_keys_the_server_says_503_and_lets_in_who_has_a_token_of_its_own(
    portal: RunningPortal, tmp_path: Path, keys: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    keys.body = b"<html>"
    provider: dict[str, Any] = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": keys.url}
    team = TeamServer(portal, tmp_path, public_url="http://127.0.0.1/mcp", **provider)
    anna = team.add("anna")
    async with team.running(), httpx.AsyncClient(headers=ACCEPT) as http:
        url, call = f"{team.url}/mcp", tool_call("list_directories")
        for _ in range(3):
            refused = await http.post(url, headers={"authorization": f"Bearer {signed()}"}, json=call)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "10")
            assert "identity provider" in refused.json()["error"]
        served = await http.post(url, headers={"authorization": f"Bearer {anna}"}, json=call)
    assert served.status_code == 200
    assert keys.requests == 1
    assert [keys.url in record.getMessage() for record in caplog.records] == [True]


ODD = ["..", "a.b.c", "e30.e30.", "eyJhbGciOiJSUzI1NiIsImtpZCI6W119.e30.x", "é.é.é", "W10.W10.W10"]


@pytest.mark.parametrize("token", ODD)
async def test_odd_tokens_are_no_failure(tokens: TokenVerifier, token: str) -> None:
    assert await tokens.verify(token) is None


@pytest.mark.parametrize("head", [{"kid": ["1"]}, {"kid": None}, {"alg": []}, {"alg": {}}, {"crit": ["x"]}, {}])
async def test_odd_heads_are_no_failure(tokens: TokenVerifier, head: dict[str, Any]) -> None:
    whole = {"alg": "RS256", **head}
    encoded = base64.urlsafe_b64encode(json.dumps(whole).encode()).rstrip(b"=").decode()
    assert await tokens.verify(f"{encoded}.{signed().split('.', 1)[1]}") is None
