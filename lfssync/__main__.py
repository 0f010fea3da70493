"""`python -m lfssync`: the same program as the `lfssync` command, for where scripts are not on the PATH.

It stands outside the line; everything is in `cli`. The one thing to know: the exit code is part of the contract.
"""

from __future__ import annotations

import sys

from lfssync.commandline.cli import main

if __name__ == "__main__":
    sys.exit(main())
