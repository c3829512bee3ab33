"""When a call goes out: pacing, the queue, calls that several callers share, what is waited for. May import `wire`."""
