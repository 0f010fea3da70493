"""Where the LFS server of a remote is, as git-lfs decides it, and what it has to be told to let us in.

Asked by the transfers that speak with such a server. The one thing to know: the user decides, by the mirror's `lfs_url`
and by the user's own git configuration; a `.lfsconfig` and the configuration of a mirrored directory never do, because
whoever writes them could send the user's objects and logins anywhere.

Source: git-lfs docs/api/server-discovery.md, docs/man/git-lfs-config.adoc.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from lfssync.errors import BlockedError, RefusedError
from lfssync.git.addresses import fetched_from, pushed_to
from lfssync.git.gitcommand import Git, Output
from lfssync.git.giterrors import explain
from lfssync.git.sshcommand import Place, place_of, run_there
from lfssync.rules.remotes import Remote, RemoteKind, is_loopback, mask, parse_remote
from lfssync.transfer.batch import Sent, expiry

EARLY_S = 5.0
"""So long before its end a token of the server's counts as expired, in seconds. git-lfs does the same."""

_REMOTE_URL = re.compile(r"remote\..*\.url")
_SETTINGS = re.compile(r"lfs\.(url|pushurl)|remote\..*\.(url|lfsurl|lfspushurl)", re.DOTALL)
_SHORT = re.compile(r"(?!\w+://)\[?([^@/]*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]/]+)(:[0-9]+\])?:(?P<path>.*)")
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]+")
_TRUSTED_SCOPES = ("system", "global")
_ABSENT = re.compile(
    r"(not found|unrecognized command|unknown [\w/ ]*command|no such file|invalid command)[^\n]*git-lfs-authenticate"
    r"|git-lfs-authenticate[^\n]*(not found|no such file)|unknown git command|disallowed command",
    re.IGNORECASE,
)
_SPEAKS_LFS_OVER_SSH = re.compile(rb"[0-9a-f]{4}version=1\b")


class OnlyOverSshError(BlockedError):
    """The server speaks LFS over ssh alone, which only stock git-lfs does: the transfer must be left to it."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An LFS server.

    Args:
        url: Its address, without a login and without a slash at the end.
        headers: To be sent to it, and to no other address.
        expires_at: Until when the headers are good, by `time.monotonic`; None when nobody knows.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    expires_at: float | None = None


def derived(url: str) -> str:
    """The LFS server that belongs to the address of a repository.

    Args:
        url: A URL, or ssh's short form; an absolute path, where there is no server, becomes a `file:` URL.
    """
    base = _over_https(url.removesuffix("/"))
    if base.startswith("file:"):
        return base
    return f"{base}/info/lfs" if base.endswith(".git") else f"{base}.git/info/lfs"


def _over_https(url: str) -> str:
    """An ssh or git address as the https address beside it: without login and port, which are those of ssh."""
    if url.startswith("/"):
        return f"file://{quote(url)}"
    if short := _SHORT.fullmatch(url):
        return f"https://{short['host']}/{quote(short['path'], safe='/~')}"
    parts = urlsplit(url)
    if parts.scheme not in ("ssh", "git"):
        return url
    host = parts.netloc.rpartition("@")[2]
    host = re.sub(r":[0-9]+$", "", host) if parts.scheme == "ssh" else host
    return f"https://{host}{parts.path}"


class Discovery:
    """Finds the LFS server of one mirror; may be asked by several threads.

    Args:
        remote: The mirror's remote.
        git: The mirror's git dir, whose user's configuration counts; see `gitcommand`.
        lfs_url: The mirror's own setting, which goes before everything.
        clock: The clock that `Endpoint.expires_at` is measured with.
    """

    def __init__(
        self, remote: Remote, git: Git, lfs_url: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._remote = remote
        self._git = git
        self._lfs_url = lfs_url
        self._clock = clock
        self._places: dict[str, tuple[Remote, str]] = {}
        self._known: dict[str, Endpoint] = {}
        self._lock = threading.Lock()

    @property
    def asks_ssh(self) -> bool:
        """Whether finding the server may take a connection over ssh."""
        return not self._lfs_url and self._remote.kind is RemoteKind.SSH

    def endpoint(self, operation: str) -> Endpoint:
        """The server for an operation.

        Args:
            operation: `upload` or `download`, which may have servers of their own.

        Raises:
            OnlyOverSshError: Only stock git-lfs can speak with it.
            BlockedError: There is none, or its address may not be used (RefusedError when the host named it).
            AuthError: ssh does not let us in.
            TransientError: ssh gets no answer.
            UserError: The address in git's configuration is none that lfssync uses.
        """
        with self._lock:
            if operation not in self._places:
                self._places[operation] = self._place(operation)
            remote, url = self._places[operation]
            if remote.kind is not RemoteKind.SSH:
                return Endpoint(_checked(_without_login(url)))
            known = self._known.get(operation)
            if known is None or (known.expires_at is not None and self._clock() >= known.expires_at - EARLY_S):
                known = self._known[operation] = self._over_ssh(place_of(remote), operation, url)
            return known

    def forget(self, operation: str) -> None:
        """The server did not take what ssh gave us for an operation: ssh is asked anew the next time."""
        with self._lock:
            self._known.pop(operation, None)

    def _place(self, operation: str) -> tuple[Remote, str]:
        """Whom the user's settings name for an operation, and the server's address unless ssh knows better."""
        if self._lfs_url:
            remote = parse_remote(self._lfs_url, Path.home())
            return remote, remote.url
        named = _named(operation, self._remote.url, self._settings())
        remote = self._really(named or self._remote.url, operation)
        if remote.kind is RemoteKind.LOCAL:
            raise BlockedError(f"{remote.url} is a folder and has no LFS server", 'set transfer = "bare"')
        return remote, _over_https(remote.url) if named else derived(remote.url)

    def _really(self, address: str, operation: str) -> Remote:
        """Where git goes for an address, checked like any remote."""
        goes = pushed_to if operation == "upload" else fetched_from
        return parse_remote(goes(address, self._git.settings()), Path.home())

    def _settings(self) -> dict[str, str]:
        """What the user's own configuration says about LFS servers: the last value of each key."""
        said = self._git.settings()
        ours = (one for one in said if one.scope in _TRUSTED_SCOPES and _SETTINGS.fullmatch(one.key))
        return {one.key: one.value for one in ours if one.value}

    def _over_ssh(self, place: Place, operation: str, url: str) -> Endpoint:
        sent = Sent(self._clock(), time.time())
        answer = run_there(place, ["git-lfs-authenticate", place.path, operation], self._git)
        if answer.status == 0:
            return _told(_document(answer, place), sent, url)
        if answer.status == 127 or _ABSENT.search(answer.stderr):
            self._refuse_if_only_over_ssh(place, operation)
            return Endpoint(_checked(url))
        raise explain("lfs-authenticate", answer.status, answer.stderr, f"ssh://{place.login}")

    def _refuse_if_only_over_ssh(self, place: Place, operation: str) -> None:
        answer = run_there(place, ["git-lfs-transfer", place.path, operation], self._git)
        if _SPEAKS_LFS_OVER_SSH.match(answer.stdout):
            raise OnlyOverSshError(f"{place.login} speaks LFS over ssh alone", 'set transfer = "git-lfs"')


