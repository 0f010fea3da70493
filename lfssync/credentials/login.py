"""Logging in and out, and who one is: what `lfssync login`, `logout` and `whoami` do.

Called by `operations`. The one thing to know: a login is kept only after the host has taken it. Where a host cannot be
asked (git alone, and no mirror of ours is there), it is kept all the same and said to be unchecked.

Source: gitprotocol-http(5): who may ask for `git-receive-pack` may push.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lfssync.configuration import config
from lfssync.credentials import Credential
from lfssync.credentials.answering import split
from lfssync.credentials.keyrings import Keyring, KeyringError
from lfssync.credentials.ladder import REFUSED_FILE, Ladder, configured_remotes, may_have
from lfssync.credentials.refusals import Refusals
from lfssync.credentials.variables import ANYBODY, credential
from lfssync.errors import AuthError, LfssyncError, UserError
from lfssync.git.gitcommand import Git
from lfssync.hosts import Identity
from lfssync.hosts.api import basic
from lfssync.hosts.known import host_of, recognised
from lfssync.hosts.plain import PlainHost
from lfssync.places import Places
from lfssync.results import Login, Logout
from lfssync.rules.remotes import RemoteKind, hub_endpoint, is_loopback, mask, parse_remote
from lfssync.web.trust import Trust, git_settings

if TYPE_CHECKING:
    from lfssync.web.client import Client

_HOSTS = "name a host: hf, gh, gl, or HOST[:PORT]"
_PUSH = "application/x-git-receive-pack-advertisement"


@dataclass(frozen=True, slots=True)
class Site:
    """A host that one can log in at.

    Args:
        address: `https://HOST[:PORT]`, or http on this machine.
        remotes: The addresses of the configured remotes there.
    """

    address: str
    remotes: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """What the keyring has it under."""
        return split(self.address)[2]

    @property
    def url(self) -> str:
        """An address there that a login is asked for."""
        return self.remotes[0] if self.remotes else f"{self.address}/"


def site_of(word: str | None, places: Places, environment: Mapping[str, str]) -> Site:
    """The host that a user means.

    Args:
        word: `hf`, `gh`, `gl`, `HOST[:PORT]`, or the address of a remote; None for the one that all mirrors are on.
        places: Where the configuration is.
        environment: `HF_ENDPOINT` counts.

    Raises:
        UserError: There is none, or several.
    """
    if word is None:
        config.load(places)  # if it is wrong, then this is the moment to say so
    remotes = [one for one in configured_remotes(places) if may_have(split(one)[0], split(one)[2])]
    hosts = sorted({split(one)[2] for one in remotes})
    if word is None and len(hosts) != 1:
        what = "there is more than one host" if hosts else "no host is named"
        raise UserError(what, f"name one of: {', '.join(hosts)}" if hosts else _HOSTS)
    address = _address(hosts[0] if word is None else word, hub_endpoint(environment))
    host = split(address)[2]
    here = tuple(one for one in remotes if split(one)[2] == host)
    known = next((_origin(one) for one in (*here, hub_endpoint(environment)) if split(one)[2] == host), address)
    return Site(known, here)


def _address(word: str, hub: str) -> str:
    named = {"hf": hub, "gh": "https://github.com", "gl": "https://gitlab.com"}
    if word in named:
        return _origin(named[word])
    is_host = "/" not in word and not word.startswith(("hf:", "gh:", "gl:"))
    try:
        remote = parse_remote(f"https://{word}/x" if is_host else word, Path("/"), hub)
    except UserError:
        raise UserError(f"{mask(word)!r} is no host that one can log in at", _HOSTS) from None
    if remote.kind not in (RemoteKind.HTTPS, RemoteKind.HTTP):
        raise UserError(f"{word} is not reached by https", "ssh takes its keys from your agent")
    origin = _origin(remote.url)
    return origin.replace("https", "http", 1) if is_host and is_loopback(remote.host) else origin


def _origin(url: str) -> str:
    protocol, _, host, _ = split(url)
    return f"{protocol}://{host}"


def login(
    site: Site,
    secret: str,
    username: str | None,
    places: Places,
    environment: Mapping[str, str],
    warn: Callable[[LfssyncError], None],
) -> Login:
    """Check a login with its host, and keep it in the keyring.

    Args:
        site: Where.
        secret: A token or a password.
        username: What goes with it; None lets the host say.
        places: Where it is remembered what was refused.
        environment: Usually `os.environ`.
        warn: Is told what is doubtful about it, before it is kept.

    Raises:
        AuthError: The host does not take it; nothing is kept.
        BlockedError: There is no keyring that can keep it.
        TransientError: The host is out of reach; nothing is kept.
    """
    given = credential(secret, "", username or ANYBODY)
    if given is None or ":" in given.username:
        raise UserError("that is no token", "copy it as the host shows it: one line, and nothing else")
    try:
        found = check(site, given, environment)
    except AuthError as error:
        hint = "" if username else "; where a password is wanted, give the user name with --username"
        raise AuthError(error.message, f"see that it is copied whole, not expired, and for this host{hint}") from error
    if found.may_write is False:
        warn(UserError(f"{site.host}: this login may only read", "for mirrors, log in with one that may write"))
    name = username or found.name
    try:
        backend = Keyring(environment).keep(site.host, Credential(name, given.secret))
    except KeyringError as error:
        raise error.availability.error() from error
    Refusals(places.state_dir / REFUSED_FILE).forget(site.host)
    return replace(found, name=name, source=f"keyring ({backend})")


def check(site: Site, given: Credential, environment: Mapping[str, str]) -> Login:
    """Ask a host whose login it is.

    Raises:
        AuthError: The host does not take it.
        TransientError: It is out of reach.
    """
    from lfssync.web.client import Client

    with Client(Trust(environment, git_settings(Git(Path(os.devnull))))) as client:
        host = recognised(host_of(f"{site.address}/x", environment), client)
        found = _pushes(client, site, given) if isinstance(host, PlainHost) else host.whoami(client, given)
    if found is None:
        return Login(site.host, given.username, given.source, is_checked=False)
    return Login(site.host, found.name, given.source, found.organisations, found.scopes, found.may_write)


def _pushes(client: Client, site: Site, given: Credential) -> Identity | None:
    """Ask a host without an interface whether the login may push to a mirror's repository; None when it cannot tell."""
    from lfssync.web.messages import Request
    from lfssync.web.statuses import refusal

    for remote in site.remotes[:1]:
        parts = urlsplit(remote)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        asked = Request("GET", f"{bare}/info/refs?service=git-receive-pack", {"Authorization": basic(given)})
        answer = client.send(asked)
        if answer.status == 401:
            raise refusal(answer, f"{site.host} does not know this login")
        if answer.status == 403:
            return Identity(given.username, may_write=False)
        if answer.is_success and answer.headers.get("Content-Type") == _PUSH:
            return Identity(given.username, may_write=True)
    client.send(Request("GET", f"{site.address}/"))  # that it is there at all
    return None


