"""`python -m bitrix24_directories` is the command line."""

import sys

from .cli.main import main

sys.exit(main())
