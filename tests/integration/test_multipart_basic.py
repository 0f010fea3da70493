"""Uploads by `multipart-basic`: every step may be missing, and little is sent again when something goes wrong."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lfssync.errors import AuthError, BlockedError, LfssyncError, TransientError
from lfssync.model import silent
from lfssync.transfer import Source
from tests.helpers import git, make_bare, random_bytes, write
from tests.integration.daemons import LFSSYNC, PROJECT, soon
from tests.integration.objects import Sender, When, sender
from tests.servers.partlist import PartList, part_list
from tests.servers.troubles import ALWAYS, Trouble

PART = 100_000
CONTENT = random_bytes(1, 12 * PART + 345)
PLACES = [PART * number for number in range(13)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[PartList]:
    with part_list(tmp_path / "host", part_bytes=PART) as running:
        yield running


@pytest.fixture
def me(tmp_path: Path) -> Iterator[Sender]:
    with sender(tmp_path) as somebody:
        yield somebody


def to(host: PartList) -> str:
    """The address of a repository."""
    return f"{host.address}/me/model.git"


def sent(host: PartList) -> Counter[int]:
    """How often each part came, by its place."""
    return Counter(int(one.url.partition("?")[0].rpartition("/")[2]) for one in host.steps("part"))


def order(host: PartList) -> list[str]:
    """Which steps were taken, those that repeat once."""
    steps = [one.step for one in host.seen]
    return [step for before, step in zip(["", *steps], steps, strict=False) if step != before]


def assert_arrived(host: PartList, me: Sender, one: Source) -> None:
    assert host.objects == {one.lfs.oid: CONTENT}
    assert me.notes() == []


LEFT_OUT = [(), ("init",), ("verify",), ("abort",), ("init", "commit"), ("init", "commit", "abort", "verify")]


@pytest.mark.parametrize("left_out", LEFT_OUT)
def test_every_step_may_be_missing(left_out: tuple[str, ...], host: PartList, me: Sender) -> None:
    host.steps_left_out = frozenset(left_out)
    one = me.lay(CONTENT)
    done = me.transfer(to(host)).upload([one], silent)
    assert (done.sent_bytes, done.changed) == (len(CONTENT), ())
    assert_arrived(host, me, one)
    assert sent(host) == Counter(PLACES)
    assert order(host) == [
        step for step in ("batch", "init", "part", "commit", "verify") if step not in left_out or step == "batch"
    ]
    assert all(seen.headers["x-step"] == seen.step for seen in host.seen if seen.step != "batch")


@pytest.mark.parametrize("wanted", ["contentMD5", "sha-256;q=1.0, md5;q=0.5"])
def test_the_checksum_that_is_wanted(wanted: str, host: PartList, me: Sender) -> None:
    host.want_digest = wanted
    one = me.lay(CONTENT)
    me.transfer(to(host)).upload([one], silent)
    assert_arrived(host, me, one)


ONCE = [Trouble(status) for status in (408, 429, 500, 502, 503, 504)]


@pytest.mark.parametrize("trouble", [*ONCE, Trouble(), Trouble(takes_bytes=PART // 2), Trouble(is_done=True)])
def test_what_passes_costs_one_part(trouble: Trouble, host: PartList, me: Sender) -> None:
    host.troubles.plan("part", trouble)
    one = me.lay(CONTENT)
    me.transfer(to(host)).upload([one], silent)
    assert_arrived(host, me, one)
    assert sorted(sent(host).values()) == [1] * 12 + [2]
    assert len(host.steps("batch")) == 1


@pytest.mark.parametrize("status", [401, 403])
def test_an_address_that_has_expired(status: int, host: PartList, me: Sender) -> None:
    """Asked anew, the server lists what it lacks, and that alone is sent."""
    host.troubles.plan("part", Trouble(status))
    one = me.lay(CONTENT)
    me.transfer(to(host)).upload([one], silent)
    assert_arrived(host, me, one)
    assert sorted(sent(host).values()) == [1] * 12 + [2]
    assert len(host.steps("batch")) == 2


def test_parts_that_the_server_lost(host: PartList, me: Sender) -> None:
    host.loses_at_commit = {PLACES[3], PLACES[12]}
    one = me.lay(CONTENT)
    me.transfer(to(host)).upload([one], silent)
    assert_arrived(host, me, one)
    assert sent(host) == Counter([*PLACES, PLACES[3], PLACES[12]])
    assert host.aborted == []


def test_a_server_that_never_has_all_parts(host: PartList, me: Sender) -> None:
    host.troubles.plan("commit", Trouble(409, times=ALWAYS))
    with pytest.raises(TransientError, match="lacks parts"):
        me.transfer(to(host)).upload([me.lay(CONTENT)], silent)
    assert host.objects == {}
    assert len(host.steps("batch")) < 10
    assert sent(host) == Counter(PLACES)


@pytest.mark.parametrize("step", ["init", "part", "commit"])
def test_a_step_that_is_always_refused(step: str, host: PartList, me: Sender) -> None:
    host.troubles.plan(step, Trouble(403, times=ALWAYS))
    with pytest.raises(AuthError):
        me.transfer(to(host)).upload([me.lay(CONTENT)], silent)
    assert len(host.steps("batch")) < 6


@pytest.mark.parametrize("trouble", [Trouble(500, times=2), Trouble(times=2)])
@pytest.mark.parametrize("step", ["init", "commit"])
def test_a_step_that_has_to_be_asked_again(step: str, trouble: Trouble, host: PartList, me: Sender) -> None:
    host.troubles.plan(step, trouble)
    one = me.lay(CONTENT)
    me.transfer(to(host)).upload([one], silent)
    assert_arrived(host, me, one)
    assert sent(host) == Counter(PLACES)


def test_a_commit_whose_answer_is_lost(host: PartList, me: Sender) -> None:
    host.troubles.plan("commit", Trouble(is_done=True))
    one = me.lay(CONTENT)
    me.transfer(to(host)).upload([one], silent)
    assert_arrived(host, me, one)
    assert sent(host) == Counter(PLACES)


def test_what_somebody_else_completed_meanwhile_is_not_left_half_done(host: PartList, me: Sender) -> None:
    one = me.lay(CONTENT)

    def complete() -> None:
        host.objects[one.lfs.oid] = CONTENT
        host.troubles.plan("part", Trouble(403, times=8))

    me.transfer(to(host)).upload([one], When(4 * PART, complete))
    assert_arrived(host, me, one)
    assert host.steps("commit") == []
    assert host.parts == {}
    assert host.aborted == [one.lfs.oid]


def test_an_upload_that_goes_on_after_a_restart(host: PartList, me: Sender) -> None:
    one = me.lay(CONTENT)
    arrived = break_off(host, me, one)
    before = sent(host)
    me.transfer(to(host)).upload([one], silent)
    assert_arrived(host, me, one)
    assert sent(host) - before == Counter(set(PLACES) - arrived)
    assert host.aborted == []


@pytest.mark.parametrize("times", [1, 2])
def test_a_sync_that_is_killed_goes_on_where_it_was(times: int, host: PartList, tmp_path: Path) -> None:
    """Whenever it is killed: also between the server's taking of a part and our hearing of it."""
    content = random_bytes(3, 60 * PART + 345)
    remote = make_bare(host.root / "me" / "model.git")
    write(tmp_path / "model" / "model.bin", content)
    config = write(
        tmp_path / "config.toml",
        f"""[[mirror]]
name = "model"
path = "{tmp_path}/model"
remote = "{host.address}/me/model.git"
quiet = "0.1s"
rate_limit = "2MB/s"
""".encode(),
    )
    command = [*LFSSYNC, "--config", str(config), "sync", "model"]
    for time in range(1, times + 1):
        kill_at(10 * time, host, command)
    arrived, before = set(host.parts[oid_of(content)]), sent(host)
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert host.objects == {oid_of(content): content}
    assert sent(host) - before == Counter(set(range(0, len(content), PART)) - arrived)
    assert host.aborted == []
    assert git("log", "--format=%s", "main", cwd=remote)


