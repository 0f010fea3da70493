"""Changes to the configuration file that leave everything else in it as the user wrote it.

Stands beside the configuration, for `lfssync add` and `lfssync remove`. The new text is checked as a whole before
anything is written, and takes the place of the old one in one step: readers see the one or the other, even after a
power loss.
The one thing to know: whole lines are put in or taken out, so comments, order and line ends cannot move. tomlkit writes
the lines of a new table; when it writes the whole file, comments above one table go with the table before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lfssync.configuration.config import check_directories, entries, parse, read_text
from lfssync.configuration.settings import nearest
from lfssync.configuration.tomllines import line_of, span_of
from lfssync.errors import UserError
from lfssync.model import Mirror
from lfssync.places import Places


def add_mirror(file: Path, keys: Mapping[str, str | Sequence[str]], places: Places | None = None) -> None:
    """Put a `[[mirror]]` at the end of the configuration; makes the file and its folders where there are none.

    Args:
        file: The configuration file.
        keys: The keys of the mirror and their values, as in the file but without quotes, in the order to be written.
        places: What the result is checked against; those of the environment when left out.

    Raises:
        UserError: The file is broken or cannot be written, or would be broken afterwards. Nothing was changed then.
        TransientError: The disk failed while the file was read.
    """
    values = {key: value if isinstance(value, str) else list(value) for key, value in keys.items()}
    places = places or Places.from_environment(os.environ, file)

    def edit(text: str) -> str:
        parse(text, file, places)
        document = tomllib.loads(text)
        changed = _with_table(text, values) if not _is_inline(text, document) else _with_inline_table(text, values)
        try:
            check_directories(parse(changed, file, places).mirrors)
        except UserError as error:
            # The line is one of a text that nobody has seen.
            message = re.sub(rf"^{re.escape(str(file))}:\d+: ", "", error.message)
            raise UserError(message, error.remedy) from error
        document["mirror"] = [*document.get("mirror", []), values]
        return _checked(changed, document, file)

    _change(file, edit)


def remove_mirror(file: Path, name: str, places: Places | None = None) -> None:
    """Take a mirror's table out of the configuration, and the blank line before it.

    Comments around the table stay, since they may be about something else.

    Args:
        file: The configuration file.
        name: The mirror's name, or the path of a pattern: as it is written in the file, or absolute.
        places: As for `add_mirror`.

    Raises:
        UserError: No mirror has that name, or the file is broken or cannot be written. Nothing was changed then.
        TransientError: The disk failed while the file was read.
    """
    places = places or Places.from_environment(os.environ, file)

    def edit(text: str) -> str:
        parse(text, file, places)
        found = entries(text, file, places)
        document = tomllib.loads(text)
        tables = document.get("mirror", [])
        names = [
            entry.name if isinstance(entry, Mirror) else name if name == entry.glob else str(table["path"])
            for entry, table in zip(found, tables, strict=True)
        ]
        if name not in names:
            raise UserError(
                f"no mirror {name!r} in {file}", nearest(name, names) if names else "there is no mirror at all"
            )
        index = names.index(name)
        changed = _without_table(text, index) if not _is_inline(text, document) else _without_inline_table(text, index)
        document["mirror"] = [*tables[:index], *tables[index + 1 :]]
        return _checked(changed, document, file)

    _change(file, edit)


def _is_inline(text: str, document: dict[str, Any]) -> bool:
    """True for `mirror = [{...}]`: the mirrors are one statement, and there are no lines of their own."""
    return "mirror" in document and not text.split("\n")[line_of(text, ("mirror",)) - 1].lstrip().startswith("[[")


def _with_table(text: str, values: Mapping[str, str | list[str]]) -> str:
    import tomlkit

    newline = "\r\n" if "\r\n" in text else "\n"
    addition = tomlkit.dumps({"mirror": [values]}).replace("\n", newline)
    if not text:
        return addition
    return text + (newline if text.endswith("\n") else newline * 2) + addition


def _without_table(text: str, index: int) -> str:
    lines = text.split("\n")
    first, last = span_of(text, ("mirror", index))
    if last == len(lines):
        lines.append("")  # the file ended without a line end; what is left of it does not
    del lines[first - 1 : last]
    blank = first - 2 if first > 1 else 0
    if not lines[blank].strip() and blank < len(lines) - 1:
        del lines[blank]
    return "\n".join(lines)


def _with_inline_table(text: str, values: Mapping[str, str | list[str]]) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    document["mirror"].append(values)
    return document.as_string()


def _without_inline_table(text: str, index: int) -> str:
    import tomlkit

    document = tomlkit.parse(text)
    del document["mirror"][index]
    return document.as_string()


def _checked(changed: str, document: dict[str, Any], file: Path) -> str:
    """The changed text, if it says what it shall say and nothing else has moved."""
    if {"mirror": []} | tomllib.loads(changed) != document:
        raise UserError(f"{file} is written in a way that lfssync cannot change", "change it with an editor")
    return changed


def _change(file: Path, edit: Callable[[str], str]) -> None:
    """Replace a file's text by what `edit` makes of it; an error in there leaves everything as it is."""
    edit(read_text(file))
    target = Path(os.path.realpath(file))
    try:
        with _alone_in(target.parent):
            _replace(target, edit(read_text(target)))
    except OSError as error:
        remedy = "make it writable, or name another file with --config"
        raise UserError(f"cannot write {target}: {error.strerror}", remedy) from error


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Makes the folder if it is missing; other changes to files in it wait until this one is done."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # NFS locks no folders. Two changes in the same instant are rare enough there to go without.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(target: Path, text: str) -> None:
    old = target.stat() if target.exists() else None
    if old and not os.access(target, os.W_OK, effective_ids=True):
        raise PermissionError(0, "it is read-only")
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(descriptor, "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            if old and (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, old.st_uid, old.st_gid)
            os.fchmod(descriptor, stat.S_IMODE(old.st_mode) if old else 0o600)
            os.fsync(descriptor)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
