"""Whatever happens, in any order: the remote is whole at any time, and holds what the directory holds once all rests.

See `restless` for what happens. A failure names its seed: `RESTLESS_SEED=<seed> pytest tests/faults/test_restless.py`
plays that story again.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.dice import SEED
from tests.faults.restless import play

STEPS = 500

_ONE = os.environ.get("RESTLESS_SEED", "")
SEEDS = [int(_ONE)] if _ONE else [int(SEED) + number for number in range(4)] if SEED else [1, 2, 3, 4]


@pytest.mark.parametrize("seed", SEEDS)
def test_any_story_ends_well(seed: int, tmp_path: Path) -> None:
    play(tmp_path, seed, STEPS)
