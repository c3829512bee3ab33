"""A team's server over HTTP, with clients of both protocol eras: access, identity, exit."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest
from mcp import MCPError
from mcp.server.apps import APP_MIME_TYPE
from pydantic import SecretStr

from bitrix24_directories.cli.main import main
from bitrix24_directories.mcp_server.picture.data import PAGE, PICTURE
from bitrix24_directories.mcp_server.scopes import READING, SCOPES
from bitrix24_directories.mcp_server.server import DirectoriesServer
from bitrix24_directories.portal.app import ADMIN
from bitrix24_directories.portal.oauth import CLIENT_ID, CLIENT_SECRET
from bitrix24_directories.rest import CATALOGUE, PortalConnection, Webhook, failure
from bitrix24_directories.rest.authorization.tokens import Tokens
from bitrix24_directories.team import gate, seen
from bitrix24_directories.team.people import People, PeopleError
from bitrix24_directories.team.serving import ServingError, application
from bitrix24_directories.team.team import Team
from bitrix24_directories.team.tokens import TokenVerifier
from support import ADMIN_SECRET, READER_SECRET, STRANGER_SECRET, RunningPortal
from team_support import ACCEPT, TeamServer, call_tool, tool_call
from test_picture import APPS

MODES = pytest.mark.parametrize("mode", ["legacy", "auto"])
STAGES = {"entityId": "DEAL_STAGE"}


@pytest.fixture
def team(portal: RunningPortal, tmp_path: Path) -> TeamServer:
    return TeamServer(portal, tmp_path)


@MODES
async def test_tools_resources_and_prompts_over_http(team: TeamServer, mode: str) -> None:
    anna = team.add("anna")
    async with team.running(), team.client(anna, mode) as client:
        assert len((await client.list_tools()).tools) == 10
        result = await call_tool(client, "get_directory_items", **STAGES)
        assert [item["statusId"] for item in result["items"]][:2] == ["NEW", "PREPARATION"]
        assert (await call_tool(client, "get_directory_usage", **STAGES))["records"] > 0
        read = await client.read_resource("bitrix24://directories/SOURCE")
        assert "CALL: Call" in read.contents[0].text  # type: ignore[union-attr]
        assert (await client.get_prompt("explain_pipeline", {"entityId": "DEAL_STAGE"})).messages


async def test_a_picture_over_http_where_the_request_says_that_it_is_shown(team: TeamServer) -> None:
    """The newer era says it in each request; the older one, without sessions, cannot say it."""
    anna = team.add("anna", scopes=("records:read", "directories:read"))
    async with team.running():
        async with team.client(anna, extensions=APPS) as client:
            result = await client.call_tool("get_directory_usage", STAGES)
            assert result.meta is not None
            assert result.meta[PICTURE]["kind"] == "usage"
            (page,) = (await client.read_resource(PAGE)).contents
            assert page.mime_type == APP_MIME_TYPE
        async with team.client(anna, "legacy", extensions=APPS) as client:
            result = await client.call_tool("get_directory_usage", STAGES)
            assert PICTURE not in (result.meta or {})
            assert not [tool for tool in (await client.list_tools()).tools if tool.meta]


@MODES
async def test_scopes_decide_what_is_listed_and_what_is_done(team: TeamServer, mode: str) -> None:
    reader = team.add("reader", scopes=READING)
    directories_only = team.add("directories", scopes=("directories:read",))
    async with team.running():
        async with team.client(reader, mode) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert "check_record" in names
            assert "add_directory_item" not in names
            result = await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax")
            assert result["error"]["code"] == "INSUFFICIENT_SCOPE"
            assert "directories:write" in result["error"]["message"]
        async with team.client(directories_only, mode) as client:
            assert [tool.name for tool in (await client.list_tools()).tools] == [
                "get_directory_items",
                "list_directories",
                "find_directory_items",
            ]
    assert "crm.status.add" not in str(team.portal.portal.calls)


@pytest.mark.parametrize("claimed", [{}, {"mcp-method": "tools/list"}, {"mcp-name": "get_directory_items"}])
async def test_who_can_get_another_token_is_told_the_scope(
    portal: RunningPortal, tmp_path: Path, claimed: dict[str, str]
) -> None:
    """The body decides the tool; contradicting headers have no effect."""
    provider = {"jwt_issuer": "https://id.example", "jwt_audience": "api", "public_url": "http://127.0.0.1/mcp"}
    team = TeamServer(portal, tmp_path, state=None, secret=b"", **provider)
    token = team.add("reader", scopes=READING)
    headers = {"authorization": f"Bearer {token}", **claimed}
    async with team.running(), httpx.AsyncClient() as http:
        refused = await http.post(f"{team.url}/mcp", headers=headers, json=tool_call("apply_directory"))
        headers |= {"mcp-method": "tools/call", "mcp-name": "apply_directory"}
        other = await http.post(f"{team.url}/mcp", headers=headers | ACCEPT, json=tool_call("list_directories"))
    assert refused.status_code == 403
    challenge = 'Bearer error="insufficient_scope", scope="directories:write", resource_metadata="http://127.0.0.1/'
    assert refused.headers["www-authenticate"].startswith(challenge)
    assert other.status_code == 200


BAD = ["", "Bearer", "Bearer wrong", "Basic YTpi", "Bearer b24d_" + "x" * 43, "Bearer " + "x" * 20_000]


@pytest.mark.parametrize("header", BAD)
async def test_bad_tokens(team: TeamServer, header: str) -> None:
    team.add("anna")
    async with team.running(), httpx.AsyncClient() as http:
        headers = {"authorization": header} if header else {}
        refused = await http.post(f"{team.url}/mcp", headers=headers, json={})
    assert refused.status_code == 401
    assert 'scope="directories:read"' in refused.headers["www-authenticate"]
    assert not team.portal.portal.calls


async def test_each_person_acts_as_themselves(team: TeamServer) -> None:
    anna, stranger = team.add("anna"), team.add("stranger", STRANGER_SECRET)
    reader = team.add("reader", READER_SECRET)
    async with team.running():
        async with team.client(anna) as client:
            assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8
        async with team.client(stranger) as client:
            result = await call_tool(client, "get_directory_items", **STAGES)
            assert result["error"]["code"] == "CRM_ACCESS_DENIED"
        async with team.client(reader) as client:
            result = await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax")
            assert result["error"]["code"] == "NOT_ALLOWED_TO_CHANGE"


async def test_what_is_the_portals_is_read_once_for_all_who_see_the_same(team: TeamServer) -> None:
    anna, bert = team.add("anna"), team.add("bert", READER_SECRET)
    async with team.running():
        async with team.client(anna) as client:
            await call_tool(client, "get_directory_items", **STAGES)
        team.portal.portal.calls.clear()
        for _ in range(3):
            async with team.client(bert) as client:
                assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8
        assert team.portal.methods_called == ["batch"]  # a check of his access, once
        assert "crm.status.entity.items" not in str(team.portal.portal.calls)


@pytest.mark.slow
async def test_a_hundred_people_at_nine_read_a_directory_once(team: TeamServer) -> None:
    tokens = [team.add(f"person{number}") for number in range(30)]
    async with team.running(), anyio.create_task_group() as tasks:

        async def ask(token: str) -> None:
            async with team.client(token) as client:
                assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8

        for token in tokens:
            tasks.start_soon(ask, token)
    assert str(team.portal.portal.calls).count("crm.status.entity.items") == 1


async def test_who_sees_other_pipelines_shares_nothing(team: TeamServer) -> None:
    """`crm.category.list` hides the pipelines that a user may not see."""
    anna, bert = team.add("anna"), team.add("bert", READER_SECRET)
    portal = team.portal.portal

    async with team.running():
        async with team.client(anna) as client:
            await call_tool(client, "get_directory_items", **STAGES)
        hidden = portal.store.directories.pop("DEAL_STAGE_2")  # for bert, who asks now
        async with team.client(bert) as client:
            answer = await call_tool(client, "list_directories")
            assert "DEAL_STAGE_2" not in [directory["entityId"] for directory in answer["directories"]]
        portal.store.directories["DEAL_STAGE_2"] = hidden
        async with team.client(anna) as client:
            answer = await call_tool(client, "list_directories")
            assert "DEAL_STAGE_2" in [directory["entityId"] for directory in answer["directories"]]


async def test_counts_are_each_persons_own(team: TeamServer) -> None:
    anna, bert = team.add("anna"), team.add("bert", READER_SECRET)
    async with team.running():
        async with team.client(anna) as client:
            whole = (await call_tool(client, "get_directory_usage", entityId="STATUS"))["records"]
        portal = team.portal.portal
        records = portal.store.records.all
        portal.store.records.all = {key: values for key, values in records.items() if key[0] != 1 or key[1] % 2}
        async with team.client(bert) as client:
            less = (await call_tool(client, "get_directory_usage", entityId="STATUS"))["records"]
        async with team.client(anna) as client:
            assert (await call_tool(client, "get_directory_usage", entityId="STATUS"))["records"] == whole
    assert less < whole


async def test_rights_that_were_taken_are_gone_after_the_access_time(portal: RunningPortal, tmp_path: Path) -> None:
    team = TeamServer(portal, tmp_path, access_ttl=0)
    anna = team.add("anna")
    async with team.running(), team.client(anna) as client:
        assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8
        portal.order(method="batch", code="NO_AUTH_FOUND")
        portal.order(method="crm.status.entity.types", code="NO_AUTH_FOUND")
        result = await call_tool(client, "get_directory_items", **STAGES)
    assert result["error"]["code"] == "NO_AUTH_FOUND"


async def test_who_is_taken_out_of_the_file_is_shut_out_at_once(team: TeamServer) -> None:
    anna, _ = team.add("anna"), team.add("bert")
    async with team.running(), httpx.AsyncClient(headers={"authorization": f"Bearer {anna}"}) as http:
        assert (await http.post(f"{team.url}/mcp", json={})).status_code != 401
        rotated = team.people.rotate("anna")
        assert (await http.post(f"{team.url}/mcp", json={})).status_code == 401
        http.headers["authorization"] = f"Bearer {rotated}"
        assert (await http.post(f"{team.url}/mcp", json={})).status_code != 401
        team.people.remove("anna")
        assert (await http.post(f"{team.url}/mcp", json={})).status_code == 401


async def test_through_the_shared_webhook_people_only_read(team: TeamServer) -> None:
    team.shared = Webhook.parse(team.portal.webhook_url())
    token = team.people.add("anna", SCOPES, None)
    async with team.running(), team.client(token) as client:
        assert len((await client.list_tools()).tools) == 5
        assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8


async def test_people_may_act_through_an_application(portal: RunningPortal, tmp_path: Path) -> None:
    application = {
        "portal_url": portal.address,
        "client_id": CLIENT_ID,
        "client_secret": SecretStr(CLIENT_SECRET),
        "oauth_url": f"{portal.address}/oauth/token/",
    }
    team = TeamServer(portal, tmp_path, state=None, secret=b"", **application)
    carl, dora = (team.people.add(name, SCOPES, None, oauth=True) for name in ("carl", "dora"))
    file = team.settings.application("carl").file
    assert file.path != team.settings.application("dora").file.path
    issued = portal.portal.oauth.issue(ADMIN)
    with file.replacement(5) as write:
        write(Tokens.read(issued) or pytest.fail("the portal issues tokens"))
    async with team.running():
        async with team.client(carl) as client:
            assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8
            assert len((await client.list_tools()).tools) == 10
        assert {params["auth"] for _, params in portal.portal.calls} == {issued["access_token"]}
        async with team.client(dora) as client:
            result = await call_tool(client, "get_directory_items", **STAGES)
            assert result["error"]["code"] == "NO_TOKEN"
        assert issued["access_token"] in team.team.secrets()


async def test_the_audit_log_names_the_person(portal: RunningPortal, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    team = TeamServer(portal, tmp_path, audit_log=str(log))
    anna = team.add("anna")
    async with team.running(), team.client(anna) as client:
        assert (await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax"))["status"] == "done"
    assert {json.loads(line)["person"] for line in log.read_text().splitlines()} == {"anna"}


async def test_list_says_when_people_called_last(
    portal: RunningPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Within a minute, from a file beside the audit log; its contents survive the server."""
    assert seen.KEPT_SECONDS <= 60
    monkeypatch.setattr(seen, "KEPT_SECONDS", 0.05)
    log = tmp_path / "audit.jsonl"
    monkeypatch.setenv("BITRIX24_PEOPLE", str(tmp_path / "people.jsonl"))
    monkeypatch.setenv("BITRIX24_AUDIT_LOG", str(log))

    def last_seen() -> dict[str, str]:
        assert main(["person", "list"]) == 0
        return {line.partition(":")[0]: line.rpartition("; ")[2] for line in capsys.readouterr().out.splitlines()}

    seen_file = log.with_name("audit.jsonl.seen.json")
    for name in ("anna", "bert"):
        team = TeamServer(portal, tmp_path, audit_log=str(log))
        token = team.add(name)
        async with team.running(), team.client(token) as client:
            await call_tool(client, "get_directory_items", **STAGES)
            with anyio.fail_after(5):
                while name not in (seen_file.read_text() if seen_file.exists() else ""):  # noqa: ASYNC110 - until it is kept
                    await anyio.sleep(0.02)
            if name == "anna":
                team.add("carl")
    lines = await anyio.to_thread.run_sync(last_seen)
    assert [text[:12] for text in lines.values()] == ["last seen 20", "not seen yet", "last seen 20"]
    assert seen_file.stat().st_mode & 0o777 == 0o600
    seen_file.write_text("[broken")
    assert set((await anyio.to_thread.run_sync(last_seen)).values()) == {"not seen yet"}
    seen_file.write_text(f'{{"anna": 1{"0" * 400}, "bert": Infinity, "carl": NaN}}')
    assert set((await anyio.to_thread.run_sync(last_seen)).values()) == {"not seen yet"}
    async with team.running(), team.client(token) as client:
        await call_tool(client, "get_directory_items", **STAGES)
    assert (await anyio.to_thread.run_sync(last_seen))["bert"].startswith("last seen 20")  # stored at the end, too
    seen_file.write_text(json.dumps({"anna": 1.0}))  # an earlier person of the same name
    assert (await anyio.to_thread.run_sync(last_seen))["anna"] == "not seen yet"


