"""What leaves for a server: exactly the bytes that were hashed, and as fast as was asked for."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.errors import TransientError
from lfssync.model import LfsObject
from lfssync.transfer import Source
from lfssync.transfer.body import BLOCK_BYTES, ContentChanged, GuardedBody, PartBody, Piece, Throttle
from tests.helpers import random_bytes, write

SIZES = (1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.bin"


@pytest.fixture
def opened(file: Path) -> Iterator[int]:
    write(file, b"")
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def source(fd: int, file: Path, content: bytes) -> Source:
    file.write_bytes(content)
    return Source(LfsObject(hashlib.sha256(content).hexdigest(), len(content)), fd, b"model.bin")


def drain(body: PartBody, size: int = -1) -> bytes:
    return b"".join(iter(lambda: body.read(size), b""))


@dataclass
class Time:
    """A clock that only the pauses move."""

    now: float = 1000.0
    pauses: list[float] = field(default_factory=list)
    stops: bool = False

    def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return self.stops

    def throttle(self, bytes_per_s: int) -> Throttle:
        return Throttle(bytes_per_s, lambda: self.now, self.pause)


@pytest.mark.parametrize("size", SIZES)
def test_all_of_a_file_in_blocks(size: int, opened: int, file: Path) -> None:
    content = random_bytes(size, size)
    told: list[int] = []
    body = GuardedBody(source(opened, file, content), advance=told.append)
    assert len(body) == size
    blocks = list(iter(body.read, b""))
    assert b"".join(blocks) == content
    assert max(map(len, blocks)) <= BLOCK_BYTES
    assert told == sorted(told)
    assert told[-1] == size
    assert body.sha256 == hashlib.sha256(content).hexdigest()
    body.rewind()
    assert drain(body, 1000) == content


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("where", [0, -1])
def test_the_last_block_of_something_else_never_leaves(size: int, where: int, opened: int, file: Path) -> None:
    content = bytearray(random_bytes(size, size))
    one = source(opened, file, bytes(content))
    content[where] ^= 1
    file.write_bytes(content)
    told: list[int] = []
    with pytest.raises(ContentChanged):
        drain(GuardedBody(one, advance=told.append), 4096)
    assert [done for done in told if done >= size] == []


@given(st.binary(min_size=1, max_size=50), st.data())
def test_any_change_is_seen_however_it_is_read(content: bytes, data: st.DataObject) -> None:
    now = data.draw(st.binary(max_size=60))
    step = data.draw(st.integers(1, 60))
    fd = os.memfd_create("file")
    try:
        os.write(fd, now)
        body = GuardedBody(Source(LfsObject(hashlib.sha256(content).hexdigest(), len(content)), fd, b"f"))
        if now[: len(content)] == content:
            assert drain(body, step) == content
        else:
            with pytest.raises(ContentChanged):
                drain(body, step)
    finally:
        os.close(fd)


def test_a_file_that_became_shorter(opened: int, file: Path) -> None:
    one = source(opened, file, random_bytes(1, 2 * BLOCK_BYTES))
    body = GuardedBody(one)
    body.read()
    os.truncate(file, BLOCK_BYTES + 10)
    with pytest.raises(ContentChanged):
        body.read()


def test_a_file_that_grew_is_sent_as_far_as_it_was_hashed(opened: int, file: Path) -> None:
    one = source(opened, file, b"content")
    with file.open("ab") as more:
        more.write(b" and more")
    assert drain(GuardedBody(one)) == b"content"


def test_a_piece_of_a_file(opened: int, file: Path) -> None:
    file.write_bytes(b"0123456789")
    told: list[int] = []
    body = PartBody(Piece(opened, 3, 4, b"model.bin"), advance=told.append)
    assert (len(body), drain(body, 3), told) == (4, b"3456", [3, 4])
    assert body.sha256 == hashlib.sha256(b"3456").hexdigest()
    body.rewind()
    assert drain(body) == b"3456"
    assert body.sha256 == hashlib.sha256(b"3456").hexdigest()


def test_a_piece_that_must_be_what_it_was(opened: int, file: Path) -> None:
    file.write_bytes(b"0123456789")
    right, wrong = hashlib.sha256(b"3456").hexdigest(), hashlib.sha256(b"3457").hexdigest()
    assert drain(PartBody(Piece(opened, 3, 4, b"f"), digest=right)) == b"3456"
    with pytest.raises(ContentChanged):
        PartBody(Piece(opened, 3, 4, b"f"), digest=wrong).read()


def test_a_file_that_cannot_be_read() -> None:
    reader, writer = os.pipe()
    try:
        with pytest.raises(TransientError, match=r"a\\x1b.bin cannot be read: illegal seek"):
            PartBody(Piece(reader, 0, 10, b"a\x1b.bin")).read()
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("bytes_per_s", [10_000, 1_000_000, 50_000_000])
def test_a_limited_speed_is_kept_and_smooth(bytes_per_s: int, opened: int, file: Path) -> None:
    time = Time()
    content = random_bytes(1, min(bytes_per_s * 3, 10_000_000))
    one = source(opened, file, content)
    assert drain(GuardedBody(one, time.throttle(bytes_per_s))) == content
    assert time.now - 1000.0 == pytest.approx(len(content) / bytes_per_s, abs=0.11)
    assert max(time.pauses) <= 0.11


def test_all_bodies_share_one_limit() -> None:
    time = Time()
    throttle = time.throttle(1000)
    for _ in range(50):
        throttle.take(100)
    assert time.now - 1000.0 == pytest.approx(4.9)


def test_time_that_was_not_used_is_not_saved_up() -> None:
    time = Time()
    throttle = time.throttle(1000)
    time.now += 3600
    for _ in range(10):
        throttle.take(1000)
    assert sum(time.pauses) == pytest.approx(9.0)


def test_a_pause_ends_when_it_is_told_to_stop() -> None:
    time = Time(stops=True)
    throttle = time.throttle(1000)
    throttle.take(5000)
    with pytest.raises(TransientError, match="stopped"):
        throttle.take(1)


def test_turns_do_not_wait_for_each_other() -> None:
    """Threads that wait for their turn do not hold the lock."""
    stop = threading.Event()
    throttle = Throttle(10, pause=stop.wait)
    throttle.take(1000)
    ended: list[str] = []

    def wait() -> None:
        try:
            throttle.take(1)
        except TransientError as error:
            ended.append(error.message)

    threads = [threading.Thread(target=wait) for _ in range(4)]
    for thread in threads:
        thread.start()
    stop.set()
    for thread in threads:
        thread.join(10)
    assert len(ended) == 4


def test_no_limit_is_no_wait() -> None:
    time = Time()
    throttle = time.throttle(0)
    throttle.take(1 << 40)
    assert (time.pauses, throttle.block_bytes) == ([], BLOCK_BYTES)
