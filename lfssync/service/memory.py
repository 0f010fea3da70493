"""Gives memory back to the system that a large pass needed and nobody needs any more.

Used by `daemon` when the last pass under way has ended. The one thing to know: what Python frees stays with the C
library, which keeps it for the next time; for a daemon that then does nothing for hours that is a waste.

Source: malloc_trim(3).
"""

from __future__ import annotations

import ctypes
import functools
import gc
from collections.abc import Callable


def give_back() -> None:
    """Give back what is free; takes some milliseconds, and does nothing where the C library has no way to."""
    gc.collect()
    _trim()()


@functools.cache
def _trim() -> Callable[[], object]:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return lambda: None
    return lambda: trim(0)
