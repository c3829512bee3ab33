"""Tries the server with real clients, and compares docs/CLIENTS.md with the results.

`python tests/clients/run.py` installs each client into a folder of its own under `.clients/`, runs it against the
server of this environment and its demo portal, prints the table, and exits 1 if something does not work or the page
says something else. `--write` writes the page; names of clients after it try only those.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
INSTALLED = ROOT / ".clients"
PAGE = ROOT / "docs" / "CLIENTS.md"
SERVER = [str(Path(sys.executable).with_name("bitrix24-directories-mcp")), "--demo"]
STEPS = ("list", "convert", "call", "error", "ask", "complete", "read", "subscribe")
TOOLS = 10


class NotInstalledError(Exception):
    """A registry did not provide a package that a client needs."""


@dataclass(frozen=True)
class Client:
    """One client, and the package to install, from PyPI or `npm`.

    An `adapter` decides by itself which part of a result a model sees.
    """

    name: str
    script: str
    packages: tuple[str, ...]
    npm: bool = False
    adapter: bool = False

    @property
    def folder(self) -> Path:
        return INSTALLED / "".join(char if char.isalnum() else "-" for char in self.name.lower())

    def install(self) -> None:
        """Install it, unless it is installed already. Raises NotInstalledError."""
        done = self.folder / "installed.txt"
        if done.exists() and done.read_text() == "\n".join(self.packages):
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self.npm:
            (self.folder / "package.json").write_text('{"private": true}')
            command = ["npm", "install", "--silent", "--no-fund", "--no-audit", *self.packages]
        else:
            venv.create(self.folder / "venv", with_pip=True)
            command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *self.packages]
        installed = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if installed.returncode:
            raise NotInstalledError(installed.stderr.strip()[-300:])
        done.write_text("\n".join(self.packages))

    @property
    def python(self) -> str:
        return str(self.folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")

    def run(self) -> dict[str, Any]:
        """The client's results, by step."""
        interpreter = self.python
        if self.npm:
            interpreter = "node" if self.script.endswith(".mjs") else sys.executable
        for file in ("steps.py", "steps.mjs", self.script):
            shutil.copy(HERE / file, self.folder)  # JavaScript looks for packages next to the script
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BITRIX24_")}
        done = subprocess.run(
            [interpreter, self.script, *SERVER],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if done.returncode:
            return {step: {"failed": done.stderr[-500:]} for step in ("list", "call")}
        results: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return results


CLIENTS = [
    Client("Python SDK 1.2", "python_sdk.py", ("mcp==1.2.0", "pydantic<2.11")),
    Client("Python SDK 1.9", "python_sdk.py", ("mcp==1.9.0", "pydantic<2.11")),
    Client("Python SDK 1.12", "python_sdk.py", ("mcp==1.12.0", "pydantic<2.11")),
    Client("Python SDK 2.3", "python_sdk_2.py", ("mcp==2.3.0",)),
    Client("TypeScript SDK 1.11", "typescript_sdk.mjs", ("@modelcontextprotocol/sdk@1.11.5", "zod@3"), npm=True),
    Client("TypeScript SDK 1.32", "typescript_sdk.mjs", ("@modelcontextprotocol/sdk@1.32.2",), npm=True),
    Client("TypeScript client 2.4", "typescript_client.mjs", ("@modelcontextprotocol/client@2.4.0",), npm=True),
    Client("Inspector 2.12, strict", "inspector.py", ("@modelcontextprotocol/inspector@2.12.0",), npm=True),
    Client("FastMCP 4.2", "fastmcp_client.py", ("fastmcp==4.2.3",)),
    Client("LangChain adapters 0.3", "langchain_adapter.py", ("langchain-mcp-adapters==0.3.2",), adapter=True),
    Client("google-genai 3.6", "genai_bridge.py", ("google-genai==3.6.1", "mcp==2.3.0"), adapter=True),
    Client("OpenAI Agents 0.24", "openai_agents.py", ("openai-agents==0.24.0",), adapter=True),
    Client("Pydantic AI 2.68", "pydantic_ai_client.py", ("pydantic-ai-slim[mcp]==2.68.0",), adapter=True),
    Client("mcp-use 1.7", "mcp_use_client.py", ("mcp-use==1.7.1",)),
]

HEAD = """# Clients

Clients tested by `python tests/clients/run.py`: real clients and adapters, each in an environment of its own, against
this server over stdio. *convert*: an adapter passes the tools to a model's API, or the Inspector validates their
schemas strictly.

✓ works · – the client does not offer it · *not asked*: the client cannot put a question to a person, so add and update
run at once, and deleting and applying take two calls

"""

FOOT = """
A plain test (`tests/test_schemas.py`) holds each published schema to what the model APIs take, and names the rule.
"""


def fails(step: str, got: Any) -> str:
    """Problem with a client's result; empty if the result is right."""
    text = json.dumps(got, ensure_ascii=False)
    right = {
        "list": lambda: len(got) == TOOLS,
        "convert": lambda: len(got) == TOOLS,
        "call": lambda: "WON: Deal Won" in text or '"statusId": "WON"' in text,
        "error": lambda: "Use one of the nearest: DEAL_STAGE (Deal stages)" in text,
        "ask": lambda: "PODCAST" in text and "done" in text,
        "complete": lambda: got == ["DEAL_STAGE", "DEAL_STAGE_1", "DEAL_STAGE_2"],
        "read": lambda: "CALL: Call" in text,
        "subscribe": lambda: got == "subscribed",
    }[step]
    return "" if right() else text[:300]


def channel_of(got: Any) -> str:
    """The channel, of two, that a model sees after a call."""
    answer = json.dumps(got, ensure_ascii=False)
    text, structured = "WON: Deal Won" in answer, '"statusId": "WON"' in answer
    return {(True, False): "the text", (False, True): "the structured result", (True, True): "both"}.get(
        (text, structured), "neither"
    )


def row(client: Client, results: dict[str, Any]) -> tuple[str, list[str]]:
    """The client's row of the table, and the problems."""
    cells, wrong = [], []
    for step in STEPS:
        if step not in results:
            cells.append("–")
            continue
        problem = results[step].get("failed") or fails(step, results[step]["got"])
        if problem:
            wrong.append(f"{client.name}, {step}: {problem}")
        cells.append("**no**" if problem else "not asked" if step == "ask" and not results["asked"] else "✓")
    sees = channel_of(results["call"].get("got")) if client.adapter else "up to the host"
    return f"| {client.name} | {' | '.join(cells)} | {sees} |", wrong


def main() -> int:
    chosen = [name for name in sys.argv[1:] if name != "--write"]
    clients = [client for client in CLIENTS if not chosen or client.name in chosen]
    lines = [f"| client | {' | '.join(STEPS)} | a model is shown |", "|---" * (len(STEPS) + 2) + "|"]
    wrong: list[str] = []
    skipped = 0
    for client in clients:
        try:
            client.install()
        except NotInstalledError as exc:
            print(f"{client.name} was not tried, for it cannot be installed here: {exc}", flush=True)
            skipped += 1
            continue
        line, problems = row(client, client.run())
        print(line, flush=True)
        lines.append(line)
        wrong += problems
    page = HEAD + "\n".join(lines) + "\n" + FOOT
    if "--write" in sys.argv:
        if chosen or skipped:
            raise SystemExit("The page is written only after all clients were tried.")
        PAGE.write_text(page, encoding="utf-8")
    elif not {*page.splitlines()} <= {*PAGE.read_text(encoding="utf-8").splitlines()}:
        wrong.append(f"{PAGE.relative_to(ROOT)} says something else: run with --write and read the difference")
    passed = len(clients) - skipped - len({line.partition(",")[0] for line in wrong})
    print(*wrong, f"{passed} passed, {len(wrong)} failed, {skipped} skipped", sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
