"""What the commands say to people, as lines of styled spans.

It stands outside the line and reads only its values: every function here is pure and the clock comes in as an argument.
The one thing to know: nothing is escaped or printed here, `terminal` does both; so no text needs care on its way, and
none gets past. Scripts read `documents` instead: a word that people read may change.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lfssync.answers import MirrorStatus
from lfssync.commandline.documents import moment
from lfssync.commandline.terminal import Line, Span, Style, escape, line
from lfssync.model import Deferred, PassResult, State, human_bytes, show

if TYPE_CHECKING:
    from lfssync.answers import Login, Logout, PushResult, Scrubbed
    from lfssync.line.findings import Finding
    from lfssync.model import Mirror
    from lfssync.service.operations import DaemonInfo

SHORT_OID = 7
SHORT_LFS_OID = 10
TAGS_IN_STATUS = 5
DEFERRED_IN_STATUS = 5
DEFERRED_IN_SYNC = 20

_FACES = {
    State.IDLE: ("✓", Style.GOOD),
    State.SETTLING: ("…", Style.BUSY),
    State.STAGING: ("↑", Style.BUSY),
    State.UPLOADING: ("↑", Style.BUSY),
    State.PUSHING: ("↑", Style.BUSY),
    State.OFFLINE: ("!", Style.WARNING),
    State.BLOCKED: ("✗", Style.BAD),
    State.UNAUTHORIZED: ("✗", Style.BAD),
    State.FAILED: ("✗", Style.BAD),
}


# ---- small words


def local_time(seconds: float) -> str:
    """Seconds since the epoch as the date and time of the user's zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def short(commit: str | None) -> str:
    """The first digits of a commit, enough to find it by."""
    return commit[:SHORT_OID] if commit else "-"


def duration(seconds: float) -> str:
    """A length of time in its two largest units: `0.8 s`, `12 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`."""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit_s, unit, part_s, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit_s:
            rest = whole % unit_s // part_s
            return f"{whole // unit_s} {unit} {rest} {part}" if rest else f"{whole // unit_s} {unit}"
    return f"{whole} s"


def age(then: float, now: float) -> str:
    """How long ago something was, in its largest unit: `12 s ago`, `3 min ago`; a clock that was put back means now."""
    passed = max(int(now - then), 0)
    for unit_s, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if passed >= unit_s:
            return f"{passed // unit_s} {unit} ago"
    return f"{passed} s ago"


def files(count: int) -> str:
    """`1 file`, `2 files`."""
    return f"{count} file" if count == 1 else f"{count} files"


# ---- status and list


def status_lines(statuses: Sequence[MirrorStatus], daemon: DaemonInfo, now: float) -> list[Line]:
    """The answer of `status`: a line about the daemon and a compact block for each mirror."""
    lines = [_daemon_line(daemon)]
    for status in statuses:
        lines += [(), *_status_block(status, now)]
    return lines if statuses else [*lines, (), *_nothing_configured()]


def watch_lines(statuses: Sequence[MirrorStatus], daemon: DaemonInfo, now: float) -> list[Line]:
    """What `status --watch` shows: the same, below the time of day, and set apart from what stood before."""
    return [line(Span(local_time(now), Style.FAINT)), *status_lines(statuses, daemon, now), ()]


def _daemon_line(daemon: DaemonInfo) -> Line:
    if not daemon.running:
        return line(Span("daemon not running", Style.WARNING), "; lfssync run keeps the mirrors up to date")
    since = f" since {local_time(daemon.since)}" if daemon.since is not None else ""
    return line(Span(f"daemon running (pid {daemon.pid}){since}", Style.FAINT))


def _nothing_configured() -> list[Line]:
    return [line("no mirrors configured; start with: lfssync add DIR")]


