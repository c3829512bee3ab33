"""The command line; `main` runs it, longer commands have modules. May import every package."""
