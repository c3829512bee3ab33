"""The tools, one file for each family, and their shared code."""
