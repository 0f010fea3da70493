"""The callbacks, called by the real libraries: what they cost, what arrives, and what loads again.

The one thing to know: each run is made without a daemon, so the callback starts a process of its own; the transformers
run is also made with one. Each is released, and a tag, a branch and a commit are loaded by the library's own loader.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import pytorch_lightning
import torch
from transformers import AutoModelForCausalLM

import lfssync
from lfssync.integrations.keras import LfsSyncCallback as KerasCallback
from lfssync.integrations.lightning import LfsSyncCallback as LightningCallback
from lfssync.integrations.transformers import LfsSyncCallback as TrainerCallback
from tests.helpers import assert_whole, clone, git
from tests.integration.daemons import PROJECT, Daemon, Pair, configure, places
from tests.ml import tiny

HOOK_S = 1.0
"""Hooks take tens of microseconds, but a busy machine may take the processor away; a wait for a pass is longer."""

ENDS = frozenset({"on_train_end", "on_fit_end", "on_exception"})
"""Where a callback may wait for the remote."""


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A directory and a remote."""
    return Pair.make(tmp_path)


@pytest.fixture
def closing() -> Iterator[Callable[[Any], Any]]:
    """Gives a callback back with its hooks timed, and closes it in the end, as the end of the program would."""
    made = []

    def timed(callback: Any) -> Any:
        made.append(callback)
        callback.took = {}
        for name in [name for name in dir(type(callback)) if name.startswith("on_") and name in vars(type(callback))]:
            setattr(callback, name, _timed(getattr(callback, name), name, callback.took))
        return callback

    yield timed
    for callback in made:
        callback.close()


