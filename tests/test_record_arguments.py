"""Shapes of `fields` of check_record that models know from other tools and REST calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support import RunningPortal, ask

WRITE = {"TITLE": "Order 5", "SOURCE_ID": "CALL"}
PAIRS = [{"name": "TITLE", "value": "Order 5"}, {"name": "SOURCE_ID", "value": "CALL"}]
UPPER_PAIRS = [{"FIELD": "TITLE", "Value": "Order 5"}, {"Code": "SOURCE_ID", "VALUE": "CALL"}]
SECOND = {"TITLE": "Order 6", "SOURCE_ID": "WEB"}
SECOND_PAIRS = [{"key": "TITLE", "value": "Order 6"}, {"key": "SOURCE_ID", "value": "WEB"}]


async def refusal(portal: RunningPortal, fields: Any, **more: Any) -> str:
    result = await ask(portal, "check_record", **({"entity": "deal", "fields": fields} | more))
    assert result.error["code"] == "INVALID_ARGUMENTS", result.text
    return result.text


@pytest.mark.parametrize(
    "fields",
    [
        PAIRS,
        UPPER_PAIRS,
        json.dumps(PAIRS),
        [json.dumps(pair) for pair in PAIRS],
        [json.dumps(PAIRS)],
        [PAIRS[0], "SOURCE_ID=CALL"],
        ["TITLE=Order 5", json.dumps(UPPER_PAIRS[1])],
        [PAIRS[0], {"SOURCE_ID": "CALL"}],
        [PAIRS],
        [["TITLE=Order 5", PAIRS[1]]],
        {"fields": WRITE},
        {"FIELDS": WRITE},
        {"fields": PAIRS},
        {"fields": ["TITLE=Order 5", "SOURCE_ID=CALL"]},
        {"fields": json.dumps(WRITE)},
        {"fields": WRITE, "params": {"REGISTER_SONET_EVENT": "Y"}},
        {"entityTypeId": None, "id": None, "fields": WRITE},
        [json.dumps({"fields": WRITE})],
        {"records": [{"fields": WRITE}]},
        "- TITLE=Order 5\n- SOURCE_ID=CALL",
        "# a deal\n\n* TITLE = Order 5\n  # where it comes from\n  • SOURCE_ID: CALL\n",
        ["# a deal", "- TITLE=Order 5", "•\tSOURCE_ID=CALL"],
        ["– TITLE=Order 5", f"- {json.dumps(PAIRS[1])}"],
        [PAIRS[0] | {"title": "Name", "type": "string"}, PAIRS[1] | {"label": "Source"}],
        "TITLE: Order 5\nSOURCE_ID: CALL",
        f"```json\n{json.dumps(WRITE)}\n```",
        "```\nTITLE=Order 5\nSOURCE_ID=CALL\n```",
        {"fields": "TITLE=Order 5\nSOURCE_ID=CALL"},
        {"data": WRITE},
        {"record": WRITE},
        {"entityTypeId": "", "id": "", "fields": WRITE},
    ],
    ids=lambda fields: json.dumps(fields, ensure_ascii=False)[:60],
)
async def test_one_record(portal: RunningPortal, fields: Any) -> None:
    result = await ask(portal, "check_record", entity="deal", fields=fields)
    assert not result.is_error, result.text
    assert result.structured["write"] == WRITE
    assert result.structured["ok"]


@pytest.mark.parametrize(
    "fields",
    [
        [PAIRS, SECOND_PAIRS],
        json.dumps([PAIRS, SECOND_PAIRS]),
        [json.dumps(PAIRS), json.dumps(SECOND_PAIRS)],
        [PAIRS, SECOND],
        [["TITLE=Order 5", "SOURCE_ID=CALL"], SECOND_PAIRS],
        [{"fields": WRITE}, {"fields": SECOND}],
        {"fields": [WRITE, SECOND]},
        {"data": [WRITE, SECOND]},
        {"DATA": [WRITE, json.dumps(SECOND)]},
        {"records": [WRITE, SECOND]},
        {"items": [PAIRS, {"fields": SECOND}]},
    ],
    ids=lambda fields: json.dumps(fields)[:60],
)
async def test_several_records(portal: RunningPortal, fields: Any) -> None:
    result = await ask(portal, "check_record", entity="deal", fields=fields)
    assert not result.is_error, result.text
    assert [record["write"] for record in result.structured["records"]] == [WRITE, SECOND]


@pytest.mark.parametrize(
    "fields",
    [
        {"entityTypeId": 2, "fields": WRITE},
        {"ENTITY_TYPE_ID": "2", "Fields": WRITE},
        json.dumps({"entityTypeId": 2, "fields": WRITE}),
        {"entityTypeId": 2, "data": [WRITE]},
        {"entityTypeId": 2, "DATA": [json.dumps(WRITE)]},
    ],
    ids=lambda fields: json.dumps(fields)[:60],
)
async def test_the_body_of_a_call_of_crm_item_is_written_as_crm_item_reads_it(
    portal: RunningPortal, fields: Any
) -> None:
    result = await ask(portal, "check_record", entity="deal", fields=fields)
    assert result.structured["write"] == {"title": "Order 5", "sourceId": "CALL"}


@pytest.mark.parametrize("fields", [{"NAME": "Ann", "LAST_NAME": "Lee"}, {"NAME": "Ann"}, ["NAME=Ann"]])
async def test_a_field_called_name_is_a_field(portal: RunningPortal, fields: Any) -> None:
    result = await ask(portal, "check_record", entity="contact", fields=fields)
    assert result.structured["write"]["NAME"] == "Ann"


async def test_a_value_keeps_what_looks_like_a_bullet_or_a_comment(portal: RunningPortal) -> None:
    values = {"TITLE": "- # 5", "COMMENTS": "# one\n- two, a=b"}
    result = await ask(
        portal, "check_record", entity="deal", fields=[f"{name}={text}" for name, text in values.items()]
    )
    assert result.structured["write"] == values


async def test_a_value_with_an_equals_sign_behind_a_colon(portal: RunningPortal) -> None:
    values = {"TITLE": "a=b", "COMMENTS": "https://example.org/?a=1"}
    result = await ask(
        portal, "check_record", entity="deal", fields=[f"{name}: {text}" for name, text in values.items()]
    )
    assert result.structured["write"] == values


@pytest.mark.parametrize("key", ["id", "ID", "recordId"])
@pytest.mark.parametrize("as_text", [False, True])
async def test_an_id_beside_the_fields_is_the_records(portal: RunningPortal, key: str, as_text: bool) -> None:
    record = portal.portal.store.records.of(2)[0]["id"]
    body = {key: str(record) if as_text else record, "fields": {"TITLE": "x"}}
    inside = await ask(portal, "check_record", entity="deal", fields=body)
    assert inside.text.startswith(f"deal {record} in ")
    for fields in (["TITLE=x"], body):
        assert inside == await ask(portal, "check_record", entity="deal", fields=fields, recordId=str(record))


async def test_ids_that_contradict(portal: RunningPortal) -> None:
    text = await refusal(portal, {"id": 5, "fields": WRITE}, recordId=7)
    assert "- recordId: 7, and the id beside fields is 5: give one of them" in text
    text = await refusal(portal, [{"id": 5, "fields": WRITE}, WRITE])
    assert "with recordId it has to be one record" in text
    assert portal.portal.calls == []


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"id": "D_5"}, '- fields: id: expected a number such as 15; got "D_5"'),
        ({"id": "1\u200b5"}, r'id: expected a number such as 15; got "1\u200b5"'),
        ({"id": True}, "id: expected a number such as 15; got true"),
        ({"id": [5]}, "id: expected a number such as 15; got [5]"),
        ({"entityTypeId": "deal"}, 'entityTypeId: expected a number such as 2; got "deal"'),
        ({"useOriginalUfNames": "Y"}, "leave useOriginalUfNames out"),
        ({"useOriginalUfNames": "Y"}, "names are written as crm.item.* takes them without it"),
        ({"entity": "deal"}, "entity stands beside fields, where only entityTypeId, id and params may: leave it out"),
        ({"TITLE": "x"}, "TITLE stands beside fields"),
        ({"FIELDS": {"TITLE": "x"}}, "FIELDS stands beside fields"),
        ({"data": [WRITE]}, "data stands beside fields"),
    ],
)
async def test_what_stands_beside_the_fields(portal: RunningPortal, body: dict[str, Any], part: str) -> None:
    assert part in await refusal(portal, {"fields": WRITE} | body)
    assert portal.portal.calls == []


async def test_kinds_that_contradict(portal: RunningPortal) -> None:
    text = await refusal(portal, {"entityTypeId": 1, "fields": {"TITLE": "x"}})
    assert '- entity: "deal" is deal (2), and the entityTypeId beside fields is 1: call again with one of them' in text
    text = await refusal(portal, [{"entityTypeId": 2, "fields": WRITE}, {"entityTypeId": 1, "fields": WRITE}])
    assert "- fields: the records have several entityTypeIds (1, 2): check those of each kind in a call" in text


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        (7, "expected a list of texts such as STAGE_ID=WON, or an object"),
        (None, "fields: missing"),
        ([[]], "expected 1 to 200 fields"),
        ([{"name": "TITLE", "value": "x"}, 1], "expected a list of texts"),
        (["TITLE=x", ["SOURCE_ID=CALL"]], "expected a list of texts"),
        (["TITLE=x", {"fields": {"SOURCE_ID": "CALL"}}], "expected a list of texts"),
        ([[[[[["TITLE=x"]]]]]], "expected a list of texts"),
        ([{"name": 5, "value": "x"}], "expected the name of a field as text; got 5"),
        ([{"name": " ", "value": "x"}], 'expected the name of a field as text; got " "'),
        ("# only a comment", "expected 1 to 200 fields"),
        ({"fields": {}}, "expected 1 to 200 fields"),
        ({"data": [WRITE] * 51}, "expected 50 records at most; got 51"),
        ([{"name": f"A{number}", "value": 1} for number in range(201)], "expected 1 to 200 fields"),
        ([{"name": "TITLE", "value": "x" * 65_536}], "each may have 65535 characters at most"),
        (
            [{"code": "STAGE_ID", "name": "Stage", "value": "NEW"}],
            "code and value are a field's name and value, and name",
        ),
        (
            [{"NAME": "Ann", "VALUE": "x", "LAST_NAME": "Lee"}],
            "and LAST_NAME stands beside them: leave it out, or pass",
        ),
        (
            ["TITLE=x, STAGE_ID=NEW"],
            "STAGE_ID stands in the value of TITLE: give each field a text of its own, or pass",
        ),
        ("TITLE=x; stageId = NEW", "stageId stands in the value of TITLE"),
        (["SOU\u200bRCE_ID"], r'"SOU\u200bRCE_ID" is not NAME=value'),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_fields_that_are_none(portal: RunningPortal, fields: Any, part: str) -> None:
    assert part in await refusal(portal, fields)


async def test_a_records_id_is_shown_as_it_came(portal: RunningPortal) -> None:
    text = await refusal(portal, WRITE, recordId="1\u200b5")
    assert r'or nothing for a new record; got "1\u200b5"' in text
