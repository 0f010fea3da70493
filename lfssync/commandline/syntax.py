"""What the table of commands is written in: commands, their arguments, and what a shell may offer for them.

It stands in front of the line, under `grammar` and its parts. The one thing to know: these are values and nothing else;
`cli` makes parsers of them, `completion` answers for shells.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Values(StrEnum):
    """What a shell may offer as the value of an argument."""

    ANYTHING = "anything"
    MIRRORS = "mirrors"
    FOLDERS = "folders"
    FILES = "files"


class Count(StrEnum):
    """How many words an argument takes; the values are argparse's own signs."""

    SWITCH = "0"
    ONE = "1"
    AT_MOST_ONE = "?"
    ANY = "*"


class Argument(NamedTuple):
    """One argument of a command.

    Args:
        names: The option's spellings, such as `-v` and `--verbose`; one word without dashes is a positional argument.
        help: One line for `--help`.
        metavar: What stands for the value in the help; empty for a switch.
        takes: How many words.
        values: What a shell may offer for it.
        choices: The only allowed words, or empty.
        default: What it is when it is not given.
    """

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    takes: Count = Count.ONE
    values: Values = Values.ANYTHING
    choices: tuple[str, ...] = ()
    default: str | None = None

    @property
    def is_option(self) -> bool:
        """True for what starts with a dash."""
        return self.names[0].startswith("-")


class Command(NamedTuple):
    """One command.

    Args:
        name: What the user types; also the name of its function in `commands`.
        group: The heading it stands under in `lfssync --help`.
        summary: One line for `lfssync --help`.
        details: A few sentences for its own `--help`.
        example: Lines that a user can type; with a comment where it helps.
        arguments: Positional ones in their order, then options.
    """

    name: str
    group: str
    summary: str
    details: str
    example: tuple[str, ...]
    arguments: tuple[Argument, ...]

    @property
    def positionals(self) -> tuple[Argument, ...]:
        """The arguments that go by their place."""
        return tuple(argument for argument in self.arguments if not argument.is_option)

    @property
    def options(self) -> tuple[Argument, ...]:
        """The arguments that go by their name."""
        return tuple(argument for argument in self.arguments if argument.is_option)


def switch(*names: str, help: str) -> Argument:
    """An option without a value."""
    return Argument(names, help, takes=Count.SWITCH)


def option(
    *names: str, metavar: str, help: str, default: str | None = None, values: Values = Values.ANYTHING
) -> Argument:
    """An option with a value."""
    return Argument(names, help, metavar, default=default, values=values)


def mirror(count: Count, help: str) -> Argument:
    """The name of a mirror, or of several."""
    return Argument(("name" if count is not Count.ANY else "names",), help, "NAME", count, Values.MIRRORS)


ONE_MIRROR = mirror(Count.ONE, "the mirror's name")
MAYBE_MIRROR = mirror(
    Count.AT_MOST_ONE, "the mirror's name; may be left out where there is only one, and in its directory"
)
JSON = switch("--json", help="print one JSON document instead of text")
