"""The commands about versions: release, look at the past, compare, fetch back.

Beside `commands`, which calls these. The one thing to know: everything heavy is imported inside the functions.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from lfssync.commandline import choosing, terminal
from lfssync.errors import UserError
from lfssync.places import Places


def tag(arguments: Namespace, places: Places) -> int:
    """Release a version."""
    from lfssync.commandline import versionoutput
    from lfssync.service import operations

    mirror, does = choosing.one(arguments, places)
    with choosing.monitor(arguments, mirror.name) as monitor:
        release = does.tag(mirror, arguments.version, arguments.message, arguments.at, monitor)
    terminal.emit(versionoutput.tagged_lines(mirror.name, release))
    if arguments.page:
        page = operations.page(places, mirror, release.version, arguments.message)
        terminal.emit(versionoutput.page_lines(mirror.name, page))
    return 0


def log(arguments: Namespace, places: Places) -> int:
    """Show what was committed, released and refused."""
    from lfssync.service import operations

    if not arguments.n.isdecimal() or not int(arguments.n):
        raise UserError(f"-n {arguments.n} is not a number above 0", "for example: lfssync log -n 20")
    mirror = choosing.named_or_only(choosing.all_mirrors(places), arguments.name)
    entries = operations.log(places, mirror, int(arguments.n))
    if arguments.json:
        from lfssync.commandline import versiondocuments

        terminal.emit_json(versiondocuments.log_document(mirror.name, entries))
    else:
        from lfssync.commandline import versionoutput

        terminal.emit(versionoutput.log_lines(entries))
    return 0


def diff(arguments: Namespace, places: Places) -> int:
    """Show what changed between two revisions."""
    from lfssync.commandline import versionoutput
    from lfssync.service import operations

    mirror = choosing.named(choosing.all_mirrors(places), arguments.name)
    terminal.emit(versionoutput.difference_lines(operations.diff(places, mirror, arguments.old, arguments.new)))
    return 0


def restore(arguments: Namespace, places: Places) -> int:
    """Write a revision into an empty folder."""
    from lfssync.commandline import versionoutput
    from lfssync.service import operations

    mirror = choosing.named(choosing.all_mirrors(places), arguments.name)
    with choosing.monitor(arguments, mirror.name) as monitor:
        result = operations.restore(places, mirror, Path(arguments.destination), arguments.revision, monitor)
    terminal.emit(versionoutput.restored_lines(mirror.name, arguments.destination, result))
    return 0
