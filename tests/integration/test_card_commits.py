"""Cards that commits get where the directory has none: drafted, kept up to date, given up to whoever touches them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from lfssync.credentials import Credential
from lfssync.line.holdings import Holdings
from lfssync.line.pipeline import Order, run_pass
from lfssync.line.workbench import Session
from lfssync.model import CardPolicy, DeletePolicy
from lfssync.rules.cardmark import is_untouched
from lfssync.service import delivering
from lfssync.versions.restore import restore
from tests.cardfiles import CONFIG, trained, trainer_state
from tests.helpers import assert_whole, clone, git, tree
from tests.integration.site import LFS_LINE, Content, Link, Site
from tests.integration.test_hub_standin import ask
from tests.integration.test_merge import commit_without_delivery, web
from tests.logins import Logins
from tests.servers.hub import TOKEN, hub_at

CARD = b"README.md"
MODEL: Mapping[bytes, Content] = {
    b"config.json": json.dumps(CONFIG).encode(),
    b"model.safetensors": trained()[b"model.safetensors"],
}


def state(evaluations: int) -> dict[bytes, Content]:
    """A checkpoint after so many evaluations."""
    return {f"checkpoint-{100 * evaluations}/trainer_state.json".encode(): trainer_state(evaluations)}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A mirror that wants cards, with a model and its first commit."""
    site = Site.make(tmp_path, card=CardPolicy.AUTO, groups=())
    site.put(MODEL)
    return site


def card(site: Site) -> bytes:
    """The card on the remote; empty when there is none."""
    if not git("ls-tree", site.mirror.branch, "--", CARD, cwd=site.remote):
        return b""
    return git("show", f"{site.mirror.branch}:README.md", cwd=site.remote)


def test_it_is_in_the_commit_and_not_in_the_directory(site: Site, tmp_path: Path) -> None:
    first = card(site)
    assert is_untouched(first)
    assert ModelCard(first.decode()).data.get("library_name") == "transformers"
    site.assert_mirrored(besides={CARD: first})
    subject = git("log", "-1", "--format=%s", "main", cwd=site.remote).decode()
    assert subject.startswith("Add 3 files")
    assert site.sync().commit == site.tip()
    assert git("rev-list", "--count", "main", cwd=site.remote) == b"1\n"  # nothing new to say, nothing to commit
    restored = restore(site.mirror, site.state, tmp_path / "restored", None, Session())
    assert restored.commit == site.tip()
    assert (tmp_path / "restored" / "README.md").read_bytes() == first


def test_it_follows_the_metrics(site: Site) -> None:
    site.put(state(2))
    assert b"| **200** | **1** | **0.35** | **0.4** | **0.82** |" in card(site)
    site.put(state(3) | {b"checkpoint-200/trainer_state.json": None})
    latest = card(site)
    assert b"Trained for 300 of 600 steps" in latest
    assert is_untouched(latest)
    assert git("rev-list", "--count", "main", cwd=site.remote) == b"3\n"
    site.assert_mirrored(besides={CARD: latest})


def test_it_is_turned_on_and_off_for_a_directory_that_is_there(site: Site) -> None:
    site.configure(card=CardPolicy.OFF)
    before = card(site)
    site.put(state(2))
    assert card(site) == before
    site.configure(card=CardPolicy.AUTO)
    site.sync()
    assert b"Trained for 200" in card(site)
    assert git("log", "-1", "--format=%s", "main", cwd=site.remote).startswith(b"Change 1 file (")


@pytest.mark.parametrize("edited", [b"# mine\n", b"\r\n"])
def test_one_that_a_person_edited_is_theirs(site: Site, edited: bytes) -> None:
    theirs = card(site).replace(b"\n", edited, 1)
    web(site, {CARD: theirs})
    site.put(state(2))
    assert card(site) == theirs
    site.assert_mirrored(besides={CARD: theirs})


def test_one_that_a_person_deleted_is_not_made_again(site: Site) -> None:
    web(site, {CARD: None})
    site.put(state(2))
    (site.state / "state.db").unlink()
    site.put(state(3))
    assert card(site) == b""
    site.assert_mirrored()


@pytest.mark.parametrize("theirs", [b"# mine\n", None])
def test_what_a_person_does_while_ours_is_on_its_way_is_kept(site: Site, theirs: bytes | None) -> None:
    site.lay(state(2))
    commit_without_delivery(site)
    web(site, {CARD: theirs, b"other.txt": b"theirs"})
    site.sync()
    assert card(site) == (theirs or b"")
    site.assert_mirrored(besides={b"other.txt": b"theirs"} | ({CARD: theirs} if theirs else {}))


def test_a_first_card_gives_way_to_one_that_came_meanwhile(tmp_path: Path) -> None:
    site = Site.make(tmp_path, card=CardPolicy.AUTO)
    site.put({b"notes.txt": b"no model yet"})
    assert card(site) == b""
    site.lay(MODEL)
    commit_without_delivery(site)
    web(site, {CARD: b"# mine\n"})
    site.sync()
    assert card(site) == b"# mine\n"


def test_the_directorys_own_has_the_last_word(site: Site) -> None:
    site.put({CARD: b"---\nlicense: mit\n---\n# mine\n"})
    site.assert_mirrored()
    site.put(state(2))
    site.assert_mirrored()
    site.put({CARD: None})  # deleted by a person, so none is made
    site.assert_mirrored()
    assert card(site) == b""


