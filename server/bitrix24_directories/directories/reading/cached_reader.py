"""Calls that read lists, and what they gave lately: one at a time, or many in one batch.

Calls the portal through `rest` and keeps rows in `cache`; knows nothing of what the rows mean.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import anyio

from bitrix24_directories.rest import (
    BATCH_LENGTH,
    TOKEN_REFUSED,
    Answer,
    Bitrix24Client,
    Bitrix24Error,
    Outcome,
    unwrap,
)

from .cache import Cache, Kept
from .shared_answers import SharedAnswers

T = TypeVar("T")

PERSONAL = "records"
"""What the keys of reads begin with that depend on the caller's own rights."""

FAILURE_SECONDS = 10.0
"""For which a read that was refused is not tried again."""

_RECENTLY = 10.0
_PASSING = 2.0  # seconds for which a failure that can pass is not tried again
_ALONG_ROWS = 200  # of a list that is read again with others: the batch has to stay small

ReadRows = Kept[Any] | Bitrix24Error
"""What came of one read among many."""


@dataclass(frozen=True)
class Read(Generic[T]):
    """One REST call and how its answer becomes rows. `key` tells it from all others; `keep` is False for what must be
    asked anew each time.
    """

    key: tuple[str, ...]
    method: str
    params: Mapping[str, Any] = field(hash=False)
    rows: Callable[[Answer], list[T]] = field(hash=False, compare=False)
    keep: bool = True


Told = Callable[[Read[Any], list[Any]], None]
"""Hears of a read, and of the rows that it gave."""