def _status_block(status: MirrorStatus, now: float) -> list[Line]:
    symbol, style = _FACES[status.state]
    if status.state is State.IDLE and (status.pending_files or status.deferred or status.verified_at is None):
        symbol, style = "•", Style.BUSY
    lines = [
        line(
            Span(symbol, style),
            " ",
            Span(status.name, Style.STRONG),
            "  ",
            Span(status.state.value, style),
            _verified(status, now),
        ),
        line(f"    {status.path} → {status.remote} ({status.branch})"),
    ]
    if status.head != status.pushed:
        lines.append(_field("head", f"{short(status.head)}, not on the remote yet (there: {short(status.pushed)})"))
    if status.scrubbed_at is not None:
        lines.append(_field("scrubbed", f"all LFS objects were in order {age(status.scrubbed_at, now)} or later"))
    if status.tags:
        rest = len(status.tags) - TAGS_IN_STATUS
        more = f" and {rest} more" if rest > 0 else ""
        lines.append(_field("tags", ", ".join(status.tags[:TAGS_IN_STATUS]) + more))
    if status.pending_files or status.pending_bytes:
        lines.append(_field("pending", f"{files(status.pending_files)}, {human_bytes(status.pending_bytes)}"))
    lines += deferred_lines(status.deferred, DEFERRED_IN_STATUS)
    lines += warning_lines(status.warnings)
    if status.error is not None:
        since = f" (since {_local_time_of(moment(status.error['since']))})" if "since" in status.error else ""
        lines.append(_field("error", status.error.get("message", "") + since, Style.BAD))
        lines.append(
            _field("remedy", status.error.get("remedy") or "run lfssync --verbose sync to see more", Style.STRONG)
        )
    return lines


def _verified(status: MirrorStatus, now: float) -> str:
    if status.verified_at is None:
        return ", never verified on the remote"
    return f", verified at {short(status.pushed)} {age(status.verified_at, now)}"


def _local_time_of(iso_time: str) -> str:
    """A time as documents have it, in the user's zone; what is no such time stays as it is."""
    from datetime import datetime

    try:
        return local_time(datetime.fromisoformat(iso_time).timestamp())
    except ValueError:
        return iso_time


def _field(name: str, text: str, style: Style = Style.PLAIN) -> Line:
    return line(Span(f"    {name:<9}", Style.FAINT), Span(text, style))


def deferred_lines(deferred: Sequence[Deferred], limit: int) -> list[Line]:
    """What waits and why, at most `limit` of them."""
    lines = [_field("waiting", f"{show(one.path)}: {one.reason}", Style.WARNING) for one in deferred[:limit]]
    if len(deferred) > limit:
        lines.append(_field("", f"and {len(deferred) - limit} more"))
    return lines


def warning_lines(warnings: Sequence[str]) -> list[Line]:
    """Lines for people that a scan or a pass gave."""
    return [_field("warning", warning, Style.WARNING) for warning in warnings]


def list_lines(mirrors: Sequence[Mirror]) -> list[Line]:
    """The answer of `list`: name, directory, remote and branch in columns."""
    if not mirrors:
        return _nothing_configured()
    rows = [(mirror.name, str(mirror.path), mirror.remote, mirror.branch) for mirror in mirrors]
    return [line(Span(name, Style.STRONG), *rest) for name, *rest in columns(rows)]


