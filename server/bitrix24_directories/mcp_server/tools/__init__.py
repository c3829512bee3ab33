"""The tools: one file for each family, and what they share."""
