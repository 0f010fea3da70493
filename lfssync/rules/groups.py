"""Which files belong together, and whether a group may be committed now: whole, or not yet.

Asked by `assembly`, which looks at disk and store for it; everything here is pure. There are two kinds of group. A
*folder* whose name matches the mirror's patterns, such as `checkpoint-500`, with all in it; the outermost one counts.
And a *set*: the shards that a `*.index.json` lists, or that are numbered like `model-00001-of-00004.safetensors`, with
that index.

The one thing to know: an index proves a set only if it was written last, for whoever saves into a folder that holds an
older set has, for a while, new shards beside old ones and the old index, and all of them are there. What may be taken:

| of the group | may be taken |
|---|---|
| a changed file cannot be taken (open, incomplete, changing) | not yet |
| a shard that an index lists is not there | not yet |
| nothing is left | at once: that is rotation |
| a folder of which all that was recorded is new, or nothing was recorded | once it has stood still for `quiet` |
| a folder of which some of what was recorded is new or gone, and some is not | once it has stood still for `max_wait` |
| a set whose index is newer than what changed | at once |
| a set of new shards that came after the index | once it has stood still for `quiet` |
| a set without an index, with a number missing, or recorded and changed after its index | as long as `max_wait` |

A folder has to stand still even when an index in it is satisfied, because a trainer writes more than weights. Standing
still is told from the newest change of any file that changed, and of any folder in the group.
"""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from lfssync.model import STILL_WRITTEN, show

SHARDS_MAX = 10_000
"""An index that lists more, or numbers that count further, are no real ones."""

MOMENT_S = 0.05
"""Time stamps move in ticks: a set counts as it stands only when its last change is longer ago than one."""

_INDEX = re.compile(rb"\.index(\.[^./]+)?\.json$")
_SHARD = re.compile(rb"(.+)-(\d{5})-of-(\d{5})(\.safetensors|\.bin)", re.DOTALL)


