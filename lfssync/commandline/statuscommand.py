"""The command `status`, once or until it is interrupted.

Beside `commands`, which has all the others. The one thing to know: a watch goes on whatever happens meanwhile: a
daemon that ends or starts, a configuration that is broken for a while, a terminal that changes its size.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable

from lfssync.answers import DaemonInfo, MirrorStatus
from lfssync.commandline import choosing, terminal
from lfssync.errors import LfssyncError, UserError
from lfssync.places import Places

WATCH_EVERY_S = 1.0

Look = Callable[[], tuple[list[MirrorStatus], DaemonInfo]]


def status(arguments: Namespace, places: Places) -> int:
    """Show what each mirror does."""
    from lfssync.service.standing import Onlooker

    onlooker = Onlooker(places)

    def look(tell: Callable[[LfssyncError], None] = terminal.warn) -> tuple[list[MirrorStatus], DaemonInfo]:
        mirrors = choosing.all_mirrors(places, tell)
        return onlooker.look([choosing.named(mirrors, arguments.name)] if arguments.name else mirrors)

    def look_again() -> tuple[list[MirrorStatus], DaemonInfo]:
        refused: list[str] = []
        statuses, daemon = look(lambda error: refused.append(str(error)))
        return statuses, daemon._replace(complaints=tuple(dict.fromkeys((*daemon.complaints, *refused))))

    if arguments.watch:
        if arguments.json:
            raise UserError("--watch and --json do not go together", "call lfssync status --json again and again")
        return _watch(look_again)
    statuses, daemon = look()
    if arguments.json:
        from lfssync.commandline import documents

        terminal.emit_json(documents.status_document(statuses, daemon))
    else:
        from lfssync.commandline import statuslines

        terminal.emit(statuslines.status_lines(statuses, daemon, time.time()))
    return 0


def _watch(look: Look) -> int:
    """Show the status again and again: every second on a terminal, elsewhere only what changed."""
    look()  # what is wrong from the start ends it
    try:
        return _paint(look) if terminal.is_terminal(sys.stdout) else _tell(look)
    except KeyboardInterrupt:  # the way it is meant to be ended, so no complaint
        return terminal.INTERRUPTED


def _paint(look: Look) -> int:
    from lfssync.commandline import statuslines

    shown: list[terminal.Line] = []
    try:
        with terminal.canvas() as canvas:
            while True:
                now = time.time()
                try:
                    statuses, daemon = look()
                    lines = statuslines.screen_lines(statuses, daemon, now, canvas.size())
                    shown = statuslines.status_lines(statuses, daemon, now)
                except LfssyncError as error:
                    shown = statuslines.trouble_lines(error)
                    lines = statuslines.folded(shown, canvas.size()[0])
                if not canvas.paint(lines):
                    return 0
                time.sleep(WATCH_EVERY_S)
    finally:
        terminal.emit(shown)  # the other screen is gone, and what was seen last shall not be


def _tell(look: Look) -> int:
    from lfssync.commandline import statuslines

    told: dict[str, str] = {}
    complaint = ""
    while True:
        try:
            lines = statuslines.change_lines(told, *look(), time.time())
            complaint = ""
        except LfssyncError as error:
            lines = statuslines.trouble_lines(error) if str(error) != complaint else []
            complaint = str(error)
        if not terminal.emit(lines):
            return 0
        time.sleep(WATCH_EVERY_S)
