"""The demo portal on a port of this machine, plain or with TLS."""

from __future__ import annotations

import uvicorn

from .app import DemoPortal


def server(portal: DemoPortal, port: int, *, certfile: str | None = None, keyfile: str | None = None) -> uvicorn.Server:
    """A uvicorn server for `portal` on 127.0.0.1, with TLS when a certificate is given. Port 0 takes a free one."""
    return uvicorn.Server(
        uvicorn.Config(
            portal.app,
            host="127.0.0.1",
            port=port,
            ssl_certfile=certfile,
            ssl_keyfile=keyfile,
            log_config=None,
            access_log=False,
            lifespan="off",
        )
    )
