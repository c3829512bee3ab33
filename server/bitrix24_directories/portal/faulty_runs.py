"""Runs methods while something goes wrong, or while somebody else acts.

Imports `calls`, `faults`, `methods`, `php`, `records` and `store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .calls import MethodResult, User, integer
from .faults import Fault
from .methods import run
from .php import as_array, param
from .records import CrmStore
from .store import PortalError

_CHANNEL_SORT = 115


def run_with(fault: Fault, store: CrmStore, user: User, method: str, params: Mapping[str, Any]) -> MethodResult:
    """Run a method with a fault that happens inside the portal. Raises PortalError."""
    if fault.moved_back:
        return _moved_back(store, user, method, params)
    if fault.swapped:
        return _swapped(store, user, method, params)
    if fault.channel:
        return _added_again(store, user, method, params)
    answer = run(store, user, method, params)
    if fault.total is not None:
        return replace(answer, total=fault.total)
    raise PortalError(fault.description, code=fault.code or "", status=fault.http_status)


def _moved_back(store: CrmStore, user: User, method: str, params: Mapping[str, Any]) -> MethodResult:
    """MethodResult that a record was changed, and let automation move it back right after."""
    if method != "crm.item.update":
        return run(store, user, method, params)
    record = (integer(param(params, "entityTypeId")), integer(param(params, "id")))
    before = store.records.all.get(record, {})
    answer = run(store, user, method, params)
    stage = {name: before[name] for name in ("stageId", "categoryId") if name in before}
    store.records.all[record] = store.records.all[record] | stage
    return answer


def _swapped(store: CrmStore, user: User, method: str, params: Mapping[str, Any]) -> MethodResult:
    """Write a record; a stage that its pipeline does not have becomes that pipeline's first one."""
    number, record_id = integer(param(params, "entityTypeId")), integer(param(params, "id"))
    stages = store.records.type(number).stages_of(store, store.records.get(number, record_id).get("categoryId"))
    fields = dict(as_array(param(params, "fields")) or {})
    if stages is None or fields.get("stageId") in [None, *(item.status_id for item in store.of(stages.id))]:
        return run(store, user, method, params)
    return run(store, user, method, {**params, "fields": fields | {"stageId": store.of(stages.id)[0].status_id}})


def _added_again(store: CrmStore, user: User, method: str, params: Mapping[str, Any]) -> MethodResult:
    """Delete an open channel's source; the channel adds it again with its next chat."""
    item = store.items.get(integer(param(params, "id")))
    answer = run(store, user, method, params)
    if item is not None and method == "crm.status.delete" and "|" in item.status_id:
        store.put(replace(item, id=store.next_id(), sort=_CHANNEL_SORT, system=False))
    return answer
