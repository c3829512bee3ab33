"""`python -m bitrix24_directories` is the command line."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the working directory: its modules must not be run

from .cli.main import main

sys.exit(main())
