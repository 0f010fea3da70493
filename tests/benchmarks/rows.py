"""The questions: what is done, who takes part, what is aimed at."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.benchmarks.contestants import (
    LFSSYNC,
    PROJECT,
    Model,
    Prepare,
    delivered,
    hashing,
    lfssync,
    push_alone,
    raw_upload,
    stock,
)
from tests.benchmarks.daemons import asked, idle, one_change, shards
from tests.benchmarks.harness import Contestant, Meter, Prepared, Row
from tests.benchmarks.others import loop, others
from tests.benchmarks.places import LfsPlace
from tests.benchmarks.walks import walk

US = "lfssync"
ALONE = "lfssync without its daemon"
STOCK = "git add + commit + push"
LIMIT = "limit: "
"""How the names of contestants begin that do less than the work: nobody can be faster."""

_FIXED = "what any sync takes, the start of a command and git's own programs, comes on top of reading the files"
_COPY = "what is copied is hashed once more as it is written, in turns with handing it to the disk"
_GUARD = (
    "files are hashed before they are sent and again on the way: time stamps and leases do not tell of every change, "
    "such as a disk that failed to write what was hashed, and no wrong object may ever be completed"
)
_PUSH = "nearly all of it is git's fast-import and push, and the checks of the receiving side"
_EACH = "each file is opened, probed for writers, read and looked at again, in Python"
_START = "half is Python with its own libraries, a third the loading of our modules"

FLAT = (1_000, 10_000, 100_000)


def rows(lfs: LfsPlace, shrink: int = 1, huge: bool = False) -> tuple[Row, ...]:
    """All rows.

    Args:
        lfs: The server that all of them use.
        shrink: Everything is so many times smaller: to see that the benchmark itself works.
        huge: Also a tree of a million files.
    """
    return (*_weights(lfs, shrink), *_many(shrink, huge), *_rest(shrink))


def _weights(lfs: LfsPlace, shrink: int) -> tuple[Row, ...]:
    two, four, host = Model(2, 512 // shrink), Model(4, 1024 // shrink), Model(2, 512 // shrink)
    shard_mib = max(256 // shrink, 1)
    one = Model(1, shard_mib)
    return (
        Row(
            "stage", "stage and commit 2 x 512 MiB of new weights", "10 x faster than git add && git commit",
            (
                Contestant(US, asked(two, lfs, known=True, to_the_commit=True), delivered(two, lfs)),
                Contestant(f"{US} with push and proof", asked(two, lfs, known=True), delivered(two, lfs)),
                Contestant(ALONE, lfssync(two, lfs, known=True), delivered(two, lfs)),
                Contestant("git add + commit", stock(two, push=False)),
                Contestant(f"{LIMIT}two threads of SHA-256", hashing(two)),
            ),
            goals={"git add + commit": 10}, reason=_FIXED,
            size_bytes=(2 << 29) // shrink,
        ),
        Row(
            "limit", "stage and commit 4 x 1 GiB of new weights", "at most 1.3 x two threads of SHA-256",
            (
                Contestant(US, asked(four, lfs, known=True), delivered(four, lfs)),
                Contestant(ALONE, lfssync(four, lfs, known=True), delivered(four, lfs)),
                Contestant(f"{LIMIT}two threads of SHA-256", hashing(four)),
            ),
            goals={f"{LIMIT}two threads of SHA-256": 1 / 1.3}, reason=_FIXED,
            rounds=3, size_bytes=(4 << 30) // shrink,
        ),
        Row(
            "bare", "2 x 512 MiB to a repository on the same disk, verified",
            "4 x faster than git add + commit + push; at most 1.3 x hash and copy",
            (
                Contestant(US, asked(two), delivered(two)),
                Contestant(ALONE, lfssync(two), delivered(two)),
                Contestant(STOCK, stock(two), delivered(two)),
                *others(two),
                Contestant(f"{LIMIT}SHA-256, then a synced copy", hashing(two, copy=True)),
            ),
            goals={STOCK: 4, f"{LIMIT}SHA-256, then a synced copy": 1 / 1.3}, reason=_COPY,
            rounds=3, size_bytes=(2 << 29) // shrink,
        ),
        Row(
            "http", "2 x 512 MiB to an LFS server over HTTP, verified",
            "5 x faster than git add + commit + push; at most 1.5 x the raw upload; 0.01 bytes written for each sent; "
            "under 120 MB of memory",
            (
                Contestant(US, asked(host, lfs), delivered(host, lfs)),
                Contestant(ALONE, lfssync(host, lfs), delivered(host, lfs)),
                Contestant(STOCK, stock(host, lfs), delivered(host, lfs)),
                Contestant(f"{LIMIT}raw upload with curl", raw_upload(host, lfs)),
                Contestant(f"{LIMIT}SHA-256, then a raw upload", raw_upload(host, lfs, hashed=True)),
            ),
            goals={STOCK: 5, f"{LIMIT}raw upload with curl": 1 / 1.5}, reason=_GUARD,
            size_bytes=(2 << 29) // shrink,
        ),
        Row(
            "shards", f"eight shards of {shard_mib} MiB written over 30 s: from the last close to verified",
            "at most 1.2 x hash and upload of the last shard",
            (
                Contestant(US, shards(8, shard_mib, 30 / shrink, lfs)),
                Contestant(f"{LIMIT}hash and upload one shard", raw_upload(one, lfs, hashed=True)),
            ),
            goals={f"{LIMIT}hash and upload one shard": 1 / 1.2}, reason=_GUARD,
            rounds=3, size_bytes=shard_mib << 20,
        ),
    )  # fmt: skip


def _many(shrink: int, huge: bool) -> tuple[Row, ...]:
    many = 100_000 // shrink
    flat = [number // shrink for number in (*FLAT, *((1_000_000,) if huge else ()))]
    return (
        Row(
            "change", f"one small file changed among {many:,}, to a bare repository, verified",
            "20 x faster than git add + commit + push",
            (
                Contestant(US, one_change(many)),
                Contestant(STOCK, stock(Model(small=many))),
                Contestant("loop of watchdog and git", loop(Model(small=many))),
                Contestant(f"{LIMIT}git push alone", push_alone(Model(small=many))),
            ),
            goals={STOCK: 20}, reason=_PUSH,
            rounds=3,
        ),
        Row(
            "first", f"{many:,} small files, first sync to a bare repository, verified", "2 x faster than stock",
            (
                Contestant(US, lfssync(Model(small=many), first=True)),
                Contestant(STOCK, stock(Model(small=many), first=True)),
            ),
            goals={STOCK: 2}, reason=_EACH,
            rounds=3,
        ),
        Row(
            "rescan", f"a look at {many:,} unchanged files", "at most 1.5 x a bare scandir and lstat in Python",
            (
                Contestant(US, walk(many, "ours")),
                Contestant(f"{LIMIT}scandir and lstat", walk(many, "bare")),
            ),
            goals={f"{LIMIT}scandir and lstat": 1 / 1.5}, rounds=3,
        ),
        Row(
            "flat", "a commit of one changed file, by the size of the tree around it", "flat within 1.5 x",
            tuple(
                Contestant(US if count == flat[0] else f"{US}, {count:,} files", one_change(count)) for count in flat
            ),
            rounds=3, flat_within=1.5, reason=_PUSH,
        ),
    )  # fmt: skip


def _rest(shrink: int) -> tuple[Row, ...]:
    for_s = 60 / min(shrink, 30)
    return (
        Row(
            "idle", f"an idle daemon over {100_000 // shrink:,} files: processor time in {for_s:g} s",
            "under 0.1 % of a processor, under 70 MB",
            (Contestant(US, idle(Model(small=100_000 // shrink), for_s)),),
            rounds=1,
        ),
        Row(
            "status", "lfssync status", "under 5 x python -c pass",
            (
                Contestant(US, _command([*LFSSYNC, "status"])),
                Contestant(f"{LIMIT}python -c pass", _command([sys.executable, "-c", "pass"])),
            ),
            goals={f"{LIMIT}python -c pass": 1 / 5}, reason=_START,
            rounds=9,
        ),
    )  # fmt: skip


def _command(command: list[str]) -> Prepare:
    def prepare(folder: Path, meter: Meter) -> Prepared:
        (folder / "model").mkdir()
        meter.run([*LFSSYNC, "add", str(folder / "model")], PROJECT)

        def timed() -> None:
            meter.run(command, PROJECT)

        return timed

    return prepare
