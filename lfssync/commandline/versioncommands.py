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

    version = _wanted_version(arguments)
    mirror, does = choosing.one(arguments, places)
    if version is None:
        version = operations.next_version(places, mirror, arguments.next)
    with choosing.monitor(arguments, mirror.name) as monitor:
        release = does.tag(mirror, version, arguments.message, arguments.at, monitor)
    terminal.emit(versionoutput.tagged_lines(mirror.name, release))
    if arguments.page:
        page = operations.page(places, mirror, release.version, arguments.message)
        terminal.emit(versionoutput.page_lines(mirror.name, page))
    return 0


def _wanted_version(arguments: Namespace) -> str | None:
    """The version that was asked for by name; None for the next one. The only word before that is the mirror's name."""
    version: str | None = arguments.version
    if arguments.next is None:
        if version is None:
            raise UserError("no version given", "for example: lfssync tag v1.0.0, or lfssync tag --next minor")
        return version
    if version is not None and arguments.name is not None:
        raise UserError("VERSION and --next do not go together", "leave one of them out")
    arguments.name = version
    return None


def tags(arguments: Namespace, places: Places) -> int:
    """Show the releases."""
    from lfssync.service import operations

    limit = _limit(arguments)
    mirror = choosing.named_or_only(choosing.all_mirrors(places), arguments.name)
    listing = operations.tags(places, mirror, limit)
    if listing.unreached is not None:
        terminal.warn(listing.unreached.about(mirror.name))
    if arguments.json:
        from lfssync.commandline import versiondocuments

        terminal.emit_json(versiondocuments.tags_document(mirror.name, listing))
    else:
        from lfssync.commandline import versionoutput

        terminal.emit(versionoutput.tags_lines(listing))
    return 0


def show(arguments: Namespace, places: Places) -> int:
    """Show what a revision is."""
    from lfssync.service import operations

    mirror = choosing.before(choosing.all_mirrors(places), arguments.name, arguments.revision, "REV")
    revision = operations.show_revision(places, mirror, arguments.revision)
    if arguments.json:
        from lfssync.commandline import versiondocuments

        terminal.emit_json(versiondocuments.show_document(mirror.name, revision))
    else:
        from lfssync.commandline import versionoutput

        terminal.emit(versionoutput.show_lines(revision))
    return 0


def _limit(arguments: Namespace) -> int:
    """The number of `-n`."""
    if not arguments.n.isdecimal() or not int(arguments.n):
        raise UserError(f"-n {arguments.n} is not a number above 0", "for example: lfssync log -n 20")
    return int(arguments.n)


def log(arguments: Namespace, places: Places) -> int:
    """Show what was committed, released and refused."""
    from lfssync.service import operations

    limit = _limit(arguments)
    mirror = choosing.named_or_only(choosing.all_mirrors(places), arguments.name)
    entries = operations.log(places, mirror, limit)
    if arguments.json:
        from lfssync.commandline import versiondocuments

        terminal.emit_json(versiondocuments.log_document(mirror.name, entries))
    else:
        from lfssync.commandline import versionoutput

        terminal.emit(versionoutput.log_lines(entries))
    return 0


def diff(arguments: Namespace, places: Places) -> int:
    """Show what changed between two revisions."""
    from lfssync.service import operations

    mirror = choosing.named_or_only(choosing.all_mirrors(places), arguments.name)
    differences = operations.diff(places, mirror, arguments.old, arguments.new)
    if arguments.json:
        from lfssync.commandline import versiondocuments

        terminal.emit_json(versiondocuments.diff_document(mirror.name, differences))
    else:
        from lfssync.commandline import versionoutput

        terminal.emit(versionoutput.difference_lines(differences))
    return 0


def restore(arguments: Namespace, places: Places) -> int:
    """Write a revision into an empty folder."""
    from lfssync.commandline import versionoutput
    from lfssync.service import operations

    mirror = choosing.before(choosing.all_mirrors(places), arguments.name, arguments.destination, "DEST")
    with choosing.monitor(arguments, mirror.name) as monitor:
        result = operations.restore(places, mirror, Path(arguments.destination), arguments.revision, monitor)
    terminal.emit(versionoutput.restored_lines(mirror.name, arguments.destination, result))
    return 0


def retire(arguments: Namespace, places: Places) -> int:
    """Take old checkpoints off the tip of the branch."""
    from lfssync.service import operations

    mirror, does = choosing.one(arguments, places)
    with choosing.monitor(arguments, mirror.name) as monitor:
        done = operations.retire(places, mirror, None if arguments.dry_run else does, monitor)
    if arguments.json:
        from lfssync.commandline import versiondocuments

        terminal.emit_json(versiondocuments.retire_document(mirror.name, done))
    else:
        from lfssync.commandline import versionoutput

        terminal.emit(versionoutput.retired_lines(mirror.name, done))
    return 0
