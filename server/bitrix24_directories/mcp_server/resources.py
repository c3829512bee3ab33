"""The resources that a person attaches to a conversation, and the completion of directory ids.

`bitrix24://directories`, `bitrix24://directories/{entityId}` and `bitrix24://fields`, each the same text as the tools'.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

import anyio
from mcp_types import Completion, Resource, ResourceTemplate, TextResourceContents

from bitrix24_directories.directories.directories import Directories
from bitrix24_directories.directories.models import Directory

from .texts.directories import DIRECTORIES, directories_text, fields_text, items_text, uri_of

FIELDS = "bitrix24://fields"
NO_SUCH_RESOURCE = "There is no such resource; read bitrix24://directories to see what there is"
AGE = "ageSeconds"
"""What tells in a resource's `_meta` how many seconds ago it was read from the portal."""
_COMPLETIONS = 100

RESOURCES = [
    Resource(
        uri=DIRECTORIES,
        name="directories",
        title="Bitrix24 directories",
        description="All directories of the portal: ids, titles, pipelines, and the fields that take their codes",
        mime_type="text/plain",
    ),
    Resource(
        uri=FIELDS,
        name="fields",
        title="Bitrix24 fields that take codes",
        description="The fields of records that take codes, custom ones included, with their directories or values",
        mime_type="text/plain",
    ),
]
TEMPLATES = [
    ResourceTemplate(
        uri_template=f"{DIRECTORIES}/{{entityId}}",
        name="directory",
        title="One Bitrix24 directory",
        description="The codes and names of one directory, in order",
        mime_type="text/plain",
    )
]


async def read(directories: Directories, uri: str) -> TextResourceContents | None:
    """The text behind `uri`, its age in the metadata; None when there is no such resource.

    Raises Bitrix24Error as the tools do.
    """
    if uri == DIRECTORIES:
        listed = await directories.search()
        return _contents(uri, directories_text(listed), listed.age_seconds)
    if uri == FIELDS:
        lists = await directories.lists()
        text = f"{fields_text(lists)}\n\n{await directories.fields_text()}"
        read_at = min(lists.fields.read_at, lists.directories.read_at)
        return _contents(uri, text, int(anyio.current_time() - read_at))
    if uri.startswith(f"{DIRECTORIES}/"):
        items = await directories.items(unquote(uri.removeprefix(f"{DIRECTORIES}/")))
        return _contents(uri, items_text(items), items.age_seconds)
    return None


async def complete(directories: Directories, typed: str) -> Completion:
    """The ids of directories whose id or title holds what was typed, those that begin with it first; fields by dots."""
    wanted, lists = typed.casefold(), await directories.lists()

    def fits(found: Directory) -> bool:
        return wanted in found.entity_id.casefold() or wanted in found.name.casefold()

    ids = [found.entity_id for found in lists.directories.rows if fits(found)]
    if "." in wanted:
        ids += [one.path for one in lists.fields.all() if one.takes_codes and wanted in one.path.casefold()]
    ids.sort(key=lambda entity_id: not entity_id.casefold().startswith(wanted))
    return Completion(values=ids[:_COMPLETIONS], total=len(ids), has_more=len(ids) > _COMPLETIONS)


async def known(directories: Directories, uris: Sequence[str]) -> list[str]:
    """Those of `uris` that are resources here, each once. Raises Bitrix24Error as the tools do."""
    there = {DIRECTORIES, FIELDS}
    if not there.issuperset(uris):
        there |= {uri_of(found.entity_id) for found in (await directories.lists()).all()}
    return [uri for uri in dict.fromkeys(uris) if uri in there]


def _contents(uri: str, text: str, age: int | None) -> TextResourceContents:
    return TextResourceContents(uri=uri, text=text, mime_type="text/plain", _meta={AGE: age} if age else None)
