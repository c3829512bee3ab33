"""Fields in place of a directory's id, and the fields that take a directory's codes."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitrix24_directories.directories.fields.fields import FieldMap, RecordType
from bitrix24_directories.directories.fields.rows import both_spellings, read_new_fields, read_old_fields, read_types
from bitrix24_directories.rest import Bitrix24Error
from support import SOURCE_FIELDS, RunningPortal, ask, connect


@pytest.mark.parametrize(
    ("field", "directory"),
    [
        ("deal.SOURCE_ID", "SOURCE"),
        ("lead.sourceId", "SOURCE"),
        ("LEAD.source_id", "SOURCE"),
        ("lead.STATUS_ID", "STATUS"),
        ("lead.stageId", "STATUS"),
        ("company.INDUSTRY", "INDUSTRY"),
        ("company.COMPANY_TYPE", "COMPANY_TYPE"),
        ("company.typeId", "COMPANY_TYPE"),
        ("deal.UF_CRM_1724077760", "SOURCE"),
        ("deal.UF_CRM_1724077760 (Second source)", "SOURCE"),
        ("deal.ufCrm_1724077761", "INDUSTRY"),
        ("Equipment rental.sourceId", "SOURCE"),
        ("item(177).sourceId", "SOURCE"),
        ("177.Source", "SOURCE"),
        ("invoice.stageId", "SMART_INVOICE_STAGE_3"),
        ("deal.Second source", "SOURCE"),
        ("Second source", "SOURCE"),
        ("Industries concerned", "INDUSTRY"),
        ("lead sources", None),
        ("Estimate.Status", "QUOTE_STATUS"),
        ("Deal stages (Wholesale)", "DEAL_STAGE_1"),
        ("industries", "INDUSTRY"),
        ("DEAL_STAGE_0", "DEAL_STAGE"),
        ("deal_stage_0", "DEAL_STAGE"),
        ("UF_CRM_1724", "deal.UF_CRM_1724"),
        ("uf_crm_1724", "deal.UF_CRM_1724"),
        ("ufCrm_1724", "deal.UF_CRM_1724"),
        ("UFCRM_1724", "deal.UF_CRM_1724"),
        ("UF_CRM_1724 (Customer size)", "deal.UF_CRM_1724"),
        ("UF_CRM_1724077760", "SOURCE"),
        ("SOURCE_ID", "SOURCE"),
        ("sourceId", "SOURCE"),
        ("Source", "SOURCE"),
    ],
)
async def test_a_field_stands_for_its_directory(portal: RunningPortal, field: str, directory: str | None) -> None:
    result = await ask(portal, "get_directory_items", entityId=field)
    if directory is None:
        assert result.error["code"] == "UNKNOWN_DIRECTORY"
    else:
        assert result.structured["entityId"] == directory
        assert result.structured["items"] or directory == "PARTNER_LEVEL"


async def test_a_field_in_the_portals_language(russian_portal: RunningPortal) -> None:
    for field in ("Сделка.Второй источник", "сделка.источник", "Второй источник"):
        assert (await ask(russian_portal, "get_directory_items", entityId=field)).structured["entityId"] == "SOURCE"


@pytest.mark.parametrize("details", [False, True])
async def test_an_enumeration_gives_its_values(portal: RunningPortal, details: bool) -> None:
    result = await ask(portal, "get_directory_items", entityId="deal.UF_CRM_1724", details=details)
    assert result.text.splitlines() == [
        "deal.UF_CRM_1724: 3 items, in order (code: name)",
        "77: Small customers",
        "78: Middle",
        "79: Large customers",
        "The codes go into deal.UF_CRM_1724 (Customer size)",
    ]
    assert result.structured["items"][0] == {"statusId": "77", "name": "Small customers"}


@pytest.mark.parametrize("field", ["deal.STAGE_ID", "deal.Stage", "Equipment rental.stageId", "STAGE_ID", "stage"])
async def test_a_stage_field_names_its_pipelines(portal: RunningPortal, field: str) -> None:
    result = await ask(portal, "get_directory_items", entityId=field)
    assert result.error == {"code": "SEVERAL_DIRECTORIES", "category": "input", "retryable": False}
    assert "(General), " in result.text
    assert "Ask the user which of them is meant" in result.text


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("deal.TITLE", "its type is string"),
        ("deal.CATEGORY_ID", "0 (General), 1 (Wholesale), 2 (Service contracts)"),
        ("lead.OPENED", "its type is boolean"),
        ("COMMENTS", "its type is string"),
        ("CATEGORY_ID", "0 (General), 1 (Wholesale), 2 (Service contracts)"),
        ("UF_CRM_44_1724", "The field item(177).ufCrm44_1724 (With operator) takes no codes"),
    ],
)
async def test_fields_that_take_no_codes(portal: RunningPortal, field: str, part: str) -> None:
    result = await ask(portal, "get_directory_items", entityId=field)
    assert result.error["code"] == "NO_CODES"
    assert part in result.text


async def test_a_name_that_fields_of_several_lists_bear(portal: RunningPortal) -> None:
    result = await ask(portal, "get_directory_items", entityId="STATUS_ID")
    assert '"STATUS_ID" has a directory for each pipeline or field: STATUS (' in result.text
    assert "QUOTE_STATUS (" in result.text
    result = await ask(portal, "find_directory_items", queries=["won"], entityIds=["STATUS_ID", "UF_CRM_1724"])
    assert result.structured["searched"] == 3


async def test_a_fields_name_alone_finds_before_one_that_looks_like_it(portal: RunningPortal) -> None:
    """`crm.item.*` writes 177's UF_CRM_17_24 as ufCrm17_24, the same as UF_CRM_1724 without `_`."""
    records = portal.portal.store.records
    kind = records.types[177]
    names: dict[str, Any] = {"name": "ufCrm17_24", "old_name": "UF_CRM_17_24", "other_upper_name": "UF_CRM_17_24"}
    fields = tuple(replace(field, **names) if field.custom else field for field in kind.fields)
    records.types = records.types | {177: replace(kind, fields=fields)}
    for field, path in (("UF_CRM_1724", "deal.UF_CRM_1724"), ("ufCrm_1724", "deal.UF_CRM_1724")):
        assert (await ask(portal, "get_directory_items", entityId=field)).structured["entityId"] == path
    result = await ask(portal, "get_directory_items", entityId="UF_CRM_17_24")
    assert "The field item(177).ufCrm17_24 " in result.text


