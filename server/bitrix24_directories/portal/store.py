"""Directories of the demo portal, and the rules for adding, changing and removing items.

Rules and messages are those of crm.status.add, update and delete on real portals. Imports nothing of this package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

Age = Literal["today", "older", "oldest"]
"""How old the portal's server code is: of 2026, or one of two generations before it."""

# Characters of STATUS_ID, the pipeline's prefix and its colon included.
_CODE_LENGTH = {"STATUS": 21, "QUOTE_STATUS": 22, "DEAL_STAGE": 22}
_OTHER_CODE_LENGTH = 50
_NAME_LENGTH = 100
_COLOR_LENGTH = 10
_STAGE_ALPHABET = re.compile(r"[0-9A-Za-z_-]+")
_FIRST_SMART_TYPE = 31

# Refusals that come in the portal's language: English, Russian.
_TAKEN = ("The specified status ID already exists.", "Указанный код уже существует.")
_TOO_LONG = ("The stage code is too long.", "Слишком длинный код.")
_ALPHABET = (
    "The stage code may contain only Latin letters, digits, hyphens and underscores.",
    "Код стадии может содержать только латинские буквы, цифры, дефис и подчёркивание.",
)
_AFTER_FINAL = (
    "Cannot create more stages after the final stage because the final successful stage already exists.",
    "Нельзя создать стадию после финальной: успешная стадия уже есть. Измените сортировку стадии.",
)
_BEFORE_FINAL = (
    "A failed stage must come after the final successful stage. Change the sorting of the stage.",
    "Провальная стадия должна идти после успешной. Измените сортировку стадии.",
)
_SECOND_SUCCESS = (
    "The final successful stage already exists.",
    "Финальная успешная стадия уже существует.",
)
_ACTIVE_ITEMS = (
    "The stage cannot be deleted because it has active items.",
    "Нельзя удалить стадию: на ней есть активные элементы.",
)


class PortalError(Exception):
    """An answer with `error`: its HTTP status, code (often empty) and description."""

    def __init__(self, description: str, code: str = "", status: int = 400) -> None:
        super().__init__(description)
        self.description, self.code, self.status = description, code, status


@dataclass(frozen=True)
class Directory:
    """One row of `crm.status.entity.types`; as on real portals, some `category_id` are strings.

    `semantic_info` has the codes of the start, success and failure stages, if the portal has constants for them.
    """

    id: str
    name: str = ""
    entity_type_id: int | None = None
    prefix: str = ""
    category_id: int | str | None = None
    category_name: str = ""
    parent_id: str = ""
    semantic_info: tuple[str, str, str] | None = None
    enabled: bool = True

    @property
    def is_stages(self) -> bool:
        """True if the directory holds stages."""
        return self.entity_type_id is not None

    @property
    def code_length(self) -> int:
        """Longest code without its prefix, in characters."""
        longest = _CODE_LENGTH["DEAL_STAGE"] if self.entity_type_id == 2 else _CODE_LENGTH.get(self.id)
        return (longest or _OTHER_CODE_LENGTH) - (len(self.prefix) + 1 if self.prefix else 0)

    def prefixed(self, code: str) -> str:
        """Return `code` after the pipeline's prefix."""
        return f"{self.prefix}:{code}" if self.prefix else code

    def copy_with(self, *, name: str, category_name: str) -> Directory:
        """Return a copy with other names."""
        return replace(self, name=name, category_name=category_name)


@dataclass(frozen=True)
class Item:
    """One row of a directory, as the portal's database holds it."""

    id: int
    entity_id: str
    status_id: str
    name: str
    sort: int
    system: bool = False
    color: str = ""
    semantics: str = ""


