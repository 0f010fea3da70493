"""What people ask for, done in this process: sync, wait and tag, as loops of passes with an end.

Called by `operations` when no daemon runs, by the daemon for requests, and by `lfssync.push`.
The one thing to know: a file that merely has to stand still for its quiet time is waited for; one that a program
holds open for writing is not, it is reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lfssync.errors import NotDoneError, TransientError, UserError
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
from lfssync.model import Mirror, PassResult, show
from lfssync.records.pausing import require_going
from lfssync.service.firstpass import run_pass
from lfssync.service.protocol import Document, pass_document, release_document

if TYPE_CHECKING:
    from lfssync.results import Release

_LOOKS = 4
"""How often a sync looks at files that do not stand still, before it reports them."""


def sync(mirror: Mirror, state_dir: Path, order: Order, session: Session) -> PassResult:
    """Run a pass now, and again for files that only have to stand still for a moment.

    Args:
        mirror: What to sync.
        state_dir: Its state folder.
        order: How; `verify` is implied.
        session: Who watches, and when to stop.

    Returns:
        All that was done; `deferred` is what is still in the way.
    """
    result = run_pass(mirror, state_dir, replace(order, verify=True), session)
    for _ in range(_LOOKS - 1):
        moving = frozenset(one.path for one in result.deferred if one.passes_soon)
        if not moving or session.stop.wait(mirror.quiet_s):
            break
        again = run_pass(mirror, state_dir, replace(order, verify=True, paths=moving), session)
        result = _together(result, again)
    return result


def _together(first: PassResult, again: PassResult) -> PassResult:
    return PassResult(
        again.commit,
        again.receipt,
        first.added + again.added,
        first.changed + again.changed,
        first.removed + again.removed,
        first.content_bytes + again.content_bytes,
        first.sent_bytes + again.sent_bytes,
        again.deferred,  # every pass looks at all that waits
        tuple(dict.fromkeys(first.warnings + again.warnings)),
    )


def wait(
    mirror: Mirror, state_dir: Path, timeout_s: float, session: Session, waits: Callable[[str], None]
) -> PassResult:
    """Return once everything in the directory is verified on the remote.

    Args:
        mirror: What to wait for.
        state_dir: Its state folder.
        timeout_s: For how long, in seconds; a transfer under way is broken off then.
        session: Who watches, and when to stop.
        waits: Is told what is in the way, whenever that is waited for.

    Raises:
        NotDoneError: Time ran out, or will while it is paused; says what is in the way.
        BlockedError: It is paused until somebody resumes it.
    """

    def look(left_s: float) -> PassResult:
        require_going(mirror, state_dir, left_s)
        return run_pass(mirror, state_dir, Order(verify=True, wait_lock_s=left_s), session)

    timer = threading.Timer(min(timeout_s, threading.TIMEOUT_MAX), session.stop.set)
    timer.daemon = True
    timer.start()
    try:
        return until_done(mirror, timeout_s, look, session.stop, waits)
    finally:
        timer.cancel()


def until_done(
    mirror: Mirror,
    timeout_s: float,
    look: Callable[[float], PassResult],
    stop: threading.Event,
    waits: Callable[[str], None],
) -> PassResult:
    """Look again and again, until nothing is in the way.

    Args:
        mirror: What is waited for.
        timeout_s: For how long, in seconds.
        look: Runs a verified pass, here or elsewhere, within so many seconds.
        stop: Ends it early.
        waits: Is told what is in the way, whenever that is waited for.

    Raises:
        NotDoneError: Time ran out; says what is in the way.
    """
    deadline = time.monotonic() + timeout_s
    in_the_way = ""
    while True:
        try:
            result = look(max(deadline - time.monotonic(), 0.0))
        except TransientError as error:
            if not in_the_way or not (stop.is_set() or time.monotonic() >= deadline):  # else it only ran out of time
                in_the_way = error.message
            pause_s = error.retry_after_s or min(max(mirror.quiet_s, 1.0), 5.0)
        else:
            if not result.deferred:
                return result
            first = result.deferred[0]
            in_the_way = f"{show(first.path)}: {first.reason}" + (
                f", and {len(result.deferred) - 1} more" if len(result.deferred) > 1 else ""
            )
            pause_s = min(max(mirror.quiet_s, 0.2), 5.0)
        left_s = deadline - time.monotonic()
        waits(in_the_way)
        if left_s <= 0 or stop.wait(min(pause_s, left_s)):
            raise NotDoneError(
                f"{mirror.name} is not done: {in_the_way}", "wait longer with --timeout, or end what writes there"
            )


def tag(
    mirror: Mirror, state_dir: Path, version: str, text: str | None, revision: str | None, session: Session
) -> Release:
    """Sync, then release.

    Args:
        mirror: What to release.
        state_dir: Its state folder.
        version: The tag's name.
        text: The tag's message.
        revision: What to tag instead of what is in the directory now.
        session: Who watches, and when to stop.

    Raises:
        NotDoneError: Files of the directory are still being written, so it is not what would be released.
    """
    from lfssync.versions.releases import release

    if revision is None:
        waiting = sync(mirror, state_dir, Order(), session).deferred
        if waiting:
            raise NotDoneError(
                f"{mirror.name} cannot be released yet: {show(waiting[0].path)}: {waiting[0].reason}",
                f"run lfssync wait {mirror.name} first, or release a commit with --at",
            )
    return release(mirror, state_dir, version, text, revision, session)


def serve(request: Document, mirror: Mirror, state_dir: Path, session: Session) -> Document:
    """Do what a command asks of the daemon for a mirror, and answer as it travels over the socket.

    Args:
        request: The command and its fields; see `operations`.
        mirror: Which mirror.
        state_dir: Its state folder.
        session: Who watches, and when to stop.

    Raises:
        LfssyncError: What the command is told; `UserError` when the request itself makes no sense.
    """
    command = request.get("command")
    if command == "sync":
        order = Order(accept_deletions=request.get("accept_deletions") is True)
        return pass_document(sync(mirror, state_dir, order, session))
    if command == "look":
        wait_lock_s = request.get("wait_lock_s")
        order = Order(verify=True, wait_lock_s=wait_lock_s if isinstance(wait_lock_s, int | float) else 0.0)
        return pass_document(run_pass(mirror, state_dir, order, session))
    if command == "tag":
        version, message, revision = (request.get(key) for key in ("version", "message", "revision"))
        if not isinstance(version, str) or not all(isinstance(word, str | None) for word in (message, revision)):
            raise UserError("the request does not say what to release", "use the lfssync command")
        return release_document(tag(mirror, state_dir, version, message, revision, session))
    raise UserError(f"the running daemon does not know the command {command}", "restart it: it is of another version")
