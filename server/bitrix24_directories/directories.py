"""What the product knows: which directories a portal has, and what stands in them.

Calls the portal through `rest`, whose rows `rows` reads. Knows nothing of MCP.
"""

from __future__ import annotations

from .models import Directory, DirectoryItems, DirectoryList, Item
from .rest import Bitrix24Client, Bitrix24Error, Entry, failure
from .rows import read_directories, read_items, read_statuses
from .text import one_line

ENTITY_ID_LIMIT = 100
SUGGESTIONS = 5
_CLOSE = 60


class Directories:
    """The directories of the portal behind `client`."""

    def __init__(self, client: Bitrix24Client) -> None:
        self._client = client

    async def items(self, entity_id: str, *, details: bool = False) -> DirectoryItems:
        """One directory's items in SORT order, from `crm.status.entity.items`, or with details `crm.status.list`.

        Blanks around `entity_id` and its letter case don't matter. Raises Bitrix24Error: UNKNOWN_DIRECTORY when the
        portal has no such directory, DIRECTORY_UNCONFIRMED when an empty answer cannot be told from that, and
        whatever the portal or the network fails with.
        """
        wanted = entity_id.strip().upper()
        refused: Bitrix24Error | None = None
        items: list[Item] = []
        if wanted.isprintable() and 0 < len(wanted) <= ENTITY_ID_LIMIT:
            try:
                items = await (self._with_details(wanted) if details else self._plain(wanted))
            except Bitrix24Error as exc:
                if exc.kind != "INVALID_ENTITY_ID":
                    raise
                refused = exc
        if not items:
            await self._look_into_empty(wanted, refused)
        return DirectoryItems(entity_id=wanted, items=items, total=len(items))

    async def search(self, query: str = "") -> DirectoryList:
        """The portal's directories (`crm.status.entity.types`) whose id, name or pipeline holds each word of `query`.

        Raises Bitrix24Error when they cannot be read.
        """
        known = await self._types()
        words = query.casefold().split()
        fitting = [found for found in known if all(word in _searchable(found) for word in words)]
        return DirectoryList(directories=fitting, total=len(known))

    async def _plain(self, entity_id: str) -> list[Item]:
        answer = await self._client.call("crm.status.entity.items", {"entityId": entity_id})
        return read_items(answer.result)

    async def _with_details(self, entity_id: str) -> list[Item]:
        """All pages; SORT alone would leave the order of equals, and so the page borders, to chance."""
        params = {"filter": {"ENTITY_ID": entity_id}, "order": {"SORT": "ASC", "ID": "ASC"}}
        items: list[Item] = []
        start: int | None = 0
        while start is not None:
            answer = await self._client.call("crm.status.list", params | ({"start": start} if start else {}))
            items += read_statuses(answer.result, entity_id)
            if answer.next is not None and answer.next <= start:
                raise failure("UNEXPECTED_ANSWER", http_status=200, detail="the next page does not lie ahead")
            start = answer.next
        return items

    async def _types(self) -> list[Directory]:
        return read_directories((await self._client.call("crm.status.entity.types")).result)

    async def _look_into_empty(self, entity_id: str, refused: Bitrix24Error | None) -> None:
        """Return if the directory exists and is empty. The portal answers an unknown one with an empty list too."""
        try:
            known = await self._types()
        except Bitrix24Error as exc:
            raise _unconfirmed(entity_id, exc) from exc
        if all(found.entity_id != entity_id for found in known):
            raise _unknown(entity_id, known)
        if refused is not None:
            raise refused


def _searchable(directory: Directory) -> str:
    return f"{directory.entity_id} {directory.name} {directory.pipeline or ''}".casefold()


def _unknown(entity_id: str, known: list[Directory]) -> Bitrix24Error:
    nearest = "; ".join(f"{found.entity_id} ({found.name})" for found in _nearest(entity_id, known))
    todo = f"Use one of the nearest: {nearest}. " if nearest else ""
    return Bitrix24Error(
        "UNKNOWN_DIRECTORY",
        Entry(
            f'This portal has no directory "{one_line(entity_id, ENTITY_ID_LIMIT)}"',
            f"{todo}Call list_directories to see all {len(known)} with their titles.",
            "input",
        ),
    )


def _unconfirmed(entity_id: str, cause: Bitrix24Error) -> Bitrix24Error:
    return Bitrix24Error(
        "DIRECTORY_UNCONFIRMED",
        Entry(
            f'The portal sent no items for "{one_line(entity_id, ENTITY_ID_LIMIT)}": either there is no such '
            f"directory, or it is empty. Which of the two is not known, because the portal's list of directories "
            f"cannot be read: {cause.happened}",
            f"Do not take the directory for empty. {cause.todo}",
            cause.category,
            cause.retryable,
            cause.retry_after,
        ),
        code=cause.code,
        http_status=cause.http_status,
    )


def _nearest(entity_id: str, known: list[Directory]) -> list[Directory]:
    # Imported here: only a mistake needs it, and start-up time counts.
    from rapidfuzz import fuzz

    def words(text: str) -> str:
        return text.casefold().replace("_", " ")

    def closeness(found: Directory) -> float:
        return max(fuzz.WRatio(words(entity_id), words(text)) for text in (found.entity_id, found.name))

    ranked = sorted(known, key=closeness, reverse=True)
    return [found for found in ranked[:SUGGESTIONS] if closeness(found) >= _CLOSE]
