"""Repositories that `add` and `push` create, and those of a pattern's folders; what arrives there is what was here."""

from __future__ import annotations

import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import lfssync as library
from tests import helpers
from tests.integration.daemons import Daemon, configure, lfssync, places, soon
from tests.integration.test_hub_standin import ask
from tests.integration.test_preflight_hub import on_hub
from tests.servers import forges
from tests.servers.forges import Forge
from tests.servers.hub import READ_TOKEN, TOKEN, Hub, hub_at
from tests.servers.troubles import Trouble


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_at(tmp_path / "hub") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield running


@pytest.fixture
def gitea(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Forge]:
    with forges.gitea_at(tmp_path / "gitea") as running:
        monkeypatch.setenv("LFSSYNC_TOKEN", forges.TOKEN)
        yield running


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "work" / "m"
    helpers.write(folder / "config.json", b'{"hidden_size": 384}\n')
    helpers.write(folder / "README.md", b"---\nlicense: mit\n---\n# A model\n")
    helpers.write(folder / "model.safetensors", helpers.random_bytes(1, 300_000))
    helpers.write(folder / "image.png", b"PNG\0\1")
    return folder


def said(done: subprocess.CompletedProcess[str], code: int = 0) -> str:
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


def test_from_nothing_to_a_release_that_the_hubs_own_client_loads(hub: Hub, model: Path, tmp_path: Path) -> None:
    assert said(lfssync("add", model, "hf:me/m", "--create")).startswith(f"created {hub.address}/me/m, private\n")
    assert hub.repositories["me/m"].is_private
    said(lfssync("sync"))
    said(lfssync("tag", "v2.0.1"))
    copy = tmp_path / "copy"
    ask(hub, 'snapshot_download("me/m", revision="v2.0.1", local_dir=sys.argv[1])\nprint("1")', copy)
    fetched = {path: entry for path, entry in helpers.tree(copy).items() if not path.startswith(b".cache/")}
    fetched.pop(b".gitattributes")
    assert fetched == helpers.tree(model)
    helpers.assert_whole(hub.root / "me/m.git")
    written = places().config_file.read_text()
    assert tomllib.loads(written)["mirror"][0]["remote"] == f"{hub.address}/me/m"
    assert TOKEN not in written


def test_without_create_a_missing_repository_is_an_error_that_says_how(hub: Hub, model: Path) -> None:
    message = said(lfssync("add", model, "hf:me/m"), 2)
    assert message.rstrip().endswith("or have it created: --create")
    assert not hub.repositories
    assert not places().config_file.exists()


def test_what_exists_is_taken_as_it_is(hub: Hub, model: Path) -> None:
    hub.make("me/m", is_private=False)
    assert "created" not in said(lfssync("add", model, "hf:me/m", "--create"))
    assert not hub.repositories["me/m"].is_private


