"""Logins for hosts: who keeps them, who may see them, and how they reach git without touching a command line or a file.

Below the line: transfers, git and hosts ask a `Credentials` for the login of one address. The one thing to know: a
secret is in the memory of this process and in pipes to its children, and nowhere else; it never shows in a repr.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Credential:
    """A login.

    Args:
        username: What goes with the secret; hosts that know tokens take any.
        secret: A token or a password.
        source: Who had it, in words for people, such as `keyring`.
    """

    username: str
    secret: str = field(repr=False)
    source: str = ""


class Credentials(Protocol):
    """Who knows logins."""

    def find(self, url: str) -> Credential | None:
        """The login for the address of a remote or of its LFS server; None when nobody has one."""

    def refused(self, url: str, credential: Credential) -> None:
        """The host did not take it: it is remembered as refused, not deleted, and `find` looks further."""


@runtime_checkable
class AsksGit(Protocol):
    """Credentials that have asked the helpers of the user's own git as well."""

    def leaves_to_git(self, url: str) -> bool:
        """Whether git may ask its helpers itself; not when all that they have was refused: git-lfs would not stop."""


@runtime_checkable
class Remembers(Protocol):
    """Credentials that know which logins they do not give any more."""

    def passed_over(self, url: str) -> Credential | None:
        """The first login for an address that the host refused lately; None when it refused none."""


class _Nobody:
    def find(self, url: str) -> Credential | None:
        return None

    def refused(self, url: str, credential: Credential) -> None:
        pass


def nobody() -> Credentials:
    """Knows no login at all: for remotes that need none."""
    return _Nobody()
