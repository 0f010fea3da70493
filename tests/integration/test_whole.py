"""Only what is whole is committed: files by their format, checkpoints and sharded weights as one, or not yet."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from lfssync.errors import BlockedError
from lfssync.line.assembly import Assembly
from lfssync.line.pipeline import Aim, Order, run_pass
from lfssync.line.plan import known_of
from lfssync.line.scan import scan
from lfssync.line.waiting import Waiting
from lfssync.line.workbench import Session
from lfssync.model import Changes, Deferred, IncompletePolicy, PassResult, Plan, Progress, Staged, State
from lfssync.records.store import Store
from tests import modelfiles
from tests.faults.mounts import disk, own_mounts
from tests.helpers import git, random_bytes, write
from tests.integration.site import QUIET_S, Content, Link, Site, entry_of, lay

SHARDS = [f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3)]
INDEX = b"model.safetensors.index.json"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.make(tmp_path, lfs_threshold_bytes=1000)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Has so many seconds pass, by the wall clock."""
    wall, passed = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: wall() + sum(passed))
    return passed.append


Later = Callable[[float], None]


def shard(number: int, generation: int = 0) -> bytes:
    return modelfiles.safetensors_file(number + 100 * generation, 2, 300)


def checkpoint(step: int, generation: int = 0) -> dict[bytes, Content]:
    """What a trainer writes for a step."""
    folder = b"checkpoint-%d/" % step
    state = {"global_step": step, "epoch": step / 250, "log_history": [{"eval_loss": 1.234, "step": step}]}
    return {
        **{folder + name.encode(): shard(number, generation) for number, name in enumerate(SHARDS)},
        folder + INDEX: modelfiles.index_file(SHARDS),
        folder + b"optimizer.pt": modelfiles.torch_file(step + generation, 3000),
        folder + b"trainer_state.json": json.dumps(state).encode(),
        folder + b"scheduler.pt": modelfiles.torch_file(generation),
    }


def sharded(folder: bytes = b"", generation: int = 0) -> dict[bytes, Content]:
    """Weights in shards, in the order in which they are saved."""
    files: dict[bytes, Content] = {folder + name.encode(): shard(n, generation) for n, name in enumerate(SHARDS)}
    return files | {folder + INDEX: modelfiles.index_file(SHARDS)}


def still() -> None:
    """All that was written has stood still for the quiet time."""
    time.sleep(QUIET_S + 0.02)


def subjects(site: Site) -> list[str]:
    """The commits on the remote, oldest first."""
    return git("log", "--reverse", "--format=%s", "main", cwd=site.remote).decode().splitlines()


def reasons(result: PassResult) -> dict[bytes, str]:
    return {one.path: one.reason for one in result.deferred}


def look(site: Site, *hints: bytes, session: Session | None = None) -> PassResult:
    """A single pass, which waits for nothing."""
    order = Order(paths=frozenset(hints) if hints else None, verify=not hints)
    return run_pass(site.mirror, site.state, order, session or Session())


