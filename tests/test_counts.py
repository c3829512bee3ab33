"""A count that contradicts itself is none: nothing is called unused, deleted or done on its word."""

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
from support import Assistant, PortalInProcess, RunningPortal, Said, ask, assistant, examples

pytestmark = pytest.mark.virtual_clock

ITEM = {"entityId": "SOURCE", "statusId": "EMAIL"}
MERGED = {"entityId": "SOURCE", "codes": ["EMAIL"], "into": "WEB"}
NO_COUNT = st.one_of(
    st.none(), st.integers(max_value=1), st.text(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
"""What stands in the place of `total` beside two records; None: nothing at all."""

Counted = Callable[[dict[str, Any], MethodResult], MethodResult]


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Counted], None]:
    """Lets something else come of each count."""

    def order(counted: Counted) -> None:
        def run(store: Any, user: Any, method: str, params: Any) -> MethodResult:
            answer = real(store, user, method, params)
            is_count = method == "crm.item.list" and str(params.get("start")) != "-1"
            return counted(params, answer) if is_count else answer

        monkeypatch.setattr("bitrix24_directories.portal.app.run", run)

    return order


def contradicting(total: Any) -> Counted:
    """Two records, and a total that cannot be that of two."""

    def counted(_params: dict[str, Any], answer: MethodResult) -> MethodResult:
        rows = [{"id": 1, "sourceId": "GONE"}, {"id": 2, "sourceId": "GONE"}]
        return replace(answer, result={"items": rows}, total=total, next=None)

    return counted


def empty() -> PortalInProcess:
    portal = PortalInProcess(DemoPortal())
    portal.portal.store.records.all = {}
    return portal


def stands(portal: RunningPortal) -> bool:
    return any(item.status_id == "EMAIL" for item in portal.portal.store.of("SOURCE"))


async def twice(someone: Assistant, tool: str, given: dict[str, Any]) -> Said:
    """The plan, and then what it plans."""
    planned = await someone.call(tool, **given)
    plan_id = planned.structured.get("planId")
    return await someone.call(tool, **given, planId=plan_id) if plan_id else planned


@settings(max_examples=examples(60))
@given(total=NO_COUNT)
async def test_nothing_is_called_unused(counting: Callable[[Counted], None], total: Any) -> None:
    counting(contradicting(total))
    said = await ask(empty(), "get_directory_usage", entityId="SOURCE")
    assert said.error["code"] == "UNEXPECTED_ANSWER"


@settings(max_examples=examples(60))
@given(total=NO_COUNT, spared=st.integers(0, 5))
async def test_what_one_count_of_many_says_is_no_count(
    counting: Callable[[Counted], None], total: Any, spared: int
) -> None:
    """Only the counts of EMAIL contradict themselves, but for the first few."""
    left = iter(range(spared))

    def counted(params: dict[str, Any], answer: MethodResult) -> MethodResult:
        is_it = "EMAIL" in [value for key, value in params["filter"].items() if key.startswith("=")]
        return contradicting(total)(params, answer) if is_it and next(left, None) is None else answer

    counting(counted)
    said = await ask(empty(), "get_directory_usage", entityId="SOURCE")
    (item,) = (item for item in said.structured["items"] if item["statusId"] == "EMAIL")
    assert "count" not in item
    assert "EMAIL: E-Mail - not counted" in said.text
    assert any("counts could not be made" in what for what in said.structured["partial"])


@settings(max_examples=examples(40))
@given(total=NO_COUNT)
async def test_nothing_is_deleted_on_its_word(counting: Callable[[Counted], None], total: Any) -> None:
    portal = empty()
    counting(lambda _params, answer: answer)
    async with assistant(portal, allow_writes=True) as someone:
        planned = await someone.call("delete_directory_item", **ITEM)
        assert "no record that this user may read carries it" in planned.text
        counting(contradicting(total))
        said = await someone.call("delete_directory_item", **ITEM, planId=planned.structured["planId"])
    assert said.error["code"] == "CHANGE_REFUSED"
    assert "before the removal whether records carry it is not known for certain" in said.text
    assert stands(portal)


