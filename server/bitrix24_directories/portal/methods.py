"""REST methods of the demo portal: `crm.status.*`, `user.current`, `scope`, records.

Each takes the portal's store, the caller and the parameters, and returns a MethodResult or raises PortalError.
Behaviour and wording are those of the REST methods of the same names. Methods for records are in `record_methods`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .calls import PAGE, Method, MethodResult, User, integer, may_read, may_write
from .php import as_array, param
from .record_methods import RECORD_METHODS
from .records import CrmStore
from .store import Directory, Item, PortalError, Store

_FIRST_SMART_PROCESS = 128


def entity_items(store: Store, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.status.entity.items`."""
    may_read(user)
    entity_id = param(params, "entityId")
    if entity_id is None or entity_id == "":
        raise PortalError("The parameter entityId is not defined or invalid.")
    if not isinstance(entity_id, str):
        raise PortalError("The parameter entityId must be a string.")
    return MethodResult(
        [{"NAME": item.name, "SORT": item.sort, "STATUS_ID": item.status_id} for item in store.of(entity_id.upper())]
    )


def entity_types(store: Store, user: User, _params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.status.entity.types`."""
    may_read(user)
    return MethodResult([_type_row(store, directory) for directory in store.directories.values()])


def _type_row(store: Store, directory: Directory) -> dict[str, Any]:
    """Return a row of `crm.status.entity.types`: smart processes name pipelines, only today."""
    row: dict[str, Any] = {"ID": directory.id, "NAME": directory.name, "SEMANTIC_INFO": []}
    if directory.semantic_info is not None:
        winning = store.winning(directory.id)
        names = ("START_FIELD", "FINAL_SUCCESS_FIELD", "FINAL_UNSUCCESS_FIELD")
        codes = map(directory.prefixed, directory.semantic_info)
        row["SEMANTIC_INFO"] = dict(zip(names, codes, strict=True)) | {"FINAL_SORT": winning.sort if winning else 0}
    if directory.is_stages:
        row |= {
            "ENTITY_TYPE_ID": directory.entity_type_id,
            "PREFIX": directory.prefix,
            "FIELD_ATTRIBUTE_SCOPE": "",
            "IS_ENABLED": directory.enabled,
        }
    if directory.category_id is not None:
        row["CATEGORY_ID"] = directory.category_id
    if store.age == "today" and (directory.entity_type_id or 0) >= _FIRST_SMART_PROCESS:
        first = directory.id == _first_pipeline(store, directory)
        row |= {"CATEGORY_NAME": directory.category_name, "CATEGORY_SORT": 500, "IS_DEFAULT_CATEGORY": first}
    if directory.parent_id:
        row["PARENT_ID"] = directory.parent_id
    return row


def _first_pipeline(store: Store, like: Directory) -> str:
    rows = (row for row in store.directories.values() if row.entity_type_id == like.entity_type_id)
    return min(rows, key=lambda row: int(row.category_id or 0)).id


def status_list(store: Store, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.status.list`."""
    may_read(user)
    filters = as_array(param(params, "filter")) or {}
    order = as_array(param(params, "order")) or {"SORT": "ASC"}
    rows = [row for item in store.items.values() if _matches(row := _row(store, item), filters)]
    for field, direction in reversed(order.items()):
        if (key := _SORT_KEYS.get(field.upper())) is not None:
            rows.sort(key=key, reverse=str(direction).upper() == "DESC")
    start = max(integer(param(params, "start", 0)), 0)
    end = start + PAGE
    return MethodResult(rows[start:end], total=len(rows), next=end if end < len(rows) else None)


_SORT_KEYS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "ID": lambda row: int(row["ID"]),
    "SORT": lambda row: int(row["SORT"]),
    "ENTITY_ID": lambda row: row["ENTITY_ID"],
    "STATUS_ID": lambda row: row["STATUS_ID"],
    "NAME": lambda row: row["NAME"],
}


def _matches(row: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    # Unknown fields and empty values are skipped in silence: a misspelt filter returns everything.
    for field in ("ID", "ENTITY_ID", "STATUS_ID", "SORT", "SYSTEM", "CATEGORY_ID", "SEMANTICS"):
        value = filters.get(field)
        if value not in (None, "", [], {}) and str(row[field] or "") != str(value):
            return False
    pattern = str(filters.get("NAME") or "").strip("%").casefold()
    return pattern in str(row["NAME"]).casefold()


def _row(store: Store, item: Item) -> dict[str, Any]:
    directory = store.directories[item.entity_id]
    # Stages in progress carry an empty string, `P` or nothing, as real rows do.
    semantics = item.semantics or (None if item.system else "P" if ":" in item.status_id else "")
    row: dict[str, Any] = {
        "ID": str(item.id),
        "ENTITY_ID": item.entity_id,
        "STATUS_ID": item.status_id,
        "NAME": item.name,
        "NAME_INIT": item.name if item.system else "",
        "SORT": str(item.sort),
        "SYSTEM": "Y" if item.system else "N",
        "CATEGORY_ID": None if directory.category_id is None else str(directory.category_id),
        "COLOR": item.color or None,
        "SEMANTICS": semantics if directory.is_stages else None,
    }
    if directory.is_stages:
        meaning = {"S": "success", "F": "failure"}.get(item.semantics, "process")
        if item.status_id.rpartition(":")[2] == "APOLOGY":
            meaning = "apology"
        row["EXTRA"] = {"SEMANTICS": meaning, "COLOR": item.color}
    return row


def status_get(store: Store, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.status.get`."""
    may_read(user)
    return MethodResult(_row(store, store.get(integer(param(params, "id")))))


def status_fields(_store: Store, user: User, _params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.status.fields`."""
    may_read(user)
    described = {
        "ID": ("integer", "ID", "read-only"),
        "ENTITY_ID": ("string", "Entity", "required immutable"),
        "STATUS_ID": ("string", "Status ID", "required immutable"),
        "SORT": ("integer", "Sort", ""),
        "NAME": ("string", "Name", "required"),
        "NAME_INIT": ("string", "Default name", "read-only"),
        "SYSTEM": ("char", "System", "read-only"),
        "CATEGORY_ID": ("integer", "Pipeline ID", "read-only"),
        "COLOR": ("string", "Color", ""),
        "SEMANTICS": ("string", "Semantics", "immutable"),
        "EXTRA": ("crm_status_extra", "Additional", "read-only"),
    }
    return MethodResult(
        {
            field: {
                "type": kind,
                "isRequired": "required" in flags,
                "isReadOnly": "read-only" in flags,
                "isImmutable": "immutable" in flags,
                "isMultiple": False,
                "isDynamic": False,
                "title": title,
            }
            for field, (kind, title, flags) in described.items()
        }
    )


def status_add(store: Store, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.status.add`."""
    may_write(user)
    fields = _fields(params)
    return MethodResult(
        store.add(
            entity_id=_text(fields, "ENTITY_ID"),
            code=_text(fields, "STATUS_ID"),
            name=_text(fields, "NAME"),
            sort=integer(fields.get("SORT")),
            color=_text(fields, "COLOR"),
            semantics=_text(fields, "SEMANTICS"),
        )
    )


def status_update(store: Store, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.status.update`."""
    may_write(user)
    fields = _fields(params)
    store.update(
        integer(param(params, "id")),
        name=_text(fields, "NAME") if "NAME" in fields else None,
        sort=integer(fields["SORT"]) if "SORT" in fields else None,
        color=_text(fields, "COLOR") if "COLOR" in fields else None,
    )
    return MethodResult(result=True)


def status_delete(store: Store, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.status.delete`."""
    may_write(user)
    options = as_array(param(params, "params")) or {}
    store.delete(integer(param(params, "id")), forced=options.get("FORCED") == "Y")
    return MethodResult(result=True)


def user_current(_store: Store, user: User, _params: Mapping[str, Any]) -> MethodResult:
    """REST method `user.current`."""
    return MethodResult({"ID": str(user.id), "ACTIVE": True, "NAME": user.name, "USER_TYPE": "employee"})


def scope(_store: Store, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `scope`."""
    full = param(params, "full")
    return MethodResult(["crm", "user", "task", "calendar"] if full else list(user.scopes))


METHODS: dict[str, Method] = {
    "crm.status.entity.items": entity_items,
    "crm.status.entity.types": entity_types,
    "crm.status.list": status_list,
    "crm.status.get": status_get,
    "crm.status.fields": status_fields,
    "crm.status.add": status_add,
    "crm.status.update": status_update,
    "crm.status.delete": status_delete,
    "user.current": user_current,
    "scope": scope,
    **RECORD_METHODS,
}


def run(store: CrmStore, user: User, method: str, params: Mapping[str, Any]) -> MethodResult:
    """Run one method (not `batch`). Method names are matched in lower case."""
    handler = METHODS.get(method.lower())
    if handler is None:
        raise PortalError("Method not found!", code="ERROR_METHOD_NOT_FOUND", status=404)
    needed = method.lower().split(".")[0]
    if needed != "scope" and needed not in user.scopes:
        raise PortalError(
            "The request requires higher privileges than provided by the access token",
            code="insufficient_scope",
            status=403,
        )
    return handler(store, user, params)


def _fields(params: Mapping[str, Any]) -> dict[str, Any]:
    fields = as_array(param(params, "fields"))
    if fields is None:
        raise PortalError("Parameter 'fields' must be array.")
    return {key.upper(): value for key, value in fields.items()}


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return "" if value is None or isinstance(value, list | dict) else str(value)
