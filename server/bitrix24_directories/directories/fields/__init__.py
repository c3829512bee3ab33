"""Kinds of records and their fields, and the rows that describe them."""
