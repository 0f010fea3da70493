"""What the training callbacks share: a daemon that is found or a companion that is started, and trainings that go on.

No training library is installed here. The adapters run against classes of the same name that do nothing; `tests/ml`
has them called by the real ones. The one thing to know: hooks are timed against a daemon that does not answer at all,
because a hook that waits for anything would wait for that.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lfssync.integrations.session import Training
from lfssync.records.lock import DAEMON_LOCK, running_daemon
from tests.helpers import git, make_bare, random_bytes, write
from tests.integration.daemons import PROJECT, Daemon, Pair, configure, places, soon

HOOK_S = 0.5
"""A hook takes microseconds; a busy machine may still take the processor away from it for a while."""

QUICK = {"quiet": "200ms"}


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair.make(tmp_path)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The three libraries, as far as the adapters import them."""

    class Base:
        pass

    def library(name: str, **names: Any) -> ModuleType:
        module = ModuleType(name)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    library("transformers", TrainerCallback=Base)
    library("keras", callbacks=library("keras.callbacks", Callback=Base))
    library("pytorch_lightning", Callback=Base)
    adapters = [f"lfssync.integrations.{name}" for name in ("transformers", "keras", "lightning")]
    for name in adapters:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    for name in adapters:
        sys.modules.pop(name, None)


def callback_of(library: str) -> Any:
    return importlib.import_module(f"lfssync.integrations.{library}").LfsSyncCallback


def subjects(pair: Pair) -> list[str]:
    return git("log", "--reverse", "--format=%s", pair.branch, cwd=pair.remote).decode().splitlines()


def state_folder() -> Path:
    """The state folder of the only companion there was."""
    [folder] = (places().state_dir / "training").iterdir()
    return folder


def test_a_daemon_is_told_and_asked_for_everything_at_the_end(pair: Pair, tmp_path: Path) -> None:
    configure(pair.table(quiet="10m", max_wait="1h"))  # so it is the end of the training that brings it
    training = Training(None, 60, {})
    with Daemon(tmp_path / "log"):
        training.begin(pair.directory / "deeper")
        began = time.time()
        write(pair.directory / "deeper" / "epoch-3.keras", random_bytes(1, 90_000))
        training.tell(30, 3, {"loss": 0.5, "val_loss": 0.25}, began)
        receipt = training.flush()
        write(pair.directory / "later.txt", b"1")
        training.flush()
        training.close()
        assert receipt is not None
        assert training.receipt is not None
        assert training.receipt.commit == git("rev-parse", "main", cwd=pair.remote).decode().strip() != receipt.commit
        told, later = subjects(pair)
        assert told == (
            "Add 1 file (90.0 kB) at step 30, epoch 3.0, val_loss 0.25, loss 0.5: deeper/epoch-3.keras"
        )  # fmt: skip
        assert later == "Add 1 file (1 B): later.txt", "what is written after the training is not of its last step"
        assert not (places().state_dir / "training").exists(), "a companion was started beside the daemon"


