"""`python -m bitrix24_directories` is the command line."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the working directory: what lies there is not ours to run

from .cli.main import main

sys.exit(main())
