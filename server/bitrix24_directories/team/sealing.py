"""Seals what a client carries from one replica to another, with the secret that all of them have at the time."""

from __future__ import annotations

from mcp.server.request_state import AESGCMRequestStateCodec

from bitrix24_directories.state.shared import State


class SharedSeal:
    """A codec of the SDK; what was sealed before the replicas agreed on another secret can still be opened."""

    def __init__(self, state: State) -> None:
        self._state = state

    def seal(self, payload: bytes) -> str:
        return AESGCMRequestStateCodec(self._state.secrets).seal(payload)

    def unseal(self, token: str) -> bytes:
        """Raises InvalidRequestState as the SDK's codec does."""
        return AESGCMRequestStateCodec(self._state.secrets).unseal(token)
