"""The demo portal's directories and the rules by which items are added, changed and removed.

Rules and messages are those of crm.status.add, update and delete on real portals. Imports nothing of this package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

# Characters of STATUS_ID without its prefix; pipelines of deals pay for their prefix and its colon.
_CODE_LENGTH = {"STATUS": 21, "QUOTE_STATUS": 22, "DEAL_STAGE": 22}
_OTHER_CODE_LENGTH = 50
_STAGE_ALPHABET = re.compile(r"[0-9A-Za-z_-]+")


class PortalError(Exception):
    """An answer with `error`: its HTTP status, code (often empty) and description."""

    def __init__(self, description: str, code: str = "", status: int = 400) -> None:
        super().__init__(description)
        self.description, self.code, self.status = description, code, status


@dataclass(frozen=True)
class Directory:
    """One row of `crm.status.entity.types`. `category_id` is a string in some rows, as on real portals."""

    id: str
    name: str = ""
    entity_type_id: int | None = None
    prefix: str = ""
    category_id: int | str | None = None
    category_name: str = ""
    parent_id: str = ""

    @property
    def is_stages(self) -> bool:
        return self.entity_type_id is not None

    @property
    def code_length(self) -> int:
        if self.id.startswith("DEAL_STAGE_"):
            return _CODE_LENGTH["DEAL_STAGE"] - len(self.prefix) - 1
        return _CODE_LENGTH.get(self.id, _OTHER_CODE_LENGTH)

    def prefixed(self, code: str) -> str:
        """`code` behind the pipeline's prefix, put there once."""
        if not self.prefix or code.startswith(f"{self.prefix}:"):
            return code
        return f"{self.prefix}:{code}"

    def copy_with(self, *, name: str, category_name: str) -> Directory:
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
    """All directories of one portal."""

    directories: dict[str, Directory] = field(default_factory=dict)
    items: dict[int, Item] = field(default_factory=dict)
    last_id: int = 0

    def next_id(self) -> int:
        self.last_id += 1
        return self.last_id

    def put(self, item: Item) -> None:
        self.items[item.id] = item

    def of(self, entity_id: str) -> list[Item]:
        """Items of a directory in ascending SORT; an unknown directory has none."""
        found = [item for item in self.items.values() if item.entity_id == entity_id]
        return sorted(found, key=lambda item: (item.sort, item.id))

    def get(self, item_id: int) -> Item:
        if item_id <= 0:
            raise PortalError("Invalid identifier.")
        if item_id not in self.items:
            raise PortalError("Status is not found.")
        return self.items[item_id]

    def winning(self, entity_id: str) -> Item | None:
        return next((item for item in self.of(entity_id) if item.semantics == "S"), None)

    def add(self, entity_id: str, code: str, name: str, sort: int = 0, color: str = "", semantics: str = "") -> int:
        """Add an item and return its new numeric id.

        Raises PortalError with the portal's own words for each rule that is broken.
        """
        if not entity_id:
            raise PortalError("The field ENTITY_ID is required.")
        directory = self.directories.get(entity_id)
        if directory is None:
            raise PortalError("Specified entity type is not supported.")
        if not name:
            raise PortalError("The field Title is required.")
        if not code:
            raise PortalError("The field STATUS_ID is required.")
        status_id = directory.prefixed(code)
        bare = status_id.removeprefix(f"{directory.prefix}:") if directory.prefix else status_id
        if len(bare) > directory.code_length or (directory.is_stages and not _STAGE_ALPHABET.fullmatch(bare)):
            raise PortalError("Error on creating status.")
        if any(item.status_id == status_id for item in self.of(entity_id)):
            raise PortalError("The specified status ID already exists.", code="ERROR_CORE")
        sort = sort if sort > 0 else 10
        self._refuse_past_winning(entity_id, sort, semantics)
        item = Item(self.next_id(), entity_id, status_id, name, sort, color=_hash(color), semantics=semantics)
        self.put(item)
        return item.id

    def update(self, item_id: int, name: str | None = None, sort: int | None = None, color: str | None = None) -> None:
        """Change an item. SORT not sent becomes 10: the item jumps to the front, as it does on the portal."""
        item = self.get(item_id)
        if name == "":
            raise PortalError("The field Title is required.")
        self.put(
            replace(
                item,
                name=item.name if name is None else name,
                sort=sort if sort is not None and sort > 0 else 10,
                color=item.color if color is None else _hash(color),
            )
        )

    def delete(self, item_id: int, *, forced: bool = False) -> None:
        item = self.get(item_id)
        if item.system and not forced:
            raise PortalError(
                'CRM System Status can be deleted only if parameter FORCED is specified and equal to "Y".'
            )
        if self.stands_in_the_way(item):
            raise PortalError("There are active items in this status.")
        del self.items[item_id]

    def stands_in_the_way(self, item: Item) -> bool:  # noqa: ARG002 - for stores that hold records
        """Whether records keep an item from being deleted."""
        return False

    def _refuse_past_winning(self, entity_id: str, sort: int, semantics: str) -> None:
        winning = self.winning(entity_id)
        if winning is not None and semantics != "F" and (semantics == "S" or sort > winning.sort):
            raise PortalError(
                "Cannot create more stages after the final stage because the final successful stage already "
                "exists. Change the sorting of the stage."
            )


def _hash(color: str) -> str:
    return f"#{color}" if color and not color.startswith("#") else color
