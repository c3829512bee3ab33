"""The directories of a portal and their items. Knows `rest`, `text` and `words`, not MCP."""
