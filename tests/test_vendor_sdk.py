"""The vendor's own client on the demo portal: reads, adds, updates, deletes, batches."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from b24pysdk import BitrixApp, BitrixToken, BitrixWebhook, Client
from b24pysdk.api.requesters.bitrix_oauth_requester import BitrixOAuthRequester
from b24pysdk.errors import BitrixAPIError, BitrixAPIInsufficientScope

from bitrix24_directories.portal.app import ADMIN
from bitrix24_directories.portal.oauth import CLIENT_ID, CLIENT_SECRET
from support import ADMIN_SECRET, TASKS_ONLY_SECRET, RunningPortal

pytestmark = pytest.mark.usefixtures("trusted")


Sdk = Any  # the package publishes no types


def vendors_client(portal: RunningPortal, token: str = f"1/{ADMIN_SECRET}") -> Sdk:
    return Client(BitrixWebhook(domain=urlsplit(portal.address).netloc, webhook_token=token))


@pytest.fixture
def sdk(tls_portal: RunningPortal) -> Sdk:
    return vendors_client(tls_portal)


def test_reads(sdk: Sdk) -> None:
    items = sdk.crm.status.entity.items(entity_id="DEAL_STAGE").values
    assert [(item.status_id, item.sort) for item in items][:2] == [("NEW", 10), ("PREPARATION", 20)]
    types = {value.bitrix_id: value for value in sdk.crm.status.entity.types().values}
    assert types["DEAL_STAGE_1"].category_id == 1
    assert types["DEAL_STAGE_1"].semantic_info is not None
    assert types["DEAL_STAGE_1"].semantic_info.final_success_field == "C1:WON"
    assert types["SOURCE"].semantic_info is None
    assert "STATUS_ID" in sdk.crm.status.fields().value


def test_adds_updates_and_deletes(sdk: Sdk) -> None:
    fields = {"ENTITY_ID": "SOURCE", "STATUS_ID": "PODCAST", "NAME": "Podcast", "SORT": 15}
    new_id = sdk.crm.status.add(fields=fields).result
    assert sdk.crm.status.update(new_id, fields={"NAME": "Podcasts", "SORT": 15}).result is True
    assert sdk.crm.status.get(new_id).result["NAME"] == "Podcasts"
    assert sdk.crm.status.delete(new_id).result is True
    with pytest.raises(BitrixAPIError, match="Status is not found"):
        sdk.crm.status.get(new_id).result  # noqa: B018 - the SDK calls when the result is looked at


def test_reads_pages_to_the_end(sdk: Sdk, tls_portal: RunningPortal) -> None:
    rows = list(sdk.crm.status.list(order={"ID": "ASC"}).as_list().result)
    assert len(rows) == len(tls_portal.portal.store.items)


def test_batch(sdk: Sdk) -> None:
    status = sdk.crm.status
    answer = sdk.call_batch(
        {
            "add": status.add(fields={"ENTITY_ID": "DEAL_STAGE_1", "STATUS_ID": "X", "NAME": 'A & "B"', "SORT": 15}),
            "items": status.entity.items(entity_id="DEAL_STAGE_1"),
            "missing": status.get(99999),
            "filtered": status.list(filter={"ENTITY_ID": "SOURCE", "SYSTEM": "Y"}),
        }
    ).result
    assert {row["STATUS_ID"]: row["NAME"] for row in answer.result["items"]}["C1:X"] == 'A & "B"'
    assert answer.result_error["missing"]["error_description"] == "Status is not found."
    assert answer.result_total["filtered"] == 7


def test_scope_is_refused(tls_portal: RunningPortal) -> None:
    with pytest.raises(BitrixAPIInsufficientScope):
        vendors_client(tls_portal, f"11/{TASKS_ONLY_SECRET}").crm.status.fields().result  # noqa: B018


def test_an_application_gets_and_refreshes_its_tokens(
    tls_portal: RunningPortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK knows only the vendor's authorization server; it is pointed at the demo's here."""
    monkeypatch.setattr(BitrixOAuthRequester, "_OAUTH_TOKEN_URL", f"{tls_portal.address}/oauth/token/")
    app = BitrixApp(client_id=CLIENT_ID, client_secret=CLIENT_SECRET)
    first = app.get_oauth_token(code=tls_portal.portal.oauth.authorize(ADMIN)).oauth_token
    token = BitrixToken(
        domain=urlsplit(tls_portal.address).netloc,
        auth_token=first.access_token,
        refresh_token=first.refresh_token,
        bitrix_app=app,
    )
    tls_portal.portal.oauth.expire_access_tokens()
    assert Client(token).crm.status.entity.items(entity_id="STATUS").result[0]["STATUS_ID"] == "NEW"
    assert token.refresh_token != first.refresh_token