@contextmanager
def assembling(site: Site, in_between: Callable[[], None] = lambda: None) -> Iterator[tuple[Changes, Assembly]]:
    """The step alone: what a scan found, and the groups of it; something may happen in between."""
    site.state.mkdir(exist_ok=True)
    root_fd = os.open(site.directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with Store(site.state / "state.db") as store:
            began = time.time()
            changes = scan(os.fsencode(site.directory), None, store, ())
            in_between()
            assembly = Assembly(root_fd, site.mirror, store, Waiting(), {})
            assembly.form(changes, began)
            yield changes, assembly
    finally:
        os.close(root_fd)


@contextmanager
def writing(path: Path, content: bytes) -> Iterator[None]:
    """A program that has the file open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        yield


# -- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf", "optimizer.pt", "config.json", "weights.h5"])
def test_an_incomplete_file_waits_and_the_others_go_on(site: Site, name: str) -> None:
    content = modelfiles.whole_files().get(name) or modelfiles.torch_file()
    cut = len(content) * 2 // 3
    result = site.put({name.encode(): content[:cut], b"other.bin": random_bytes(1, 2000)})
    assert list(reasons(result)) == [name.encode()]
    assert "ends " in reasons(result)[name.encode()]
    assert site.remote_tree() == {b"other.bin": entry_of(random_bytes(1, 2000))}
    with open(site.directory / name, "ab") as file:
        file.write(content[cut:])
    assert site.sync().deferred == ()
    site.assert_mirrored()


def test_what_is_damaged_for_good_is_taken(site: Site) -> None:
    site.put({b"model.safetensors": b"\xff" * 2000, b"old.pt": b"\x80\x02}q\x00.", b"config.json": b"{1: 2}"})
    site.assert_mirrored()


def test_an_incomplete_file_is_committed_in_the_end_where_the_mirror_says_so(site: Site, later: Later) -> None:
    site.configure(incomplete=IncompletePolicy.COMMIT)
    first = site.put({b"model.safetensors": shard(1)[:1000]})
    assert reasons(first) == {b"model.safetensors": "ends after 1.0 kB of 2.6 kB"}
    later(300)
    result = site.sync()
    assert result.deferred == ()
    assert result.warnings == ("model.safetensors: ends after 1.0 kB of 2.6 kB; committed as it is",)
    site.assert_mirrored()


def test_it_waits_for_ever_where_the_mirror_does_not(site: Site, later: Later) -> None:
    site.put({b"model.safetensors": shard(1)[:1000]})
    later(1000)
    assert list(reasons(site.sync())) == [b"model.safetensors"]


# -- logs that stay open --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 5000], ids=["plain", "lfs"])
def test_an_open_log_is_mirrored_as_far_as_it_goes_at_the_pace_of_max_wait(site: Site, size: int, later: Later) -> None:
    line = random_bytes(1, size)
    with (site.directory / "events.out.tfevents.1").open("ab", buffering=0) as log:
        log.write(line)
        assert reasons(site.sync()) == {b"events.out.tfevents.1": "open for writing"}
        later(300)
        assert site.sync().deferred == ()
        assert site.remote_tree() == {b"events.out.tfevents.1": entry_of(line)}
        assert site.sync().deferred == ()  # nothing new in it
        log.write(line)
        assert reasons(site.sync()) == {b"events.out.tfevents.1": "open for writing"}
        later(299)
        site.sync()
        assert site.remote_tree() == {b"events.out.tfevents.1": entry_of(line * 2)}
        log.write(line)
    assert site.sync().deferred == ()
    site.assert_mirrored()


def test_what_is_appended_while_it_is_read_comes_later(site: Site, later: Later) -> None:
    site.configure(max_wait_s=0.0)
    line = random_bytes(1, 5000)
    with (site.directory / "log").open("ab", buffering=0) as log:
        log.write(line)
        site.sync()

        def monitor(event: Plan | Progress) -> None:
            if isinstance(event, Progress):
                log.write(b"more")

        look(site, session=Session(monitor))
        assert site.remote_tree() == {b"log": entry_of(line)}
        assert os.fstat(log.fileno()).st_size > len(line)
    site.sync()
    site.assert_mirrored()


def test_a_log_that_never_rests_is_mirrored_all_the_same(site: Site) -> None:
    site.configure(max_wait_s=0.0)
    log, ended = site.directory / "log", threading.Event()

    def write() -> None:
        with log.open("ab", buffering=0) as opened:
            while not ended.wait(0.004):
                opened.write(b"a line of it\n")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert [one.path for one in look(site).deferred] == [b"log"]
        assert look(site).deferred == ()
    finally:
        ended.set()
        writer.join()
    taken = (site.clone() / "log").read_bytes()
    assert taken
    assert log.read_bytes().startswith(taken)


def test_a_clone_of_an_open_log_ends_where_it_was_read(tmp_path: Path) -> None:
    """Where the file system clones, the remote's copy is at first as long as the log has become."""
    with own_mounts(), disk("btrfs", tmp_path / "image", tmp_path / "disk"):
        site = Site.make(tmp_path / "disk", lfs_threshold_bytes=1000, max_wait_s=0.0)
        line = random_bytes(1, 100_000)
        with (site.directory / "log").open("ab", buffering=0) as log:
            log.write(line)
            site.sync()

            def monitor(event: Plan | Progress) -> None:
                if isinstance(event, Plan) and event.state is State.UPLOADING:
                    log.write(b"more")

            look(site, session=Session(monitor))
            assert site.remote_tree() == {b"log": entry_of(line)}


@pytest.mark.parametrize("content", [b"text\n" * 20, random_bytes(1, 5000)], ids=["plain", "lfs"])
def test_an_open_file_that_changes_where_it_was_read_is_not_taken(site: Site, content: bytes) -> None:
    site.configure(max_wait_s=0.0)
    with (site.directory / "state.db").open("w+b", buffering=0) as file:
        file.write(content)
        site.sync()

        def monitor(event: Plan | Progress) -> None:
            if isinstance(event, Progress) and event.state is State.STAGING:
                file.seek(0)
                file.write(b"overwritten")

        assert reasons(look(site, session=Session(monitor))) == {b"state.db": "still changing"}
    site.sync()
    site.assert_mirrored()


def test_an_open_file_that_became_shorter_or_has_a_format_is_not_taken(site: Site) -> None:
    site.configure(max_wait_s=0.0)
    site.put({b"log": b"a long line", b"model.safetensors": shard(1)})
    with writing(site.directory / "log", b"short"), writing(site.directory / "model.safetensors", shard(2)):
        for _ in range(2):
            assert reasons(site.sync()) == dict.fromkeys((b"log", b"model.safetensors"), "open for writing")
    site.sync()
    site.assert_mirrored()


# -- checkpoints ----------------------------------------------------------------------------------------------------


def test_one_commit_for_each_checkpoint_with_what_the_trainer_says(site: Site) -> None:
    site.lay({**checkpoint(1000), **checkpoint(500), b"config.json": b"{}", **sharded()})
    still()
    result = site.sync()
    assert result.added == 7 + 7 + 5
    commits = subjects(site)
    assert commits[0].startswith("Add 5 files (8.0 kB)")
    assert [line.partition(" (")[0] for line in commits[1:]] == [
        "Add checkpoint-500: step 500, epoch 2.0, eval_loss 1.234",
        "Add checkpoint-1000: step 1000, epoch 4.0, eval_loss 1.234",
    ]
    site.assert_mirrored()


def test_a_message_of_the_users_own_makes_one_commit(site: Site) -> None:
    site.lay({**checkpoint(500), b"config.json": b"{}"})
    still()
    site.sync(message="Mine\n")
    assert subjects(site) == ["Mine"]
    site.assert_mirrored()


def test_rotation_is_one_commit(site: Site) -> None:
    site.lay({**checkpoint(500), **checkpoint(1000)})
    still()
    site.sync()
    shutil.rmtree(site.directory / "checkpoint-500")
    site.lay(checkpoint(1500))
    still()
    site.sync()
    assert [line.partition(":")[0] for line in subjects(site)[-2:]] == [
        "Remove checkpoint-500 (7 files)",
        "Add checkpoint-1500",
    ]
    site.assert_mirrored()


@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_commits_than_there_may_be_and_the_newest_checkpoint_is_the_last_to_lose_its_own(
    site: Site, limit: int
) -> None:
    contents = {b"README.md": b"# Model\n", **checkpoint(1), **checkpoint(2), **checkpoint(3)}
    site.lay(contents)
    time.sleep(QUIET_S)
    run_pass(site.mirror, site.state, Order(commits=limit), Session())
    commits = git("log", "--format=%s", "main", cwd=site.remote).decode().splitlines()
    assert len(commits) == limit
    assert commits[0].startswith("Add checkpoint-3") == (limit == 2)
    site.assert_mirrored()


def test_a_checkpoint_waits_for_its_last_file_and_nothing_is_read_twice(site: Site) -> None:
    files = checkpoint(500)
    last = b"checkpoint-500/optimizer.pt"
    site.lay({path: content for path, content in files.items() if path != last} | {b"config.json": b"{}"})
    hashed: list[bytes] = []
    uploaded: list[bytes] = []

    def monitor(event: Plan | Progress) -> None:
        if isinstance(event, Progress) and event.done_bytes == event.size_bytes:
            (hashed if event.state is State.STAGING else uploaded).append(event.path)

    content = files[last]
    assert isinstance(content, bytes)
    with writing(site.directory / os.fsdecode(last), content[:2000]):
        still()
        result = look(site, session=Session(monitor))
        waits = dict.fromkeys(files, "waits for optimizer.pt: open for writing") | {last: "open for writing"}
        assert reasons(result) == waits
        assert site.remote_tree() == {b"config.json": entry_of(b"{}")}
        shards = {b"checkpoint-500/" + name.encode() for name in SHARDS}
        assert shards <= set(uploaded)  # they are on their way before the last file is closed
        hashed.clear()
        uploaded.clear()
        assert reasons(look(site, session=Session(monitor))) == waits
        assert not shards & {*hashed, *uploaded}
        with (site.directory / os.fsdecode(last)).open("r+b") as file:
            file.write(content)
    still()
    assert look(site, last, session=Session(monitor)).deferred == ()  # only this one is hinted at
    assert not shards & {*hashed, *uploaded}
    assert uploaded == [last]
    assert len(subjects(site)) == 2
    site.assert_mirrored()


def test_a_shard_that_moved_meanwhile_is_read_again(site: Site) -> None:
    files = checkpoint(500)
    first = b"checkpoint-500/" + SHARDS[0].encode()
    site.lay(files)
    with writing(site.directory / "checkpoint-500/optimizer.pt", b""):
        look(site)
        site.lay({first: shard(0, 7)})
    site.lay({b"checkpoint-500/optimizer.pt": files[b"checkpoint-500/optimizer.pt"]})
    still()
    site.sync()
    site.assert_mirrored()


def test_a_file_of_a_checkpoint_that_is_replaced_after_the_scan_is_not_mixed_with_the_others(site: Site) -> None:
    site.lay(checkpoint(500))
    still()
    todo = [lambda: site.lay({b"checkpoint-500/optimizer.pt": modelfiles.torch_file(9, 3000)})]

    def monitor(event: Plan | Progress) -> None:
        if todo and isinstance(event, Plan) and event.state is State.STAGING:
            todo.pop()()

    result = look(site, session=Session(monitor))
    assert set(reasons(result).values()) == {"waits for optimizer.pt: still changing"}
    site.sync()
    assert len(subjects(site)) == 1
    site.assert_mirrored()


def test_a_save_between_two_files_is_not_taken_half(site: Site, later: Later) -> None:
    """Nothing is open, and what is there is complete, in every pass but the last."""
    site.configure(quiet_s=5.0)
    files = checkpoint(500)
    for path in files:
        site.lay({path: files[path]})
        result = look(site)
        assert set(reasons(result).values()) <= {
            "checkpoint-500 is still being written", *(f"waits for {name}: missing" for name in SHARDS),
        }  # fmt: skip
        assert result.deferred
    later(5)
    assert look(site).deferred == ()
    assert len(subjects(site)) == 1
    site.assert_mirrored()


def test_a_clock_that_runs_behind_the_disk_is_no_reason_to_wait_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.lay(checkpoint(500))
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() - 3600)
    assert site.sync().deferred == ()
    site.assert_mirrored()


