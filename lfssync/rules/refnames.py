"""Which names a branch or a tag may have.

Stands below the whole line: configuration and command line check every ref name here once, before it comes near git.
The one thing to know: this is stricter than git, which takes `HEAD` for a tag and lets a name start with `-`; a name
that passes here is never taken for an option, a special ref or a pattern by any git command.
"""

from __future__ import annotations

import re

from lfssync.errors import UserError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SPECIAL = re.compile(r"[ ~^:?*\[\\]")
_REMEDY = "choose a name such as {example!r}; git-check-ref-format(1) has the rules"


def check_branch(name: str) -> str:
    """The short name of a branch, unchanged.

    Raises:
        UserError: Git does not allow the name, or it starts with `-` or `refs/`, or it is `HEAD` or `@`.
    """
    _check("branch", name, "main")
    return name


def check_tag(name: str) -> str:
    """The short name of a tag, unchanged.

    Raises:
        UserError: As for `check_branch`.
    """
    _check("tag", name, "v1.0.0")
    return name


def _check(kind: str, name: str, example: str) -> None:
    fault = _fault(name)
    if fault:
        raise UserError(f"{kind} {name!r} {fault}", _REMEDY.format(example=example))


def _fault(name: str) -> str | None:
    """What is wrong with a short ref name, to be read after it; None for a good one.

    Source: git-check-ref-format(1).
    """
    if not name:
        return "is empty"
    if name in ("HEAD", "@"):
        return "is git's name for the current commit"
    if not name.isascii() and any("\ud800" <= character <= "\udfff" for character in name):
        return "is not text in UTF-8"
    if name.startswith("-"):
        return "starts with '-', like an option"
    if name.startswith("refs/"):
        return "starts with 'refs/', like a full name, which git would take for another ref"
    if _CONTROL.search(name):
        return "has a control character"
    special = _SPECIAL.search(name)
    if special:
        return f"has {special.group()!r}"
    return _fault_in_parts(name)


def _fault_in_parts(name: str) -> str | None:
    for sequence in ("..", "@{"):
        if sequence in name:
            return f"has {sequence!r}"
    if name.endswith("."):
        return "ends with '.'"
    for part in name.split("/"):
        if not part:
            return "has an empty part: '/' at an end, or '//'"
        if part.startswith("."):
            return "has a part that starts with '.'"
        if part.endswith(".lock"):
            return "has a part that ends with '.lock'"
    return None
