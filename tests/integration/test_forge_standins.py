"""The stand-ins of GitHub, GitLab and Gitea: stock git, git-lfs and lfssync work with them; their quirks are there."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lfssync.credentials import Credential
from lfssync.web.client import Answer, Client, Request
from tests import helpers
from tests.integration.site import Site
from tests.logins import Logins
from tests.servers import forges
from tests.servers.forges import TOKEN, Forge
from tests.servers.repository import make_repository
from tests.servers.troubles import Seen

LFS_JSON = "application/vnd.git-lfs+json"
STARTS = {"github": forges.github_at, "gitlab": forges.gitlab_at, "gitea": forges.gitea_at}
LOGIN = Logins([Credential("me", TOKEN)])
CONTENT = helpers.random_bytes(1, 50_000)
OID = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def forge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Forge]:
    """A forge with an empty repository `me/m`."""
    with STARTS[request.param](tmp_path / "forge") as running:
        rules = request.param if request.param != "gitea" else ""
        running.repositories["me/m"] = make_repository(running.root / "me/m.git", rules)
        yield running


def on(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("forge", kinds, indirect=True)


def log_in(folder: Path) -> None:
    """Give the user's own git the token."""
    helper = f"!f() {{ echo username=me; echo password={TOKEN}; }}; f"
    helpers.git("config", "--global", "credential.helper", helper, cwd=folder)


def working_copy(forge: Forge, tmp_path: Path) -> Path:
    log_in(tmp_path)
    copy = helpers.clone(f"{forge.address}/me/m.git", tmp_path / "copy")
    helpers.git("checkout", "--quiet", "-b", "main", cwd=copy)
    helpers.write(copy / ".gitattributes", b"*.bin filter=lfs diff=lfs merge=lfs -text\n")
    helpers.write(copy / "w.bin", CONTENT)
    helpers.git("add", ".", cwd=copy)
    helpers.git("commit", "--quiet", "-m", "weights", cwd=copy)
    return copy


@on("github", "gitlab", "gitea")
def test_stock_git_and_git_lfs_push_and_clone(forge: Forge, tmp_path: Path) -> None:
    copy = working_copy(forge, tmp_path)
    helpers.git("lfs", "install", "--local", cwd=copy)
    helpers.git("push", "--quiet", "origin", "main", cwd=copy)
    helpers.assert_whole(forge.root / "me/m.git")
    again = helpers.clone(f"{forge.address}/me/m.git", tmp_path / "again")
    assert helpers.tree(again) == helpers.tree(copy)


@on("github", "gitlab", "gitea")
def test_lfssync_delivers_there(forge: Forge, tmp_path: Path) -> None:
    site = Site.make(tmp_path / "site")
    site.configure(remote=f"{forge.address}/me/m.git")
    site.login = LOGIN
    site.lay({b"w.bin": CONTENT, b"config.json": b"{}\n"})
    assert not site.sync().deferred
    helpers.assert_whole(forge.root / "me/m.git")
    log_in(tmp_path)
    copy = helpers.clone(f"{forge.address}/me/m.git", tmp_path / "copy")
    assert (copy / "w.bin").read_bytes() == CONTENT
    assert not site.sync().committed


@on("gitlab")
def test_gitlab_refuses_pointers_without_their_objects(forge: Forge, tmp_path: Path) -> None:
    copy = working_copy(forge, tmp_path)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        helpers.git("push", "--quiet", "--no-verify", "origin", "main", cwd=copy)
    assert "LFS objects are missing" in refused.value.stderr.decode()


@on("github")
def test_github_refuses_large_files_outside_lfs(forge: Forge, tmp_path: Path) -> None:
    log_in(tmp_path)
    copy = helpers.clone(f"{forge.address}/me/m.git", tmp_path / "copy")
    helpers.write(copy / "w.txt", bytes(101 << 20))
    helpers.git("add", ".", cwd=copy)
    helpers.git("commit", "--quiet", "-m", "large", cwd=copy)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        helpers.git("push", "--quiet", "origin", "HEAD:main", cwd=copy)
    assert "GH001" in refused.value.stderr.decode()


def ask(forge: Forge, path: str, document: object, accept: str = LFS_JSON, method: str = "POST") -> Answer:
    """One LFS request with the login."""
    login = base64.b64encode(f"me:{TOKEN}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Accept": accept, "Content-Type": LFS_JSON}
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    with Client() as client:
        return client.send(Request(method, f"{forge.address}/me/m.git/{path}", headers, body))


