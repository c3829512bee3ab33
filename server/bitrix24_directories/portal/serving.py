"""The demo portal on a port of this machine, plain or with TLS."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp


def listen(port: int) -> socket.socket:
    """A socket that accepts connections on 127.0.0.1. Port 0: a free one. Raises OSError when the port is taken."""
    listening = socket.create_server(("127.0.0.1", port))
    # Connections inherit it. asyncio only sets it where the protocol number is given, and 40 ms an answer are lost.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def server(app: ASGIApp, *, certfile: str | None = None, keyfile: str | None = None) -> uvicorn.Server:
    """A uvicorn server for a portal's `app`, to be run with a socket from `listen`; with TLS if a certificate is given.

    Raises OSError when the certificate or its key cannot be read.
    """
    config = uvicorn.Config(
        app,
        interface="asgi3",
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        log_config=None,
        access_log=False,
        lifespan="off",
    )
    config.load()
    return uvicorn.Server(config)