def test_a_checkpoint_that_is_renamed_into_place_comes_whole(site: Site, later: Later) -> None:
    site.configure(quiet_s=5.0)
    temporary = site.directory / "tmp-checkpoint-500"
    lay(temporary, {path.partition(b"/")[2]: content for path, content in checkpoint(500).items()})
    assert site.sync().deferred == ()
    temporary.rename(site.directory / "checkpoint-500")
    assert set(reasons(look(site)).values()) == {"checkpoint-500 is still being written"}
    later(5)
    look(site)
    assert len(subjects(site)) == 1
    site.assert_mirrored()


def test_a_checkpoint_that_is_saved_over_an_older_one_waits_until_all_is_new(site: Site) -> None:
    site.lay(checkpoint(500))
    still()
    site.sync()
    before = site.remote_tree()
    files = checkpoint(500, 1)
    for path in list(files)[:-1]:
        site.lay({path: files[path]})
        still()
        assert set(reasons(look(site)).values()) == {"only some files of checkpoint-500 are new"}
        assert site.remote_tree() == before
    site.lay(files)
    still()
    assert site.sync().deferred == ()
    assert subjects(site)[1].startswith("Change checkpoint-500: step 500")
    site.assert_mirrored()


def test_a_rotation_under_way_waits_until_all_is_gone(site: Site) -> None:
    site.lay({**checkpoint(500), b"config.json": b"{}"})
    still()
    site.sync()
    before = site.remote_tree()
    (site.directory / "checkpoint-500/scheduler.pt").unlink()
    still()
    result = site.sync()
    assert reasons(result) == {b"checkpoint-500/scheduler.pt": "only some files of checkpoint-500 are new"}
    assert site.remote_tree() == before
    shutil.rmtree(site.directory / "checkpoint-500")
    assert look(site, b"checkpoint-500").deferred == ()
    assert subjects(site)[-1] == "Remove checkpoint-500 (7 files)"
    site.assert_mirrored()


