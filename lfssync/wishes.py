"""What a mirror wants to happen by itself to its versions: what is released when, and what stays at the tip.

Values of `model.Mirror`, made by the configuration, read by `rules.releaserules` and `rules.retention`. The one thing
to know: the names in here are templates such as `step-{step}`; they were checked when they were read, and are filled in
by `releaserules.filled` alone, which knows a few fields and nothing about objects.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

MARKER = "RELEASE"
"""The file whose first line names a release, unless the configuration names another."""


class When(StrEnum):
    """What makes a rule act."""

    MARKER = "marker"
    """A file in the directory says which version this is."""
    PUSH = "push"
    """A pass brought something to the remote."""
    CHECKPOINT = "checkpoint"
    """A checkpoint folder came, or was saved anew."""
    DAILY = "daily"
    """A day is over, in UTC, in which something came: its last state."""
    WEEKLY = "weekly"
    """The same for a week."""
    BEST = "best"
    """A checkpoint came whose metric is better than that of all before it."""


class Rule(NamedTuple):
    """What is released when.

    Args:
        when: What makes it act.
        name: The tag to make; empty for none, or where the marker names it.
        branch: The branch to move; empty for none.
        metric: For `When.BEST`, the name of the metric.
        is_lower_better: For `When.BEST`, what better means.
        file: For `When.MARKER`, the path of the file in the directory.
    """

    when: When
    name: str = ""
    branch: str = ""
    metric: str = ""
    is_lower_better: bool = True
    file: str = MARKER

    @property
    def key(self) -> str:
        """What its state is recorded under: a rule that is changed is another rule."""
        better = f"{'lowest' if self.is_lower_better else 'highest'} {self.metric}" if self.metric else ""
        file = self.file if self.when is When.MARKER else ""
        return "\0".join((self.when, self.name, self.branch, better, file))


class Keep(NamedTuple):
    """Which checkpoints stay at the tip of the branch when they are gone from the directory; all of them by default.

    Args:
        last: So many of the newest; None keeps all.
        best: A metric: the checkpoint with its best value stays; empty for none.
        is_lower_better: What best means.
        tags: Whether a checkpoint that a tag was put on stays.
    """

    last: int | None = None
    best: str = ""
    is_lower_better: bool = True
    tags: bool = False


KEEPS_ALL = Keep()
"""Nothing leaves the tip but by the mirror's `delete`."""
