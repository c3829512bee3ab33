"""All kinds of failures: a table of causes and next steps, and the exception for its rows."""
