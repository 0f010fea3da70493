"""Semantic versions among tags: their order, and which one comes next. Pure.

Asked by `tags` and by `lfssync tag --next`. The one thing to know: a pre-release comes before its release, so after
`v2.0.0-rc.1` the next major, minor and patch version may all be `v2.0.0`.

Source: https://semver.org/spec/v2.0.0.html, sections 9 to 11; the numbers are raised as npm-version(1) does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_NUMBER = r"(0|[1-9]\d{0,8})"
_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_SEMANTIC = re.compile(
    rf"(v?){_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?", re.ASCII
)  # fmt: skip


class Raise(StrEnum):
    """Which of the three numbers of a version is raised."""

    MAJOR = "major"
    MINOR = "minor"
    PATCH = "patch"


@dataclass(frozen=True, slots=True)
class Number:
    """A semantic version.

    Args:
        lead: `v` or nothing: how the tag begins.
        numbers: Major, minor, patch.
        pre_release: What stands behind the `-`, or nothing.
    """

    lead: str
    numbers: tuple[int, int, int]
    pre_release: str = ""

    @property
    def precedence(self) -> tuple[object, ...]:
        """What orders versions; what stands behind a `+` does not count."""
        identifiers = self.pre_release.split(".") if self.pre_release else []
        ranks = tuple((0, int(one), "") if one.isdecimal() else (1, 0, one) for one in identifiers)
        return (*self.numbers, not identifiers, ranks)


def parse(tag: str) -> Number | None:
    """The version that a tag names; None for a tag that is no semantic version."""
    match = _SEMANTIC.fullmatch(tag)
    if match is None:
        return None
    lead, major, minor, patch, pre_release = match.groups(default="")
    if any(len(one) > 1 and one.startswith("0") and one.isdecimal() for one in pre_release.split(".")):
        return None
    if any(one.isdecimal() and len(one) > 9 for one in pre_release.split(".")):
        return None
    return Number(lead, (int(major), int(minor), int(patch)), pre_release)


def highest(tags: Iterable[str]) -> Number | None:
    """The highest version among tags, pre-releases included; None where there is no version."""
    found = [number for tag in tags if (number := parse(tag)) is not None]
    return max(found, key=lambda number: number.precedence, default=None)


def following(tags: Iterable[str], what: Raise) -> str:
    """The version that comes next.

    Args:
        tags: All tags that there are, here and on the remote; without a version among them it counts from `v0.0.0`.
        what: Which number to raise. A pre-release becomes its release where that raises this number already.
    """
    last = highest(tags) or Number("v", (0, 0, 0))
    major, minor, patch = last.numbers
    is_ahead = last.pre_release and {
        Raise.MAJOR: (minor, patch) == (0, 0), Raise.MINOR: patch == 0, Raise.PATCH: True
    }[what]  # fmt: skip
    numbers = {
        Raise.MAJOR: (major + 1, 0, 0), Raise.MINOR: (major, minor + 1, 0), Raise.PATCH: (major, minor, patch + 1)
    }[what] if not is_ahead else last.numbers  # fmt: skip
    return last.lead + ".".join(str(number) for number in numbers)


def newest_first(tags: Iterable[tuple[str, float]]) -> list[str]:
    """The names of tags: semantic versions first, the highest at the top; then all others, the youngest at the top.

    Args:
        tags: Names, each with its date in seconds since the epoch.
    """
    dated = list(tags)
    numbers = {name: number for name, _ in dated if (number := parse(name)) is not None}
    others = sorted((at, name) for name, at in dated if name not in numbers)
    at_of = dict(dated)
    versions = sorted(numbers, key=lambda name: (numbers[name].precedence, at_of[name], name), reverse=True)
    return [*versions, *(name for _, name in reversed(others))]
