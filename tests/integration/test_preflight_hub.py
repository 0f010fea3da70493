"""A mirror on the Hub: one file that it would refuse waits with its reason, and everything else arrives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lfssync.credentials import Credential
from lfssync.hosts.preflight import HUGGING_FACE
from tests import helpers
from tests.integration.site import Site
from tests.logins import Logins
from tests.servers.hub import TOKEN, Hub, hub_at

BINARY = b"PNG\0\1\2\3"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_at(tmp_path / "hub") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.address)
        yield running


@pytest.fixture
def site(hub: Hub, tmp_path: Path) -> Site:
    hub.make("me/m")
    site = Site.make(tmp_path / "site")
    site.login = Logins([Credential("hf_user", TOKEN)])
    site.configure(remote=f"{hub.address}/me/m")
    return site


def on_hub(hub: Hub, name: str = "me/m") -> dict[str, bool]:
    """The files of the branch, and whether each is an LFS object."""
    entries = hub.repositories[name].entries("main")
    return {entry.path: entry.lfs is not None for entry in entries if not entry.is_folder}


def test_what_the_hub_would_refuse_waits_alone(hub: Hub, site: Site) -> None:
    site.lay({
        b"model.safetensors": helpers.random_bytes(1, 100_000),
        b"config.json": b"{}\n",
        b"README.md": b"---\nlicense: [\n---\n",
        b"plain/.gitattributes": b"* -filter\n",
        b"plain/image.png": BINARY,
        b"plain/corpus.txt": b"a line of text\n" * 800_000,
        b".cache/notes.txt": b"x\n",
    })  # fmt: skip
    result = site.sync()
    reasons = {one.path: one.reason for one in result.deferred}
    assert sorted(reasons) == [b".cache/notes.txt", b"README.md", b"plain/corpus.txt", b"plain/image.png"]
    assert "does not take its metadata (line " in reasons[b"README.md"]
    assert "takes files over 10 MiB only as LFS objects: take the line out" in reasons[b"plain/corpus.txt"]
    assert "takes binary files only as LFS objects" in reasons[b"plain/image.png"]
    assert on_hub(hub) == {
        ".gitattributes": False,
        "config.json": False,
        "model.safetensors": True,
        "plain/.gitattributes": False,
    }
    site.lay({
        b"README.md": b"---\nlicense: mit\n---\n", b"plain/.gitattributes": None, b".cache/notes.txt": None,
    })  # fmt: skip
    assert not site.sync().deferred
    assert on_hub(hub)["plain/corpus.txt"]
    assert on_hub(hub)["plain/image.png"]
    helpers.assert_whole(hub.root / "me/m.git")


def test_small_binary_and_large_text_files_become_lfs_for_the_hub(hub: Hub, site: Site) -> None:
    site.configure(lfs_threshold_bytes=1 << 30)
    site.lay({b"image.png": BINARY, b"corpus.txt": b"a line of text\n" * 800_000, b"notes.txt": b"a line\n"})
    assert not site.sync().deferred
    files = on_hub(hub)
    assert (files["image.png"], files["corpus.txt"], files["notes.txt"]) == (True, True, False)


def test_a_readme_in_a_sub_folder_is_no_card(hub: Hub, site: Site) -> None:
    site.configure(into="weights")
    site.lay({b"README.md": b"---\nlicense: [\n---\n"})
    assert not site.sync().deferred


def test_a_folder_takes_so_many_entries_and_the_rest_waits(
    hub: Hub, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lfssync.hosts.preflight.HUGGING_FACE", replace(HUGGING_FACE, folder_entries=4))
    site.lay({b"a/%d.txt" % number: b"%d\n" % number for number in range(3)})
    assert not site.sync().deferred
    site.lay({b"a/%d.txt" % number: b"%d\n" % number for number in range(3, 6)} | {b"b/x.txt": b"x\n"})
    result = site.sync()
    assert [one.path for one in result.deferred] == [b"a/4.txt", b"a/5.txt"]
    assert "takes 4 entries in a folder, and a is full" in result.deferred[0].reason
    assert {"a/3.txt", "b/x.txt"} <= set(on_hub(hub))
    site.lay({b"a/0.txt": None, b"a/1.txt": None})
    assert not site.sync().deferred
    assert {"a/4.txt", "a/5.txt"} <= set(on_hub(hub))


def test_large_files_are_remarked_on_for_github(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = replace(HUGGING_FACE, host="GitHub", lfs_warn_bytes=1000)
    monkeypatch.setattr("lfssync.hosts.preflight.HUGGING_FACE", limits)
    site.lay({b"w.bin": helpers.random_bytes(1, 2000)})
    warnings = site.sync().warnings
    assert any("w.bin (2.0 kB): LFS objects over 1.0 kB may be refused" in line for line in warnings)
