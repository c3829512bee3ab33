"""Contradictory counts are discarded: they make nothing unused, deleted or done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.calls import MethodResult
from bitrix24_directories.portal.methods import run as real
from support import Assistant, PortalInProcess, RunningPortal, ToolAnswer, ask, connect, examples

pytestmark = pytest.mark.virtual_clock

ITEM = {"entityId": "SOURCE", "statusId": "EMAIL"}
MERGED = {"entityId": "SOURCE", "codes": ["EMAIL"], "into": "WEB"}
NO_COUNT = st.one_of(
    st.none(), st.integers(max_value=1), st.text(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
"""Values of `total` beside two records; None means no `total` at all."""

Counted = Callable[[dict[str, Any], MethodResult], MethodResult]


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Counted], None]:
    """Replaces the answer to each count."""

    def order(counted: Counted) -> None:
        def run(store: Any, user: Any, method: str, params: Any) -> MethodResult:
            answer = real(store, user, method, params)
            is_count = method == "crm.item.list" and str(params.get("start")) != "-1"
            return counted(params, answer) if is_count else answer

        monkeypatch.setattr("bitrix24_directories.portal.app.run", run)

    return order


def contradicting(total: Any) -> Counted:
    """Answer with two records, and a total that cannot be that of two."""

    def counted(_params: dict[str, Any], answer: MethodResult) -> MethodResult:
        rows = [{"id": 1, "sourceId": "GONE"}, {"id": 2, "sourceId": "GONE"}]
        return replace(answer, result={"items": rows}, total=total, next=None)

    return counted


def empty() -> PortalInProcess:
    portal = PortalInProcess(DemoPortal())
    portal.portal.store.records.all = {}
    return portal


def has_email(portal: RunningPortal) -> bool:
    return any(item.status_id == "EMAIL" for item in portal.portal.store.of("SOURCE"))


async def plan_and_apply(assistant: Assistant, tool: str, arguments: dict[str, Any]) -> ToolAnswer:
    """Plan a change, and then carry it out."""
    planned = await assistant.call(tool, **arguments)
    plan_id = planned.structured.get("planId")
    return await assistant.call(tool, **arguments, planId=plan_id) if plan_id else planned


@settings(max_examples=examples(60))
@given(total=NO_COUNT)
async def test_nothing_is_called_unused(counting: Callable[[Counted], None], total: Any) -> None:
    counting(contradicting(total))
    result = await ask(empty(), "get_directory_usage", entityId="SOURCE")
    assert result.error["code"] == "UNEXPECTED_ANSWER"


@settings(max_examples=examples(60))
@given(total=NO_COUNT, spared=st.integers(0, 5))
async def test_what_one_count_of_many_says_is_no_count(
    counting: Callable[[Counted], None], total: Any, spared: int
) -> None:
    """Only the counts of EMAIL contradict themselves, except for the first few."""
    left = iter(range(spared))

    def counted(params: dict[str, Any], answer: MethodResult) -> MethodResult:
        is_it = "EMAIL" in [value for key, value in params["filter"].items() if key.startswith("=")]
        return contradicting(total)(params, answer) if is_it and next(left, None) is None else answer

    counting(counted)
    result = await ask(empty(), "get_directory_usage", entityId="SOURCE")
    (item,) = (item for item in result.structured["items"] if item["statusId"] == "EMAIL")
    assert "count" not in item
    assert "EMAIL: E-Mail - not counted" in result.text
    assert any("counts could not be made" in note for note in result.structured["partial"])


@settings(max_examples=examples(40))
@given(total=NO_COUNT)
async def test_nothing_is_deleted_on_its_word(counting: Callable[[Counted], None], total: Any) -> None:
    portal = empty()
    counting(lambda _params, answer: answer)
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", **ITEM)
        assert "no record that this user may read carries it" in planned.text
        counting(contradicting(total))
        result = await assistant.call("delete_directory_item", **ITEM, planId=planned.structured["planId"])
    assert result.error["code"] == "CHANGE_REFUSED"
    assert "before the removal whether records carry it is not known for certain" in result.text
    assert has_email(portal)


@settings(max_examples=examples(40))
@given(total=NO_COUNT)
async def test_a_merge_says_neither_done_nor_none_left(counting: Callable[[Counted], None], total: Any) -> None:
    portal = empty()
    counting(contradicting(total))
    async with connect(portal, allow_writes=True) as assistant:
        result = await plan_and_apply(assistant, "merge_directory_items", MERGED)
    assert has_email(portal)
    assert result.structured["status"] != "done"
    for claim in ("none left", "0 left", "nothing to move", "no record has to be moved"):
        assert claim not in result.text


async def test_a_merge_whose_last_count_fails_says_so(counting: Callable[[Counted], None]) -> None:
    portal = PortalInProcess(DemoPortal())

    def counted(params: dict[str, Any], answer: MethodResult) -> MethodResult:
        moved = not any("EMAIL" in record.values() for record in portal.portal.store.records.all.values())
        return contradicting(0)(params, answer) if moved else answer

    counting(counted)
    async with connect(portal, allow_writes=True) as assistant:
        plan = await assistant.call("merge_directory_items", **MERGED)
        result = await assistant.call("merge_directory_items", **MERGED, planId=plan.structured["planId"])
    assert result.structured["status"] == "incomplete"
    assert result.structured["moved"] == plan.structured["left"]
    assert "left" not in result.structured
    assert "left. " not in result.text.replace("how many are left", "")
    assert any("not counted" in note for note in result.structured["notes"])
    assert has_email(portal)


async def test_counts_that_contradict_each_other(counting: Callable[[Counted], None]) -> None:
    """One count finds records with one of the codes, the counts of the single codes find none."""

    def counted(params: dict[str, Any], answer: MethodResult) -> MethodResult:
        keys = [key for key in params["filter"] if key.startswith("=")]
        return replace(answer, result={"items": []}, total=0, next=None) if keys else answer

    portal = PortalInProcess(DemoPortal())
    counting(counted)
    async with connect(portal, allow_writes=True) as assistant:
        planned = await assistant.call("delete_directory_item", entityId="SOURCE", statusId="EMAIL")
        assert "whether records carry it is not known for certain" in planned.text
        merged = await plan_and_apply(assistant, "merge_directory_items", MERGED)
    assert has_email(portal)
    assert merged.structured["status"] != "done"
    assert "none left" not in merged.text


async def test_a_total_that_ends_before_the_next_page(counting: Callable[[Counted], None]) -> None:
    counting(lambda _params, answer: replace(answer, result={"items": []}, total=0, next=50))
    result = await ask(empty(), "get_directory_usage", entityId="SOURCE")
    assert result.error["code"] == "UNEXPECTED_ANSWER"


@pytest.mark.parametrize("total", [None, 0])
async def test_an_unknown_code_is_never_said_to_be_in_no_record(
    counting: Callable[[Counted], None], total: Any
) -> None:
    """The page shows records with the code, and the code's own count fails, or is 0."""
    portal = PortalInProcess(DemoPortal())
    for lead in portal.portal.store.records.of(1):
        lead["sourceId"] = "GONE"

    def counted(params: dict[str, Any], answer: MethodResult) -> MethodResult:
        is_it = params["filter"].get("=sourceId") == "GONE"
        return replace(answer, result={"items": []}, total=total, next=None) if is_it else answer

    counting(counted)
    result = await ask(portal, "get_directory_usage", entityId="lead.SOURCE_ID")
    (unknown,) = result.structured["unknown"]
    assert unknown["code"] == "GONE"
    assert "count" not in unknown
    assert len(unknown["ids"]) == 5
    assert '"GONE": an unknown number of leads (' in result.text
    assert "Not in the directory: 1 code, in an unknown number of records" in result.text


async def test_that_no_count_was_made_of_the_rest_is_said(counting: Callable[[Counted], None]) -> None:
    """Codes beyond the first page are not known, which does not mean that there are none."""
    portal = PortalInProcess(DemoPortal())
    for lead in portal.portal.store.records.of(1):
        lead["sourceId"] = "GONE"

    def counted(params: dict[str, Any], answer: MethodResult) -> MethodResult:
        is_rest = "GONE" in str(params["filter"]) and "=sourceId" not in params["filter"]
        return replace(answer, total=None) if is_rest else answer

    counting(counted)
    result = await ask(portal, "get_directory_usage", entityId="lead.SOURCE_ID")
    assert result.structured["unknown"][0]["count"] == 90
    assert any("1 of " in note and "counts could not be made" in note for note in result.structured["partial"])
