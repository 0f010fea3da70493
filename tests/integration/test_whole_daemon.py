"""A trainer saves, rotates and renames while the daemon runs: whole checkpoints only, and one commit for each."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.numpy

from lfssync import formats
from lfssync.formats import Completeness, Reader
from tests.helpers import assert_whole, git
from tests.integration.daemons import Daemon, Pair, configure, remote_tree, soon

TRAINER = r"""
import json, os, shutil, struct, sys, time
from pathlib import Path

root, limit = Path(sys.argv[1]), int(sys.argv[2])
SHARDS = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]

def tensors(step):
    '''A safetensors file, every value of which is the step.'''
    data = struct.pack("<f", step) * 400_000
    header = json.dumps({"w": {"dtype": "F32", "shape": [400_000], "data_offsets": [0, len(data)]}}).encode()
    return struct.pack("<Q", len(header)) + header + data

def write(path, content, pause):
    with open(path, "wb", buffering=0) as file:
        for at in range(0, len(content), len(content) // 4 + 1):
            file.write(content[at : at + len(content) // 4 + 1])
            time.sleep(pause)

def save(step, folder, pause):
    folder.mkdir()
    for name in SHARDS:
        write(folder / name, tensors(step), pause)
    index = {"weight_map": {f"{n}.w": name for n, name in enumerate(SHARDS)}}
    write(folder / "model.safetensors.index.json", json.dumps(index).encode(), 0)
    write(folder / "optimizer.safetensors", tensors(step), pause)
    state = {"global_step": step, "epoch": 1.0, "log_history": [{"loss": 0.5, "step": step}]}
    write(folder / "trainer_state.json", json.dumps(state).encode(), 0)

def rotate():
    steps = sorted(int(path.name[11:]) for path in root.glob("checkpoint-*"))
    for step in steps[:-limit]:
        shutil.rmtree(root / f"checkpoint-{step}")

def log(text):
    with open(root / "train.log", "a") as file:
        file.write(text + "\n")

for order in sys.stdin:
    how, step, pause = order.split()
    folder = root / f"checkpoint-{step}"
    if how == "rename":
        save(int(step), root / f"tmp-checkpoint-{step}", float(pause))
        (root / f"tmp-checkpoint-{step}").rename(folder)
    elif how == "save":
        save(int(step), folder, float(pause))
    elif how == "hold":  # the second shard is never finished before it is told to go on
        folder.mkdir()
        write(folder / SHARDS[0], tensors(int(step)), 0)
        with open(folder / SHARDS[1], "wb", buffering=0) as file:
            file.write(tensors(int(step))[:1000])
            print("holds", flush=True)
            while not (root.parent / "go on").exists():
                os.pwrite(file.fileno(), tensors(int(step))[:1000], 0)
                time.sleep(0.1)
        shutil.rmtree(folder)
        save(int(step), folder, 0)
    rotate()
    log(f"saved {step}")
    print("saved", step, flush=True)
"""
FILES = 6
QUIET, MAX_WAIT = "1500ms", "60s"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


class Trainer:
    """The program that saves, a process of its own."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def told(self, how: str, step: int, pause_s: float = 0.0) -> str:
        """Give it an order; returns its answer."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f"{how} {step} {pause_s}\n")
        self._child.stdin.flush()
        return self._child.stdout.readline().strip()

    def answer(self) -> str:
        """Its next answer."""
        assert self._child.stdout is not None
        return self._child.stdout.readline().strip()


@contextlib.contextmanager
def training(directory: Path, limit: int = 2) -> Iterator[Trainer]:
    arguments = [sys.executable, "-c", TRAINER, str(directory), str(limit)]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True) as child:
        try:
            yield Trainer(child)
        finally:
            child.kill()


def subjects(pair: Pair) -> list[str]:
    """The commits on the remote, oldest first; none before the first push."""
    if not git("for-each-ref", "refs/heads/main", cwd=pair.remote):
        return []
    return git("log", "--reverse", "--format=%s", "main", cwd=pair.remote).decode().splitlines()


def arrives(pair: Pair, subject: str) -> None:
    soon(lambda: any(line.startswith(subject) for line in subjects(pair)), lambda: f"{subject}: {subjects(pair)}")


def assert_only_whole_checkpoints(pair: Pair) -> set[int]:
    """Every commit on the remote holds only whole checkpoints, each of one step; returns the steps that ever were."""
    assert_whole(pair.remote)
    contents: dict[str, bytes] = {}
    steps = set()
    for commit in git("rev-list", "main", cwd=pair.remote).decode().split():
        checkpoints: dict[str, dict[str, bytes]] = {}
        for line in git("ls-tree", "-r", commit, "--", "checkpoint-*", ".", cwd=pair.remote).decode().splitlines():
            words, _, path = line.partition("\t")
            folder, _, name = path.rpartition("/")
            if folder.startswith("checkpoint-"):
                oid = words.split()[2]
                contents[oid] = contents.get(oid) or _content(pair.remote, oid)
                checkpoints.setdefault(folder, {})[name] = contents[oid]
        for folder, files in checkpoints.items():
            _assert_whole_checkpoint(folder, files, commit)
            steps.add(int(folder.rpartition("-")[2]))
    return steps


def _content(remote: Path, oid: str) -> bytes:
    blob = git("cat-file", "blob", oid, cwd=remote)
    pointer = re.match(rb"version https://git-lfs.*\noid sha256:([0-9a-f]{64})\n", blob)
    if not pointer:
        return blob
    name = pointer[1].decode()
    return (remote / "lfs/objects" / name[:2] / name[2:4] / name).read_bytes()


def _assert_whole_checkpoint(folder: str, files: dict[str, bytes], commit: str) -> None:
    where = f"{folder} in {commit[:7]}: {sorted(files)}"
    assert len(files) == FILES, where
    step = int(folder.rpartition("-")[2])
    for name, content in files.items():
        reader = Reader(len(content), lambda count, offset, data=content: data[offset : offset + count])  # type: ignore[misc]
        assert formats.check(name.encode(), reader).completeness is Completeness.COMPLETE, (where, name)
        if name.endswith(".safetensors"):
            assert set(safetensors.numpy.load(content)["w"]) == {float(step)}, (where, name)
    listed = set(json.loads(files["model.safetensors.index.json"])["weight_map"].values())
    assert listed <= files.keys(), where
    assert json.loads(files["trainer_state.json"])["global_step"] == step, where


def test_a_run_that_saves_rotates_and_renames_is_one_commit_for_each_checkpoint(pair: Pair, tmp_path: Path) -> None:
    configure(pair.table(), defaults={"quiet": QUIET, "max_wait": MAX_WAIT})
    with Daemon(tmp_path / "daemon.log"), training(pair.directory) as trainer:
        for step, how in ((100, "save"), (200, "rename"), (300, "save"), (400, "rename")):
            assert trainer.told(how, step, 0.15) == f"saved {step}"
            arrives(pair, f"Add checkpoint-{step}: step {step}, epoch 1.0, loss 0.5 ({FILES} files, 6.4 MB)")
        arrives(pair, "Remove checkpoint-200")
        pair.arrives()
    assert assert_only_whole_checkpoints(pair) == {100, 200, 300, 400}
    told = Counter(line.partition(":")[0].partition(" (")[0] for line in subjects(pair) if "checkpoint" in line)
    added = {f"Add checkpoint-{step}": 1 for step in (100, 200, 300, 400)}
    assert told == added | {"Remove checkpoint-100": 1, "Remove checkpoint-200": 1}


def test_saves_in_quick_succession_leave_only_whole_checkpoints(pair: Pair, tmp_path: Path) -> None:
    """Some are gone again before they stood still; none of those that arrive is half."""
    configure(pair.table(), defaults={"quiet": "300ms", "max_wait": "3s"})
    with Daemon(tmp_path / "daemon.log"), training(pair.directory) as trainer:
        for step in range(1, 13):
            assert trainer.told("rename" if step % 2 else "save", step, 0.01) == f"saved {step}"
        arrives(pair, "Add checkpoint-12")
        pair.arrives()
    assert {11, 12} <= assert_only_whole_checkpoints(pair)
    assert max(Counter(line for line in subjects(pair) if line.startswith("Add checkpoint-")).values()) == 1


def test_a_shard_is_on_its_way_while_the_next_one_is_being_written(pair: Pair, tmp_path: Path) -> None:
    configure(pair.table(), defaults={"quiet": QUIET, "max_wait": MAX_WAIT})
    with Daemon(tmp_path / "daemon.log"), training(pair.directory) as trainer:
        assert trainer.told("hold", 7) == "holds"
        first = (pair.directory / "checkpoint-7/model-00001-of-00003.safetensors").read_bytes()
        oid = hashlib.sha256(first).hexdigest()
        soon((pair.remote / "lfs/objects" / oid[:2] / oid[2:4] / oid).is_file, "nothing is sent ahead")
        assert subjects(pair) == []
        (tmp_path / "go on").touch()
        assert trainer.answer() == "saved 7"
        arrives(pair, "Add checkpoint-7")
        pair.arrives()
    assert assert_only_whole_checkpoints(pair) == {7}
    assert len(remote_tree(pair.remote)) == FILES + 1