def test_a_file_that_is_taken_out_of_a_checkpoint_for_good_leaves_it_after_max_wait(site: Site, later: Later) -> None:
    site.lay(checkpoint(500))
    still()
    site.sync()
    (site.directory / "checkpoint-500/optimizer.pt").unlink()
    site.sync()
    later(300)
    assert site.sync().deferred == ()
    site.assert_mirrored()


def test_a_checkpoint_that_rotation_deletes_during_the_upload_is_committed_whole(site: Site) -> None:
    site.lay({**checkpoint(500), b"config.json": b"{}"})
    still()

    def monitor(event: Plan | Progress) -> None:
        if event.state is State.UPLOADING:
            shutil.rmtree(site.directory / "checkpoint-500", ignore_errors=True)

    assert look(site, session=Session(monitor)).deferred == ()
    there = {path for path in site.remote_tree() if path.startswith(b"checkpoint-500/")}
    assert there == set(checkpoint(500))
    site.sync()
    site.assert_mirrored()
    assert len(subjects(site)) == 3


def test_a_checkpoint_that_is_never_whole_is_committed_in_the_end_where_told(site: Site, later: Later) -> None:
    site.configure(incomplete=IncompletePolicy.COMMIT)
    site.lay({path: content for path, content in checkpoint(500).items() if SHARDS[1].encode() not in path})
    waits = f"waits for {SHARDS[1]}: missing"
    assert set(reasons(site.sync()).values()) == {waits}
    later(300)
    result = site.sync()
    assert result.deferred == ()
    assert result.warnings == (f"checkpoint-500: {waits}; committed as it is",)
    site.assert_mirrored()


