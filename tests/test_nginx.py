"""`deploy/nginx.conf` in a real nginx; two replicas are stopped, replaced and killed."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import dnslib
import httpx
import psutil
import pytest
import trustme
from dnslib.server import BaseResolver, DNSHandler, DNSLogger, DNSServer

from bitrix24_directories.mcp_server.scopes import SCOPES
from bitrix24_directories.rest import Webhook
from bitrix24_directories.team.gate import BODY_LIMIT
from bitrix24_directories.team.people import People
from support import RunningPortal, clean_environment, free_port
from team_support import ACCEPT, tool_call
from test_replicas import Valkey, valkey

__all__ = ["valkey"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is of the system's packages"),
]

CONFIGURATION = (Path(__file__).parent.parent / "deploy" / "nginx.conf").read_text()
CALLS_PER_SECOND = 20


class Addresses(BaseResolver):  # type: ignore[misc]
    """A name server like Docker's: every name has the addresses of all replicas."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def resolve(self, request: dnslib.DNSRecord, handler: DNSHandler) -> dnslib.DNSRecord:  # noqa: ARG002
        reply = request.reply()
        for address in self.all:
            reply.add_answer(dnslib.RR(request.q.qname, rdata=dnslib.A(address), ttl=600))
        return reply


class Site:
    """Replicas on 127.0.0.x behind nginx, and one person who may call."""

    def __init__(self, folder: Path, portal: RunningPortal, valkey: Valkey, authority: trustme.CA) -> None:
        self._folder = folder
        self.token = People(folder / "people.jsonl").add("anna", SCOPES, Webhook.parse(portal.webhook_url()))
        self.port, self._replicas_port = free_port(), free_port()
        self._environment = clean_environment(
            BITRIX24_PEOPLE=str(folder / "people.jsonl"),
            BITRIX24_REDIS_URL=valkey.url,
            BITRIX24_PUBLIC_URL=f"https://localhost:{self.port}/mcp",
            BITRIX24_ALLOW_WRITES="true",
            BITRIX24_AUDIT_LOG=str(folder / "audit.jsonl"),
        )
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(str(folder / "privkey.pem"))
        certificate.cert_chain_pems[0].write_to_path(str(folder / "fullchain.pem"))
        self._trusted = ssl.create_default_context()
        authority.configure_trust(self._trusted)
        self._addresses = Addresses()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        names = DNSServer(self._addresses, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply"))
        names.start_thread()
        text = CONFIGURATION
        for shipped, here in {
            "resolver 127.0.0.11": f"resolver 127.0.0.1:{names.server.server_address[1]}",
            "listen 443 ssl": f"listen 127.0.0.1:{self.port} ssl",
            "/etc/nginx/tls": str(self._folder),
            "directories:8080": f"directories:{self._replicas_port}",
            "\nhttp {": f"\nhttp {{\n    access_log {self._folder}/access.log;",
        }.items():
            assert shipped in text
            text = text.replace(shipped, here)
        (self._folder / "nginx.conf").write_text(f"daemon off;\npid {self._folder}/nginx.pid;\n{text}")
        with contextlib.ExitStack() as self._processes:
            self._processes.callback(names.server.server_close)
            self._processes.callback(names.stop)
            self._start("nginx", "-p", str(self._folder), "-c", "nginx.conf", "-e", "stderr")
            yield

    def _start(self, *command: str) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            process = self._processes.enter_context(subprocess.Popen(command, env=self._environment, stderr=log))
        self._processes.callback(process.terminate)
        return process

    async def start_replica(self, address: str) -> subprocess.Popen[bytes]:
        """Start a replica; the name server knows it as soon as it serves."""
        at = f"{address}:{self._replicas_port}"
        process = self._start(sys.executable, "-m", "bitrix24_directories", "serve", "--http", at)
        async with httpx.AsyncClient(base_url=f"http://{at}") as client:
            await self._answered(client, "/healthz")
        if address not in self._addresses.all:
            self._addresses.all.append(address)
        return process

    def has_request(self, process: subprocess.Popen[bytes]) -> bool:
        """True if a request is at this replica."""
        connections = psutil.Process(process.pid).net_connections("tcp")
        return any(
            connection.status == "ESTABLISHED" and connection.laddr[1] == self._replicas_port
            for connection in connections
        )

    async def stop_replica(self, process: subprocess.Popen[bytes]) -> None:
        """Stop it as a container engine does; its address stays known for a while."""
        process.terminate()
        assert await anyio.to_thread.run_sync(process.wait) == 0

    def forget(self, address: str) -> None:
        self._addresses.all.remove(address)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"authorization": f"Bearer {self.token}", **ACCEPT}
        url = f"https://localhost:{self.port}"
        async with httpx.AsyncClient(base_url=url, headers=headers, verify=self._trusted, timeout=30) as client:
            yield client

    def codes_of_requests(self, number: int) -> Counter[int]:
        """HTTP statuses of requests that are sent at once, over one connection."""
        request = f"GET /mcp HTTP/1.1\r\nHost: localhost:{self.port}\r\n"
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=30) as plain,
            self._trusted.wrap_socket(plain, server_hostname="localhost") as connection,
        ):
            connection.sendall(
                f"{request}\r\n".encode() * (number - 1) + f"{request}Connection: close\r\n\r\n".encode()
            )
            answer = connection.makefile("rb").read()
        return Counter(map(int, re.findall(rb"HTTP/1.1 (\d+)", answer)))

    async def wait_until_reached(self, client: httpx.AsyncClient) -> None:
        """Return as soon as nginx leads to a replica."""
        await self._answered(client, "/.well-known/oauth-protected-resource", 404)

    @staticmethod
    async def _answered(client: httpx.AsyncClient, path: str, status: int = 200) -> None:
        with anyio.fail_after(20):
            while True:
                with contextlib.suppress(httpx.ConnectError):
                    if (await client.get(path)).status_code == status:
                        return
                await anyio.sleep(0.05)


