"""The last passes before lfssync ends: what is read and sent first, and how the time is shared out.

Used by `daemon` and `worker` when they are told to end, and by the pass itself. The one thing to know: files are taken
while there is time to take them, and the rest of the grace belongs to the commit, the push and the proof of what was
taken; what is left waits in the directory for the next start.
"""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from lfssync.errors import NotDoneError
from lfssync.model import Change

LEFT = "left when lfssync was stopped; its next start takes it"
"""Why a file waits for which there was no time any more."""

UNDER_WAY = 0.3
"""A pass that is under way when lfssync is told to end may take files for so much of the grace."""

LAST = 0.75
"""The last pass may take files until so much of the grace is over."""

BATCH_BYTES = 32 << 20
"""So much is sent at a time: what was not complete when time is up has been sent in vain."""


class TimeIsUp(NotDoneError):
    """There is no time left to take another file."""


@dataclass(slots=True)
class LastCall:
    """Until when files may be taken; set from another thread than the one that takes them.

    Args:
        until: In monotonic seconds.
        takes: Whether files are being read and sent just now, as opposed to committed and pushed.
    """

    until: float = math.inf
    takes: bool = False

    @property
    def was_given(self) -> bool:
        """Whether lfssync was told to end."""
        return self.until != math.inf

    @property
    def is_over(self) -> bool:
        """Whether no more files may be taken."""
        return time.monotonic() >= self.until

    @contextlib.contextmanager
    def taking(self) -> Iterator[None]:
        """Files are read and sent in this block, as long as there is time for it."""
        self.takes = True
        try:
            yield
        finally:
            self.takes = False

    def check(self) -> None:
        """Go on only if there is time.

        Raises:
            TimeIsUp: There is none.
        """
        if self.takes and self.is_over:
            raise TimeIsUp("there was no time left to take it", "the next start does")


class Worth(IntEnum):
    """What a file is worth for those who want to use the model, or else to go on with the training; best first."""

    DESCRIPTION = 0
    WEIGHTS = 1
    OTHER = 2
    TRAINING = 3


_TRAINING = re.compile(
    rb"optim|scheduler|scaler|rng_state|random_states|grad_|(^|/)global_step\d+/|\.distcp$|(^|/)latest$", re.IGNORECASE
)
_WEIGHTS = re.compile(
    rb"\.(safetensors|bin|gguf|ggml|onnx|onnx_data|h5|hdf5|keras|msgpack|npz|npy|pt|pth|ckpt|pb|tflite|params|mlmodel)$",
    re.IGNORECASE,
)
_DESCRIPTION = re.compile(
    rb"\.(json|jsonl|txt|model|tiktoken|spm|vocab|yaml|yml|toml|ini|cfg|md|rst|jinja|py)$"
    rb"|(^|/)(vocab|merges|license|readme|modelfile|\.gitattributes|\.gitignore)[^/]*$",
    re.IGNORECASE,
)


def worth(path: bytes) -> Worth:
    """What a file is worth, by its name."""
    if _TRAINING.search(path):
        return Worth.TRAINING
    if _DESCRIPTION.search(path):
        return Worth.DESCRIPTION
    return Worth.WEIGHTS if _WEIGHTS.search(path) else Worth.OTHER


def in_order(changes: Iterable[Change]) -> list[Change]:
    """Small and valuable files first, those of a folder together."""

    def place(change: Change) -> tuple[Worth, bytes, int, bytes]:
        return worth(change.path), change.path.rpartition(b"/")[0], change.signature.size_bytes, change.path

    return sorted(changes, key=place)
