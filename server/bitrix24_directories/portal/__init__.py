"""The demo portal: a Bitrix24 look-alike to try and test against. Imports nothing from its neighbours."""

from .app import WEBHOOKS, DemoPortal
from .faults import Fault
from .seed import Language
from .serving import listen, server

__all__ = ["WEBHOOKS", "DemoPortal", "Fault", "Language", "listen", "server"]
