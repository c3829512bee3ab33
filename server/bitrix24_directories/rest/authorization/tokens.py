"""An application's tokens on disk: owner-only, replaced whole or not at all. Imports nothing of this package."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tokens:
    """A pair as the token endpoint gave it, and the portal's user whom it stands for."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    user: str = ""

    @classmethod
    def read(cls, given: Any) -> Tokens | None:
        """Tokens from parsed JSON, the endpoint's or the file's; None when it holds no pair."""
        if not isinstance(given, dict):
            return None
        access, refresh = given.get("access_token"), given.get("refresh_token")
        if not (isinstance(access, str) and access and isinstance(refresh, str) and refresh):
            return None
        return cls(access, refresh, str(given.get("user_id", given.get("user", ""))))


class TokenFile:
    """The file at `path`. Every method raises OSError when the disk does not let it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lock_path(self) -> Path:
        """Where processes that refresh the same tokens queue."""
        return self.path.with_suffix(".lock")

    def read(self) -> Tokens | None:
        """The tokens; None when there is no file, or one that holds none."""
        try:
            return Tokens.read(json.loads(self.path.read_bytes()))
        except (FileNotFoundError, ValueError):
            return None

    def write(self, tokens: Tokens) -> None:
        """Replace the file. When this returns, the tokens are on the disk and will survive a crash of the machine."""
        self.make_folder()
        unfinished = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.new")
        try:
            with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                json.dump(asdict(tokens), file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(self.path)
        finally:
            unfinished.unlink(missing_ok=True)
        self._flush_folder()

    def make_folder(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _flush_folder(self) -> None:
        with contextlib.suppress(OSError):  # Windows cannot open folders, and has no need to
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