CLIENT_WORDS = ("claude_desktop_config", "MCP client", "BITRIX24_WEBHOOK_URL")


@pytest.mark.parametrize("kind", CATALOGUE)
def test_errors_in_the_words_of_a_teams_server(kind: str) -> None:
    message = str(failure(kind, http_status=403).for_a_team())
    assert not [word for word in CLIENT_WORDS if word in message]
    assert "directories-mcp login`" not in message or kind == "RENEWAL_FAILED"


async def test_a_person_whose_webhook_is_dead_is_told_of_this_server(team: TeamServer) -> None:
    anna = team.add("anna", "deadwebhook00001")
    bert = team.people.add("bert", READING, None)
    carl = team.people.add("carl", SCOPES, None, oauth=True)
    async with team.running():
        async with team.client(anna) as client:
            message = str(await call_tool(client, "get_directory_items", **STAGES))
            assert "The portal does not know this webhook" in message
            assert "person webhook NAME" in message
            with pytest.raises(MCPError) as refused:
                await client.read_resource("bitrix24://directories/SOURCE")
            message += str(refused.value)
            assert message.count("person webhook NAME") == 2
        async with team.client(bert) as client:
            without = str(await call_tool(client, "get_directory_items", **STAGES))
            assert "`person webhook NAME --webhook-file FILE`" in without
            refused_write = str(await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax"))
            assert "person scopes NAME" in refused_write
        async with team.client(carl) as client:
            application = str(await call_tool(client, "get_directory_items", **STAGES))
            assert "NOT_CONFIGURED" in application
            assert "in the environment of this server" in application
        for word in CLIENT_WORDS:
            assert word not in message + without + refused_write + application


async def test_the_shared_webhook_is_a_setting(team: TeamServer) -> None:
    team.shared = Webhook.parse(team.portal.webhook_url("deadwebhook00001"))
    bert = team.people.add("bert", READING, None)
    async with team.running(), team.client(bert) as client:
        assert "BITRIX24_WEBHOOK_URL" in str(await call_tool(client, "get_directory_items", **STAGES))


async def test_only_post(team: TeamServer) -> None:
    anna = team.add("anna")
    async with team.running(), httpx.AsyncClient(headers={"authorization": f"Bearer {anna}"}) as http:
        for method in ("GET", "DELETE", "PUT", "OPTIONS"):
            refused = await http.request(method, f"{team.url}/mcp")
            assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


async def test_foreign_hosts_and_origins(team: TeamServer) -> None:
    anna = team.add("anna")
    async with team.running(), httpx.AsyncClient(headers={"authorization": f"Bearer {anna}"}) as http:
        assert (await http.post(f"{team.url}/mcp", headers={"host": "evil.example"}, json={})).status_code == 421
        assert (
            await http.post(f"{team.url}/mcp", headers={"origin": "https://evil.example"}, json={})
        ).status_code == 403


async def test_life_and_readiness(team: TeamServer) -> None:
    anna = team.add("anna")
    async with team.running(), httpx.AsyncClient() as http:
        assert (await http.get(f"{team.url}/healthz")).text == "ok"
        assert (await http.get(f"{team.url}/readyz")).json() == {"ready": True, "portals": []}
        async with team.client(anna) as client:
            await call_tool(client, "get_directory_items", **STAGES)
        ready = (await http.get(f"{team.url}/readyz")).json()
        assert ready["portals"][0]["answers"]
        (connection,) = team.team.connections().values()
        connection.note(reached=False)
        refused = await http.get(f"{team.url}/readyz")
        assert (refused.status_code, refused.json()["ready"]) == (503, False)
        connection.failed_at = anyio.current_time() - 6
        assert (await http.get(f"{team.url}/readyz")).status_code == 200  # asked anew
        everything = json.dumps(ready) + refused.text
    assert ADMIN_SECRET not in everything


async def test_many_who_ask_whether_it_is_ready_ask_the_portal_once(
    team: TeamServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[str] = []

    async def probe(connection: PortalConnection, address: str) -> None:
        probes.append(address)
        await anyio.sleep(0.2)
        connection.note(reached=False)

    monkeypatch.setattr(PortalConnection, "probe", probe)
    anna = team.add("anna")
    async with team.running(), httpx.AsyncClient() as http, anyio.create_task_group() as tasks:
        async with team.client(anna) as client:
            await call_tool(client, "get_directory_items", **STAGES)
        (connection,) = team.team.connections().values()
        connection.reached_at, connection.failed_at = None, anyio.current_time() - 6
        for _ in range(20):
            tasks.start_soon(http.get, f"{team.url}/readyz")
        await anyio.sleep(1)
    assert len(probes) == 1


async def test_metrics_name_no_people(team: TeamServer) -> None:
    anna = team.add("anna")
    async with team.running(), httpx.AsyncClient() as http:
        async with team.client(anna) as client:
            await call_tool(client, "get_directory_items", **STAGES)
            await call_tool(client, "get_directory_items", **STAGES)
            await call_tool(client, "get_directory_items", entityId="NO_SUCH")
        text = (await http.get(f"{team.url}/metrics")).text
    assert 'bitrix24_tool_calls_total{outcome="ok",tool="get_directory_items"} 2.0' in text
    assert 'outcome="UNKNOWN_DIRECTORY"' in text
    assert f'bitrix24_portal_requests_total{{portal="{team.portal.address}/rest/"}}' in text
    assert "anna" not in text
    assert ADMIN_SECRET not in text


async def test_bodies_that_are_too_large_or_no_requests(team: TeamServer) -> None:
    anna = team.add("anna")
    async with team.running(), httpx.AsyncClient(headers={"authorization": f"Bearer {anna}"}) as http:
        url = f"{team.url}/mcp"
        assert (await http.post(url, content=b"x" * (2**20 + 1))).status_code == 413
        accept = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
        for body in (b"", b"no JSON", b"[]", b'{"jsonrpc": "2.0"}', b"\xff\xfe"):
            refused = await http.post(url, content=body, headers=accept)
            assert 400 <= refused.status_code < 500, body


async def test_a_body_that_never_comes_to_its_end(team: TeamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.1)
    anna = team.add("anna")
    async with team.running():
        host, port = team.url.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            head = f"POST /mcp HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {anna}\r\n"
            await stream.send(f"{head}content-length: 100\r\n\r\n{{".encode())
            assert b"408" in (await stream.receive()).splitlines()[0]


@pytest.mark.slow
async def test_a_thousand_idle_connections_and_a_reader_that_does_not_read(team: TeamServer) -> None:
    anna = team.add("anna")
    async with team.running(), contextlib.AsyncExitStack() as idle:
        host, port = team.url.removeprefix("http://").split(":")
        for _ in range(1000):
            await idle.enter_async_context(await anyio.connect_tcp(host, int(port)))
        lazy = await idle.enter_async_context(await anyio.connect_tcp(host, int(port)))
        body = json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "list_directories", "arguments": {}}}
        )
        head = f"POST /mcp HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {anna}\r\n"
        accept = "accept: application/json, text/event-stream\r\n"
        await lazy.send(f"{head}{accept}content-length: {len(body)}\r\n\r\n{body}".encode())
        async with team.client(anna) as client:
            assert (await call_tool(client, "get_directory_items", **STAGES))["total"] == 8


