"""The text of systemd's unit files: what is shipped, with the path of this program in it and what this machine allows.

Used by `systemd`. The one thing to know: a file that we wrote carries the digest of the rest in its first line, so that
a later version may replace or remove it, and never one that somebody has changed.

Source: systemd.syntax(7); "Command lines" in systemd.service(5); "Specifiers" in systemd.unit(5).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from lfssync.errors import LfssyncError

_MARK = "# Written by `lfssync service install`; without this line its sha256 is "
_SHIPPED = (Path(__file__).parent / "units", Path(__file__).parents[2] / "systemd")
"""In an installed package, and in a checkout."""

_NEEDS_VERSION = re.compile(r"#(\d+) (?=\w+=)")
_BEGIN, _END = "#[namespaces", "#namespaces]"


class Owner(StrEnum):
    """Whose a unit file is."""

    NOBODY = "nobody"
    OURS = "ours"
    YOURS = "yours"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a unit shall be like.

    Args:
        command: The words that run the daemon; the first is an absolute path.
        environment: Variables that it needs besides those of its service manager.
        writable: Folders that it writes to, besides those in the shipped unit.
        systemd: The version of systemd that will read it.
        may_have_namespaces: Whether that systemd can give it namespaces of its own.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    writable: Sequence[Path] = ()
    systemd: int = 0
    may_have_namespaces: bool = True


def shipped(name: str) -> str:
    """The text of a unit as it comes with lfssync.

    Raises:
        LfssyncError: It is missing.
    """
    for folder in _SHIPPED:
        try:
            return (folder / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            continue
    raise LfssyncError(f"the unit {name} is not part of this installation", "install lfssync again")


def written(text: str, wish: Wish) -> str:
    """The unit for this machine.

    Args:
        text: A shipped unit.
        wish: What it shall be like.
    """
    lines: list[str] = []
    is_left_out = False
    for line in text.splitlines():
        if line in (_BEGIN, _END):
            is_left_out = line == _BEGIN and not wish.may_have_namespaces
        elif not is_left_out:
            lines += _line(line, wish)
    body = "\n".join(lines) + "\n"
    return f"{_MARK}{_digest(body)}\n{body}"


def _line(line: str, wish: Wish) -> list[str]:
    newer = _NEEDS_VERSION.match(line)
    if newer:
        return [line[newer.end() :]] if wish.systemd >= int(newer[1]) else []
    if line.startswith("ExecStart="):
        settings = [f"Environment={quoted(f'{name}={value}')}" for name, value in wish.environment.items()]
        program, *arguments = wish.command
        return [*settings, "ExecStart=" + " ".join([quoted(program), *(quoted(one, "$") for one in arguments)])]
    if line.startswith("ReadWritePaths=") and wish.writable:
        return [" ".join([line, *(quoted(f"-{path}") for path in wish.writable)])]
    return [line]


def quoted(word: str, doubled: str = "") -> str:
    """A word as it stands in a unit file; characters that would be replaced where it stands are doubled."""
    for character in ("%", *doubled):
        word = word.replace(character, character * 2)
    if re.fullmatch(r"[\w%$@+=:,./~-]+", word, re.ASCII):
        return word
    return '"' + "".join(rf"\{one}" if one in '"\\' else one for one in word) + '"'


def writable(text: str, home: Path, user: str = "") -> list[Path]:
    """The folders that a shipped unit lets its program write to, for a user."""
    words = " ".join(re.findall(r"^ReadWritePaths=(.*)$", text, re.MULTILINE)).split()
    found = [word.lstrip("-").replace("%h", str(home)).replace("%i", user) for word in words]
    return [Path(word) for word in found if word.startswith("/")]


def owner(path: Path) -> Owner:
    """Whose the file is that is, or is not, at a place.

    Raises:
        LfssyncError: It cannot be read.
    """
    try:
        if path.is_symlink():
            return Owner.YOURS
        mark, _, body = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    except FileNotFoundError:
        return Owner.NOBODY
    except OSError as error:
        raise LfssyncError(f"{path} cannot be read: {error.strerror}", "mend its permissions") from error
    return Owner.OURS if mark == f"{_MARK}{_digest(body)}" else Owner.YOURS


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
