"""The commands `pause` and `resume`: a person says when mirrors shall rest.

Beside `commands`. The one thing to know: it is a file in the state folder that pauses a mirror, so both work without
the daemon; a running one is told, and looks for itself every second anyway.
"""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Sequence

from lfssync.commandline import choosing, terminal
from lfssync.errors import LfssyncError, UserError
from lfssync.model import Mirror
from lfssync.places import Places


def pause(arguments: Namespace, places: Places) -> int:
    """Have mirrors commit and send nothing for a time."""
    from lfssync.commandline import output
    from lfssync.configuration import settings
    from lfssync.records import pausing
    from lfssync.service import operations

    time_s = None if getattr(arguments, "for") is None else settings.duration_s(getattr(arguments, "for"))
    if time_s == 0:
        raise UserError("a pause of no time is none", "for example: lfssync pause --for 2h")
    codes = []
    for mirror in _wanted(arguments, places):
        now = time.time()
        try:
            made = pausing.pause(places.mirror_state(mirror.name), None if time_s is None else now + time_s, now)
        except LfssyncError as error:
            codes.append(terminal.report(error.about(mirror.name)))
            continue
        terminal.emit(output.paused_lines(mirror.name, made.words()))
    operations.tell_of_pauses(places)
    return terminal.worst(codes)


def resume(arguments: Namespace, places: Places) -> int:
    """End the pauses of mirrors."""
    from lfssync.commandline import output
    from lfssync.records import pausing
    from lfssync.service import operations

    codes = []
    for mirror in _wanted(arguments, places):
        try:
            was_paused = pausing.resume(places.mirror_state(mirror.name), time.time())
        except LfssyncError as error:
            codes.append(terminal.report(error.about(mirror.name)))
            continue
        terminal.emit(output.resumed_lines(mirror.name, was_paused))
    operations.tell_of_pauses(places)
    return terminal.worst(codes)


def _wanted(arguments: Namespace, places: Places) -> Sequence[Mirror]:
    mirrors = choosing.all_mirrors(places)
    wanted = [choosing.named(mirrors, arguments.name)] if arguments.name else mirrors
    if not wanted:
        raise UserError("no mirrors configured", "start with: lfssync add DIR")
    return wanted
