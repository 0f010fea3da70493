"""Finds the login for a host: the keyring first, then what a service manager, variables, the Hub's tools and git have.

What transfers, hosts and git children are given as their `Credentials`; one for each process. The one thing to know:
it goes down the rungs until one has a login that the host has not refused lately (`refusals`), so a token that was
revoked is tried once and not for ever, and an address in the clear that leaves this machine gets nothing at all.

`LFSSYNC_TOKEN` and the systemd credential `lfssync` name no host. They are given where it cannot be the wrong one: to
`LFSSYNC_TOKEN_HOST`, or when all remotes are on one host.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from lfssync.configuration import config
from lfssync.configuration.patterns import resolve_remote
from lfssync.credentials import Credential, variables
from lfssync.credentials.answering import parse, split
from lfssync.credentials.keyrings import Keyring, KeyringError, KeyringState
from lfssync.credentials.refusals import Refusals
from lfssync.errors import LfssyncError
from lfssync.git.gitcommand import Git
from lfssync.places import Places
from lfssync.rules.remotes import is_loopback

FRESH_S = 300.0
"""So long an answer of the keyring, or of git's helpers, is believed: each takes a process, or a person, to get."""

GIT_TIMEOUT_S = 10.0
REFUSED_FILE = "refused-logins.json"

_log = logging.getLogger("lfssync")

Rung = Callable[[str], Credential | None]
"""Gives the login for an address, or None."""


def from_git(url: str) -> Credential | None:
    """What the helpers of the user's own git configuration give for an address, without any of them asking."""
    protocol, user, host, path = split(url)
    lines = [f"protocol={protocol}", f"host={host}", f"path={path}", *([f"username={user}"] if user else []), "", ""]
    try:
        git = Git(Path(os.devnull))
        given = git.run("credential", "fill", given="\n".join(lines).encode(), timeout_s=GIT_TIMEOUT_S, accept=(0, 128))
    except LfssyncError as error:
        _log.debug("git's credential helpers give no answer: %s", error)
        return None
    found = parse(given.stdout)
    if given.status or not {"username", "password"} <= found.keys():
        return None
    return Credential(found["username"], found["password"], "git's credential helper")


def configured_remotes(places: Places) -> list[str]:
    """The addresses of all remotes of the configuration; none when it cannot be read."""
    try:
        found = config.load(places)
        templates = [one.template.remote for one in found.patterns if one.template.remote]
        return [one.remote for one in found.mirrors] + [resolve_remote(text, "x", places)[0] for text in templates]
    except LfssyncError:
        return []


