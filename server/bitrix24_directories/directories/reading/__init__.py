"""The read-through cache of a portal's data."""
