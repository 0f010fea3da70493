"""How words reach standard output and standard error: escaped, coloured on a terminal, plain everywhere else.

It stands outside the line, below `output` (which chooses the words) and `cli`. The one thing to know: a file name, a
commit message or a server's answer may hold anything, so *every* span is escaped here, at the last moment, and markup
is never parsed (faults 47). rich is imported only when a terminal is really there.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TextIO

from lfssync.errors import AuthError, BlockedError, LfssyncError, NotDoneError, UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

INTERRUPTED = 130
"""The exit code after Ctrl-C, and after the signals that end a command in the same way."""

_EXIT_CODES: tuple[tuple[type[LfssyncError], int], ...] = (
    (UserError, 2),
    (NotDoneError, 3),
    (BlockedError, 4),
    (AuthError, 5),
    (LfssyncError, 1),
)
_WORST_FIRST = (4, 5, 2, 1, 3, 0)


class Style(StrEnum):
    """What a span means for the eye; the values are rich's names of styles."""

    PLAIN = ""
    GOOD = "green"
    BUSY = "cyan"
    WARNING = "yellow"
    BAD = "bold red"
    STRONG = "bold"
    FAINT = "dim"


class Span(NamedTuple):
    """A piece of a line in one style. The text may come from anywhere: it is escaped when it is written."""

    text: str
    style: Style = Style.PLAIN


Line = tuple[Span, ...]


def line(*parts: str | Span) -> Line:
    """A line of spans; bare strings get the plain style."""
    return tuple(Span(part) if isinstance(part, str) else part for part in parts)


def escape(text: str) -> str:
    r"""Text for people: bytes that are no text, control characters and terminal escapes become visible `\x..`.

    The same rule as `model.show`, for what is already text; what has been escaped stays as it is.
    """
    return "".join(character if character.isprintable() else _visible(character) for character in text)


def _visible(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # how Python carries a byte that is no text (PEP 383)
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def cells(text: str) -> int:
    """How many columns a terminal shows escaped text in: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(0 if category(one) in ("Mn", "Me") else 1 + (east_asian_width(one) in "WF") for one in text)


def plain(lines: Sequence[Line]) -> str:
    """The lines without any style, each ended by a newline."""
    return "".join("".join(escape(span.text) for span in line_).rstrip() + "\n" for line_ in lines)


def styled(lines: Sequence[Line]) -> Text:
    """The lines for rich; built span by span, so that no text is ever read as markup."""
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis", end="")
    for number, line_ in enumerate(lines):
        if number:
            text.append("\n")
        for span in line_:
            text.append(escape(span.text), style=span.style.value or None)
    return text


def is_terminal(stream: TextIO | None) -> bool:
    """True when a person looks at the stream and it can move its cursor."""
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def console(stream: TextIO) -> Console:
    """Rich's view of a stream; highlighting and markup are off, so only our own styles colour anything."""
    from rich.console import Console

    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=True)


def emit(lines: Sequence[Line]) -> bool:
    """Print lines on standard output.

    Returns:
        False once nobody reads any more (`lfssync log | head`); work goes on then, only its words are dropped.

    Raises:
        LfssyncError: Standard output cannot be written, for example because its disk is full.
    """
    if not lines:
        return True
    if not is_terminal(sys.stdout):
        return write(plain(lines))
    with _output_errors() as answer:
        console(sys.stdout).print(styled(lines), soft_wrap=True)
    return answer.somebody_reads


def emit_json(document: object) -> bool:
    """Print one JSON document on standard output, in ASCII, so that it is also safe to look at. As `emit`."""
    return write(json.dumps(document, indent=2) + "\n")


def write(text: str) -> bool:
    """Write text on standard output as it is; for our own text and for what `plain` gave. As `emit`."""
    with _output_errors() as answer:
        if sys.stdout is not None:
            _show_what_cannot_be_encoded(sys.stdout)
            sys.stdout.write(text)
            sys.stdout.flush()
    return answer.somebody_reads


def finish() -> None:
    """Flush standard output, so that an error there is met here and not by the interpreter's end. As `emit`."""
    write("")


class _Answer:
    somebody_reads = True


