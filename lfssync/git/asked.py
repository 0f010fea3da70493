"""What git's configuration says, kept between passes: git is asked again when one of its files was touched.

Used by `gitcommand`. The one thing to know: the files that count are those that git named itself, and those that it
would read if they were there. A file that a condition brings in later is noticed after a minute.

Source: git-config(1), "FILES" and `--show-origin`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lfssync.git.addresses import Setting, settings_of
from lfssync.git.facts import KEPT, Facts

FRESH_S = 60.0

_NAMES = ("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
_FILE = "file:"

Stamp = tuple[int, int, int] | None
"""When a file was written, in ns, its size in bytes and its inode; None for one that is not there."""


class _Asked(NamedTuple):
    at: float
    stamps: Mapping[str, Stamp]
    settings: Sequence[Setting]


_ASKED: Facts[tuple[str | None, ...], _Asked] = Facts(KEPT // 8)


def settings(
    git_dir: Path, ask: Callable[[], bytes], environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic
) -> Sequence[Setting]:
    """All settings that count in a git dir.

    Args:
        git_dir: The git dir.
        ask: Has git list them, see `addresses.settings_of`.
        environment: That of git, which says where files are.
        clock: Gives monotonic seconds.
    """
    key = (str(git_dir), *(environment.get(name) for name in _NAMES))
    known = _ASKED.get(key)
    if known and clock() < known.at + FRESH_S and all(_stamp(path) == stamp for path, stamp in known.stamps.items()):
        return known.settings
    usual = _usual(git_dir, environment)
    before = {path: _stamp(path) for path in usual}
    told = settings_of(ask())
    origins = {origin.removeprefix(_FILE) for origin, _ in told if origin.startswith(_FILE)}
    stamps = {path: _stamp(path) for path in origins - usual} | before
    found = [setting for _, setting in told]
    _ASKED.tell(key, _Asked(clock(), stamps, found))
    return found


def _usual(git_dir: Path, environment: Mapping[str, str]) -> set[str]:
    """The files that git reads by itself, as far as they are there."""
    home = environment.get("HOME", "")
    config = environment.get("XDG_CONFIG_HOME") or f"{home}/.config"
    own: Iterable[str] = (f"{home}/.gitconfig", f"{config}/git/config")
    return {
        f"{git_dir}/config", "/etc/gitconfig", *own,
        *(value for name in _NAMES[2:4] if (value := environment.get(name))),
    }  # fmt: skip


def _stamp(path: str) -> Stamp:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
