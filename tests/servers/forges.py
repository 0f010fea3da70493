"""Stand-ins of GitHub, GitLab and Gitea on the loopback: the few calls that a client needs to create and release.

Each has its own paths, words and statuses, and its quirks; git is git's own `http-backend`, LFS is `forgelfs`. The one
thing to know: like the real ones, they make a tag that is missing when they are asked for a release of it, and say so
in `made_up_tags`.

Source: go-gitea/gitea, routers/api/v1; google/go-github; GitLab's documentation of its REST interface.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.servers.forgelfs import LfsOfForge
from tests.servers.githttp import serving
from tests.servers.repository import Repository, make_repository
from tests.servers.troubles import Seen, TroubledHandler, TroubledServer, Troubles

TOKEN = "a-token-that-may-do-everything"
READ_TOKEN = "a-token-that-may-only-read"
_GIT = ("info/refs", "git-upload-pack", "git-receive-pack")


@dataclass(frozen=True, slots=True)
class Person:
    """Whose token it is, what it is for, and in which organisations."""

    name: str
    scopes: tuple[str, ...]
    organisations: tuple[str, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether the token may change anything."""
        return bool({"repo", "api", "write:repository"} & set(self.scopes))


@dataclass
class Forge:
    """A running stand-in.

    Args:
        root: The bare repositories.
        kind: `github`, `gitlab` or `gitea`.
        troubles: What is planned for the steps `user`, `create`, `repository`, `release`, `git`, `batch`, `put`,
            `verify`, `locks` and `download`.
        hidden_looks: So often a new repository is not there yet.
        object_limit_bytes: The largest LFS object.
        made_up_tags: Tags that were missing when a release of them was asked for.
        locks: The locks of others, by path.
    """

    root: Path
    kind: str = ""
    address: str = ""
    tokens: dict[str, Person] = field(
        default_factory=lambda: {
            TOKEN: Person("me", ("repo", "api", "write:repository"), ("my-organisation",)),
            READ_TOKEN: Person("me", ("read_api",), ("my-organisation",)),
        }
    )
    troubles: Troubles = field(default_factory=Troubles)
    seen: list[Seen] = field(default_factory=list)
    repositories: dict[str, Repository] = field(default_factory=dict)
    releases: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    hidden_looks: int = 0
    object_limit_bytes: int = 1 << 40
    is_read_only: bool = False
    made_up_tags: list[str] = field(default_factory=list)
    locks: dict[str, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def steps(self, step: str) -> list[Seen]:
        """What was asked of one step."""
        return [one for one in self.seen if one.step == step]


class _Server(TroubledServer):
    def __init__(self, handler: type[ForgeHandler], forge: Forge) -> None:
        super().__init__(handler, forge.troubles, forge.seen)
        self.forge = forge


class Refusal(Exception):
    """Ends a request with an error."""

    def __init__(self, status: int, message: str, *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class ForgeHandler(TroubledHandler):
    """What the three have in common."""

    server: _Server
    kind = ""
    rules = ""
    prefix = ""

    @property
    def forge(self) -> Forge:
        """What is served."""
        return self.server.forge

    def handle_request(self) -> None:
        """Find out what is asked."""
        path, _, query = self.path.partition("?")
        self.is_read = False
        name, is_lfs, rest = path.strip("/").partition(".git/info/lfs/")
        name, is_lfs, rest = (name, is_lfs, rest) if is_lfs else path.strip("/").partition(".git/gitlab-lfs/")
        if is_lfs:
            step, action = LfsOfForge(self, self.forge, name).step(rest)
        elif path.startswith(f"{self.prefix}/"):
            words = [unquote(word) for word in path.removeprefix(f"{self.prefix}/").split("/")]
            step, action = self.call(words)
        elif path.endswith(_GIT):
            step, action = "git", lambda: self._git(path, query)
        else:
            step, action = "unknown", self.nothing
        self.play(step, lambda: self._guarded(action))

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Refusal as refusal:
            if not self.is_read:
                self.drain()
            self.say(refusal.status, {"message": str(refusal)}, *refusal.headers)

    def body(self) -> bytes:
        """See `Handler.body`."""
        self.is_read = True
        return super().body()

    def say(self, status: int, document: object, *headers: tuple[str, str]) -> None:
        """Answer with JSON."""
        self.answer(status, json.dumps(document).encode(), "application/json; charset=utf-8", *headers)

    def call(self, words: list[str]) -> tuple[str, Callable[[], None]]:
        """What is asked of the interface, by the parts of the path below its prefix."""
        raise NotImplementedError

    def nothing(self) -> None:
        """What is not there."""
        raise Refusal(404, "Not Found")

    def token(self) -> str:
        """The token that came along, in the form that this interface knows."""
        raise NotImplementedError

    def person(self) -> Person:
        """Who asks.

        Raises:
            Refusal: Nobody, or nobody known.
        """
        person = self.forge.tokens.get(self.token())
        if person is None:
            raise Refusal(401, "Bad credentials")
        return person

    def person_of_git(self) -> Person | None:
        """Who asks by way of git or LFS."""
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        try:
            return self.forge.tokens.get(base64.b64decode(value).decode().partition(":")[2])
        except (binascii.Error, UnicodeDecodeError):
            return None

    def writer(self) -> Person:
        """Who asks, if the token may change something."""
        person = self.person()
        if not person.writes:
            raise Refusal(403, "Resource not accessible by personal access token")
        return person

    def opened(self, name: str) -> Repository:
        """A repository that the one who asks may see."""
        person = self.person()
        with self.forge.lock:
            repository = self.forge.repositories.get(name)
            if repository is not None and self.forge.hidden_looks > 0:
                self.forge.hidden_looks -= 1
                repository = None
        may = name.split("/", maxsplit=1)[0] in (person.name, *person.organisations)
        if repository is None or (repository.is_private and not may):
            raise Refusal(404, "Not Found")
        return repository

    def make(self, name: str, given: Mapping[str, Any], branch: str = "") -> Repository:
        """Create a repository; a licence makes a first commit."""
        private = given.get("private", given.get("visibility") == "private")
        made = make_repository(self.forge.root / f"{name}.git", self.rules, branch or "main", is_private=bool(private))
        licence = given.get("license_template") or given.get("license")
        if licence and given.get("auto_init"):
            made.commit(branch or "main", None, {"LICENSE": f"{licence}\n".encode()}, "host", "Initial commit")
        self.forge.repositories[name] = made
        return made

    def release(self, name: str, tag: str, document: dict[str, Any]) -> dict[str, Any]:
        """Make a release, and the tag if it is missing."""
        repository = self.forge.repositories[name]
        if tag not in repository.refs("refs/tags/"):
            self.forge.made_up_tags.append(tag)
        self.forge.releases[name, tag] = document
        return document

    def _git(self, path: str, query: str) -> None:
        name = next(path.removesuffix(f"/{word}") for word in _GIT if path.endswith(f"/{word}")).strip("/")
        rest = path.strip("/").removeprefix(name)
        name = name.removesuffix(".git")
        person = self.person_of_git()
        writes = "git-receive-pack" in rest + query
        repository = self.forge.repositories.get(name)
        may = person is not None and name.split("/")[0] in (person.name, *person.organisations)
        if person is None and (repository is None or repository.is_private or writes):
            raise Refusal(401, "Authentication required", ("WWW-Authenticate", 'Basic realm="git"'))
        if repository is None or self.forge.hidden_looks > 0 or (repository.is_private and not may):
            raise Refusal(404, "Not Found")
        if writes and not (may and person and person.writes):
            raise Refusal(403, "You are not allowed to push")
        self.is_read = True
        self.answer_git(self.forge.root, f"/{name}.git{rest}", query, person.name if person else "")


class _LikeGitHub(ForgeHandler):
    """GitHub and Gitea have most paths in common."""

    exists_status = 422

    def call(self, words: list[str]) -> tuple[str, Callable[[], None]]:
        match self.command, *words:
            case "GET", "user":
                return "user", self._user
            case "POST", "user", "repos":
                return "create", lambda: self._create(None)
            case "POST", "orgs", organisation, "repos":
                return "create", lambda: self._create(organisation)
            case (("GET" | "PATCH"), "repos", owner, name):
                return "repository", lambda: self._repository(f"{owner}/{name}")
            case "POST", "repos", owner, name, "releases":
                return "release", lambda: self._release(f"{owner}/{name}")
            case "GET", "repos", owner, name, "releases", "tags", tag:
                return "release", lambda: self._shown(f"{owner}/{name}", tag)
        return "unknown", self.nothing

    def _user(self) -> None:
        person = self.person()
        self.say(200, {"login": person.name, "id": 1}, *self.user_headers(person))

    def user_headers(self, person: Person) -> tuple[tuple[str, str], ...]:
        """What else an answer says about a token."""
        return ()

    def _create(self, organisation: str | None) -> None:
        given = json.loads(self.body())
        person = self.writer()
        if organisation is not None and organisation not in person.organisations:
            raise Refusal(404 if self.kind == "github" else 403, "Not Found")
        name = f"{organisation or person.name}/{given['name']}"
        with self.forge.lock:
            if name in self.forge.repositories:
                raise Refusal(self.exists_status, "Repository creation failed: name already exists on this account")
            self.make(name, given, given.get("default_branch", ""))
        self.say(201, {"full_name": name, "clone_url": f"{self.forge.address}/{name}.git"})

    def _repository(self, name: str) -> None:
        given = json.loads(self.body()) if self.command == "PATCH" else {}
        repository = self.opened(name)
        if "default_branch" in given:
            self.writer()
            repository.git("symbolic-ref", "HEAD", f"refs/heads/{given['default_branch']}")
        self.say(200, {"full_name": name, "private": repository.is_private})

    def _release(self, name: str) -> None:
        given = json.loads(self.body())
        self.writer()
        self.opened(name)
        if (name, given["tag_name"]) in self.forge.releases:
            raise Refusal(self.exists_status, "Release already exists")
        self.say(201, self.release(name, given["tag_name"], given))

    def _shown(self, name: str, tag: str) -> None:
        self.opened(name)
        if (name, tag) not in self.forge.releases:
            raise Refusal(404, "Not Found")
        self.say(200, self.forge.releases[name, tag])


class _GitHub(_LikeGitHub):
    kind = "github"
    rules = "github"
    prefix = "/api"

    def token(self) -> str:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme in ("Bearer", "token") else ""

    def user_headers(self, person: Person) -> tuple[tuple[str, str], ...]:
        return (("X-OAuth-Scopes", ", ".join(person.scopes)),)


class _Gitea(_LikeGitHub):
    kind = "gitea"
    prefix = "/api/v1"
    exists_status = 409

    def token(self) -> str:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme == "token" else ""


class _GitLab(ForgeHandler):
    kind = "gitlab"
    rules = "gitlab"
    prefix = "/api/v4"

    def token(self) -> str:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return self.headers.get("PRIVATE-TOKEN", "") or (token if scheme == "Bearer" else "")

    def call(self, words: list[str]) -> tuple[str, Callable[[], None]]:
        match self.command, *words:
            case "GET", "user":
                return "user", lambda: self.say(200, {"username": self.person().name, "id": 1})
            case "GET", "personal_access_tokens", "self":
                return "user", lambda: self.say(200, {"name": "a token", "scopes": list(self.person().scopes)})
            case "GET", "namespaces", group:
                return "namespace", lambda: self._namespace(group)
            case "POST", "projects":
                return "create", self._create
            case (("GET" | "PUT"), "projects", name):
                return "repository", lambda: self._project(name)
            case "POST", "projects", name, "releases":
                return "release", lambda: self._release(name)
            case "GET", "projects", name, "releases", tag:
                return "release", lambda: self._shown(name, tag)
        return "unknown", self.nothing

    def _groups(self) -> list[str]:
        person = self.person()
        return [person.name, *person.organisations]

    def _namespace(self, group: str) -> None:
        groups = self._groups()
        if group not in groups:
            raise Refusal(404, "404 Namespace Not Found")
        self.say(200, {"id": groups.index(group) + 1, "full_path": group})

    def _create(self) -> None:
        given = json.loads(self.body())
        self.writer()
        name = f"{self._groups()[given.get('namespace_id', 1) - 1]}/{given['path']}"
        with self.forge.lock:
            if name in self.forge.repositories:
                self.say(400, {"message": {"path": ["has already been taken"]}})
                return
            self.make(name, given)
        self.say(201, {"id": 7, "path_with_namespace": name})

    def _project(self, name: str) -> None:
        given = json.loads(self.body()) if self.command == "PUT" else {}
        repository = self.opened(name)
        if "default_branch" in given:
            self.writer()
            repository.git("symbolic-ref", "HEAD", f"refs/heads/{given['default_branch']}")
        self.say(200, {"id": 7, "path_with_namespace": name})

    def _release(self, name: str) -> None:
        given = json.loads(self.body())
        self.writer()
        repository = self.opened(name)
        if (name, given["tag_name"]) in self.forge.releases:
            raise Refusal(409, "Release already exists")
        if given["tag_name"] not in repository.refs("refs/tags/") and "ref" not in given:
            raise Refusal(400, "ref is missing")
        self.say(201, self.release(name, given["tag_name"], given))

    def _shown(self, name: str, tag: str) -> None:
        self.opened(name)
        if (name, tag) not in self.forge.releases:
            raise Refusal(404, "404 Not Found")
        self.say(200, self.forge.releases[name, tag])


@contextmanager
def _forge(root: Path, handler: type[ForgeHandler]) -> Iterator[Forge]:
    forge = Forge(root, handler.kind)
    server = _Server(handler, forge)
    forge.address = server.address
    with serving(server, handler.kind):
        yield forge


def github_at(root: Path) -> AbstractContextManager[Forge]:
    """GitHub, its interface below `/api`."""
    return _forge(root, _GitHub)


def gitlab_at(root: Path) -> AbstractContextManager[Forge]:
    """GitLab."""
    return _forge(root, _GitLab)


def gitea_at(root: Path) -> AbstractContextManager[Forge]:
    """Gitea."""
    return _forge(root, _Gitea)
