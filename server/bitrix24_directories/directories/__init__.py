"""Which directories a portal has and what stands in them. Knows `rest`, `text` and `words`, and nothing of MCP."""