def test_a_log_within_a_checkpoint_does_not_hold_it_back_for_ever(site: Site, later: Later) -> None:
    site.lay(checkpoint(500))
    with (site.directory / "checkpoint-500/train.log").open("ab", buffering=0) as log:
        log.write(b"a line\n")
        assert set(reasons(site.sync()).values()) == {"open for writing", "waits for train.log: open for writing"}
        later(300)
        log.write(b"a line\n")
        assert site.sync().deferred == ()
        assert len(site.remote_tree()) == 8


def test_a_log_that_grows_meanwhile_does_not_make_a_checkpoint_restless(site: Site, later: Later) -> None:
    site.configure(quiet_s=300.8)
    site.lay(checkpoint(500))
    with (site.directory / "checkpoint-500/train.log").open("ab", buffering=0) as log:
        log.write(b"a line\n")
        look(site)
        time.sleep(1)
        later(300)
        log.write(b"a line\n")

        def monitor(event: Plan | Progress) -> None:
            if isinstance(event, Plan) and event.state is State.STAGING:
                log.write(b"a line\n")

        assert look(site, session=Session(monitor)).deferred == ()


def test_what_the_host_refuses_holds_no_checkpoint_back(site: Site) -> None:
    site.lay({b"checkpoint-5/weights.bin": b"1", b"checkpoint-5/refused": b"2", b"checkpoint-6/open": b"3"})
    site.lay({b"checkpoint-6/weights.bin": b"4"})
    still()
    with assembling(site) as (changes, assembly):
        deferred = [
            Deferred(b"checkpoint-5/refused", "too large", is_refused=True),
            Deferred(b"checkpoint-6/open", "open for writing"),
        ]
        left = {one.path for one in deferred}
        read = [Staged(one.path, one.signature, "1" * 40) for one in changes.changed if one.path not in left]
        found = assembly.sort(read, deferred, (), {})
    assert [one.path for one in found.staged] == [b"checkpoint-5/weights.bin"]


