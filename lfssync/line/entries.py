"""What is at a path, and why git would not take it.

Stands beneath `scan`. The one thing to know: both are told from a mode and a name alone; nothing here touches the disk.
"""

from __future__ import annotations

import re
import stat
from enum import Enum, auto

from lfssync.records.store import split
from lfssync.rules.ignore import is_git_name

_FILES_OF_GIT = rb"(?is)(\.git(?:modules|attributes)|git(?:mod|att)~[1-4])[. ]*(?::.*)?"
"""Names under which git itself reads a file, on some file system."""

_ODD_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)


class Kind(Enum):
    """What is at a path."""

    DIRECTORY = auto()
    FILE = auto()
    LINK = auto()
    ODD = auto()
    NOTHING = auto()
    UNKNOWN = auto()
    """It cannot be looked at; what cannot be looked at is not gone."""


_KINDS = {stat.S_IFDIR: Kind.DIRECTORY, stat.S_IFREG: Kind.FILE, stat.S_IFLNK: Kind.LINK}


def kind_of(mode: int) -> Kind:
    """What a mode says is there."""
    return _KINDS.get(stat.S_IFMT(mode), Kind.ODD)


def odd_words(mode: int) -> str:
    """Words for what is neither a file nor a link nor a directory."""
    return next((words for is_kind, words in _ODD_KINDS if is_kind(mode)), "no regular file")


def impossible(path: bytes, kind: Kind) -> str | None:
    """Why git, or a host that checks what is pushed, does not take an entry of that name; None when it does.

    Source: git-fsck(1), "FSCK MESSAGES"; a checkout fails altogether on a link called `.gitmodules`.
    """
    name = split(path)[1]
    if is_git_name(name):
        return "git refuses this name"
    if kind is Kind.DIRECTORY and re.fullmatch(_FILES_OF_GIT, name):
        return "git refuses a folder of this name"
    if kind is Kind.LINK and re.fullmatch(_FILES_OF_GIT, name) and b"mod" in name.lower():
        return "git refuses a link of this name"
    return None
