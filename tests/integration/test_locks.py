"""Files that others have locked at the host: they stay there as they are, and everything else is delivered."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lfssync.credentials import Credential
from lfssync.line.pipeline import Order
from lfssync.line.securing import NO_LOCKS_FACT, NO_LOCKS_S
from lfssync.line.workbench import Session
from lfssync.model import Mirror, PassResult
from lfssync.records.store import Store
from lfssync.service import delivering
from tests.helpers import git, make_bare, random_bytes, write
from tests.integration.site import QUIET_S
from tests.servers.forges import TOKEN, gitea_at
from tests.servers.partlist import PartList, part_list
from tests.servers.repository import make_repository
from tests.servers.troubles import ALWAYS, Trouble

OLD, NEW = random_bytes(1, 3000), random_bytes(2, 4000)


class Place:
    """A directory that is mirrored to a host where others lock files."""

    def __init__(self, base: Path, host: PartList, **keys: Any) -> None:
        self.host = host
        self.remote = make_bare(host.root / "me" / "model.git")
        self.directory = base / "model"
        self.directory.mkdir()
        self.state = base / "state"
        self.mirror = Mirror("model", self.directory, f"{host.address}/me/model.git", quiet_s=QUIET_S, **keys)

    def put(self, **contents: bytes | None) -> PassResult:
        """Lay files down, the dot in their names as a double underscore, and sync."""
        for name, content in contents.items():
            file = self.directory / name.replace("__", ".")
            if content is None:
                file.unlink()
            else:
                write(file, content)
        return delivering.sync(self.mirror, self.state, Order(), Session())

    def there(self) -> dict[str, bytes]:
        """What the remote holds, LFS objects by their content."""
        found = {}
        for name in git("ls-tree", "-r", "--name-only", "main", cwd=self.remote).decode().split():
            content = git("cat-file", "blob", f"main:{name}", cwd=self.remote)
            if content.startswith(b"version https://git-lfs"):
                content = self.host.objects[content.partition(b"sha256:")[2][:64].decode()]
            found[name] = content
        found.pop(".gitattributes", None)
        return found

    def lock(self, *paths: str) -> None:
        """Have somebody lock these, and nobody any other."""
        self.host.locks = [{"theirs": [{"id": path, "path": path, "owner": {"name": "ada"}} for path in paths]}]

    @property
    def asked(self) -> int:
        """How often locks were asked for."""
        return len(self.host.steps("locks"))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[PartList]:
    with part_list(tmp_path / "host") as running:
        running.locks = [{}]
        yield running


@pytest.fixture
def place(tmp_path: Path, host: PartList) -> Place:
    return Place(tmp_path, host)


def held(result: PassResult) -> list[tuple[bytes, str]]:
    return [(one.path, one.reason) for one in result.deferred]


def test_a_locked_file_stays_as_it_is_and_the_others_go_on(place: Place) -> None:
    place.put(a__bin=OLD, b__bin=OLD + b"b", notes__txt=b"old", more__txt=b"old")
    place.lock("a.bin", "notes.txt")
    sent = len(place.host.objects)
    result = place.put(a__bin=NEW, b__bin=NEW + b"b", notes__txt=b"new", more__txt=b"new")
    assert sorted(held(result)) == [
        (b"a.bin", "locked by ada at the host"),
        (b"notes.txt", "locked by ada at the host"),
    ]
    assert place.there() == {"a.bin": OLD, "b.bin": NEW + b"b", "notes.txt": b"old", "more.txt": b"new"}
    assert len(place.host.objects) == sent + 1, "what is not committed is not sent either"
    place.lock()
    assert held(place.put()) == []
    assert place.there() == {"a.bin": NEW, "b.bin": NEW + b"b", "notes.txt": b"new", "more.txt": b"new"}


def test_a_locked_file_is_not_removed(place: Place) -> None:
    others = {f"{number}.txt": b"text" for number in range(5)}
    place.put(a__bin=OLD, b__bin=OLD + b"b", **others)
    place.lock("a.bin")
    assert held(place.put(a__bin=None, b__bin=None)) == [(b"a.bin", "locked by ada at the host")]
    assert place.there() == {"a.bin": OLD} | others
    assert held(place.put()) == [(b"a.bin", "locked by ada at the host")]
    place.lock()
    assert held(place.put()) == []
    assert place.there() == others


def test_a_removal_that_is_not_mirrored_asks_nobody(tmp_path: Path, host: PartList) -> None:
    place = Place(tmp_path, host, delete="keep")
    place.put(a__bin=OLD, b__txt=b"text")
    before = place.asked
    place.lock("a.bin")
    assert held(place.put(a__bin=None)) == []
    assert place.asked == before
    assert place.there() == {"a.bin": OLD, "b.txt": b"text"}


def test_paths_are_those_of_the_repository(tmp_path: Path, host: PartList) -> None:
    place = Place(tmp_path, host, into="models/one")
    place.put(a__bin=OLD)
    place.lock("a.bin")
    assert held(place.put(a__bin=NEW)) == []
    place.lock("models/one/a.bin")
    assert held(place.put(a__bin=OLD + b"3")) == [(b"a.bin", "locked by ada at the host")]


def test_a_file_that_is_read_again_but_has_not_changed_waits_for_nobody(place: Place) -> None:
    place.put(a__bin=OLD, b__bin=OLD + b"b")
    place.lock("a.bin")
    (place.state / "state.db").unlink()
    assert held(place.put(b__bin=NEW)) == []


def test_who_changes_nothing_in_lfs_asks_nobody(place: Place) -> None:
    place.put(a__bin=OLD, notes__txt=b"old")
    before = place.asked
    place.put(notes__txt=b"new")
    place.put(notes__txt=None)
    place.put()
    assert place.asked == before


def test_locks_are_asked_for_once_a_pass(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lfssync.line.securing.OPEN_FILES", 2)
    place.put(a__bin=OLD)
    before = place.asked
    place.put(**{f"x{number}__bin": OLD + bytes([number]) for number in range(7)}, a__bin=None)
    assert place.asked == before + 1


def test_weights_wait_as_one_when_one_of_them_is_locked(place: Place) -> None:
    """They were sent by a pass before, when the index that makes them whole was not there yet."""
    shards = {f"pytorch_model-0000{number}-of-00002.bin": OLD + bytes([number]) for number in (1, 2)}
    for name, content in shards.items():
        write(place.directory / name, content)
    assert len(held(place.put(other__bin=NEW))) == 2
    assert len(place.host.objects) == 3
    place.lock(min(shards))
    index = json.dumps({"weight_map": {str(number): name for number, name in enumerate(shards)}}).encode()
    result = place.put(**{"pytorch_model.bin.index__json": index})
    assert (min(shards).encode(), "locked by ada at the host") in held(result)
    assert place.there() == {"other.bin": NEW}
    place.lock()
    assert held(place.put()) == []
    assert place.there() == shards | {"pytorch_model.bin.index.json": index, "other.bin": NEW}


@pytest.mark.parametrize("status", [404, 403, 405, 501])
def test_a_host_without_locks_is_asked_once_a_day(status: int, place: Place) -> None:
    place.host.troubles.plan("locks", Trouble(status, times=ALWAYS))
    contents = (OLD + bytes([number]) for number in itertools.count())
    for content in (next(contents), next(contents)):
        place.put(a__bin=content)
    assert place.asked == 1
    for until in (time.time() - 1, time.time() + NO_LOCKS_S + 3600):  # a day has passed, or a clock was put back
        with Store(place.state / "state.db") as store, store.transaction():
            fact = store.fact(NO_LOCKS_FACT)
            assert isinstance(fact, list)
            store.record_facts({NO_LOCKS_FACT: [fact[0], until]})
        before = place.asked
        place.put(a__bin=next(contents))
        assert place.asked == before + 1
    assert place.there() == {"a.bin": OLD + bytes([3])}


def test_another_remote_may_have_locks(place: Place, tmp_path: Path) -> None:
    place.host.locks = []
    place.put(a__bin=OLD)
    with part_list(tmp_path / "other") as other:
        make_bare(other.root / "me" / "model.git")
        other.locks = [{"theirs": [{"path": "b.bin"}]}]
        place.mirror = Mirror("model", place.directory, f"{other.address}/me/model.git", quiet_s=QUIET_S)
        assert held(place.put(b__bin=OLD)) == [(b"b.bin", "locked by somebody at the host")]


@pytest.mark.parametrize("trouble", [Trouble(500, times=ALWAYS), Trouble(times=ALWAYS), Trouble(401, times=ALWAYS)])
def test_a_host_in_trouble_stops_nothing_and_is_asked_again(trouble: Trouble, place: Place) -> None:
    place.host.troubles.plan("locks", trouble)
    for content in (OLD, NEW):
        assert held(place.put(a__bin=content)) == []
    assert place.asked == 2
    assert place.there() == {"a.bin": NEW}


def test_a_host_that_does_not_answer_costs_little_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lfssync.transfer.locks.ANSWER_S", 0.3)
    place.host.troubles.plan("locks", Trouble(200, stall_s=30))
    began = time.monotonic()
    assert held(place.put(a__bin=OLD)) == []
    assert time.monotonic() - began < 15
    assert place.there() == {"a.bin": OLD}


class Person:
    """Knows the login of the forge."""

    def find(self, url: str) -> Credential | None:
        return Credential("me", TOKEN)

    def refused(self, url: str, credential: Credential) -> None:
        raise AssertionError("the login is right")


def test_locks_as_gitea_has_them(tmp_path: Path) -> None:
    """With a login; one's own locks are no obstacle."""
    with gitea_at(tmp_path / "host") as forge:
        forge.repositories["me/model"] = make_repository(forge.root / "me" / "model.git")
        directory = tmp_path / "model"
        write(directory / "a.bin", OLD)
        write(directory / "b.bin", OLD + b"b")
        mirror = Mirror("model", directory, f"{forge.address}/me/model.git", quiet_s=QUIET_S)
        forge.locks |= {"a.bin": "ada", "b.bin": "me"}
        result = delivering.sync(mirror, tmp_path / "state", Order(), Session(login=Person()))
        assert held(result) == [(b"a.bin", "locked by ada at the host")]
        forge.locks.clear()
        assert held(delivering.sync(mirror, tmp_path / "state", Order(), Session(login=Person()))) == []
