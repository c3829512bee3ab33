"""Scheduling of calls: limits, the queue, shared calls, reasons to wait. May import `wire`."""
