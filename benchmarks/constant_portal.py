"""A portal that costs nothing, in a process of its own: `constant_portal.py [MILLISECONDS]`.

It asks the demo portal once for each call, and then sends the same bytes after that many milliseconds.
"""

from __future__ import annotations

import asyncio
import re
import sys

import httpx

from bitrix24_directories.portal import DemoPortal

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


async def main(seconds: float) -> None:
    http = httpx.AsyncClient(transport=httpx.ASGITransport(DemoPortal().app), base_url="http://localhost")
    answers: dict[tuple[str, bytes], bytes] = {}

    async def request(path: str, body: bytes) -> bytes:
        answer = await http.post(path, content=body, headers={"content-type": "application/json"})
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer.content)}\r\n\r\n"
        return head.encode() + answer.content

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
            except asyncio.IncompleteReadError:
                break
            path = head.split(b" ", 2)[1].decode()
            if (path, body) not in answers:
                answers[path, body] = await request(path, body)
            await asyncio.sleep(seconds)
            writer.write(answers[path, body])
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**20)
    print(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/rest/1/demoadmin0000001/", flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) / 1000 if len(sys.argv) > 1 else 0))
