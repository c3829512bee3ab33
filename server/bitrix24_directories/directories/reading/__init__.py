"""The read-through cache: what a portal gave lately, or gives now."""