@MODES
async def test_closing_the_response_stops_the_work(team: TeamServer, mode: str) -> None:
    """Work that waits for the portal is cancelled with the connection, in both eras."""
    anna = team.add("anna")
    async with team.running():
        async with team.client(anna, mode) as client:
            await call_tool(client, "get_directory_items", **STAGES)
            portal = team.portal.portal
            portal.faults.order(_slow())
            with anyio.move_on_after(0.3):
                await client.call_tool("get_directory_usage", {"entityId": "SOURCE", "fresh": True})
        member = next(iter(team.team._members.values()))  # noqa: SLF001 - whose work it is
        with anyio.fail_after(5):
            while member._client._shared:  # type: ignore[union-attr]  # noqa: SLF001, ASYNC110
                await anyio.sleep(0.05)


def _slow() -> Any:
    from bitrix24_directories.portal import Fault

    return Fault(method="batch", delay=30)


async def test_ends_at_once_although_somebody_listens(team: TeamServer) -> None:
    anna = team.add("anna")
    uris = ["bitrix24://directories"]
    async with team.running(), team.client(anna) as client:
        async with client.listen(resource_subscriptions=uris) as events:
            await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax")
            with anyio.fail_after(5):
                await anext(aiter(events))
            assert team.http is not None
            started = anyio.current_time()
            team.http.should_exit = True
            rest = [event async for event in events]
        assert (rest, anyio.current_time() - started < 3) == ([], True)


