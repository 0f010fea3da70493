"""Where the program begins, as the command `lfssync` and as `python -m lfssync`; all it does is in `cli`.

It stands outside the line. The one thing to know: a tenth of what `lfssync status` takes would go into looking for
garbage among the modules that are being loaded, where there is none; so that is done less often, and not at the end.
"""

from __future__ import annotations

import gc
import sys

_OBJECTS = 10_000
"""So many new objects are waited for; Python's own 700 come many times with each module."""


def main() -> int:
    """Run the command that this process was started for; gives the exit code, which is part of the contract."""
    gc.set_threshold(_OBJECTS)
    from lfssync.commandline import cli

    code = cli.main()
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(main())
