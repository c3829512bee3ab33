"""Public keys of an identity provider, read on demand, at most once in ASKED_EVERY seconds."""

from __future__ import annotations

import json
import logging
import math
import ssl

import anyio
import httpx2
import jwt

logger = logging.getLogger(__name__)

ASKED_EVERY = 10.0
"""Seconds: made-up key ids cause no more requests to the provider than that."""
FRESH = 600.0
"""Seconds after which keys are read again; for KEPT they are good while that fails."""
KEPT = 3600.0
_PATIENCE = 5.0
_LONGEST = 2**20


class KeysError(Exception):
    """The provider's keys cannot be read, so no token can be verified."""


class Keys:
    """Keys at `address`; `ca_file` names one more trusted authority."""

    def __init__(self, address: str, ca_file: str = "") -> None:
        self._address = address
        self._ca_file = ca_file
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read_at = self._asked_at = -math.inf
        self._fails = False
        self._lock = anyio.Lock()

    async def get(self, kid: str) -> jwt.PyJWK | None:
        """Return the key of that id, None if there is none. Raises KeysError if that is unknown.

        A read of the keys is completed even if its caller gives up: others use its result.
        """
        age = anyio.current_time() - self._read_at
        if kid not in self._keys or age > KEPT or (age > FRESH and not self._lock.locked()):  # or they are being read
            async with self._lock:
                now = anyio.current_time()
                if now - self._asked_at >= ASKED_EVERY:
                    self._asked_at = now
                    with anyio.CancelScope(shield=True):
                        await self._read()
        if kid not in self._keys and self._fails:
            raise KeysError("the keys of the identity provider cannot be read")
        return self._keys.get(kid)

    async def _read(self) -> None:
        try:
            with anyio.fail_after(_PATIENCE):
                trusted = ssl.create_default_context()
                if self._ca_file:
                    trusted.load_verify_locations(self._ca_file)
                async with (
                    httpx2.AsyncClient(verify=trusted, timeout=_PATIENCE) as http,
                    http.stream("GET", self._address) as answer,
                ):
                    if answer.status_code != 200:
                        raise ValueError(f"HTTP {answer.status_code}")
                    body = b""
                    async for part in answer.aiter_bytes():
                        body += part
                        if len(body) > _LONGEST:
                            raise ValueError("the answer has no end")
            keys = jwt.PyJWKSet.from_dict(json.loads(body)).keys
            signing = [key for key in keys if key.public_key_use in ("sig", None)]
            self._keys = {key.key_id: key for key in signing if key.key_id and isinstance(key.key_id, str)}
        except Exception as exc:
            self._fails = True
            if anyio.current_time() - self._read_at > KEPT:
                self._keys = {}
            why = str(exc) or type(exc).__name__
            logger.warning("The keys of the identity provider cannot be read at %s: %s", self._address, why)
        else:
            self._fails, self._read_at = False, anyio.current_time()
