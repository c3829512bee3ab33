"""What one may do: read or write directories, read or write records; and what each tool takes."""

from __future__ import annotations

from collections.abc import Sequence

from bitrix24_directories.rest import Bitrix24Error, Entry

READ_DIRECTORIES = "directories:read"
WRITE_DIRECTORIES = "directories:write"
READ_RECORDS = "records:read"
WRITE_RECORDS = "records:write"

SCOPES = (READ_DIRECTORIES, WRITE_DIRECTORIES, READ_RECORDS, WRITE_RECORDS)
READING = (READ_DIRECTORIES, READ_RECORDS)

_NEEDED = {
    "check_record": (READ_DIRECTORIES, READ_RECORDS),
    "get_directory_usage": (READ_DIRECTORIES, READ_RECORDS),
    "add_directory_item": (WRITE_DIRECTORIES,),
    "update_directory_item": (WRITE_DIRECTORIES,),
    "delete_directory_item": (WRITE_DIRECTORIES,),
    "apply_directory": (WRITE_DIRECTORIES,),
    "merge_directory_items": (WRITE_DIRECTORIES, WRITE_RECORDS),
}


def needed_for(tool: str) -> tuple[str, ...]:
    """The scopes that a tool takes; for everything else that one may ask for, reading directories."""
    return _NEEDED.get(tool, (READ_DIRECTORIES,))


def out_of_scope(what: str, missing: Sequence[str]) -> Bitrix24Error:
    """Whoever calls may not do it here."""
    return Bitrix24Error(
        "INSUFFICIENT_SCOPE",
        Entry(
            f"{what} takes {' and '.join(missing)} here, which this token does not have",
            "Tell the user to ask whoever keeps this server for it (`bitrix24-directories-mcp person scopes NAME`).",
            "authorization",
        ),
        nothing_was_done=True,
    )
