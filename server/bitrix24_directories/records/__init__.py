"""Checks a whole record before it is written: `check` reads and answers, the rest judges."""
