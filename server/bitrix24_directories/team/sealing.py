"""Seals data that a client carries between replicas, with the secret that they share."""

from __future__ import annotations

from mcp.server.request_state import AESGCMRequestStateCodec

from bitrix24_directories.state.shared import State


class SharedSeal:
    """A codec for the SDK; data sealed with the secret before the present one can be opened."""

    def __init__(self, state: State) -> None:
        self._state = state

    def seal(self, payload: bytes) -> str:
        """Seal data with the secret in use."""
        return AESGCMRequestStateCodec(self._state.secrets).seal(payload)

    def unseal(self, token: str) -> bytes:
        """Open sealed data. Raises InvalidRequestState as the SDK's codec does."""
        return AESGCMRequestStateCodec(self._state.secrets).unseal(token)