@dataclass
class Store:
    """All directories of one portal; `language` is 0 for English and 1 for Russian."""

    age: Age = "today"
    language: int = 0
    directories: dict[str, Directory] = field(default_factory=dict)
    items: dict[int, Item] = field(default_factory=dict)
    last_id: int = 0

    def next_id(self) -> int:
        """Return the id of the next item."""
        self.last_id += 1
        return self.last_id

    def put(self, item: Item) -> None:
        """Put an item into its directory."""
        self.items[item.id] = item

    def of(self, entity_id: str) -> list[Item]:
        """Return the items of a directory in ascending SORT; none for an unknown directory."""
        items = [item for item in self.items.values() if item.entity_id == entity_id]
        return sorted(items, key=lambda item: (item.sort, item.id))

    def get(self, item_id: int) -> Item:
        """Return an item by its id. Raises PortalError if there is none."""
        if item_id <= 0:
            raise PortalError("Invalid identifier.")
        if item_id not in self.items:
            raise PortalError("Status is not found.")
        return self.items[item_id]

    def winning(self, entity_id: str) -> Item | None:
        """Return the winning stage of a directory."""
        return next((item for item in self.of(entity_id) if item.semantics == "S"), None)

    def add(self, entity_id: str, code: str, name: str, sort: int = 0, color: str = "", semantics: str = "") -> int:
        """Add an item and return its new numeric id.

        Raises PortalError with the portal's own words for each broken rule.
        """
        if not entity_id:
            raise PortalError("The field ENTITY_ID is required.")
        directory = self.directories.get(entity_id)
        if directory is None:
            raise PortalError("Specified entity type is not supported.")
        name, bare = _cut(name), code.partition(":")[2] if ":" in code else code
        if not name:
            raise PortalError("The field Title is required.")
        if not bare:
            raise PortalError("The field STATUS_ID is required.")
        if len(bare) > directory.code_length:
            raise PortalError(_TOO_LONG[self.language])
        if directory.is_stages and not _STAGE_ALPHABET.fullmatch(bare):
            raise PortalError(_ALPHABET[self.language])
        status_id = directory.prefixed(bare)
        if any(item.status_id == status_id for item in self.of(entity_id)):
            raise PortalError(_TAKEN[self.language], code="ERROR_CORE")
        sort = sort if sort > 0 else 10
        self._refuse_misplaced(entity_id, sort, semantics)
        semantics = semantics if semantics in ("S", "F") else ""
        item = Item(self.next_id(), entity_id, status_id, name, sort, color=_hash(color), semantics=semantics)
        self.put(item)
        return item.id

    def update(self, item_id: int, name: str | None = None, sort: int | None = None, color: str | None = None) -> None:
        """Change an item. An empty NAME or "0" changes nothing.

        SORT stays if it was not sent, or becomes 10 on older portals.
        """
        item = self.get(item_id)
        if sort is None:
            sort = item.sort if self.age == "today" else 10
        name = _cut(name or "")
        self.put(
            replace(
                item,
                name=item.name if name in ("", "0") else name,
                sort=sort if sort > 0 else 10,
                color=item.color if color is None else _hash(color),
            )
        )

    def delete(self, item_id: int, *, forced: bool = False) -> None:
        """Delete an item. Raises PortalError if the portal refuses that."""
        item = self.get(item_id)
        if item.system and not forced:
            raise PortalError(
                'CRM System Status can be deleted only if parameter FORCED is specified and equal to "Y".'
            )
        if self.stands_in_the_way(item):
            smart = (self.directories[item.entity_id].entity_type_id or 0) >= _FIRST_SMART_TYPE
            raise PortalError(_ACTIVE_ITEMS[self.language] if smart else "There are active items in this status.")
        del self.items[item_id]

    def stands_in_the_way(self, item: Item) -> bool:  # noqa: ARG002 - for stores that hold records
        """Return True if records keep an item from being deleted."""
        return False

    def _refuse_misplaced(self, entity_id: str, sort: int, semantics: str) -> None:
        """Check the position of a new stage relative to the winning one; changes are not checked."""
        winning = self.winning(entity_id)
        if winning is None:
            return
        if semantics == "S":
            raise PortalError(_SECOND_SUCCESS[self.language])
        if semantics == "F" and sort <= winning.sort:
            raise PortalError(_BEFORE_FINAL[self.language])
        if semantics != "F" and sort >= winning.sort:
            raise PortalError(_AFTER_FINAL[self.language])


def _cut(name: str) -> str:
    return name.strip()[:_NAME_LENGTH]


def _hash(color: str) -> str:
    return (f"#{color}" if color and not color.startswith("#") else color)[:_COLOR_LENGTH]
