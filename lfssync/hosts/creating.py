"""Seeing to it that a repository exists: from the address of a remote to the host's own answer.

Beside the line: `add` and `push` come here when they are told to create, and a daemon before the first pass of a mirror
that says so. The one thing to know: a login that the host refuses is reported, and the next one is tried.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from lfssync.credentials import Credential, Credentials
from lfssync.errors import AuthError
from lfssync.git.gitcommand import Git
from lfssync.hosts import Host, Wish
from lfssync.hosts.api import UnknownLoginError
from lfssync.hosts.known import host_of, recognised
from lfssync.rules.remotes import RemoteKind, parse_remote
from lfssync.web.client import Client
from lfssync.web.trust import Trust, git_settings

T = TypeVar("T")

_LOGINS = 5


def create_repository(
    url: str, wish: Wish, credentials: Credentials, environment: Mapping[str, str], stop: threading.Event | None = None
) -> bool:
    """Create the repository of a remote unless it is there.

    Args:
        url: The remote, as `parse_remote` gives it.
        wish: How it shall be.
        credentials: Who knows the login.
        environment: Usually `os.environ`.
        stop: When set, it is broken off.

    Returns:
        Whether it was made just now.

    Raises:
        LfssyncError: It is not there and could not be created; the kind says why.
    """
    with _client(environment, stop) as client:
        host = recognised(host_of(url, environment), client)
        path = _path(host, url)
        made = with_login(host, url, credentials, lambda credential: host.create(client, credential, path, wish))
    return made.is_new


def release_page(
    url: str, tag: str, notes: str, credentials: Credentials, environment: Mapping[str, str]
) -> str | None:
    """The page of a release that is on the remote, made unless it is there; None where the host has no such pages.

    Args:
        url: The remote, as `parse_remote` gives it.
        tag: The tag, pushed and verified.
        notes: The page's text.
        credentials: Who knows the login.
        environment: Usually `os.environ`.
    """
    with _client(environment, None) as client:
        host = recognised(host_of(url, environment), client)
        path = _path(host, url)
        if not host.has_pages:
            return None
        return with_login(
            host, url, credentials, lambda credential: host.release(client, credential, path, tag, tag, notes)
        )


def with_login(host: Host, url: str, credentials: Credentials, action: Callable[[Credential], T]) -> T:
    """Do something with the login for a remote; with the next one when the host does not know it.

    Raises:
        AuthError: Nobody has a login that it takes.
    """
    remote = parse_remote(url, Path("/"))
    asked = f"https://{host.host}/{remote.path}" if remote.kind is RemoteKind.SSH else url
    refused: AuthError | None = None
    for _ in range(_LOGINS):
        credential = credentials.find(asked)
        if credential is None:
            break
        try:
            return action(credential)
        except UnknownLoginError as error:
            refused = error
            credentials.refused(asked, credential)
    raise refused or AuthError(f"there is no login for {host.host}", f"log in first: lfssync login {host.host}")


def _client(environment: Mapping[str, str], stop: threading.Event | None) -> Client:
    return Client(Trust(environment, git_settings(Git(Path(os.devnull)))), stop)


def _path(host: Host, url: str) -> str:
    """The path of a repository on its host; a server that stands for the Hub may be below a path of its own."""
    return (
        url.removeprefix(f"{host.address}/")
        if url.startswith(f"{host.address}/")
        else parse_remote(url, Path("/")).path
    )