@contextmanager
def _output_errors() -> Iterator[_Answer]:
    answer = _Answer()
    try:
        yield answer
    except OSError as error:
        _discard_output()
        if not isinstance(error, BrokenPipeError):
            reason = os.strerror(error.errno or errno.EIO)
            raise LfssyncError(f"cannot write to standard output: {reason}", "check where the output goes") from error
        answer.somebody_reads = False


def let_go() -> None:
    """Give up what cannot be written any more, because a terminal went away: the interpreter would try once again."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            _discard(stream)


def _discard_output() -> None:
    """Point standard output nowhere: what is still buffered would fail once more when the interpreter ends."""
    _discard(sys.stdout)


def _discard(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _show_what_cannot_be_encoded(stream: TextIO) -> None:
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        stream.reconfigure(errors="backslashreplace")


class Canvas(Protocol):
    """A terminal on which lines are painted over and over, in place."""

    def size(self) -> tuple[int, int]:
        """How many columns and rows there are now."""

    def paint(self, lines: Sequence[Line]) -> bool:
        """Show these lines and no others; what is too long or too much is cut off. Answers as `emit`."""


@contextmanager
def canvas() -> Iterator[Canvas]:
    """The terminal's other screen, as long as the context lasts; standard output must be a terminal."""
    from rich.live import Live

    class Painted:
        """Paints with rich, which knows how wide characters are."""

        def size(self) -> tuple[int, int]:
            return screen.size.width, screen.size.height

        def paint(self, lines: Sequence[Line]) -> bool:
            with _output_errors() as answer:
                live.update(styled(lines), refresh=True)
            return answer.somebody_reads

    screen = console(sys.stdout)
    with Live(console=screen, screen=True, auto_refresh=False) as live:
        yield Painted()


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The known word that a mistyped one most likely stands for, or None."""
    import difflib

    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def exit_code(error: LfssyncError) -> int:
    """The exit code that the contract gives to an error of this kind."""
    return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))


def exit_code_of(kind: str) -> int:
    """The same for what is recorded of an error: its `kind`; 0 when there is none."""
    return next((code for error, code in _EXIT_CODES if error.kind == kind), 1) if kind else 0


def worst(codes: Sequence[int]) -> int:
    """The exit code for several jobs: the one that needs a person most; 0 when there are none."""
    return min(codes, key=_WORST_FIRST.index, default=0)


def report(error: LfssyncError) -> int:
    """Print an error as one line on standard error.

    Returns:
        Its exit code.
    """
    remedy = error.remedy.replace("it is tried again", "try again later")  # which a command that ended does not do
    _complain(error.message, remedy or "run it again with --verbose to see more")
    return exit_code(error)


def warn(error: LfssyncError) -> None:
    """Print an error that does not end the command, as one line on standard error."""
    write_error(f"warning: {escape(str(error))}\n")


def report_interruption() -> int:
    """Say that the user stopped it; gives the exit code."""
    _complain("interrupted", "run it again to go on from there")
    return INTERRUPTED


def report_bug(error: Exception, words: Sequence[str]) -> int:
    """Say that lfssync itself failed in a way that nobody foresaw; gives the exit code."""
    import shlex

    again = shlex.join(["lfssync", *(word for word in words if word not in ("-v", "--verbose")), "--verbose"])
    _complain(f"internal: {type(error).__name__}: {error}", f"please report it with the output of `{again}`")
    return 1


def print_traceback() -> None:
    """Print where the present exception came from, for a report."""
    import traceback

    write_error("".join(f"{escape(text)}\n" for text in traceback.format_exc().splitlines()))


def _complain(message: str, remedy: str) -> None:
    level = "<3>" if is_journal() else ""  # taken off by the journal. Source: SyslogLevelPrefix= in systemd.exec(5)
    write_error(f"{level}error: {escape(message)}; {escape(remedy)}\n")


def is_journal() -> bool:
    """Whether standard error leads to the journal of systemd."""
    if "JOURNAL_STREAM" not in os.environ or sys.stderr is None:
        return False
    from lfssync.service import journal

    return journal.is_there(os.environ, 2)


def write_error(text: str) -> None:
    """Write on standard error; where that is closed nobody can be told, and the exit code still tells scripts."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        return
