"""A stand-in of the Hugging Face Hub on the loopback: accounts, repositories, git, and what a client reads and writes.

It stands on git's own `http-backend` and on `hubstorage`, where the LFS objects go. That it is faithful is shown with
the real huggingface_hub client (`tests/integration/test_hub_standin.py`). The one thing to know: the Hub answers at
`localhost` and its storage at 127.0.0.1 and another port, as the real ones are two hosts: no login may cross over.

Source: the sources named in the project's protocol reference for the Hub (huggingface_hub, hub-docs, hf.js).
"""

from __future__ import annotations

import base64
import codecs
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from tests.servers import cards
from tests.servers.githttp import serving
from tests.servers.hubstorage import Failures, LfsOfHub, Storage
from tests.servers.repository import Refused, Repository, make_repository, pointer
from tests.servers.troubles import Seen, TroubledHandler, TroubledServer

TOKEN = "hf_" + "AStandInsTokenThatMayWriteEverything"
READ_TOKEN = "hf_" + "AStandInsTokenThatMayOnlyReadThings"

_PATTERNS = (
    "*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* *.mlmodel *.model *.msgpack *.npy *.npz *.onnx "
    "*.ot *.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz "
    "*.wasm *.xz *.zip *.zst *tfevents*"
)
GITATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _PATTERNS.split()).encode()
"""What every new repository starts with."""

_KINDS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}
_GIT = ("info/refs", "git-upload-pack", "git-receive-pack")


@dataclass(frozen=True, slots=True)
class Person:
    """Whose token it is, what it may do (`read`, `write`), and in which organisations."""

    name: str
    role: str = "write"
    organisations: tuple[str, ...] = ()

    def may_write(self, repository: str) -> bool:
        """Whether the token may change a repository, given with its prefix."""
        return self.role == "write" and self.may_read(repository)

    def may_read(self, repository: str) -> bool:
        """Whether the token opens a private repository."""
        return repository.split("/")[-2] in (self.name, *self.organisations)


@dataclass
class Hub:
    """A running stand-in.

    Args:
        root: The bare repositories, `datasets/` and `spaces/` with their prefix.
        address: What `HF_ENDPOINT` is to be.
        tokens: The accounts; change it to revoke one.
        may_create: Whether anybody may create repositories; False answers 403, also for those that exist.
        multipart_above_bytes: From which size on objects go in parts.
        chunk_bytes: How large a part is.
        failures: What goes wrong.
        seen: Every request, of the Hub and of its storage.
    """

    root: Path
    address: str = ""
    storage_address: str = ""
    tokens: dict[str, Person] = field(
        default_factory=lambda: {
            TOKEN: Person("me", "write", ("my-organisation",)),
            READ_TOKEN: Person("me", "read", ("my-organisation",)),
        }
    )
    may_create: bool = True
    multipart_above_bytes: int = 5_000_000_000
    chunk_bytes: int = 16 << 20
    failures: Failures = field(default_factory=Failures)
    seen: list[Seen] = field(default_factory=list)
    repositories: dict[str, Repository] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def make(self, repository: str, *, is_private: bool = True) -> Repository:
        """Create a repository as the Hub does, with an initial commit; datasets and spaces by their prefix."""
        with self.lock:
            made = make_repository(self.root / f"{repository}.git", rules="hub", is_private=is_private)
            made.commit("main", None, {".gitattributes": GITATTRIBUTES}, "system", "initial commit")
            self.repositories[repository] = made
            return made

    def steps(self, step: str) -> list[Seen]:
        """What was asked of one step."""
        return [one for one in self.seen if one.step == step]


class HubServer(TroubledServer):
    """The listener of the Hub itself."""

    def __init__(self, hub: Hub) -> None:
        super().__init__(_Handler, hub.failures.troubles, hub.seen)
        self.hub = hub


