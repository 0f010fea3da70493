"""Hosts against their stand-ins: who somebody is, repositories that come to be, and release pages for tags."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from lfssync.credentials import Credential
from lfssync.errors import AuthError, BlockedError, LfssyncError, TransientError, UserError
from lfssync.hosts import Host, Identity, Wish, creating
from lfssync.hosts.gitea import Gitea
from lfssync.hosts.github import GitHub
from lfssync.hosts.gitlab import GitLab
from lfssync.hosts.huggingface import HuggingFace
from lfssync.hosts.known import host_of, recognised
from lfssync.hosts.plain import PlainHost
from lfssync.web.client import Client
from lfssync.web.retrying import Patience
from tests.logins import Logins
from tests.servers import forges, hub
from tests.servers.forges import Forge
from tests.servers.hub import Hub
from tests.servers.troubles import ALWAYS, Trouble, Troubles, html

NOBODY = Credential("me", "no-such-token")


@dataclass
class Site:
    """A host and the server that plays it."""

    host: Host
    server: Forge | Hub
    token: Credential
    read_token: Credential

    def branches(self, path: str) -> dict[str, str]:
        return self.server.repositories[path].refs("refs/heads/")


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("api", "huggingface"):
        monkeypatch.setattr(f"lfssync.hosts.{module}.PATIENCE", Patience(tries=4, first_s=0.01, asked_s=20.0))


@pytest.fixture
def client() -> Iterator[Client]:
    with Client() as running:
        yield running


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        if request.param == "hub":
            server = stack.enter_context(hub.hub_at(tmp_path / "host"))
            tokens = Credential("hf_user", hub.TOKEN), Credential("hf_user", hub.READ_TOKEN)
            yield Site(HuggingFace(server.address), server, *tokens)
            return
        start = {"github": forges.github_at, "gitlab": forges.gitlab_at, "gitea": forges.gitea_at}[request.param]
        forge = stack.enter_context(start(tmp_path / "host"))
        kinds: dict[str, Host] = {
            "github": GitHub(forge.address, f"{forge.address}/api"),
            "gitlab": GitLab(forge.address),
            "gitea": Gitea(forge.address),
        }
        tokens = Credential("me", forges.TOKEN), Credential("me", forges.READ_TOKEN)
        yield Site(kinds[request.param], forge, *tokens)


def on(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("site", kinds, indirect=True)


ALL = ("hub", "github", "gitlab", "gitea")
FORGES = ("github", "gitlab", "gitea")


@pytest.mark.parametrize(
    ("site", "identity", "of_reader"),
    [
        (
            "hub",
            Identity("me", ("my-organisation",), ("write",), True),
            Identity("me", ("my-organisation",), ("read",), False),
        ),
        (
            "github",
            Identity("me", (), ("repo", "api", "write:repository"), True),
            Identity("me", (), ("read_api",), False),
        ),
        (
            "gitlab",
            Identity("me", (), ("repo", "api", "write:repository"), True),
            Identity("me", (), ("read_api",), False),
        ),
        ("gitea", Identity("me"), Identity("me")),
    ],
    indirect=["site"],
)
def test_a_login_is_known_with_what_it_may_do(
    site: Site, client: Client, identity: Identity, of_reader: Identity
) -> None:
    assert site.host.whoami(client, site.token) == identity
    assert site.host.whoami(client, site.read_token) == of_reader


@on(*ALL)
def test_a_login_that_nobody_knows_is_refused(site: Site, client: Client) -> None:
    with pytest.raises(AuthError, match="HTTP 401"):
        site.host.whoami(client, NOBODY)
    with pytest.raises(AuthError, match="HTTP 401"):
        site.host.create(client, NOBODY, "me/m", Wish())
    assert not site.server.repositories


@on(*ALL)
@pytest.mark.parametrize("owner", ["me", "my-organisation"])
@pytest.mark.parametrize("is_public", [False, True])
def test_a_repository_comes_to_be_and_may_be_asked_for_again(
    site: Site, client: Client, owner: str, is_public: bool
) -> None:
    url = site.host.create(client, site.token, f"{owner}/m", Wish(is_public)).address
    assert url.removesuffix(".git") == f"{site.server.address}/{owner}/m"
    assert site.server.repositories[f"{owner}/m"].is_private is not is_public
    assert site.host.create(client, site.token, f"{owner}/m", Wish()) == (url, False)
    if isinstance(site.server, Forge):  # the Hub shows only to writers whether a repository may be written to
        assert site.host.create(client, site.read_token, f"{owner}/m", Wish()) == (url, False)
    assert site.server.repositories[f"{owner}/m"].is_private is not is_public


@on(*ALL)
def test_a_token_without_the_right_to_create_is_told_so(site: Site, client: Client) -> None:
    with pytest.raises(AuthError, match="HTTP 403"):
        site.host.create(client, site.read_token, "me/m", Wish())
    with pytest.raises(LfssyncError, match=r"HTTP 40[34]"):
        site.host.create(client, site.token, "somebody/m", Wish())
    assert not site.server.repositories


@on("hub")
def test_what_may_not_be_created_but_exists_is_a_success(site: Site, client: Client) -> None:
    assert isinstance(site.server, Hub)
    site.server.make("me/m")
    site.server.may_create = False
    assert site.host.create(client, site.token, "me/m", Wish()) == (f"{site.server.address}/me/m", False)


@on("hub")
def test_datasets_go_by_their_prefix_and_spaces_are_not_made(site: Site, client: Client) -> None:
    url = site.host.create(client, site.token, "datasets/me/corpus", Wish()).address
    assert url == f"{site.server.address}/datasets/me/corpus"
    assert "datasets/me/corpus" in site.server.repositories
    with pytest.raises(UserError, match="choice of software"):
        site.host.create(client, site.token, "spaces/me/app", Wish())


@on(*ALL)
def test_a_host_that_is_busy_is_asked_again(site: Site, client: Client) -> None:
    step = "create"
    site_troubles(site).plan(step, Trouble(503), html(502), Trouble(429, headers={"Retry-After": "0"}))
    site.host.create(client, site.token, "me/m", Wish())
    assert len(site.server.steps(step)) == 4
    assert "me/m" in site.server.repositories


@on(*ALL)
def test_a_reply_that_got_lost_is_no_harm(site: Site, client: Client) -> None:
    site_troubles(site).plan("create", Trouble(0, is_done=True))
    site.host.create(client, site.token, "me/m", Wish())
    assert list(site.server.repositories) == ["me/m"]


@on(*ALL)
def test_a_host_that_stays_away_passes_by_itself(site: Site, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    site_troubles(site).plan("create", Trouble(429, headers={"Retry-After": "3600"}, times=ALWAYS))
    with pytest.raises(TransientError) as refused:
        site.host.create(client, site.token, "me/m", Wish())
    assert refused.value.retry_after_s == 3600


@on("github", "gitea")
def test_a_limit_on_requests_is_not_taken_for_a_refusal(site: Site, client: Client) -> None:
    reset = str(int(time.time()) + 1800)
    limit = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
    site_troubles(site).plan("user", Trouble(403, headers=limit), Trouble(403, headers={"X-RateLimit-Remaining": "7"}))
    with pytest.raises(TransientError) as refused:
        site.host.whoami(client, site.token)
    assert 1700 < (refused.value.retry_after_s or 0) <= 1800
    with pytest.raises(AuthError):
        site.host.whoami(client, site.token)


@on("hub")
def test_the_hubs_own_way_to_say_wait_is_understood(site: Site, client: Client) -> None:
    site_troubles(site).plan("whoami", Trouble(429, headers={"RateLimit": '"api";r=0;t=0'}))
    assert site.host.whoami(client, site.token).name == "me"
    assert len(site.server.steps("whoami")) == 2


@on(*ALL)
def test_a_page_in_the_place_of_an_answer_is_no_answer(site: Site, client: Client) -> None:
    step = "whoami" if site.host.name == "Hugging Face" else "user"
    site_troubles(site).plan(step, *[html(200)] * 8)
    with pytest.raises(TransientError, match="no JSON"):
        site.host.whoami(client, site.token)


@on("github")
def test_a_repository_that_is_not_there_at_once_is_waited_for(site: Site, client: Client) -> None:
    assert isinstance(site.server, Forge)
    site.server.hidden_looks = 3
    site.host.create(client, site.token, "me/m", Wish())
    assert site.server.hidden_looks == 0
    assert len(site.server.steps("repository")) == 4


@on("github")
def test_it_is_not_waited_for_without_end(site: Site, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(site.server, Forge)
    monkeypatch.setattr("lfssync.hosts.github.READY_LAST_S", 0.01)
    monkeypatch.setattr("lfssync.hosts.github.READY_FIRST_S", 0.01)
    site.server.hidden_looks = ALWAYS
    with pytest.raises(TransientError, match="does not show it yet"):
        site.host.create(client, site.token, "me/m", Wish())


@on("github", "gitea")
def test_a_licence_makes_a_first_commit(site: Site, client: Client) -> None:
    site.host.create(client, site.token, "me/m", Wish(license="MIT", branch="main"))
    head = site.branches("me/m")["main"]
    assert site.server.repositories["me/m"].git("show", f"{head}:LICENSE").strip().lower() == b"mit"


@on("hub")
def test_a_licence_is_part_of_the_card(site: Site, client: Client) -> None:
    site.host.create(client, site.token, "me/m", Wish(license="Apache-2.0"))
    head = site.branches("me/m")["main"]
    assert site.server.repositories["me/m"].git("show", f"{head}:README.md") == b"---\nlicense: apache-2.0\n---\n"


@on("gitlab")
def test_a_host_without_licences_says_so_and_makes_nothing(site: Site, client: Client) -> None:
    with pytest.raises(UserError, match="no licences"):
        site.host.create(client, site.token, "me/m", Wish(license="mit"))
    assert not site.server.repositories


@on(*ALL)
@pytest.mark.parametrize("path", ["m", "me/", "/m"])
def test_a_path_that_names_no_repository_is_refused(site: Site, client: Client, path: str) -> None:
    with pytest.raises(UserError):
        site.host.create(client, site.token, path, Wish())


@on("gitea")
def test_the_first_branch_is_the_one_that_will_be_pushed(site: Site, client: Client) -> None:
    site.host.create(client, site.token, "me/m", Wish(branch="models"))
    assert site.server.repositories["me/m"].git("symbolic-ref", "HEAD") == b"refs/heads/models\n"


def released(site: Site, client: Client, tmp_path: Path) -> None:
    """A repository with a commit and a tag `v1`."""
    site.host.create(client, site.token, "me/m", Wish())
    repository = site.server.repositories["me/m"]
    head = repository.commit("main", None, {"a.txt": b"a\n"}, "me", "first")
    repository.git("-c", "user.name=me", "-c", "user.email=me@host", "tag", "-a", "-m", "one", "v1", head)
    repository.git("tag", "rc/1", head)


@on(*FORGES)
def test_a_tag_gets_a_page_once(site: Site, client: Client, tmp_path: Path) -> None:
    assert isinstance(site.server, Forge)
    released(site, client, tmp_path)
    page = site.host.release(client, site.token, "me/m", "v1", "Version 1", "Longer context")
    assert page == site.host.release(client, site.token, "me/m", "v1", "Version 1", "Longer context")
    assert page is not None
    assert page.startswith(f"{site.server.address}/me/m/")
    assert page.endswith("/v1")
    made = site.server.releases["me/m", "v1"]
    assert made["name"] == "Version 1"
    assert made.get("body", made.get("description")) == "Longer context"
    assert site.host.release(client, site.token, "me/m", "rc/1", "", "") is not None
    assert not site.server.made_up_tags


@on(*FORGES)
def test_a_host_is_never_let_to_make_up_a_tag(site: Site, client: Client, tmp_path: Path) -> None:
    assert isinstance(site.server, Forge)
    released(site, client, tmp_path)
    with pytest.raises(BlockedError, match="v2 is not on"):
        site.host.release(client, site.token, "me/m", "v2", "Version 2", "")
    with pytest.raises(BlockedError, match="the tag 1 is not on"):
        site.host.release(client, site.token, "me/m", "1", "", "")
    assert not site.server.releases
    assert not site.server.made_up_tags


@on(*FORGES)
def test_a_page_that_may_not_be_made_is_told(site: Site, client: Client, tmp_path: Path) -> None:
    released(site, client, tmp_path)
    with pytest.raises(AuthError, match="HTTP 403"):
        site.host.release(client, site.read_token, "me/m", "v1", "Version 1", "")


def test_the_hub_and_plain_hosts_have_no_pages(client: Client) -> None:
    for host in (HuggingFace("https://huggingface.co"), PlainHost("https://git.example.org")):
        assert not host.has_pages
        assert host.release(client, NOBODY, "me/m", "v1", "", "") is None


@on("gitlab", "gitea", "hub")
def test_an_unknown_server_is_recognised_by_its_answers(site: Site, client: Client) -> None:
    found = recognised(host_of(f"{site.server.address}/me/m", {}), client)
    assert type(found) is type(site.host)
    assert found.address == site.server.address
    assert not any("authorization" in seen.headers for seen in site.server.seen)


@on("github")
def test_a_server_that_is_none_of_them_stays_what_it_is(site: Site, client: Client) -> None:
    host = recognised(host_of(f"{site.server.address}/me/m", {}), client)
    assert host == PlainHost(site.server.address)
    with pytest.raises(UserError, match="does not know how"):
        host.create(client, site.token, "me/m", Wish())


@on("gitlab", "gitea", "hub")
def test_from_the_address_of_a_remote_to_a_repository(site: Site) -> None:
    logins = Logins([NOBODY, site.token])
    url = f"{site.server.address}/me/m"
    creating.create_repository(url, Wish(), logins, {})
    assert "me/m" in site.server.repositories
    assert logins.refusals == [NOBODY]


@on("gitea")
def test_a_login_that_may_not_create_is_not_held_to_be_wrong(site: Site) -> None:
    logins = Logins([site.read_token, site.token])
    with pytest.raises(AuthError, match="HTTP 403"):
        creating.create_repository(f"{site.server.address}/me/m", Wish(), logins, {})
    assert not logins.refusals


def test_without_a_login_it_is_said_how_to_get_one() -> None:
    with pytest.raises(AuthError, match=r"no login for github\.com") as refused:
        creating.create_repository("https://github.com/me/m.git", Wish(), Logins([]), {})
    assert refused.value.remedy == "log in first: lfssync login github.com"


@on("gitea")
def test_a_release_page_from_the_address_of_a_remote(site: Site, client: Client, tmp_path: Path) -> None:
    released(site, client, tmp_path)
    url = f"{site.server.address}/me/m.git"
    page = creating.release_page(url, "v1", "notes", Logins([site.token]), {})
    assert page == f"{site.server.address}/me/m/releases/tag/v1"


def site_troubles(site: Site) -> Troubles:
    return site.server.failures.troubles if isinstance(site.server, Hub) else site.server.troubles
