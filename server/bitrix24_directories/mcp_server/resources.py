"""The resources that a person attaches to a conversation, and completion of directory ids.

`bitrix24://directories`, `bitrix24://directories/{entityId}` and `bitrix24://fields`, each with the same text as the
tools.
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
"""Key in a resource's `_meta` of the seconds since it was read from the portal."""
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
    """Return the text of `uri`, with its age in the metadata; None if there is no such resource.

    Raises Bitrix24Error as the tools do.
    """
    if uri == DIRECTORIES:
        result = await directories.search()
        return _contents(uri, directories_text(result), result.age_seconds)
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
    """Return the ids of directories whose id or title contains `typed`; with a dot also fields.
    Those that begin with it come first."""
    query, lists = typed.casefold(), await directories.lists()

    def fits(directory: Directory) -> bool:
        return query in directory.entity_id.casefold() or query in directory.name.casefold()

    ids = [directory.entity_id for directory in lists.directories.rows if fits(directory)]
    if "." in query:
        paths = [record_field.path for record_field in lists.fields.all() if record_field.takes_codes]
        ids += [path for path in paths if query in path.casefold()]
    ids.sort(key=lambda entity_id: not entity_id.casefold().startswith(query))
    return Completion(values=ids[:_COMPLETIONS], total=len(ids), has_more=len(ids) > _COMPLETIONS)


async def existing_uris(directories: Directories, uris: Sequence[str]) -> list[str]:
    """Return the URIs that are resources, each once. Raises Bitrix24Error as the tools do."""
    existing = {DIRECTORIES, FIELDS}
    if not existing.issuperset(uris):
        existing |= {uri_of(directory.entity_id) for directory in (await directories.lists()).all()}
    return [uri for uri in dict.fromkeys(uris) if uri in existing]


def _contents(uri: str, text: str, age: int | None) -> TextResourceContents:
    return TextResourceContents(uri=uri, text=text, mime_type="text/plain", _meta={AGE: age} if age else None)
