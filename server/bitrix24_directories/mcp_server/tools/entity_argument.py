"""The argument that names a directory, the same for each tool that takes one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from bitrix24_directories.directories.naming import ENTITY_ID_LIMIT

EntityId = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=ENTITY_ID_LIMIT),
    Field(description="Directory id, or a field", examples=["DEAL_STAGE", "deal.UF_CRM_17"]),
]
