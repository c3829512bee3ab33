"""Changing directories: `changes` reads, plans, carries out and records; `planning` knows the portal's rules.

Loaded only where writes are allowed, but for `stopped`.
"""
