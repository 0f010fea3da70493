"""The callback for `transformers.Trainer`: `Trainer(..., callbacks=[LfsSyncCallback("hf:me/my-model")])`.

Checkpoints carry a `trainer_state.json`, which says step and metrics by itself; what is told here is for what the
Trainer saves beside them. The one thing to know: `on_train_end` does not come when the training fails, so then the end
of the program is what waits for the remote.
"""

from __future__ import annotations

from typing import Any

from lfssync.integrations.callback import Mirroring, acts, harmless, missing
from lfssync.rules.trainerstate import metrics_of

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise missing("transformers", "transformers") from error

__all__ = ["LfsSyncCallback"]


class LfsSyncCallback(Mirroring, TrainerCallback):
    """Mirrors `output_dir` while a Trainer trains; see `Mirroring` for its arguments."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin to mirror."""
        with harmless():
            if acts(state.is_world_process_zero):
                self._lfssync.begin(self._lfssync_directory or args.output_dir)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Hand on where the training stands."""
        with harmless():
            if acts(state.is_world_process_zero):
                self._lfssync.tell(state.global_step, state.epoch, metrics_of(state.log_history))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Wait until everything has arrived, for a limited time."""
        with harmless():
            if acts(state.is_world_process_zero):
                self._lfssync.flush()
