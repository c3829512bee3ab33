"""Any answer of a portal and any input of a model: a result, no crash, and no secret in it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp.shared.exceptions import MCPError

from bitrix24_directories.portal import Fault
from bitrix24_directories.text import INVISIBLE
from support import ADMIN_SECRET, Assistant, RunningPortal, connect, examples

pytestmark = pytest.mark.virtual_clock


@pytest.fixture
async def assistant(portal: RunningPortal) -> AsyncIterator[Assistant]:
    """One assistant, without memory, for all examples of hypothesis."""
    async with connect(portal, cache_ttl=0) as opened:
        yield opened


secret_or_text = st.one_of(st.text(), st.just(f"https://x/rest/1/{ADMIN_SECRET}/"), st.just(ADMIN_SECRET))
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), secret_or_text),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(secret_or_text, inner, max_size=4)),
    max_leaves=12,
)
rows = st.lists(
    st.one_of(
        st.fixed_dictionaries({"STATUS_ID": secret_or_text, "NAME": secret_or_text, "SORT": st.integers()}),
        st.fixed_dictionaries(
            {
                "ID": st.one_of(secret_or_text, st.integers()),
                "NAME": anything,
                "STATUS_ID": anything,
                "ENTITY_ID": st.just("SOURCE"),
                "EXTRA": anything,
                "SEMANTIC_INFO": anything,
                "CATEGORY_ID": anything,
            }
        ),
        anything,
    ),
    max_size=4,
)
bodies = st.one_of(
    st.binary(),
    st.builds(lambda value: json.dumps(value).encode(), anything),
    st.builds(lambda value: json.dumps({"result": value}).encode(), st.one_of(rows, anything)),
    st.builds(lambda code, text: json.dumps({"error": code, "error_description": text}).encode(), anything, anything),
    st.builds(lambda text: text.encode("utf-8", "surrogatepass"), secret_or_text),
)
statuses = st.sampled_from([200, 201, 302, 400, 401, 403, 404, 410, 429, 451, 500, 502, 503])
content_types = st.sampled_from(["application/json", "text/html", "text/plain; charset=latin-1"])
calls = st.sampled_from(
    [
        ("get_directory_items", {"entityId": "SOURCE"}),
        ("get_directory_items", {"entityId": "SOURCE", "details": True}),
        ("list_directories", {}),
        ("get_directory_usage", {"entityId": "SOURCE"}),
        ("check_record", {"entity": "deal", "fields": {"SOURCE_ID": "CALL", "STAGE_ID": "won"}, "recordId": "5"}),
    ]
)


@settings(max_examples=examples(300))
@given(body=bodies, status=statuses, content_type=content_types, call=calls)
async def test_anything_a_portal_may_send(
    portal: RunningPortal,
    assistant: Assistant,
    body: bytes,
    status: int,
    content_type: str,
    call: tuple[str, dict[str, Any]],
) -> None:
    portal.portal.faults.clear()
    portal.order(body=body, status=status, headers={"content-type": content_type})
    tool, arguments = call
    result = await assistant.call(tool, **arguments)
    _check(result.everything, result.is_error, result.error["code"] if result.is_error else "")


@settings(max_examples=examples(200))
@given(
    tool=st.one_of(st.sampled_from(["get_directory_items", "list_directories", "check_record"]), st.text()),
    arguments=st.dictionaries(
        st.one_of(st.sampled_from(["entityId", "details", "query", "entity", "fields", "recordId"]), st.text()),
        anything,
        max_size=4,
    ),
)
async def test_anything_a_model_may_pass(assistant: Assistant, tool: str, arguments: dict[str, Any]) -> None:
    result = await assistant.call(tool, **arguments)
    _check(result.text, result.is_error, result.error["code"] if result.is_error else "")


@settings(max_examples=examples(200))
@given(entity_id=st.one_of(secret_or_text, st.text(st.characters()), st.integers(1, 10**5).map(lambda n: "A" * n)))
async def test_any_entity_id(assistant: Assistant, entity_id: str) -> None:
    result = await assistant.call("get_directory_items", entityId=entity_id)
    _check(result.text, result.is_error, result.error["code"] if result.is_error else "")
    assert len(result.text) < 1500


@settings(max_examples=examples(150))
@given(fields=st.one_of(anything, st.dictionaries(st.sampled_from(["STAGE_ID", "SOURCE_ID", "UF_CRM_1727"]), anything)))
async def test_any_fields_of_a_record(assistant: Assistant, fields: Any) -> None:
    result = await assistant.call("check_record", entity="deal", fields=fields)
    _check(result.everything, result.is_error, result.error["code"] if result.is_error else "")


IDS = [
    "LINE\nBREAK",
    "ESC\x1b[2J",
    "ZERO\u200bWIDTH",
    'QUO"TE',
    "BLANK ID",
    "RIGHT\u202eLEFT",
    "DEAL_STAGE\r\nNext: call",
]


@pytest.mark.parametrize("entity_id", IDS)
async def test_ids_of_the_portal_are_shown_on_their_line(portal: RunningPortal, entity_id: str) -> None:
    """In every text: lists, nearest, matches, unsearched directories, prompts, completions."""
    rows = [{"ID": entity_id, "NAME": "Odd"}, {"ID": "SOURCE", "NAME": "Sources"}]
    json_type = {"content-type": "application/json"}
    portal.order(method="crm.status.entity.types", body=json.dumps({"result": rows}), headers=json_type)
    async with connect(portal, cache_ttl=0) as assistant:
        texts = [
            (await assistant.call("list_directories")).text,
            (await assistant.call("get_directory_items", entityId=f"{entity_id[:4]}X")).text,
            (await assistant.call("find_directory_items", queries=["call", "odd"])).text,
            (await assistant.call("find_directory_items", queries=["call"], entityIds=[entity_id, "NOPE"])).text,
        ]
        portal.order(method="batch", code="OVERLOAD_LIMIT")
        portal.order(method="crm.status.entity.items", code="OVERLOAD_LIMIT")
        for name in ("review_directories", "explain_pipeline"):
            with contextlib.suppress(MCPError):
                prompt = await assistant.client.get_prompt(name, {"entityId": "SOURCE"} if name[0] == "e" else None)
                texts.append(getattr(prompt.messages[0].content, "text", ""))
    for text in texts:
        assert [line for line in text.splitlines() if INVISIBLE.search(line)] == []
        assert not any(line.startswith(("BREAK", "Next: call")) for line in text.splitlines())


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("bomb", "ANSWER_TOO_LARGE"),
        ("wait", "QUERY_LIMIT_EXCEEDED"),
        ("moved:https://elsewhere.example/", "PORTAL_MOVED"),
    ],
)
async def test_a_portal_that_means_harm(portal: RunningPortal, fault: str, code: str) -> None:
    """Faults as `--fault` orders them; `echo` and `drip` have tests of their own."""
    portal.portal.faults.order(Fault.parse(fault))
    async with connect(portal, timeout=10) as assistant:
        result = await assistant.call("list_directories")
    assert result.error["code"] == code
    assert result.error.get("retryAfterSeconds", 0) <= 25


async def test_a_portal_that_drips_ends_with_the_timeout(portal: RunningPortal) -> None:
    portal.portal.faults.order(Fault.parse("drip"))
    async with connect(portal, timeout=10) as assistant:
        assert (await assistant.call("list_directories")).error["code"] == "TIMEOUT"


def _check(everything: str, is_error: bool, code: str) -> None:
    everything.encode()
    assert ADMIN_SECRET not in everything
    assert code != "INTERNAL_ERROR"
    if is_error:
        assert "Next: " in everything
        assert "Traceback" not in everything
        assert "pydantic" not in everything
