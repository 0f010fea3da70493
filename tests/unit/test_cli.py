"""The frame of the command line: wrong usage is one line and exit code 2, and every help text has an example."""

from __future__ import annotations

import logging
import signal

import pytest

from lfssync import __version__
from lfssync.commandline import commands
from lfssync.commandline.cli import main
from lfssync.commandline.grammar import COMMANDS
from lfssync.commandline.syntax import Command

EVERY_COMMAND = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "error: no command given; see lfssync --help"),
        (["stauts"], "error: stauts is not a command of lfssync; did you mean lfssync status?"),
        (["xyzzy"], "error: xyzzy is not a command of lfssync; see lfssync --help"),
        (["--jsno", "status"], "error: lfssync has no option --jsno; see lfssync --help"),
        (["--confg", "x"], "error: lfssync has no option --confg; did you mean --config? See lfssync --help"),
        (["--config"], "error: argument --config: expected one argument; see lfssync --help"),
        (
            ["status", "--jsno"],
            "error: lfssync status has no option --jsno; did you mean --json? See lfssync status --help",
        ),
        (
            ["status", "--js"],
            "error: lfssync status has no option --js; did you mean --json? See lfssync status --help",
        ),
        (
            ["login", "hf", "hf_secretsecret"],
            "error: login takes no token as an argument; type it at the prompt, and revoke one that stood here",
        ),
        (
            ["login", "--token=hf_secretsecret"],
            "error: login takes no token as an argument; type it at the prompt, and revoke one that stood here",
        ),
        (["status", "a", "b"], "error: b is one word too many for lfssync status; see lfssync status --help"),
        (["add"], "error: the following arguments are required: DIR; see lfssync add --help"),
        (["restore"], "error: the following arguments are required: DEST; see lfssync restore --help"),
        (["wait", "--timeout"], "error: argument --timeout: expected one argument; see lfssync wait --help"),
        (["completion"], "error: the following arguments are required: SHELL; see lfssync completion --help"),
        (["a\x1b[31m\nb"], "error: a\\x1b[31m\\nb is not a command of lfssync; see lfssync --help"),
        (["status", "--watch", "--json"], "error: --watch and --json do not go together; "),
        (["log", "-n", "many"], "error: -n many is not a number above 0; for example: lfssync log -n 20"),
        (["log", "-n", "0"], "error: -n 0 is not a number above 0; for example: lfssync log -n 20"),
        (["tag"], "error: no version given; for example: lfssync tag v1.0.0, or lfssync tag --next minor"),
        (["tag", "v1", "m", "--next", "minor"], "error: VERSION and --next do not go together; leave one of them out"),
        (
            ["tag", "--next", "tiny"],
            "error: argument --next: invalid choice: 'tiny' (choose from 'major', 'minor', 'patch'",
        ),
        (["tags", "-n", "0"], "error: -n 0 is not a number above 0; for example: lfssync log -n 20"),
        (["show"], "error: the following arguments are required: REV; see lfssync show --help"),
        (["log", "-n", "-1"], "error: -n -1 is not a number above 0; for example: lfssync log -n 20"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(line)
    assert err.count("\n") == 1


def test_a_shell_that_does_not_exist_is_refused_with_the_choice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    err = capsys.readouterr().err
    assert all(shell in err for shell in ("tcsh", "bash", "zsh", "fish"))
    assert err.count("\n") == 1


def test_help_shows_all_commands_in_their_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    rows = [row.strip() for row in out.splitlines()]
    heads = [row for row in rows if row in ("Mirror:", "Deliver:", "Versions:", "Hosts:", "Shell:")]
    assert heads == ["Mirror:", "Deliver:", "Versions:", "Hosts:", "Shell:"]
    places = [next(at for at, row in enumerate(rows) if row.startswith(f"{command.name} ")) for command in COMMANDS]
    assert places == sorted(places)
    assert all(f"{command.name:<12}{command.summary}" in out for command in COMMANDS)
    assert "example:" in out


@EVERY_COMMAND
def test_help_of_a_command_has_an_example_and_all_its_arguments(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command.name, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    example = out[out.index("example:") :]
    assert f"lfssync {command.name}" in example
    assert all(name in out for option in command.options for name in option.names)
    assert all(argument.metavar in out for argument in command.positionals)
    assert "--config FILE" in out


@EVERY_COMMAND
def test_every_command_has_a_function(command: Command) -> None:
    assert callable(commands.function_of(command.name))


def test_every_function_has_a_command() -> None:
    assert set(commands.FUNCTIONS) == {command.name for command in COMMANDS}


@pytest.mark.parametrize("words", [["--version"], ["status", "--version"], ["-v", "--version"]])
def test_version(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == f"lfssync {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["completion", "bash"],
        ["--config", "other.toml", "-v", "completion", "bash"],
        ["completion", "--config", "other.toml", "bash", "--verbose"],
        ["--config=other.toml", "completion", "bash"],
        ["completion", "--", "bash"],
    ],
)
def test_options_that_are_good_everywhere_stand_on_both_sides(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    assert "complete -F" in capsys.readouterr().out


def test_a_command_leaves_signals_and_logging_as_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    before = (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP), list(logging.getLogger().handlers))
    level = logging.getLogger("lfssync").level
    assert main(["-v", "completion", "fish"]) == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP), logging.getLogger().handlers) == before
    assert logging.getLogger("lfssync").level == level
    assert capsys.readouterr().err == ""
