"""GitHub.

One of the hosts. The one thing to know: a new repository is not there at once for everybody who asks, so it is waited
for, a bounded time.

Source: google/go-github, `repos.go`, `users.go`; GitHub Docs, about large files and Git LFS.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from lfssync.credentials import Credential
from lfssync.errors import TransientError
from lfssync.hosts import Identity, Limits, Made, Wish, forge
from lfssync.hosts.api import Api, licence, owner_and_name, require_tag
from lfssync.hosts.preflight import GITHUB

if TYPE_CHECKING:
    from lfssync.web.client import Client

READY_TRIES = 12
READY_FIRST_S = 0.1
READY_LAST_S = 3.0


@dataclass(frozen=True, slots=True)
class GitHub:
    """GitHub.

    Args:
        address: Of its repositories.
        api: Of its interface.
    """

    address: str = "https://github.com"
    api: str = "https://api.github.com"
    name: str = "GitHub"
    limits: Limits = GITHUB
    has_pages: bool = True

    @property
    def host(self) -> str:
        """See `Host.host`."""
        return urlsplit(self.address).netloc

    def authorization(self, credential: Credential) -> str:
        """See `Host.authorization`."""
        return f"Bearer {credential.secret}"

    def _api(self, client: Client, credential: Credential) -> Api:
        return Api(client, self.api, self.authorization(credential), "application/vnd.github+json")

    def whoami(self, client: Client, credential: Credential) -> Identity:
        """See `Host.whoami`. Only classic tokens say what they are for."""
        login, answer = forge.account(self._api(client, credential), self.name)
        said = answer.headers.get("X-OAuth-Scopes")
        if said is None:
            return Identity(login)
        scopes = tuple(scope.strip() for scope in said.split(",") if scope.strip())
        return Identity(login, (), scopes, "repo" in scopes or "public_repo" in scopes)

    def create(self, client: Client, credential: Credential, path: str, wish: Wish) -> Made:
        """See `Host.create`."""
        owner, name = owner_and_name(path, self.name)
        given: dict[str, object] = {"private": not wish.is_public, "auto_init": bool(wish.license)}
        if wish.license:
            given["license_template"] = licence(wish.license).lower()
        api = self._api(client, credential)
        is_new = forge.ensure(api, self.name, owner, name, given)
        if is_new:
            self._wait_for(api, owner, name)
        return Made(f"{self.address}/{owner}/{name}.git", is_new)

    def _wait_for(self, api: Api, owner: str, name: str) -> None:
        pause_s = READY_FIRST_S
        for _ in range(READY_TRIES):
            if forge.exists(api, self.name, owner, name):
                return
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, READY_LAST_S)
        raise TransientError(f"{self.name} created {owner}/{name}, but does not show it yet", "try again in a minute")

    def release(
        self, client: Client, credential: Credential, path: str, tag: str, title: str, notes: str
    ) -> str | None:
        """See `Host.release`."""
        owner, name = owner_and_name(path, self.name)
        require_tag(client, credential, f"{self.address}/{owner}/{name}.git", tag)
        forge.ensure_release(self._api(client, credential), self.name, f"{owner}/{name}", tag, title, notes)
        return f"{self.address}/{owner}/{name}/releases/tag/{quote(tag)}"
