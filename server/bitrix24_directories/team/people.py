"""The file of people: a JSON line for each, with the SHA-256 of their token.

Read again after each change, so that a removed person is refused with the next call. If it cannot be read, or no line
of it is a person's, the people known before stay. A line that begins with # is a comment. A leaf, except for `rest`.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from bitrix24_directories.mcp_server.scopes import READING, SCOPES
from bitrix24_directories.rest import Webhook
from bitrix24_directories.text import LIKE_A_WEBHOOK

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[\w.@+-]{1,64}")
_HASH = re.compile(r"[0-9a-f]{64}")
_LIMIT = 10 * 2**20
"""Bytes that the file may have."""
_COMMENT = b"#"
_NOBODY = b"# nobody"
"""Written into a file whose last person was removed: an empty one may be half-written."""


class PeopleError(Exception):
    """The file cannot be used or changed, for a reason in words for an administrator."""


@dataclass(frozen=True)
class Person:
    """Person who may call; `token_hash` is empty if an identity provider verifies them.

    They act with their own `webhook`, or through the application (`oauth`); with neither they read through the shared
    one. `created` and `rotated` are times in UTC; `rotated` is that of their present token if it is not the first.
    """

    name: str
    token_hash: str
    scopes: tuple[str, ...]
    webhook: Webhook | None = None
    oauth: bool = False
    created: str = ""
    rotated: str = ""

    @property
    def acts_alone(self) -> bool:
        """True if they act as themselves on the portal."""
        return self.webhook is not None or self.oauth


@dataclass(frozen=True, repr=False)
class _Line:
    """A line of the file and its fields, which are empty for a comment or an unreadable line."""

    text: bytes
    fields: Mapping[str, object]

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> _Line:
        return cls(json.dumps(fields, ensure_ascii=False).encode(errors="backslashreplace"), fields)  # as JSON does


def is_name(text: str) -> bool:
    """Return True if `text` can be a person's name."""
    return _NAME.fullmatch(text) is not None


def token_hash(token: str) -> str:
    """Return the form in which the file holds a token."""
    return hashlib.sha256(token.encode()).hexdigest()


