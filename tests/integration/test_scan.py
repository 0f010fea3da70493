"""A look at everything, on a real disk: what is as it was recorded is no change, and any other signature is one."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lfssync.line.scan import scan
from lfssync.model import Changes, Known, Signature
from lfssync.records.store import Store
from tests.helpers import write

MANY = 600
"""More than a scan looks at between two questions whether it shall go on."""

ODD_NAMES = (b"\xff\xfe", b"a b", b"new\nline", b"\xc3\xa4", b"-n", b".hidden", b".gitattributes", b"~")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    for number in range(MANY):
        write(root / "flat" / f"{number:04}", b"%d" % number)
    for name in ODD_NAMES:
        write(root / "odd" / os.fsdecode(name), name)
    (root / "odd" / "link").symlink_to("nowhere")
    write(root / "top", b"top")
    return root


@pytest.fixture
def store(tmp_path: Path, root: Path) -> Iterator[Store]:
    with Store(tmp_path / "state.db") as store:
        record(store, look(root, store))
        yield store


def look(root: Path, store: Store, check: Callable[[], None] = lambda: None) -> Changes:
    return scan(os.fsencode(root), None, store, (), check=check)


def record(store: Store, changes: Changes) -> None:
    with store.transaction():
        known = [(one.path, Known("100644", "b" * 40, None, one.signature)) for one in changes.changed]
        store.record(known, changes.removed)
        store.record_facts({"ignore": []})


def found(changes: Changes) -> tuple[list[bytes], list[bytes]]:
    return [one.path for one in changes.changed], list(changes.removed)


def test_what_is_as_it_was_is_no_change(root: Path, store: Store) -> None:
    assert store.count() == MANY + len(ODD_NAMES) - 1 + 1 + 1  # `~` is a dropping of an editor; a link; the top
    assert found(look(root, store)) == ([], [])


@pytest.mark.parametrize("field", ["size_bytes", "mtime_ns", "ctime_ns", "inode", "mode"])
@pytest.mark.parametrize("path", [b"flat/0300", b"odd/\xff\xfe", b"odd/link", b"top"])
def test_each_part_of_a_signature_counts(root: Path, store: Store, path: bytes, field: str) -> None:
    known = store.known(path)
    assert known is not None
    assert known.signature is not None
    moved = {field: getattr(known.signature, field) ^ 1}
    other = known._replace(signature=known.signature._replace(**moved))
    with store.transaction():
        store.record([(path, other)], [])
    (change,) = look(root, store).changed
    assert (change.path, change.known) == (path, other)
    assert change.signature == Signature.of(os.lstat(os.path.join(os.fsencode(root), path))) == known.signature


@pytest.mark.parametrize("seconds", [13_569_465_600, -1])
def test_a_time_of_any_year_is_one(root: Path, store: Store, seconds: int) -> None:
    os.utime(root / "top", (seconds, seconds))
    changes = look(root, store)
    assert found(changes) == ([b"top"], [])
    record(store, changes)
    assert found(look(root, store)) == ([], [])
    os.utime(root / "top", (seconds - 1, seconds - 1))
    assert found(look(root, store)) == ([b"top"], [])


def test_an_inode_of_full_width_is_recorded(store: Store) -> None:
    def signature_of(inode: int) -> Signature:
        numbers = [stat.S_IFREG, inode, *range(8)]
        return Signature.of(os.stat_result(numbers, {"st_mtime_ns": 1, "st_ctime_ns": 2}))

    signature = signature_of((1 << 64) - 5)
    assert signature != signature_of((1 << 64) - 6)
    with store.transaction():
        store.record([(b"wide", Known("100644", "b" * 40, None, signature))], [])
    known = store.known(b"wide")
    assert known is not None
    assert known.signature == signature


def test_whatever_takes_the_place_of_a_file_is_seen(root: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = root / "flat"
    for number in (0, 255, 256, 511, MANY - 1):
        (flat / f"{number:04}").unlink()
    (flat / "0255").symlink_to("0001")
    (flat / "0256").mkdir()
    write(flat / "0256" / "within", b"x")
    with socket.socket(socket.AF_UNIX) as one:
        monkeypatch.chdir(flat)  # the name of a socket has to be short
        one.bind("0511")
    write(flat / "new", b"new")
    changes = look(root, store)
    assert found(changes) == (
        [b"flat/0255", b"flat/0256/within", b"flat/new"],
        [b"flat/0000", b"flat/0256", b"flat/0511", b"flat/0599"],
    )
    assert changes.warnings == ("flat/0511: a socket; left out",)
    record(store, changes)
    assert found(look(root, store)) == ([], [])


def test_a_file_of_ignore_rules_that_came_or_went_is_a_reason_to_ask_again(root: Path, store: Store) -> None:
    write(root / "flat" / ".gitignore", b"00*\n")
    changes = look(root, store)
    assert found(changes) == ([b"flat/.gitignore"], [b"flat/%04d" % number for number in range(100)])
    record(store, changes)
    assert found(look(root, store)) == ([], [])
    (root / "flat" / ".gitignore").unlink()
    back, gone = found(look(root, store))
    assert (back, gone) == ([b"flat/%04d" % number for number in range(100)], [b"flat/.gitignore"])


@pytest.mark.parametrize("is_recorded", [True, False])
def test_it_can_be_ended_within_a_large_folder(tmp_path: Path, root: Path, store: Store, is_recorded: bool) -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1

    with Store(tmp_path / "empty.db") as empty:
        look(root, store if is_recorded else empty, check)
    assert asked >= 3 + MANY / 256  # each folder, and again within
