"""Uploads in parts to the stand-in of the Hub: what goes wrong on the way, and what is sent again because of it."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lfssync.credentials import Credential
from lfssync.errors import AuthError, LfssyncError, TransientError
from lfssync.line.pipeline import Order, run_pass
from lfssync.line.workbench import Session
from lfssync.model import LfsObject, Mirror, Plan, Progress, State, silent
from lfssync.transfer import Source
from lfssync.transfer.batch import Action
from lfssync.transfer.parts import InParts
from lfssync.transfer.unfinished import KEPT_S, KEPT_UPLOADS, Unfinished, Upload
from tests.helpers import random_bytes, write
from tests.integration.objects import Sender, When, sender
from tests.servers.hub import TOKEN, Hub, hub_at
from tests.servers.hubstorage import PartKeys
from tests.servers.troubles import ALWAYS, Trouble

PART = 100_000
CONTENT = random_bytes(1, 12 * PART + 345)
PARTS = list(range(1, 14))
NAME = "me/model"


class Person:
    """Knows the login of the Hub."""

    def find(self, url: str) -> Credential | None:
        return Credential("me", TOKEN)

    def refused(self, url: str, credential: Credential) -> None:
        raise AssertionError("the login is right")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_at(tmp_path / "hub") as running:
        running.make(NAME)
        running.multipart_above_bytes, running.chunk_bytes = PART, PART
        yield running


@pytest.fixture
def me(tmp_path: Path) -> Iterator[Sender]:
    with sender(tmp_path, Person()) as somebody:
        yield somebody


def to(hub: Hub) -> str:
    """The address of the repository."""
    return f"{hub.address}/{NAME}"


def held(hub: Hub) -> dict[str, bytes]:
    """What the Hub has taken in."""
    place = hub.root / f"{NAME}.git" / "lfs" / "objects"
    return {file.name: file.read_bytes() for file in place.rglob("*") if file.is_file()}


def number(url: str) -> int:
    return int(parse_qs(urlsplit(url).query)["part"][0])


def sent(hub: Hub) -> Counter[int]:
    """How often each part came to the storage."""
    return Counter(number(one.url) for one in hub.steps("part"))


def assert_arrived(hub: Hub, me: Sender) -> None:
    assert held(hub) == {hashlib.sha256(CONTENT).hexdigest(): CONTENT}
    assert me.notes() == []


@pytest.mark.parametrize("keys", PartKeys)
def test_parts_in_every_order(keys: PartKeys, hub: Hub, me: Sender) -> None:
    hub.failures.part_keys = keys
    hub.failures.other_keys = {"upload_id": "u1", "X-More": "2"}
    done = me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert (done.sent_bytes, done.changed) == (len(CONTENT), ())
    assert_arrived(hub, me)
    assert sent(hub) == Counter(PARTS)
    sizes = {number(one.url): int(one.headers["content-length"]) for one in hub.steps("part")}
    assert [sizes[part] for part in PARTS] == [PART] * 12 + [345]
    (completion,) = hub.steps("complete")
    assert completion.headers["content-type"] == completion.headers["accept"] == "application/vnd.git-lfs+json"
    strangers = [one for one in [*hub.steps("part"), completion] if "authorization" in one.headers]
    assert strangers == []


def test_large_and_small_objects_in_one_reply(hub: Hub, me: Sender) -> None:
    contents = [CONTENT, b"small", random_bytes(2, PART), random_bytes(3, PART + 1), random_bytes(4, 5 * PART)]
    done = me.transfer(to(hub)).upload([me.lay(content) for content in contents], silent)
    assert done.sent_bytes == sum(map(len, contents))
    assert sorted(held(hub).values()) == sorted(contents)
    assert len(hub.steps("put")) == 2


def test_a_reply_that_calls_itself_basic(hub: Hub, me: Sender) -> None:
    hub.failures.batch_edit = lambda reply: reply | {"transfer": "basic"}
    me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)


def test_a_part_larger_than_the_object(hub: Hub, me: Sender) -> None:
    hub.failures.chunk_size = str(1 << 40)
    hub.chunk_bytes = 1 << 40
    me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)
    assert sent(hub) == Counter([1])


@pytest.mark.parametrize(
    "failure", [{"parts_more": 1}, {"parts_more": -1}, {"chunk_size": "many"}, {"chunk_size": "0"}, {"no_etag_on": 7}]
)
def test_replies_that_make_no_sense(failure: dict[str, Any], hub: Hub, me: Sender) -> None:
    for name, value in failure.items():
        setattr(hub.failures, name, value)
    with pytest.raises(LfssyncError, match="breaks the protocol"):
        me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert held(hub) == {}
    assert hub.steps("complete") == []


ONCE = [Trouble(status, times=1) for status in (408, 429, 500, 502, 503, 504)]


@pytest.mark.parametrize(
    "trouble", [*ONCE, Trouble(429, headers={"Retry-After": "0"}), Trouble(), Trouble(is_done=True)]
)
def test_what_passes_costs_one_part(trouble: Trouble, hub: Hub, me: Sender) -> None:
    hub.failures.troubles.plan("part", trouble)
    me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)
    assert sorted(sent(hub).values()) == [1] * 12 + [2]
    assert len(hub.steps("batch")) == 1


def test_a_storage_that_wants_a_long_pause_gets_it(hub: Hub, me: Sender) -> None:
    """Not from here: the pass ends, and the next one comes when it is time."""

    def busy() -> None:
        hub.failures.troubles.plan("part", Trouble(429, headers={"Retry-After": "600"}, times=ALWAYS))

    with pytest.raises(TransientError) as caught:
        me.transfer(to(hub)).upload([me.lay(CONTENT)], When(8 * PART, busy))
    assert caught.value.retry_after_s == 600
    assert len(hub.steps("batch")) == 1


def test_a_connection_that_breaks_in_the_middle_of_a_part(hub: Hub, me: Sender) -> None:
    """Not one byte of any other part is sent again."""
    hub.failures.troubles.plan("part", Trouble(takes_bytes=PART // 2, times=3))
    me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)
    assert sum(sent(hub).values()) == len(PARTS) + 3
    assert len(hub.steps("batch")) == 1


def test_an_address_that_has_expired(hub: Hub, me: Sender) -> None:
    """Without the server's help nothing of it can be used: it is another upload, with other parts."""
    hub.failures.troubles.plan("part", Trouble(403))
    me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)
    assert len(hub.steps("batch")) == 2
    assert len(hub.steps("complete")) == 1