class Kind(Enum):
    """What holds a group together."""

    FOLDER = "folder"
    SET = "set"


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which group: the path of the folder, or of the index that is there or to come."""

    path: bytes
    kind: Kind = field(compare=False)

    @property
    def base(self) -> bytes:
        """The folder in which people look for the members."""
        return self.path if self.kind is Kind.FOLDER else self.path.rpartition(b"/")[0]

    @property
    def step(self) -> tuple[bool, int, bytes]:
        """Sorts checkpoints, oldest first; those without a number come last."""
        numbers = re.findall(rb"\d+", self.path.rpartition(b"/")[2])
        return (not numbers, int(numbers[-1][:18]) if numbers else 0, self.path)


@dataclass(frozen=True, slots=True)
class Numbered:
    """A shard by its name: the index to expect, what the names of all shards begin and end with, and their count."""

    index: bytes
    stem: bytes
    ending: bytes
    count: int

    def all(self) -> list[bytes]:
        """The paths of all shards."""
        return [b"%b-%05d%b" % (self.stem, number, self.ending) for number in range(1, self.count + 1)]


def folder_of(path: bytes, patterns: tuple[str, ...]) -> bytes | None:
    """The outermost folder above a path whose name matches one of the patterns (of fnmatch), if there is one."""
    folder = path.rpartition(b"/")[0]
    return _outermost(folder, patterns) if folder else None


@lru_cache(4096)
def _outermost(folder: bytes, patterns: tuple[str, ...]) -> bytes | None:
    parts = folder.split(b"/")
    for count, part in enumerate(parts, 1):
        name = part.decode("utf-8", "surrogateescape")
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns):
            return b"/".join(parts[:count])
    return None


def widened(paths: Iterable[bytes], patterns: tuple[str, ...]) -> frozenset[bytes]:
    """Paths to look at, with all of a folder that belongs together."""
    return frozenset(folder_of(path, patterns) or path for path in paths)


def is_index(path: bytes) -> bool:
    """Whether a path is that of a list of shards, by its name."""
    return _INDEX.search(path) is not None


def shards_of(index: bytes, text: bytes) -> frozenset[bytes]:
    """The paths of the shards that an index lists.

    Args:
        index: The path of the index; what it lists is relative to its folder, and lies in or below it.
        text: Its content, which may be anything.
    """
    try:
        weights = json.loads(text)["weight_map"]
        names = {name.encode() for name in weights.values() if isinstance(name, str)}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return frozenset()
    if len(names) > SHARDS_MAX:
        return frozenset()
    folder = index.rpartition(b"/")[0]
    inside = (name for name in names if b"\0" not in name and not {b"", b".", b".."} & set(name.split(b"/")))
    return frozenset(folder + b"/" + name if folder else name for name in inside)


def numbered(path: bytes) -> Numbered | None:
    """What the name of a shard tells, such as `model-00001-of-00004.safetensors`; None for another name."""
    match = _SHARD.fullmatch(path)
    if not match or not 0 < int(match[3]) <= SHARDS_MAX:
        return None
    stem, _, count, extension = match.groups()
    return Numbered(stem + extension + b".index.json", stem, b"-of-" + count + extension, int(count))


def key_of(path: bytes, listed: Mapping[bytes, bytes], patterns: tuple[str, ...]) -> Key | None:
    """The group that a path belongs to.

    Args:
        path: The path.
        listed: For each shard that an index lists, that index.
        patterns: What folders are groups.
    """
    if folder := folder_of(path, patterns):
        return Key(folder, Kind.FOLDER)
    if index := listed.get(path):
        return Key(index, Kind.SET)
    if is_index(path):
        return Key(path, Kind.SET)
    by_name = numbered(path)
    return Key(by_name.index, Kind.SET) if by_name else None


@dataclass(frozen=True, slots=True)
class View:
    """What there is to know about a group of which something changed.

    Args:
        key: Which group.
        delayed: Changed members that cannot be taken now, and why.
        missing: Shards that an index lists and that are not there.
        awaited: What the names of members make one expect, an index or a number, and is not there.
        is_left: Whether anything of it is on the disk.
        is_mixed: Whether some of what was recorded is new or gone, and some (of a set: its index) is as it was.
        outdates_index: A set: a member that changed after its index was written; None when the index is the newest.
        still_s: How long ago the newest change was, in seconds.
    """

    key: Key
    delayed: Mapping[bytes, str] = field(default_factory=dict)
    missing: tuple[bytes, ...] = ()
    awaited: tuple[bytes, ...] = ()
    is_left: bool = True
    is_mixed: bool = False
    outdates_index: bytes | None = None
    still_s: float = float("inf")


def reason_to_wait(view: View, quiet_s: float, max_wait_s: float) -> str | None:
    """Why a group must not be committed yet, for people; None when it may. The table above, row by row.

    Args:
        view: The group.
        quiet_s, max_wait_s: The mirror's, in seconds.
    """
    return next(_reasons(view, quiet_s, max_wait_s), None)


def _reasons(view: View, quiet_s: float, max_wait_s: float) -> Iterator[str]:
    def name(path: bytes) -> str:
        return show(path.removeprefix(view.key.base + b"/"))

    for path, reason in sorted(view.delayed.items()):
        yield f"waits for {name(path)}: {reason}"
    if not view.is_left:
        return
    for path in sorted(view.missing):
        yield f"waits for {name(path)}: missing"
    label = show(view.key.path.rpartition(b"/")[2])
    if view.key.kind is Kind.FOLDER:
        if view.still_s < quiet_s:
            yield f"{label} is {STILL_WRITTEN}"
        if view.is_mixed and view.still_s < max_wait_s:
            yield f"only some files of {label} are new"
        return
    if view.still_s < min(quiet_s, MOMENT_S):
        yield f"the set of {label} is {STILL_WRITTEN}"
    if view.still_s < max_wait_s:
        for path in sorted(view.awaited):
            yield f"waits for {name(path)}: not written yet"
        if view.is_mixed and view.outdates_index is not None:
            yield f"waits for {label}: older than {name(view.outdates_index)}"
    if view.outdates_index is not None and view.still_s < quiet_s:
        yield f"the set of {label} is {STILL_WRITTEN}"
