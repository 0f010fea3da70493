"""What the values of the configuration's keys may be: strings, paths, durations, sizes, lists, words from a list.

Stands below the line, under the configuration, which adds file and line to the errors that are raised here.
The one thing to know: a number without a unit is refused, because whoever writes it and whoever reads it may think of
different units.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Any

from lfssync.configuration.patterns import escape
from lfssync.errors import UserError
from lfssync.rules import windows
from lfssync.rules.remotes import RemoteKind, has_control_character, parse_remote

DURATION_MAX_S = 366 * 86400.0
RESCAN_MIN_S = 0.1
"""Looking at the whole tree without a break would be the end of every other work."""

COMMITS_MAX = 1000
"""So many an hour are remembered."""

_DURATION = "(?a)(?=.)" + "".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in ("d", "h", "m(?!s)", "s", "ms"))
_DURATION_UNITS_S = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_SIZE = r"(?ai)(\d{1,15}(?:\.\d{1,3})?)(?:([KMGT]?)(i?)B)?"
_TYPE_NAMES = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    list: "an array",
    dict: "a table",
}


def duration_s(text: str) -> float:
    """Seconds in a duration such as `5s`, `250ms`, `1h30m` or `0s`; units from large to small: d, h, m, s, ms.

    Raises:
        UserError: It is none, or longer than a year.
    """
    match = re.fullmatch(_DURATION, text)
    if not match:
        raise UserError(f"{text!r} is not a duration", 'write it like "5s", "10m", "1h30m" or "250ms"')
    numbers = zip(match.groups(default="0"), _DURATION_UNITS_S, strict=True)
    seconds = sum(float(number) * unit_s for number, unit_s in numbers)
    if seconds > DURATION_MAX_S:
        raise UserError(f"{text!r} is longer than a year", "choose a shorter duration")
    return seconds


def size_bytes(text: str) -> int:
    """Bytes in a size such as `1MiB` (1024 * 1024), `50MB` (1000 * 1000) or `0`.

    Raises:
        UserError: It is none.
    """
    match = re.fullmatch(_SIZE, text)
    if not match or (match[3] and not match[2]):
        raise UserError(f"{text!r} is not a size", 'write it like "1MiB", "512KiB", "50MB" or "0"')
    exponent = " KMGT".index((match[2] or " ").upper())
    return int(float(match[1]) * (1024 if match[3] else 1000) ** exponent)


def string(value: Any) -> str:
    """A string as it is.

    Raises:
        UserError: The value is of another type.
    """
    if not isinstance(value, str):
        raise UserError(f"must be a string, not {_type_name(value)}", "put it in quotes")
    return value


def absolute_path(value: Any, home: Path) -> str:
    """An absolute path or pattern, with `~` expanded and symlinks left as they are.

    Raises:
        UserError: It is relative or the root, or has `..` in it: through a symlink that may lead anywhere.
    """
    text = string(value)
    if has_control_character(text):
        raise UserError(f"{text!r} has a control character", "rename the directory")
    if text == "~" or text.startswith("~/"):
        text = escape(str(home)) + text[1:]
    if not text.startswith("/"):
        raise UserError(f"{text!r} is not absolute", "start it with / or ~/")
    path = PurePosixPath("/" + text.lstrip("/"))
    if ".." in path.parts or not path.name:
        raise UserError(f"{text!r} is not the plain path of a directory", "write it out, without '..'")
    return str(path)


def duration(value: Any) -> float:
    """Seconds in the value of a key; see `duration_s`.

    Raises:
        UserError: It is no duration.
    """
    if not isinstance(value, str):
        raise UserError(f'must be a duration such as "5s", not {_type_name(value)}', "put it in quotes, with its unit")
    return duration_s(value)


def rescan_interval(value: Any) -> float:
    """Seconds between two looks at the whole tree.

    Raises:
        UserError: It is no duration, or as good as none.
    """
    seconds = duration(value)
    if seconds < RESCAN_MIN_S:
        raise UserError(f"{value!r} is too short", f'choose at least "{RESCAN_MIN_S * 1000:g}ms"')
    return seconds


def size(value: Any) -> int:
    """Bytes in the value of a key; see `size_bytes`.

    Raises:
        UserError: It is no size.
    """
    if not isinstance(value, str):
        raise UserError(f'must be a size such as "1MiB", not {_type_name(value)}', "put it in quotes, with its unit")
    return size_bytes(value)


def rate(value: Any) -> int:
    """Bytes a second in the value of a key such as `50MB/s`; 0 for no limit.

    Raises:
        UserError: It is no rate.
    """
    text = string(value)
    if not text.endswith("/s") and text != "0":
        raise UserError(f"{text!r} is not a rate", 'write it like "50MB/s", or "0" for no limit')
    return size_bytes(text.removesuffix("/s"))


def hours_of_day(value: Any) -> tuple[windows.Window, ...]:
    """The windows in the value of a key such as `22:00-07:00`; see `windows.parse`.

    Raises:
        UserError: It says something else.
    """
    return windows.parse(string(value))


def commits(value: Any) -> int:
    """How many commits an hour; 0 for no limit.

    Raises:
        UserError: It is no such number.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise UserError(f"must be a number of commits, not {_type_name(value)}", "write it like 30, or 0 for no limit")
    if not 0 <= value <= COMMITS_MAX:
        raise UserError(f"{value} is no number from 0 to {COMMITS_MAX}", "write it like 30, or 0 for no limit")
    return value


