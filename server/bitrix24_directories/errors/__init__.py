"""Every kind of failure: one table of what happened and what to do next, and the exception made from a row of it."""