async def test_usage_of_a_field_by_its_name_alone(portal: RunningPortal) -> None:
    alone = await ask(portal, "get_directory_usage", entityId="UF_CRM_1724077760")
    assert alone == await ask(portal, "get_directory_usage", entityId="deal.UF_CRM_1724077760")
    assert alone != await ask(portal, "get_directory_usage", entityId="SOURCE")
    main = await ask(portal, "get_directory_usage", entityId="DEAL_STAGE_0")
    assert main == await ask(portal, "get_directory_usage", entityId="DEAL_STAGE")
    assert main.structured["entityId"] == "DEAL_STAGE"


async def test_a_field_that_there_is_not(portal: RunningPortal) -> None:
    result = await ask(portal, "get_directory_items", entityId="deal.SOURCES")
    assert result.error["code"] == "UNKNOWN_DIRECTORY"
    assert "deal.SOURCE_ID (Source)" in result.text


async def test_find_takes_fields_and_searches_enumerations(portal: RunningPortal) -> None:
    everywhere = await ask(portal, "find_directory_items", queries=["insurance"])
    (match,) = everywhere.structured["results"][0]["matches"]
    assert (match["entityId"], match["statusId"]) == ("deal.UF_CRM_1727", "90")
    in_field = await ask(
        portal, "find_directory_items", queries=["large customers", "won"], entityIds=["deal.UF_CRM_1724"]
    )
    assert [result["status"] for result in in_field.structured["results"]] == ["exact", "none"]
    stages = await ask(portal, "find_directory_items", queries=["shipping"], entityIds=["deal.STAGE_ID", "deal.TITLE"])
    assert stages.structured["searched"] == 3
    assert stages.structured["results"][0]["matches"][0]["statusId"] == "C1:UC_9F4K2L"
    (unsearched,) = stages.structured["unsearched"]
    assert unsearched["entityId"] == "deal.TITLE"


async def test_list_directories_finds_enumerations_by_their_titles(portal: RunningPortal) -> None:
    result = await ask(portal, "list_directories", query="customer size")
    assert result.text.splitlines()[1:] == [
        "deal.UF_CRM_1724: Customer size - enumeration for deal.UF_CRM_1724 (Customer size)"
    ]
    assert result.text.startswith("0 of 19 directories and 1 enumeration (")


async def test_changes_take_fields(portal: RunningPortal) -> None:
    async with connect(portal, allow_writes=True) as assistant:
        added = await assistant.call("add_directory_item", entityId="deal.SOURCE_ID", name="Fair")
        assert added.structured["entityId"] == "SOURCE"
        refused = await assistant.call("add_directory_item", entityId="deal.UF_CRM_1724", name="Huge")
        assert refused.error["code"] == "NOT_A_DIRECTORY"
        several = await assistant.call("delete_directory_item", entityId="deal.STAGE_ID", statusId="WON")
        assert several.error["code"] == "SEVERAL_DIRECTORIES"


