"""Merges several codes of a directory into one: moves records, deletes items; and undoes it."""
