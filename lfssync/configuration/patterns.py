"""Mirrors made from a pattern: every folder that `~/outputs/*` matches becomes a mirror of its own.

Stands below the line, next to the configuration that reads the patterns: turns a pattern into the mirrors that exist at
the moment, and refuses directories and names that two mirrors would share.
The one thing to know: what is *not* listed proves nothing. A folder may be missing because a disk is not mounted or
cannot be read just now, so a mirror that was made once is given up only when the configuration changes.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lfssync.errors import LfssyncError, TransientError, UserError
from lfssync.model import Mirror
from lfssync.places import Places, mirror_name
from lfssync.rules.ignore import IgnoreRules, is_git_name
from lfssync.rules.refnames import check_branch
from lfssync.rules.remotes import RemoteKind, has_control_character, is_relative_path, mask, parse_remote

TEMPORARY_FOLDERS = ("tmp-*/", "tmp_*/")
"""Folders that never become mirrors, in gitignore syntax, besides the built-in list of `ignore`."""

_WILD = re.compile(r"[*?\[]")
_ESCAPED_WILD = re.compile(r"\[([*?\[])\]")


class MirrorPattern(NamedTuple):
    """A `[[mirror]]` whose path has `*`, `?` or `[...]` in it.

    Args:
        glob: Absolute path, `~` expanded; the wild cards may stand in several of its parts and never match a `/`.
        template: What every mirror of it gets. Its `remote`, `branch` and `into` may hold `{name}`; `remote` is empty
            where none was named; `name` is empty and `path` is `glob`.
        origin: `<file>:<line>` of the pattern, for messages.
        explicit: The mirrors that are configured by themselves; their directories are left to them.
    """

    glob: str
    template: Mirror
    origin: str
    explicit: tuple[Mirror, ...] = ()


class Survey(NamedTuple):
    """What patterns match at the moment.

    Args:
        mirrors: The mirrors they make, by pattern and path.
        refused: Why a folder that matches is not among them, or could not be looked into.
    """

    mirrors: tuple[Mirror, ...]
    refused: tuple[LfssyncError, ...]


def is_pattern(path: str) -> bool:
    """True if a path has wild cards; `[*]`, `[?]` and `[[]` stand for the characters themselves."""
    return _WILD.search(_ESCAPED_WILD.sub("", path)) is not None


def escape(path: str) -> str:
    """The path as it is written in the configuration so that nothing in it is a wild card."""
    return _WILD.sub(r"[\g<0>]", path)


def unescape(path: str) -> str:
    """The path meant by one that is no pattern: the reverse of `escape`."""
    return _ESCAPED_WILD.sub(r"\1", path)


def matches(glob: str, path: Path) -> bool:
    """Whether a pattern makes a mirror of a path, if that is a folder."""
    wanted, parts = PurePosixPath(glob).parts, path.parts
    return len(wanted) == len(parts) and all(map(fnmatch.fnmatchcase, parts, wanted))


def expand(pattern: MirrorPattern, places: Places) -> list[Mirror]:
    """The mirrors that one pattern makes at the moment, sorted by path.

    Raises:
        LfssyncError: A folder that matches cannot become a mirror, or could not be looked into; see `survey`.
    """
    found = survey((pattern,), places)
    if found.refused:
        raise found.refused[0]
    return list(found.mirrors)


def survey(patterns: Sequence[MirrorPattern], places: Places) -> Survey:
    """The mirrors that patterns make at the moment, and what stands in the way of others.

    Files, symlinks, hidden folders and temporary folders are passed over, and so is what is configured explicitly. One
    folder that cannot become a mirror does not keep the others from it. Where two folders would get one name, neither
    gets it: they would share a state, and which of them had it before cannot be told from here.
    """
    refused: list[LfssyncError] = []
    candidates: list[tuple[MirrorPattern, Mirror]] = []
    explicit = patterns[0].explicit if patterns else ()
    claims = Claims()
    explicit_directories = set()
    for mirror in explicit:
        directory = Path(os.path.realpath(mirror.path))
        explicit_directories.add(directory)
        claims.claim(mirror, directory)
    for pattern in patterns:
        for path, wild_parts in _walk(pattern.glob, refused).found:
            if Path(os.path.realpath(path)) in explicit_directories:
                continue
            try:
                name = mirror_name("/".join(wild_parts))
                candidates.append((pattern, complete(pattern.template, name, path, places)))
            except UserError as error:
                refused.append(_in_folder(pattern, path, error))
    names = Counter(mirror.name for _, mirror in candidates)
    mirrors = []
    for pattern, mirror in candidates:
        if names[mirror.name] > 1:
            refusal: UserError | None = UserError(
                f"several folders would make a mirror called {mirror.name!r}",
                "configure them with [[mirror]] tables and names of their own",
            )
        else:
            refusal = claims.claim(mirror, Path(os.path.realpath(mirror.path)))
        if refusal:
            refused.append(_in_folder(pattern, mirror.path, refusal))
        else:
            mirrors.append(mirror)
    return Survey(tuple(mirrors), tuple(refused))


def watch_points(pattern: MirrorPattern) -> list[Path]:
    """The folders whose mtime moves when a folder that the pattern matches comes or goes; they need not exist yet."""
    return _walk(pattern.glob, []).looked_into


def complete(template: Mirror, name: str, path: Path, places: Places) -> Mirror:
    """A mirror from a template, `{name}` filled in and everything checked that depends on it.

    Raises:
        UserError: The path, or what the filled template says about remote, branch or `into`, cannot be used.
    """
    if has_control_character(str(path)):
        raise UserError(f"the path {str(path)!r} has control characters or is not UTF-8", "rename the folder")
    remote, kind = resolve_remote(template.remote, name, places)
    own = [places.state_dir, places.data_dir, *([Path(remote)] if kind is RemoteKind.LOCAL else [])]
    for folder in own:
        if folder.is_relative_to(path):
            raise UserError(f"{path} has {folder} in it, where lfssync itself writes", "mirror a folder that has not")
    return template._replace(
        name=name,
        path=path,
        remote=remote,
        branch=resolve_branch(template.branch, name),
        into=resolve_into(template.into, name),
        embedded=not template.remote,
    )


def resolve_remote(text: str, name: str, places: Places) -> tuple[str, RemoteKind]:
    """What git gets for a remote of the configuration; the embedded repository where the text is empty.

    Raises:
        UserError: It is not allowed, or it is relative: the daemon runs in another folder than the user.
    """
    if not text:
        return str(places.embedded_remote(name)), RemoteKind.LOCAL
    filled = _fill(text, name)
    if filled and is_relative_path(filled) and not filled.startswith("-"):
        raise UserError(
            f"remote {mask(filled)!r} is a relative path", "write the whole path, or an address such as hf:owner/name"
        )
    remote = parse_remote(filled, places.home, places.hub)
    return remote.url, remote.kind


def resolve_branch(text: str, name: str) -> str:
    """The branch's name.

    Raises:
        UserError: Git does not allow it.
    """
    return check_branch(_fill(text, name))


def resolve_into(text: str, name: str) -> str:
    """The sub-folder of the repository; empty for its root.

    Raises:
        UserError: It is absolute, or has parts that git or a file system would take for something else.
    """
    into = _fill(text, name)
    for part in into.split("/") if into else ():
        if (
            part in ("", ".", "..")
            or has_control_character(part)
            or is_git_name(part.encode("utf-8", "surrogateescape"))
        ):
            raise UserError(
                f"into {into!r} is not a plain relative path",
                "name a folder such as 'models/small', without '/' at its ends, '.', '..' and '.git'",
            )
    return into


def _fill(text: str, name: str) -> str:
    if re.search(r"[{}]", text.replace("{name}", "")):
        raise UserError(f"{mask(text)!r} has braces that mean nothing", "{name} is the only thing that is filled in")
    return text.replace("{name}", name)


class Claims:
    """The names and directories that mirrors have taken so far."""

    def __init__(self) -> None:
        self._by_name: dict[str, Mirror] = {}
        self._in: dict[Path, list[Mirror]] = {}
        self._below: dict[Path, Mirror] = {}

    def claim(self, mirror: Mirror, directory: Path) -> UserError | None:
        """Take a mirror's name and directory; a refusal, which takes nothing, where that does not go with the others.

        Args:
            mirror: The next mirror.
            directory: Its path, or where its path leads to; of one sort for all claims.
        """
        refusal = self._conflict(mirror, directory)
        if refusal is None:
            self._by_name[mirror.name] = mirror
            self._in.setdefault(directory, []).append(mirror)
            for parent in directory.parents:
                self._below.setdefault(parent, mirror)
        return refusal

    def _conflict(self, mirror: Mirror, directory: Path) -> UserError | None:
        if mirror.name in self._by_name:
            other = self._by_name[mirror.name]
            return UserError(
                f"two mirrors are called {mirror.name!r}: {other.path} and {mirror.path}", "give one another name"
            )
        for other in self._in.get(directory, ()):
            if (mirror.remote, mirror.branch, mirror.into) == (other.remote, other.branch, other.into):
                return UserError(
                    f"mirrors {other.name!r} and {mirror.name!r} are the same: {mirror.path} to {mirror.remote}",
                    "remove one of them, or give it another remote, branch or into",
                )
        outer = next((self._in[parent][0] for parent in directory.parents if parent in self._in), None)
        if outer:
            return _nested(mirror, outer)
        return _nested(self._below[directory], mirror) if directory in self._below else None


def _nested(inner: Mirror, outer: Mirror) -> UserError:
    return UserError(
        f"the directory of mirror {inner.name!r}, {inner.path}, is inside that of mirror {outer.name!r}, {outer.path}",
        "mirror one of the two",
    )


def _in_folder(pattern: MirrorPattern, path: Path, error: UserError) -> UserError:
    return UserError(f"{pattern.origin}: folder {str(path)!r}: {error.message}", error.remedy)


class _Walk(NamedTuple):
    """A way through the disk: what was found, with the names that wild cards matched, and where it was looked for."""

    found: list[tuple[Path, tuple[str, ...]]]
    looked_into: list[Path]


def _walk(glob: str, refused: list[LfssyncError]) -> _Walk:
    walk = _Walk([(Path("/"), ())], [])
    for part in PurePosixPath(glob).parts[1:]:
        here = list(walk.found)
        walk.found.clear()
        wild = is_pattern(part)
        if wild or walk.looked_into:
            walk.looked_into.extend(folder for folder, _ in here)
        for folder, wild_parts in here:
            if wild:
                walk.found.extend((folder / name, (*wild_parts, name)) for name in _matching(folder, part, refused))
            elif not walk.looked_into or _is_folder(folder / unescape(part), refused):
                walk.found.append((folder / unescape(part), wild_parts))
    return walk


def _matching(folder: Path, part: str, refused: list[LfssyncError]) -> list[str]:
    """The names of the sub-folders that a part with wild cards matches, sorted."""
    regex = re.compile(fnmatch.translate(part))
    rules = IgnoreRules(os.fsencode(folder), TEMPORARY_FOLDERS)
    names = []
    with _noting(folder, refused), os.scandir(folder) as entries:
        for entry in entries:
            hidden = entry.name.startswith(".")
            if not hidden and regex.match(entry.name) and entry.is_dir(follow_symlinks=False):
                names.append(entry.name)
    return sorted((name for name in names if not rules.verdict(b"", os.fsencode(name), True)), key=os.fsencode)


def _is_folder(path: Path, refused: list[LfssyncError]) -> bool:
    is_folder = False
    with _noting(path, refused):
        is_folder = stat.S_ISDIR(path.lstat().st_mode)
    return is_folder


@contextmanager
def _noting(folder: Path, refused: list[LfssyncError]) -> Iterator[None]:
    """Go on when a folder cannot be looked at; why is noted, unless it is simply not there."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        pass
    except PermissionError:
        refused.append(UserError(f"not allowed to look into {folder}", "let the user who runs lfssync read it"))
    except OSError as error:
        refused.append(TransientError(f"cannot look into {folder}: {error.strerror}"))