def batch(forge: Forge, operation: str = "upload", accept: str = LFS_JSON, **one: Any) -> Answer:
    row = {"oid": OID, "size": len(CONTENT)} | one
    return ask(forge, "info/lfs/objects/batch", {"operation": operation, "objects": [row]}, accept)


@on("gitea")
def test_giteas_quirks(forge: Forge) -> None:
    assert batch(forge, accept="application/json").status == 415
    assert batch(forge, accept=f"{LFS_JSON}; charset=utf-8").is_success
    assert ask(forge, "info/lfs/objects/batch", b"{").status == 400
    reply = batch(forge).document()
    assert "transfer" not in reply
    actions = reply["objects"][0]["actions"]
    assert actions["upload"]["expires_at"] == actions["verify"]["expires_at"] == "0001-01-01T00:00:00Z"
    assert actions["upload"]["header"]["Authorization"].startswith("Basic ")
    assert actions["upload"]["href"].endswith(f"/{OID}/{len(CONTENT)}")
    missing = batch(forge, "download").document()["objects"][0]
    assert (missing["actions"], missing["error"]["code"]) == (None, 404)
    path = f"info/lfs/objects/{OID}/{len(CONTENT)}"
    assert ask(forge, path, CONTENT[:-1] + b"x", method="PUT").status == 422
    assert ask(forge, "info/lfs/verify", {"oid": OID, "size": len(CONTENT)}).status == 404
    assert ask(forge, path, CONTENT, method="PUT").status == 200
    assert ask(forge, "info/lfs/verify", {"oid": OID, "size": len(CONTENT)}).status == 200
    assert batch(forge).document()["objects"][0]["actions"] == {}
    forge.object_limit_bytes = 10
    assert batch(forge, oid="1" * 64).document()["objects"][0]["error"]["code"] == 422


@on("gitea")
def test_giteas_locks(forge: Forge) -> None:
    assert ask(forge, "info/lfs/locks", {"path": "w.bin"}).status == 201
    again = ask(forge, "info/lfs/locks", {"path": "w.bin"})
    assert (again.status, again.document()["lock"]["owner"]["name"]) == (409, "me")
    forge.locks["other.bin"] = "somebody"
    verified = ask(forge, "info/lfs/locks/verify", {}).document()
    assert [one["path"] for one in verified["ours"]] == ["w.bin"]
    assert [one["path"] for one in verified["theirs"]] == ["other.bin"]
    theirs = verified["theirs"][0]["id"]
    assert ask(forge, f"info/lfs/locks/{theirs}/unlock", {}).status == 403
    assert ask(forge, f"info/lfs/locks/{theirs}/unlock", {"force": True}).status == 200
    assert len(ask(forge, "info/lfs/locks", b"", method="GET").document()["locks"]) == 1


@on("gitlab")
def test_gitlabs_quirks(forge: Forge) -> None:
    reply = batch(forge).document()
    assert reply.keys() == {"objects"}
    row = reply["objects"][0]
    assert row.keys() == {"oid", "size", "actions"}
    assert row["actions"].keys() == {"upload"}
    assert row["actions"]["upload"]["header"]["Transfer-Encoding"] == "chunked"
    assert f"/gitlab-lfs/objects/{OID}/" in row["actions"]["upload"]["href"]
    assert ask(forge, "info/lfs/objects/batch", {"operation": "upload", "objects": []}).status == 404
    forge.is_read_only = True
    assert batch(forge).status == 403


@on("github")
def test_github_finds_out_at_verify_that_an_object_is_too_large(forge: Forge) -> None:
    forge.object_limit_bytes = 10
    assert batch(forge).document()["transfer"] == "basic"
    assert ask(forge, f"info/lfs/objects/{OID}/{len(CONTENT)}", CONTENT, method="PUT").status == 200
    assert ask(forge, "info/lfs/verify", {"oid": OID, "size": len(CONTENT)}).status == 422


@on("github", "gitlab", "gitea")
def test_the_default_branch_can_be_changed(forge: Forge) -> None:
    path = {"gitlab": "/api/v4/projects/me%2Fm", "gitea": "/api/v1/repos/me/m", "github": "/api/repos/me/m"}
    kind = forge.kind
    method = "PUT" if kind == "gitlab" else "PATCH"
    scheme = "token" if kind == "gitea" else "Bearer"
    headers = {"Authorization": f"{scheme} {TOKEN}"}
    with Client() as client:
        request = Request(method, forge.address + path[kind], headers, b'{"default_branch": "models"}')
        assert client.send(request).is_success
    assert forge.repositories["me/m"].git("symbolic-ref", "HEAD") == b"refs/heads/models\n"
    assert forge.steps("repository") == [Seen("repository", method, path[kind], forge.seen[-1].headers)]
