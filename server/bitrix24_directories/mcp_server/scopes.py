"""Permissions of a caller: read or write directories, read or write records."""

from __future__ import annotations

from collections.abc import Sequence

from bitrix24_directories.rest import Bitrix24Error, ErrorKind

READ_DIRECTORIES = "directories:read"
WRITE_DIRECTORIES = "directories:write"
READ_RECORDS = "records:read"
WRITE_RECORDS = "records:write"

SCOPES = (READ_DIRECTORIES, WRITE_DIRECTORIES, READ_RECORDS, WRITE_RECORDS)
READING = (READ_DIRECTORIES, READ_RECORDS)


def out_of_scope(operation: str, missing: Sequence[str]) -> Bitrix24Error:
    """Return the error for an operation that the caller may not use here."""
    return Bitrix24Error(
        "INSUFFICIENT_SCOPE",
        ErrorKind(
            f"{operation} takes {' and '.join(missing)} here, which this token does not have",
            "Tell the user to ask the administrator of this server for it (`bitrix24-directories-mcp person scopes "
            "NAME`).",
            "authorization",
        ),
        not_applied=True,
    )