def lfs_url(value: Any) -> str:
    """The address of an LFS server, which is held to the same rules as a remote's.

    Raises:
        UserError: It is no https address, nor an http address of this machine.
    """
    remote = parse_remote(string(value), Path("/"))
    if remote.kind not in (RemoteKind.HTTPS, RemoteKind.HTTP):
        raise UserError(f"{remote.url} is not the address of an LFS server", "write https://HOST/PATH/info/lfs")
    return remote.url


def ignore_patterns(value: Any) -> tuple[str, ...]:
    """A list of gitignore patterns.

    Raises:
        UserError: It is no list of strings, or one of them is more than a line.
    """
    if not isinstance(value, list) or not all(isinstance(pattern, str) for pattern in value):
        raise UserError("must be an array of strings", 'write it like ["*.tmp", "runs/"]')
    if any(has_control_character(pattern.replace("\t", "")) for pattern in value):
        raise UserError("has a pattern with a control character", "write one string for each pattern")
    return tuple(value)


def folder_patterns(value: Any) -> tuple[str, ...]:
    """A list of patterns for the names of folders, without the folders above them.

    Raises:
        UserError: It is no list of strings, or one of them is no name.
    """
    if not isinstance(value, list) or not all(isinstance(pattern, str) for pattern in value):
        raise UserError("must be an array of strings", 'write it like ["checkpoint-*", "epoch_*"]')
    for pattern in value:
        if "/" in pattern or not pattern.strip() or has_control_character(pattern):
            raise UserError(f"{pattern!r} is not a pattern for a folder's name", "leave out the folders above it")
    return tuple(value)


def choice(kind: type[StrEnum]) -> Callable[[Any], StrEnum]:
    """What makes a member of an enum from its word; the result raises UserError for any other word."""
    words = [member.value for member in kind]

    def conversion(value: Any) -> StrEnum:
        if string(value) not in words:
            listed = ", ".join(f'"{word}"' for word in words[:-1]) + f' or "{words[-1]}"'
            raise UserError(f"must be {listed}, not {value!r}", nearest(value, words))
        return kind(value)

    return conversion


def table(value: Any) -> dict[str, Any]:
    """A table as it is.

    Raises:
        UserError: The value is of another type.
    """
    if not isinstance(value, dict):
        raise UserError(f"must be a table, not {_type_name(value)}", "write its name in single brackets")
    return value


def tables(value: Any) -> list[dict[str, Any]]:
    """An array of tables as it is.

    Raises:
        UserError: The value is of another type.
    """
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise UserError("must be an array of tables", "write its name in double brackets, like [[mirror]]")
    return value


def nearest(word: str, words: Sequence[str]) -> str:
    """A remedy for a wrong word: the right one that it looks most like, or all of them."""
    import difflib

    near = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.5)
    return f'did you mean "{near[0]}"?' if near else f"there are {', '.join(words)}"


def _type_name(value: Any) -> str:
    return _TYPE_NAMES.get(type(value), "a date or time")
