"""GitLab.

One of the hosts. The one thing to know: groups are nested, and a project is made in a namespace that goes by its
number; the account's own needs none.

Source: GitLab's documentation of its REST interface: projects, namespaces, releases, personal access tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from lfssync.credentials import Credential
from lfssync.errors import LfssyncError, TransientError, UserError
from lfssync.hosts import UNKNOWN_LIMITS, Identity, Limits, Made, Wish
from lfssync.hosts.api import Api, quoted, refusal, require_tag, text, texts

if TYPE_CHECKING:
    from lfssync.web.client import Client

_MAY_EXIST = (400, 401, 403, 404, 409)
_WRITING = frozenset({"api", "write_repository"})


@dataclass(frozen=True, slots=True)
class GitLab:
    """GitLab, the service or a server of one's own.

    Args:
        address: `https://gitlab.com`.
    """

    address: str = "https://gitlab.com"
    name: str = "GitLab"
    limits: Limits = UNKNOWN_LIMITS
    has_pages: bool = True

    @property
    def host(self) -> str:
        """See `Host.host`."""
        return urlsplit(self.address).netloc

    def authorization(self, credential: Credential) -> str:
        """See `Host.authorization`."""
        return f"Bearer {credential.secret}"

    def _api(self, client: Client, credential: Credential) -> Api:
        return Api(client, f"{self.address}/api/v4", self.authorization(credential))

    def whoami(self, client: Client, credential: Credential) -> Identity:
        """See `Host.whoami`. Scopes are known for personal tokens, not for those of groups and projects."""
        api = self._api(client, credential)
        name = text(api.ask(f"{self.host} does not know this token", "GET", "/user").document(), "username")
        asked = "/personal_access_tokens/self"
        answer = api.ask(f"{self.host} does not tell about this token", "GET", asked, also=(400, 401, 403, 404))
        document = answer.document() if answer.is_success else None
        scopes = texts(document.get("scopes") if isinstance(document, dict) else None)
        return Identity(name, (), scopes, bool(_WRITING & set(scopes)) if scopes else None)

    def create(self, client: Client, credential: Credential, path: str, wish: Wish) -> Made:
        """See `Host.create`."""
        group, _, name = path.strip("/").removesuffix(".git").rpartition("/")
        if not group or not name:
            raise UserError(f"{path} is no project of {self.name}", "write group/name")
        if wish.license:
            raise UserError(f"{self.name} has no licences to choose from", "put a file LICENSE into the directory")
        api = self._api(client, credential)
        login = text(api.ask(f"{self.host} does not know this token", "GET", "/user").document(), "username")
        given: dict[str, object] = {
            "path": name,
            "visibility": "public" if wish.is_public else "private",
            "initialize_with_readme": False,
            "lfs_enabled": True,
        }
        if login.lower() != group.lower():
            given["namespace_id"] = self._namespace(api, group)
        what = f"{self.host} does not create {group}/{name}"
        answer = api.ask(what, "POST", "/projects", given, also=_MAY_EXIST)
        if not answer.is_success and not self._exists(api, f"{group}/{name}"):
            raise refusal(answer, what)
        return Made(f"{self.address}/{group}/{name}.git", answer.is_success)

    def _namespace(self, api: Api, group: str) -> int:
        found = api.ask(f"{self.host} shows no group {group}", "GET", f"/namespaces/{quoted(group)}").document()
        number = found.get("id") if isinstance(found, dict) else None
        if not isinstance(number, int):
            raise TransientError(f"{self.host} does not tell the number of the group {group}", "it is tried again")
        return number

    def _exists(self, api: Api, path: str) -> bool:
        what = f"{self.host} does not say whether it has {path}"
        return api.ask(what, "GET", f"/projects/{quoted(path)}", also=(401, 403, 404)).is_success

    def release(
        self, client: Client, credential: Credential, path: str, tag: str, title: str, notes: str
    ) -> str | None:
        """See `Host.release`."""
        path = path.strip("/").removesuffix(".git")
        require_tag(client, credential, f"{self.address}/{path}.git", tag)
        api = self._api(client, credential)
        project = f"/projects/{quoted(path)}/releases"
        try:
            given = {"tag_name": tag, "name": title, "description": notes}
            api.ask(f"{self.host} makes no release page for {tag}", "POST", project, given)
        except LfssyncError:  # 409 when there is one
            asked = f"{project}/{quoted(tag)}"
            what = f"{self.host} shows no release page for {tag}"
            if not api.ask(what, "GET", asked, also=(401, 403, 404)).is_success:
                raise
        return f"{self.address}/{path}/-/releases/{quote(tag)}"