def _named(operation: str, address: str, settings: Mapping[str, str]) -> str | None:
    """The server that the user's configuration names for an operation, by git-lfs's order; None when it names none.

    A remote of that configuration counts when it is this address; git-lfs also takes an address for a remote's name.
    """
    here = [key for key, value in settings.items() if value == address and _REMOTE_URL.fullmatch(key)]
    names = [address, *(key.removeprefix("remote.").removesuffix(".url") for key in here)]
    keys = ["lfs.pushurl", "lfs.url", *(f"remote.{name}.{key}" for name in names for key in ("lfspushurl", "lfsurl"))]
    wanted = [key for key in keys if operation == "upload" or not key.endswith("pushurl")]
    return next((settings[key] for key in wanted if key in settings), None)


def _document(answer: Output, place: Place) -> dict[str, Any]:
    """The JSON in an answer of ssh; what a login shell says before it does not matter."""
    text = answer.stdout.decode("utf-8", "replace")
    for found in re.finditer(r"\{", text):
        try:
            document, _ = json.JSONDecoder().raw_decode(text, found.start())
        except ValueError:
            continue
        if isinstance(document, dict):
            return document
    raise RefusedError(f"{place.login} answers git-lfs-authenticate with no JSON", "ask who runs the server")


def _told(document: Mapping[str, Any], sent: Sent, url: str) -> Endpoint:
    """The server as ssh names it; what it leaves out is as if it had said nothing."""
    href, header = document.get("href"), document.get("header")
    headers = {
        name: value
        for name, value in (header.items() if isinstance(header, dict) else ())
        if isinstance(value, str) and _HEADER_NAME.fullmatch(name) and value.isprintable()
    }
    where = href.rstrip("/") if isinstance(href, str) and href else url
    return Endpoint(_checked(where), headers, expiry(document, sent))


def _checked(url: str) -> str:
    """An address that objects and logins may be sent to."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))
        safe = safe and bool(host) and "@" not in parts.netloc and not parts.query and not parts.fragment
        safe = safe and parts.port != 0 and url.isprintable() and " " not in url
    except ValueError:
        safe = False
    if not safe:
        raise RefusedError(f"{mask(url)!r} cannot be an LFS server", "ask who runs the server: it must be https://...")
    return url


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
