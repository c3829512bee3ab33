"""Calls of a plan with the steps that users see, and refused steps. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from bitrix24_directories.directories.models import Item, Step
from bitrix24_directories.directories.rows import meaning_of

_WRITTEN = {"NAME": "name", "SORT": "sort", "COLOR": "color"}


@dataclass(slots=True)
class Operation:
    """Call with the step that it carries out, and its `item`, None for a new one."""

    method: Literal["crm.status.add", "crm.status.update", "crm.status.delete"]
    params: dict[str, Any]
    step: Step
    item: Item | None = None


@dataclass(slots=True)
class ChangePlan:
    """Operations in an order that the portal accepts, and steps for refused lines."""

    operations: list[Operation] = field(default_factory=list)
    refused: list[Step] = field(default_factory=list)

    @property
    def removals(self) -> list[Operation]:
        """Operations that delete an item."""
        return [operation for operation in self.operations if operation.method == "crm.status.delete"]

    @property
    def removed_codes(self) -> list[str]:
        """Codes of the items to remove."""
        return [item.status_id for operation in self.removals if (item := operation.item) is not None]

    @property
    def steps(self) -> list[Step]:
        """Steps of all operations, then the refused ones."""
        return [operation.step for operation in self.operations] + self.refused


def after(items: Sequence[Item], operations: Sequence[Operation]) -> list[Item]:
    """Return the items in their order after all operations; new ones have no `id`."""
    codes = {item.id: item.status_id for item in items}
    standing = {item.status_id: item for item in items}
    for operation in operations:
        fields, step = operation.params.get("fields", {}), operation.step
        if operation.method == "crm.status.add":
            code = str(step.status_id)
            meaning = meaning_of(fields["ENTITY_ID"], fields.get("SEMANTICS"))
            standing[code] = Item(
                status_id=code, name=fields["NAME"], sort=fields["SORT"], color=fields.get("COLOR"), semantics=meaning
            )
            continue
        code = codes[operation.params["id"]]
        if operation.method == "crm.status.delete":
            del standing[code]
        else:
            changed = {ours: fields[theirs] for theirs, ours in _WRITTEN.items() if theirs in fields}
            standing[code] = standing[code].model_copy(update=changed)
    return sorted(standing.values(), key=lambda item: (item.sort, item.id or math.inf))


def deletion(item: Item) -> Operation:
    """Return the operation that deletes an item."""
    step = Step(action="remove", status_id=item.status_id, name=item.name)
    return Operation("crm.status.delete", {"id": item.id}, step, item)


def refused_unsure(item: Item) -> Step:
    """Return the refusal to remove an item that a refused line may have meant."""
    why = "it is kept, because a line above was refused and may have meant it"
    return Step(action="refused", status_id=item.status_id, name=item.name, why=why)


def refused_system(item: Item) -> Step:
    """Return the refusal to remove a system item."""
    why = "it is a system item, which Bitrix24 needs; rename it instead"
    return Step(action="refused", status_id=item.status_id, name=item.name, why=why)


def refused_carried(item: Item, records: str) -> Step:
    """Return the refusal to remove an item that records carry."""
    why = (
        f"records carry it ({records}) and would be left with a code that nobody can read; move them first with "
        "merge_directory_items"
    )
    return Step(action="refused", status_id=item.status_id, name=item.name, why=why)