def kill_at(count: int, host: PartList, command: list[str]) -> None:
    """Kill it when the server has so many parts."""
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            soon(lambda: sum(map(len, host.parts.values())) >= count)
        finally:
            running.kill()
    soon(lambda: not host.coming)


def oid_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("what", ["without notes", "wrong at the server"])
def test_parts_that_nobody_can_vouch_for_are_not_put_together(what: str, host: PartList, me: Sender) -> None:
    """The server would put together what it has; so it is told to forget it, and gets all of it anew."""
    one = me.lay(CONTENT)
    if what == "wrong at the server":
        with open(one.path, "r+b") as file:
            file.write(bytes(10))
    break_off(host, me, one)
    if what == "without notes":
        (note,) = me.notes()
        note.unlink()
    with open(one.path, "r+b") as file:
        file.write(CONTENT[:10])
    me.transfer(to(host)).upload([one], silent)
    assert_arrived(host, me, one)
    assert host.aborted == [one.lfs.oid]


def break_off(host: PartList, me: Sender, one: Source) -> set[int]:
    """Let the network go after some parts, for longer than one pass tries; gives the places of the parts there."""

    def go() -> None:
        host.troubles.plan("part", Trouble(takes_bytes=10, times=ALWAYS))

    with pytest.raises(TransientError):
        me.transfer(to(host)).upload([one], When(8 * PART, go))
    host.troubles.plan("part")
    assert host.objects == {}
    assert len(host.parts[one.lfs.oid]) >= 4
    return set(host.parts[one.lfs.oid])


