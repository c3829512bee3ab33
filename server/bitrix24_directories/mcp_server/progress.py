"""Tells a client that wants to know, each second, what its call waits for."""

from __future__ import annotations

from collections.abc import Awaitable
from itertools import count
from typing import TypeGuard, TypeVar

import anyio

from bitrix24_directories.rest import Waiting

from .session import Request

T = TypeVar("T")


def wants_progress(request: Request | None) -> TypeGuard[Request]:
    """Whether the client has given a token for it."""
    return request is not None and "progress_token" in (request.meta or {})


async def telling(request: Request, waiting: Waiting, timeout: float, work: Awaitable[T]) -> T:
    """Do `work`, and tell the client each second, from the first on, what it waits for."""

    async def tell() -> None:
        for second in count(1):
            await anyio.sleep(1)
            await request.session.report_progress(second, timeout, f"Waiting for {waiting.reason}")

    error: Exception | None = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        try:
            result = await work
        except Exception as exc:  # kept out of the task group, which would wrap it
            error = exc
        tasks.cancel_scope.cancel()
    if error is not None:
        raise error
    return result