def test_the_message_tells_only_of_the_file_that_is_committed(site: Site) -> None:
    site.lay(checkpoint(500))
    still()

    def monitor(event: Plan | Progress) -> None:
        if isinstance(event, Plan) and event.state is State.UPLOADING:
            write(site.directory / "checkpoint-500/trainer_state.json", b'{"global_step": 7}')

    assert look(site, session=Session(monitor)).deferred == ()
    assert subjects(site)[0].startswith("Add checkpoint-500 (7 files, ")


def test_a_hint_at_one_file_is_one_at_its_whole_checkpoint(site: Site) -> None:
    site.lay(checkpoint(500))
    still()
    assert look(site, b"checkpoint-500/optimizer.pt").added == 7


def test_other_names_of_checkpoints_can_be_configured(site: Site, later: Later) -> None:
    site.configure(groups=("round-*",), quiet_s=5.0)
    site.lay({b"round-1/a": b"1", b"checkpoint-5/a": b"1"})
    assert list(reasons(look(site))) == [b"round-1/a"]
    later(5)
    look(site)
    assert subjects(site) == ["Add 1 file (1 B): checkpoint-5/a", "Add round-1 (1 file, 1 B)"]


def test_hundreds_of_checkpoints_at_once_do_not_make_hundreds_of_commits(site: Site) -> None:
    site.lay({b"checkpoint-%d/a" % number: b"%d" % number for number in range(60)})
    still()
    site.sync()
    commits = subjects(site)
    assert len(commits) == 51
    assert commits[-1] == "Add checkpoint-59 (1 file, 2 B)"
    site.assert_mirrored()


def test_a_checkpoint_in_a_git_working_copy_is_a_commit_there_too(site: Site) -> None:
    git("init", "--quiet", "--initial-branch", "main", cwd=site.directory)
    site.lay({**checkpoint(500), **checkpoint(1000), b"config.json": b"{}"})
    still()
    delivered = run_pass(site.mirror, site.state, Order(), Session())
    assert delivered.deferred == ()
    assert len(subjects(site)) == 3
    assert git("status", "--porcelain", cwd=site.directory) == b""
    assert git("rev-parse", "HEAD", cwd=site.directory).decode().strip() == site.tip()


# -- sharded weights ------------------------------------------------------------------------------------------------


def saved_slowly(site: Site, files: Mapping[bytes, Content]) -> Iterator[PassResult]:
    """After each file there is time enough for a pass, but not for `max_wait`."""
    for path, content in files.items():
        site.lay({path: content})
        still()
        yield look(site)


