"""The callback for Keras: `model.fit(..., callbacks=[..., LfsSyncCallback("hf:me/my-model", directory="run")])`.

The one thing to know: Keras has no folder that it saves into, so the callback is told which one its `ModelCheckpoint`
writes to. Where it stands among the callbacks does not matter: what it tells holds from the beginning of the epoch on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from lfssync.integrations.callback import Mirroring, acts, harmless, missing, numbers
from lfssync.integrations.session import FLUSH_TIMEOUT_S

try:
    from keras.callbacks import Callback
except ImportError as error:
    raise missing("keras", "keras") from error

__all__ = ["LfsSyncCallback"]


class LfsSyncCallback(Mirroring, Callback):
    """Mirrors a directory while Keras trains; see `Mirroring` for the other arguments.

    Args:
        directory: What to mirror: the folder that `ModelCheckpoint` writes to.
    """

    def __init__(
        self, remote: str | None = None, *, directory: str | os.PathLike[str], timeout_s: float = FLUSH_TIMEOUT_S,
        create: bool = False, **keys: str,
    ) -> None:  # fmt: skip
        super().__init__(remote, directory=directory, timeout_s=timeout_s, create=create, **keys)
        self._lfssync_folder = directory
        self._lfssync_steps = 0
        self._lfssync_since = 0.0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Begin to mirror."""
        with harmless():
            self._lfssync_steps = 0
            if acts():
                self._lfssync.begin(self._lfssync_folder)

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """From now on what is saved is of this epoch."""
        self._lfssync_since = time.time()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Count."""
        self._lfssync_steps += 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Hand on where the training stands."""
        with harmless():
            if acts():
                self._lfssync.tell(self._lfssync_steps, epoch + 1, numbers(logs), self._lfssync_since)

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Wait until everything has arrived, for a limited time."""
        with harmless():
            if acts():
                self._lfssync.flush()
