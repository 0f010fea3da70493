"""Hosts of repositories: what each takes, who somebody is there, and how a repository or a release page comes to be.

Beside the line: commands come here, a pass only asks `preflight` what a host would refuse. Each host is one small
module; `known` finds the one for an address. The one thing to know: nothing here makes or moves a commit or a tag, and
what exists already is a success, so everything may be called again after an answer that was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from lfssync.credentials import Credential
    from lfssync.web.client import Client


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose login it is.

    Args:
        name: The account.
        organisations: Those of the account, where the host tells.
        scopes: What the token is for, in the host's own words.
        may_write: Whether it may change repositories; None where the host does not tell.
    """

    name: str
    organisations: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    may_write: bool | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a host takes; None and empty mean that nothing is known about it. Sizes in bytes.

    Args:
        host: Whose limits they are, for messages.
        lfs_object_bytes: The largest LFS object.
        lfs_warn_bytes: Above this an LFS object is refused for some accounts.
        plain_file_bytes: The largest file outside LFS.
        plain_warn_bytes: Above this the host complains about files outside LFS.
        folder_entries: At most so many files and folders in one folder.
        binary_needs_lfs: Whether binary files of any size must be LFS objects.
        has_cards: Whether README.md begins with metadata that is checked.
        forbidden_names: Names that no file or folder may have.
    """

    host: str = ""
    lfs_object_bytes: int | None = None
    lfs_warn_bytes: int | None = None
    plain_file_bytes: int | None = None
    plain_warn_bytes: int | None = None
    folder_entries: int | None = None
    binary_needs_lfs: bool = False
    has_cards: bool = False
    forbidden_names: frozenset[bytes] = frozenset()


UNKNOWN_LIMITS = Limits()
"""Of a host about which nothing is known."""


class Made(NamedTuple):
    """A repository: its address for git, and whether it was made just now."""

    address: str
    is_new: bool


@dataclass(frozen=True, slots=True)
class Wish:
    """How a new repository shall be.

    Args:
        is_public: Whether everybody may read it.
        license: A licence's identifier, such as `apache-2.0`; empty for none.
        branch: The branch that will be pushed first.
    """

    is_public: bool = False
    license: str = ""
    branch: str = "main"


class Host(Protocol):
    """A host. Every method may raise `AuthError`, `TransientError` or `BlockedError`."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def address(self) -> str:
        """What the addresses of its repositories begin with."""

    @property
    def host(self) -> str:
        """The `host[:port]` that logins are kept for."""

    @property
    def limits(self) -> Limits:
        """What it takes."""

    @property
    def has_pages(self) -> bool:
        """Whether a release may have a page there."""

    def whoami(self, client: Client, credential: Credential) -> Identity:
        """Whose login it is; the check before one is kept.

        Raises:
            AuthError: The host does not know it.
        """

    def create(self, client: Client, credential: Credential, path: str, wish: Wish) -> Made:
        """See to it that a repository exists.

        Args:
            client: Sends requests.
            credential: Whose repository it will be, or who may create them for an organisation.
            path: Of the repository, owner first: `me/my-model`.
            wish: How it shall be, if it has to be made.

        Returns:
            Its address for git, and whether it was made just now.

        Raises:
            UserError: The host has no such thing.
        """

    def release(
        self, client: Client, credential: Credential, path: str, tag: str, title: str, notes: str
    ) -> str | None:
        """See to it that a tag has a release page.

        Args:
            client: Sends requests.
            credential: Who may do that.
            path: Of the repository.
            tag: On the remote already: a host would make a missing one, wherever it likes.
            title: The page's heading.
            notes: Its text, in Markdown.

        Returns:
            The page's address; None where the host has no such pages.
        """

    def authorization(self, credential: Credential) -> str:
        """The `Authorization` header of a login."""
