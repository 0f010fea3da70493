"""What `status` says to people: a block for each mirror, a line for each where there are many, a line for each change.

Beside `output`, whose rules hold here as well: pure, with the clock as an argument, and escaped by `terminal`. The one
thing to know: a state is a word of the contract, but people read it; so where no daemon runs, `settling` is called
what it is, because nothing settles by itself then.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lfssync.answers import DaemonInfo, Headway, MirrorStatus
from lfssync.commandline.documents import moment
from lfssync.commandline.output import (
    age,
    deferred_lines,
    duration,
    field_line,
    files,
    local_time,
    nothing_configured,
    short,
    warning_lines,
)
from lfssync.commandline.terminal import Line, Span, Style, cells, escape, line
from lfssync.errors import LfssyncError
from lfssync.model import State, human_bytes
from lfssync.rules.pace import Why

TAGS_IN_STATUS = 5
DEFERRED_IN_STATUS = 5

_DAY_S = 86400.0
_HANG = 13
"""Where the second line of a long field begins: below the first word of the text."""

_WHY = {
    Why.PAUSED.value: "for the end of the pause",
    Why.ONLY_BETWEEN.value: "for the hours of only_between",
    Why.BACK_OFF.value: "for the next try",
    Why.COMMITS_PER_HOUR.value: "for the next commit that commits_per_hour allows",
    Why.MIN_INTERVAL.value: "for the end of min_interval",
}
"""What the words of `waits` mean."""

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


def status_lines(statuses: Sequence[MirrorStatus], daemon: DaemonInfo, now: float) -> list[Line]:
    """The answer of `status`: lines about the daemon and a compact block for each mirror."""
    lines = _daemon_lines(daemon)
    for status in statuses:
        lines += [(), *_block(status, daemon, now)]
    return lines if statuses else [*lines, (), *nothing_configured()]


def screen_lines(statuses: Sequence[MirrorStatus], daemon: DaemonInfo, now: float, size: tuple[int, int]) -> list[Line]:
    """What `status --watch` shows on a terminal: the same if there is room for it, else a line for each mirror.

    Those with trouble come first then, and those that do something; how many are left out is said.

    Args:
        statuses: The mirrors.
        daemon: Whether one runs.
        now: Seconds since the epoch.
        size: Columns and rows of the terminal.
    """
    columns, rows = size
    clock = line(Span(local_time(now), Style.FAINT))
    whole = [clock, *folded(status_lines(statuses, daemon, now), columns)]
    if len(whole) <= rows:
        return whole
    head = [clock, *folded(_daemon_lines(daemon), columns), ()]
    room = max(rows - len(head), 1)
    ordered = sorted(statuses, key=lambda status: (status.error is None, not _is_busy(status)))
    lines = [_summary(status, daemon, now) for status in ordered]
    if len(lines) > room:
        left = len(lines) - room + 1
        lines = [*lines[: room - 1], line(Span(f"… and {left} more; name one, or see lfssync status", Style.FAINT))]
    return [*head, *lines]


def change_lines(
    before: dict[str, str], statuses: Sequence[MirrorStatus], daemon: DaemonInfo, now: float
) -> list[Line]:
    """What `status --watch` prints where there is no terminal: a line for each thing that is not as it was.

    Args:
        before: What was printed last about each thing; brought up to date.
        statuses: The mirrors.
        daemon: Whether one runs.
        now: Seconds since the epoch.
    """
    facts = {"": _text(_daemon_lines(daemon)[:1])}
    facts |= {f"! {words}": f"warning: {words}" for words in daemon.complaints}
    facts |= {status.name: _text([_summary(status, daemon, None)]) for status in statuses}
    lines = [text for key, text in facts.items() if before.get(key) != text]
    lines += [_gone(key) for key in before if key not in facts]
    before.clear()
    before.update(facts)
    return [line(Span(f"{local_time(now)}  ", Style.FAINT), text) for text in lines]


def trouble_lines(error: LfssyncError) -> list[Line]:
    """What `status --watch` shows while it cannot tell how things stand."""
    return [line(Span(f"error: {error.message}", Style.BAD)), line(f"  → {error.remedy}")]


def folded(lines: Iterable[Line], columns: int) -> list[Line]:
    """Lines broken where they are wider than the terminal, at a space if there is one; what follows is indented."""
    return [piece for one in lines for piece in _folded(one, max(columns, 2 * _HANG))]


def _folded(one: Line, columns: int) -> list[Line]:
    pieces: list[Line] = []
    row: list[Span] = []
    free = columns
    for span in one:
        text = escape(span.text)
        while cells(text) > free:
            cut = _cut(text, free)
            row.append(Span(text[:cut].rstrip(), span.style))
            pieces.append(tuple(row))
            row, text = [Span(" " * _HANG)], text[cut:].lstrip()
            free = columns - _HANG
        row.append(Span(text, span.style))
        free -= cells(text)
    return [*pieces, tuple(row)]


def _cut(text: str, free: int) -> int:
    """After how many characters to break a text of which so many cells fit."""
    fit, used = 0, 0
    for one in text:
        used += cells(one)
        if used > free:
            break
        fit += 1
    space = text.rfind(" ", 1, fit + 1)
    return space if space > fit // 2 else fit


def _gone(key: str) -> str:
    return f"no longer so: {key[2:]}" if key.startswith("! ") else f"{key}: no longer mirrored"


def _text(lines: Sequence[Line]) -> str:
    return "\n".join("".join(span.text for span in one) for one in lines)


def _daemon_lines(daemon: DaemonInfo) -> list[Line]:
    since = f" since {local_time(daemon.since)}" if daemon.since is not None else ""
    first = line(Span(f"daemon running (pid {daemon.pid}){since}", Style.FAINT))
    if not daemon.running:
        first = line(Span("daemon not running", Style.WARNING), "; lfssync run keeps the mirrors up to date")
    return [first, *(field_line("warning", words, Style.WARNING) for words in daemon.complaints)]


def _is_busy(status: MirrorStatus) -> bool:
    return status.state is not State.IDLE or bool(status.pending_files or status.deferred)


def _face(status: MirrorStatus, daemon: DaemonInfo) -> tuple[str, str, Style]:
    """A mirror's sign, the word for its state, and their style."""
    symbol, style = _FACES[status.state]
    word = status.state.value
    if status.state is State.SETTLING and not daemon.running:
        symbol, word = "•", "changed" if status.pushed or status.head else "new"
    is_open = status.pending_files or status.deferred or status.verified_at is None or not status.looked
    if status.state is State.IDLE and is_open:
        symbol, style = "•", Style.BUSY
    return symbol, word, style


