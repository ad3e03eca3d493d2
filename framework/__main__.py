"""`python -m framework` is the command line."""

import sys

from framework.cli import main

if __name__ == "__main__":
    sys.exit(main())