def test_new_shards_are_not_committed_before_their_index(site: Site) -> None:
    site.lay({b"config.json": b"{}"})
    *early, last = saved_slowly(site, sharded())
    for number, result in enumerate(early, 1):
        awaited = SHARDS[number] if number < len(SHARDS) else INDEX.decode()
        assert set(reasons(result).values()) == {f"waits for {awaited}: not written yet"}
    assert last.deferred == ()
    assert [line.partition(" (")[0] for line in subjects(site)] == ["Add 1 file", "Add 4 files"]
    site.assert_mirrored()


def test_old_and_new_shards_are_not_mixed(site: Site) -> None:
    site.lay(sharded(b"final/"))
    still()
    site.sync()
    before = site.remote_tree()
    *early, last = saved_slowly(site, sharded(b"final/", 1))
    for result in early:
        assert set(reasons(result).values()) == {
            f"waits for {INDEX.decode()}: older than {SHARDS[len(result.deferred) - 1]}"
        }
    assert last.deferred == ()
    assert len(subjects(site)) == 2
    assert site.remote_tree() != before
    site.assert_mirrored()


def test_an_index_that_lists_what_is_not_there_waits(site: Site) -> None:
    site.lay({path: content for path, content in sharded().items() if SHARDS[2].encode() != path})
    still()
    assert set(reasons(site.sync()).values()) == {f"waits for {SHARDS[2]}: missing"}
    site.lay({SHARDS[2].encode(): shard(2)})
    still()
    assert look(site, SHARDS[2].encode()).deferred == ()
    assert len(subjects(site)) == 1
    site.assert_mirrored()


def test_a_shard_that_is_patched_alone_comes_after_max_wait(site: Site, later: Later) -> None:
    site.lay(sharded())
    still()
    site.sync()
    site.lay({SHARDS[0].encode(): shard(0, 5)})
    still()
    assert set(reasons(look(site)).values()) == {f"waits for {INDEX.decode()}: older than {SHARDS[0]}"}
    later(300)
    assert site.sync().deferred == ()
    site.assert_mirrored()


def test_weights_in_fewer_shards_replace_those_in_more_at_once(site: Site) -> None:
    site.lay(sharded())
    still()
    site.sync()
    new = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    gone: dict[bytes, Content] = {name.encode(): None for name in SHARDS}
    site.lay(gone)
    still()
    assert f"waits for {SHARDS[0]}: missing" in reasons(look(site)).values()
    site.lay({name.encode(): shard(number, 3) for number, name in enumerate(new)})
    still()
    assert len(reasons(look(site))) == 5
    site.lay({INDEX: modelfiles.index_file(new)})
    still()
    assert site.sync().deferred == ()
    assert len(subjects(site)) == 2
    site.assert_mirrored()


def test_an_index_that_is_replaced_right_after_the_scan_proves_nothing(site: Site, later: Later) -> None:
    """It is not what will be committed, so it must not speak for the shards that will be."""
    site.lay(sharded())
    still()
    site.sync()
    site.lay({SHARDS[0].encode(): shard(0, 5)})
    later(300)
    with assembling(site, lambda: site.lay({INDEX: modelfiles.index_file(SHARDS[:2])})) as (changes, assembly):
        read = [Staged(change.path, change.signature, "1" * 40) for change in changes.changed]
        found = assembly.sort(read, [], changes.removed, known_of(changes.changed))
    assert {one.path: one.reason for one in found.deferred} == {
        SHARDS[0].encode(): f"waits for {INDEX.decode()}: still changing"
    }
    assert found.staged == []


def test_an_index_of_a_hostile_kind_holds_nothing_up(site: Site) -> None:
    names = ["../../etc/passwd", "/etc/passwd", "a\nb", "x" * 300]
    result = site.put({b"evil.index.json": modelfiles.index_file(names), b"a": b"1"})
    assert set(reasons(result)) == {b"evil.index.json"}
    assert reasons(result)[b"evil.index.json"] == r"waits for a\nb: missing"
    assert site.remote_tree() == {b"a": entry_of(b"1")}


def test_shards_that_were_downloaded_after_their_index_come_once_all_are_there(site: Site) -> None:
    files = sharded()
    site.lay({INDEX: files.pop(INDEX)})
    *early, last = saved_slowly(site, files)
    assert all(result.deferred for result in early)
    assert last.deferred == ()
    assert len(subjects(site)) == 1
    site.assert_mirrored()


