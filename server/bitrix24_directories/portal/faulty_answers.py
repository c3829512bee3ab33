"""Answers of a faulty portal. Imports only `faults`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .faults import Fault


class _CutResponse(Response):
    """Half of a body whose whole length was announced: the server then closes the connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        half = bytes(self.body)[: len(self.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})


def lost_answer(fault: Fault, answer: Response) -> Response:
    """Return the answer that replaces the true one of a call that was carried out."""
    if fault.cut:
        return _CutResponse(answer.body, answer.status_code)
    if fault.keep is not None:
        content = bytes(answer.body)
        return Response(content[: int(len(content) * fault.keep)], answer.status_code, media_type="application/json")
    if fault.silent and answer.status_code == 200:
        content = json.loads(bytes(answer.body))
        results = content["result"]["result"] if isinstance(content["result"], dict) else {}
        for key in list(results)[-fault.silent :]:
            del results[key]
        return JSONResponse(content)
    return _replaced(fault) if fault.replaces_answer else answer


def faulty_answer(fault: Fault, request: Request, params: Mapping[str, Any]) -> Response:
    """Return the answer to a call with `params` that was not carried out."""
    if fault.drip is not None:
        return StreamingResponse(_dripping(fault.drip), fault.http_status, media_type="application/json")
    if fault.echo:
        proofs = [str(request.url.path), *(str(value) for key, value in params.items() if key in _PROOFS)]
        return Response(_echo(" ".join(proofs)), 400, media_type="application/json")
    return _replaced(fault)


def _replaced(fault: Fault) -> Response:
    if fault.code is not None and fault.body is None:
        content = {"error": fault.code, "error_description": fault.description}
        return JSONResponse(content, fault.http_status, fault.headers)
    body = fault.body
    if body is None:
        body = f"<html><head><title>{fault.status}</title></head><body><h1>Error {fault.status}</h1></body></html>"
    return Response(body, fault.http_status, {"content-type": "text/html"} | fault.headers)


async def _dripping(seconds: float) -> AsyncIterator[bytes]:
    while True:
        yield b" "
        await asyncio.sleep(seconds)


_PROOFS = {"auth", "client_secret", "refresh_token", "code"}


def _echo(text: str) -> str:
    """Return an error that quotes `text` in every spelling that a web server may use."""
    escaped = "".join(f"\\u{ord(char):04x}" for char in text)
    spellings = [
        "".join(f"%{ord(char):02X}" for char in text),
        "".join(f"%25{ord(char):02x}" for char in text),
        "".join(f"&#{ord(char)};" for char in text),
        "".join(f"&#x{ord(char):x};" for char in text),
        escaped,
        "<b></b>".join(text),
        "\u200b".join(text),
        text,
    ]
    code, description = json.dumps(spellings[0]), json.dumps(" ".join(spellings))
    return f'{{"error": {code}, "error_description": {description[:-1]} {escaped}"}}'
