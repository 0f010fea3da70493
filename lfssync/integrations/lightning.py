"""The callback for Lightning: `Trainer(..., callbacks=[LfsSyncCallback("hf:me/my-model")])`.

It mirrors the folder of the `ModelCheckpoint`. The one thing to know: the library has two names, `lightning` and
`pytorch_lightning`, whose classes differ. The one that the program has loaded already is the one that is meant.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from lfssync.integrations.callback import Mirroring, acts, harmless, missing, numbers

if TYPE_CHECKING or ("pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules):
    from pytorch_lightning import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ImportError:
        try:
            from pytorch_lightning import Callback
        except ImportError as error:
            raise missing("lightning", "lightning") from error

__all__ = ["LfsSyncCallback"]


class LfsSyncCallback(Mirroring, Callback):
    """Mirrors a directory while Lightning trains; see `Mirroring` for its arguments."""

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to mirror."""
        with harmless():
            if acts(trainer.is_global_zero):
                saver = trainer.checkpoint_callback
                folder = getattr(saver, "dirpath", None) or trainer.default_root_dir
                self._lfssync.begin(self._lfssync_directory or folder)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Hand on where the training stands; the file is written right after this."""
        with harmless():
            if acts(trainer.is_global_zero):
                self._lfssync.tell(trainer.global_step, trainer.current_epoch, numbers(trainer.callback_metrics))

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Wait until everything has arrived, for a limited time."""
        with harmless():
            if acts(trainer.is_global_zero):
                self._lfssync.flush()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Wait until everything has arrived, for a limited time; the last checkpoint was saved before this."""
        with harmless():
            if acts(trainer.is_global_zero):
                self._lfssync.flush()
