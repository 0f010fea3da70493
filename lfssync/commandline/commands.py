"""The commands: each reads its arguments, lets `operations` do the work, and says what came of it.

It stands outside the line, between `cli` (which calls these) and `operations` (which knows pass, daemon and store);
half of the commands are in modules beside it. The one thing to know: a command loads what itself needs and nothing
else, because `status` must answer at once. So the table names functions, and what is heavy is imported inside of them.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from lfssync.commandline import choosing, terminal
from lfssync.errors import LfssyncError, NotDoneError, UserError
from lfssync.model import Mirror, PassResult
from lfssync.places import Places


def remove(arguments: Namespace, places: Places) -> int:
    """Stop mirroring."""
    from lfssync.commandline import output
    from lfssync.service import operations

    configuration = choosing.configured(places)
    wanted = os.path.abspath(os.path.expanduser(arguments.name))
    pattern = next((pattern for pattern in configuration.patterns if wanted == pattern.glob), None)
    if pattern is not None:
        operations.remove_pattern(places, pattern)
        terminal.emit(output.removed_pattern_lines(pattern.glob))
        return 0
    mirror = choosing.named(choosing.expanded(configuration, places), arguments.name)
    operations.remove(places, mirror, arguments.purge)
    terminal.emit(output.removed_lines(mirror))
    return 0


def list_mirrors(arguments: Namespace, places: Places) -> int:
    """Show the configured mirrors."""
    mirrors = choosing.all_mirrors(places)
    if arguments.json:
        from lfssync.commandline import documents

        terminal.emit_json(documents.list_document(mirrors))
    else:
        from lfssync.commandline import output

        terminal.emit(output.list_lines(mirrors))
    return 0


def doctor(arguments: Namespace, places: Places) -> int:
    """Find everything that would fail later; shown as it is found, because hosts take their time."""
    from lfssync.commandline import doctor as doctors
    from lfssync.commandline import documents, output

    if arguments.name:
        choosing.named(choosing.all_mirrors(places), arguments.name)
    found = []
    for finding in doctors.examine(places, arguments.name):
        found.append(finding)
        if not arguments.json:
            terminal.emit(output.finding_lines(finding))
    if arguments.json:
        terminal.emit_json(documents.doctor_document(found))
    return terminal.worst([terminal.exit_code_of(finding.kind) for finding in found])


def sync(arguments: Namespace, places: Places) -> int:
    """Bring mirrors to the remote now, one after the other; one that fails does not stop the others."""
    from lfssync.commandline import documents, output
    from lfssync.service import operations

    configuration = choosing.configured(places)
    codes: list[int] = []
    mirrors = choosing.expanded(configuration, places, None if arguments.names else codes)
    wanted = [choosing.named(mirrors, name) for name in dict.fromkeys(arguments.names)] or mirrors
    if not wanted:
        raise UserError("no mirrors configured", "start with: lfssync add DIR")
    does = operations.connect(places, configuration)
    answers: list[documents.Document] = []
    for mirror in wanted:
        started, before = time.monotonic(), _verified(mirror, places)
        try:
            with choosing.monitor(arguments, mirror.name) as monitor:
                result = does.sync(mirror, arguments.accept_deletions, monitor)
        except LfssyncError as error:
            answers.append(documents.failure_document(mirror.name, error))
            codes.append(terminal.report(error.about(mirror.name)))
            continue
        answers.append(documents.pass_document(mirror.name, result))
        if not arguments.json:
            otherwise = _otherwise(before, result, output.NOTHING_TO_DO)
            terminal.emit(output.pass_lines(mirror.name, result, time.monotonic() - started, otherwise))
        codes.append(_unfinished(mirror, result))
    if arguments.json:
        terminal.emit_json(documents.sync_document(answers))
    return terminal.worst(codes)


def wait(arguments: Namespace, places: Places) -> int:
    """Return once everything settled is verified on the remote."""
    from lfssync.commandline import output
    from lfssync.configuration import settings
    from lfssync.service import operations

    deadline = time.monotonic() + settings.duration_s(arguments.timeout)
    configuration = choosing.configured(places)
    codes: list[int] = []
    mirrors = choosing.expanded(configuration, places, None if arguments.name else codes)
    wanted = [choosing.named(mirrors, arguments.name)] if arguments.name else mirrors
    if not wanted:
        raise UserError("no mirrors configured", "start with: lfssync add DIR")
    does = operations.connect(places, configuration)
    for mirror in wanted:
        started, before = time.monotonic(), _verified(mirror, places)
        try:
            with choosing.monitor(arguments, mirror.name) as monitor:
                result = does.wait(mirror, max(deadline - started, 0.0), monitor, monitor.waits)
        except LfssyncError as error:
            codes.append(terminal.report(error if isinstance(error, NotDoneError) else error.about(mirror.name)))
            continue
        otherwise = _otherwise(before, result, output.ALL_IS_THERE)
        terminal.emit(output.pass_lines(mirror.name, result, time.monotonic() - started, otherwise))
        codes.append(_unfinished(mirror, result))
    return terminal.worst(codes)


def scrub(arguments: Namespace, places: Places) -> int:
    """Look at all LFS objects on the remotes."""
    from lfssync.commandline import scrubcommand

    mirrors = choosing.all_mirrors(places)
    wanted = [choosing.named(mirrors, arguments.name)] if arguments.name else mirrors
    return scrubcommand.scrub(wanted, arguments, places, lambda name: choosing.monitor(arguments, name))


def push(arguments: Namespace, places: Places) -> int:
    """Deliver a directory once."""
    from lfssync.commandline import addcommand, output
    from lfssync.service import operations

    directory = Path(arguments.directory)
    with choosing.monitor(arguments, directory.absolute().name) as monitor:
        result = operations.push(
            directory,
            arguments.remote,
            message=arguments.message,
            branch=arguments.branch,
            tag=arguments.tag,
            monitor=monitor,
            wish=addcommand.wish_of(arguments),
        )
    terminal.emit(output.pushed_lines(arguments.remote, arguments.branch, result))
    return 0


def run(arguments: Namespace, places: Places) -> int:
    """Keep all mirrors up to date until interrupted."""
    from lfssync.service import operations

    return operations.run(places)


def completion(arguments: Namespace, places: Places) -> int:
    """Print a completion script."""
    from lfssync.commandline.completion import SCRIPTS

    terminal.write(SCRIPTS[arguments.shell])
    return 0


def complete(words: Sequence[str], places: Callable[[str | None], Places]) -> int:
    """Answer a completion script: what may stand in the place of the last word.

    Args:
        words: What was typed after the program's name.
        places: Gives the places for the configuration file that the words name, or for none.
    """
    from lfssync.commandline.completion import answer, named_configuration

    def mirror_names() -> list[str]:
        return [mirror.name for mirror in choosing.all_mirrors(places(named_configuration(words)))]

    terminal.write(answer(words, mirror_names).text())
    return 0


FUNCTIONS = {
    "add": "addcommand:add",
    "remove": "commands:remove",
    "list": "commands:list_mirrors",
    "status": "statuscommand:status",
    "pause": "pacecommands:pause",
    "resume": "pacecommands:resume",
    "doctor": "commands:doctor",
    "notify": "notifycommand:notify",
    "sync": "commands:sync",
    "wait": "commands:wait",
    "scrub": "commands:scrub",
    "push": "commands:push",
    "run": "commands:run",
    "service": "servicecommands:service",
    "tag": "versioncommands:tag",
    "tags": "versioncommands:tags",
    "log": "versioncommands:log",
    "diff": "versioncommands:diff",
    "show": "versioncommands:show",
    "restore": "versioncommands:restore",
    "retire": "versioncommands:retire",
    "card": "cardcommand:card",
    "login": "logincommands:login",
    "logout": "logincommands:logout",
    "whoami": "logincommands:whoami",
    "completion": "commands:completion",
}
"""Which function runs for each command of `grammar`, as `MODULE:FUNCTION`; the modules are those beside this one."""

Function = Callable[[Namespace, Places], int]
"""A command: takes its arguments and where everything is, answers with the exit code."""


def function_of(name: str) -> Function:
    """The function of a command; loads its module."""
    module, _, function = FUNCTIONS[name].partition(":")
    found: Function = getattr(import_module(f"lfssync.commandline.{module}"), function)
    return found


def _verified(mirror: Mirror, places: Places) -> str | None:
    """The commit that the remote confirmed last, for `_otherwise`; scripts are not told, so it is not looked up."""
    if not terminal.is_terminal(sys.stdout):
        return None
    from lfssync.records.report import read_status

    return read_status(mirror, places.mirror_state(mirror.name)).pushed


def _otherwise(before: str | None, result: PassResult, words: str) -> str:
    """What came of a command that had nothing to commit itself: words for people; scripts get the same every time.

    Args:
        before: The commit that the remote had confirmed before.
        result: How it went.
        words: What to say where there was nothing to deliver.
    """
    from lfssync.commandline import output

    if result.receipt is None or not terminal.is_terminal(sys.stdout):
        return output.NOTHING_TO_DO
    return output.DELIVERED_MEANWHILE if result.receipt.commit != before else words


def _unfinished(mirror: Mirror, result: PassResult) -> int:
    """Say on standard error that files were left out, if there are any; gives the exit code."""
    if not result.deferred:
        return 0
    from lfssync.commandline.output import files

    what = f"{mirror.name}: {files(len(result.deferred))} not delivered yet"
    return terminal.report(NotDoneError(what, f"run lfssync wait {mirror.name}, or sync again when they are complete"))