@pytest.fixture
def site(tmp_path: Path, portal: RunningPortal, valkey: Valkey, authority: trustme.CA) -> Site:
    return Site(tmp_path, portal, valkey, authority)


async def keep_calling(client: httpx.AsyncClient, enough: anyio.Event, answers: list[Any]) -> None:
    """Call tools at an even pace, regardless of earlier calls' outcomes."""

    async def call(number: int) -> None:
        entity_id = ("SOURCE", "DEAL_STAGE", "INDUSTRY")[number % 3]
        call = tool_call("get_directory_items", entityId=entity_id, fresh=number % 10 == 0)
        try:
            response = await client.post("/mcp", json=call)
        except httpx.TransportError as exc:
            answers.append(repr(exc))
        else:
            ok = response.status_code == 200 and '"isError":true' not in response.text.replace(" ", "")
            answers.append(200 if ok else response.text)

    async with anyio.create_task_group() as calls:
        number = 0
        while not enough.is_set():
            calls.start_soon(call, number)
            number += 1
            await anyio.sleep(1 / CALLS_PER_SECOND)


async def test_no_call_is_lost_while_replicas_are_stopped_started_and_replaced(site: Site) -> None:
    answers: list[Any] = []
    enough = anyio.Event()
    with site.running():
        first, second = [await site.start_replica(f"127.0.0.{number}") for number in (1, 2)]
        async with site.client() as client:
            await site.wait_until_reached(client)
            async with anyio.create_task_group() as load:
                load.start_soon(keep_calling, client, enough, answers)
                for _ in range(3):
                    await site.stop_replica(first)
                    first = await site.start_replica("127.0.0.1")
                await site.stop_replica(second)
                site.forget("127.0.0.2")
                second = await site.start_replica("127.0.0.3")
                await anyio.sleep(3)  # until nginx has resolved the names again
                await site.stop_replica(first)  # so that only the new address is left
                at_the_new_one = len(answers)
                while len(answers) < at_the_new_one + 20:  # noqa: ASYNC110
                    await anyio.sleep(0.05)
                enough.set()
        await site.stop_replica(second)
    assert [answer for answer in answers if answer != 200] == []
    assert len(answers) > 5 * CALLS_PER_SECOND


async def test_a_change_whose_replica_dies_is_not_sent_to_the_other(site: Site, portal: RunningPortal) -> None:
    made: list[str] = []

    def die(method: str, params: Mapping[str, Any]) -> None:
        if method == "crm.status.add":
            made.append(str(params))
            (serving,) = (replica for replica in replicas if site.has_request(replica))
            serving.kill()

    with site.running():
        replicas = [await site.start_replica(f"127.0.0.{number}") for number in (1, 2)]
        async with site.client() as client:
            await site.wait_until_reached(client)
            portal.portal.meanwhile = die
            change = tool_call("add_directory_item", entityId="SOURCE", name="Fair")
            with pytest.raises(httpx.RemoteProtocolError):  # its answer had begun
                pytest.fail((await client.post("/mcp", json=change)).text)
            await site.wait_until_reached(client)  # through the other replica
    assert len(made) == 1


async def test_what_is_inside_stays_inside(site: Site) -> None:
    with site.running():
        replica = await site.start_replica("127.0.0.1")
        async with site.client() as client:
            await site.wait_until_reached(client)
            for path in ("/healthz", "/readyz", "/metrics", "/mcp/", "/"):
                response = await client.get(path)
                assert (response.status_code, response.headers["server"]) == (404, "nginx")
            assert (await client.post("/mcp", content=b"x" * (BODY_LIMIT + 1))).status_code == 413
        await site.stop_replica(replica)
        codes = await anyio.to_thread.run_sync(site.codes_of_requests, 900)
        assert codes.keys() == {502, 429}
        assert codes[502] >= 500
