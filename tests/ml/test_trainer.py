"""A real `transformers.Trainer` saves and rotates checkpoints in a directory that a real daemon mirrors.

The one thing to know: up to `PATIENT_STEPS` the test holds the training until a checkpoint is on the remote, so each of
those must have its own commit. After that training runs as it likes, and rotation may be faster than the daemon.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from tests.helpers import assert_whole, clone, git
from tests.integration.daemons import Daemon, Pair, configure, soon, status
from tests.ml import tiny

EVERY = 5
PATIENT_STEPS = 20
STEPS = 40


@dataclass
class Commit:
    """A commit of the mirrored branch: its name, its subject, and the files of each checkpoint that it holds."""

    oid: str
    subject: str
    checkpoints: dict[str, set[str]] = field(default_factory=dict)


def commits(remote: Path) -> list[Commit]:
    """The commits of the branch, oldest first."""
    if not git("for-each-ref", "refs/heads/main", cwd=remote):
        return []
    found = []
    for line in git("log", "--reverse", "--format=%H %s", "main", cwd=remote).decode().splitlines():
        oid, _, subject = line.partition(" ")
        commit = Commit(oid, subject)
        for path in git("ls-tree", "-r", "--name-only", commit.oid, cwd=remote).decode().splitlines():
            if path.startswith("checkpoint-"):
                folder, _, name = path.partition("/")
                commit.checkpoints.setdefault(folder, set()).add(name)
        found.append(commit)
    return found


class Watching(TrainerCallback):
    """Notes what each checkpoint holds when it is saved, and holds the training until it has arrived."""

    def __init__(self, remote: Path) -> None:
        self.remote = remote
        self.weights: dict[str, str] = {}
        self.files: dict[str, set[str]] = {}

    def on_save(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """A checkpoint has just been written, and older ones rotated away."""
        name = f"checkpoint-{state.global_step}"
        self.weights[name] = tiny.weights(given["model"])
        self.files[name] = {path.name for path in (Path(args.output_dir) / name).iterdir()}
        if state.global_step <= PATIENT_STEPS:
            soon(lambda: any(name in one.checkpoints for one in commits(self.remote)), f"{name} did not arrive")


@dataclass
class Run:
    """A training that is over, and what is on the remote."""

    pair: Pair
    seen: Watching
    commits: list[Commit]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Trains under a daemon, until all has arrived."""
    pair = Pair.make(tmp_path)
    configure(pair.table(), defaults={"quiet": "300ms", "max_wait": "3s"})
    seen = Watching(pair.remote)
    with Daemon(tmp_path / "log"):
        tiny.trainer(
            pair.directory, callbacks=[seen], max_steps=STEPS, save_steps=EVERY, save_total_limit=2,
            eval_strategy="steps", eval_steps=EVERY,
        ).train()  # fmt: skip
        pair.arrives()
        soon(lambda: status().verified_at is not None)
        assert status().error is None
    return Run(pair, seen, commits(pair.remote))


def test_each_checkpoint_of_a_trainer_arrives_whole_in_one_commit_and_loads(run: Run, tmp_path: Path) -> None:
    run.pair.assert_delivered(tmp_path)
    added = Counter(match[1] for one in run.commits if (match := re.match(r"Add (checkpoint-\d+)", one.subject)))
    patient = [f"checkpoint-{step}" for step in range(EVERY, PATIENT_STEPS + 1, EVERY)]
    assert {*patient, f"checkpoint-{STEPS - EVERY}", f"checkpoint-{STEPS}"} <= added.keys() <= run.seen.files.keys()
    assert set(added.values()) == {1}
    assert not [one.subject for one in run.commits if one.subject.startswith("Change checkpoint")]
    for one in run.commits:
        for name, files in one.checkpoints.items():
            assert files == run.seen.files[name], f"{name} is not whole in {one.subject}"
        if match := re.match(r"Add checkpoint-(\d+)", one.subject):
            step = int(match[1])
            assert f": step {step}, epoch {round(step / 16, 2)}, eval_loss " in one.subject

    # rotation comes later, and takes away whole checkpoints
    removed = [one.subject for one in run.commits if one.subject.startswith("Remove checkpoint-")]
    assert len(removed) == len(added) - 2
    assert run.commits[-1].checkpoints.keys() == {f"checkpoint-{STEPS - EVERY}", f"checkpoint-{STEPS}"}
    assert_whole(run.pair.remote)

    loaded = set()
    for one in run.commits:
        there = clone(run.pair.remote, tmp_path / one.oid, one.oid)
        for name in one.checkpoints:
            model = AutoModelForCausalLM.from_pretrained(there / name)
            assert tiny.weights(model) == run.seen.weights[name], f"{name} of {one.subject}"
            if name in loaded:
                continue
            loaded.add(name)
            assert AutoTokenizer.from_pretrained(there / name)("w0 w1").input_ids == [2, 3]
            step = int(name.partition("-")[2])
            again = tiny.trainer(tmp_path / f"again-{step}", max_steps=step + 1, save_strategy="no")
            again.train(resume_from_checkpoint=str(there / name))
            assert again.state.global_step == step + 1
    assert loaded == added.keys()
