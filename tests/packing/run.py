"""Tries the packages that people install, in empty environments.

These are the wheel by uvx and pipx, the bundle by uv as in Claude Desktop, and the README's lines for clients with
these clients' own programs. `python tests/packing/run.py` builds a wheel, or takes the one in the named folder; if npm
is installed, it also validates the bundle with the official tool and tries the lines. It exits 1 if something fails.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BUNDLE = ROOT / "dist" / "bitrix24-directories.mcpb"
PROGRAM = "bitrix24-directories-mcp"
NPM = ("@anthropic-ai/mcpb@2.1.2", "@anthropic-ai/claude-code", "@openai/codex", "@google/gemini-cli")
WEBHOOK = "https://portal.invalid/rest/1/abcdefghijklmnop/"
FILES = {"claude": ".claude.json", "codex": ".codex/config.toml", "gemini": ".gemini/settings.json"}
HELLO: list[dict[str, object]] = [
    {
        "id": 0,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    },
    {"method": "notifications/initialized"},
    {"id": 1, "method": "tools/list"},
]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        bin_folder = install_environment(home, "uv", "pipx", "build")
        wheels = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else home / "wheels"
        if not wheels.exists():
            run(str(bin_folder / "python"), "-m", "build", "--wheel", "--outdir", str(wheels), cwd=ROOT)
        (wheel,) = wheels.glob("*.whl")
        run(str(bin_folder / "uvx"), "--from", str(wheel), PROGRAM, "check", "--demo", cwd=home)
        pipx = {"PIPX_HOME": str(home / "pipx"), "PIPX_BIN_DIR": str(home / "bin")}
        spec = ("--spec", str(wheel))
        run(str(bin_folder / "pipx"), "run", *spec, PROGRAM, "check", "--demo", cwd=home, **pipx)
        run(sys.executable, "deploy/bundle.py", cwd=ROOT)
        with zipfile.ZipFile(BUNDLE) as archive:
            archive.extractall(home / "bundle")
        start_from(home / "bundle", bin_folder)
        if shutil.which("npm"):
            run("npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", folder, *NPM, cwd=home)
            programs = home / "node_modules" / ".bin"
            run(str(programs / "mcpb"), "validate", str(home / "bundle" / "manifest.json"), cwd=home)
            check_client_programs(home, programs)
    return 0


def install_environment(home: Path, *packages: str) -> Path:
    """Create an environment with nothing else; yields its folder of programs."""
    venv.create(home / "venv", with_pip=True)
    bin_folder = home / "venv" / "bin"
    run(str(bin_folder / "python"), "-m", "pip", "install", "--quiet", *packages, cwd=home)
    return bin_folder


def start_from(folder: Path, bin_folder: Path) -> None:
    """Start the server as the manifest describes it, and list its tools."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    settings = {"webhook_url": WEBHOOK}
    values = {name: settings.get(name, field.get("default")) for name, field in manifest["user_config"].items()}

    def filled(text: str) -> str:
        for name, value in values.items():
            text = text.replace(f"${{user_config.{name}}}", str(value).lower() if isinstance(value, bool) else value)
        return text.replace("${__dirname}", str(folder))

    config = manifest["server"]["mcp_config"]
    command = [str(bin_folder / config["command"]), *map(filled, config["args"])]
    environment = {**os.environ, **{name: filled(value) for name, value in config["env"].items()}}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=folder.parent
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for message in HELLO:
            server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        server.stdin.flush()
        answers = [json.loads(server.stdout.readline()) for _ in range(2)]
        names = [tool["name"] for tool in answers[1]["result"]["tools"]]
        assert len(names) == 5, names  # the read tools
    assert server.returncode == 0
    print(f"The bundle starts and lists {', '.join(names)}.")


def check_client_programs(home: Path, programs: Path) -> None:
    """Run each `mcp add` line of the README, and check the client's own file after it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = [shlex.split(line.replace("<webhook>", WEBHOOK)) for line in re.findall(r"`(\w+ mcp add .+?)`", readme)]
    assert [line[0] for line in lines] == list(FILES)
    for program, *arguments in lines:
        own = home / program
        own.mkdir()
        run(str(programs / program), *arguments, cwd=own, HOME=str(own))
        text = (own / FILES[program]).read_text(encoding="utf-8")
        written = tomllib.loads(text)["mcp_servers"] if program == "codex" else json.loads(text)["mcpServers"]
        entry = {key: value for key, value in written["bitrix24-directories"].items() if key != "type"}
        assert entry == {"command": "uvx", "args": [PROGRAM], "env": {"BITRIX24_WEBHOOK_URL": WEBHOOK}}, entry


def run(*command: str, cwd: Path, **environment: str) -> None:
    subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, check=True)


if __name__ == "__main__":
    sys.exit(main())
