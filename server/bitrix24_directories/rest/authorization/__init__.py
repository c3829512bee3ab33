"""Who calls: a webhook, or an application (OAuth) with its tokens and their renewal. May import `limits` and `wire`."""