def logout(site: Site, places: Places, environment: Mapping[str, str]) -> Logout:
    """Delete the login for a host from the keyring.

    Raises:
        BlockedError: The keyring cannot be used.
    """
    try:
        was_there = Keyring(environment).forget(site.host)
    except KeyringError as error:
        raise error.availability.error() from error
    Refusals(places.state_dir / REFUSED_FILE).forget(site.host)
    others = Ladder.configured(places, environment).every(site.url)
    return Logout(site.host, was_there, tuple(dict.fromkeys(one.source for one in others)))


def whoami(site: Site, places: Places, environment: Mapping[str, str]) -> Login:
    """Ask a host whose login it is that lfssync would use there, also when it was refused before.

    Raises:
        AuthError: There is none, or the host does not take it.
    """
    ladder = Ladder.configured(places, environment)
    given = ladder.find(site.url) or next(iter(ladder.every(site.url)), None)
    remedy = f"run lfssync login {site.host}"
    if given is None:
        raise AuthError(f"there is no login for {site.host}", remedy)
    try:
        found = check(site, given, environment)
    except AuthError as error:
        ladder.refused(site.url, given)
        raise AuthError(f"{error.message}; it is from {given.source}", remedy) from error
    if found.is_checked:
        Refusals(places.state_dir / REFUSED_FILE).forget(site.host)
    return found
