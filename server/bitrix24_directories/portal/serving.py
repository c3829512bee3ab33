"""The demo portal on a port of this machine, plain or with TLS."""

from __future__ import annotations

import uvicorn
from starlette.types import ASGIApp


def server(app: ASGIApp, port: int, *, certfile: str | None = None, keyfile: str | None = None) -> uvicorn.Server:
    """A uvicorn server for a portal's `app` on 127.0.0.1, with TLS when a certificate is given. Port 0: a free one."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            interface="asgi3",
            ssl_certfile=certfile,
            ssl_keyfile=keyfile,
            log_config=None,
            access_log=False,
            lifespan="off",
        )
    )
