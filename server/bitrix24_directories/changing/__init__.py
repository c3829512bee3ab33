"""Changes of directories: `changes` reads, plans, carries out and records them.

`planning/` has the portal's rules; `merging/` moves the records of several codes to one. Only loaded if writes are
allowed, except for `stopped`.
"""
