"""Which checkpoints stay at the tip of the branch, and why. Pure.

Asked by `versions.retiring`. The one thing to know: what is in the directory always stays, because the next pass would
bring it again; so this is about what rotation has deleted there and `delete = "keep"` has kept on the remote.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lfssync.rules.groups import Key, Kind
from lfssync.rules.releaserules import better
from lfssync.wishes import Keep


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint at the tip.

    Args:
        folder: Its path within the directory.
        files: How many files it has.
        size_bytes: Their sizes together.
        is_here: Whether the directory has it as well.
        metrics: What was measured at its step.
        tags: Tags on the commit that brought it.
    """

    folder: bytes
    files: int
    size_bytes: int
    is_here: bool
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a checkpoint: why it stays, or nothing when it leaves the tip."""

    candidate: Candidate
    reason: str = ""


def decide(keep: Keep, candidates: Sequence[Candidate]) -> tuple[Decision, ...]:
    """What stays and what leaves, the newest first.

    Args:
        keep: What the mirror wants.
        candidates: All checkpoints at the tip.
    """
    newest = sorted(candidates, key=lambda one: Key(one.folder, Kind.FOLDER).step, reverse=True)
    best: Candidate | None = None
    for one in reversed(newest):
        value = one.metrics.get(keep.best, math.nan)
        if keep.best and better(keep.is_lower_better, value, best.metrics[keep.best] if best else None):
            best = one
    return tuple(Decision(one, _reason(keep, place, one, one is best)) for place, one in enumerate(newest))


def _reason(keep: Keep, place: int, one: Candidate, is_best: bool) -> str:
    if one.is_here:
        return "in the directory"
    if keep.last is None or place < keep.last:
        return "one of the newest"
    if is_best:
        return f"the best {keep.best}, {one.metrics[keep.best]:.4g}"
    return f"tagged {one.tags[0]}" if keep.tags and one.tags else ""
