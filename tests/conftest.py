from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.rest.limits import pacing
from support import PortalHost, PortalInProcess, RunningPortal, VirtualClockLoop, serve_http

# A portal on a real socket is slow now and then; its speed is not tested here.
for profile, number in {"default": 25, "thorough": 100}.items():
    settings.register_profile(
        profile,
        max_examples=number,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
settings.load_profile("default")


def pytest_xdist_auto_num_workers() -> int:
    """One more than the number of processors, for many tests wait for other processes."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """asyncio; under the marker `virtual_clock` waiting takes no time.

    Portals then have to be in the process.
    """
    virtual = request.node.get_closest_marker("virtual_clock") is not None
    return "asyncio", {"loop_factory": VirtualClockLoop} if virtual else {}


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry without a pause, for tests with real sockets, in which no clock can be moved."""
    monkeypatch.setattr(pacing, "FIRST_PAUSE", 0.0)


@pytest.fixture(scope="session")
def few_certificates() -> Iterator[Path]:
    """Certificates of one authority: loading the usual ones takes each HTTP client 25 ms."""
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        path = Path(file.name)
        path.write_bytes(trustme.CA().cert_pem.bytes())
        path.chmod(0o644)  # tests that root runs change the user
        yield path


@pytest.fixture(scope="session", autouse=True)
def _schemas_checked_once() -> Iterator[None]:
    """Check each schema once: every MCP client does at a tool's first call, for 40 ms."""
    check, checked = Draft202012Validator.check_schema, set[str]()

    def check_schema(schema: Any, *arguments: Any, **options: Any) -> None:
        text = json.dumps([schema, arguments, options], default=str)
        if text not in checked:
            check(schema, *arguments, **options)
            checked.add(text)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Draft202012Validator, "check_schema", staticmethod(check_schema))
        yield


@pytest.fixture(autouse=True)
def _isolate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, few_certificates: Path) -> None:
    """Hide the settings of the machine from all tests."""
    monkeypatch.setenv("SSL_CERT_FILE", str(few_certificates))
    for name in os.environ:
        if name.startswith("BITRIX24_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name in ("LC_ALL", "LC_MESSAGES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def http_host() -> Iterator[tuple[PortalHost, str]]:
    host = PortalHost()
    with serve_http(host) as address:
        yield host, address


@pytest.fixture
def serve(http_host: tuple[PortalHost, str]) -> Callable[[DemoPortal], RunningPortal]:
    """Return a function that serves a portal over real HTTP until the next call."""
    host, address = http_host

    def serve(portal: DemoPortal) -> RunningPortal:
        host.portal = portal
        return RunningPortal(portal, address)

    return serve


@pytest.fixture
def portal(request: pytest.FixtureRequest) -> RunningPortal:
    """A portal on a real port; in the process under the marker `virtual_clock`."""
    if request.node.get_closest_marker("virtual_clock") is not None:
        running: RunningPortal = request.getfixturevalue("portal_in_process")
        return running
    serve: Callable[[DemoPortal], RunningPortal] = request.getfixturevalue("serve")
    return serve(DemoPortal())


@pytest.fixture
def russian_portal(serve: Callable[[DemoPortal], RunningPortal]) -> RunningPortal:
    return serve(DemoPortal("ru"))


@pytest.fixture
def portal_in_process() -> PortalInProcess:
    return PortalInProcess(DemoPortal(clock=anyio.current_time))


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls_portal(authority: trustme.CA, tmp_path: Path) -> Iterator[RunningPortal]:
    certificate = tmp_path / "portal.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    http_host = PortalHost()
    with serve_http(http_host, certfile=str(certificate)) as address:
        yield RunningPortal(http_host.portal, address)


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make httpx (SSL_CERT_FILE) and requests (REQUESTS_CA_BUNDLE) trust `tls_portal`."""
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))


@pytest.fixture
def process_exits() -> Callable[[int], bool]:
    """Return a function: True if a process, not a child of ours, ends within ten seconds."""

    def process_exits(pid: int) -> bool:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
            if not state.stdout.strip() or state.stdout.startswith("Z"):
                return True
        return False

    return process_exits
