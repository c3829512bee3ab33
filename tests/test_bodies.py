"""Compressed answers: unpacked in any pieces and layers, and never beyond the limit."""

from __future__ import annotations

import functools
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.rest.wire.bodies import read_body

LIMIT = 100_000


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def members(data: bytes) -> bytes:
    return gzip.compress(data[: len(data) // 2]) + gzip.compress(data[len(data) // 2 :])


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip in members": ("gzip", members),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "identity": ("identity", bytes),
}


async def read(body: bytes, encodings: str, size: int = 7, limit: int = LIMIT) -> bytes:
    """Read `body` in pieces of `size` bytes."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), size):
            yield body[start : start + size]

    return await read_body(httpx.Response(200, headers={"content-encoding": encodings}, content=pieces()), limit)


@given(
    data=st.one_of(st.binary(max_size=2000), st.binary(max_size=9).map(lambda data: data * 9000)),
    packers=st.lists(st.sampled_from(list(PACKERS)), max_size=3),
    size=st.integers(1, 5000),
)
async def test_what_was_packed_comes_out(data: bytes, packers: list[str], size: int) -> None:
    body = data
    for name in packers:
        body = PACKERS[name][1](body)
    assert await read(body, ", ".join(PACKERS[name][0] for name in packers), size) == data


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 3, 8])
@pytest.mark.parametrize("packer", ["gzip", "deflate", "raw deflate"])
async def test_a_bomb_takes_no_memory(packer: str, depth: int) -> None:
    encoding, pack = PACKERS[packer]
    bomb = b"\0" * 50_000_000
    for _ in range(depth):
        bomb = pack(bomb)
    tracemalloc.start()
    with pytest.raises(Bitrix24Error) as caught:
        await read(bomb, ", ".join([encoding] * depth), size=65536)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.kind == "ANSWER_TOO_LARGE"
    assert peak < 10 * LIMIT


async def test_a_layer_that_gives_nothing_to_the_outside_is_bounded_too() -> None:
    """Empty packets inside the second layer: much work, and no bytes to count outside."""
    bomb = gzip.compress(gzip.compress(b"") * 100_000)
    with pytest.raises(Bitrix24Error) as caught:
        await read(bomb, "gzip, gzip")
    assert caught.value.kind == "ANSWER_TOO_LARGE"


@pytest.mark.parametrize(
    ("body", "encodings"),
    [
        (gzip.compress(b"data")[:-4], "gzip"),
        (b"no gzip at all", "gzip"),
        (b"x", "gzip"),
        (gzip.compress(b"data") + b"rest", "gzip"),
        (b"data", "br"),
        (gzip.compress(b"data"), "gzip, zstd"),
        (functools.reduce(lambda packed, _: gzip.compress(packed), range(1_200), b"data"), ", ".join(1_200 * ["gzip"])),
    ],
    ids=["cut off", "not packed", "a single byte", "more behind it", "brotli", "zstandard below", "countless layers"],
)
async def test_what_cannot_be_unpacked_is_a_broken_answer(body: bytes, encodings: str) -> None:
    with pytest.raises(Bitrix24Error) as caught:
        await read(body, encodings)
    assert caught.value.kind == "BROKEN_ANSWER"