class People:
    """All people of the file at `path`, as far as it could be read."""

    version = 0
    """Incremented whenever people may have changed."""
    trouble = ""
    """The file's present problem, without its folder and its content."""

    def __init__(self, path: Path, *, quiet: bool = False) -> None:
        """Create; `quiet` logs nothing, for callers that print `trouble` themselves."""
        self.path = path
        self._quiet = quiet
        self._read_as: tuple[int, ...] | None = None
        self._logged: tuple[tuple[int, ...] | None, str] = (None, "")
        self._by_hash: dict[str, Person] = {}
        self._by_name: dict[str, Person] = {}
        self._lines: dict[bytes, Person | None] = {}

    def with_token(self, token: str) -> Person | None:
        """Return the person whose token this is; None if nobody has it."""
        self.look()
        return self._by_hash.get(token_hash(token))

    def with_name(self, name: str) -> Person | None:
        """Return the person of a name; None if there is none."""
        self.look()
        return self._by_name.get(name)

    def all(self) -> Collection[Person]:
        """Return the known people without reading the file, because the log's redaction calls it."""
        return self._by_name.values()

    def look(self) -> None:
        """Read the file if it has changed, and log that once; if it is unusable, keep the people."""
        file_state = None
        try:
            file_state = self._file_state()
            if file_state == self._read_as:
                return
            trouble = self._read()
        except PeopleError as exc:
            trouble = self._with_consequence(str(exc).replace(str(self.path), self.path.name))
            file_state = None  # to be tried again: not every cause shows in the file's state
        self._read_as, self.trouble = file_state, trouble
        if self._quiet or (file_state, trouble) == self._logged:
            return
        self._logged = file_state, trouble
        if trouble:
            logger.error("%s", trouble)
        else:
            logger.info("%s was read; people in it: %d", self.path.name, len(self._by_name))

    def make_sure(self) -> None:
        """Look at the file. Raises PeopleError if it cannot be used."""
        self._file_state()
        self._content()
        self.look()

    def add(self, name: str, scopes: Sequence[str], webhook: Webhook | None, *, oauth: bool = False) -> str:
        """Add a person and return their token, which is stored nowhere. Raises PeopleError."""
        (token,) = self.add_all([Person(name, "", tuple(scopes), webhook, oauth)])
        return token

    def add_all(self, persons: Sequence[Person], keep: Callable[[Sequence[str]], None] | None = None) -> list[str]:
        """Add all people or none; return their tokens, after `keep` has got them.

        Raises PeopleError, and the errors of `keep`.
        """
        tokens = [_new_token() for _ in persons]

        def added(lines: list[_Line]) -> list[_Line]:
            _require_new([person.name for person in persons], lines)
            if keep is not None:
                keep(tokens)
            changed = [line for line in lines if line.text != _NOBODY]
            for person, token in zip(persons, tokens, strict=True):
                fields: dict[str, object] = {"name": person.name, "token": token_hash(token)}
                fields["scopes"] = list(person.scopes)
                fields |= {"webhook": _url(person.webhook)} if person.webhook is not None else {}
                fields |= {"oauth": True} if person.oauth else {}
                changed.append(_Line.from_fields(fields | {"created": _now()}))
            return changed

        self._change(added)
        return tokens

    def make_sure_new(self, names: Sequence[str]) -> None:
        """Raise PeopleError if one of these names cannot be added."""
        _require_new(names, self._read_lines())

    def set_webhook(self, name: str, webhook: Webhook) -> None:
        """Set a person's webhook. Raises PeopleError if there is no such name."""
        self._change(lambda lines: _with(lines, name, {"webhook": _url(webhook), "oauth": False}))

    def set_scopes(self, name: str, scopes: Sequence[str]) -> None:
        """Set a person's scopes. Raises PeopleError if there is no such name.

        Also if they could not use the scopes through the shared webhook.
        """

        def changed(lines: list[_Line]) -> list[_Line]:
            theirs = [line.fields for line in lines if _name_of(line) == name]
            alone = any(fields.get("webhook") or fields.get("oauth") for fields in theirs)
            changed_lines = _with(lines, name, {"scopes": list(scopes)})
            if not alone and not {*scopes} <= {*READING}:
                raise PeopleError(
                    f"{name} has no webhook; through the shared one people only read. "
                    "Give them one with `webhook` first."
                )
            return changed_lines

        self._change(changed)

    def remove(self, name: str) -> None:
        """Remove a person. Raises PeopleError if there is no such name."""

        def removed(lines: list[_Line]) -> list[_Line]:
            _require_name(name, lines)
            left = [line for line in lines if _name_of(line) != name]
            return left if any(_person(line.text) for line in left) else [*left, _Line(_NOBODY, {})]

        self._change(removed)

    def rotate(self, name: str) -> str:
        """Replace a person's token, and return it. Raises PeopleError if there is no such name."""
        token = _new_token()
        self._change(lambda lines: _with(lines, name, {"token": token_hash(token), "rotated": _now()}))
        return token

    def _file_state(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except OSError as exc:
            raise PeopleError(f"{self.path} cannot be read ({exc.strerror})") from None
        if not stat.S_ISREG(status.st_mode):
            raise PeopleError(f"{self.path} is no regular file")
        forbidden = 0o037 if status.st_uid == 0 else 0o077  # root's file is given to a group, as a mounted Secret is
        if os.name == "posix" and status.st_mode & forbidden:
            raise PeopleError(f"{self.path} can be read by others: it needs mode 0600")
        if status.st_size > _LIMIT:
            raise PeopleError(f"{self.path} has more than {_LIMIT // 2**20} MiB")
        return status.st_ino, status.st_ctime_ns, status.st_mtime_ns, status.st_size  # ctime: mode and owner, too

    def _read(self) -> str:
        """Load the people of the file; return its trouble. Raises PeopleError if it is unreadable.

        Known lines are not parsed again: that keeps the wait short in a file of thousands.
        """
        content = self._content()
        texts = content.splitlines()
        lines = {
            text: self._lines[text] if text in self._lines else _person(text) for text in texts if _is_record(text)
        }
        by_hash: dict[str, Person] = {}
        by_name: dict[str, Person] = {}
        wrong: list[int] = []
        for number, text in enumerate(texts, 1):
            if not _is_record(text):
                continue
            person = lines[text]
            if person is None or person.name in by_name or person.token_hash in by_hash:
                wrong.append(number)
                continue
            by_name[person.name] = person
            if person.token_hash:
                by_hash[person.token_hash] = person
        if wrong and not by_name and _NOBODY not in texts:
            return self._with_consequence(f"no line of {self.path.name} is a person's")
        last = content.rpartition(b"\n")[2].strip()
        is_cut = not content or (_is_record(last) and not last.endswith(b"}"))  # it may be being written now
        if self._by_name and is_cut:
            return self._with_consequence(f"{self.path.name} is empty, or ends in the middle of a line")
        self._by_hash, self._by_name, self._lines = by_hash, by_name, lines
        self.version += 1
        if wrong:
            return (
                f"{_lines(wrong)} of {self.path.name}: no person's, or another one's too: correct or delete it; "
                "all others are let in"
            )
        return "" if by_name else f"{self.path.name} names nobody: `bitrix24-directories-mcp person add NAME`"

    def _with_consequence(self, trouble: str) -> str:
        count = len(self._by_name)
        return f"{trouble}; those are let in who were before: {count}" if count else f"{trouble}; nobody is let in"

    def _content(self, flags: int = 0) -> bytes:
        try:
            with open(self.path, "rb", opener=lambda path, open_flags: os.open(path, open_flags | flags)) as file:
                return file.read(_LIMIT).removeprefix(codecs.BOM_UTF8)
        except OSError as exc:
            raise PeopleError(f"{self.path} cannot be read ({exc.strerror or exc})") from None

    def _change(self, change: Callable[[list[_Line]], list[_Line]]) -> None:
        """Replace the whole file, one program at a time; other lines stay as they are."""
        from filelock import FileLock, Timeout  # needed only for changes

        try:
            if self.path.is_symlink():  # the link would be replaced, and its target would stay as it was
                raise PeopleError(f"{self.path} is a link: BITRIX24_PEOPLE has to name the file itself")
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = self.path.with_name(f"{self.path.name}.lock")
            _create_for(lock, self._owner())
            with FileLock(lock, timeout=10, mode=0o600):
                self._replace(change(self._read_lines()))
        except Timeout:
            raise PeopleError(f"another program keeps {self.path}") from None
        except OSError as exc:
            raise PeopleError(f"{self.path} cannot be written ({exc.strerror or exc})") from None

    def _read_lines(self) -> list[_Line]:
        """Return all lines, none without a file. Raises PeopleError if it cannot be changed."""
        if not self.path.exists():
            return []
        self._file_state()
        # Or root could give the file's owner the target of a link that replaced it at the last moment.
        lines = []
        for text in self._content(getattr(os, "O_NOFOLLOW", 0)).splitlines():
            fields = None
            if _is_record(text):
                with contextlib.suppress(ValueError, RecursionError):
                    fields = json.loads(text.decode())
            lines.append(_Line(text, fields if isinstance(fields, dict) else {}))
        if any(_is_record(line.text) for line in lines) and not any(map(_name_of, lines)):
            raise PeopleError(f"no line of {self.path} is a person's; mend it first")
        return lines

    def _owner(self) -> os.stat_result:
        """Return the owner of the file, or of its folder; root may change it, the server reads it."""
        return self.path.stat() if self.path.exists() else self.path.parent.stat()

    def _replace(self, lines: Sequence[_Line]) -> None:
        content = b"".join(line.text + b"\n" for line in lines)
        if len(content) > _LIMIT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))  # the server would not read it
        new = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}.new")
        try:
            with open(new, "xb", opener=partial(os.open, mode=0o600)) as file:
                owner = self._owner()
                _copy_owner(file.fileno(), owner)
                if hasattr(os, "fchmod") and stat.S_ISREG(owner.st_mode):
                    os.fchmod(file.fileno(), stat.S_IMODE(owner.st_mode))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.path)
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)


