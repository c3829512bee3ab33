"""Builds the bundle that Claude Desktop installs by a double click: `python deploy/bundle.py` makes
`dist/bitrix24-directories.mcpb`.

It needs nothing but Python. The same sources give the same bytes, so that a checksum tells what was built.
"""

from __future__ import annotations

import json
import tomllib
import zipfile
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "dist" / "bitrix24-directories.mcpb"
LARGEST_FILE = 100_000
"""Bytes: Claude Desktop's installer breaks larger ones."""

_SOURCES = ROOT / "server"
_PACKAGE = _SOURCES / "bitrix24_directories"
_WHEN = (1980, 1, 1, 0, 0, 0)
REPOSITORY = "https://github.com/bitrix24-directories-mcp/bitrix24-directories-mcp"


def version() -> str:
    """The one place where it stands is the package itself."""
    text = (_PACKAGE / "__init__.py").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("__version__"))
    return line.partition('"')[2].rstrip('"')


@cache
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


def manifest() -> dict[str, Any]:
    """What Claude Desktop reads: how to start the server, and what to ask the person for."""
    return {
        "manifest_version": "0.4",
        "name": "bitrix24-directories",
        "display_name": "Bitrix24 directories",
        "version": version(),
        "description": project()["description"],
        "long_description": (
            "Gives Claude the directories of your Bitrix24 CRM (deal stages, sources, industries, …) and checks a "
            "record as a whole before it is written, so that it writes the codes that your portal has. It needs an "
            "incoming webhook with the CRM (crm) permission: in Bitrix24, Applications → Developer resources → "
            "Ready-made scenarios → Other → Incoming webhook."
        ),
        "author": {"name": "bitrix24-directories-mcp", "url": REPOSITORY},
        "repository": {"type": "git", "url": f"{REPOSITORY}.git"},
        "documentation": f"{REPOSITORY}#readme",
        "support": f"{REPOSITORY}/issues",
        "license": project()["license"],
        "keywords": project()["keywords"],
        "server": {
            "type": "uv",
            "entry_point": "server/main.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "server/main.py"],
                "env": {
                    "BITRIX24_WEBHOOK_URL": "${user_config.webhook_url}",
                    "BITRIX24_PLAN": "${user_config.plan}",
                    "BITRIX24_ALLOW_WRITES": "${user_config.allow_writes}",
                },
            },
        },
        "user_config": {
            "webhook_url": {
                "type": "string",
                "title": "Inbound webhook",
                "description": "https://<portal>/rest/<user id>/<code>/, with the CRM (crm) permission. Whoever has it "
                "can do what its user can: it is kept in your system's keychain.",
                "sensitive": True,
                "required": True,
            },
            "plan": {
                "type": "string",
                "title": "Request limit",
                "description": "standard, enterprise, or self-hosted for a portal on a server of your own",
                "default": "standard",
                "required": False,
            },
            "allow_writes": {
                "type": "boolean",
                "title": "Allow changes of directories",
                "description": "Lists the tools that add, change, delete and merge items; without it Claude reads.",
                "default": False,
                "required": False,
            },
        },
        "tools_generated": True,
        "prompts_generated": True,
        "compatibility": {"runtimes": {"python": project()["requires-python"]}},
    }


def bundle_project() -> str:
    """The bundle's own pyproject.toml, from which uv makes its environment."""
    needed = "".join(f"    {json.dumps(requirement)},\n" for requirement in project()["dependencies"])
    return (
        f'[project]\nname = "bitrix24-directories-bundle"\nversion = "{version()}"\n'
        f'requires-python = "{project()["requires-python"]}"\ndependencies = [\n{needed}]\n'
    )


def contents() -> dict[str, bytes]:
    """Each file of the bundle by its path there."""
    files = {
        "manifest.json": json.dumps(manifest(), indent=2, ensure_ascii=False).encode() + b"\n",
        "pyproject.toml": bundle_project().encode(),
        "README.md": (ROOT / "README.md").read_bytes(),
        "LICENSE": (ROOT / "LICENSE").read_bytes(),
        "server/main.py": (ROOT / "deploy" / "bundle_main.py").read_bytes(),
    }
    for path in sorted(_PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            files[f"server/{path.relative_to(_SOURCES).as_posix()}"] = path.read_bytes()
    return files


def build(bundle: Path = BUNDLE) -> Path:
    """Write the bundle. Raises ValueError for a file that the installer would break."""
    files = contents()
    if large := [name for name, content in files.items() if len(content) > LARGEST_FILE]:
        raise ValueError(f"larger than {LARGEST_FILE} bytes: {', '.join(large)}")
    bundle.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _WHEN), content, zipfile.ZIP_DEFLATED)
    return bundle


if __name__ == "__main__":
    print(build().relative_to(ROOT))
