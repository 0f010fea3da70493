"""Looks for everything that would fail later: programs, configuration, each mirror, what all of them share.

Outside the line, for the command of that name. The one thing to know: it is an iterator, because hosts take their time:
each finding is shown as soon as there is one.
"""

from __future__ import annotations

import getpass
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from lfssync.commandline import tellingcheck
from lfssync.commandline.examination import Examination
from lfssync.configuration import config
from lfssync.configuration.patterns import MirrorPattern, survey
from lfssync.credentials.keyrings import Keyring
from lfssync.credentials.ladder import Ladder
from lfssync.errors import AuthError, LfssyncError
from lfssync.git.gitcommand import Git
from lfssync.git.programs import require_programs
from lfssync.line import findings
from lfssync.line.findings import Finding, Service, failure
from lfssync.line.watch import watch_limit_reason
from lfssync.model import Mirror
from lfssync.places import Places

LINGER = Path("/var/lib/systemd/linger")


def examine(places: Places, name: str | None = None) -> Iterator[Finding]:
    """Everything that would fail, check by check, as it is found.

    Args:
        places: Where the configuration and the state are.
        name: Only this mirror, and what is about all of them.
    """
    yield from _programs()
    mirrors: list[Mirror] = []
    yield from _configuration(places, mirrors)
    wanted = [mirror for mirror in mirrors if name in (None, mirror.name)]
    sources: set[str] = set()
    folders = lacking = 0
    with tempfile.TemporaryDirectory(prefix="lfssync-") as room:
        # With a memory of its own: what a host refused yesterday is tried again, and what it refuses now is not noted.
        login = Ladder(Path(room), os.environ, lambda: [mirror.remote for mirror in mirrors])
        for number, mirror in enumerate(wanted):
            examination = Examination(mirror, places, Path(room, str(number)), login, sources)
            yield from examination.findings()
            folders += examination.folders
            lacking += examination.lacks_login
    if folders:
        yield findings.of_watches(watch_limit_reason(folders), folders)
    yield from _logins(sources, lacking > 0)


def _programs() -> Iterator[Finding]:
    try:
        require_programs()
    except LfssyncError as error:
        yield failure("programs", error)
        return
    git = Git(Path(os.devnull))
    versions = (git.run("version").text, git.run("lfs", "version").text.partition(" ")[0])
    yield Finding("programs", True, ", ".join(versions))


def _configuration(places: Places, mirrors: list[Mirror]) -> Iterator[Finding]:
    """What is configured, and what is wrong with it; `mirrors` gets those that can be looked at."""
    try:
        configuration = config.load(places)
        mirrors += configuration.mirrors
        if configuration.patterns:
            found = survey(configuration.patterns, places)
            mirrors += found.mirrors
            yield from (failure("configuration", error) for error in found.refused)
            yield from _idle_patterns(configuration.patterns, mirrors)
        config.check_directories(mirrors)
    except LfssyncError as error:
        yield failure("configuration", error)
        return
    if not mirrors:
        yield Finding("configuration", True, f"no mirrors in {places.config_file}", "start with: lfssync add DIR")
        return
    yield Finding("configuration", True, f"{len(mirrors)} in {places.config_file}: {_listed(mirrors)}")
    yield from tellingcheck.findings_of(configuration, os.environ)


def _idle_patterns(patterns: Sequence[MirrorPattern], mirrors: Sequence[Mirror]) -> Iterator[Finding]:
    """Patterns without a folder: they may wait for the first one, or be misspelt."""
    for pattern in patterns:
        if not any(mirror.path.match(pattern.glob) for mirror in mirrors):
            remedy = "check how it is spelt; a folder that comes later is taken then"
            yield Finding("configuration", True, f"no folder matches {pattern.glob} ({pattern.origin})", remedy)


def _listed(mirrors: Sequence[Mirror]) -> str:
    names = [mirror.name for mirror in mirrors]
    more = f" and {len(names) - findings.SAMPLE} more" if len(names) > findings.SAMPLE else ""
    return ", ".join(names[: findings.SAMPLE]) + more


def _logins(sources: set[str], lacks_login: bool) -> Iterator[Finding]:
    """Whether the keyring answers, which matters where no login was found; and what a service would find of it."""
    availability = Keyring(os.environ).availability()
    if availability.is_usable or not lacks_login:
        yield Finding("keyring", True, availability.message, availability.remedy)
    else:
        yield failure("keyring", AuthError(availability.message, availability.remedy))
    found = findings.of_service(_service(), sources, getpass.getuser())
    if found:
        yield found


def _service() -> Service:
    """What the user's service manager would give a daemon. Source: systemd.exec(5), loginctl(1)."""
    bus = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "bus"
    has_manager = Path("/run/systemd/system").is_dir()
    return Service(has_manager, str(bus), bus.is_socket(), (LINGER / getpass.getuser()).exists())