def columns(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cells padded to their column's width as it will be shown, with two spaces between them."""
    shown = [[escape(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    return [[cell.ljust(width) + "  " for cell, width in zip(row, widths, strict=True)] for row in shown]


# ---- what commands did


def added_lines(mirror: Mirror, daemon: DaemonInfo) -> list[Line]:
    """The answer of `add`: what will happen, and the next command."""
    where = f"{'the local repository ' if mirror.embedded else ''}{mirror.remote}, branch {mirror.branch}"
    if "/" in mirror.name:  # no name but a pattern's path
        what, next_command = f"every folder that {mirror.name} matches will be mirrored to {where}", "lfssync sync"
    else:
        what = f"{mirror.name}: {mirror.path} will be mirrored to {where}"
        next_command = f"lfssync sync {mirror.name}"
    if daemon.running:
        return [line(what), line("The running daemon takes it from here; look with: lfssync status")]
    return [line(what), line(f"Bring it there now:  {next_command}"), line("Keep it up to date:  lfssync run")]


def removed_lines(mirror: Mirror) -> list[Line]:
    """The answer of `remove`."""
    return [line(f"{mirror.name}: no longer mirrored; {mirror.path} and {mirror.remote} stay as they are")]


def removed_pattern_lines(glob: str) -> list[Line]:
    """The answer of `remove` for a pattern."""
    return [line(f"{glob}: its folders are no longer mirrored; they and their remotes stay as they are")]


def pass_lines(name: str, result: PassResult, took_s: float) -> list[Line]:
    """The answer of `sync` and `wait` for one mirror."""
    what = _counts(result) if result.committed else "nothing to do"
    where = ", nothing is on the remote yet"
    if result.receipt is not None:
        where = f", verified at {short(result.receipt.commit)}"
    elif result.commit is not None:
        where = f", committed as {short(result.commit)} but not verified on the remote"
    took = f" in {duration(took_s)}" if result.committed else ""
    return [
        line(Span(name, Style.STRONG), f": {what}{where}{took}"),
        *deferred_lines(result.deferred, DEFERRED_IN_SYNC),
        *warning_lines(result.warnings),
    ]


def _counts(result: PassResult) -> str:
    counts = [(result.added, "added"), (result.changed, "changed"), (result.removed, "removed")]
    (first, word), *rest = [(count, word) for count, word in counts if count]
    text = ", ".join([f"{files(first)} {word}", *(f"{count} {word}" for count, word in rest)])
    return f"{text} ({human_bytes(result.content_bytes)})" if result.added or result.changed else text


def pushed_lines(remote: str, branch: str, result: PushResult) -> list[Line]:
    """The answer of `push`."""
    what = f"{files(result.files)} ({human_bytes(result.size_bytes)})"
    release = f", released as {result.release.version}" if result.release else ""
    return [line(f"{what} → {remote}, branch {branch}{release}, verified at {short(result.commit)}")]


def scrubbed_lines(name: str, scrubbed: Scrubbed) -> list[Line]:
    """The answer of `scrub` for one mirror."""
    bad = len(scrubbed.missing) + len(scrubbed.damaged)
    found = "all in order" if not bad else f"{len(scrubbed.missing)} missing, {len(scrubbed.damaged)} damaged"
    mended = f", {len(scrubbed.mended)} sent again" if scrubbed.mended else ""
    sampled = f" ({scrubbed.sampled} downloaded and hashed)" if scrubbed.sampled else ""
    count = f"{scrubbed.objects} LFS object{'s'[: scrubbed.objects != 1]}"
    lines = [line(Span(name, Style.STRONG), f": {count} on the remote{sampled}: {found}{mended}")]
    for one in scrubbed.lost:
        what = f"{one.path or 'an object'} ({human_bytes(one.size_bytes)}, lfs {one.oid[:SHORT_LFS_OID]})"
        lines += [_field("lost", what, Style.BAD), _field("remedy", one.remedy, Style.STRONG)]
    return lines


# ---- doctor


def finding_lines(finding: Finding) -> list[Line]:
    """One finding of `doctor`; its remedy stands below it."""
    symbol, style = ("✓", Style.GOOD) if finding.ok else ("✗", Style.BAD)
    if finding.ok and finding.remedy:
        symbol, style = "•", Style.WARNING
    about = f"{finding.mirror}: " if finding.mirror else ""
    first = line(Span(f"{symbol} ", style), Span(about, Style.STRONG), f"{finding.check}: {finding.message}")
    return [first, line("  → ", finding.remedy)] if finding.remedy else [first]


# ---- logins


def login_lines(login: Login) -> list[Line]:
    """The answer of `login`."""
    known = f"logged in as {login.name}" if login.is_checked else f"a login for {login.name}, not checked with the host"
    return [line(Span(login.host, Style.STRONG), f": {known}; kept in the {login.source}"), *_login_fields(login)]


def whoami_lines(login: Login) -> list[Line]:
    """The answer of `whoami`."""
    known = f"you are {login.name}" if login.is_checked else f"you log in as {login.name}; the host cannot be asked"
    return [line(Span(login.host, Style.STRONG), f": {known}; login from {login.source}"), *_login_fields(login)]


def _login_fields(login: Login) -> list[Line]:
    may = {True: "read and write", False: "read only", None: ""}[login.may_write]
    fields = (("may", may), ("scopes", ", ".join(login.scopes)), ("in", ", ".join(login.organisations)))
    return [_field(name, text) for name, text in fields if text]


def logout_lines(logout: Logout) -> list[Line]:
    """The answer of `logout`: what is gone, and what is left elsewhere."""
    what = "the login is deleted from the keyring" if logout.was_there else "the keyring has no login"
    lines = [line(Span(logout.host, Style.STRONG), f": {what}")]
    return lines + [_field("left", f"{other} still has one", Style.WARNING) for other in logout.others]
