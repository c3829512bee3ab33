"""The MCP server: its tools, prompts and resources, and their texts.

May import every package but the command line; packages that few calls need (changing, finding) are imported at use.
"""
