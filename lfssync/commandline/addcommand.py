"""The command `add`, and what `add` and `push` are told about repositories that they may create.

Beside `commands`, which has all the others. The one thing to know: everything heavy is imported inside the functions.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from lfssync.commandline import terminal
from lfssync.errors import UserError
from lfssync.places import Places

if TYPE_CHECKING:
    from lfssync.hosts import Wish


def add(arguments: Namespace, places: Places) -> int:
    """Start mirroring a directory."""
    from lfssync.commandline import output
    from lfssync.service import adding, operations

    keys = {key: getattr(arguments, key) for key in ("name", "branch", "quiet", "max_wait", "into")}
    given = {key: value for key, value in keys.items() if value is not None}
    wish = wish_of(arguments)

    def tell(address: str) -> None:
        terminal.emit(output.created_lines(address, wish is not None and wish.is_public))

    mirror = adding.add(places, Path(arguments.directory), arguments.remote, wish, tell, **given)
    terminal.emit(output.added_lines(mirror, operations.daemon_info(places)))
    return 0


def wish_of(arguments: Namespace) -> Wish | None:
    """How a repository shall be that has to be created; None when none is to be."""
    from lfssync.hosts import Wish

    if arguments.create:
        return Wish(arguments.public, arguments.license or "")
    if arguments.public or arguments.license:
        raise UserError("--public and --license are about what --create makes", "add --create, or leave them out")
    return None
