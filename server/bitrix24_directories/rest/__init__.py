"""The shared Bitrix24 client. Knows nothing of MCP or of directories; httpx is imported nowhere else."""

from .auth import Webhook
from .catalogue import CATALOGUE, Category, Entry
from .client import Bitrix24Client, Transport, in_process
from .errors import Bitrix24Error, clean, failure
from .wire import Answer

__all__ = [
    "CATALOGUE",
    "Answer",
    "Bitrix24Client",
    "Bitrix24Error",
    "Category",
    "Entry",
    "Transport",
    "Webhook",
    "clean",
    "failure",
    "in_process",
]
