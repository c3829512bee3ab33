"""get_directory_usage through MCP: records of each code, and codes that no directory has."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitrix24_directories.portal import DemoPortal
from support import PortalInProcess, RunningPortal, ToolAnswer, ask, connect, examples

Values = dict[str, Any]


async def usage(portal: RunningPortal, entity_id: str, **more: Any) -> ToolAnswer:
    result = await ask(portal, "get_directory_usage", entityId=entity_id, **more)
    assert not result.is_error, result.text
    return result


def only_sources(portal: RunningPortal, *values: Any, number: int = 1) -> None:
    """Leave as many records of a type as there are values, each with one of them as its source."""
    records = portal.portal.store.records
    remaining = records.of(number)[: len(values)]
    records.all = {(number, values["id"]): values for values in remaining}
    for record, value in zip(remaining, values, strict=True):
        record["sourceId"] = value


def counts(result: ToolAnswer) -> dict[str, int]:
    return {item["statusId"]: item["count"] for item in result.structured["items"]}


async def test_counts_of_each_field(portal: RunningPortal) -> None:
    result = await usage(portal, "INDUSTRY")
    deals = Counter(code for deal in portal.portal.store.records.of(2) for code in deal["ufCrm_1724077761"])
    companies = Counter(company["industry"] for company in portal.portal.store.records.of(4))
    for item in result.structured["items"]:
        code = item["statusId"]
        assert item["count"] == deals[code] + companies[code]
        expected = {"deal.UF_CRM_1724077761": deals[code], "company.INDUSTRY": companies[code]}
        assert item.get("fields", {}) == {path: count for path, count in expected.items() if count}
    assert result.structured["records"] == 120 + sum(count for code, count in companies.items() if code)
    head, first, *_ = result.text.splitlines()
    where = "deal.UF_CRM_1724077761 (Industries concerned), company.INDUSTRY"
    assert head.endswith(f" records in {where}; 11 codes in use, 0 unused")
    most = max(result.structured["items"], key=lambda item: item["count"])
    code = most["statusId"]
    assert first.startswith(f"{code}: {most['name']} - {deals[code]} deals, {companies[code]} compan")
    assert result.text.endswith("\nCounted as the webhook's user sees them.")


async def test_a_record_with_two_fields_of_a_directory_is_one_record(portal: RunningPortal) -> None:
    only_sources(portal, "CALL", "WEB", number=2)
    for deal in portal.portal.store.records.of(2):
        deal["ufCrm_1724077760"] = "CALL"
    result = await usage(portal, "SOURCE")
    assert result.structured["records"] == 2
    assert counts(result)["CALL"] == 3
    assert "CALL: Call - 1 deal.SOURCE_ID, 2 deal.UF_CRM_1724077760" in result.text
    single = await usage(portal, "deal.UF_CRM_1724077760")
    assert (single.structured["records"], counts(single)["CALL"]) == (2, 2)


async def test_stages_are_counted_in_their_pipeline(portal: RunningPortal) -> None:
    result = await usage(portal, "DEAL_STAGE_1")
    deals = [deal for deal in portal.portal.store.records.of(2) if deal["categoryId"] == 1]
    assert counts(result) == {
        code: number for code in counts(result) if (number := _with(deals, "stageId", code)) or True
    }
    assert result.structured["records"] == len(deals)
    assert "unknown" not in result.structured
    leads = await usage(portal, "STATUS")
    assert leads.structured["records"] == 90


def _with(records: list[Values], field: str, code: str) -> int:
    return sum(record[field] == code for record in records)


async def test_an_enumeration_and_a_field_alone(portal: RunningPortal) -> None:
    result = await usage(portal, "deal.UF_CRM_1724")
    assert sum(counts(result).values()) == result.structured["records"] == 120
    several = await ask(portal, "get_directory_usage", entityId="deal.STAGE_ID")
    assert several.error["code"] == "SEVERAL_DIRECTORIES"
    unknown = await ask(portal, "get_directory_usage", entityId="SOURCEX")
    assert unknown.error["code"] == "UNKNOWN_DIRECTORY"


async def test_codes_that_no_directory_knows(portal: RunningPortal) -> None:
    only_sources(portal, "CALL", "website", "website", "16|WZ_C64E", None, "")
    ids = [record["id"] for record in portal.portal.store.records.of(1)]
    result = await usage(portal, "lead.SOURCE_ID")
    assert result.structured["unknown"] == [
        {"code": "website", "field": "lead.SOURCE_ID", "count": 2, "ids": ids[1:3], "perhaps": "WEB (Website)"},
        {
            "code": "16|WZ_C64E",
            "field": "lead.SOURCE_ID",
            "count": 1,
            "ids": [ids[3]],
            "perhaps": "set by an Open Channel",
        },
    ]
    assert result.structured["records"] == 4  # neither null nor empty is a code
    assert result.text.splitlines()[-4:] == [
        "Not in the directory: 2 codes, in 3 records",
        f'"website": 2 leads ({ids[1]}, {ids[2]}) - perhaps WEB (Website)',
        f'"16|WZ_C64E": 1 lead ({ids[3]}) - perhaps set by an Open Channel',
        "Counted as the webhook's user sees them.",
    ]


async def test_letter_case_and_blanks_at_the_end_do_not_matter_to_the_portal(portal: RunningPortal) -> None:
    only_sources(portal, "CALL", "call", "Call ")
    result = await usage(portal, "lead.SOURCE_ID")
    assert counts(result)["CALL"] == 3
    assert "unknown" not in result.structured


@pytest.mark.parametrize("codes", [1, 3, 60])
async def test_more_unknown_codes_than_a_page_shows(portal: RunningPortal, codes: int) -> None:
    only_sources(portal, *(f"OLD_{number % codes}" for number in range(90)))
    result = await usage(portal, "lead.SOURCE_ID")
    counted = {row["code"]: row["count"] for row in result.structured["unknown"]}
    carried = Counter(f"OLD_{number % codes}" for number in range(90))
    assert counted == {code: carried[code] for code in counted}
    assert result.structured["unknownCodes"] == len(carried)
    assert len(counted) >= min(codes, 30)
    assert "Not in the directory: " + ("1 code" if codes == 1 else f"{codes} codes") + ", in 90 records" in result.text
    assert "partial" not in result.structured
    assert all(len(row["ids"]) == min(5, row["count"]) for row in result.structured["unknown"])


async def test_a_directory_without_items(portal: RunningPortal) -> None:
    portal.portal.store.records.of(1)[0]["ufCrm_1724077700"] = "GOLD"
    result = await usage(portal, "PARTNER_LEVEL")
    assert result.structured["items"] == []
    assert [row["code"] for row in result.structured["unknown"]] == ["GOLD"]


async def test_what_nobody_can_count_is_not_called_unused(portal: RunningPortal) -> None:
    result = await usage(portal, "CALL_LIST")
    assert "IN_WORK: In progress - not counted" in result.text
    assert result.structured["partial"] == ["call list status cannot be counted: no REST method reads these records"]
    assert "records" not in result.structured
    portal.portal.store.add("SOURCE", "NEWEST", "Newest")
    unused = await usage(portal, "SOURCE")
    assert "NEWEST: Newest - unused" in unused.text


async def test_types_that_the_user_may_not_read(portal: RunningPortal) -> None:
    portal.order(method="batch", status=404, code="ERROR_METHOD_NOT_FOUND")  # then each count is sent alone
    portal.order(method="crm.item.list", times=2, code="", description="Access denied.")
    result = await usage(portal, "EMPLOYEES")
    assert result.structured["partial"]
    assert "counts could not be made: The webhook's user has no right" in result.text


async def test_nothing_can_be_counted(portal: RunningPortal) -> None:
    portal.order(method="batch", status=404, code="ERROR_METHOD_NOT_FOUND")
    portal.order(method="crm.item.list", code="", description="Access denied.")
    result = await ask(portal, "get_directory_usage", entityId="EMPLOYEES")
    assert result.error["code"] == "CRM_ACCESS_DENIED"


@pytest.mark.parametrize("total", ["", ', "total": null', ', "total": "0"', ', "total": -1', ', "total": []'])
async def test_a_total_that_is_none(portal: RunningPortal, total: str) -> None:
    portal.order(method="batch", status=404, code="ERROR_METHOD_NOT_FOUND")
    body = f'{{"result": {{"items": []}}{total}}}'
    portal.order(method="crm.item.list", body=body, headers={"content-type": "application/json"})
    result = await ask(portal, "get_directory_usage", entityId="EMPLOYEES")
    assert result.error["code"] == "UNEXPECTED_ANSWER"


@pytest.mark.virtual_clock
async def test_a_portal_too_slow_to_count_all(portal: PortalInProcess) -> None:
    """Two batches, the second too slow: the result has the first counts, and says so."""
    async with connect(portal, timeout=30) as assistant:
        await assistant.call("get_directory_items", entityId="SOURCE")
        await assistant.call("list_directories")
        portal.order(method="batch", times=1, delay=1)
        portal.order(method="batch", delay=100)
        result = await assistant.call("get_directory_usage", entityId="SOURCE")
    assert not result.is_error, result.text
    assert "records" in result.structured
    assert any("counts could not be made" in note for note in result.structured["partial"])
    assert any("count" not in item for item in result.structured["items"])


@pytest.mark.virtual_clock
async def test_progress_tells_how_far_it_is(portal: PortalInProcess) -> None:
    portal.order(method="batch", delay=3)
    reports: list[tuple[float, float | None, str | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        reports.append((progress, total, message))

    async with connect(portal, mode="legacy") as assistant:
        await assistant.client.call_tool("get_directory_usage", {"entityId": "SOURCE"}, progress_callback=tell)
    await anyio.lowlevel.checkpoint()
    assert any("the portal to count records (50 of 101 counts)" in (message or "") for *_, message in reports), reports


async def test_counts_are_kept_and_counted_anew(portal: RunningPortal) -> None:
    async with connect(portal) as assistant:
        first = await assistant.call("get_directory_usage", entityId="lead.SOURCE_ID")
        calls_before = len(portal.portal.calls)
        only_sources(portal, "CALL")
        assert (await assistant.call("get_directory_usage", entityId="lead.SOURCE_ID")).structured == first.structured
        assert len(portal.portal.calls) == calls_before
        fresh = await assistant.call("get_directory_usage", entityId="lead.SOURCE_ID", fresh=True)
    assert fresh.structured["records"] == 1


async def test_only_ids_and_codes_are_read(portal: RunningPortal) -> None:
    await usage(portal, "SOURCE")
    for selected in str(portal.portal.calls).split("select%5B")[1:]:
        name = selected.split("=")[1].split("&")[0].split("'")[0]
        assert name in ("id", "sourceId", "ufCrm_1724077760")


@given(
    values=st.lists(
        st.one_of(st.none(), st.sampled_from(["", "CALL", "WEB", "call", "WEB ", "website", "OLD", "old", "0"])),
        max_size=80,
    )
)
@settings(max_examples=examples(60))
@pytest.mark.virtual_clock
async def test_any_records_are_counted(values: list[str | None]) -> None:
    portal = PortalInProcess(DemoPortal())
    only_sources(portal, *values)
    result = await usage(portal, "lead.SOURCE_ID")
    folded = Counter(value.rstrip(" ").casefold() for value in values if value)
    item_counts = {item["statusId"].casefold(): item["count"] for item in result.structured["items"]}
    assert {code: count for code, count in item_counts.items() if count} == {
        code: count for code, count in folded.items() if code in item_counts
    }
    unknown: Counter[str] = Counter()
    for row in result.structured.get("unknown", []):
        unknown[row["code"].rstrip(" ").casefold()] += row["count"]
    assert unknown == {code: count for code, count in folded.items() if code not in item_counts}
    assert result.structured["records"] == sum(folded.values())