@settings(max_examples=examples(40))
@given(total=NO_COUNT)
async def test_a_merge_says_neither_done_nor_none_left(counting: Callable[[Counted], None], total: Any) -> None:
    portal = empty()
    counting(contradicting(total))
    async with assistant(portal, allow_writes=True) as someone:
        said = await twice(someone, "merge_directory_items", MERGED)
    assert stands(portal)
    assert said.structured["status"] != "done"
    for claim in ("none left", "0 left", "nothing to move", "no record has to be moved"):
        assert claim not in said.text


async def test_a_merge_whose_last_count_fails_says_so(counting: Callable[[Counted], None]) -> None:
    portal = PortalInProcess(DemoPortal())

    def counted(params: dict[str, Any], answer: MethodResult) -> MethodResult:
        moved = not any("EMAIL" in record.values() for record in portal.portal.store.records.all.values())
        return contradicting(0)(params, answer) if moved else answer

    counting(counted)
    async with assistant(portal, allow_writes=True) as someone:
        plan = await someone.call("merge_directory_items", **MERGED)
        said = await someone.call("merge_directory_items", **MERGED, planId=plan.structured["planId"])
    assert said.structured["status"] == "incomplete"
    assert said.structured["moved"] == plan.structured["left"]
    assert "left" not in said.structured
    assert "left. " not in said.text.replace("how many are left", "")
    assert any("not counted" in note for note in said.structured["notes"])
    assert stands(portal)


async def test_counts_that_contradict_each_other(counting: Callable[[Counted], None]) -> None:
    """Records carry one of the codes, says one count; no record carries it, say those of the codes themselves."""

    def counted(params: dict[str, Any], answer: MethodResult) -> MethodResult:
        asked = [key for key in params["filter"] if key.startswith("=")]
        return replace(answer, result={"items": []}, total=0, next=None) if asked else answer

    portal = PortalInProcess(DemoPortal())
    counting(counted)
    async with assistant(portal, allow_writes=True) as someone:
        planned = await someone.call("delete_directory_item", entityId="SOURCE", statusId="EMAIL")
        assert "whether records carry it is not known for certain" in planned.text
        merged = await twice(someone, "merge_directory_items", MERGED)
    assert stands(portal)
    assert merged.structured["status"] != "done"
    assert "none left" not in merged.text


async def test_a_total_that_ends_before_the_next_page(counting: Callable[[Counted], None]) -> None:
    counting(lambda _params, answer: replace(answer, result={"items": []}, total=0, next=50))
    said = await ask(empty(), "get_directory_usage", entityId="SOURCE")
    assert said.error["code"] == "UNEXPECTED_ANSWER"


@pytest.mark.parametrize("total", [None, 0])
async def test_an_unknown_code_is_never_said_to_be_in_no_record(
    counting: Callable[[Counted], None], total: Any
) -> None:
    """The page shows records that carry it, and its own count fails, or says that there are none."""
    portal = PortalInProcess(DemoPortal())
    for lead in portal.portal.store.records.of(1):
        lead["sourceId"] = "GONE"

    def counted(params: dict[str, Any], answer: MethodResult) -> MethodResult:
        is_it = params["filter"].get("=sourceId") == "GONE"
        return replace(answer, result={"items": []}, total=total, next=None) if is_it else answer

    counting(counted)
    said = await ask(portal, "get_directory_usage", entityId="lead.SOURCE_ID")
    (unknown,) = said.structured["unknown"]
    assert unknown["code"] == "GONE"
    assert "count" not in unknown
    assert len(unknown["ids"]) == 5
    assert '"GONE": an unknown number of leads (' in said.text
    assert "Not in the directory: 1 code, in an unknown number of records" in said.text


async def test_that_no_count_was_made_of_the_rest_is_said(counting: Callable[[Counted], None]) -> None:
    """What other codes there are beside those of the first page is not known: that is not none."""
    portal = PortalInProcess(DemoPortal())
    for lead in portal.portal.store.records.of(1):
        lead["sourceId"] = "GONE"

    def counted(params: dict[str, Any], answer: MethodResult) -> MethodResult:
        is_rest = "GONE" in str(params["filter"]) and "=sourceId" not in params["filter"]
        return replace(answer, total=None) if is_rest else answer

    counting(counted)
    said = await ask(portal, "get_directory_usage", entityId="lead.SOURCE_ID")
    assert said.structured["unknown"][0]["count"] == 90
    assert any("1 of " in what and "counts could not be made" in what for what in said.structured["partial"])
