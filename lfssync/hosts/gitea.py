"""Gitea and Forgejo, such as Codeberg.

One of the hosts. The one thing to know: licences go by the names that SPDX has for them, with their capitals, and
choosing one makes a first commit.

Source: go-gitea/gitea, routers/api/v1/repo/repo.go, modules/structs/repo.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from lfssync.credentials import Credential
from lfssync.hosts import UNKNOWN_LIMITS, Identity, Limits, Made, Wish, forge
from lfssync.hosts.api import Api, licence, owner_and_name, require_tag

if TYPE_CHECKING:
    from lfssync.web.client import Client


@dataclass(frozen=True, slots=True)
class Gitea:
    """A Gitea or Forgejo server.

    Args:
        address: `https://codeberg.org`.
    """

    address: str
    name: str = "Gitea"
    limits: Limits = UNKNOWN_LIMITS
    has_pages: bool = True

    @property
    def host(self) -> str:
        """See `Host.host`."""
        return urlsplit(self.address).netloc

    def authorization(self, credential: Credential) -> str:
        """See `Host.authorization`."""
        return f"token {credential.secret}"

    def _api(self, client: Client, credential: Credential) -> Api:
        return Api(client, f"{self.address}/api/v1", self.authorization(credential))

    def whoami(self, client: Client, credential: Credential) -> Identity:
        """See `Host.whoami`. What a token is for is not told."""
        login, _ = forge.account(self._api(client, credential), self.host)
        return Identity(login)

    def create(self, client: Client, credential: Credential, path: str, wish: Wish) -> Made:
        """See `Host.create`."""
        owner, name = owner_and_name(path, self.name)
        given: dict[str, object] = {
            "private": not wish.is_public,
            "auto_init": bool(wish.license),
            "default_branch": wish.branch,
        }
        if wish.license:
            given["license"] = licence(wish.license)
        is_new = forge.ensure(self._api(client, credential), self.host, owner, name, given)
        return Made(f"{self.address}/{owner}/{name}.git", is_new)

    def release(
        self, client: Client, credential: Credential, path: str, tag: str, title: str, notes: str
    ) -> str | None:
        """See `Host.release`."""
        owner, name = owner_and_name(path, self.name)
        require_tag(client, credential, f"{self.address}/{owner}/{name}.git", tag)
        forge.ensure_release(self._api(client, credential), self.host, f"{owner}/{name}", tag, title, notes)
        return f"{self.address}/{owner}/{name}/releases/tag/{quote(tag)}"