def test_an_address_that_has_expired_where_the_upload_goes_on(hub: Hub, me: Sender) -> None:
    hub.failures.goes_on = True
    hub.failures.troubles.plan("part", Trouble(403))
    me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)
    assert sorted(sent(hub).values()) == [1] * 12 + [2]


def test_addresses_that_expire_again_and_again_where_the_upload_goes_on(hub: Hub, me: Sender) -> None:
    """A line so slow that no address is good long enough for all of it; each is good for some parts."""
    hub.failures.goes_on = True
    hub.failures.link_lifetime_s, hub.chunk_bytes = 0.5, PART // 2
    me.transfer(to(hub), rate_limit_bytes=3 * PART).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)
    assert len(hub.steps("batch")) > 4


def test_addresses_that_expire_where_the_server_begins_anew(hub: Hub, me: Sender) -> None:
    """What is left of the first upload is worth nothing any more; the fresh addresses are those to use."""
    hub.failures.link_lifetime_s = 0.6

    def last() -> None:
        hub.failures.link_lifetime_s = 900

    me.transfer(to(hub), rate_limit_bytes=6 * PART).upload([me.lay(CONTENT)], When(2 * PART, last))
    assert_arrived(hub, me)
    assert len(hub.steps("batch")) == 2
    assert len(hub.steps("complete")) == 1


def test_addresses_that_never_live_long_enough(hub: Hub, me: Sender) -> None:
    """With another upload each time there is no end to come to; it is said, and not tried for ever."""
    hub.failures.link_lifetime_s = 0.3
    with pytest.raises(AuthError):
        me.transfer(to(hub), rate_limit_bytes=8 * PART).upload([me.lay(CONTENT)], silent)
    assert held(hub) == {}
    assert len(hub.steps("batch")) < 8


@pytest.mark.parametrize("step", ["part", "complete"])
def test_addresses_that_are_always_refused(step: str, hub: Hub, me: Sender) -> None:
    hub.failures.troubles.plan(step, Trouble(403, times=ALWAYS))
    with pytest.raises(AuthError):
        me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert held(hub) == {}
    assert len(hub.steps("batch")) < 6


@pytest.mark.parametrize("status", [400, 404])
def test_a_completion_that_is_refused(status: int, hub: Hub, me: Sender) -> None:
    hub.failures.troubles.plan("complete", Trouble(status))
    me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)
    assert sent(hub) == Counter(PARTS * 2)


def test_a_completion_that_is_refused_for_ever(hub: Hub, me: Sender) -> None:
    hub.failures.troubles.plan("complete", Trouble(400, times=ALWAYS))
    with pytest.raises(TransientError):
        me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert held(hub) == {}
    assert len(hub.steps("batch")) < 10


