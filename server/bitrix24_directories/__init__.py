"""An MCP server for the directories of a Bitrix24 CRM. The command line is in `cli`."""

__version__ = "0.1.0"