def _timed(hook: Callable[..., Any], name: str, took: dict[str, list[float]]) -> Callable[..., Any]:
    def call(*given: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return hook(*given, **more)
        finally:
            took.setdefault(name, []).append(time.perf_counter() - began)

    return call


def assert_quick(callback: Any) -> None:
    """No hook but the last waited for anything."""
    slowest = {name: max(times) for name, times in callback.took.items() if name not in ENDS}
    print("slowest calls of each hook, in µs:", {name: round(1e6 * took) for name, took in slowest.items()})
    assert max(slowest.values()) < HOOK_S


def revisions(pair: Pair, version: str) -> list[str]:
    """A tag, a branch and a commit of what is on the remote."""
    head = git("rev-parse", "main", cwd=pair.remote).decode().strip()
    released = lfssync.push(pair.directory, str(pair.remote), tag=version)
    assert released.commit == head, "the push found something that had not arrived"
    return [version, "main", head]


def subjects(pair: Pair) -> list[str]:
    """The commits of the branch, oldest first."""
    return git("log", "--reverse", "--format=%s", "main", cwd=pair.remote).decode().splitlines()


def came_with(pair: Pair, path: str) -> str:
    """The subject of the commit that brought a file."""
    return git("log", "--diff-filter=A", "--format=%s", "main", "--", path, cwd=pair.remote).decode().strip()


@pytest.mark.parametrize("daemon", [True, False], ids=["with-a-daemon", "without"])
def test_a_trainer(daemon: bool, pair: Pair, tmp_path: Path, closing: Callable[[Any], Any]) -> None:
    callback = closing(TrainerCallback(None if daemon else str(pair.remote), quiet="300ms"))
    trainer = tiny.trainer(
        pair.directory, callbacks=[callback], max_steps=20, save_steps=5, save_total_limit=2, eval_strategy="steps",
        eval_steps=5,
    )  # fmt: skip
    if daemon:
        configure(pair.table())
        with Daemon(tmp_path / "log"):
            trainer.train()
    else:
        trainer.train()
    assert_quick(callback)
    assert len(callback.took["on_save"]) == 4
    assert callback.receipt is not None
    assert callback.receipt.commit == git("rev-parse", "main", cwd=pair.remote).decode().strip()
    assert (places().state_dir / "training").exists() is not daemon
    trainer.save_model()  # after the training, as people do
    callback.close()
    if not daemon:
        pair.arrives(0)
        for revision in revisions(pair, "v1.0.0"):
            there = clone(pair.remote, tmp_path / f"clone-{revision}", revision)
            assert tiny.weights(AutoModelForCausalLM.from_pretrained(there)) == tiny.weights(trainer.model)
            assert tiny.weights(AutoModelForCausalLM.from_pretrained(there / "checkpoint-20")) == tiny.weights(
                trainer.model
            )
    assert any(subject.startswith("Add checkpoint-20: step 20, epoch 1.25, eval_loss ") for subject in subjects(pair))
    assert_whole(pair.remote)


def test_keras(pair: Pair, tmp_path: Path, closing: Callable[[Any], Any]) -> None:
    assert keras.backend.backend() == "torch"
    keras.utils.set_random_seed(1)
    inputs = np.random.default_rng(1).standard_normal((64, 8), dtype=np.float32)
    targets = inputs.sum(axis=1, keepdims=True)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(64, "relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    callback = closing(KerasCallback(str(pair.remote), directory=pair.directory, quiet="300ms"))
    predictions = {}

    class Noting(keras.callbacks.Callback):
        """Notes what the model says, and holds the training until that epoch's file has arrived."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            predictions[epoch + 1] = model(inputs).detach().numpy()
            if epoch == 0:
                pair.arrives()

    saver = keras.callbacks.ModelCheckpoint(str(pair.directory / "epoch-{epoch:02d}.keras"))
    model.fit(
        inputs,
        targets,
        validation_split=0.25,
        batch_size=16,
        epochs=3,
        verbose=0,
        callbacks=[callback, saver, Noting()],
    )
    model.save(pair.directory / "final.keras")
    assert_quick(callback)
    assert len(callback.took["on_train_batch_end"]) == 9
    assert callback.receipt is not None
    callback.close()
    pair.arrives(0)
    for revision in revisions(pair, "v1.0.0"):
        there = clone(pair.remote, tmp_path / f"clone-{revision}", revision)
        for name, epoch in [("epoch-01", 1), ("epoch-02", 2), ("epoch-03", 3), ("final", 3)]:
            loaded = keras.models.load_model(there / f"{name}.keras")
            assert np.array_equal(loaded(inputs).detach().numpy(), predictions[epoch]), f"{name} at {revision}"
    assert " at step 9, epoch 3.0, val_loss " in came_with(pair, "epoch-03.keras")
    assert " at " not in came_with(pair, "final.keras"), "what is saved after the training is not of its last step"
    assert_whole(pair.remote)


class Line(pytorch_lightning.LightningModule):
    """A linear model."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 1)

    def training_step(self, batch: Any, _: int) -> Any:
        """The loss of a batch."""
        inputs, targets = batch
        return torch.nn.functional.mse_loss(self.layer(inputs), targets)

    def validation_step(self, batch: Any, number: int) -> None:
        """The loss of a batch that it does not learn from."""
        self.log("val_loss", self.training_step(batch, number))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer."""
        return torch.optim.SGD(self.parameters(), lr=0.01)


def lightning(directory: Path, callbacks: list[Any], epochs: int = 3) -> pytorch_lightning.Trainer:
    """A trainer that saves each epoch into a directory."""
    saver = pytorch_lightning.callbacks.ModelCheckpoint(directory, save_top_k=-1, save_last=True)
    return pytorch_lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[*callbacks, saver],
    )  # fmt: skip


def batches() -> torch.utils.data.DataLoader[Any]:
    """Data for `Line`."""
    inputs = torch.randn((64, 8), generator=torch.Generator().manual_seed(1))
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(inputs, inputs.sum(dim=1, keepdim=True)), batch_size=16
    )


def test_lightning(pair: Pair, tmp_path: Path, closing: Callable[[Any], Any]) -> None:
    callback = closing(LightningCallback(str(pair.remote), quiet="300ms"))
    weights = {}

    class Noting(pytorch_lightning.Callback):
        """Notes the weights of each epoch, and holds the training until the first one's file has arrived."""

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            weights[trainer.current_epoch] = tiny.weights(pl_module)
            if trainer.current_epoch == 1:
                pair.arrives()

    model = Line()
    lightning(pair.directory, [callback, Noting()]).fit(model, batches(), batches())
    assert_quick(callback)
    assert len(callback.took["on_save_checkpoint"]) >= 3
    assert callback.receipt is not None
    callback.close()
    pair.arrives(0)
    for revision in revisions(pair, "v1.0.0"):
        there = clone(pair.remote, tmp_path / f"clone-{revision}", revision)
        for epoch, step in [(0, 4), (1, 8), (2, 12)]:
            loaded = Line.load_from_checkpoint(there / f"epoch={epoch}-step={step}.ckpt")
            assert tiny.weights(loaded) == weights[epoch], f"epoch {epoch} at {revision}"
        again = lightning(tmp_path / f"again-{revision}", [], epochs=4)
        again.fit(Line(), batches(), batches(), ckpt_path=str(there / "last.ckpt"), weights_only=False)
        assert again.global_step == 16
    assert " at step 12, epoch 2.0, val_loss " in came_with(pair, "epoch=2-step=12.ckpt")
    assert_whole(pair.remote)


def test_a_training_that_fails_has_its_checkpoints_delivered(
    pair: Pair, tmp_path: Path, closing: Callable[[Any], Any]
) -> None:
    callback = closing(LightningCallback(str(pair.remote), quiet="300ms"))

    class Failing(pytorch_lightning.Callback):
        """Fails in the third epoch."""

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            if trainer.current_epoch == 2:
                raise ValueError("out of luck")

    with pytest.raises(ValueError, match="out of luck"):
        lightning(pair.directory, [callback, Failing()]).fit(Line(), batches(), batches())
    assert callback.receipt is not None
    pair.arrives(0)
    assert (clone(pair.remote, tmp_path / "copy") / "epoch=1-step=8.ckpt").exists()


RANK = """
import os, sys
from pathlib import Path
import torch
import torch.distributed as ranks
from tests.ml import tiny
from lfssync.integrations.transformers import LfsSyncCallback

directory, remote = sys.argv[1:]
torch.set_num_threads(1)
callback = LfsSyncCallback(remote, quiet="300ms")
trainer = tiny.trainer(Path(directory), callbacks=[callback], max_steps=6, save_steps=3, ddp_backend="gloo")
trainer.train()
print(ranks.get_rank(), ranks.get_world_size(), callback._lfssync.is_running, callback.receipt is not None, flush=True)
callback.close()
ranks.destroy_process_group()
"""


def test_of_two_ranks_one_acts(pair: Pair, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(RANK)
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-addr=127.0.0.1"]
    words += ["--master-port=0", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    done = subprocess.run(
        [*words, str(program), str(pair.directory), str(pair.remote)], cwd=PROJECT, capture_output=True, text=True,
        timeout=240, check=False, env=dict(os.environ, PYTHONPATH=str(PROJECT), OMP_NUM_THREADS="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = sorted(line for line in done.stdout.splitlines() if line[:1] in "01")
    assert lines == ["0 2 True True", "1 2 False False"], done.stdout
    pair.arrives(0)
    [run] = (places().state_dir / "training").iterdir()
    assert (run / "log").read_text().count("mirroring 1 directory") == 1
    copy = clone(pair.remote, tmp_path / "copy")
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in (copy / "checkpoint-6").iterdir()}
    assert json.loads((copy / "checkpoint-6" / "trainer_state.json").read_text())["global_step"] == 6
    assert len([subject for subject in subjects(pair) if subject.startswith("Add checkpoint-6: step 6")]) == 1
    assert_whole(pair.remote)