async def test_news_of_one_portal_do_not_reach_another(team: TeamServer) -> None:
    anna = team.add("anna")
    other_address = team.portal.webhook_url().replace("127.0.0.1", "localhost")
    assert other_address != team.portal.webhook_url()
    elsewhere = team.people.add("eva", SCOPES, Webhook.parse(other_address))
    async with team.running(), team.client(anna) as client, team.client(elsewhere) as other:
        uris = ["bitrix24://directories"]
        async with (
            other.listen(resource_subscriptions=uris) as theirs,
            client.listen(resource_subscriptions=uris) as ours,
        ):
            await call_tool(client, "add_directory_item", entityId="SOURCE", name="Fax")
            with anyio.fail_after(5):
                await anext(aiter(ours))
            with anyio.move_on_after(0.2) as nothing:
                await anext(aiter(theirs))
        assert nothing.cancelled_caught


def test_beyond_this_machine_everybody_has_to_say_who_they_are(team: TeamServer) -> None:
    callers = Team(team.people, team.settings, None)
    server = DirectoriesServer(callers, team.settings)
    with pytest.raises(ServingError, match="BITRIX24_PEOPLE"):
        application(server, callers, team.settings, None, beyond_loopback=True)
    verify = TokenVerifier(team.people, team.settings).verify
    with pytest.raises(ServingError, match="BITRIX24_PUBLIC_URL"):
        application(server, callers, team.settings, verify, beyond_loopback=True)
    for changes, words in (({}, "BITRIX24_PUBLIC_URL"), ({"public_url": "https://x/mcp"}, "BITRIX24_JWT_AUDIENCE")):
        settings = team.settings.model_copy(update={"jwt_issuer": "https://id.example", **changes})
        with pytest.raises(ServingError, match=words):
            application(server, callers, settings, verify, beyond_loopback=False)