def _calls(reads: Iterable[Read[Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    return [(read.method, read.params) for read in reads]


def _is_personal(key: tuple[str, ...]) -> bool:
    return key[:1] == (PERSONAL,)


class Reader:
    """Makes reads for one caller of one portal.

    What is the portal's (its directories, its fields) is kept for the `owner` that is given, such as all who see the
    same of it; what is the caller's own (PERSONAL) for the caller alone, as everything is without an owner. What is the
    portal's may have been read by another replica, and is in `shared` then. `told` hears what the portal gives the
    caller before it is kept, and may let them be another owner's from then on.
    """

    def __init__(
        self,
        client: Bitrix24Client,
        cache: Cache,
        owner: Callable[[], tuple[str, ...]] | None = None,
        shared: SharedAnswers | None = None,
        told: Told | None = None,
    ) -> None:
        self._client = client
        self._cache = cache
        self._owner = owner
        self._told = told
        self._shared = shared if shared is not None and shared.used else None
        self.recently = 0.0 if owner is None else _RECENTLY
        """Seconds for which what others have read counts as read now."""

    @property
    def identity(self) -> tuple[str, ...]:
        """Whose reads these are. Raises Bitrix24Error as a call would."""
        return self._client.identity

    @property
    def keeps(self) -> bool:
        """Whether what is read serves later calls."""
        return self._cache.ttl > 0

    @property
    def is_shared(self) -> bool:
        """Whether what is read serves other callers, too, whose rights may differ."""
        return self._owner is not None

    @property
    def batches(self) -> bool:
        """Whether the portal takes batches, as far as is known."""
        return self._client.batches

    @property
    def memos(self) -> dict[str, Any]:
        """What is made of what is the portal's."""
        return self._cache.memos(self._owner() if self._owner else self.identity)

    def _kept_as(self, key: tuple[str, ...]) -> tuple[Any, ...]:
        shared = self._owner is not None and not _is_personal(key)
        return (self._owner() if shared and self._owner else self.identity, *key)

    @asynccontextmanager
    async def _turn(self, *keys: tuple[str, ...], fresh: bool) -> AsyncIterator[None]:
        """Let one caller read what several who share it ask for at the same time."""
        if self._owner is None or fresh or any(map(_is_personal, keys)):
            yield
            return
        async with self._cache.turn(self._kept_as(keys[0] if len(keys) == 1 else ("batch",))):
            yield

    @property
    def _in_use(self) -> dict[Read[Any], float]:
        """The portal's lists that have been asked for since they were read, and when they were read."""
        lists: dict[Read[Any], float] = self.memos.setdefault("in use", {})
        return lists

    def _half_old(self, besides: Collection[Read[Any]]) -> list[Read[Any]]:
        """Lists in use that will have to be read again soon: one request then does for what would be many."""
        if not self.batches:
            return []
        now, ttl = anyio.current_time(), self._cache.ttl
        in_use = {read: read_at for read, read_at in self._in_use.items() if now - read_at < 2 * ttl}
        self.memos["in use"] = in_use
        old = (read for read, read_at in in_use.items() if now - read_at >= ttl / 2 and read not in besides)
        return list(itertools.islice(old, max(0, BATCH_LENGTH - len(besides))))

    def keep(self, read: Read[T], rows: list[T]) -> None:
        """Let `rows` be what `read` gives for a while."""
        self._keep(self._kept_as(read.key), read, rows)

    async def asked(self, reads: Sequence[Read[Any]]) -> dict[Read[Any], Outcome]:
        """What the portal answers this caller now, before it is known with whom they share; nothing is kept."""
        return dict(zip(reads, await self._client.batch(_calls(reads)), strict=True))

    async def keep_asked(self, outcomes: Mapping[Read[Any], Outcome], began: float) -> None:
        """Keep what `asked` gave, where nothing is kept that is half as new; `began` is when it was asked for."""
        half_old = anyio.current_time() - self._cache.ttl / 2
        owned = {read: self._kept_as(read.key) for read in outcomes}
        kept = {read: self._cache.get(key) for read, key in owned.items()}
        new = [read for read, rows in kept.items() if rows is None or rows.read_at < half_old]
        await self._keep_given(new, [owned[read] for read in new], [outcomes[read] for read in new], began)

    def _keep(self, owned: tuple[Any, ...], read: Read[T], rows: list[T], read_at: float | None = None) -> Kept[T]:
        """Keep rows that were read just now, or at another time by another replica; nobody has asked for them since."""
        if not read.keep:
            return Kept(rows, anyio.current_time())
        if self._owner is not None:
            self._in_use.pop(read, None)
        return self._cache.keep(owned, rows, read_at)

    def forget(self, *keys: tuple[str, ...]) -> None:
        for key in keys:
            self._cache.forget(self._kept_as(key))
            self._cache.forget_failure((self.identity, *key))

    def _failed_lately(self, key: tuple[str, ...], since: float = -math.inf) -> Bitrix24Error | None:
        """The error of the caller's own read since a time, so lately that it would come again."""
        failed = self._cache.failure((self.identity, *key))
        if failed is None or failed.failed_at < since or not isinstance(failed.error, Bitrix24Error):
            return None
        return failed.error.with_traceback(None)  # or it would grow each time that it is raised

    def _keep_failure(self, key: tuple[str, ...], error: Bitrix24Error) -> None:
        """Keep what the portal itself has answered, unless another token ends it: a login must help at once."""
        if not error.answered or error.kind in TOKEN_REFUSED:
            return
        self._cache.keep_failure((self.identity, *key), error, _PASSING if error.retryable else FAILURE_SECONDS)

    def keep_refusal(self, read: Read[Any], error: Bitrix24Error) -> None:
        """Let a refusal of `read` that is kept for a moment be kept for as long as rows are."""
        failed = self._cache.failure(key := (self.identity, *read.key))
        if failed is not None and failed.error is error:
            self._cache.keep_failure(key, error, self._cache.ttl)

    def lately(self, reads: Iterable[Read[Any]]) -> dict[Read[Any], ReadRows]:
        """Those of `reads` that need no request now: what they gave lately, or why they failed."""
        return self._kept_since(reads, -math.inf)

    def forget_all(self, *start: str) -> None:
        """The same for all keys that begin so."""
        self._cache.forget_all(self._kept_as(start))

    async def one(self, read: Read[T], *, fresh: bool = False) -> Kept[T]:
        """What `read` gave lately, or gives now. Raises Bitrix24Error, which is not kept."""

        async def ask() -> list[T]:
            return read.rows(await self._client.call(read.method, read.params, fresh=fresh))

        if not read.keep:
            return Kept(await ask(), anyio.current_time())
        if self._owner is None or _is_personal(read.key):
            return await self.made(read.key, ask, fresh=fresh)
        outcome = (await self.batch([read], fresh=fresh))[read]
        if isinstance(outcome, Bitrix24Error):
            raise outcome
        return outcome

    async def made(self, key: tuple[str, ...], make: Callable[[], Awaitable[list[T]]], *, fresh: bool) -> Kept[T]:
        """What `make` gave lately under `key`, or gives now: for what takes more than one call. Raises Bitrix24Error,
        again without asking if it was raised a moment ago."""
        owned = self._kept_as(key)
        if not fresh and (kept := self._cache.get(owned)) is not None:
            return kept
        async with self._turn(key, fresh=fresh):
            if not fresh and (kept := self._cache.get(owned)) is not None:  # by now
                return kept
            if not fresh and (error := self._failed_lately(key)) is not None:
                raise error
            began = anyio.current_time()
            try:
                rows = await make()
                outdated = self._cache.is_outdated(owned, began)
                return Kept(rows, anyio.current_time()) if outdated else self._cache.keep(owned, rows)
            except Bitrix24Error as exc:
                self._keep_failure(key, exc)
                raise

    def kept(self, reads: Iterable[Read[Any]]) -> dict[Read[Any], Kept[Any]]:
        """Those of `reads` that were made lately, and what they gave."""
        found = ((read, self._cache.get(self._kept_as(read.key))) for read in reads)
        kept = {read: rows for read, rows in found if rows is not None}
        if self._owner is not None:
            in_use = self._in_use
            for read, rows in kept.items():
                if not _is_personal(read.key) and len(rows.rows) <= _ALONG_ROWS:
                    in_use[read] = rows.read_at
        return kept

    async def batch(
        self, reads: Iterable[Read[Any]], *, fresh: bool = False, since: float = -math.inf
    ) -> dict[Read[Any], ReadRows]:
        """What each of `reads` gave lately, or gives now, in one batch for each 50; an error in place of each failure.

        What was read before `since` (anyio's clock) is read anew. What failed a moment ago is not asked for again.
        Raises Bitrix24Error when a batch fails as a whole.
        """
        wanted = list(reads)
        found: dict[Read[Any], ReadRows] = {} if fresh else self._kept_since(wanted, since)
        if not (missing := [read for read in wanted if read not in found]):
            return found
        async with self._turn(*(read.key for read in missing), fresh=fresh):
            found |= {} if fresh else self._kept_since(missing, since)
            left = [read for read in missing if read not in found]
            return found | await self._batch(left, math.inf if fresh else since)

    def _kept_since(self, reads: Iterable[Read[Any]], since: float) -> dict[Read[Any], ReadRows]:
        """What was read, or failed, since a time."""
        found: dict[Read[Any], ReadRows] = {}
        kept = self.kept(reads := list(reads))
        for read in reads:
            if read in kept and kept[read].read_at >= since:
                found[read] = kept[read]
            elif read.keep and (error := self._failed_lately(read.key, since)) is not None:
                found[read] = error
        return found

    async def _among_replicas(self, reads: Sequence[Read[Any]], since: float) -> dict[Read[Any], ReadRows]:
        """What another replica has read since, or what the portal gives now, for all of them."""
        assert self._shared is not None
        found = await self._recalled(reads, since)
        if missing := [read for read in reads if read not in found]:
            first = self._kept_as(missing[0].key)
            async with self._shared.turn(first if len(missing) == 1 else (first[0], "batch")):
                found |= await self._recalled(missing, since)
                if left := [read for read in missing if read not in found]:
                    found |= await self._given_along(left, fresh=since > -math.inf)
        return found

    async def _given_along(self, reads: Sequence[Read[Any]], *, fresh: bool) -> dict[Read[Any], ReadRows]:
        """What the portal gives now for `reads`; what else is in use and half old is read again along with them."""
        along = [] if fresh else self._half_old(reads)
        if along and self._shared is not None:
            recalled = await self._recalled(along, anyio.current_time() - self._cache.ttl / 2)
            along = [read for read in along if read not in recalled]
        for read in (*reads, *along):  # under way, so no other request needs to take it along
            self._in_use.pop(read, None)
        given = await self._given([*reads, *along], fresh=fresh)
        return {read: given[read] for read in reads}

    async def _recalled(self, reads: Sequence[Read[Any]], since: float) -> dict[Read[Any], ReadRows]:
        """What other replicas have read since, as if it had been read here."""
        assert self._shared is not None
        owned = [self._kept_as(read.key) for read in reads]
        recalled = await self._shared.recall(owned, since) if reads else []
        found: dict[Read[Any], ReadRows] = {}
        for read, key, one in zip(reads, owned, recalled, strict=False):
            with contextlib.suppress(Bitrix24Error):
                if one is not None:
                    found[read] = self._keep(key, read, read.rows(one.answer), one.read_at)
        return found

    async def _batch(self, reads: Sequence[Read[Any]], since: float) -> dict[Read[Any], ReadRows]:
        """What each gives that was not read before `since`, infinity for what is there now."""
        if not reads:
            return {}
        fresh = since > -math.inf
        if self._owner is None or not all(read.keep and not _is_personal(read.key) for read in reads):
            return await self._given(reads, fresh=fresh)
        if self._shared is not None and since < math.inf:
            return await self._among_replicas(reads, since)
        return await self._given_along(reads, fresh=fresh)

    async def ahead(self, reads: Sequence[Read[Any]]) -> dict[Read[Any], ReadRows]:
        """What each of at most 50 `reads` gave lately, or gives now, for whoever asks later: one request, or none.

        Raises Bitrix24Error when it fails as a whole.
        """
        found: dict[Read[Any], ReadRows] = dict(self.kept(reads))
        if not (left := [read for read in reads if read not in found]):
            return found
        owned, began = {read: self._kept_as(read.key) for read in left}, anyio.current_time()
        outcomes = await self._client.batch(_calls(left), retry=False)
        found |= self.kept(left)  # what somebody has asked for meanwhile stays as it is
        new = {read: outcome for read, outcome in zip(left, outcomes, strict=True) if read not in found}
        return found | await self._keep_given([*new], [owned[read] for read in new], [*new.values()], began)

    async def _given(self, reads: Sequence[Read[Any]], *, fresh: bool) -> dict[Read[Any], ReadRows]:
        """What the portal gives now; kept here, and where replicas share it."""
        owned, began = [self._kept_as(read.key) for read in reads], anyio.current_time()  # as it was asked for
        try:
            outcomes = await self._client.batch(_calls(reads), fresh=fresh)
        except Bitrix24Error as exc:
            for read in reads:
                self._keep_failure(read.key, exc)
            raise
        return await self._keep_given(reads, owned, outcomes, began)

    async def _keep_given(
        self, reads: Sequence[Read[Any]], owned: Sequence[tuple[Any, ...]], outcomes: Sequence[Outcome], began: float
    ) -> dict[Read[Any], ReadRows]:
        found: dict[Read[Any], ReadRows] = {}
        read_at = anyio.current_time()
        for read, key, outcome in zip(reads, owned, outcomes, strict=True):
            try:
                answer = unwrap(outcome)
                rows = read.rows(answer)
            except Bitrix24Error as exc:
                found[read] = exc
                if read.keep:
                    self._keep_failure(read.key, exc)
            else:
                if self._told is not None:
                    self._told(read, rows)
                now_owned = self._kept_as(read.key)
                if self._cache.is_outdated(key, began) or self._cache.is_outdated(now_owned, began):
                    found[read] = Kept(rows, read_at)
                    continue
                found[read] = self._keep(now_owned, read, rows, read_at)
                if self._shared is not None and read.keep and not _is_personal(read.key):
                    await self._shared.keep(now_owned, answer)
        return found