def test_without_a_daemon_a_companion_mirrors_until_the_end(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lfssync")
    training = Training(str(pair.remote), 60, QUICK)
    training.begin(pair.directory)
    write(pair.directory / "checkpoint-1" / "model.safetensors.tmp-x", b"1")
    pair.arrives()
    write(pair.directory / "a.txt", b"1")
    assert training.flush() is not None
    pair.arrives(0)
    assert "verified at" in caplog.text
    training.begin(pair.directory)  # a second training with the same callback
    training.tell(5, None, {})
    write(pair.directory / "b.txt", b"1")
    training.close()
    pair.arrives(0)
    assert subjects(pair)[-1] == "Add 1 file (1 B) at step 5: b.txt"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    training.close()


def test_the_configured_remote_is_used_where_no_daemon_runs(pair: Pair) -> None:
    configure(pair.table(into="run", ignore=["*.log"], name="other"))
    training = Training(None, 60, {})
    training.begin(pair.directory)
    write(pair.directory / "a.txt", b"1")
    write(pair.directory / "a.log", b"1")
    assert training.flush() is not None
    training.close()
    assert git("ls-tree", "-r", "--name-only", "main", cwd=pair.remote).decode().split() == [
        "run/.gitattributes", "run/a.txt",
    ]  # fmt: skip


PROGRAM = """
import sys, time
from pathlib import Path
from lfssync.integrations.session import Training

directory, remote, ending = sys.argv[1:]
training = Training(remote, 60, {"quiet": "200ms"})
training.begin(directory)
Path(directory, "first.txt").write_text("1")
while not Path(remote, "refs/heads/main").exists() and not Path(remote, "packed-refs").exists():
    time.sleep(0.02)
training.tell(7, 1, {})
Path(directory, "last.txt").write_text("1")
print("ready", flush=True)
if ending == "raises":
    raise ValueError("the training failed")
time.sleep(600)
"""


@pytest.mark.parametrize("ending", ["raises", "SIGINT", "SIGKILL"])
def test_what_was_saved_arrives_however_the_training_ends(ending: str, pair: Pair) -> None:
    words = [sys.executable, "-c", PROGRAM, str(pair.directory), str(pair.remote), ending]
    process = subprocess.Popen(
        words, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        if ending.startswith("SIG"):  # to all that run in that terminal
            os.killpg(process.pid, signal.Signals[ending])
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    if ending != "SIGKILL":
        pair.arrives(0)
        assert {"raises": "the training failed", "SIGINT": "KeyboardInterrupt"}[ending] in said.decode()
        assert subjects(pair)[-1] == "Add 1 file (1 B) at step 7, epoch 1.0: last.txt"
    pair.arrives()
    soon(lambda: running_daemon(state_folder() / DAEMON_LOCK) is None, "the companion did not end")


def test_a_hook_never_waits(pair: Pair, tmp_path: Path, stand_ins: None) -> None:
    configure(pair.table())
    args, state = SimpleNamespace(output_dir=str(pair.directory)), trainer_state()
    with Daemon(tmp_path / "log") as daemon:
        daemon.signal(signal.SIGSTOP)
        callback = callback_of("transformers")(timeout_s=1)
        took = 0.0
        for _ in range(50):
            began = time.monotonic()
            callback.on_train_begin(args, state, None)
            callback.on_save(args, state, None)
            took = max(took, time.monotonic() - began)
        began = time.monotonic()
        callback.on_train_end(args, state, None)
        ended = time.monotonic() - began
        daemon.signal(signal.SIGCONT)
        callback.close()
    assert took < HOOK_S
    assert ended < 20
    assert callback.receipt is None


def trainer_state(**changed: Any) -> SimpleNamespace:
    log = [{"loss": 2.0}, {"eval_loss": 1.25, "eval_runtime": 3.0, "epoch": 1.0}]
    given = {"is_world_process_zero": True, "global_step": 5, "epoch": 1.5, "log_history": log}
    return SimpleNamespace(**(given | changed))


def test_the_adapters_tell_where_the_training_stands(pair: Pair, tmp_path: Path, stand_ins: None) -> None:
    configure(pair.table(quiet="10m", max_wait="1h"))
    with Daemon(tmp_path / "log"):
        trainer = callback_of("transformers")()
        args = SimpleNamespace(output_dir=str(pair.directory))
        trainer.on_train_begin(args, trainer_state(), None)
        trainer.on_save(args, trainer_state(), None)
        write(pair.directory / "model.bin", b"1")
        trainer.on_train_end(args, trainer_state(), None)

        keras = callback_of("keras")(directory=pair.directory)
        keras.on_train_begin()
        keras.on_epoch_begin(0)
        for batch in range(4):
            keras.on_train_batch_end(batch)
        write(pair.directory / "model.keras", b"1")
        keras.on_epoch_end(0, {"loss": 0.5, "val_loss": 0.75})
        keras.on_train_end()

        lightning = callback_of("lightning")()
        saver = SimpleNamespace(dirpath=str(pair.directory))
        running = SimpleNamespace(
            is_global_zero=True, checkpoint_callback=saver, global_step=9, current_epoch=2,
            callback_metrics={"val_loss": "0.125", "odd": object()},
        )  # fmt: skip
        lightning.on_train_start(running, None)
        lightning.on_save_checkpoint(running, None, {})
        write(pair.directory / "model.ckpt", b"1")
        lightning.on_fit_end(running, None)
        for callback in (trainer, keras, lightning):
            assert callback.receipt is not None
            callback.close()
    assert subjects(pair) == [
        "Add 1 file (1 B) at step 5, epoch 1.5, eval_loss 1.25: model.bin",
        "Add 1 file (1 B) at step 4, epoch 1.0, val_loss 0.75, loss 0.5: model.keras",
        "Add 1 file (1 B) at step 9, epoch 2.0, val_loss 0.125: model.ckpt",
    ]


def test_other_ranks_do_nothing(pair: Pair, stand_ins: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    args, state = SimpleNamespace(output_dir=str(pair.directory)), trainer_state(is_world_process_zero=False)
    trainer, keras = callback_of("transformers")("r.git"), callback_of("keras")("r.git", directory=pair.directory)
    trainer.on_train_begin(args, state, None)
    keras.on_train_begin()
    for callback in (trainer, keras):
        assert not callback._lfssync.is_running
    trainer.on_train_end(args, state, None)
    keras.on_epoch_end(0, {})
    keras.on_train_end()
    assert not (places().state_dir / "training").exists()


@pytest.mark.parametrize(
    ("remote", "keys", "words"),
    [
        (None, {}, "nobody mirrors .*; give the callback a remote, or: lfssync add"),
        ("nowhere.git", QUICK, "nowhere.git"),
        ("https://me:secret@example.org/m", {}, "password"),
        ("MADE", {"quite": "1s"}, "quiet"),
    ],
)
def test_what_goes_wrong_is_one_warning_and_the_training_goes_on(
    remote: str | None, keys: dict[str, str], words: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_bare(tmp_path / "r.git")
    training = Training(str(tmp_path / "r.git") if remote == "MADE" else remote, 1, keys)
    training.begin(tmp_path / "run")
    for step in range(3):
        training.tell(step, None, {})
        (tmp_path / "run").mkdir(exist_ok=True)
        write(tmp_path / "run" / f"{step}.txt", b"1")
    began = time.monotonic()
    assert training.flush() is None
    training.close()
    assert time.monotonic() - began < 30
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1
    assert re.search(words, said[0])
    assert "secret" not in caplog.text


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("transformers", "keras.callbacks", "keras", "lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "pytorch_lightning")
    for name in ("transformers", "keras", "lightning"):
        monkeypatch.delitem(sys.modules, f"lfssync.integrations.{name}", raising=False)
        with pytest.raises(ImportError, match=f"lfssync.integrations.{name} needs {name}; install it: pip install"):
            importlib.import_module(f"lfssync.integrations.{name}")
