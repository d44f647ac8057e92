"""Run the ``paxospp`` command as ``python -m paxospp``."""

import sys

from paxospp.cli import main

if __name__ == "__main__":
    sys.exit(main())
