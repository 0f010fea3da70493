"""What the commands about versions say to people: releases, the past, differences, restores.

Beside `output`, under the same rules: pure, and nothing is escaped here, because `terminal` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lfssync.answers import Difference, LogEntry, LogKind, Version
from lfssync.commandline.output import SHORT_LFS_OID, SHORT_OID, columns, files, local_time, short
from lfssync.commandline.terminal import Line, Span, Style, line
from lfssync.model import human_bytes, show

if TYPE_CHECKING:
    from lfssync.answers import Release
    from lfssync.versions.restore import RestoreResult

_LOG_STYLES = {
    LogKind.COMMIT: Style.PLAIN,
    LogKind.RELEASE: Style.GOOD,
    LogKind.REFUSED: Style.WARNING,
    LogKind.FAILED: Style.BAD,
    LogKind.STOPPED: Style.WARNING,
}


def tagged_lines(name: str, release: Release) -> list[Line]:
    """The answer of `tag`."""
    return [line(Span(name, Style.STRONG), f": {release.version} → {short(release.commit)}, verified")]


def page_lines(name: str, page: str) -> list[Line]:
    """What `tag --page` adds to the answer of `tag`."""
    return [line(Span(name, Style.STRONG), f": release page {page}")]


def restored_lines(name: str, destination: str, result: RestoreResult) -> list[Line]:
    """The answer of `restore`."""
    what = f"{files(result.files)} ({human_bytes(result.size_bytes)}) of {short(result.commit)}"
    return [line(Span(name, Style.STRONG), f": {what} written to {destination}, every LFS file checked")]


def log_lines(entries: Sequence[LogEntry]) -> list[Line]:
    """The answer of `log`, in the order given: date, commit, kind, what happened, tags."""
    if not entries:
        return [line("nothing has happened yet")]
    lines = []
    for entry in entries:
        others = [tag for tag in entry.tags if tag != entry.text]
        tags = f"  ({', '.join(others)})" if others else ""
        kind = Span(f"{entry.kind.value:<7}  ", _LOG_STYLES[entry.kind])
        when = Span(f"{local_time(entry.at)}  {short(entry.commit):<{SHORT_OID}}  ", Style.FAINT)
        lines.append(line(when, kind, entry.text, Span(tags, Style.GOOD)))
    return lines


def difference_lines(differences: Sequence[Difference]) -> list[Line]:
    """The answer of `diff`: `A`, `M` or `D`, the path, the sizes and, for LFS files, the oids."""
    if not differences:
        return [line("no differences")]
    rows = [(show(one.path), _both(one, _size), _both(one, _identity)) for one in differences]
    letters = [_letter(one) for one in differences]
    return [line(letter, "  ", *cells) for letter, cells in zip(letters, columns(rows), strict=True)]


def _letter(difference: Difference) -> Span:
    if difference.old is None:
        return Span("A", Style.GOOD)
    return Span("D", Style.BAD) if difference.new is None else Span("M", Style.BUSY)


def _both(difference: Difference, describe: Callable[[Version], str]) -> str:
    sides = [describe(side) for side in (difference.old, difference.new) if side is not None]
    return sides[0] if len(set(sides)) == 1 else " → ".join(sides)


def _size(version: Version) -> str:
    return human_bytes(version.size_bytes)


def _identity(version: Version) -> str:
    """What tells two versions of a file apart: the LFS oid or the git blob, and a mode that is not the ordinary one."""
    name = f"lfs {version.lfs_oid[:SHORT_LFS_OID]}" if version.lfs_oid else f"git {short(version.blob_oid)}"
    return name if version.git_mode == "100644" else f"{name} ({version.git_mode})"
