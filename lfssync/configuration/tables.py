"""A table of the configuration file, whose bad values are refused with file and line.

Stands below the line, under `config`. The one thing to know: a key may stand in the table itself or among the defaults,
and an error names the place where it really stands.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from lfssync.configuration.settings import nearest, table, tables
from lfssync.configuration.tomllines import Steps, line_of
from lfssync.errors import UserError
from lfssync.model import show

T = TypeVar("T")


class Table:
    """A table of the file, with the defaults for what it does not have.

    Args:
        text: The whole file.
        file: What to call it in messages.
        steps: The way to the table.
        values: What it holds.
        defaults: What counts for keys that it does not have.
    """

    def __init__(self, text: str, file: Path, steps: Steps, values: dict[str, Any], defaults: dict[str, Any]) -> None:
        self._text = text
        self._file = file
        self._steps = steps
        self._values = values
        self.merged = defaults | values

    def check_keys(self, allowed: Collection[str], where: str, remedies: Mapping[str, str]) -> None:
        """Refuse the first key that means nothing here.

        Args:
            allowed: The keys that do.
            where: The table, for people.
            remedies: What to do about keys that mean something elsewhere.
        """
        for key in self._values:
            if key not in allowed:
                remedy = remedies.get(key) or nearest(key, list(allowed))
                self.refuse(UserError(f'unknown key "{show(key.encode())}" {where}', remedy), key)

    def convert(self, key: str, conversion: Callable[[Any], T], default: T) -> T:
        """The converted value of a key, or `default` where it is in neither the table nor the defaults."""
        return self.blame(key, lambda: conversion(self.merged[key])) if key in self.merged else default

    def below(self, key: str) -> Table:
        """The table of that name in this one; empty where there is none."""
        return Table(self._text, self._file, (*self._steps, key), self.convert(key, table, {}), {})

    def each_below(self, key: str) -> Iterator[Table]:
        """The tables of the array of that name in this one."""
        found: list[dict[str, Any]] = self.convert(key, tables, [])
        for number, values in enumerate(found):
            yield Table(self._text, self._file, (*self._steps, key, number), values, {})

    def blame(self, key: str, action: Callable[[], T]) -> T:
        """What the action gives; its UserError names the key and its line."""
        try:
            return action()
        except UserError as error:
            message = error.message if error.message.startswith(f"{key} ") else f"{key}: {error.message}"
            self.refuse(UserError(message, error.remedy), key)

    def refuse(self, error: UserError, key: str = "") -> NoReturn:
        """Raise the error with file and line: of the key here or in the defaults, or of the table itself."""
        raise UserError(f"{self.origin(key)}: {error.message}", error.remedy) from None

    def origin(self, key: str = "") -> str:
        """File and line of the key here or in the defaults, or of the table itself."""
        steps = self._steps
        if key in self._values:
            steps = (*steps, key)
        elif key in self.merged:
            steps = ("defaults", key)
        return f"{self._file}:{line_of(self._text, steps)}"

    def latter(self, one: str, other: str) -> str:
        """Of two keys the one that this table itself has, since the other may stand in the defaults."""
        return other if one not in self._values and other in self._values else one
