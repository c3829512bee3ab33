"""REST methods for records: `crm.item.*`, pipelines, currencies, and the old `crm.deal.*`.

Also `crm.enum.ownertype`. Behaviour and wording are those of the REST methods of the same names. Imports `calls`,
`php`, `record_types`, `records` and `store`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from .calls import PAGE, Method, MethodResult, User, integer, may_change, may_read
from .php import as_array, param
from .record_types import RecordType
from .records import CrmStore, Values
from .store import PortalError

_OLD = {"lead": 1, "deal": 2, "contact": 3, "company": 4, "quote": 7}
_NO_PIPELINES = "Entity type is not supported"


def item_fields(store: CrmStore, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.item.fields`."""
    may_read(user)
    kind, original = store.records.type(integer(param(params, "entityTypeId"))), _original(params)
    rows = {
        field.old_name if field.custom and original else field.name: field.described(new=True)
        for field in kind.fields
        if field.only != "old"
    }
    return MethodResult({"fields": rows})


def item_get(store: CrmStore, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.item.get`."""
    may_read(user)
    values = store.records.get(integer(param(params, "entityTypeId")), integer(param(params, "id")))
    return MethodResult({"item": _spelt(store, params, values)})


def item_add(store: CrmStore, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.item.add`."""
    may_change(user)
    number = integer(param(params, "entityTypeId"))
    values = store.records.add(store, number, _fields(params), original=_original(params))
    return MethodResult({"item": _spelt(store, params, values)})


def item_update(store: CrmStore, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.item.update`."""
    may_change(user)
    number, record_id = integer(param(params, "entityTypeId")), integer(param(params, "id"))
    values = store.records.update(store, number, record_id, _fields(params), original=_original(params))
    return MethodResult({"item": _spelt(store, params, values)})


def item_list(store: CrmStore, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.item.list`."""
    may_read(user)
    number = integer(param(params, "entityTypeId"))
    kind, original = store.records.type(number), _original(params)
    fits = _fitting(as_array(param(params, "filter")) or {}, kind, original)
    matches = [values for values in store.records.of(number) if fits(values)]
    for name, direction in reversed((as_array(param(params, "order")) or {"id": "ASC"}).items()):
        if (field := kind.field(name, original=original)) is not None:
            matches.sort(key=partial(_sort_key, field.name), reverse=str(direction).upper() == "DESC")
    start = integer(param(params, "start", 0))
    first = max(start, 0)
    page = [_selected(store, params, values) for values in matches[first : first + PAGE]]
    if start == -1:  # no count: faster, and the total means nothing
        return MethodResult({"items": page}, total=0)
    after = first + PAGE
    return MethodResult({"items": page}, total=len(matches), next=after if after < len(matches) else None)


def category_list(store: CrmStore, user: User, params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.category.list`."""
    may_read(user)
    kind = store.records.type(integer(param(params, "entityTypeId")))
    if not kind.has_pipelines:
        raise PortalError(_NO_PIPELINES, code="ENTITY_TYPE_NOT_SUPPORTED")
    pipelines = sorted(
        (int(directory.category_id), directory.category_name)
        for directory in store.directories.values()
        if directory.entity_type_id == kind.id and directory.category_id is not None
    )
    rows = [
        {
            "id": number,
            "name": name,
            "sort": 100 * position,
            "entityTypeId": kind.id,
            "isDefault": "Y" if position == 1 else "N",
        }
        for position, (number, name) in enumerate(pipelines, 1)
    ]
    return MethodResult({"categories": rows}, total=len(rows))


def currency_list(store: CrmStore, user: User, _params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.currency.list`."""
    may_read(user)
    rows = [
        {
            "CURRENCY": code,
            "AMOUNT_CNT": "1",
            "SORT": str(100 * position),
            "BASE": "Y" if position == 1 else "N",
            "FULL_NAME": name,
        }
        for position, (code, name) in enumerate(store.records.currencies, 1)
    ]
    return MethodResult(rows, total=len(rows))


def owner_types(store: CrmStore, _user: User, _params: Mapping[str, Any]) -> MethodResult:
    """REST method `crm.enum.ownertype`."""
    return MethodResult(
        [
            {"ID": kind.id, "NAME": kind.name, "SYMBOL_CODE": kind.symbol, "SYMBOL_CODE_SHORT": kind.symbol[:1]}
            for kind in store.records.types.values()
        ]
    )


def _old_fields(number: int, store: CrmStore, user: User, _params: Mapping[str, Any]) -> MethodResult:
    may_read(user)
    fields = store.records.type(number).fields
    return MethodResult({field.old_name: field.described(new=False) for field in fields if field.only != "new"})


def _old_add(number: int, store: CrmStore, user: User, params: Mapping[str, Any]) -> MethodResult:
    may_change(user)
    return MethodResult(store.records.add_by_old_method(store, number, _fields(params)))


def _old_update(number: int, store: CrmStore, user: User, params: Mapping[str, Any]) -> MethodResult:
    may_change(user)
    store.records.update_by_old_method(store, number, integer(param(params, "id")), _fields(params))
    return MethodResult(result=True)


def _old_get(number: int, store: CrmStore, user: User, params: Mapping[str, Any]) -> MethodResult:
    may_read(user)
    values = store.records.get(number, integer(param(params, "id")))
    fields = store.records.type(number).fields
    return MethodResult({field.old_name: values[field.name] for field in fields if field.only != "new"})


def _old_methods() -> Iterator[tuple[str, Method]]:
    verbs: dict[str, Callable[..., MethodResult]] = {
        "fields": _old_fields,
        "add": _old_add,
        "update": _old_update,
        "get": _old_get,
    }
    for name, number in _OLD.items():
        for verb, method in verbs.items():
            yield f"crm.{name}.{verb}", partial(method, number)


RECORD_METHODS: dict[str, Method] = {
    "crm.item.fields": item_fields,
    "crm.item.get": item_get,
    "crm.item.list": item_list,
    "crm.item.add": item_add,
    "crm.item.update": item_update,
    "crm.category.list": category_list,
    "crm.currency.list": currency_list,
    "crm.enum.ownertype": owner_types,
    **dict(_old_methods()),
}


def _original(params: Mapping[str, Any]) -> bool:
    return str(param(params, "useOriginalUfNames")) == "Y"


def _fields(params: Mapping[str, Any]) -> dict[str, Any]:
    fields = as_array(param(params, "fields"))
    if fields is None:
        raise PortalError("Parameter 'fields' must be array.", code="100")
    return {name: _as_list(value) for name, value in fields.items()}


def _as_list(value: Any) -> Any:
    """Return a PHP array with the keys 0, 1, 2 … as a list: a query string does not mark lists."""
    if isinstance(value, dict) and list(value) == [str(index) for index in range(len(value))]:
        return list(value.values())
    return value


def _spelt(store: CrmStore, params: Mapping[str, Any], values: Values) -> Values:
    """Return a record for an answer, with custom fields in the spelling of the request."""
    kind, original = store.records.type(integer(param(params, "entityTypeId"))), _original(params)
    return {
        field.old_name if field.custom and original else field.name: values[field.name]
        for field in kind.fields
        if field.only != "old"
    }


def _selected(store: CrmStore, params: Mapping[str, Any], values: Values) -> Values:
    """Return the record with its id and the fields of `select`; unknown names there are ignored."""
    spelt, select = _spelt(store, params, values), as_array(param(params, "select"))
    if not select or "*" in select.values():
        return spelt
    kind, original = store.records.type(integer(param(params, "entityTypeId"))), _original(params)
    fields = [kind.field(str(name), original=original) for name in select.values()]
    names = {"id"} | {field.old_name if field.custom and original else field.name for field in fields if field}
    return {name: value for name, value in spelt.items() if name in names}


def _sort_key(name: str, values: Values) -> tuple[bool, Any]:
    value = values[name]
    return (value is not None, value if isinstance(value, int | float) else str(value))


_PREFIXES = ("!@", "!=", ">=", "<=", "@", "=", ">", "<", "%", "!")


def _fitting(filters: Mapping[str, Any], kind: RecordType, original: bool) -> Callable[[Values], bool]:
    """Return the test of a filter, which may nest filters under numbers, joined by `logic`."""
    conditions: list[Callable[[Values], bool]] = []
    for key, value in filters.items():
        if key == "logic":
            continue
        if str(key).isdecimal():
            conditions.append(_fitting(as_array(value) or {}, kind, original))
            continue
        prefix = next((candidate for candidate in _PREFIXES if key.startswith(candidate)), "")
        name = key[len(prefix) :]
        field = kind.field(name, original=original)
        if field is None or (prefix and not original and not field.converts_behind_operators):
            raise PortalError(f"Invalid filter: field '{name}' is not allowed in filter", code="INVALID_ARG_VALUE")
        conditions.append(partial(_any_holds, field.name, _condition(prefix, value)))
    joined = any if str(filters.get("logic", "")).upper() == "OR" else all
    return lambda values: joined(condition(values) for condition in conditions)


def _any_holds(name: str, holds: Callable[[Any], bool], values: Values) -> bool:
    stored = values[name]
    if isinstance(stored, list):
        return any(holds(item) for item in stored or [None])
    return holds(stored)


def _condition(prefix: str, value: Any) -> Callable[[Any], bool]:
    """Return one condition; like the database it ignores letter case and trailing blanks."""
    first, *_ = many = [_compared(item) for item in (as_array(value) or {"0": value}).values()]
    among = frozenset(many)
    match prefix:
        case "" | "=" | "@":
            return lambda stored: _compared(stored) in among
        case "!" | "!=":
            return lambda stored: _compared(stored) not in among
        case "!@":  # null is in no list, and in no complement of one
            return lambda stored: stored is not None and _compared(stored) not in among
        case "%":
            return lambda stored: first in _compared(stored)
    return partial(_in_order, prefix, first)


def _in_order(prefix: str, limit: str, stored: Any) -> bool:
    if stored is None:
        return False
    left: Any = _compared(stored)
    right: Any = limit
    with contextlib.suppress(ValueError):
        left, right = float(left), float(right)
    orders: dict[str, bool] = {">": left > right, "<": left < right, ">=": left >= right, "<=": left <= right}
    return orders[prefix]


def _compared(value: Any) -> str:
    return "" if value is None else str(value).rstrip(" ").casefold()
