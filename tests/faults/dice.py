"""Where faults strike: evenly spread in `make test`, anywhere in `make soak`, and at the same points again by a seed.

The one thing to know: a failure under `make soak` names `FAULTS_SEED`; with that in its environment, pytest strikes at
the same points again.
"""

from __future__ import annotations

import os
import random

SEED = os.environ.get("FAULTS_SEED", "")
"""Empty in `make test`."""

_TALLY = os.environ.get("FAULTS_TALLY", "")


def spread(count: int, wanted: int) -> list[int]:
    """So many numbers out of 1..count, evenly and the last one among them, or by the seed; all if that is fewer."""
    if wanted >= count:
        return list(range(1, count + 1))
    if SEED:
        return sorted(random.Random(SEED).sample(range(1, count + 1), wanted))
    return [count - round(number * count / wanted) for number in reversed(range(wanted))]


def tally(what: str) -> None:
    """Count a fault that was injected, for the summary of `make soak`."""
    if _TALLY:
        with open(_TALLY, "a") as file:
            file.write(f"{what}\n")
