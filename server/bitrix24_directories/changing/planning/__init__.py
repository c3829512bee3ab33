"""Plans the steps from a directory's items to the requested ones, by the portal's rules."""
