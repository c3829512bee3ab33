"""The command line, a module for each command that is more than a few lines; `main` parses. May import every room."""