@pytest.mark.parametrize("trouble", [Trouble(500, times=2), Trouble(times=2), Trouble(status=503, times=2)])
def test_a_completion_that_has_to_be_asked_again(trouble: Trouble, hub: Hub, me: Sender) -> None:
    """The server names another upload meanwhile; the one that is nearly done is the one to end."""
    hub.failures.troubles.plan("complete", trouble)
    me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)
    assert sent(hub) == Counter(PARTS)


def test_a_completion_whose_answer_is_lost(hub: Hub, me: Sender) -> None:
    """The upload is gone then, and the object may be there: the server has to say so."""
    hub.failures.troubles.plan("complete", Trouble(is_done=True))
    me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)
    assert sent(hub) == Counter(PARTS)


def test_an_upload_that_the_storage_forgot(hub: Hub, me: Sender) -> None:
    hub.failures.troubles.plan("part", Trouble(404))
    me.transfer(to(hub)).upload([me.lay(CONTENT)], silent)
    assert_arrived(hub, me)


def test_a_later_pass_goes_on_although_the_server_names_another_upload(hub: Hub, me: Sender) -> None:
    """What the daemon does when the network was away for longer than one pass tries."""
    unfinished = Unfinished()
    one = me.lay(CONTENT)
    broken_off = break_off(hub, me, one, unfinished)
    me.transfer(to(hub), unfinished).upload([one], silent)
    assert_arrived(hub, me)
    assert_went_on(hub, broken_off)


