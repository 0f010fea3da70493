"""What the commands about versions say to people: releases, the past, differences, restores.

Beside `output`, under the same rules: pure, and nothing is escaped here, because `terminal` does that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lfssync.answers import LogEntry, LogKind
from lfssync.commandline.output import SHORT_LFS_OID, SHORT_OID, columns, files, local_time, short
from lfssync.commandline.terminal import Line, Span, Style, line
from lfssync.model import human_bytes, show
from lfssync.results import Difference, TensorChange, Version

if TYPE_CHECKING:
    from lfssync.results import Release, Revision
    from lfssync.versions.restore import RestoreResult
    from lfssync.versions.retiring import Retirement
    from lfssync.versions.tags import Listing

TENSORS = 50
"""So many tensors of a file are shown; `--json` has all."""

_LOG_STYLES = {
    LogKind.COMMIT: Style.PLAIN,
    LogKind.RELEASE: Style.GOOD,
    LogKind.REFUSED: Style.WARNING,
    LogKind.FAILED: Style.BAD,
    LogKind.STOPPED: Style.WARNING,
    LogKind.RESUMED: Style.GOOD,
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
    """The answer of `diff`: `A`, `M` or `D`, the path, the sizes and, for LFS files, the oids; then the tensors."""
    if not differences:
        return [line("no differences")]
    rows = columns([(show(one.path), _both(one, _size), _both(one, _identity)) for one in differences])
    lines: list[Line] = []
    for one, cells in zip(differences, rows, strict=True):
        lines += [line(_letter(one), "  ", *cells), *_tensor_lines(one)]
    return lines


def _tensor_lines(difference: Difference) -> list[Line]:
    """What changed within a safetensors file."""
    if difference.unseen:
        return [line(Span(f"     tensors not compared: {difference.unseen}", Style.FAINT))]
    if difference.tensors is None:
        return []
    if not difference.tensors:
        return [line(Span("     the same tensors, with other values", Style.FAINT))]
    lines = [_tensor_line(one) for one in difference.tensors[:TENSORS]]
    more = len(difference.tensors) - TENSORS
    return [*lines, line(Span(f"     … and {more} more tensors", Style.FAINT))] if more > 0 else lines


def _tensor_line(change: TensorChange) -> Line:
    if change.old is None:
        return line("     ", Span("+", Style.GOOD), f" {change.name}  {change.new}")
    if change.new is None:
        return line("     ", Span("-", Style.BAD), f" {change.name}  {change.old}")
    return line("     ", Span("~", Style.BUSY), f" {change.name}  {change.old} → {change.new}")


def tags_lines(listing: Listing) -> list[Line]:
    """The answer of `tags`: name, commit, date, size, what the training said, and the first line of the message."""
    if not listing.tags:
        return [line("no releases yet; make one with: lfssync tag v1.0.0")]
    rows = [
        (
            tag.name,
            short(tag.revision.commit),
            local_time(tag.at),
            human_bytes(tag.revision.size_bytes),
            f"step {tag.revision.step}" if tag.revision.step is not None else "",
            _subject(tag.message, tag.name),
        )
        for tag in listing.tags
    ]
    lines = [line(Span(name, Style.GOOD), *cells) for name, *cells in columns(rows)]
    more = listing.total - len(listing.tags)
    return [*lines, line(Span(f"… and {more} more; -n shows more of them", Style.FAINT))] if more > 0 else lines


def _subject(message: str, name: str) -> str:
    first = message.partition("\n")[0]
    return "" if first == name else first


def show_lines(revision: Revision) -> list[Line]:
    """The answer of `show`."""
    of_lfs = sum(1 for _, version in revision.files if version.lfs_oid)
    total = f"{files(len(revision.files))}, {human_bytes(revision.size_bytes)}, {of_lfs} in LFS"
    fields = [
        ("commit", revision.commit),
        ("tags", ", ".join(revision.tags)),
        ("date", local_time(revision.at)),
        ("author", revision.author),
        ("training", revision.telling),
        ("holds", total),
    ]
    head = [line(Span(f"{name:<9} ", Style.FAINT), text) for name, text in fields if text]
    message = [line("    ", text) for text in revision.message.split("\n")]
    rows = columns([(show(path), _size(version), _identity(version)) for path, version in revision.files])
    return [*head, (), *message, (), *(line(*cells) for cells in rows)]


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


def retired_lines(name: str, done: Retirement) -> list[Line]:
    """The answer of `retire`: what leaves the tip, what stays and why, and the way back."""
    rows = columns([
        (
            "stays" if one.reason else "leaves",
            show(one.candidate.folder),
            files(one.candidate.files),
            human_bytes(one.candidate.size_bytes),
            one.reason,
        )
        for one in done.decisions
    ])  # fmt: skip
    lines = [
        line("  ", Span(word, Style.PLAIN if one.reason else Style.WARNING), *cells)
        for one, (word, *cells) in zip(done.decisions, rows, strict=True)
    ]
    if not done.leaving:
        return [line(Span(name, Style.STRONG), ": no checkpoint has to leave the tip"), *lines]
    count = len(done.leaving)
    what = f"{count} checkpoint{'s'[: count != 1]} ({human_bytes(done.size_bytes)})"
    did = f"retired by {short(done.commit)}, verified" if done.commit else "would be retired"
    return [
        line(Span(name, Style.STRONG), f": {what} {did}"),
        *lines,
        line(f"They stay in the history: lfssync restore {name} DEST --revision {short(done.before)}"),
        line("A host's quota still counts what is in the history."),
    ]