class TestPeople:
    """The file of people itself."""

    def test_it_holds_no_token(self, team: TeamServer) -> None:
        token = team.add("anna")
        assert token not in team.people.path.read_text()
        assert team.people.path.stat().st_mode & 0o777 == 0o600

    def test_what_others_can_read_is_not_read(self, team: TeamServer) -> None:
        token = team.add("anna")
        assert team.people.with_token(token) is not None
        team.people.path.chmod(0o644)
        assert team.people.with_token(token) is not None  # as before
        with pytest.raises(PeopleError, match="0600"):
            team.people.make_sure()
        assert People(team.people.path).with_token(token) is None

    def test_a_broken_line_lets_in_all_but_its_own(self, team: TeamServer) -> None:
        anna, bert = team.add("anna"), team.add("bert")
        lines = team.people.path.read_text().splitlines()
        team.people.path.write_text("\n".join([lines[0], "{broken", lines[1].replace("directories:read", "all")]))
        assert team.people.with_token(anna) is not None
        assert team.people.with_token(bert) is None
        assert team.people.trouble.startswith("lines 2, 3 of people.jsonl: no person's")
        team.people.remove("anna")
        assert team.people.path.read_text().splitlines()[0] == "{broken"
        assert team.people.with_token(anna) is None

    def test_comments_stay_where_they_are(self, team: TeamServer) -> None:
        team.add("anna")
        path = team.people.path
        path.write_text(f"# the office\n\n{path.read_text()}# the warehouse\n")
        team.add("bert")
        assert [line[:10] for line in path.read_text().splitlines()] == [
            "# the offi", "", '{"name": "', "# the ware", '{"name": "',
        ]  # fmt: skip

    @pytest.mark.parametrize("name", ["", "a b", "x" * 65, "../x", "a\nb"])
    def test_names(self, team: TeamServer, name: str) -> None:
        with pytest.raises(PeopleError, match="1 to 64"):
            team.add(name)

    def test_nobody_twice(self, team: TeamServer) -> None:
        team.add("anna")
        with pytest.raises(PeopleError, match="there already"):
            team.add("anna")
        with pytest.raises(PeopleError, match="there is no bert"):
            team.people.rotate("bert")