@contextmanager
def hub_at(root: Path) -> Iterator[Hub]:
    """A Hub that keeps its repositories below a folder, until the block ends."""
    hub = Hub(root)
    server, storage = HubServer(hub), Storage(root, hub.failures, hub.seen)
    hub.address = f"http://localhost:{server.server_port}"
    hub.storage_address = storage.address
    with serving(server, "the Hub"), serving(storage, "the Hub's storage"):
        yield hub


class _Answer(Exception):
    """Ends a request with an error."""

    def __init__(self, status: int, message: str, code: str = "", *headers: tuple[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = (*headers, *((("X-Error-Code", code),) if code else ()), ("X-Error-Message", message))


class _Handler(TroubledHandler):
    server: HubServer

    @property
    def hub(self) -> Hub:
        return self.server.hub

    def handle_request(self) -> None:
        path, _, query = self.path.partition("?")
        repository, is_lfs, rest = path.strip("/").partition(".git/info/lfs/")
        self.step, action = "unknown", self._nothing
        if path == "/api/whoami-v2":
            self.step, action = "whoami", self._whoami
        elif path == "/api/repos/create":
            self.step, action = "create", self._create
        elif path == "/api/validate-yaml":
            self.step, action = "validate", self._validate
        elif path.startswith("/api/"):
            self.step, action = self._of_repository(path, query)
        elif is_lfs:
            self.step, action = LfsOfHub(self, self.hub, repository).step(rest, query)
        elif "/resolve/" in path:
            self.step, action = "resolve", lambda: self._resolve(path)
        elif path.endswith(_GIT):
            self.step, action = "git", lambda: self._git(path, query)
        self.play(self.step, lambda: self._guarded(action))

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except _Answer as error:
            if self.command != "HEAD" and not getattr(self, "_is_read", False):
                self.drain()
            self.say(error.status, {"error": error.message}, *error.headers)

    def body(self) -> bytes:
        self._is_read = True
        return super().body()

    def handle_one_request(self) -> None:
        self._is_read = False
        super().handle_one_request()

    def say(self, status: int, document: Any, *headers: tuple[str, str]) -> None:
        """Answer with JSON, and with what is left of the rate limit."""
        limits = (
            ("RateLimit", '"api";r=499;t=300'),
            ("RateLimit-Policy", '"fixed window";"api";q=500;w=300'),
        )
        self.answer(status, json.dumps(document).encode(), "application/json; charset=utf-8", *headers, *limits)

    def refuse(self, status: int, message: str, code: str = "", *headers: tuple[str, str]) -> _Answer:
        """The error that ends a request."""
        return _Answer(status, message, code, *headers)

    def person(self) -> Person | None:
        """Who asks; nobody when no login came with it.

        Raises:
            _Answer: 401, the login is none.
        """
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        token = value if scheme == "Bearer" else base64.b64decode(value).decode().partition(":")[2]
        if token not in self.hub.tokens:
            raise _Answer(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[token]

    def opened(self, name: str, *, writes: bool = False) -> Repository:
        """A repository that the one who asks may see, or change.

        Raises:
            _Answer: 401, 403 or 404, as the Hub has it.
        """
        person = self.person()
        repository = self.hub.repositories.get(name)
        hidden = repository is None or (repository.is_private and not (person and person.may_read(name)))
        if hidden or repository is None:
            raise _Answer(404 if person else 401, "Repository not found", "RepoNotFound")
        if writes and person is None:
            raise _Answer(401, "Invalid username or password.")
        if writes and person and not person.may_write(name):
            raise _Answer(403, "You don't have the required permissions to perform this action")
        return repository

    def _nothing(self) -> None:
        raise _Answer(404, "Sorry, we can't find the page you are looking for.")

    def _whoami(self) -> None:
        person = self.person()
        if person is None:
            raise _Answer(401, "Invalid username or password.")
        token = {"displayName": "a token", "role": person.role}
        document = {
            "type": "user", "name": person.name, "fullname": person.name.title(),
            "email": f"{person.name}@example.org",
            "orgs": [{"name": name} for name in person.organisations],
            "auth": {"type": "access_token", "accessToken": token},
        }  # fmt: skip
        self.say(200, document)

    def _create(self) -> None:
        asked = json.loads(self.body())
        person = self.person()
        if person is None:
            raise _Answer(401, "Invalid username or password.")
        owner = asked.get("organization") or person.name
        kind = asked.get("type") or "model"
        name = f"{_KINDS[kind + 's']}{owner}/{asked['name']}"
        url = f"{self.hub.address}/{name}"
        if not self.hub.may_create or not person.may_write(name):
            raise _Answer(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
        if kind == "space" and "sdk" not in asked:
            raise _Answer(400, '"sdk" is required')
        with self.hub.lock:
            if name in self.hub.repositories:
                self.say(409, {"error": "You already created this repo", "url": url})
                return
            private = asked.get("visibility") == "private" or asked.get("private") is True
            self.hub.make(name, is_private=private)
        self.say(200, {"url": url, "name": f"{owner}/{asked['name']}", "id": "621ffdc036468d709f174328"})

    def _validate(self) -> None:
        asked = json.loads(self.body())
        errors = [{"message": message} for message in cards.errors_of(asked["content"])]
        warnings = [{"message": message} for message in cards.warnings_of(asked["content"])]
        self.say(400 if errors else 200, {"errors": errors, "warnings": warnings})

    def _of_repository(self, path: str, query: str) -> tuple[str, Callable[[], None]]:
        """`/api/models/me/m/what/and/more`: what is asked of a repository."""
        _, _, kind, owner, name, *words = [*map(unquote, path.split("/")), "", ""]
        if kind not in _KINDS:
            return "unknown", self._nothing
        words = words[:-2]
        repository = f"{_KINDS[kind]}{owner}/{name}"
        calls: dict[tuple[str, str], tuple[str, Callable[[], None]]] = {
            ("GET", ""): ("revision", lambda: self._revision(repository, ["main"])),
            ("GET", "revision"): ("revision", lambda: self._revision(repository, words[1:])),
            ("GET", "tree"): ("tree", lambda: self._tree(repository, words[1:], query)),
            ("GET", "refs"): ("refs", lambda: self._refs(repository)),
            ("GET", "auth-check"): ("auth-check", lambda: self._auth_check(repository, words[1:])),
            ("POST", "tag"): ("tag", lambda: self._tag(repository, words[1])),
            ("POST", "branch"): ("branch", lambda: self._branch(repository, words[1])),
            ("POST", "preupload"): ("preupload", lambda: self._preupload(repository, words[1])),
            ("POST", "commit"): ("commit", lambda: self._commit(repository, words[1])),
            ("POST", "paths-info"): ("paths", lambda: self._paths(repository, words[1])),
        }
        return calls.get((self.command, words[0] if words else ""), ("unknown", self._nothing))

    def _at(self, repository: Repository, revision: str) -> str:
        commit = repository.commit_of(revision)
        if commit is None:
            raise _Answer(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def _auth_check(self, name: str, words: list[str]) -> None:
        self.opened(name, writes=words == ["write"])
        self.say(200, {})

    def _revision(self, name: str, words: list[str]) -> None:
        repository = self.opened(name)
        sha = self._at(repository, words[0])
        files = [entry for entry in repository.entries(sha) if not entry.is_folder]
        bare = "/".join(name.split("/")[-2:])
        document = {
            "_id": "621ffdc036468d709f174328", "id": bare, "modelId": bare, "author": bare.split("/")[0],
            "sha": sha, "lastModified": "2026-01-02T03:04:05.000Z", "private": repository.is_private,
            "gated": False, "disabled": False, "tags": [], "downloads": 0, "likes": 0,
            "siblings": [{"rfilename": entry.path} for entry in files],
        }  # fmt: skip
        self.say(200, document)

    def _tree(self, name: str, words: list[str], query: str) -> None:
        repository = self.opened(name)
        sha = self._at(repository, words[0])
        below = "".join(f"{word}/" for word in words[1:])
        deep = parse_qs(query).get("recursive", ["false"])[0].lower() == "true"
        rows = self._rows(repository, sha)
        inside = [row for row in rows if row["path"].startswith(below)]
        self.say(200, [row for row in inside if deep or "/" not in row["path"].removeprefix(below)])

    def _rows(self, repository: Repository, sha: str) -> list[dict[str, Any]]:
        rows = []
        for entry in repository.entries(sha):
            row: dict[str, Any] = {"type": "directory" if entry.is_folder else "file", "oid": entry.oid}
            row |= {"path": entry.path, "size": entry.lfs[1] if entry.lfs else entry.size}
            if entry.lfs:
                row["lfs"] = {"oid": entry.lfs[0], "size": entry.lfs[1], "pointerSize": entry.size}
            rows.append(row)
        return rows

    def _paths(self, name: str, revision: str) -> None:
        repository = self.opened(name)
        asked = parse_qs(self.body().decode()).get("paths", [])
        if len(asked) > 1000:
            raise _Answer(413, "too many parameters")
        rows = self._rows(repository, self._at(repository, revision))
        self.say(200, [row for row in rows if row["path"] in asked])

    def _refs(self, name: str) -> None:
        repository = self.opened(name)
        found = {
            kind: [
                {"name": short, "ref": f"refs/{folder}/{short}", "targetCommit": commit}
                for short, commit in repository.refs(f"refs/{folder}/").items()
            ]
            for kind, folder in (("branches", "heads"), ("tags", "tags"), ("converts", "convert"))
        }
        self.say(200, found)

    def _tag(self, name: str, revision: str) -> None:
        asked = json.loads(self.body())
        with self.hub.lock:
            repository = self.opened(name, writes=True)
            commit = self._at(repository, revision)
            if asked["tag"] in repository.refs("refs/tags/"):
                raise _Answer(409, f"Tag reference exists already: {asked['tag']}")
            who = ("-c", "user.name=system", "-c", "user.email=system@host")
            repository.git(*who, "tag", "-a", "-m", asked.get("message") or asked["tag"], asked["tag"], commit)
        self.say(200, {})

    def _branch(self, name: str, branch: str) -> None:
        asked = json.loads(self.body() or b"{}")
        with self.hub.lock:
            repository = self.opened(name, writes=True)
            if branch in repository.refs("refs/heads/"):
                raise _Answer(409, f"Reference already exists: {branch}")
            start = self._at(repository, asked.get("startingPoint") or "main")
            repository.git("update-ref", f"refs/heads/{branch}", start)
        self.say(200, {})

    def _preupload(self, name: str, branch: str) -> None:
        asked = json.loads(self.body())["files"]
        if len(asked) > 256:
            raise _Answer(413, "too many files")
        with self.hub.lock:
            repository = self.opened(name, writes=True)
            sha = self._at(repository, branch)
            here = {entry.path: entry.lfs[0] if entry.lfs else entry.oid for entry in repository.entries(sha)}
            answered = []
            for one in asked:
                is_lfs = (
                    _is_binary(base64.b64decode(one["sample"]))
                    or one["size"] > 10 << 20
                    or repository.is_lfs(sha, one["path"])
                )
                row = {"path": one["path"], "uploadMode": "lfs" if is_lfs else "regular", "shouldIgnore": False}
                answered.append(row | ({"oid": here[one["path"]]} if one["path"] in here else {}))
        self.say(200, {"files": answered})

    def _commit(self, name: str, branch: str) -> None:
        lines = [json.loads(line) for line in self.body().splitlines()]
        header = lines[0]["value"]
        with self.hub.lock:
            repository = self.opened(name, writes=True)
            parent = self._at(repository, branch)
            if header.get("parentCommit") not in (None, parent):
                raise _Answer(412, "A commit has happened since. Please refresh and try again.")
            edits = self._edits(repository, parent, lines[1:])
            try:
                made = repository.commit(branch, parent, edits, self._name(), header["summary"])
            except Refused as refused:
                raise _Answer(400, str(refused).strip().replace("\n", " ")) from refused
        url = f"{self.hub.address}/{name}/commit/{made}"
        self.say(200, {"success": True, "commitOid": made, "commitUrl": url, "hookOutput": ""})

    def _name(self) -> str:
        person = self.person()
        return person.name if person else "nobody"

    def _edits(self, repository: Repository, parent: str, lines: list[dict[str, Any]]) -> dict[str, bytes | None]:
        edits: dict[str, bytes | None] = {}
        new_rules = b""
        for line in lines:
            value = line["value"]
            path = value["path"].rstrip("/")
            if {".git", ".cache", ".."} & set(path.split("/")) or "\\" in path:
                raise _Answer(422, f"Invalid path in repo: {path}")
            if line["key"] == "file":
                edits[path] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                if repository.object_size(value["oid"]) != value["size"]:
                    raise _Answer(400, f"LFS pointer pointed to a file that does not exist: {path}")
                edits[path] = pointer(value["oid"], value["size"])
                if not repository.is_lfs(parent, path):
                    new_rules += f"{path} filter=lfs diff=lfs merge=lfs -text\n".encode()
            else:
                edits[path] = None
        if new_rules and ".gitattributes" not in edits:
            edits[".gitattributes"] = self._content(repository, parent, ".gitattributes") + new_rules
        return edits

    def _content(self, repository: Repository, sha: str, path: str) -> bytes:
        found = [entry.oid for entry in repository.entries(sha) if entry.path == path]
        return repository.blob(found[0]) if found else b""

    def _resolve(self, path: str) -> None:
        name, _, rest = path.strip("/").partition("/resolve/")
        revision, _, wanted = rest.partition("/")
        repository = self.opened(name)
        sha = self._at(repository, unquote(revision))
        commit = ("X-Repo-Commit", sha)
        found = [one for one in repository.entries(sha) if one.path == unquote(wanted) and not one.is_folder]
        if not found:
            raise _Answer(404, "Entry not found", "EntryNotFound", commit)
        entry = found[0]
        if entry.lfs is None:
            headers = (commit, ("ETag", f'"{entry.oid}"'), ("Accept-Ranges", "bytes"))
            self.answer(200, repository.blob(entry.oid), "text/plain; charset=utf-8", *headers)
            return
        oid, size = entry.lfs
        place = self.hub.storage_address + self.hub.failures.signed(f"/{name}/{oid}", "get")
        linked = (("X-Linked-Etag", f'"{oid}"'), ("X-Linked-Size", str(size)), ("Location", place))
        self.answer(302, b"", "text/plain; charset=utf-8", commit, *linked)

    def _git(self, path: str, query: str) -> None:
        name, _, rest = path.strip("/").partition("/info/refs")
        if not path.endswith("/info/refs"):
            name, _, rest = path.strip("/").rpartition("/")
        else:
            rest = "info/refs"
        name = name.removesuffix(".git")
        writes = "git-receive-pack" in (rest, query.removeprefix("service="))
        try:
            repository = self.opened(name, writes=writes)
        except _Answer as error:
            challenge = (("WWW-Authenticate", 'Basic realm="Authentication required"'),) if error.status == 401 else ()
            raise _Answer(error.status, error.message, "", *challenge) from error
        inside = quote(str(repository.path.relative_to(self.hub.root)))
        self._is_read = True
        self.answer_git(self.hub.root, f"/{inside}/{rest}", query, self._name() if writes else "")


def _is_binary(sample: bytes) -> bool:
    """Whether the start of a file is no text; a letter may be cut at its end."""
    text = codecs.getincrementaldecoder("utf-8")()
    try:
        text.decode(sample)
    except UnicodeDecodeError:
        return True
    return b"\0" in sample
