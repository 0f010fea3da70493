"""The command `scrub`: what the remotes hold, mirror by mirror.

Beside `commands`, which says which mirrors are meant. The one thing to know: a remote that has lost something for good
is an answer and no failure, until the exit code: then a person must decide.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from lfssync.commandline import terminal
from lfssync.errors import BlockedError, LfssyncError, UserError
from lfssync.model import Mirror, Monitor
from lfssync.places import Places
from lfssync.results import Scrubbed


def scrub(
    wanted: Sequence[Mirror],
    arguments: Namespace,
    places: Places,
    display: Callable[[str], AbstractContextManager[Monitor]],
) -> int:
    """Look at the LFS objects of mirrors, one after the other; one that fails does not stop the others."""
    from lfssync.commandline import documents, output
    from lfssync.service import operations

    if arguments.sample != "all" and not arguments.sample.isdecimal():
        raise UserError(f"--sample {arguments.sample} is no number", "give a number, or all")
    if not wanted:
        raise UserError("no mirrors configured", "start with: lfssync add DIR")
    sample = None if arguments.sample == "all" else int(arguments.sample)
    answers: list[documents.Document] = []
    codes: list[int] = []
    for mirror in wanted:
        try:
            with display(mirror.name) as monitor:
                found = operations.scrub(places, mirror, sample, monitor)
        except LfssyncError as error:
            answers.append(documents.unscrubbed_document(mirror.name, error))
            codes.append(terminal.report(error.about(mirror.name)))
            continue
        answers.append(documents.scrub_document(mirror.name, found))
        if not arguments.json:
            terminal.emit(output.scrubbed_lines(mirror.name, found))
        codes.append(_lost(mirror, found))
    if arguments.json:
        terminal.emit_json(documents.sync_document(answers))
    return terminal.worst(codes)


def _lost(mirror: Mirror, found: Scrubbed) -> int:
    """Say on standard error that the remote has lost objects for good, if it has; gives the exit code."""
    if not found.lost:
        return 0
    first = found.lost[0]
    count = f"{len(found.lost)} LFS object{'s'[: len(found.lost) != 1]}"
    what = f"{mirror.name}: the remote has lost {count}, first {first.path or first.oid}"
    return terminal.report(BlockedError(what, first.remedy))
