"""The command `notify`: a test notification to everything that the configuration names.

Beside `commands`, which has all the others. The one thing to know: it sends in this process, so it tells what a service
with another environment may not have: run it as the service's user.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from argparse import Namespace

from lfssync.commandline import choosing, terminal
from lfssync.errors import LfssyncError, UserError
from lfssync.places import Places


def notify(arguments: Namespace, places: Places) -> int:
    """Send a test to every target, one after the other."""
    from lfssync.configuration.telling import Occasion
    from lfssync.telling.letters import letter
    from lfssync.telling.notices import Notice
    from lfssync.telling.senders import send_to

    configuration = choosing.configured(places)
    targets = configuration.telling.targets
    if not targets:
        raise UserError(f"no [[notify]] in {configuration.file}", 'add one, with command = ["/usr/local/bin/tell"]')
    notice = Notice(Occasion.RECOVERY, "", "this is a test, and nothing is wrong")
    sheet = letter(notice, "", socket.gethostname(), time.time())
    codes = []
    for target in targets:
        try:
            send_to(target, os.environ)(sheet, threading.Event())
        except LfssyncError as error:
            codes.append(terminal.report(error.about(target.words)))
            continue
        terminal.emit([terminal.line(terminal.Span("✓ ", terminal.Style.GOOD), f"{target.words}: notified")])
    return terminal.worst(codes)
