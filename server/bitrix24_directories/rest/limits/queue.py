"""Queue of calls that wait for a slot in the portal's bucket; it batches calls if possible.

First come, first served. Imports `pacing`, `shared_calls` and `waiting`; the caller passes in how to make a call or a
batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from bitrix24_directories.rest.wire.answers import Answer, Outcome, unwrap
from bitrix24_directories.rest.wire.batches import BATCH_LENGTH, Call, in_one_request

from .pacing import Bucket
from .shared_calls import SharedCall
from .waiting import current_wait


@dataclass(eq=False)
class _Waiter:
    """A call in the queue; once `dispatched`, `request` has its answer at `position`.

    Without a call it only waits for a slot, and makes its request itself.
    """

    call: Call | None
    deadline: float
    dispatched: anyio.Event = field(default_factory=anyio.Event)
    request: SharedCall[list[Outcome]] | None = None
    position: int = 0


class Queue:
    """Queue that makes one call, or several in one request, with `send`, which returns outcomes."""

    def __init__(
        self, bucket: Bucket, tasks: TaskGroup, send: Callable[[list[Call]], Awaitable[list[Outcome]]]
    ) -> None:
        self._bucket = bucket
        self._tasks = tasks
        self._send = send
        self._waiters: deque[_Waiter] = deque()
        self._dispatcher: anyio.CancelScope | None = None

    def try_acquire(self) -> bool:
        """Take a slot if one is free and nobody waits; return True if it was taken."""
        if self._waiters or not self._bucket.is_ready:
            return False
        self._bucket.take()
        return True

    async def call(self, call: Call) -> Answer:
        """Wait for a slot, make the call, and return its answer. Raises Bitrix24Error as it does.

        Cancelled while it waits, it leaves the queue; cancelled later, the request goes on for the calls that share it.
        """
        waiter = await self.acquire_slot(call)
        assert waiter.request is not None
        return unwrap((await waiter.request.wait())[waiter.position])

    async def acquire_slot(self, call: Call | None = None) -> _Waiter:
        """Take a slot for `call`, or for a request that the caller makes itself. May be cancelled."""
        waiter = _Waiter(call, anyio.current_effective_deadline())
        self._waiters.append(waiter)
        if self._dispatcher is None:
            self._start_dispatcher()
        try:
            with current_wait().waiting_for("a free place under the portal's request limit"):
                await waiter.dispatched.wait()
        except BaseException:
            if waiter.request is not None:
                waiter.request.remove_waiter()
            if not waiter.dispatched.is_set():
                self._waiters.remove(waiter)
                if not self._waiters and self._dispatcher is not None:
                    self._dispatcher.cancel()
            raise
        return waiter

    def _start_dispatcher(self) -> None:
        self._dispatcher = anyio.CancelScope()
        self._tasks.start_soon(self._dispatch, self._dispatcher)

    async def _dispatch(self, scope: anyio.CancelScope) -> None:
        with scope:
            while self._waiters:
                await self._bucket.wait_until_ready()
                if not self._waiters:  # the last one left at this very moment
                    break
                self._bucket.take()
                self._dispatch_next()
                await anyio.lowlevel.checkpoint()  # the dispatched calls are under way then
        self._dispatcher = None
        if self._waiters:  # came while the dispatcher was being cancelled
            self._start_dispatcher()

    def _dispatch_next(self) -> None:
        """Send the first waiter's call, with as many of the next ones as may share a batch with it."""
        waiting: list[Call] = []
        for waiter in islice(self._waiters, BATCH_LENGTH):
            if waiter.call is None:
                break
            waiting.append(waiter.call)
        if not waiting:
            self._waiters.popleft().dispatched.set()
            return
        calls = in_one_request(waiting)
        request = SharedCall(partial(self._send, calls))
        self._tasks.start_soon(request.run)
        for position in range(len(calls)):
            waiter = self._waiters.popleft()
            request.add_waiter(waiter.deadline)
            waiter.request, waiter.position = request, position
            waiter.dispatched.set()