@pytest.mark.parametrize("name", [b"readme.md", b"README.md"])
def test_whatever_is_called_so_in_the_directory_is_one(name: bytes, tmp_path: Path) -> None:
    site = Site.make(tmp_path, card=CardPolicy.AUTO, ignore=("README.md",))
    site.put({**MODEL, name: Link(b"elsewhere") if name == b"readme.md" else b"# ignored\n"})
    assert card(site) == b""


def test_a_card_that_is_kept_on_the_branch_is_not_replaced(tmp_path: Path) -> None:
    site = Site.make(tmp_path, card=CardPolicy.AUTO, delete=DeletePolicy.KEEP)
    site.put({**MODEL, CARD: b"# mine\n"})
    site.put({CARD: None, **state(2)})
    assert card(site) == b"# mine\n"


def test_it_goes_into_the_sub_folder(tmp_path: Path) -> None:
    site = Site.make(tmp_path, card=CardPolicy.AUTO, into="models/mine")
    site.put(MODEL)
    site.put(state(2))
    assert is_untouched(text := git("show", "main:models/mine/README.md", cwd=site.remote))
    assert b"Trained for 200" in text


def test_it_comes_with_the_last_of_several_commits(tmp_path: Path) -> None:
    site = Site.make(tmp_path, card=CardPolicy.AUTO)
    site.put({**MODEL, **state(2), **state(3)})
    assert git("rev-list", "--count", "main", cwd=site.remote) == b"3\n"
    assert git("show", "--name-only", "--format=", "main", "--", CARD, cwd=site.remote) == b"README.md\n"
    assert b"Trained for 300" in card(site)


def test_where_markdown_is_lfs_there_is_no_card(tmp_path: Path) -> None:
    site = Site.make(tmp_path, card=CardPolicy.AUTO)
    result = site.put({**MODEL, b".gitattributes": b"*.md" + LFS_LINE})
    assert [line for line in result.warnings if "makes it an LFS file" in line]
    site.assert_mirrored()


def test_a_draft_that_fails_is_a_warning(site: Site) -> None:
    def fail(_: Holdings) -> str | None:
        raise ZeroDivisionError("nothing to\ndivide")

    site.lay({b"model.safetensors": trained(4)[b"model.safetensors"], b"a": b"1"})
    before = card(site)
    result = run_pass(site.mirror, site.state, Order(verify=True), Session(compose=fail))
    assert result.receipt is not None
    assert result.deferred == ()
    assert any("no card is drafted: ZeroDivisionError" in line for line in result.warnings)
    site.assert_mirrored(besides={CARD: before})


def test_a_card_speaks_only_of_what_is_committed(site: Site) -> None:
    site.put(state(2))
    before = card(site)
    site.lay({**state(3), b"notes.txt": b"new"})
    with open(site.directory / "checkpoint-300" / "trainer_state.json", "ab"):  # still being written
        site.sync()
    assert b"Trained for 200" in card(site)
    site.sync()
    latest = card(site)
    assert b"Trained for 300" in latest
    with open(site.directory / "config.json", "r+b") as config:  # what is committed cannot be read any more
        config.truncate(10)
        site.put({**state(4), b"more.txt": b"new"})
    assert card(site) == latest != before


def test_a_working_copy_stays_clean(tmp_path: Path) -> None:
    site = Site.make(tmp_path, card=CardPolicy.AUTO)
    git("init", "--quiet", "--initial-branch=main", cwd=site.directory)
    site.lay(MODEL)
    for evaluations in (None, 2):
        site.lay(state(evaluations) if evaluations else {})
        delivering.sync(site.mirror, site.state, Order(), Session())
        assert git("status", "--porcelain", cwd=site.directory) == b""
        assert is_untouched(card(site))
        assert not (site.directory / "README.md").exists()
    site.lay({CARD: b"# mine\n"})
    delivering.sync(site.mirror, site.state, Order(), Session())
    assert git("status", "--porcelain", cwd=site.directory) == b""
    assert card(site) == b"# mine\n"


def test_a_folder_that_is_nearly_full_gets_no_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lfssync.line.composing.TOP_ENTRIES", 2)
    site = Site.make(tmp_path, card=CardPolicy.AUTO)
    site.put({**MODEL, b"notes.txt": b"1"})
    assert card(site) == b""


def test_the_hub_takes_it_and_its_own_client_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hub_at(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        hub.make("me/m")
        site = Site.make(tmp_path / "site", card=CardPolicy.AUTO)
        site.login = Logins([Credential("hf_user", TOKEN)])
        site.configure(remote=f"{hub.address}/me/m")
        assert site.put({**MODEL, **state(2)}).deferred == ()
        script = "card = ModelCard.load('me/m')\nprint(json.dumps([card.data.base_model, card.text]))"
        answer = ask(hub, f"from huggingface_hub import ModelCard\n{script}")
    assert isinstance(answer, list)
    assert answer[0] == "google-bert/bert-base-uncased"
    assert 'from_pretrained("me/m", revision="main")' in answer[1]


def test_two_machines_that_draft_meet(site: Site, tmp_path: Path) -> None:
    other = Site.make(tmp_path / "b", remote=site.remote, card=CardPolicy.AUTO, delete=DeletePolicy.KEEP)
    other.put({b"b.safetensors": trained(5)[b"model.safetensors"]})
    site.put(state(2))
    assert is_untouched(card(site))
    assert_whole(site.remote)
    assert {b"b.safetensors", b"model.safetensors", CARD} <= tree(clone(site.remote, tmp_path / "clone")).keys()
