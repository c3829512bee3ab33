"""Changing directories: `changes` reads, plans, carries out and records; `planning/` knows the portal's rules;
`merging/` moves the records of several codes to one.

Loaded only where writes are allowed, but for `stopped`.
"""
