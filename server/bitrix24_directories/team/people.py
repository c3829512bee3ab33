"""The file of people: one JSON line for each, with the SHA-256 of their token, never the token. A leaf but for `rest`.

Read again whenever it changes, so that whoever is taken out of it is shut out with the next call.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bitrix24_directories.mcp_server.scopes import SCOPES
from bitrix24_directories.rest import Webhook

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[\w.@+-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")
_LIMIT = 10 * 2**20
"""Bytes of the file that are read at most."""

_Line = dict[str, object]


class PeopleError(Exception):
    """Why the file cannot be used, or not changed so, in words for an administrator."""


@dataclass(frozen=True)
class Person:
    """One who may call: `token_hash` is empty for whoever proves it otherwise. They act with their own `webhook`, or
    through the application (`oauth`); with neither they read through the shared one.
    """

    name: str
    token_hash: str
    scopes: tuple[str, ...]
    webhook: Webhook | None = None
    oauth: bool = False

    @property
    def acts_alone(self) -> bool:
        """Whether they act as themselves on the portal."""
        return self.webhook is not None or self.oauth


def token_hash(token: str) -> str:
    """What stands in the file for a token."""
    return hashlib.sha256(token.encode()).hexdigest()


class People:
    """All people of the file at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_as: tuple[int, ...] | None = None
        self._by_hash: dict[str, Person] = {}
        self._by_name: dict[str, Person] = {}

    def with_token(self, token: str) -> Person | None:
        self._look()
        return self._by_hash.get(token_hash(token))

    def named(self, name: str) -> Person | None:
        self._look()
        return self._by_name.get(name)

    def all(self) -> Collection[Person]:
        self._look()
        return self._by_name.values()

    def make_sure(self) -> None:
        """Raises PeopleError where the file cannot be used."""
        self._read(self._looked_at())

    def add(self, name: str, scopes: Sequence[str], webhook: Webhook | None, *, oauth: bool = False) -> str:
        """A new person; gives their token, which is nowhere kept. Raises PeopleError."""
        if _NAME.fullmatch(name) is None:
            raise PeopleError("a name has 1 to 64 letters, digits, or . _ @ + -")
        token = _new_token()
        line: _Line = {"name": name, "token": token_hash(token), "scopes": list(scopes)}
        if webhook is not None:
            line["webhook"] = f"{webhook.address}{webhook.user}/{webhook.secret}/"
        if oauth:
            line["oauth"] = True

        def added(lines: list[_Line]) -> list[_Line]:
            if any(one.get("name") == name for one in lines):
                raise PeopleError(
                    f"{name} is there already: `rotate` gives them another token, `remove` takes them out"
                )
            return [*lines, line]

        self._change(added)
        return token

    def remove(self, name: str) -> None:
        """Raises PeopleError where there is no such person."""
        self._change(lambda lines: _without(lines, name))

    def rotate(self, name: str) -> str:
        """Another token for a person, in place of theirs. Raises PeopleError where there is no such person."""
        token = _new_token()

        def rotated(lines: list[_Line]) -> list[_Line]:
            _without(lines, name)
            return [one | {"token": token_hash(token)} if one.get("name") == name else one for one in lines]

        self._change(rotated)
        return token

    def _look(self) -> None:
        """Read the file if it has changed; without anybody where that cannot be done."""
        try:
            found = self._looked_at()
            if found != self._read_as:
                self._read(found)
        except PeopleError as exc:
            if self._read_as is not None or self._by_name:
                logger.error("Nobody is let in: %s", exc)
            self._read_as, self._by_hash, self._by_name = None, {}, {}

    def _looked_at(self) -> tuple[int, ...]:
        try:
            found = self.path.stat()
        except OSError as exc:
            raise PeopleError(f"{self.path} cannot be read ({exc.strerror})") from None
        if not stat.S_ISREG(found.st_mode):
            raise PeopleError(f"{self.path} is no regular file")
        if os.name == "posix" and found.st_mode & 0o077:
            raise PeopleError(f"{self.path} can be read by others: it needs mode 0600")
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self, looked_at: tuple[int, ...]) -> None:
        by_hash: dict[str, Person] = {}
        by_name: dict[str, Person] = {}
        for number, text in enumerate(self._texts(), 1):
            person = _person(text)
            if person is None:
                logger.error("Line %d of %s is no person's, and lets nobody in", number, self.path)
            elif person.name in by_name or (person.token_hash and person.token_hash in by_hash):
                logger.error("Line %d of %s is another one's too, and lets nobody in", number, self.path)
            else:
                by_name[person.name] = person
                if person.token_hash:
                    by_hash[person.token_hash] = person
        self._read_as, self._by_hash, self._by_name = looked_at, by_hash, by_name

    def _texts(self) -> list[str]:
        try:
            with self.path.open(encoding="utf-8-sig") as file:
                return [line for line in file.read(_LIMIT).splitlines() if line.strip()]
        except (OSError, UnicodeError) as exc:
            raise PeopleError(f"{self.path} cannot be read ({exc})") from None

    def _change(self, change: Callable[[list[_Line]], list[_Line]]) -> None:
        """Replace the file as a whole, one program at a time."""
        from filelock import FileLock, Timeout  # what only those who change it need

        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f"{self.path.name}.lock"), timeout=10, mode=0o600):
                lines: list[_Line] = []
                if self.path.exists():
                    self._looked_at()
                    lines = [_line(text, self.path) for text in self._texts()]
                self._replace(change(lines))
        except Timeout:
            raise PeopleError(f"another program keeps {self.path}") from None
        except OSError as exc:
            raise PeopleError(f"{self.path} cannot be written ({exc.strerror or exc})") from None

    def _replace(self, lines: Sequence[_Line]) -> None:
        new = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.new")
        try:
            with open(new, "x", encoding="utf-8", opener=partial(os.open, mode=0o600)) as file:
                file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)


def _person(text: str) -> Person | None:
    """A line of the file; None for what is none."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict):
        return None
    name, hashed, scopes, url = line.get("name"), line.get("token", ""), line.get("scopes"), line.get("webhook")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or not isinstance(hashed, str):
        return None
    if (hashed and _HASH.fullmatch(hashed) is None) or not isinstance(scopes, list):
        return None
    try:
        webhook = Webhook.parse(url) if isinstance(url, str) else None
    except ValueError:
        return None
    known = tuple(scope for scope in SCOPES if scope in scopes)
    if (url is not None and webhook is None) or len(known) != len(scopes):
        return None
    oauth = line.get("oauth", False)
    if not isinstance(oauth, bool) or (oauth and webhook is not None):
        return None
    return Person(name, hashed, known, webhook, oauth)


def _line(text: str, path: Path) -> _Line:
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if not isinstance(line, dict):
        raise PeopleError(f"{path} holds a line that is no person's; mend it first")
    return line


def _without(lines: list[_Line], name: str) -> list[_Line]:
    kept = [one for one in lines if one.get("name") != name]
    if len(kept) == len(lines):
        raise PeopleError(f"there is no {name}")
    return kept


def _new_token() -> str:
    return f"b24d_{secrets.token_urlsafe(32)}"
