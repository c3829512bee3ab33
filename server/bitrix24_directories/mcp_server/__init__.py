"""All that speaks MCP: the server, its tools, prompts and resources, and the words they answer in.

May import every room but the command line; what most calls do not need (changing, finding) is imported when it is.
"""
