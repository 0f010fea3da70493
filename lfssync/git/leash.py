"""What keeps a child from outliving us: a killed run must leave nobody behind who holds a login, and may still push.

Used by `gitcommand`. The one thing to know: the child ends with the *thread* that started it, so this is only for who
waits for the child in that very thread.

Source: setpriv(1); PR_SET_PDEATHSIG in prctl(2).
"""

from __future__ import annotations

import functools
import os
import subprocess

_WORDS = ("setpriv", "--pdeathsig", "TERM", "--")
_TIMEOUT_S = 60.0


@functools.cache
def leash() -> tuple[str, ...]:
    """What stands before a command so that it is ended when we are killed; nothing where that cannot be had."""
    try:
        only = {"PATH": os.environ.get("PATH", os.defpath)}  # nobody else's environment, and no token of it
        tried = subprocess.run([*_WORDS, "true"], env=only, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return _WORDS if tried.returncode == 0 else ()