class Ladder:
    """Implements `Credentials`; may be used by several threads.

    Args:
        state_dir: Where it is remembered what was refused.
        environment: Usually `os.environ`.
        remotes: Gives the addresses of the remotes that this process is about.
        last: The last rung.
        clock: Gives monotonic seconds.
    """

    def __init__(
        self,
        state_dir: Path,
        environment: Mapping[str, str],
        remotes: Callable[[], Iterable[str]] = tuple,
        last: Rung = from_git,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment = environment
        self._remotes = remotes
        self._last = last
        self._clock = clock
        self._refusals = Refusals(state_dir / REFUSED_FILE)
        self._keyring = Keyring(environment)
        self._lock = threading.Lock()
        self._stamp = self._refusals.stamp
        self._kept: dict[str, tuple[float, Credential | None]] = {}
        self._said: set[str] = set()

    @classmethod
    def configured(cls, places: Places, environment: Mapping[str, str], last: Rung = from_git) -> Ladder:
        """The ladder for the mirrors of a configuration."""
        return cls(places.state_dir, environment, lambda: configured_remotes(places), last)

    def find(self, url: str) -> Credential | None:
        """See `Credentials.find`."""
        with self._lock:
            return next((one for one in self._all(url) if not self._is_refused(url, one)), None)

    def every(self, url: str) -> list[Credential]:
        """What every rung has for an address, refused or not; for commands that tell people about it."""
        with self._lock:
            return list(self._all(url))

    def passed_over(self, url: str) -> Credential | None:
        """See `Remembers.passed_over`."""
        with self._lock:
            return next((one for one in self._all(url) if self._is_refused(url, one)), None)

    def leaves_to_git(self, url: str) -> bool:
        """See `AsksGit.leaves_to_git`."""
        with self._lock:
            return self._fresh(url, lambda: self._last(url)) is None

    def refused(self, url: str, credential: Credential) -> None:
        """See `Credentials.refused`."""
        _, _, host, path = split(url)
        _log.debug("%s refused the login from %s", host, credential.source)
        self._refusals.add(host, repository(path), credential.secret)

    def _is_refused(self, url: str, credential: Credential) -> bool:
        _, _, host, path = split(url)
        return self._refusals.has(host, repository(path), credential.secret)

    def _all(self, url: str) -> Iterator[Credential]:
        protocol, user, host, _ = split(url)
        if not may_have(protocol, host):
            return
        if self._stamp != (stamp := self._refusals.stamp):  # somebody logged in or out, or was refused
            self._stamp, self._kept = stamp, {}
        kept = self._fresh(f"{protocol}://{user}@{host}", lambda: self._from_keyring(user, host))
        if kept is not None:
            yield kept
        for found in self._from_variables(host):
            yield replace(found, username=user) if user and found.username == variables.ANYBODY else found
        if (given := self._fresh(url, lambda: self._last(url))) is not None:
            yield given

    def _fresh(self, key: str, ask: Callable[[], Credential | None]) -> Credential | None:
        until, known = self._kept.get(key, (0.0, None))
        if self._clock() >= until:
            known = ask()
            self._kept[key] = (self._clock() + FRESH_S, known)
        return known

    def _from_keyring(self, user: str, host: str) -> Credential | None:
        """What the keyring has; one that cannot be used is told about once, and is no reason to stop."""
        try:
            found = self._keyring.find(host)
        except KeyringError as error:
            how = error.availability
            self._say(str(how.error()), logging.DEBUG if how.state is KeyringState.MISSING else logging.WARNING)
            return None
        return None if found is None or user not in ("", found.username) else found

    def _from_variables(self, host: str) -> Iterator[Credential]:
        given = self._environment
        nameless = (variables.systemd_credential(given, "lfssync"), variables.own_variable(given))
        hub = host == variables.hub_host(given)
        found = (
            variables.systemd_credential(given, f"lfssync.{host.replace(':', '_')}"),
            *(one for one in nameless if one is not None and self._is_for(host, one)),
            variables.hub_variable(given) if hub else None,
            variables.hub_file(given, Path(given.get("HOME", "/"))) if hub else None,
        )
        yield from (one for one in found if one is not None)

    def _is_for(self, host: str, credential: Credential) -> bool:
        """Whether a token that names no host may go to this one."""
        if named := self._environment.get("LFSSYNC_TOKEN_HOST", ""):
            return named.lower() == host
        parts = [split(remote) for remote in self._remotes()]
        hosts = {at for protocol, _, at, _ in parts if may_have(protocol, at)}
        if len(hosts) > 1:
            words = f"the token of {credential.source} is not used: remotes are on {', '.join(sorted(hosts))}"
            self._say(f"{words}; name its host in LFSSYNC_TOKEN_HOST")
        return hosts <= {host}

    def _say(self, words: str, level: int = logging.WARNING) -> None:
        if words not in self._said:
            self._said.add(words)
            _log.log(level, "%s", words)


def may_have(protocol: str, host: str) -> bool:
    """Whether a login may go to an address at all: encrypted, or within this machine."""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return bool(host) and (protocol == "https" or (protocol == "http" and is_loopback(name)))


def repository(path: str) -> str:
    """The repository that a path on a host belongs to, whether it is git's or that of its LFS server."""
    return path.partition("/info/lfs")[0].removesuffix(".git")
