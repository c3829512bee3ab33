"""Checks a whole record before it is written: `check` reads what it takes and answers, the others judge."""
