"""The command line's frame: reads the arguments, calls one function of `commands`, and turns errors into exit codes.

It stands outside the line of the pass, at the very end of every import chain. The one thing to know: only the parser of
the command in question is built and nothing heavy is imported here, so that `lfssync status` answers at once; and this
is the only place where an exception becomes an exit code.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import NoReturn

from lfssync import __version__
from lfssync.commandline import terminal
from lfssync.commandline.grammar import COMMANDS, GLOBAL_OPTIONS, HELP_OPTION, VERSION_OPTION, command_named
from lfssync.commandline.syntax import Argument, Command, Count
from lfssync.errors import LfssyncError, UserError

COMPLETE = "__complete"
"""The word by which completion scripts ask for candidates; not a command, so it may change with the scripts."""

_INTRODUCTION = "Keep model directories mirrored, as real git-lfs history, on a remote of your choice."
_HELP_CHARACTERS = 88
_USAGE = {Count.ONE: "{}", Count.AT_MOST_ONE: "[{}]", Count.ANY: "[{}...]"}
_EXIT_CODES = (
    "exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not done yet,\n"
    "            4 a person must decide, 5 authentication, 130 interrupted"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after the program's name; None means those of this process.

    Returns:
        The exit code, as the contract names them.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == [COMPLETE]:
        return _complete(words[1:])
    code = _answered(words)
    terminal.let_go()
    return code


def _answered(words: list[str]) -> int:
    try:
        code = _run(words)
        terminal.finish()
        return code
    except LfssyncError as error:
        return terminal.report(error)
    except KeyboardInterrupt:
        return terminal.report_interruption()
    except Exception as error:  # noqa: BLE001 (the last place where a user can be told in one line)
        if "-v" in words or "--verbose" in words:
            terminal.print_traceback()
        return terminal.report_bug(error, words)


def _run(words: list[str]) -> int:
    try:
        command, arguments = _parse(words)
    except SystemExit as end:  # --help and --version have printed their answer
        return int(end.code or 0)
    logs = nullcontext() if _is_silent(command, arguments) else _logs_on_standard_error(command, arguments)
    with _stopped_by_signals(), logs:
        return _call(command, arguments)


def _is_silent(command: Command, arguments: argparse.Namespace) -> bool:
    """Whether nothing of the command ever logs, so that logging need not be loaded before it answers."""
    return command.name in ("list", "status") and not arguments.verbose


def _call(command: Command, arguments: argparse.Namespace) -> int:
    from lfssync.commandline import commands
    from lfssync.places import Places

    return commands.function_of(command.name)(arguments, Places.from_environment(os.environ, arguments.config))


def _complete(words: Sequence[str]) -> int:
    """Print what may stand at the end of `words`; says nothing when it cannot tell, since a shell is waiting for it."""
    from lfssync.commandline import commands
    from lfssync.places import Places

    try:
        return commands.complete(words, lambda config: Places.from_environment(os.environ, config))
    except LfssyncError:
        return 1


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message, f"see {self.prog} --help")

    def format_help(self) -> str:
        import textwrap

        self.formatter_class = argparse.RawDescriptionHelpFormatter
        lines = (self.description or "").splitlines()
        self.description = "\n".join(textwrap.fill(line, _HELP_CHARACTERS) for line in lines)
        return super().format_help()


def _parse(words: list[str]) -> tuple[Command, argparse.Namespace]:
    """The command and its arguments; options that are good everywhere may stand on both sides of its name."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] == "--config" else 1
    parsed = argparse.Namespace(config=None, verbose=False)
    if at:
        _read(_global_parser(), GLOBAL_OPTIONS, words[:at], parsed)
    if at >= len(words):
        raise UserError("no command given", "see lfssync --help")
    command = command_named(words[at])
    if command is None:
        nearest = terminal.nearest(words[at], [command.name for command in COMMANDS])
        hint = f"did you mean lfssync {nearest}?" if nearest else "see lfssync --help"
        raise UserError(f"{words[at]} is not a command of lfssync", hint)
    _read(_command_parser(command), (*command.options, *GLOBAL_OPTIONS), words[at + 1 :], parsed)
    return command, parsed


def _read(
    parser: argparse.ArgumentParser, options: Sequence[Argument], words: list[str], parsed: argparse.Namespace
) -> None:
    """Parse into `parsed`; options may stand between positional words (`tag v1 -m text my-model`)."""
    _, unknown = parser.parse_known_intermixed_args(words, parsed)
    unknown = [word for word in unknown if word != "--"]
    if not unknown:
        return
    if parser.prog == "lfssync login":  # what is too much may well be a token, so it is not repeated
        raise UserError("login takes no token as an argument", "type it at the prompt, and revoke one that stood here")
    if not unknown[0].startswith("-"):
        if parser.prog == "lfssync add" and os.path.isdir(unknown[0]):  # the shell has made folders of ~/runs/*
            import shlex

            pattern = shlex.quote(os.path.join(os.path.dirname(unknown[0]), "*"))
            remedy = f"quote a pattern, so that the shell leaves it alone: lfssync add {pattern}"
            raise UserError("add takes one directory", remedy)
        raise UserError(f"{unknown[0]} is one word too many for {parser.prog}", f"see {parser.prog} --help")
    known = [name for option in (*options, HELP_OPTION, VERSION_OPTION) for name in option.names]
    nearest = terminal.nearest(unknown[0], known)
    hint = f"did you mean {nearest}? See {parser.prog} --help" if nearest else f"see {parser.prog} --help"
    raise UserError(f"{parser.prog} has no option {unknown[0]}", hint)


