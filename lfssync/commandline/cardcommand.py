"""The command `card`: the model card of a mirror, drafted, shown, checked, edited.

Beside `commands`. The one thing to know: only `new --write` and `edit` write, and only README.md.
"""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lfssync.commandline import choosing, terminal
from lfssync.commandline.terminal import Line, Span, Style, line
from lfssync.errors import LfssyncError, UserError
from lfssync.model import Mirror
from lfssync.places import Places

if TYPE_CHECKING:
    from lfssync.cards.checking import Problem


def card(arguments: Namespace, places: Places) -> int:
    """Work on the model card of a mirror."""
    for option, action in (("json", ("show", "check")), ("write", ("new",)), ("force", ("edit",))):
        if getattr(arguments, option) and arguments.action not in action:
            raise UserError(
                f"--{option} does not go with card {arguments.action}", f"it is for card {' and card '.join(action)}"
            )
    mirror = choosing.named_or_only(choosing.all_mirrors(places), arguments.name)
    try:
        return _FUNCTIONS[arguments.action](mirror, arguments, places)
    except LfssyncError as error:
        raise error.about(mirror.name) if mirror.name not in error.message else error from error.__cause__


def _new(mirror: Mirror, arguments: Namespace, places: Places) -> int:
    from lfssync.cards import desk

    text = desk.drafted(mirror, os.environ)
    if not arguments.write:
        terminal.write("".join(f"{terminal.escape(row)}\n" for row in text.split("\n")[:-1]))
        return 0
    file = desk.create(mirror, places.mirror_state(mirror.name), text)
    terminal.emit([line(Span(mirror.name, Style.STRONG), f": {file} is drafted")])
    return _said(mirror, file.read_bytes())


def _show(mirror: Mirror, arguments: Namespace, places: Places) -> int:
    from lfssync.cards import desk

    found = desk.require(mirror, places.mirror_state(mirror.name))
    text = found.content.decode("utf-8", "backslashreplace")
    if arguments.json:
        about = {"name": mirror.name, "source": found.source.value, "drafted": found.is_ours, "text": text}
        terminal.emit_json(about)
    else:
        terminal.write("".join(f"{terminal.escape(row)}\n" for row in text.splitlines()))
    return 0


def _check(mirror: Mirror, arguments: Namespace, places: Places) -> int:
    from lfssync.cards import desk
    from lfssync.cards.checking import has_second_opinion, problems

    found = desk.require(mirror, places.mirror_state(mirror.name))
    if not arguments.json:
        return _said(mirror, found.content)
    listed = problems(found.content)
    terminal.emit_json(
        {
            "name": mirror.name,
            "source": found.source.value,
            "drafted": found.is_ours,
            "checked_by": ["lfssync", *(["huggingface_hub"] if has_second_opinion() else [])],
            "problems": [
                {"kind": "error" if one.is_error else "warning", "message": one.message, "remedy": one.remedy}
                for one in listed
            ],
        }
    )
    return _failed(mirror, listed)


def _edit(mirror: Mirror, arguments: Namespace, places: Places) -> int:
    from lfssync.cards import desk

    file, listed = desk.edit(mirror, places.mirror_state(mirror.name), os.environ, arguments.force)
    terminal.emit([line(Span(mirror.name, Style.STRONG), f": {file} is written"), *_problem_lines(listed)])
    return 0


def _said(mirror: Mirror, content: bytes) -> int:
    from lfssync.cards.checking import EXTRA, has_second_opinion, problems

    listed = problems(content)
    lines = _problem_lines(listed)
    if not lines:
        lines = [line(Span("✓ ", Style.GOOD), Span(mirror.name, Style.STRONG), ": README.md is in order")]
    if not has_second_opinion():
        lines += [line("  ", Span(f"checked by lfssync alone; {EXTRA} asks huggingface_hub as well", Style.FAINT))]
    terminal.emit(lines)
    return _failed(mirror, listed)


def _problem_lines(listed: Sequence[Problem]) -> list[Line]:
    marks = {True: Span("✗ ", Style.BAD), False: Span("• ", Style.WARNING)}
    return [line(marks[one.is_error], f"README.md: {one.message}; {one.remedy}") for one in listed]


def _failed(mirror: Mirror, listed: Sequence[Problem]) -> int:
    """Say on standard error that the Hub would refuse the card, if it would; gives the exit code."""
    count = sum(one.is_error for one in listed)
    if not count:
        return 0
    what = f"{mirror.name}: README.md has {count} error{'s'[: count != 1]}"
    return terminal.report(LfssyncError(what, f"correct it with: lfssync card edit {mirror.name}"))


_FUNCTIONS = {"new": _new, "show": _show, "check": _check, "edit": _edit}
