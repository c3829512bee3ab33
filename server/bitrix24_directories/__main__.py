"""`python -m bitrix24_directories` is the command line."""

import sys

from .cli import main

sys.exit(main())
