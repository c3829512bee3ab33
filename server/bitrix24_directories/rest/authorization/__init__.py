"""Callers: a webhook or an application (OAuth) with tokens. May import `limits` and `wire`."""