def test_without_a_way_to_give_up_what_is_not_ours_stays_as_it_is(host: PartList, me: Sender) -> None:
    host.steps_left_out = frozenset({"abort"})
    one = me.lay(CONTENT)
    host.parts[one.lfs.oid] = {0: bytes(PART)}
    with pytest.raises(TransientError, match="nobody here has sent"):
        me.transfer(to(host)).upload([one], silent)
    assert host.objects == {}
    assert host.steps("commit") == []
    assert len(host.steps("batch")) < 10


@pytest.mark.parametrize("what", ["overwritten", "cut"])
def test_a_file_that_changes_meanwhile_is_never_committed(what: str, host: PartList, me: Sender) -> None:
    one, other = me.lay(CONTENT), me.lay(random_bytes(2, 3 * PART))

    def change() -> None:
        if what == "cut":
            os.truncate(one.path, 11 * PART)
            return
        with open(one.path, "r+b") as file:
            file.seek(12 * PART)
            file.write(bytes(100))

    done = me.transfer(to(host)).upload([one, other], When(3 * PART, change))
    assert done.changed == (one.lfs,)
    assert list(host.objects) == [other.lfs.oid]
    assert host.aborted == [one.lfs.oid]
    assert me.notes() == []


@pytest.mark.parametrize("speaks_basic", [True, False])
def test_a_server_that_offers_no_way_to_send(speaks_basic: bool, host: PartList, me: Sender) -> None:
    """giftless with a storage that cannot take parts: no actions look as if it had the object."""
    host.offers_nothing, host.speaks_basic = True, speaks_basic
    one = me.lay(CONTENT)
    transfer = me.transfer(to(host))
    if speaks_basic:
        assert transfer.missing([one.lfs]) == [one.lfs]
        transfer.upload([one], silent)
        assert_arrived(host, me, one)
        assert transfer.missing([one.lfs]) == []
    else:
        with pytest.raises(BlockedError):
            transfer.missing([one.lfs])


@pytest.mark.parametrize(
    "change",
    [{"pos": 1}, {"size": PART + 1}, {"pos": -1}, {"pos": "x"}, {"method": "NOT A METHOD"}, {"href": "/relative"}],
)
def test_parts_that_make_no_sense(change: dict[str, Any], host: PartList, me: Sender) -> None:
    host.changes_part = change
    with pytest.raises(LfssyncError, match="breaks the protocol"):
        me.transfer(to(host)).upload([me.lay(CONTENT)], silent)
    assert host.objects == {}
    assert host.steps("commit") == []