def test_what_was_hashed_before_is_what_is_committed(site: Site) -> None:
    """The oid that was remembered is the file's own."""
    files = checkpoint(500)
    site.lay(files)
    with writing(site.directory / "checkpoint-500/optimizer.pt", b""):
        look(site)
    site.lay({b"checkpoint-500/optimizer.pt": files[b"checkpoint-500/optimizer.pt"]})
    still()
    site.sync()
    for name in SHARDS:
        path = f"checkpoint-500/{name}"
        pointer = git("cat-file", "blob", f"main:{path}", cwd=site.remote).decode()
        assert hashlib.sha256((site.directory / path).read_bytes()).hexdigest() in pointer


def test_an_ignored_file_of_a_checkpoint_is_no_change_of_it(site: Site) -> None:
    site.lay(checkpoint(500))
    still()
    site.sync()
    site.configure(ignore=("optimizer.pt",))
    assert site.sync().deferred == ()
    site.assert_mirrored(left_out=[b"checkpoint-500/optimizer.pt"])


def test_touching_a_file_of_a_checkpoint_is_no_change_of_it(site: Site) -> None:
    site.lay(checkpoint(500))
    still()
    site.sync()
    write(site.directory / "checkpoint-500/scheduler.pt", modelfiles.torch_file(0))
    result = site.sync()
    assert (result.deferred, result.committed) == ((), False)


# -- looks ahead ----------------------------------------------------------------------------------------------------


def prepare(site: Site, session: Session | None = None) -> PassResult:
    return run_pass(site.mirror, site.state, Order(aim=Aim.PREPARE), session or Session())


LARGE = modelfiles.safetensors_file(1, 1, 400_000)


def test_what_is_complete_is_sent_ahead_and_nothing_is_committed(site: Site) -> None:
    site.put({b"config.json": b"{}"})
    site.lay({b"done.safetensors": LARGE, b"cut.safetensors": LARGE[:-1], b"small.json": b"{}"})
    hashed: list[bytes] = []
    session = Session(lambda event: hashed.append(event.path) if isinstance(event, Progress) else None)
    assert prepare(site, session).sent_bytes == len(LARGE)
    assert set(hashed) == {b"done.safetensors"}
    assert len(subjects(site)) == 1
    hashed.clear()
    events: list[Plan | Progress] = []
    site.lay({b"cut.safetensors": None})
    assert prepare(site, Session(events.append)).sent_bytes == 0
    assert events == []  # there is nothing to do
    site.lay({b"cut.safetensors": LARGE[:-1]})
    result = look(site, b"small.json", b"cut.safetensors", session=session)  # and at all that was sent ahead
    assert reasons(result) == {b"cut.safetensors": "ends 1 B too early"}
    assert b"done.safetensors" not in hashed
    site.assert_mirrored(left_out=[b"cut.safetensors"])


def test_what_tells_nothing_about_itself_is_not_sent_ahead_before_it_rested(site: Site, later: Later) -> None:
    site.configure(quiet_s=5.0)
    site.lay({b"weights.raw": random_bytes(1, 2 << 20), b"link.safetensors": Link(b"weights.raw")})
    assert prepare(site).sent_bytes == 0
    later(5)
    assert prepare(site).sent_bytes == 2 << 20


def test_a_look_ahead_decides_nothing_about_deletions(site: Site) -> None:
    site.put({b"%d" % number: b"1" for number in range(20)})
    for number in range(20):
        (site.directory / str(number)).unlink()
    prepare(site)
    with pytest.raises(BlockedError, match="20 of 20 files are gone"):
        site.sync()
    shutil.rmtree(site.directory)
    site.directory.mkdir()
    for number in range(9):
        write(site.directory / f"other-{number}", b"1")
    prepare(site)
    with pytest.raises(BlockedError, match="20 of 20 files are gone"):
        site.sync()
