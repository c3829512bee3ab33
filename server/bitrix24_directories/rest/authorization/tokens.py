"""Stores an application's tokens: owner-only, replaced whole or not at all.

Imports nothing of this package.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeGuard

_TOKEN = re.compile(r"[!-~]{1,4096}")
_RESERVED = 10 * 2**10
"""Bytes that a file of tokens takes at most."""
_USER = 100
_TRIES, _PAUSE = 41, 0.05
_NO_WAITING = getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class Tokens:
    """A pair of the token endpoint, and the portal's user that it stands for."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    user: str = ""

    @classmethod
    def read(cls, parsed: Any) -> Tokens | None:
        """Read tokens from parsed JSON, the endpoint's or the file's; None if it holds no pair."""
        if not isinstance(parsed, dict):
            return None
        access, refresh = parsed.get("access_token"), parsed.get("refresh_token")
        if not (is_token(access) and is_token(refresh)):
            return None
        user = parsed.get("user_id", parsed.get("user"))
        return cls(access, refresh, str(user)[:_USER] if isinstance(user, int | str) else "")


def is_token(text: object) -> TypeGuard[str]:
    """Return True if `text` can be sent as a token: visible ASCII, at most 4096 characters."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


@dataclass(frozen=True)
class TokenFile:
    """File of tokens at `path`. Every method raises OSError if the disk refuses."""

    path: Path

    @property
    def lock_path(self) -> Path:
        """Lock file of the processes that replace these tokens."""
        return self.path.with_suffix(".lock")

    def read(self) -> Tokens | None:
        """Return the tokens; None if there is no file. Raises ValueError if it holds anything else."""
        try:
            # Opened without waiting: a pipe in its place would wait until somebody writes into it.
            with open(self.path, "rb", opener=lambda path, flags: os.open(path, flags | _NO_WAITING)) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise OSError("no regular file")
                content = file.read(_RESERVED + 1)
        except FileNotFoundError:
            return None
        try:
            tokens = Tokens.read(json.loads(content))
        except RecursionError:
            tokens = None
        if tokens is None:
            raise ValueError("no tokens")
        return tokens

    @contextlib.contextmanager
    def replacement(self, seconds: float) -> Iterator[Callable[[Tokens], None]]:
        """Wait up to `seconds` for other processes, prepare a new file, and yield what writes it.

        The new file's space is reserved on the disk on entering. When the yielded function returns, the tokens have
        replaced the old ones, and will survive a crash of the machine. Raises TimeoutError if others hold the lock too
        long.
        """
        from filelock import FileLock  # needed only to replace tokens

        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with FileLock(self.lock_path, timeout=seconds, mode=0o600):
            if self.path.is_dir():
                raise IsADirectoryError(self.path)
            for abandoned in self.path.parent.glob(f"{self.path.name}.*.new"):
                abandoned.unlink(missing_ok=True)
            unfinished = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.new")
            try:
                with open(unfinished, "xb", opener=partial(os.open, mode=0o600)) as file:
                    file.write(b" " * _RESERVED)
                    _flush(file)
                yield partial(self._write, unfinished)
            finally:
                unfinished.unlink(missing_ok=True)

    def _write(self, unfinished: Path, tokens: Tokens) -> None:
        with unfinished.open("r+b") as file:
            file.write(json.dumps(asdict(tokens)).encode())
            _flush(file)
            with contextlib.suppress(OSError):  # the blanks behind do no harm
                file.truncate()
        for left in reversed(range(_TRIES)):
            try:
                unfinished.replace(self.path)
                break
            except PermissionError:  # Windows refuses while another process reads it, and the tokens are paid for
                if not left:
                    raise
                time.sleep(_PAUSE)
        with contextlib.suppress(OSError):  # Windows cannot open folders, and has no need to
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())
