"""Tries the picture in real Chromium, in the ext-apps project's own host bridge.

`python tests/picture/run.py` installs the bridge and axe from npm and Playwright from PyPI under `.picture/`, bundles
the host's page, and runs `in_chromium.py` there; Debian's `chromium` has to be installed. `--update` takes the
screenshots that later runs are compared with. Exits 1 if something fails, 0 with a message if Chromium is missing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
INSTALLED = ROOT / ".picture"
PACKAGES = (
    "@modelcontextprotocol/ext-apps@2.0.4",
    "@modelcontextprotocol/client@2",
    "@modelcontextprotocol/core@2",
    "@modelcontextprotocol/server@2",
    "zod@4",
    "axe-core@4.14.1",
    "esbuild@0.28.2",
)
PYTHON = ("playwright>=1.60,<2", "pillow>=12")


def main() -> int:
    if shutil.which("chromium") is None:
        print("Chromium is not installed here: the picture was not tried in it.")
        return 0
    INSTALLED.mkdir(exist_ok=True)
    (INSTALLED / "package.json").write_text('{"private": true, "type": "module"}')
    run("npm", "install", "--silent", "--no-fund", "--no-audit", *PACKAGES)
    shutil.copy(HERE / "host.mjs", INSTALLED / "host.mjs")
    run("npx", "esbuild", "host.mjs", "--bundle", "--format=iife", "--log-level=error", "--outfile=host.js")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(INSTALLED / "python"), *PYTHON)
    path = os.pathsep.join([str(INSTALLED / "python"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "UPDATE_PICTURES": "1" if "--update" in sys.argv else ""}
    tests = [str(HERE / "in_chromium.py"), "--numprocesses=0", "-m", ""]
    return subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=ROOT, env=environment, check=False).returncode


def run(*command: str) -> None:
    subprocess.run(command, cwd=INSTALLED, check=True)


if __name__ == "__main__":
    sys.exit(main())