def _create_for(path: Path, owner: os.stat_result) -> None:
    """Make a file for its owner, also as root. Follows no link in its place."""
    if _is_root():
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(handle).st_nlink == 1:
                _copy_owner(handle, owner)
        finally:
            os.close(handle)


def _copy_owner(handle: int, owner: os.stat_result) -> None:
    """Give an open file another file's owner and group. Raises OSError if that is not allowed."""
    if not hasattr(os, "fchown"):
        return
    if _is_root():
        os.fchown(handle, owner.st_uid, owner.st_gid)
    elif stat.S_ISREG(owner.st_mode):
        os.fchown(handle, owner.st_uid, -1)
        with contextlib.suppress(PermissionError):  # not our group, which may not read it anyway
            os.fchown(handle, -1, owner.st_gid)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _is_record(text: bytes) -> bool:
    """Return True if a line should be a person's: it is no comment and not empty."""
    return bool(text.strip()) and not text.startswith(_COMMENT)


def _lines(numbers: Sequence[int]) -> str:
    """Return the first of these line numbers; all of them might fill the log."""
    text = ", ".join(map(str, numbers[:10]))
    return f"{'lines' if len(numbers) > 1 else 'line'} {text}{', …' if len(numbers) > 10 else ''}"


def _person(text: bytes) -> Person | None:
    """Parse a line of the file; None if it is no person's."""
    try:
        line = json.loads(text.decode())
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
    valid_scopes = tuple(scope for scope in SCOPES if scope in scopes)
    if (url is not None and webhook is None) or len(valid_scopes) != len(scopes):
        return None
    oauth = line.get("oauth", False)
    if not isinstance(oauth, bool) or (oauth and webhook is not None):
        return None
    created, rotated = (when if isinstance(when := line.get(key), str) else "" for key in ("created", "rotated"))
    return Person(name, hashed, valid_scopes, webhook, oauth, created, rotated)


def _name_of(line: _Line) -> str | None:
    name = line.fields.get("name")
    return name if isinstance(name, str) else None


def _require_new(names: Sequence[str], lines: Sequence[_Line]) -> None:
    taken = {*map(_name_of, lines)}
    for name in names:
        if not is_name(name):
            raise PeopleError("a name has 1 to 64 letters, digits, or . _ @ + -")
        if name in taken:
            raise PeopleError(
                f"{name} is there already: `rotate` gives them another token, `webhook` another webhook, `scopes` "
                "other rights; `remove` takes them out"
            )
        taken.add(name)


def _require_name(name: str, lines: Sequence[_Line]) -> None:
    if name not in map(_name_of, lines):
        raise PeopleError(f"there is no {LIKE_A_WEBHOOK.sub('…', name)}")


def _with(lines: Sequence[_Line], name: str, changes: Mapping[str, object]) -> list[_Line]:
    _require_name(name, lines)
    return [_Line.from_fields({**line.fields, **changes}) if _name_of(line) == name else line for line in lines]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _url(webhook: Webhook) -> str:
    return f"{webhook.address}{webhook.user}/{webhook.secret}/"


def _new_token() -> str:
    return f"b24d_{secrets.token_urlsafe(32)}"
