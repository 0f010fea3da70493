"""What GitHub and Gitea have in common: accounts, repositories and releases below the same paths.

Under the two hosts. The one thing to know: both say "invalid" with the same status as "exists", so after every refusal
it is looked whether the repository is there after all.

Source: go-gitea/gitea, routers/api/v1/repo; google/go-github, `repos.go`, `repos_releases.go`.
"""

from __future__ import annotations

from collections.abc import Mapping

from lfssync.errors import LfssyncError
from lfssync.hosts.api import Api, quoted, refusal, text
from lfssync.web.messages import Answer

_MAY_EXIST = (401, 402, 403, 404, 409, 422)


def account(api: Api, host: str) -> tuple[str, Answer]:
    """The name of the account, and the answer that says it."""
    answer = api.ask(f"{host} does not know this token", "GET", "/user")
    return text(answer.document(), "login"), answer


def ensure(api: Api, host: str, owner: str, name: str, given: Mapping[str, object]) -> bool:
    """See to it that a repository exists, as the account's own or as an organisation's.

    Returns:
        Whether it was made just now.
    """
    login, _ = account(api, host)
    place = "/user/repos" if login.lower() == owner.lower() else f"/orgs/{quoted(owner)}/repos"
    what = f"{host} does not create {owner}/{name}"
    answer = api.ask(what, "POST", place, {"name": name, **given}, also=_MAY_EXIST)
    if answer.is_success:
        return True
    if not exists(api, host, owner, name):
        raise refusal(answer, what)
    return False


def exists(api: Api, host: str, owner: str, name: str) -> bool:
    """Whether a repository is there for us to see."""
    what = f"{host} does not say whether it has {owner}/{name}"
    return api.ask(what, "GET", f"/repos/{quoted(owner)}/{quoted(name)}", also=(401, 403, 404)).is_success


def ensure_release(api: Api, host: str, repository: str, tag: str, title: str, notes: str) -> None:
    """See to it that a tag has a page.

    Raises:
        LfssyncError: The host refused, and there is none.
    """
    given = {"tag_name": tag, "name": title, "body": notes, "draft": False, "prerelease": False}
    try:
        api.ask(f"{host} makes no release page for {tag}", "POST", f"/repos/{repository}/releases", given)
    except LfssyncError:  # 409 or 422 when there is one
        path = f"/repos/{repository}/releases/tags/{quoted(tag)}"
        if not api.ask(f"{host} shows no release page for {tag}", "GET", path, also=(401, 403, 404)).is_success:
            raise
