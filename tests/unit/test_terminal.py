"""Whatever names, messages and servers say, only text reaches a terminal; an error is one line and one exit code."""

from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from lfssync.commandline import terminal
from lfssync.commandline.terminal import Span, Style, line
from lfssync.errors import AuthError, BlockedError, LfssyncError, NotDoneError, TransientError, UserError
from lfssync.model import show

HOSTILE = "[red]\x1b[31mred\x1b]0;title\x07\r\n\u202egnp.exe\x9b2J\udcff"
anything = st.text(st.characters(exclude_categories=()))


@given(anything)
@example(HOSTILE)
def test_escaped_text_is_printable_and_stays_as_it_is_when_escaped_again(text: str) -> None:
    escaped = terminal.escape(text)
    assert escaped.isprintable()
    assert terminal.escape(escaped) == escaped


@given(st.text(st.characters().filter(str.isprintable)))
@example("Größe → 模型 ✓")
def test_ordinary_text_is_not_touched(text: str) -> None:
    assert terminal.escape(text) == text


@given(st.binary())
@example(b"a\xff\nb\x1b[0m")
def test_text_and_bytes_are_escaped_by_the_same_rule(path: bytes) -> None:
    assert terminal.escape(path.decode("utf-8", "surrogateescape")) == show(path)


@given(st.lists(st.lists(st.builds(Span, anything, st.sampled_from(Style))).map(tuple)))
def test_plain_text_has_exactly_the_lines_that_were_meant(lines: list[terminal.Line]) -> None:
    text = terminal.plain(lines)
    assert text.count("\n") == len(lines)
    assert all(row.isprintable() for row in text.split("\n"))


@given(anything)
@example(HOSTILE)
def test_no_text_drives_a_terminal_or_is_read_as_markup(text: str) -> None:
    screen = io.StringIO()
    Console(file=screen, force_terminal=True, color_system="truecolor", width=80).print(
        terminal.styled([line(text)]), soft_wrap=True
    )
    assert screen.getvalue() == terminal.escape(text) + "\n"


def test_styles_colour_only_their_own_span() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system="standard")
    console.print(terminal.styled([line("a ", Span("[b]", Style.BAD)), line("c")]), soft_wrap=True)
    assert screen.getvalue() == "a \x1b[1;31m[b]\x1b[0m\nc\n"


def test_words_outside_a_terminal_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.emit([line("a ", Span("b\x1b[0m", Style.BAD)), (), line("c")])
    assert capsys.readouterr().out == "a b\\x1b[0m\n\nc\n"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LfssyncError("broke"), 1),
        (TransientError("no network"), 1),
        (UserError("no such mirror"), 2),
        (NotDoneError("still writing"), 3),
        (BlockedError("most files are gone"), 4),
        (AuthError("who are you"), 5),
    ],
)
def test_every_kind_of_error_has_its_exit_code(
    error: LfssyncError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    error.remedy = "do something"
    assert terminal.report(error) == code
    assert capsys.readouterr() == ("", f"error: {error.message}; do something\n")


@given(message=anything, remedy=anything)
@example(message=HOSTILE, remedy="a\nb")
def test_an_error_is_one_line_whatever_it_quotes(message: str, remedy: str) -> None:
    stream = io.StringIO()
    with contextlib.redirect_stderr(stream):
        terminal.report(LfssyncError(message, remedy))
    text = stream.getvalue()
    assert text.startswith("error: ")
    assert "; " in text
    assert text.endswith("\n")
    assert text[:-1].isprintable()


def test_an_unforeseen_error_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert terminal.report_bug(ValueError("odd\nthing"), ["tag", "v1", "-v", "-m", "two words"]) == 1
    assert capsys.readouterr().err == (
        "error: internal: ValueError: odd\\nthing; "
        "please report it with the output of `lfssync tag v1 -m 'two words' --verbose`\n"
    )


@pytest.mark.parametrize(
    ("codes", "worst"),
    [([], 0), ([0, 0], 0), ([0, 3], 3), ([3, 1, 0], 1), ([1, 2], 2), ([1, 5, 3], 5), ([5, 4, 1], 4)],
)
def test_the_worst_of_several_exit_codes_wins(codes: list[int], worst: int) -> None:
    assert terminal.worst(codes) == worst


@pytest.mark.parametrize(
    ("word", "known", "right"),
    [
        ("stauts", ["status", "sync"], "status"),
        ("my-modle", ["other", "my-model"], "my-model"),
        ("x", ["status"], None),
    ],
)
def test_a_mistyped_word_finds_its_neighbour(word: str, known: list[str], right: str | None) -> None:
    assert terminal.nearest(word, known) == right
