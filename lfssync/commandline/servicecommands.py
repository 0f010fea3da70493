"""The commands `service ...`: lfssync as a service of systemd, or of launchd on macOS.

They stand beside `commands`, which lists them. The one thing to know: the service gets what the command finds now, its
own path, the configuration, the places of git and git-lfs, because a service manager has none of the user's shell.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from lfssync.commandline import output, terminal
from lfssync.commandline.terminal import Line, Span, Style, line
from lfssync.errors import LfssyncError, NotDoneError, UserError
from lfssync.model import human_bytes
from lfssync.places import Places
from lfssync.service.managed import Condition, Service
from lfssync.service.unit import Wish, writable

_USUAL_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Where a service manager looks for programs. Source: `DefaultEnvironment` in systemd-system.conf(5)."""

_PROGRAMS = ("git", "git-lfs", "ssh")


def service(arguments: Namespace, places: Places) -> int:
    """Install, start, stop, show or remove the service."""
    if arguments.action != "logs" and (arguments.follow or arguments.n != "50"):
        raise UserError("-f and -n are about the log", "for example: lfssync service logs -f")
    one = _service(arguments.system, places)
    if arguments.action == "logs":
        return _logs(one, arguments)
    if arguments.action == "status":
        return _status(one)
    if arguments.action == "install":
        done = one.install(_wish(one, arguments, places))
    else:
        done = {"uninstall": one.uninstall, "start": one.start, "stop": one.stop}[arguments.action]()
    terminal.emit([line(words) for words in done])
    if arguments.action in ("install", "start") and not one.lingers():
        user = pwd.getpwuid(os.getuid()).pw_name
        terminal.emit([line(f"it ends when you log out; to have it go on: loginctl enable-linger {user}")])
    return 0


def _service(system: str | None, places: Places) -> Service:
    """The service that is meant.

    Args:
        system: The user whose system service it is; None for the own service.
        places: Where things are.
    """
    if sys.platform == "darwin":
        from lfssync.service.launchd import Launchd

        if system:
            raise UserError("launchd has only the agent of a user here", "leave --system out")
        return Launchd(places.home, os.environ)
    from lfssync.service.systemd import Systemd

    return Systemd(system or "", _home(system) if system else places.home, os.environ)


def _home(user: str) -> Path:
    try:
        return Path(pwd.getpwnam(user).pw_dir)
    except KeyError:
        raise UserError(
            f"there is no user {user}", "name one of this machine: lfssync service ... --system me"
        ) from None


def _wish(one: Service, arguments: Namespace, places: Places) -> Wish:
    """What the service shall be: this program, with the same configuration and state as its user's commands."""
    home = _home(arguments.system) if arguments.system else places.home
    usual = Places.from_environment({"HOME": str(home)})
    theirs = usual if arguments.system else places
    if arguments.config:
        theirs = Places.from_environment({"HOME": str(home)} if arguments.system else os.environ, arguments.config)
    environment: dict[str, str] = {}
    if theirs.config_file != usual.config_file:
        environment["LFSSYNC_CONFIG"] = str(theirs.config_file)
    if theirs.state_dir != usual.state_dir:
        environment["LFSSYNC_STATE_DIR"] = str(theirs.state_dir)
    if theirs.data_dir != usual.data_dir:
        environment["XDG_DATA_HOME"] = str(theirs.data_dir.parent)
    if theirs.hub != usual.hub:
        environment["HF_ENDPOINT"] = theirs.hub
    if path := _path(os.environ.get("PATH", os.defpath)):
        environment["PATH"] = path
    needed = [home, theirs.state_dir, theirs.data_dir, *_named_places(theirs)]
    allowed = writable(one.shipped, home, arguments.system or "")
    more = [place for place in dict.fromkeys(needed) if not any(place.is_relative_to(folder) for folder in allowed)]
    return Wish(_program(), environment, more)