def _summary(status: MirrorStatus, daemon: DaemonInfo, now: float | None) -> Line:
    """One line about a mirror; without `now` it has nothing that changes by itself."""
    symbol, word, style = _face(status, daemon)
    if status.error is not None:
        more = f": {status.error.get('message', '')}; {status.error.get('remedy', '')}".removesuffix("; ")
    elif status.progress is not None:
        more = f" {_progress(status.progress)}" if now is not None else _pending(status, ", ")
    else:
        more = _pending(status, ", ") + _verified(status, now)
    return line(Span(symbol, style), " ", Span(status.name, Style.STRONG), "  ", Span(word, style), more)


def _block(status: MirrorStatus, daemon: DaemonInfo, now: float) -> list[Line]:
    symbol, word, style = _face(status, daemon)
    name = Span(status.name, Style.STRONG)
    lines = [
        line(Span(symbol, style), " ", name, "  ", Span(word, style), _verified(status, now)),
        line(f"    {status.path} → {status.remote} ({status.branch})"),
    ]
    if status.head != status.pushed:
        there = f"there: {short(status.pushed)}" if status.pushed else "nothing is there"
        lines.append(field_line("head", f"{short(status.head)}, not on the remote yet ({there})"))
    if status.scrubbed_at is not None:
        lines.append(field_line("scrubbed", f"all LFS objects were in order {age(status.scrubbed_at, now)} or later"))
    if status.tags:
        rest = len(status.tags) - TAGS_IN_STATUS
        more = f" and {rest} more" if rest > 0 else ""
        lines.append(field_line("tags", ", ".join(status.tags[: -TAGS_IN_STATUS - 1 : -1]) + more))
    if status.progress is not None:
        verb = "sent" if status.progress.state is State.UPLOADING else "read"
        lines.append(field_line(verb, _progress(status.progress)))
    elif pending := _pending(status):
        lines.append(field_line("pending", pending))
    if not status.looked:
        lines.append(field_line("changes", "not looked at, that takes too long; lfssync sync does", Style.WARNING))
    lines += deferred_lines(status.deferred, DEFERRED_IN_STATUS)
    lines += warning_lines(status.warnings)
    if status.error is not None:
        since = f" (since {_local_time_of(moment(status.error['since']))})" if "since" in status.error else ""
        remedy = status.error.get("remedy") or "run lfssync --verbose sync to see more"
        lines.append(field_line("error", status.error.get("message", "") + since, Style.BAD))
        lines.append(field_line("remedy", remedy, Style.STRONG))
    if status.paused is not None:
        until = "" if status.paused["until"] is None else f"{local_time(status.paused['until'])}, or until "
        lines.append(field_line("paused", f"until {until}lfssync resume {status.name}", Style.WARNING))
    elif status.waits is not None:
        lines.append(field_line("waits", _waits(status.waits, now)))
    return lines


def _progress(headway: Headway) -> str:
    """How far a pass is: files, bytes, how fast, and for how long still."""
    percent = f"{100 * headway.done_bytes // headway.size_bytes} %, " if headway.size_bytes else ""
    text = f"{percent}{headway.files} of {files(headway.files_total)}"
    text += f", {human_bytes(headway.done_bytes)} of {human_bytes(headway.size_bytes)}"
    if headway.rate is None:
        return text
    if headway.left_s is None:
        return f"{text}, nothing moves"
    return f"{text}, {human_bytes(round(headway.rate))}/s, {duration(headway.left_s)} left"


def _pending(status: MirrorStatus, before: str = "") -> str:
    if not status.pending_files and not status.pending_bytes:
        return ""
    return f"{before}{files(status.pending_files)}, {human_bytes(status.pending_bytes)}{' pending' if before else ''}"


def _waits(waits: Mapping[str, Any], now: float) -> str:
    why = _WHY.get(waits["why"], str(waits["why"]))
    until = waits.get("until")
    if not isinstance(until, int | float):
        return why
    if until - now < 1:
        return f"{why}, now"
    clock = time.strftime("%H:%M:%S", time.localtime(until)) if until - now < _DAY_S else local_time(until)
    return f"{why}, {clock} (in {duration(round(until - now))})"


def _verified(status: MirrorStatus, now: float | None) -> str:
    if status.verified_at is None:
        return ", never verified on the remote"
    return f", verified at {short(status.pushed)}" + (f" {age(status.verified_at, now)}" if now is not None else "")


def _local_time_of(iso_time: str) -> str:
    """A time as documents have it, in the user's zone; what is no such time stays as it is."""
    from datetime import datetime

    try:
        return local_time(datetime.fromisoformat(iso_time).timestamp())
    except ValueError:
        return iso_time
