"""What goes over the wire: one exchange, answers, batches, PHP's query strings. May import what is at `rest`'s top."""