def _program() -> list[str]:
    """How this very program is started again, from wherever."""
    called = Path(os.path.abspath(sys.argv[0]))
    if called.name == "__main__.py" or not os.access(called, os.X_OK):
        return [sys.executable, "-m", "lfssync", "run"]
    return [str(called), "run"]


def _path(path: str) -> str:
    """Where a service finds the programs it needs; empty when it does by itself."""
    found = [os.path.dirname(place) for name in _PROGRAMS if (place := shutil.which(name, path=path))]
    unusual = [folder for folder in dict.fromkeys(found) if folder not in _USUAL_PATH and os.path.isabs(folder)]
    return ":".join([*unusual, *_USUAL_PATH]) if unusual else ""


def _named_places(places: Places) -> list[Path]:
    """What the configuration names that is written to: bare repositories and the file of metrics.

    One that is wrong names nothing yet.
    """
    from lfssync.configuration import config

    try:
        configuration = config.load(places)
    except LfssyncError as error:
        terminal.warn(error)
        return []
    remotes = [mirror.remote for mirror in configuration.mirrors]
    templates = [pattern.template.remote for pattern in configuration.patterns]
    remotes += [os.path.dirname(remote.partition("{")[0] + "x") for remote in templates]
    found = [Path(remote) for remote in remotes if remote.startswith("/")]
    metrics = configuration.telling.metrics_file
    return [*found, metrics.parent] if metrics else found


def _logs(one: Service, arguments: Namespace) -> int:
    """Hand over to the program that shows them."""
    if not arguments.n.isdecimal() or not int(arguments.n):
        raise UserError(f"-n {arguments.n} is not a number above 0", "for example: lfssync service logs -n 50")
    command = one.log_command(arguments.n, arguments.follow)
    try:
        os.execvp(command[0], command)  # noqa: S606 (the program is the answer)
    except OSError as error:
        raise UserError(f"{command[0]} cannot be run: {error.strerror}", f"install {command[0]}") from error


def _status(one: Service) -> int:
    condition = one.condition()
    terminal.emit(condition_lines(condition))
    if not condition.file:
        raise NotDoneError(f"{condition.name} is not installed", f"install it: {one.command('install')}")
    if condition.state == "failed" or (condition.ended and condition.state != "active"):
        ended = condition.ended or "for a reason that its manager does not tell"
        raise LfssyncError(
            f"{condition.name} ended: {ended}", f"see {one.command('logs')}, then {one.command('start')}"
        )
    if not condition.is_active:
        raise NotDoneError(f"{condition.name} does not run", f"start it: {one.command('start')}")
    return 0


def condition_lines(condition: Condition) -> Sequence[Line]:
    """How the service is, in a few lines."""
    if not condition.file:
        return []
    symbol, style = ("✓", Style.GOOD) if condition.state == "active" else ("•", Style.WARNING)
    if condition.state == "failed":
        symbol, style = "✗", Style.BAD
    words = {"active": "running", "activating": "starting", "deactivating": "stopping", "inactive": "not running"}
    facts = [words.get(condition.state, condition.state)]
    if condition.since is not None and condition.is_active:
        facts[0] += f" since {output.local_time(condition.since)}"
    facts += [f"pid {condition.pid}"] if condition.pid else []
    facts += [human_bytes(condition.memory_bytes)] if condition.memory_bytes is not None and condition.pid else []
    times = f"{condition.restarts} time{'s'[: condition.restarts != 1]}"
    facts += [f"restarted {times} after a failure"] if condition.restarts else []
    lines = [line(Span(symbol, style), " ", Span(condition.name, Style.STRONG), "  ", ", ".join(facts))]
    if condition.says:
        lines.append(line(f"    {condition.says}"))
    own = "changed by somebody" if condition.changed else ""
    starts = "" if condition.starts_by_itself else "does not start by itself"
    lines.append(line("    ", ", ".join(word for word in (condition.file, own, starts) if word)))
    lines += [line(f"    {addition}") for addition in condition.additions]
    return lines