def _global_parser() -> argparse.ArgumentParser:
    """The parser of what stands before the command; its help shows all commands in their groups."""
    usage = "lfssync [--config FILE] [-v] COMMAND ..."
    description = f"{_INTRODUCTION}\n\n{_grouped_commands()}"
    parser = _parser("lfssync", usage, description, f"{_EXIT_CODES}\n\n{_first_steps()}")
    for option in GLOBAL_OPTIONS:
        _add(parser, option)
    _add_version(parser)
    return parser


def _command_parser(command: Command) -> argparse.ArgumentParser:
    prog = f"lfssync {command.name}"
    usage = " ".join([prog, *(_USAGE[one.takes].format(one.metavar) for one in command.positionals), "[OPTION...]"])
    example = "\n".join(["example:", *(f"  {line}" for line in command.example)])
    parser = _parser(prog, usage, command.details, example)
    for argument in (*command.positionals, *command.options, *GLOBAL_OPTIONS):
        _add(parser, argument)
    _add_version(parser)
    return parser


def _blind_formatter(prog: str) -> argparse.HelpFormatter:
    """What argparse tries each argument on; one that measures the terminal has to load a lot for it."""
    return argparse.HelpFormatter(prog, width=_HELP_CHARACTERS)


def _parser(prog: str, usage: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A parser without arguments. Nothing but its help measures the terminal, so the usage is given."""
    parser = _Parser(
        prog=prog,
        usage=usage,
        description=description,
        epilog=epilog,
        add_help=False,
        allow_abbrev=False,  # an abbreviation in a script would break when another option is added
        formatter_class=_blind_formatter,
    )
    parser.add_argument(*HELP_OPTION.names, action="help", help=HELP_OPTION.help)
    return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
    version = f"lfssync {__version__}"
    parser.add_argument(*VERSION_OPTION.names, action="version", version=version, help=VERSION_OPTION.help)


def _add(parser: argparse.ArgumentParser, argument: Argument) -> None:
    """Add one line of the table; options that are good everywhere leave alone what was said before the command."""
    default = argparse.SUPPRESS if argument in GLOBAL_OPTIONS else argument.default
    if argument.takes is Count.SWITCH:
        absent = default if argument in GLOBAL_OPTIONS else False
        parser.add_argument(*argument.names, action="store_true", default=absent, help=argument.help)
        return
    parser.add_argument(
        *argument.names,
        metavar=argument.metavar,
        nargs=None if argument.takes is Count.ONE else argument.takes.value,
        choices=argument.choices or None,
        default=[] if argument.takes is Count.ANY else default,
        help=argument.help,
    )


def _grouped_commands() -> str:
    lines: list[str] = []
    group = ""
    for command in COMMANDS:
        if command.group != group:
            group = command.group
            lines += ["", f"{group}:"] if lines else [f"{group}:"]
        lines.append(f"  {command.name:<12}{command.summary}")
    return "\n".join(lines)


def _first_steps() -> str:
    return (
        "example:\n"
        "  lfssync add ~/outputs/my-model hf:me/my-model\n"
        "  lfssync sync my-model\n"
        "  lfssync run\n\n"
        "lfssync COMMAND --help explains one command."
    )


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end a command like Ctrl-C does, so that what it holds is put away.

    Signals that were set to be ignored (nohup) stay ignored; `run` sets its own handlers over these.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    taken = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _logs_on_standard_error(command: Command, arguments: argparse.Namespace) -> Iterator[None]:
    """Send our own log lines to standard error: warnings, the daemon's news, and everything with --verbose.

    Other libraries never get below warnings: their debug lines hold signed addresses, which are as good as tokens.
    """
    import logging

    class ToStandardError(logging.Handler):
        """Keeps a record that quotes a server or a file name from forging lines or driving the terminal."""

        def emit(self, record: logging.LogRecord) -> None:
            terminal.write_error(_shown(self.format(record)) + "\n")

    handler: logging.Handler = ToStandardError()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    if terminal.is_journal():
        from lfssync.service.journal import Journal

        plain = logging.Formatter("%(message)s")
        handler = Journal(lambda record: _shown(plain.format(record)))
    everybodys, our = logging.getLogger(), logging.getLogger("lfssync")
    everybodys.addHandler(handler)
    level = logging.INFO if command.name == "run" else logging.WARNING
    our.setLevel(logging.DEBUG if arguments.verbose else level)
    try:
        yield
    finally:
        our.setLevel(logging.NOTSET)
        everybodys.removeHandler(handler)


def _shown(text: str) -> str:
    """What a log record says, safe to look at; lines after the first are set in."""
    return "\n  ".join(terminal.escape(line) for line in text.split("\n"))
