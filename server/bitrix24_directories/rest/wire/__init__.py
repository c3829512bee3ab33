"""HTTP: one exchange, answers, batches, PHP's queries. May import `rest`'s top modules."""
