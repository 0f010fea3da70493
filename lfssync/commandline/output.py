"""What the commands say to people, as lines of styled spans.

It stands outside the line and reads only its values: every function here is pure and the clock comes in as an argument.
The one thing to know: nothing is escaped or printed here, `terminal` does both; so no text needs care on its way, and
none gets past. Scripts read `documents` instead: a word that people read may change.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lfssync.commandline.terminal import Line, Span, Style, cells, escape, line
from lfssync.model import Deferred, PassResult, human_bytes, show

if TYPE_CHECKING:
    from lfssync.answers import DaemonInfo
    from lfssync.line.findings import Finding
    from lfssync.model import Mirror
    from lfssync.results import Login, Logout, PushResult, Scrubbed

SHORT_OID = 7
SHORT_LFS_OID = 10
DEFERRED_IN_SYNC = 20

NOTHING_TO_DO = "nothing to do"
ALL_IS_THERE = "everything is there"
DELIVERED_MEANWHILE = "delivered meanwhile"


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


# ---- lines that several answers have


def nothing_configured() -> list[Line]:
    """What there is to say where there are no mirrors."""
    return [line("no mirrors configured; start with: lfssync add DIR")]


def field_line(name: str, text: str, style: Style = Style.PLAIN) -> Line:
    """A line below what it is about, with a word in front."""
    return line(Span(f"    {name:<9}", Style.FAINT), Span(text, style))


def deferred_lines(deferred: Sequence[Deferred], limit: int) -> list[Line]:
    """What waits and why, at most `limit` of them."""
    lines = [field_line("waiting", f"{show(one.path)}: {one.reason}", Style.WARNING) for one in deferred[:limit]]
    if len(deferred) > limit:
        lines.append(field_line("", f"and {len(deferred) - limit} more"))
    return lines


def warning_lines(warnings: Sequence[str]) -> list[Line]:
    """Lines for people that a scan or a pass gave."""
    return [field_line("warning", warning, Style.WARNING) for warning in warnings]


def list_lines(mirrors: Sequence[Mirror]) -> list[Line]:
    """The answer of `list`: name, directory, remote and branch in columns."""
    if not mirrors:
        return nothing_configured()
    rows = [(mirror.name, str(mirror.path), mirror.remote, mirror.branch) for mirror in mirrors]
    return [line(Span(name, Style.STRONG), *rest) for name, *rest in columns(rows)]


def columns(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cells padded to their column's width as it will be shown, with two spaces between them."""
    shown = [[escape(cell) for cell in row] for row in rows]
    widths = [max(cells(cell) for cell in column) for column in zip(*shown, strict=True)]
    return [[cell + " " * (width - cells(cell) + 2) for cell, width in zip(row, widths, strict=True)] for row in shown]


# ---- what commands did


def created_lines(address: str, is_public: bool) -> list[Line]:
    """What `add --create` says about a repository that it made."""
    return [line(f"created {address}, {'public: everybody may read it' if is_public else 'private'}")]


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


def paused_lines(name: str, until: str) -> list[Line]:
    """The answer of `pause` for one mirror."""
    return [line(Span(name, Style.STRONG), f": {until}; go on with: lfssync resume {name}")]


def resumed_lines(name: str, was_paused: bool) -> list[Line]:
    """The answer of `resume` for one mirror."""
    return [line(Span(name, Style.STRONG), f": {'goes on' if was_paused else 'was not paused'}")]


def removed_pattern_lines(glob: str) -> list[Line]:
    """The answer of `remove` for a pattern."""
    return [line(f"{glob}: its folders are no longer mirrored; they and their remotes stay as they are")]


def pass_lines(name: str, result: PassResult, took_s: float, otherwise: str = NOTHING_TO_DO) -> list[Line]:
    """The answer of `sync` and `wait` for one mirror.

    Args:
        name: The mirror's.
        result: What was done for this command.
        took_s: How long that took, in seconds.
        otherwise: What to say where that was no commit.
    """
    what = _counts(result) if result.committed else otherwise
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
        lines += [field_line("lost", what, Style.BAD), field_line("remedy", one.remedy, Style.STRONG)]
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
    return [field_line(name, text) for name, text in fields if text]


def logout_lines(logout: Logout) -> list[Line]:
    """The answer of `logout`: what is gone, and what is left elsewhere."""
    what = "the login is deleted from the keyring" if logout.was_there else "the keyring has no login"
    lines = [line(Span(logout.host, Style.STRONG), f": {what}")]
    return lines + [field_line("left", f"{other} still has one", Style.WARNING) for other in logout.others]
