"""The demo portal against the real one's rules.

These are methods, errors, prefixes, quirks, batch, limits and tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from bitrix24_directories.portal import DemoPortal
from bitrix24_directories.portal.app import LeakyBucket
from bitrix24_directories.portal.oauth import CLIENT_ID, CLIENT_SECRET
from bitrix24_directories.portal.store import PortalError
from support import READER_SECRET, STRANGER_SECRET, TASKS_ONLY_SECRET, RunningPortal

Body = dict[str, Any]
http = httpx.Client(trust_env=False)


def post(portal: RunningPortal, method: str, params: Any = None, *, secret: str = "") -> tuple[int, Body]:
    url = portal.webhook_url(secret) if secret else portal.webhook_url()
    answer = http.post(f"{url}{method}", json=params or {})
    return answer.status_code, answer.json()


def result(portal: RunningPortal, method: str, params: Any = None) -> Any:
    status, body = post(portal, method, params)
    assert status == 200, body
    return body["result"]


def rows(portal: RunningPortal, entity_id: str) -> list[Body]:
    rows: list[Body] = result(portal, "crm.status.list", {"filter": {"ENTITY_ID": entity_id}})
    return rows


def codes(portal: RunningPortal, entity_id: str) -> list[str]:
    return [row["STATUS_ID"] for row in result(portal, "crm.status.entity.items", {"entityId": entity_id})]


def test_items_are_rows_of_three_in_sort_order(portal: RunningPortal) -> None:
    items = result(portal, "crm.status.entity.items", {"entityId": "deal_stage"})
    assert items[0] == {"NAME": "New", "SORT": 10, "STATUS_ID": "NEW"}
    assert [row["SORT"] for row in items] == sorted(row["SORT"] for row in items)


def test_the_time_block_and_the_json_suffix(portal: RunningPortal) -> None:
    _, body = post(portal, "crm.status.entity.items.json", {"ENTITYID": "SOURCE"})
    assert {"start", "finish", "duration", "processing", "date_start", "operating", "operating_reset_at"} <= set(
        body["time"]
    )
    assert "total" not in body


def test_the_types_quirks(portal: RunningPortal) -> None:
    types = {row["ID"]: row for row in result(portal, "crm.status.entity.types")}
    assert types["SOURCE"]["SEMANTIC_INFO"] == []
    assert (types["DEAL_STAGE"]["CATEGORY_ID"], types["DEAL_STAGE_1"]["CATEGORY_ID"]) == (0, "1")
    assert types["DEAL_STAGE_1"]["PARENT_ID"] == "DEAL_STAGE"
    assert types["DYNAMIC_177_STAGE_7"]["PREFIX"] == "DT177_7"


def test_both_languages_hold_the_same_codes(portal: RunningPortal) -> None:
    english, russian = DemoPortal("en").store, DemoPortal("ru").store
    assert [(item.entity_id, item.status_id) for item in english.items.values()] == [
        (item.entity_id, item.status_id) for item in russian.items.values()
    ]
    assert english.directories.keys() == russian.directories.keys()
    assert codes(portal, "QUOTE_STATUS") == ["DRAFT", "SENT", "APPROVED", "DECLAINED", "APOLOGY"]


def test_list_pages_by_50_and_skips_filters_it_does_not_know(portal: RunningPortal) -> None:
    _, first = post(portal, "crm.status.list", {"filter": {"ENTITYID": "SOURCE", "SYSTEM": ""}})
    everything = len(portal.portal.store.items)
    assert (len(first["result"]), first["next"], first["total"]) == (50, 50, everything)
    _, last = post(portal, "crm.status.list", {"start": 100})
    assert len(last["result"]) == everything - 100
    assert "next" not in last


def test_list_rows_are_of_other_types_than_items(portal: RunningPortal) -> None:
    row = rows(portal, "DEAL_STAGE")[5]
    assert (row["ID"], row["SORT"], row["SYSTEM"], row["SEMANTICS"]) == (str(int(row["ID"])), "60", "Y", "S")
    assert row["EXTRA"] == {"SEMANTICS": "success", "COLOR": "#7BD500"}
    assert "EXTRA" not in rows(portal, "SOURCE")[0]
    assert result(portal, "crm.status.get", {"id": row["ID"]}) == row


def test_list_filters_and_orders(portal: RunningPortal) -> None:
    response = result(
        portal,
        "crm.status.list",
        {"order": {"SORT": "DESC"}, "filter": {"ENTITY_ID": "DEAL_STAGE", "NAME": "%invoice%"}},
    )
    assert [row["STATUS_ID"] for row in response] == ["FINAL_INVOICE", "PREPAYMENT_INVOICE"]


def test_fields_user_and_scope(portal: RunningPortal) -> None:
    assert result(portal, "crm.status.fields")["STATUS_ID"]["isImmutable"] is True
    assert result(portal, "user.current")["ID"] == "1"
    assert result(portal, "scope") == ["crm", "user"]


@pytest.mark.parametrize(
    ("method", "params", "status", "code", "words"),
    [
        ("crm.status.entity.items", {}, 400, "", "The parameter entityId is not defined or invalid."),
        ("crm.status.entity.items", {"entityId": ""}, 400, "", "The parameter entityId is not defined or invalid."),
        ("crm.status.entity.items", {"entityId": ["SOURCE"]}, 400, "", "The parameter entityId must be a string."),
        ("crm.status.entity.items", {"entityId": 7}, 400, "", "The parameter entityId must be a string."),
        ("crm.status.get", {"id": 0}, 400, "", "Invalid identifier."),
        ("crm.status.get", {"id": 99999}, 400, "", "Status is not found."),
        ("crm.status.add", {}, 400, "", "Parameter 'fields' must be array."),
        ("crm.status.add", {"fields": {"NAME": "x"}}, 400, "", "The field ENTITY_ID is required."),
        ("crm.status.add", {"fields": {"ENTITY_ID": "NO"}}, 400, "", "Specified entity type is not supported."),
        ("crm.status.add", {"fields": {"ENTITY_ID": "SOURCE"}}, 400, "", "The field Title is required."),
        (
            "crm.status.add",
            {"fields": {"ENTITY_ID": "SOURCE", "NAME": "x"}},
            400,
            "",
            "The field STATUS_ID is required.",
        ),
        (
            "crm.status.add",
            {"fields": {"ENTITY_ID": "SOURCE", "NAME": "x", "STATUS_ID": "CALL"}},
            400,
            "ERROR_CORE",
            "The specified status ID already exists.",
        ),
        (
            "crm.status.add",
            {"fields": {"ENTITY_ID": "DEAL_STAGE", "NAME": "x", "STATUS_ID": "Ж"}},
            400,
            "",
            "The stage code may contain only Latin letters, digits, hyphens and underscores.",
        ),
        ("crm.status.update", {"id": 1}, 400, "", "Parameter 'fields' must be array."),
        ("crm.status.update", {"id": 99999, "fields": {"NAME": "x"}}, 400, "", "Status is not found."),
        ("crm.status.delete", {"id": 99999}, 400, "", "Status is not found."),
        ("crm.no.such.method", {}, 404, "ERROR_METHOD_NOT_FOUND", "Method not found!"),
    ],
)
def test_refusals(portal: RunningPortal, method: str, params: Body, status: int, code: str, words: str) -> None:
    assert post(portal, method, params) == (status, {"error": code, "error_description": words})


def test_who_may_do_what(portal: RunningPortal) -> None:
    fields = {"ENTITY_ID": "SOURCE", "NAME": "x", "STATUS_ID": "X"}
    denied = (400, {"error": "", "error_description": "Access denied."})
    assert post(portal, "crm.status.add", {"fields": fields}, secret=READER_SECRET) == denied
    assert post(portal, "crm.status.entity.types", secret=READER_SECRET)[0] == 200
    assert post(portal, "crm.status.entity.types", secret=STRANGER_SECRET) == denied
    assert post(portal, "crm.status.entity.types", secret=TASKS_ONLY_SECRET)[1]["error"] == "insufficient_scope"
    assert post(portal, "scope", secret="nobody0000000000")[1]["error"] == "INVALID_CREDENTIALS"


def test_batch(portal: RunningPortal) -> None:
    commands = {
        "types": "crm.status.entity.types",
        "deal": "crm.status.list?filter[ENTITY_ID]=DEAL_STAGE&order[SORT]=DESC",
        "bad": "crm.status.get?id=99999",
        "nested": "batch?cmd[a]=scope",
    }
    answer = result(portal, "batch", {"halt": 0, "cmd": commands})
    assert set(answer["result"]) == {"types", "deal"}
    assert answer["result_total"] == {"deal": 8}
    assert answer["result"]["deal"][0]["STATUS_ID"] == "APOLOGY"
    assert answer["result_error"]["bad"] == {"error": "", "error_description": "Status is not found."}
    assert answer["result_error"]["nested"]["error"] == "ERROR_BATCH_METHOD_NOT_ALLOWED"
    assert len(portal.portal.calls) == 1


def test_batch_writes_php_arrays(portal: RunningPortal) -> None:
    answer = result(portal, "batch", {"cmd": ["scope", "crm.status.entity.items?entityId=PARTNER_LEVEL"]})
    assert answer["result"] == [["crm", "user"], []]
    assert answer["result_error"] == []


def test_batch_halts_and_is_bounded(portal: RunningPortal) -> None:
    halted = result(portal, "batch", {"halt": 1, "cmd": {"a": "nothing", "b": "scope"}})
    assert halted["result"] == []
    full = result(portal, "batch", {"cmd": {f"k{number}": "scope" for number in range(51)}})
    assert len(full["result"]) == 50
    assert full["result_error"]["k50"]["error"] == "ERROR_BATCH_LENGTH_EXCEEDED"


def test_the_bucket_drains() -> None:
    now = 0.0
    bucket = LeakyBucket(50, 2, lambda: now)
    for _ in range(50):
        bucket.add()
    with pytest.raises(PortalError) as refused:
        bucket.add()
    assert (refused.value.code, refused.value.status) == ("QUERY_LIMIT_EXCEEDED", 503)
    now = 1.0
    bucket.add()
    bucket.add()
    with pytest.raises(PortalError):
        bucket.add()


def test_the_limit_is_the_portals(serve: Callable[[DemoPortal], RunningPortal]) -> None:
    portal = serve(DemoPortal(limit=(3, 0.001)))
    answers = [post(portal, "scope")[0] for _ in range(4)]
    assert answers == [200, 200, 200, 503]


def test_faults_can_be_ordered_over_http(portal: RunningPortal) -> None:
    faults = f"{portal.address}/demo/faults"
    httpx.post(faults, json={"code": "OVERLOAD_LIMIT", "method": "scope", "times": 1}).raise_for_status()
    assert post(portal, "crm.status.entity.types")[0] == 200
    assert post(portal, "scope")[0] == 503
    assert post(portal, "scope")[0] == 200
    assert "times" in httpx.post(faults, json={"colour": "red"}).json()["error_description"]
    httpx.post(faults, json={"status": 502})
    httpx.delete(faults)
    assert post(portal, "scope")[0] == 200


class Application:
    """Steps of an OAuth application on the portal, by hand."""

    def __init__(self, portal: RunningPortal) -> None:
        self._portal = portal

    def authorize(self) -> str:
        answer = httpx.get(f"{self._portal.address}/oauth/authorize/", params={"client_id": CLIENT_ID, "state": "s1"})
        landed = parse_qs(urlsplit(answer.headers["location"]).query)
        assert landed["state"] == ["s1"]
        return landed["code"][0]

    def token(self, **grant: str) -> httpx.Response:
        credentials = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        return httpx.get(f"{self._portal.address}/oauth/token/", params=credentials | grant)

    def call(self, access_token: str) -> Body:
        answer: Body = httpx.post(f"{self._portal.address}/rest/scope", json={"auth": access_token}).json()
        return answer


def test_oauth_from_code_to_rotated_tokens(portal: RunningPortal) -> None:
    application = Application(portal)
    code = application.authorize()
    first = application.token(grant_type="authorization_code", code=code).json()
    assert application.call(first["access_token"])["result"] == ["crm", "user"]
    assert application.token(grant_type="authorization_code", code=code).json()["error"] == "invalid_grant"

    portal.portal.oauth.expire_access_tokens()
    assert application.call(first["access_token"])["error"] == "expired_token"
    assert application.call("unknown")["error"] == "invalid_token"
    second = application.token(grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert "result" in application.call(second["access_token"])
    spent = application.token(grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert (spent.status_code, spent.json()["error"]) == (400, "invalid_grant")
    assert application.token(grant_type="password").json()["error"] == "invalid_request"
    assert application.token(client_secret="wrong").json()["error"] == "invalid_client"
