"""Unpacks the body of an HTTP answer in steps, and limits the size of its input and output.

httpx unpacks each piece that arrives as a whole, and a few kilobytes packed twice hold gigabytes. Imports `errors`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator

import httpx

from bitrix24_directories.errors.errors import failure

ACCEPTED = "gzip, deflate"
"""Encodings for the Accept-Encoding header; an answer in any other one is broken."""

_STEP = 64 * 2**10
_ANY_HEADER = zlib.MAX_WBITS | 32  # gzip's or zlib's
_NO_HEADER = -zlib.MAX_WBITS
_HEAD = 2  # bytes that show the encoding
_MOST_ENCODINGS = 10


async def read_body(response: httpx.Response, limit: int) -> bytes:
    """Return the unpacked body of an answer that is being streamed.

    Raises Bitrix24Error: ANSWER_TOO_LARGE if more than `limit` bytes come in, or out of any encoding, and BROKEN_ANSWER
    if it cannot be unpacked.
    """

    def bounded(size: int) -> None:
        if size > limit:
            raise failure("ANSWER_TOO_LARGE", http_status=response.status_code)

    names = response.headers.get("content-encoding", "").casefold().split(",")
    encodings = [encoding for name in names if (encoding := name.strip()) not in ("", "identity")]
    if len(encodings) > _MOST_ENCODINGS or not {"gzip", "x-gzip", "deflate"}.issuperset(encodings):
        raise failure(
            "BROKEN_ANSWER", http_status=response.status_code, detail="it is compressed in a way that was not requested"
        )
    layers = [_Layer(bounded) for _ in encodings]
    content, received = bytearray(), 0
    try:
        async for chunk in response.aiter_raw():
            received += len(chunk)
            bounded(received)
            for piece in _unpack(layers, chunk):
                content += piece
        if received and not all(layer.unpacker.eof for layer in layers):
            raise failure("BROKEN_ANSWER", http_status=response.status_code)
    except zlib.error:
        raise failure("BROKEN_ANSWER", http_status=response.status_code) from None
    bounded(len(content))
    return bytes(content)


def _unpack(layers: list[_Layer], chunk: bytes) -> Iterator[bytes]:
    """Unpack all `layers`, the last of which was packed last, piece by piece."""
    if not layers:
        yield chunk
        return
    for piece in layers[-1].unpacked(chunk):
        yield from _unpack(layers[:-1], piece)


class _Layer:
    """One encoding; `bounded` gets the size of its output so far, and raises if it is too much."""

    def __init__(self, bounded: Callable[[int], None]) -> None:
        self._bounded = bounded
        self.unpacker = zlib.decompressobj(_ANY_HEADER)
        self._head = b""
        self._size = 0

    def unpacked(self, packed: bytes) -> Iterator[bytes]:
        """Yield pieces of at most 64 KiB. Raises zlib.error."""
        if len(self._head) < _HEAD:
            self._head += packed
            if len(self._head) < _HEAD:
                return
            packed = self._head
            try:
                zlib.decompressobj(_ANY_HEADER).decompress(packed[:_HEAD])
            except zlib.error:  # some servers send deflate without its header
                self.unpacker = zlib.decompressobj(_NO_HEADER)
        full = False
        while packed or full:
            if self.unpacker.eof:  # gzip allows several packets one after another
                self.unpacker = zlib.decompressobj(_ANY_HEADER)
            piece = self.unpacker.decompress(packed, _STEP)
            packed = self.unpacker.unconsumed_tail or self.unpacker.unused_data
            full = len(piece) == _STEP and not self.unpacker.eof
            self._size += len(piece)
            self._bounded(self._size)
            if piece:
                yield piece