async def test_two_batches_from_cold(portal: RunningPortal) -> None:
    async with connect(portal, fields_kept=False) as assistant:
        result = await assistant.call("list_directories")
        assert portal.methods_called == ["batch", "batch"]
        source = next(directory for directory in result.structured["directories"] if directory["entityId"] == "SOURCE")
        assert source["usedIn"] == SOURCE_FIELDS
        await assistant.call("get_directory_items", entityId="deal.UF_CRM_1724")
        assert len(portal.portal.calls) == 2


async def test_the_items_come_although_the_fields_do_not(portal: RunningPortal) -> None:
    portal.order(method="batch", status=500)
    async with connect(portal, fields_kept=False, timeout=2) as assistant:
        result = await assistant.call("get_directory_items", entityId="SOURCE")
    assert result.structured["usedIn"] == ["deal.SOURCE_ID", "lead.SOURCE_ID", "contact.SOURCE_ID"]


async def test_types_whose_fields_may_not_be_read_are_spoken_of_as_on_every_portal(portal: RunningPortal) -> None:
    portal.order(method="batch", status=404, code="ERROR_METHOD_NOT_FOUND")
    portal.order(method="crm.item.fields", code="", description="Access denied.")
    async with connect(portal, fields_kept=False) as assistant:
        directories = (await assistant.call("list_directories")).structured["directories"]
        used_in = {directory["entityId"]: directory.get("usedIn") for directory in directories}
        assert used_in["SOURCE"] == ["deal.SOURCE_ID", "lead.SOURCE_ID", "contact.SOURCE_ID"]
        assert used_in["DEAL_STAGE_1"] == ["deal.STAGE_ID"]
        assert used_in["DYNAMIC_177_STAGE_7"] == ["item(177).stageId"]
        assert used_in["PARTNER_LEVEL"] is None
        calls_before = len(portal.portal.calls)
        await assistant.call("list_directories")
        assert len(portal.portal.calls) == calls_before  # the refusal is cached, too


@pytest.mark.parametrize(
    "status_type",
    [
        {"statusType": "SOURCE"},
        {"statusType": {"ID": "source"}},
        {"statusType": ["SOURCE"]},
        {"statusType": [{"ID": "SOURCE"}]},
        {"settings": {"ENTITY_TYPE": "SOURCE"}},
        {"statusType": "", "settings": {"ENTITY_TYPE": "SOURCE"}},
    ],
)
def test_shapes_of_a_status_type(status_type: dict[str, Any]) -> None:
    (field,) = read_new_fields({"fields": {"ufCrm_1": {"type": "crm_status", "title": "Origin"} | status_type}})
    assert field.directories == ("SOURCE",)
    assert field.old_name == "UF_CRM_1"


def test_old_names_come_from_the_old_methods() -> None:
    """`upperName` is made of the new name, and the old one differs in some fields."""
    new = read_new_fields(
        {
            "fields": {
                "stageId": {"upperName": "STAGE_ID"},
                "createdTime": {"upperName": "CREATED_TIME"},
                "sourceId": {"upperName": "SOURCE_ID"},
            }
        }
    )
    old = read_old_fields({"STATUS_ID": {}, "DATE_CREATE": {}, "SOURCE_ID": {}})
    spelt = [(field.name, field.old_name) for field in both_spellings(1, new, old)]
    assert spelt == [("stageId", "STATUS_ID"), ("createdTime", ""), ("sourceId", "SOURCE_ID"), ("", "DATE_CREATE")]
    alone = [(field.name, field.old_name) for field in both_spellings(1, new, [])]
    assert alone == [("stageId", "STATUS_ID"), ("createdTime", "CREATED_TIME"), ("sourceId", "SOURCE_ID")]


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=5), st.sampled_from(["ID", "VALUE", "NAME", "type"])), inner, max_size=4
        ),
    ),
    max_leaves=8,
)
described = st.dictionaries(
    st.sampled_from(["type", "title", "statusType", "settings", "items", "upperName", "isMultiple", "isRequired"]),
    st.one_of(anything, st.sampled_from(["crm_status", "enumeration", "SOURCE"])),
)


@given(rows=st.one_of(anything, st.dictionaries(st.text(max_size=8), described, max_size=4)), owners=anything)
def test_whatever_a_portal_says_of_fields(rows: Any, owners: Any) -> None:
    """Every answer is read, or refused as invalid; there is no other error."""
    fields, types = [], [RecordType(2)]
    with contextlib.suppress(Bitrix24Error):
        fields = both_spellings(2, read_new_fields({"fields": rows}), read_old_fields(rows))
    with contextlib.suppress(Bitrix24Error):
        types += read_types(owners)
    fields_map = FieldMap(types, {2: fields})
    for field in fields_map.all():
        assert field.field.name or field.field.old_name
        fields_map.named(field.path)
        fields_map.used_in("SOURCE", None)
