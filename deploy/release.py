"""What a release needs to be sure of: `release.py check v1.2.3` exits 1 and says where another version stands than the
tag's; `release.py server-json URL` prints `server.json` with the bundle that will lie at URL, by its checksum.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

import bundle

ROOT = bundle.ROOT


def server_json() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "deploy" / "server.json").read_text(encoding="utf-8"))
    return found


def versions() -> dict[str, str]:
    """Each place where the version stands. All but the first follow from it, or are held to it."""
    described = server_json()
    changes = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    places = {
        "bitrix24_directories.__version__": bundle.version(),
        "the bundle's manifest": bundle.manifest()["version"],
        "deploy/server.json": described["version"],
        "the newest heading of CHANGELOG.md": changes[1] if changes else "",
    }
    for name in ("compose.yaml", "kubernetes.yaml"):
        image = re.search(r"image: ghcr\.io/\S+:([^@\s]+)", (ROOT / "deploy" / name).read_text(encoding="utf-8"))
        places[f"the image of deploy/{name}"] = image[1] if image else ""
    for package in described["packages"]:
        version = package.get("version") or package["identifier"].rpartition(":")[2]
        places[f"the {package['registryType']} package of deploy/server.json"] = version
    return places


def differing(tag: str) -> list[str]:
    """The places where another version stands than `tag`, which is the version with a v before it."""
    return [f"{place}: {version or 'none'}" for place, version in versions().items() if f"v{version}" != tag]


def with_bundle(url: str) -> dict[str, Any]:
    """What is published to the MCP registry."""
    described = server_json()
    (pypi,) = (package for package in described["packages"] if package["registryType"] == "pypi")
    package = {
        "registryType": "mcpb",
        "identifier": url,
        "fileSha256": hashlib.sha256(bundle.BUNDLE.read_bytes()).hexdigest(),
        "transport": pypi["transport"],
        "environmentVariables": pypi["environmentVariables"],
    }
    return described | {"packages": [*described["packages"], package]}


def main(arguments: Sequence[str]) -> int:
    match arguments:
        case ["check", tag]:
            wrong = differing(tag)
            for what in wrong:
                print(f"{tag} differs from {what}", file=sys.stderr)
            return int(bool(wrong))
        case ["server-json", url]:
            print(json.dumps(with_bundle(url), indent=2, ensure_ascii=False))
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
