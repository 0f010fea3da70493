"""Which mirrors a command is about: those of the configuration and of its patterns; and who shows how far it is.

Outside the line, under `commands`. The one thing to know: a folder that cannot become a mirror does not keep a command
from working on the others, but it is told about.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

from lfssync.commandline import terminal
from lfssync.errors import LfssyncError, UserError
from lfssync.model import Mirror, Plan, Progress
from lfssync.places import Places

if TYPE_CHECKING:
    from lfssync.configuration.config import Configuration
    from lfssync.service.operations import Operations


def configured(places: Places) -> Configuration:
    """What the configuration file says."""
    from lfssync.configuration import config

    return config.load(places)


def expanded(
    configuration: Configuration,
    places: Places,
    codes: list[int] | None = None,
    tell: Callable[[LfssyncError], None] = terminal.warn,
) -> list[Mirror]:
    """All mirrors: those that are written down, and those that the patterns find on the disk now or found before.

    A folder that cannot become a mirror does not keep the others from being shown or delivered, but is told about.

    Args:
        configuration: What the file says.
        places: Where everything is.
        codes: Receives an exit code for each such folder, for commands that answer for all of them.
        tell: Is told about each such folder.
    """
    if not configuration.patterns:
        return list(configuration.mirrors)
    from lfssync.records import roster

    found = roster.roster(configuration, places)
    for refusal in found.refused:
        tell(refusal)
        if codes is not None:
            codes.append(terminal.exit_code_of(refusal.kind))
    return list(found.mirrors)


def all_mirrors(places: Places, tell: Callable[[LfssyncError], None] = terminal.warn) -> list[Mirror]:
    """All mirrors of the configuration; see `expanded`."""
    return expanded(configured(places), places, tell=tell)


def one(arguments: Namespace, places: Places) -> tuple[Mirror, Operations]:
    """The mirror that a command is about, and what can work on it."""
    from lfssync.service import operations

    configuration = configured(places)
    mirror = named_or_only(expanded(configuration, places), arguments.name)
    return mirror, operations.connect(places, configuration)


def named(mirrors: Sequence[Mirror], name: str) -> Mirror:
    """The mirror of that name.

    Raises:
        UserError: There is none; says which name was meant, or which there are.
    """
    mirror = next((mirror for mirror in mirrors if mirror.name == name), None)
    if mirror is not None:
        return mirror
    names = [mirror.name for mirror in mirrors]
    nearest = terminal.nearest(name, names)
    if nearest:
        raise UserError(f"no mirror is called {name}", f"did you mean {nearest}?")
    raise UserError(f"no mirror is called {name}", _choice(names))


def named_or_only(mirrors: Sequence[Mirror], name: str | None) -> Mirror:
    """The mirror of that name; without a name the only one, or that of the current folder.

    Raises:
        UserError: There is none of that name, or not just one.
    """
    if name is not None:
        return named(mirrors, name)
    if len(mirrors) == 1:
        return mirrors[0]
    if not mirrors:
        raise UserError("no mirrors configured", _choice([]))
    here = _around(mirrors)
    if len(here) == 1:
        return here[0]
    what = "there is more than one mirror of this folder" if here else "there is more than one mirror"
    raise UserError(what, _choice([mirror.name for mirror in here or mirrors]))


def before(mirrors: Sequence[Mirror], name: str | None, word: str, needed: str) -> Mirror:
    """The mirror of a command in which the name may be left out before another word.

    Args:
        mirrors: All mirrors.
        name: The name, or None where there is one word only.
        word: The other word.
        needed: What that is called in the help.

    Raises:
        UserError: As `named_or_only`; or the only word is a mirror's name, so the other one was forgotten.
    """
    if name is None and any(mirror.name == word for mirror in mirrors):
        raise UserError(f"{word} is a mirror, and no {needed} is given", f"name both: {word} {needed}")
    return named_or_only(mirrors, name)


def _around(mirrors: Sequence[Mirror]) -> list[Mirror]:
    """The mirrors of the current folder, or of one above it; several only if that one has several."""
    try:
        here = PurePath(os.getcwd())
    except OSError:
        return []  # it was deleted
    return [mirror for mirror in mirrors if here.is_relative_to(os.path.realpath(mirror.path))]


def _choice(names: Sequence[str]) -> str:
    return f"name one of: {', '.join(names)}" if names else "start with: lfssync add DIR"


class View(Protocol):
    """A monitor that also shows what is waited for."""

    def __call__(self, event: Plan | Progress, /) -> None:
        """Take in an event."""

    def waits(self, why: str) -> None:
        """Nothing goes on until the next event."""


class _Unseen:
    """Shows nothing."""

    def __call__(self, _: Plan | Progress, /) -> None:
        """See `View`."""

    def waits(self, why: str) -> None:
        """See `View`."""


def monitor(arguments: Namespace, title: str) -> AbstractContextManager[View]:
    """Progress bars on standard error, except where log lines tell the same, and where nobody would see them.

    Args:
        arguments: Those of the command.
        title: What the bars are about, usually the mirror's name.
    """
    if arguments.verbose or not terminal.is_terminal(sys.stderr):
        return nullcontext(_Unseen())
    from lfssync.commandline import progress

    return progress.Bars(title, sys.stderr)
