"""What git's configuration says, kept between passes: git is asked again when one of its files was touched.

Used by `gitcommand`. The one thing to know: the files that count are those that git named itself, and those that it
would read if they were there. A file that a condition brings in later is noticed after a minute.

Source: git-config(1), "FILES" and `--show-origin`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lfssync.git.addresses import Setting, settings_of
from lfssync.git.facts import KEPT, Facts
from lfssync.model import Signature

FRESH_S = 60.0

_NAMES = ("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
_FILE = "file:"


class _Asked(NamedTuple):
    at: float
    signatures: Mapping[str, Signature | None]
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
    if (
        known
        and clock() < known.at + FRESH_S
        and all(_signature(path) == one for path, one in known.signatures.items())
    ):
        return known.settings
    usual = _usual(git_dir, environment)
    before = {path: _signature(path) for path in usual}
    told = settings_of(ask())
    origins = {origin.removeprefix(_FILE) for origin, _ in told if origin.startswith(_FILE)}
    found = [setting for _, setting in told]
    _ASKED.tell(key, _Asked(clock(), {path: _signature(path) for path in origins - usual} | before, found))
    return found


def _usual(git_dir: Path, environment: Mapping[str, str]) -> set[str]:
    """The files that git reads by itself, as far as they are there."""
    home = environment.get("HOME", "")
    config = environment.get("XDG_CONFIG_HOME") or f"{home}/.config"
    named = [environment.get(name, "") for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM")]
    usual = (f"{git_dir}/config", "/etc/gitconfig", f"{home}/.gitconfig", f"{config}/git/config", *named)
    return {path for path in usual if path}


def _signature(path: str) -> Signature | None:
    """That of a file; None for one that is not there."""
    try:
        return Signature.of(os.stat(path))
    except (OSError, ValueError):
        return None
