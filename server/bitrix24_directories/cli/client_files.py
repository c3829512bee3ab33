"""Configuration files of MCP clients: their paths, and the server's entry in them.

A leaf: imports nothing of this package. Paths and formats are those that the clients document.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

SERVER = "bitrix24-directories"

_BLANKS = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Client:
    """MCP client: its file for all projects, and the form of the server's entry.

    `servers` is the key of the servers (in TOML the table). `typed` clients need `"type": "stdio"`.
    """

    title: str
    paths: Mapping[str, str]
    servers: str
    form: Literal["json", "toml"] = "json"
    typed: bool = False

    @property
    def path(self) -> Path:
        """Path of the file on this system, or the one path that the client has on all systems."""
        template = self.paths.get(sys.platform) or self.paths["other"]
        folders = {"APPDATA": os.environ.get("APPDATA") or str(Path.home() / "AppData" / "Roaming")}
        return Path(template.format(**folders)).expanduser()

    def text(self, entry: Mapping[str, Any]) -> str:
        """Return a whole file that holds only the entry."""
        if self.form == "json":
            return json.dumps({self.servers: {SERVER: self._server_entry(entry)}}, indent=2, ensure_ascii=False) + "\n"
        # A JSON string is a basic string of TOML, too.
        lines = [f"[{self.servers}.{SERVER}]", f"command = {json.dumps(entry['command'], ensure_ascii=False)}"]
        lines += [f"args = {json.dumps(entry['args'], ensure_ascii=False)}"] if entry.get("args") else []
        if environment := entry.get("env"):
            lines += ["", f"[{self.servers}.{SERVER}.env]"]
            lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in environment.items()]
        return "\n".join(lines) + "\n"

    def merged(self, text: str, entry: Mapping[str, Any]) -> str:
        """Return `text` with the entry in it, all else unchanged. Raises ValueError if unreadable."""
        if not text.strip():
            return self.text(entry)
        if self.form == "json":
            json.loads(text)  # a mistake must not change the meaning of the text after it
            return _put(text, _after_blanks(text, 0), [self.servers, SERVER], self._server_entry(entry), depth=1)
        # The server's tables go to the end, in place of older ones of this server.
        remaining = self.without(text).rstrip("\n")
        merged = f"{remaining}\n\n{self.text(entry)}" if remaining else self.text(entry)
        tomllib.loads(merged)  # raises if the server is there in another form
        return merged

    def without(self, text: str) -> str:
        """Return `text` without the entry, all else unchanged. Raises ValueError if unreadable."""
        if not text.strip():
            return text
        if self.form == "toml":
            tomllib.loads(text)
            table = re.escape(f"{self.servers}.{SERVER}")
            tables = rf"^\[{table}(?:\.[^\]\n]*)?\][^\n]*\n(?:(?!\[)[^\n]*(?:\n|\Z))*"
            return re.sub(tables, "", text, flags=re.MULTILINE)
        json.loads(text)
        servers, _ = _members(text, _after_blanks(text, 0))
        if self.servers not in servers:
            return text
        start = servers[self.servers][0]
        members, _ = _members(text, start)
        if SERVER not in members:
            return text
        ends = [end for _, end in members.values()]
        index = [*members].index(SERVER)
        if index:
            return text[: ends[index - 1]] + text[ends[index] :]
        after = _after_blanks(text, ends[0])
        return text[: start + 1] + text[after + 1 if text[after] == "," else after :]

    def _server_entry(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        return ({"type": "stdio"} if self.typed else {}) | dict(entry)


CLIENTS = {
    "claude": Client(
        "Claude Desktop",
        {
            "darwin": "~/Library/Application Support/Claude/claude_desktop_config.json",
            "win32": "{APPDATA}/Claude/claude_desktop_config.json",
            "other": "~/.config/Claude/claude_desktop_config.json",
        },
        "mcpServers",
    ),
    "claude-code": Client("Claude Code", {"other": "~/.claude.json"}, "mcpServers", typed=True),
    "cursor": Client("Cursor", {"other": "~/.cursor/mcp.json"}, "mcpServers"),
    "vscode": Client(
        "VS Code",
        {
            "darwin": "~/Library/Application Support/Code/User/mcp.json",
            "win32": "{APPDATA}/Code/User/mcp.json",
            "other": "~/.config/Code/User/mcp.json",
        },
        "servers",
        typed=True,
    ),
    "codex": Client("Codex", {"other": "~/.codex/config.toml"}, "mcp_servers", form="toml"),
    "gemini": Client("Gemini CLI", {"other": "~/.gemini/settings.json"}, "mcpServers"),
    "windsurf": Client("Windsurf", {"other": "~/.codeium/windsurf/mcp_config.json"}, "mcpServers"),
    "zed": Client(
        "Zed",
        {"win32": "{APPDATA}/Zed/settings.json", "other": "~/.config/zed/settings.json"},
        "context_servers",
    ),
}
"""The clients by the names that `setup` takes."""


def write(client: Client, change: Callable[[str], str]) -> Path | None:
    """Change the text of the client's file by `change`; return the backup of an existing file.

    Returns None if there was no file, or if the text stays as it is: then nothing is written.

    The new file has the mode of the old one; a first one is readable only by its owner, because it holds the secret.
    Raises OSError, and ValueError for a file that cannot be read or holds comments.
    """
    path = client.path.resolve()
    before = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    after = change(before)
    if after == before:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    backup = None
    if path.exists():
        backup = _free(path.with_name(f"{path.name}.backup"))
        shutil.copy2(path, backup)
    unfinished = _free(path.with_name(f"{path.name}.new"))
    with open(unfinished, "x", encoding="utf-8", newline="", opener=partial(os.open, mode=0o600)) as file:
        file.write(after)
    if backup is not None:
        shutil.copymode(path, unfinished)
    unfinished.replace(path)
    return backup


def _free(path: Path) -> Path:
    """Return `path`, or the first of its numbered variants that does not exist."""
    number, candidate = 1, path
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate


def _put(text: str, start: int, keys: list[str], value: Any, depth: int) -> str:
    """Return `text` with `value` at `keys` of the object that begins at `start`."""
    members, end = _members(text, start)
    key, *deeper = keys
    span = members.get(key)
    if span is not None and deeper:
        return _put(text, span[0], deeper, value, depth + 1)
    if span is not None and json.loads(text[span[0] : span[1]]) == value:
        return text
    indent = min(re.findall(r"\n([ \t]+)\S", text), key=len, default="  ")  # the shortest that there is
    for inner in reversed(deeper):
        value = {inner: value}
    line = "\r\n" if "\r\n" in text else "\n"
    encoded = json.dumps(value, indent=indent, ensure_ascii=False).replace("\n", line + indent * depth)
    if span is not None:
        return text[: span[0]] + encoded + text[span[1] :]
    new = f"{line}{indent * depth}{json.dumps(key)}: {encoded}"
    if members:
        last = max(until for _, until in members.values())
        return f"{text[:last]},{new}{text[last:]}"
    return f"{text[: start + 1]}{new}{line}{indent * (depth - 1)}{text[end - 1 :]}"


def _members(text: str, start: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Return start and end of each value of the object at `start`, and its end; `text` is JSON."""
    if text[start] != "{":
        raise ValueError("an object was expected")
    decoder, members = json.JSONDecoder(), dict[str, tuple[int, int]]()
    position = _after_blanks(text, start + 1)
    while text[position] != "}":
        key, position = decoder.raw_decode(text, position)
        begins = _after_blanks(text, _after_blanks(text, position) + 1)
        _, ends = decoder.raw_decode(text, begins)
        members[key] = (begins, ends)
        position = _after_blanks(text, ends)
        if text[position] == ",":
            position = _after_blanks(text, position + 1)
    return members, position + 1


def _after_blanks(text: str, position: int) -> int:
    match = _BLANKS.match(text, position)
    return match.end() if match else position
