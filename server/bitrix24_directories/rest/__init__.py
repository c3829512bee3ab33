"""The shared Bitrix24 client, and the only package that imports httpx.

Knows nothing of MCP or of directories.
"""

from bitrix24_directories.errors.catalogue import CATALOGUE, KEEPER, Category, ErrorKind
from bitrix24_directories.errors.errors import TOKEN_REFUSED, Bitrix24Error, clean, failure

from .authorization.oauth import BITRIX24_OAUTH_URL, Application, authorise
from .authorization.webhook import Webhook
from .client import Bitrix24Client, Credentials, Transport, in_process
from .connection import PortalConnection
from .limits.pacing import ENTERPRISE, SELF_HOSTED, STANDARD, RateLimits
from .limits.waiting import Waiting, current_wait
from .wire.answers import Answer, Outcome, unwrap
from .wire.batches import BATCH_LENGTH

__all__ = [
    "BATCH_LENGTH",
    "BITRIX24_OAUTH_URL",
    "CATALOGUE",
    "ENTERPRISE",
    "KEEPER",
    "SELF_HOSTED",
    "STANDARD",
    "TOKEN_REFUSED",
    "Answer",
    "Application",
    "Bitrix24Client",
    "Bitrix24Error",
    "Category",
    "Credentials",
    "ErrorKind",
    "Outcome",
    "PortalConnection",
    "RateLimits",
    "Transport",
    "Waiting",
    "Webhook",
    "authorise",
    "clean",
    "current_wait",
    "failure",
    "in_process",
    "unwrap",
]
