"""The demo portal on a port of this machine, plain or with TLS."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp


def listen(port: int) -> socket.socket:
    """Return a socket that accepts connections on 127.0.0.1; port 0 takes a free one.

    Raises OSError if the port is taken.
    """
    listening = socket.create_server(("127.0.0.1", port))
    # Connections inherit it. asyncio sets it only if the protocol number is given; without it answers take 40 ms more.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def server(app: ASGIApp, *, certfile: str | None = None, keyfile: str | None = None) -> uvicorn.Server:
    """Return a uvicorn server for a portal's `app`, with TLS if a certificate is given.

    Run it with a socket from `listen`. Raises OSError if the certificate or its key cannot be read.
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
