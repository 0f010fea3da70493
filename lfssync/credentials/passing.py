"""Hands a login to a git child: over an open descriptor that it inherits, to a helper that knows one address.

Used by `gitcommand` around every command that talks to a host. The one thing to know: neither the command line nor the
environment of any child has the secret; it is in an anonymous file in memory, which goes with the last child that
holds it. Whether the host refused it is read from that file as well: git has its helper erase what did not work.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, TypeVar

from lfssync.credentials import AsksGit, Credential, Credentials, Remembers, answering
from lfssync.errors import AuthError, LfssyncError

LOGINS = 2
"""So many logins are tried for one command; the next pass goes on with the next one."""


class Ended(Protocol):
    """How a command ended."""

    @property
    def status(self) -> int:
        """Its exit status."""


E = TypeVar("E", bound=Ended)


@dataclass(frozen=True, slots=True)
class Passed:
    """What a git child needs to log in.

    Args:
        settings: For git's `-c`; they put our helper in the place of the user's own.
        fd: What the child must inherit.
    """

    settings: tuple[str, ...]
    fd: int

    @property
    def is_refused(self) -> bool:
        """Whether git had the login erased, as it does when the host says that it is wrong."""
        return os.fstat(self.fd).st_size == 0


def named_beside(remote: str, arguments: Sequence[str | bytes]) -> list[str]:
    """Addresses on the same host that git's arguments name by `-c`: an LFS server's, or the remote that it belongs to.

    Args:
        remote: What the login is for.
        arguments: Git's.
    """
    settings = [os.fsdecode(word) for option, word in pairwise(arguments) if option == "-c"]
    found = [value for key, _, value in (setting.partition("=") for setting in settings) if key.endswith("url")]
    protocol, _, host, _ = answering.split(remote)
    return [value for value in found if value != remote and answering.split(value)[::2] == (protocol, host)]


@contextlib.contextmanager
def passed(credential: Credential, *addresses: str) -> Iterator[Passed]:
    """Make a login ready for a git child.

    Args:
        credential: The login.
        addresses: What it is for: the remote, and whatever belongs to it on the same host.
    """
    fd = os.memfd_create(answering.MEMORY)
    try:
        os.write(fd, f"{credential.username}\n{credential.secret}".encode())
        words = [sys.executable, "-I", "-S", answering.__file__]
        words += [word for address in addresses for word in ("--for", address)]
        helper = "!" + shlex.join([*words, "--fd", str(fd)])
        settings = ("credential.helper=", f"credential.helper={helper}", "credential.useHttpPath=true")
        yield Passed(settings, fd)
    finally:
        os.close(fd)


def with_logins(
    login: Credentials, remote: str, beside: Sequence[str], run: Callable[[Sequence[str], Sequence[int]], E]
) -> E:
    """Run a command with the login for its remote, and once more with the next one when the host refused that.

    Args:
        login: Who knows logins; is told what was refused.
        remote: Where git goes.
        beside: See `named_beside`.
        run: Runs the command with more words for git, and descriptors to inherit.
    """
    tried: set[Credential] = set()
    ended: E | None = None
    while len(tried) < LOGINS:
        credential = login.find(remote) if is_on_web(remote) else None
        if credential is None or credential in tried:
            break
        tried.add(credential)
        with passed(credential, remote, *beside) as way:
            ended = run([word for setting in way.settings for word in ("-c", setting)], (way.fd,))
            if ended.status == 0 or not way.is_refused:
                return ended
        login.refused(remote, credential)
    asks_git = not isinstance(login, AsksGit) or login.leaves_to_git(remote)
    return ended or run(() if asks_git else ("-c", "credential.helper="), ())


def explained(error: LfssyncError, login: Credentials, remote: str) -> LfssyncError:
    """The same error, or a better one when it comes of a login that the host refused: git only knows that it has none.

    Args:
        error: What git's words mean.
        login: Who knows logins.
        remote: Whom git talked to.
    """
    if not isinstance(error, AuthError) or not is_on_web(remote) or not isinstance(login, Remembers):
        return error
    refused = login.passed_over(remote)
    if refused is None or refused.source == "keyring":
        return error
    host = answering.split(remote)[2]
    remedy = f"put a right one there, or run lfssync login {host}"
    return AuthError(f"{host} refuses the login from {refused.source}: {error.message}", remedy)


def is_on_web(remote: str) -> bool:
    """Whether git asks for a login there; ssh has keys."""
    return remote.startswith(("https://", "http://"))
