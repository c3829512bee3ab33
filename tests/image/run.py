"""Builds and runs the image of `deploy/Dockerfile`, on Linux as root.

`python tests/image/run.py` makes a base of the packages of Debian or Ubuntu (no image registry is used), builds on it
with buildah, and starts the content in namespaces of its own: read-only, as another user than the image's, with
people and a demo portal. It prints the image's size and the time from start to ready, and exits 1 if something fails.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support import ADMIN_SECRET, PortalHost, RunningPortal, free_port, serve_http  # noqa: E402

PROGRAM = "bitrix24-directories-mcp"
BASE, IMAGE = "localhost/directories-test-base", "localhost/directories-test"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
ANOTHER_USER = 23456
ISOLATED = """set -e
root=$0 folder=$1 user=$2
mkdir -p "$root/run/directories"
mount --bind "$root" "$root"
mount -o remount,ro,bind "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$folder" "$root/run/directories"
shift 2; exec /usr/sbin/chroot --userspec="$user:$user" "$root" "$@"
"""


def main() -> int:
    os.environ |= {"BUILDAH_ISOLATION": "chroot", "STORAGE_DRIVER": "vfs"}
    with contextlib.ExitStack() as undone:
        folder = Path(undone.enter_context(tempfile.TemporaryDirectory()))
        undone.callback(run, "buildah", "rmi", "--force", IMAGE, BASE)
        make_base(folder)
        build = ["buildah", "bud", "--format", "docker", "--build-arg", f"BASE={BASE}", "--tag", IMAGE]
        run(*build, "--file", "deploy/Dockerfile", ".")
        inspected = json.loads(run("buildah", "inspect", "--type", "image", IMAGE))
        of_the_base, *own = (layer["size"] / 1e6 for layer in json.loads(inspected["Manifest"])["layers"])
        print(f"The image has {sum(own):.0f} MB more than its base, which has {of_the_base:.0f} MB here.")
        image = Image(Path(mount_image(undone)), inspected["Docker"]["config"], folder)
        image.checks_the_demo()
        image.serves_over_stdio()
        host = PortalHost()
        with serve_http(host) as address:
            anyio.run(image.serves_people, RunningPortal(host.portal, address))
    return 0


def make_base(folder: Path) -> None:
    """Make a base with Python from the packages of the system that this runs on."""
    archive = folder / "base.tar"
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", suite, str(archive))
    container = run("buildah", "from", "scratch")
    run("buildah", "add", "--quiet", container, str(archive), "/")
    run("buildah", "run", container, "ln", "-sf", "python3", "/usr/bin/python")
    run("buildah", "copy", "--quiet", container, AUTHORITIES, AUTHORITIES)  # a machine may have more of them
    run("buildah", "config", "--env", f"PIP_CERT={AUTHORITIES}", container)
    run("buildah", "commit", "--quiet", "--rm", container, BASE)


def mount_image(undone: contextlib.ExitStack) -> str:
    """Mount a container of the image; yields the folder of its files."""
    container = run("buildah", "from", IMAGE)
    undone.callback(run, "buildah", "rm", container)
    return run("buildah", "mount", container)


class Image:
    """The built image: its files, its configuration, and a folder for files outside of it."""

    def __init__(self, root: Path, config: dict[str, Any], folder: Path) -> None:
        self._root, self._config, self._folder = root, config, folder
        self._people = folder / "people"
        self._people.mkdir()
        os.chown(self._people, ANOTHER_USER, ANOTHER_USER)

    def start(self, *command: str, user: int = ANOTHER_USER, **options: Any) -> subprocess.Popen[Any]:
        """Start a command as process 1, with people/ on /run/directories.

        All else is read-only but for /tmp, the network is this machine's, and the environment is the image's plus
        `settings`.
        """
        env = dict(line.split("=", 1) for line in self._config["Env"]) | options.pop("settings", {})
        namespaces = ["/usr/bin/unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", ISOLATED]
        arguments = [str(self._root), str(self._people), str(user), *command]
        return subprocess.Popen([*namespaces, *arguments], env=env, text=True, **options)

    def checks_the_demo(self) -> None:
        user = int(self._config["User"])
        checked = self.start(PROGRAM, "check", "--demo", user=user, stdout=subprocess.PIPE)
        out, _ = checked.communicate(timeout=60)
        assert checked.returncode == 0, out
        touched = self.start("touch", "/opt/venv/file", user=0, stderr=subprocess.PIPE)
        assert "Read-only" in touched.communicate(timeout=60)[1]

    def serves_over_stdio(self) -> None:
        """Check that the server answers over stdio."""
        server = self.start(
            *self._config["Entrypoint"], "serve", "--demo", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert server.stdin is not None
        assert server.stdout is not None
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        server.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}) + "\n")
        server.stdin.flush()
        assert "serverInfo" in json.loads(server.stdout.readline())["result"]
        assert is_healthy(child(server.pid))
        server.stdin.close()
        assert server.wait(timeout=20) == 0

    async def serves_people(self, portal: RunningPortal) -> None:
        """Serve as the image does, for a person added in it; check its health, and end it."""
        port = free_port()
        settings = {
            "BITRIX24_PEOPLE": "/run/directories/people.jsonl",
            "BITRIX24_PUBLIC_URL": f"http://127.0.0.1:{port}/mcp",
        }
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        add = self.start(PROGRAM, "person", "add", "anna", "--webhook-file", "-", settings=settings, **pipes)
        token, _ = add.communicate(portal.webhook_url(), timeout=60)
        command = [word.replace(":8080", f":{port}") for word in self._config["Entrypoint"] + self._config["Cmd"]]
        log = self._folder / "log"
        began = time.monotonic()
        with log.open("wb") as errors, self.start(*command, settings=settings, stderr=errors) as server:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
                with anyio.fail_after(30):
                    while not await ready(client):  # noqa: ASYNC110
                        await anyio.sleep(0.01)
            print(f"It is ready {time.monotonic() - began:.2f} s after its start.")
            await call_tool(f"http://127.0.0.1:{port}/mcp", token.strip())
            first = child(server.pid)
            program = child(first)
            assert is_healthy(first)
            os.kill(program, signal.SIGSTOP)
            assert not is_healthy(first)
            os.kill(program, signal.SIGCONT)
            assert is_healthy(first)
            began = time.monotonic()
            os.kill(first, getattr(signal, self._config["StopSignal"]))
            code = await anyio.to_thread.run_sync(server.wait)
            print(f"It ends {time.monotonic() - began:.2f} s after {self._config['StopSignal']}.")
        output = log.read_text()
        assert code == 0, output
        assert '"tool": "get_directory_items"' in output
        assert "Traceback" not in output
        assert ADMIN_SECRET not in output


async def ready(client: httpx.AsyncClient) -> bool:
    with contextlib.suppress(httpx.ConnectError):
        return (await client.get("/readyz")).status_code == 200
    return False


async def call_tool(url: str, token: str) -> None:
    """Let a real client call a tool."""
    async with (
        httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        result = await client.call_tool("get_directory_items", {"entityId": "DEAL_STAGE"})
        assert "PREPARATION" in str(result), result


def is_healthy(process: int) -> bool:
    """True if the image's health check passes beside the given process 1."""
    there = ["/usr/bin/nsenter", "--target", str(process), "--mount", "--pid", "--root", "--wd"]
    return (
        subprocess.run(
            [*there, "healthcheck"], env={"PATH": "/usr/local/bin:/usr/bin:/bin"}, timeout=20, check=False
        ).returncode
        == 0
    )


def child(process: int) -> int:
    """The only child of a process."""
    (child,) = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(child)


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