def test_passes_of_one_session_go_on(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.random", lambda: 0.0)  # no pause before it is tried again
    write(tmp_path / "model" / "model.bin", CONTENT)
    mirror = Mirror("model", tmp_path / "model", to(hub), quiet_s=0.05, offline_limit_bytes=0)

    def go(event: Plan | Progress) -> None:
        if isinstance(event, Progress) and event.state is State.UPLOADING and event.done_bytes >= 8 * PART:
            hub.failures.troubles.plan("part", Trouble(takes_bytes=10, times=ALWAYS))

    session = Session(go, login=Person())
    with pytest.raises(TransientError):
        run_pass(mirror, tmp_path / "state", Order(), session)
    broken_off = sent(hub)
    hub.failures.troubles.plan("part")
    session.monitor = silent
    assert run_pass(mirror, tmp_path / "state", Order(), session).committed
    assert_went_on(hub, broken_off)


def test_after_a_restart_an_upload_goes_on_where_the_server_names_it_again(hub: Hub, me: Sender) -> None:
    hub.failures.goes_on = True
    one = me.lay(CONTENT)
    broken_off = break_off(hub, me, one)
    me.transfer(to(hub)).upload([one], silent)
    assert_arrived(hub, me)
    assert_went_on(hub, broken_off)


def test_after_a_restart_an_upload_that_the_server_does_not_name_again_is_begun_anew(hub: Hub, me: Sender) -> None:
    one = me.lay(CONTENT)
    break_off(hub, me, one)
    before = sent(hub)
    me.transfer(to(hub)).upload([one], silent)
    assert_arrived(hub, me)
    assert sent(hub) - before == Counter(PARTS)


def test_no_address_is_written_down(hub: Hub, me: Sender) -> None:
    """It would let everybody who reads it write the object."""
    break_off(hub, me, me.lay(CONTENT))
    (note,) = me.notes()
    assert len(note.read_text().splitlines()) >= 4
    for word in ("http", "127.0.0.1", "localhost", "signature", "expires", "use=", TOKEN):
        assert word not in note.read_text()


@pytest.mark.parametrize("what", ["torn", "garbage", "wrong bytes", "wrong ETag", "another upload", "too old"])
def test_notes_that_are_not_right_do_no_harm(what: str, hub: Hub, me: Sender) -> None:
    hub.failures.goes_on = True
    one = me.lay(CONTENT)
    break_off(hub, me, one)
    (note,) = me.notes()
    text = note.read_text()
    changed = {
        "torn": text[:-40],
        "garbage": "\0\xff[[[\n{}\n[1]\n" + text,
        "wrong bytes": re.sub(r'"[0-9a-f]{64}"\]', f'"{"0" * 64}"]', text),
        "wrong ETag": text.replace('"\\"', '"\\"0'),
        "another upload": re.sub(r'^\["[0-9a-f]{64}"', f'["{"0" * 64}"', text, flags=re.MULTILINE),
        "too old": text,
    }[what]
    assert changed != text or what == "too old"
    note.write_text(changed)
    if what == "too old":
        os.utime(note, (0, time.time() - KEPT_S - 60))
    before = sent(hub)
    me.transfer(to(hub)).upload([one], silent)
    assert_arrived(hub, me)
    again = sum((sent(hub) - before).values())
    assert again < 12 if what in ("torn", "garbage") else again >= 13


def break_off(hub: Hub, me: Sender, one: Source, unfinished: Unfinished | None = None) -> Counter[int]:
    """Let the network go after some parts, for longer than one pass tries; gives how often each part was sent then."""

    def go() -> None:
        hub.failures.troubles.plan("part", Trouble(takes_bytes=10, times=ALWAYS))

    with pytest.raises(TransientError):
        me.transfer(to(hub), unfinished).upload([one], When(8 * PART, go))
    hub.failures.troubles.plan("part")
    assert held(hub) == {}
    assert len(me.notes()) == 1
    return sent(hub)


def assert_went_on(hub: Hub, broken_off: Counter[int]) -> None:
    """What arrived before the network went was not sent again: only what came to nothing then was."""
    again = sent(hub) - broken_off
    assert set(again.values()) == {1}
    arrived = set(PARTS) - again.keys()
    assert len(arrived) >= 4
    assert all(broken_off[part] == 1 for part in arrived)


@pytest.mark.parametrize("part", [0, 3, 5, 9, 12])
def test_a_file_that_is_overwritten_meanwhile_is_never_completed(part: int, hub: Hub, me: Sender) -> None:
    """Only what was sent before counts: where all of a part had left by then, the object may well be complete."""
    one, other = me.lay(CONTENT), me.lay(random_bytes(5, 3 * PART))

    def overwrite() -> None:
        with open(one.path, "r+b") as file:
            file.seek(part * PART + 10)
            file.write(bytes(100))

    done = me.transfer(to(hub)).upload([one, other], When(5 * PART, overwrite))
    there = held(hub)
    assert there.pop(other.lfs.oid)
    assert there == ({} if one.lfs in done.changed else {one.lfs.oid: CONTENT})
    assert done.changed == (one.lfs,) or part <= 5 + 4  # that many parts may be on their way
    assert len(hub.steps("complete")) == 1 + len(there)
    assert me.notes() == []


def test_a_part_that_is_overwritten_while_it_is_sent_is_never_whole(hub: Hub, me: Sender) -> None:
    one = me.lay(CONTENT[: 4 * PART])

    def overwrite() -> None:
        with open(one.path, "r+b") as file:
            file.seek(PART - 10)
            file.write(bytes(10))

    done = me.transfer(to(hub), rate_limit_bytes=8 * PART).upload([one], When(1, overwrite))
    assert done.changed == (one.lfs,)
    assert held(hub) == {}
    assert hub.steps("complete") == []


def test_a_file_that_is_cut_meanwhile_is_never_completed(hub: Hub, me: Sender) -> None:
    one = me.lay(CONTENT)
    done = me.transfer(to(hub)).upload([one], When(5 * PART, lambda: os.truncate(one.path, 8 * PART)))
    assert done.changed == (one.lfs,)
    assert held(hub) == {}
    assert hub.steps("complete") == []
    assert me.notes() == []


def test_a_file_that_is_there_again_after_it_was_overwritten(hub: Hub, me: Sender) -> None:
    """A part with other bytes was sent and noted before the process ended; it counts for nothing."""
    hub.failures.goes_on = True
    one = me.lay(CONTENT)
    with open(one.path, "r+b") as file:
        file.write(bytes(10))
    break_off(hub, me, one)
    with open(one.path, "r+b") as file:
        file.write(CONTENT[:10])
    me.transfer(to(hub)).upload([one], silent)
    assert_arrived(hub, me)


def test_uploads_whose_files_came_to_nothing_are_forgotten_in_the_end(tmp_path: Path) -> None:
    unfinished = Unfinished()
    action = Action("https://hub/complete")

    def begin(number: int) -> Upload:
        return unfinished.upload(LfsObject(f"{number:064}", 1), InParts("u", (), True, last=action), tmp_path)

    first = begin(0)
    assert begin(0) is first
    for number in range(1, KEPT_UPLOADS + 1):
        begin(number)
    assert begin(0) is not first


def test_at_most_four_parts_are_under_way(hub: Hub, me: Sender) -> None:
    """Whatever the number of objects: what a line carries does not grow with more of them."""
    under_way: set[int] = set()
    most: list[int] = []

    def stores(_: Path) -> None:
        under_way.add(threading.get_ident())
        most.append(len(under_way))
        time.sleep(0.02)
        under_way.discard(threading.get_ident())

    hub.failures.stores = stores
    me.transfer(to(hub)).upload([me.lay(random_bytes(seed, 4 * PART)) for seed in range(5)], silent)
    assert len(held(hub)) == 5
    assert max(most) == 4
