"""The access log: a JSON line for each request to the MCP endpoint, also for refused ones.

A line says who asked for what, and how it ended. It holds neither values nor names: only ids of the arguments are
logged, and only if they are spelt like ids.
"""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import anyio
from starlette.types import Message, Send

from bitrix24_directories.mcp_server.session import Request as McpRequest
from bitrix24_directories.mcp_server.texts.directories import DIRECTORIES

logger = logging.getLogger(__name__)

STDERR, OFF = "stderr", "off"
_MOST_IDS = 50
_METHOD = re.compile(r"[a-z]+(/[A-Za-z_]+)*")
_TOOL = re.compile(r"[a-z]+(_[a-z]+)*")
_KIND = re.compile(r"[a-z]+(_[a-z]+)*|(item|dynamic)?[(_]?[0-9]+\)?")
_ENTITY_ID = re.compile(rf"[A-Z][A-Z0-9_]*|({_KIND.pattern})(\.[A-Za-z][A-Za-z0-9_]*)?")
_LONGEST = 100
_NUMBER = re.compile(r"[0-9]{1,18}")
_ID_FIELD = re.compile(r"\s*id\s*=\s*([0-9]{1,18})\s*", re.IGNORECASE)


@dataclass
class Access:
    """Log data of one request."""

    began: float = field(default_factory=anyio.current_time)
    person: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)
    status: int = 0
    answered: bool = False
    outcome: str = ""

    def recording(self, send: Send) -> Send:
        """Return a `send` that notes the status, and that the whole answer was sent."""

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
            await send(message)
            self.answered = message["type"] == "http.response.body" and not message.get("more_body", False)

        return noted

    def log_fields(self) -> Iterator[tuple[str, object]]:
        """Yield the fields of the log line."""
        yield "when", datetime.now(UTC).isoformat(timespec="milliseconds")
        if self.person:
            yield "person", self.person
        outcome = self.outcome
        if not outcome:
            outcome = str(self.status) if self.status >= 400 else "ok" if self.answered else "cancelled"
        fields = self.fields
        if outcome == "SECRET_IN_ARGUMENTS":  # it may look like an id
            fields = {key: fields[key] for key in ("method", "tool") if key in fields}
        yield from fields.items()
        yield "outcome", outcome
        yield "ms", round(1000 * (anyio.current_time() - self.began), 1)
        yield "replica", _REPLICA


_REPLICA = f"{socket.gethostname()}:{os.getpid()}"

SCOPE_KEY = "bitrix24_directories.access"
"""Where an ASGI scope holds the Access of its request."""


def note(request: McpRequest | None, outcome: str) -> None:
    """Note how a request has ended; the first note stays."""
    access = request.request.scope.get(SCOPE_KEY) if request is not None and request.request is not None else None
    if access is not None and not access.outcome:
        access.outcome = outcome


class AccessLog:
    """Writes to stderr, a file, or nowhere. Raises OSError if the file cannot be written."""

    def __init__(self, target: str) -> None:
        self._handler: logging.Handler | None = None
        if target == STDERR:
            self._handler = logging.StreamHandler()
        elif target != OFF:
            self._handler = _File(Path(target).expanduser(), encoding="utf-8", errors="backslashreplace")

    def write(self, access: Access) -> None:
        """Write the line of a request."""
        if self._handler is not None:
            line = json.dumps(dict(access.log_fields()), ensure_ascii=False)
            self._handler.handle(logging.LogRecord(__name__, logging.INFO, "", 0, line, None, None))

    def close(self) -> None:
        """Close the file."""
        if self._handler is not None:
            self._handler.close()


class _File(WatchedFileHandler):
    """File for its owner alone, opened anew after it was renamed; a full disk costs only lines."""

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        if path.exists() and not path.is_file():  # opening a pipe would wait for its reader
            raise OSError("it is no regular file")
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(opened, "a", encoding=self.encoding, errors=self.errors)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # it was renamed, and cannot be opened anew
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802, ARG002 - the base class's
        logger.warning("A line of the access log could not be written")


def request_fields(message: Mapping[str, Any]) -> dict[str, object]:
    """Return the method, the tool and the ids of a JSON-RPC message."""
    params = message.get("params")
    params = params if isinstance(params, Mapping) else {}
    arguments = params.get("arguments")
    arguments = arguments if isinstance(arguments, Mapping) else {}
    method = message.get("method")
    uri = params.get("uri")
    if isinstance(uri, str) and uri.startswith(f"{DIRECTORIES}/"):
        arguments = {"entityId": unquote(uri.removeprefix(f"{DIRECTORIES}/"))}
    record_id, fields = arguments.get("recordId"), arguments.get("fields")
    record_ids = [int(str(record_id))] if _NUMBER.fullmatch(str(record_id)) else []
    lines = [field for field in fields if isinstance(field, str)] if isinstance(fields, list) else []
    record_ids += [int(match[1]) for line in lines if (match := _ID_FIELD.fullmatch(line))]
    ids = {
        "method": _spelt(method, _METHOD),
        "tool": _spelt(params.get("name"), _TOOL) if method == "tools/call" else "",
        "entityId": _spelt(arguments.get("entityId"), _ENTITY_ID),
        "entity": _spelt(arguments.get("entity"), _KIND),
        "recordIds": record_ids[:_MOST_IDS],
    }
    return {key: value for key, value in ids.items() if value}


def _spelt(value: object, like: re.Pattern[str]) -> str:
    return value if isinstance(value, str) and len(value) <= _LONGEST and like.fullmatch(value) else ""