def test_a_token_that_may_not_create_changes_nothing(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    message = said(lfssync("add", model, "hf:me/m", "--create"), 5)
    assert "does not create me/m: HTTP 403" in message
    assert READ_TOKEN not in message
    assert not places().config_file.exists()


def test_without_a_token_it_is_said_how_to_get_one(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert "log in first: lfssync login localhost:" in said(lfssync("add", model, "hf:me/m", "--create"), 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("hf:me/m", "--public"), "are about what --create makes"),
        (("hf:me/m", "--license", "mit"), "are about what --create makes"),
        (("--create",), "--create is for repositories on a host"),
        (("hf:me/{name}", "--create", "--license", "mit"), "--license does not go with a pattern"),
        (("/tmp/x.git", "--create"), "is on no host"),
        (("hf:me/m", "--create", "--license", "no such licence"), "is no licence"),
        (("hf:spaces/me/m", "--create"), "a space needs a choice of software"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(hub: Hub, model: Path, words: tuple[str, ...], message: str) -> None:
    assert message in said(lfssync("add", model, *words), 2)
    assert not hub.repositories
    assert not places().config_file.exists()


def test_each_folder_of_a_pattern_gets_a_repository_when_it_is_first_delivered(hub: Hub, tmp_path: Path) -> None:
    said(lfssync("add", tmp_path / "runs" / "*", "hf:me/{name}", "--create", "--public"))
    assert tomllib.loads(places().config_file.read_text())["mirror"] == [
        {"path": str(tmp_path / "runs" / "*"), "remote": f"{hub.address}/me/{{name}}", "create": "public"}
    ]
    assert not hub.repositories
    helpers.write(tmp_path / "runs" / "a" / "w.bin", helpers.random_bytes(1, 1000))
    said(lfssync("sync"))
    helpers.write(tmp_path / "runs" / "b" / "w.bin", helpers.random_bytes(2, 1000))
    said(lfssync("sync"))
    assert sorted(hub.repositories) == ["me/a", "me/b"]
    assert not any(one.is_private for one in hub.repositories.values())
    assert len(hub.steps("create")) == 2
    helpers.assert_whole(hub.root / "me/b.git")


def test_a_repository_that_vanished_is_not_made_anew(hub: Hub, tmp_path: Path) -> None:
    helpers.write(tmp_path / "runs" / "a" / "w.bin", b"1")
    said(lfssync("add", tmp_path / "runs" / "*", "hf:me/{name}", "--create"))
    said(lfssync("sync"))
    del hub.repositories["me/a"]
    lfssync("sync")
    assert not hub.repositories


def test_another_remote_is_made_although_the_first_was_delivered(hub: Hub, model: Path) -> None:
    for name in ("first", "second"):
        configure({"path": model, "remote": f"{hub.address}/me/{name}", "create": "private"})
        said(lfssync("sync"))
        helpers.assert_whole(hub.root / f"me/{name}.git")
    assert {"me/first", "me/second"} <= hub.repositories.keys()


def test_a_creation_that_failed_shows_in_the_status_and_is_tried_again(hub: Hub, tmp_path: Path) -> None:
    helpers.write(tmp_path / "runs" / "a" / "w.bin", b"1")
    said(lfssync("add", tmp_path / "runs" / "*", "hf:me/{name}", "--create"))
    hub.failures.troubles.plan("create", Trouble(403))
    assert "HTTP 403" in said(lfssync("sync"), 5)
    assert "does not create me/a" in lfssync("status").stdout
    said(lfssync("sync"))
    assert list(hub.repositories) == ["me/a"]


def test_push_creates_as_well(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said(lfssync("push", model, "hf:me/m", "--create", "--tag", "v1"))
    assert "v1" in hub.repositories["me/m"].refs("refs/tags/")
    result = library.push(model, "hf:datasets/me/d", create=True, public=True, license="mit")
    assert hub.repositories["datasets/me/d"].commit_of("main") == result.commit
    assert not hub.repositories["datasets/me/d"].is_private
    with pytest.raises(library.LfssyncError):
        library.push(model, "hf:me/other")
    assert "me/other" not in hub.repositories


def test_a_licence_becomes_metadata_unless_the_directory_has_a_card(hub: Hub, tmp_path: Path) -> None:
    helpers.write(tmp_path / "plain" / "w.bin", b"1")
    said(lfssync("add", tmp_path / "plain", "hf:me/plain", "--create", "--license", "Apache-2.0"))
    said(lfssync("sync"))
    repository = hub.repositories["me/plain"]
    assert repository.git("show", "main:README.md") == b"---\nlicense: apache-2.0\n---\n"
    assert repository.git("show", "main:w.bin")


def test_a_release_gets_a_page_on_a_forge(gitea: Forge, model: Path) -> None:
    address = f"{gitea.address}/my-organisation/m"
    said(lfssync("add", model, address, "--create", "--branch", "models"))
    assert gitea.repositories["my-organisation/m"].git("symbolic-ref", "HEAD") == b"refs/heads/models\n"
    out = said(lfssync("tag", "v1", "-m", "Longer context", "--page"))
    assert out.splitlines()[-1] == f"m: release page {address}/releases/tag/v1"
    assert gitea.releases["my-organisation/m", "v1"]["body"] == "Longer context"
    assert said(lfssync("tag", "v1", "--page")) == out
    assert not gitea.made_up_tags
    helpers.assert_whole(gitea.root / "my-organisation/m.git")


def test_where_there_are_no_pages_it_is_said_and_the_tag_is_there(hub: Hub, model: Path, tmp_path: Path) -> None:
    said(lfssync("add", model, "hf:me/m", "--create"))
    assert "has no release pages; the tag v1 is there" in said(lfssync("tag", "v1", "--page"), 2)
    assert "v1" in hub.repositories["me/m"].refs("refs/tags/")
    assert os.environ["HF_TOKEN"] == TOKEN


def test_the_daemon_creates_what_a_new_folder_needs(hub: Hub, tmp_path: Path) -> None:
    configure({"path": tmp_path / "runs" / "*", "remote": f"{hub.address}/me/{{name}}", "create": "private"})
    (tmp_path / "runs").mkdir()
    with Daemon(tmp_path / "daemon.log"):
        helpers.write(tmp_path / "runs" / "a" / "w.bin", helpers.random_bytes(1, 1000))
        soon(lambda: "me/a" in hub.repositories and "w.bin" in on_hub(hub, "me/a"), "it was not delivered")
    assert hub.repositories["me/a"].is_private
    assert len(hub.steps("create")) == 1
