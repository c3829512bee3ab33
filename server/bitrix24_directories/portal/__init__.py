"""The demo portal: a Bitrix24 look-alike for tries and tests. Imports no other package."""

from .app import WEBHOOKS, DemoPortal
from .faults import Fault
from .seed import Language
from .serving import listen, server

__all__ = ["WEBHOOKS", "DemoPortal", "Fault", "Language", "listen", "server"]
