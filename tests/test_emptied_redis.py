"""A Redis that is emptied, or stopped in the middle of a change.

The tests check the replicas' agreements, and their reports.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
import redis

from bitrix24_directories.state.in_redis import InRedis
from bitrix24_directories.state.shared import UnavailableError
from support import RunningPortal
from team_support import call_tool
from test_replicas import Valkey, replicas, valkey

__all__ = ["valkey"]

pytestmark = pytest.mark.slow


async def test_a_generation_never_comes_again(valkey: Valkey) -> None:
    state, seen = InRedis(valkey.url), []
    async with state.running():
        for _ in range(5):
            redis.Redis.from_url(valkey.url).flushall()
            seen.append(await state.generation("portal"))
            assert await state.generation("portal") == seen[-1]
            await state.changed("portal")
            seen.append(await state.generation("portal"))
    assert len({*seen}) == 10


async def test_a_change_after_redis_was_emptied_is_seen(portal: RunningPortal, tmp_path: Path, valkey: Valkey) -> None:
    async with replicas(portal, tmp_path, valkey) as (first, second):
        anna = first.add("anna")
        async with first.client(anna) as here, second.client(anna) as there:
            for name in ("Fax", "Pigeon", "Telegram"):
                await call_tool(there, "get_directory_items", entityId="SOURCE")
                redis.Redis.from_url(valkey.url).flushall()
                assert (await call_tool(here, "add_directory_item", entityId="SOURCE", name=name))["status"] == "done"
                assert name in str(await call_tool(there, "get_directory_items", entityId="SOURCE"))


async def test_the_secret_is_one_again(portal: RunningPortal, tmp_path: Path, valkey: Valkey) -> None:
    """With a replica that has the secret, and with one that comes first to an empty Redis."""
    old, other = InRedis(valkey.url), InRedis(valkey.url)
    old.secrets = other.secrets = (b"o" * 32,)
    async with old.running(), other.running():
        await anyio.sleep(0.5)
        redis.Redis.from_url(valkey.url).flushall()
        await anyio.sleep(1.5)
        late = InRedis(valkey.url)
        async with late.running():
            assert await late.secret() == b"o" * 32
        client = redis.Redis.from_url(valkey.url)
        client.flushall()
        client.set("b24d:secret", (b"n" * 32).hex())
        await anyio.sleep(1.5)
        for state in (old, other):
            assert [*state.secrets] == [b"n" * 32, b"o" * 32]
    items = {"entityId": "EMPLOYEES", "items": ["EMPLOYEES_1: tiny", "EMPLOYEES_4: huge"]}
    portal.portal.store.records.all = {}
    async with replicas(portal, tmp_path, valkey) as (first, second):
        anna = first.add("anna")
        await anyio.sleep(1.5)  # until they know of the existing one
        async with first.client(anna) as here, second.client(anna) as there:
            planned = await call_tool(here, "apply_directory", **items)
            done = await call_tool(there, "apply_directory", entityId="EMPLOYEES", planId=planned["planId"])
            assert done["status"] == "done"


async def test_what_could_not_be_announced_is_when_redis_is_back(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    def stop_redis(method: str, _params: Mapping[str, Any]) -> None:
        if method == "crm.status.add":
            valkey.stop()

    async with replicas(portal, tmp_path, valkey) as (first, second):
        anna = first.add("anna")
        async with first.client(anna) as here, second.client(anna) as there:
            await call_tool(there, "get_directory_items", entityId="SOURCE")
            async with there.listen(resource_subscriptions=["bitrix24://directories/SOURCE"]) as events:
                await anyio.sleep(0.3)
                portal.portal.meanwhile = stop_redis
                assert (await call_tool(here, "add_directory_item", entityId="SOURCE", name="Fax"))["status"] == "done"
                assert "Fax" not in str(await call_tool(there, "get_directory_items", entityId="SOURCE"))
                valkey.start()
                with anyio.fail_after(10):
                    await anext(aiter(events))
            assert "Fax" in str(await call_tool(there, "get_directory_items", entityId="SOURCE"))


async def test_what_is_read_while_a_change_is_made_is_not_kept(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    """The generation changes before the portal changes anything, and once more after it."""
    seen: list[bytes | str | None] = []
    client = redis.Redis.from_url(valkey.url)
    key = f"b24d:generation:{portal.address}/rest/"

    def look(method: str, _params: Mapping[str, Any]) -> None:
        if method == "crm.status.add":
            seen.append(client.get(key))

    async with replicas(portal, tmp_path, valkey) as (first, _), first.client(first.add("anna")) as here:
        await call_tool(here, "get_directory_items", entityId="SOURCE")
        seen.append(client.get(key))
        portal.portal.meanwhile = look
        await call_tool(here, "add_directory_item", entityId="SOURCE", name="Fax")
        seen.append(client.get(key))
    assert len({*seen}) == 3
    assert None not in seen


async def test_ages_are_told_by_redis_clock(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = InRedis(valkey.url), InRedis(valkey.url)
    now = time.time
    async with first.running(), second.running():
        await first.remember("x", "text", 60)
        await anyio.sleep(0.2)
        monkeypatch.setattr(time, "time", lambda: now() + 86_400)  # of a replica whose clock is wrong
        (value,) = await second.recall_many(["x"])
    assert value is not None
    assert value.text == "text"
    assert 0.1 < value.age < 5


async def test_before_a_change_everybody_has_to_be_told(valkey: Valkey) -> None:
    state = InRedis(valkey.url)
    valkey.stop()
    with pytest.raises(UnavailableError):
        await state.changing("portal")
    await state.changed("portal")


async def test_a_turn_is_taken_again(valkey: Valkey) -> None:
    first, second = InRedis(valkey.url), InRedis(valkey.url)
    async with first.running(), second.running():
        async with first.lock("SOURCE") as make_sure:
            redis.Redis.from_url(valkey.url).flushall()
            await anyio.sleep(1.5)
            with anyio.move_on_after(0.5) as waiting:
                async with second.lock("SOURCE"):
                    pass
            assert waiting.cancelled_caught
            await make_sure()
        with anyio.fail_after(1):
            async with second.lock("SOURCE"):
                pass


async def test_a_turn_that_another_has_taken_meanwhile_is_lost(
    valkey: Valkey, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = InRedis(valkey.url), InRedis(valkey.url)
    async with first.running(), second.running(), first.lock("SOURCE") as make_sure:
        redis.Redis.from_url(valkey.url).flushall()
        async with second.lock("SOURCE") as make_sure_too:
            with pytest.raises(UnavailableError):
                await make_sure()
            await anyio.sleep(1.5)
            await make_sure_too()
    assert [record.getMessage() for record in caplog.records] == [
        "Redis has forgotten whose turn it was; two have it now: SOURCE"
    ]


async def test_a_turn_that_is_not_waited_for_any_more_is_nobodys(
    valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = InRedis(valkey.url)
    taken = state._redis.set  # noqa: SLF001 - an answer that comes late

    async def late(*args: Any, **options: Any) -> Any:
        answer = await taken(*args, **options)
        await anyio.sleep(0.3)
        return answer

    monkeypatch.setattr(state._redis, "set", late)  # noqa: SLF001
    async with state.running():
        with anyio.move_on_after(0.1):
            async with state.lock("SOURCE"):
                await anyio.sleep(1)
    assert redis.Redis.from_url(valkey.url).get("b24d:turn:SOURCE") is None


async def test_a_change_that_has_lost_its_turn_is_not_sent(
    portal: RunningPortal, tmp_path: Path, valkey: Valkey
) -> None:
    client = redis.Redis.from_url(valkey.url)

    def lost(_method: str, _params: Mapping[str, Any]) -> None:
        for key in client.scan_iter("b24d:turn:*SOURCE"):
            client.flushall()
            client.set(key, "another")

    async with replicas(portal, tmp_path, valkey) as (first, _), first.client(first.add("anna")) as here:
        await call_tool(here, "get_directory_items", entityId="SOURCE")
        portal.portal.meanwhile = lost
        result = await call_tool(here, "add_directory_item", entityId="SOURCE", name="Fax")
    assert result["error"]["code"] == "STATE_UNAVAILABLE"
    assert "crm.status.add" not in str(portal.portal.calls)


async def test_a_plan_that_has_ended_is_over(portal: RunningPortal, tmp_path: Path, valkey: Valkey) -> None:
    def carry() -> None:
        for (kind, _), values in portal.portal.store.records.all.items():
            if kind == 1:
                values["sourceId"] = "website"

    merge = {"entityId": "SOURCE", "codes": ["website"], "into": "WEB"}
    async with replicas(portal, tmp_path, valkey) as (first, _), first.client(first.add("anna")) as here:
        carry()
        plan = {"planId": (await call_tool(here, "merge_directory_items", **merge))["planId"]}
        assert (await call_tool(here, "merge_directory_items", **merge, **plan))["status"] == "done"
        redis.Redis.from_url(valkey.url).flushall()
        carry()
        assert (await call_tool(here, "merge_directory_items", **merge, **plan))["status"] == "planned"
