"""Any other git host: it takes pushes, and that is all that is known about it.

One of the hosts. The one thing to know: nobody can be asked whose a login is here, so `whoami` asks git's own question.

Source: git's gitprotocol-http(5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lfssync.credentials import Credential
from lfssync.errors import UserError
from lfssync.hosts import UNKNOWN_LIMITS, Identity, Limits, Made, Wish
from lfssync.hosts.api import basic

if TYPE_CHECKING:
    from lfssync.web.client import Client


@dataclass(frozen=True, slots=True)
class PlainHost:
    """A host without an interface that we know.

    Args:
        address: `https://host[:port]`.
    """

    address: str
    limits: Limits = UNKNOWN_LIMITS
    has_pages: bool = False

    @property
    def name(self) -> str:
        """See `Host.name`."""
        return self.host

    @property
    def host(self) -> str:
        """See `Host.host`."""
        return urlsplit(self.address).netloc

    def authorization(self, credential: Credential) -> str:
        """See `Host.authorization`."""
        return basic(credential)

    def whoami(self, client: Client, credential: Credential) -> Identity:
        """See `Host.whoami`: who the login says."""
        return Identity(credential.username)

    def create(self, client: Client, credential: Credential, path: str, wish: Wish) -> Made:
        """See `Host.create`."""
        raise UserError(
            f"lfssync does not know how {self.host} creates repositories", f"create {path} there by hand, then add it"
        )

    def release(
        self, client: Client, credential: Credential, path: str, tag: str, title: str, notes: str
    ) -> str | None:
        """See `Host.release`: there is none."""
        return None
