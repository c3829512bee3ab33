"""The shared Bitrix24 client. Knows nothing of MCP or of directories; httpx is imported nowhere else."""

from .authorization.oauth import BITRIX24_OAUTH_URL, Application, first_tokens
from .authorization.webhook import Credentials, Webhook
from .catalogue import CATALOGUE, Category, Entry
from .client import Bitrix24Client, Transport, in_process, outcome_of
from .errors import Bitrix24Error, clean, failure
from .limits.pacing import ENTERPRISE, STANDARD, Plan
from .limits.queue import Outcome, given
from .limits.waiting import Waiting, current_wait
from .wire.answers import Answer

__all__ = [
    "BITRIX24_OAUTH_URL",
    "CATALOGUE",
    "ENTERPRISE",
    "STANDARD",
    "Answer",
    "Application",
    "Bitrix24Client",
    "Bitrix24Error",
    "Category",
    "Credentials",
    "Entry",
    "Outcome",
    "Plan",
    "Transport",
    "Waiting",
    "Webhook",
    "clean",
    "current_wait",
    "failure",
    "first_tokens",
    "given",
    "in_process",
    "outcome_of",
]
