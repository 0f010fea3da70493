"""In which lines of a TOML text something stands: for error messages, and for edits that touch nothing else.

Stands below the line, under the configuration. tomllib tells values but no lines, so it is asked the other way round:
with how many lines of the text is the value there? A text that is cut after a statement is TOML by itself, however its
keys, strings and tables are written, so there is nothing here that reads TOML a second time.
The one thing to know: this parses the text again and again, so it is for errors and edits, not for every start.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from typing import Any

Steps = tuple[str | int, ...]
"""The way to a value in a document: keys, and indexes of arrays of tables."""

_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def line_of(text: str, steps: Steps) -> int:
    """The line, from 1, on which the statement starts that brings a value into a document.

    Args:
        text: Valid TOML.
        steps: The way to a value that is in it.
    """
    return _statement(text, lambda document: _at(document, steps) is not None)[0]


def span_of(text: str, steps: Steps) -> tuple[int, int]:
    """The first and the last line, from 1, of the statements that make up a value, such as a table with its header.

    Comments and blank lines before the first and after the last of them are not counted.

    Args:
        text: Valid TOML.
        steps: The way to a value that is in it.
    """
    whole = _at(tomllib.loads(text), steps)
    return line_of(text, steps), _statement(text, lambda document: _at(document, steps) == whole)[1]


def syntax_error_line(error: Exception, text: str) -> tuple[int, str]:
    """The line, from 1, of what tomllib says about a text, and its message without the place."""
    place = _PLACE.search(str(error))
    line = place[1] if place else None
    return int(line) if line else text.rstrip("\n").count("\n") + 1, _PLACE.sub("", str(error))


def _statement(text: str, is_there: Callable[[Any], bool]) -> tuple[int, int]:
    """The first and the last line of the first statement after which something is there; by bisection."""
    lines = text.split("\n")

    def document_of(count: int) -> tuple[int, Any]:
        """The document of so many lines, or of as few more as make it whole; how many lines those are."""
        for end in range(count, len(lines)):
            try:
                return end, tomllib.loads("\n".join([*lines[:end], ""]))
            except tomllib.TOMLDecodeError:
                continue  # cut in the middle of a statement
        return len(lines), tomllib.loads(text)

    absent, present = 0, len(lines)
    while present - absent > 1:
        middle = (absent + present) // 2
        if is_there(document_of(middle)[1]):
            present = middle
        else:
            absent = middle
    return present, document_of(present)[0]


def _at(document: Any, steps: Steps) -> Any:
    """The value that the steps lead to; None when it is not there (TOML itself has no such value)."""
    value = document
    for step in steps:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value
