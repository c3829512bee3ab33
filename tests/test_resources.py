"""Resources, completion and prompts, through MCP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference, TextContent, TextResourceContents

from bitrix24_directories.directories.models import Directory, Item
from bitrix24_directories.directories.review import troubles
from bitrix24_directories.rest import Bitrix24Error
from bitrix24_directories.settings import Settings
from support import ADMIN_SECRET, PortalInProcess, connect

pytestmark = pytest.mark.virtual_clock


@pytest.fixture
async def client(portal: PortalInProcess) -> AsyncIterator[Client]:
    async with connect(portal) as opened:
        yield opened.client


async def text_of(client: Client, uri: str) -> str:
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    return contents.text


async def prompt(client: Client, name: str, **arguments: str) -> str:
    (message,) = (await client.get_prompt(name, arguments)).messages
    assert isinstance(message.content, TextContent)
    return message.content.text


async def test_what_is_listed(client: Client) -> None:
    assert [resource.uri for resource in (await client.list_resources()).resources] == [
        "bitrix24://directories",
        "bitrix24://fields",
    ]
    (template,) = (await client.list_resource_templates()).resource_templates
    assert template.uri_template == "bitrix24://directories/{entityId}"
    assert [prompt.name for prompt in (await client.list_prompts()).prompts] == [
        "map_values",
        "explain_pipeline",
        "review_directories",
        "before_you_write",
    ]


async def test_resources_say_what_the_tools_say(client: Client) -> None:
    for uri, tool, arguments in (
        ("bitrix24://directories", "list_directories", {}),
        ("bitrix24://directories/SOURCE", "get_directory_items", {"entityId": "SOURCE"}),
        ("bitrix24://directories/deal_stage_1", "get_directory_items", {"entityId": "DEAL_STAGE_1"}),
    ):
        (text,) = (await client.call_tool(tool, arguments)).content
        assert isinstance(text, TextContent)
        assert await text_of(client, uri) == text.text


async def test_fields(client: Client) -> None:
    lines = (await text_of(client, "bitrix24://fields")).splitlines()
    assert "deal.STAGE_ID: Stage - DEAL_STAGE, DEAL_STAGE_1, DEAL_STAGE_2" in lines
    assert "deal.UF_CRM_1724: Customer size - 77 Small customers; 78 Middle; 79 Large customers" in lines
    assert "lead.UF_CRM_1724077700: Partner level - PARTNER_LEVEL" in lines
    assert "item(177).sourceId: Source - SOURCE" in lines
    assert not [line for line in lines if "previousStageId" in line]  # read-only
    assert "STATUS_ID: string, Status ID [required, immutable]" in lines


async def test_how_long_a_client_may_keep_a_resource(portal: PortalInProcess) -> None:
    """As long as our own cache does, from the moment of reading."""
    async with connect(portal) as assistant:
        read = await assistant.client.read_resource("bitrix24://directories")
        assert (read.ttl_ms, read.cache_scope) == (300_000, "private")
        await assistant.call("get_directory_items", entityId="SOURCE")
        await anyio.sleep(42)
        read = await assistant.client.read_resource("bitrix24://directories/SOURCE")
        assert read.ttl_ms == 258_000
        assert read.contents[0].meta == {"ageSeconds": 42}


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("bitrix24://directories/NOPE", 'This portal has no directory "NOPE"'),
        ("bitrix24://elsewhere", "There is no such resource"),
    ],
)
async def test_resources_that_do_not_exist(client: Client, uri: str, part: str) -> None:
    with pytest.raises(MCPError, match=part):
        await client.read_resource(uri)


async def test_a_portal_that_fails(portal: PortalInProcess, client: Client) -> None:
    portal.order(code="ODD", description=f"see https://x/rest/1/{ADMIN_SECRET}/")
    for failing in (client.read_resource("bitrix24://fields"), client.get_prompt("review_directories", {})):
        with pytest.raises(MCPError, match="not documented") as failed:
            await failing
        assert ADMIN_SECRET not in str(failed.value)
    completed = await client.complete(PromptReference(name="explain_pipeline"), {"name": "entityId", "value": ""})
    assert completed.completion.values == []


async def test_completion_from_the_portals_own_directories(client: Client) -> None:
    template = ResourceTemplateReference(uri="bitrix24://directories/{entityId}")
    for ref in (template, PromptReference(name="map_values")):
        completed = (await client.complete(ref, {"name": "entityId", "value": "deal_st"})).completion
        assert completed.values == ["DEAL_STAGE", "DEAL_STAGE_1", "DEAL_STAGE_2"]
    by_title = await client.complete(template, {"name": "entityId", "value": "Wholesale"})
    assert by_title.completion.values == ["DEAL_STAGE_1"]
    field = await client.complete(template, {"name": "entityId", "value": "deal.s"})
    assert field.completion.values == ["deal.STAGE_ID", "deal.SOURCE_ID"]
    other = await client.complete(PromptReference(name="map_values"), {"name": "values", "value": "w"})
    assert other.completion.values == []


async def test_map_values_carries_what_it_needs(client: Client) -> None:
    text = await prompt(client, "map_values", entityId="source", values="Website\ncold cal;  \nwebsite?;pigeon")
    assert '"Website" -> WEB (Website) [this name] in SOURCE: exact' in text
    assert '"cold cal" -> not certain; nearest UC_C0LD01 (Cold call)' in text
    assert '"pigeon" -> nothing like it' in text
    assert "SOURCE: 15 items, in order (code: name)" in text
    assert "open questions" in text


async def test_map_values_takes_a_field(client: Client) -> None:
    text = await prompt(client, "map_values", entityId="lead.SOURCE_ID", values="Website")
    assert '"Website" -> WEB (Website) [this name] in SOURCE: exact' in text
    assert "SOURCE: 15 items, in order (code: name)" in text
    assert "check it whole with check_record" in text
    sizes = await prompt(client, "map_values", entityId="deal.UF_CRM_1724", values="large customers")
    assert '"large customers" -> 79 (Large customers) [this name] in deal.UF_CRM_1724' in sizes
    with pytest.raises(MCPError, match="has a directory for each pipeline"):
        await prompt(client, "map_values", entityId="deal.STAGE_ID", values="won")


async def test_map_values_takes_long_columns(client: Client, portal: PortalInProcess) -> None:
    text = await prompt(client, "map_values", entityId="SOURCE", values="\n".join(f"value {n}" for n in range(520)))
    assert '"value 499" -> nothing like it' in text
    assert "20 values beyond the first 500 or of more than 200 characters were left out." in text
    assert len(portal.portal.calls) < 15


async def test_what_is_too_long_for_a_prompt(client: Client) -> None:
    text = await prompt(client, "map_values", entityId="SOURCE", values=f"Website\n{'x' * 201}")
    assert "1 values beyond the first 500 or of more than 200 characters were left out." in text
    for arguments in ({"entityId": "SOURCE", "values": "x" * 10**7}, {"entityId": "x" * 10**7, "values": "x"}):
        with pytest.raises(MCPError) as caught:
            await client.get_prompt("map_values", arguments)
        assert len(str(caught.value)) < 1000


async def test_explain_pipeline_carries_what_it_needs(client: Client) -> None:
    text = await prompt(client, "explain_pipeline", entityId="DEAL_STAGE_1")
    assert (
        "Deal stages (Wholesale) - stages for deal.STAGE_ID, pipeline 1 Wholesale, start C1:NEW, success C1:WON" in text
    )
    assert "C1:WON: Deal Won [success] #7BD500" in text


async def test_review_directories_carries_what_it_found(client: Client, portal: PortalInProcess) -> None:
    portal.portal.store.add("SOURCE", "UC_DOUBLE", "cold  Call")
    text = await prompt(client, "review_directories")
    assert "PARTNER_LEVEL (Partner levels): it is empty" in text
    assert "SOURCE (Sources): 2 items have the same name, cold Call: UC_DOUBLE, UC_C0LD01" in text
    assert 'SOURCE (Sources): 4 records carry "website" in deal.SOURCE_ID, which it does not have' in text


@pytest.mark.parametrize(
    ("name", "arguments", "part"),
    [
        ("explain_pipeline", {"entityId": "NOPE"}, "Use one of the nearest"),
        ("map_values", {"values": "a", "entityId": "NOPE"}, "This portal has no directory"),
        ("map_values", {}, "The prompt map_values needs values and entityId too"),
        ("no_such_prompt", {}, "Unknown prompt"),
    ],
)
async def test_prompts_that_cannot_be_made(client: Client, name: str, arguments: dict[str, str], part: str) -> None:
    with pytest.raises(MCPError, match=part):
        await client.get_prompt(name, arguments)


def test_every_kind_of_trouble() -> None:
    stages = Directory(entity_id="S", name="S", kind="stages", success="C1:WON", failure="C1:GONE")
    items = [
        Item(status_id=code, name=name, sort=10)
        for code, name in (("C1:NEW", "New"), ("C1:WON", "Won"), ("C2:X", "New"), ("C1:Y", ""))
    ]
    assert list(troubles(stages, items)) == [
        "2 items have the same name, New: C1:NEW, C2:X",
        "C1:Y has no name",
        "its stage of failure, C1:GONE, is none of its items",
        "C2:X is outside the prefix of the others, C1",
    ]
    lonely = Directory(entity_id="S", name="S", kind="stages")
    assert list(troubles(lonely, items[:1])) == [
        "it has a single item: is it used at all?",
        "it has no stage of success",
        "it has no stage of failure",
    ]
    assert list(troubles(lonely, [])) == ["it is empty"]


async def test_without_a_portal() -> None:
    with pytest.raises(Bitrix24Error, match="BITRIX24_WEBHOOK_URL") as missing:
        Settings().credentials()
    async with connect(missing.value) as assistant:
        with pytest.raises(MCPError, match="BITRIX24_WEBHOOK_URL is not set"):
            await assistant.client.read_resource("bitrix24://directories")


async def test_the_instructions_are_short(client: Client) -> None:
    assert client.instructions is not None
    assert len(client.instructions.split()) < 120
    for tool in (await client.list_tools()).tools:
        assert tool.description is not None
        assert len(tool.description.split()) <= 90
