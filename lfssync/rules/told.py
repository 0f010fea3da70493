"""What a training program says about itself while it saves: step, epoch, metrics; and for which files that holds. Pure.

It comes from a callback through the daemon's socket, `records.told` keeps it, and commit messages say it. The one thing
to know: nothing names the files that a save wrote. What was told belongs to a file by time: it holds for what was
written from `since` on, until the next one does, and not for long after it was told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lfssync.errors import UserError
from lfssync.rules.trainerstate import number, words

HOLDS_S = 3600.0
"""So long after it was told it still holds for new files: a save may take its time."""

_METRICS = 20
_NAME_CHARACTERS = 40
_FIRST = ("val_", "eval_", "test_")


@dataclass(frozen=True, slots=True)
class Told:
    """Where a training stands.

    Args:
        since: From when on that holds for files, in seconds since the epoch.
        at: When it was told, in seconds since the epoch.
        step: How many optimizer steps are done; None with everything else empty when the training is over.
        epoch: How many epochs are done.
        metrics: Numbers by name.
    """

    since: float
    at: float
    step: int | None = None
    epoch: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    def words(self) -> str:
        """Such as `step 500, epoch 2.0, val_loss 1.234`; empty when there is nothing to say."""
        names = sorted(self.metrics, key=lambda name: (not name.startswith(_FIRST), "loss" not in name, name))
        return words(self.step, self.epoch, {name: self.metrics[name] for name in names})

    def document(self) -> dict[str, Any]:
        """As it travels and is kept."""
        return {
            "since": self.since, "at": self.at, "step": self.step, "epoch": self.epoch, "metrics": dict(self.metrics),
        }  # fmt: skip


def told_of(document: object) -> Told:
    """The inverse of `Told.document`; what is not what it should be is left out.

    Raises:
        UserError: It does not say from when on it holds.
    """
    fields = document if isinstance(document, dict) else {}
    since, at = number(fields.get("since")), number(fields.get("at"))
    if since is None or at is None:
        raise UserError("what was told about the training says no time", "use lfssync's own callbacks")
    step, metrics = fields.get("step"), fields.get("metrics")
    is_step = isinstance(step, int) and not isinstance(step, bool) and 0 <= step < 1 << 63
    pairs = list(metrics.items())[:_METRICS] if isinstance(metrics, dict) else []
    return Told(
        since, at, step if is_step else None, number(fields.get("epoch")),
        {
            name[:_NAME_CHARACTERS]: value
            for name, given in pairs
            if isinstance(name, str) and name.isprintable() and (value := number(given)) is not None
        },
    )  # fmt: skip


def holding(tolds: Sequence[Told], written_at: float) -> Told | None:
    """What holds for a file, if anything does.

    Args:
        tolds: What was told.
        written_at: When the file was last written, in seconds since the epoch.
    """
    before = [one for one in tolds if one.since <= written_at]
    last = max(before, key=lambda one: one.since, default=None)
    return last if last is not None and written_at <= last.at + HOLDS_S else None
