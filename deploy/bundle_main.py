"""What Claude Desktop starts. The package lies beside this file; the bundle's pyproject.toml names what it needs."""

import sys

from bitrix24_directories.cli.main import main

sys.exit(main(["serve"]))
