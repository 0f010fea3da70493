"""What `make demo` runs: a training run is written while the daemon mirrors it, then released, cloned and compared.

Outside the line; nothing imports it. Everything is real (the daemon as a process, a bare git-lfs repository, stock git
and git-lfs) and happens in one temporary folder with settings of its own, which is removed at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lfssync.model import human_bytes

SHARDS = 2
SHARD_BYTES = 24 << 20
CHECKPOINT_BYTES = 8 << 20
VERSION = "v2.0.1"
_TIMEOUT_S = 50


def main() -> int:
    """Run the demonstration; returns the exit code, 0 when every byte arrived."""
    with tempfile.TemporaryDirectory(prefix="lfssync-demo-") as folder:
        base = Path(folder)
        model = base / "outputs" / "my-model"
        model.mkdir(parents=True)
        _settings(base)
        _say("a directory to mirror", f"lfssync add {model}")
        _lfssync("add", str(model), "--quiet", "1s", "--max-wait", "10s")
        _say("the daemon, in the background", "lfssync run")
        with _daemon():
            _say("a training run that saves shards, and checkpoints that rotate", "(a small program writes them)")
            _train(model)
            _say("is everything on the remote?", "lfssync wait")
            _lfssync("wait", "--timeout", f"{_TIMEOUT_S}s")
            _say(f"a release, {VERSION}", f"lfssync tag {VERSION}")
            _lfssync("tag", VERSION, "-m", "the demonstration's release")
            _say("what happened", "lfssync log")
            _lfssync("log")
            _lfssync("status")
        remote = base / "data" / "lfssync" / "remotes" / "my-model.git"
        _say("somebody else, with nothing but git and git-lfs", f"git clone --branch {VERSION} {remote.name}")
        clone = base / "clone"
        subprocess.run(
            [
                "git",
                "-c",
                "advice.detachedHead=false",
                "clone",
                "--quiet",
                "--branch",
                VERSION,
                str(remote),
                str(clone),
            ],
            check=True,
            timeout=_TIMEOUT_S,
        )
        return _compare(model, clone)


def _settings(base: Path) -> None:
    """Give this process and its children a home of their own, so that nothing of the user's is touched."""
    for name in [name for name in os.environ if name.startswith(("GIT_", "LFSSYNC_"))]:
        del os.environ[name]
    for name, folder in (("HOME", "home"), ("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state")):
        os.environ[name] = str(base / folder)
    for name, folder in (("XDG_DATA_HOME", "data"), ("XDG_RUNTIME_DIR", "run")):
        os.environ[name] = str(base / folder)
    (base / "home").mkdir()
    (base / "run").mkdir(mode=0o700)
    subprocess.run(["git", "lfs", "install", "--skip-repo"], check=True, stdout=subprocess.DEVNULL, timeout=_TIMEOUT_S)


def _say(what: str, command: str) -> None:
    print(f"\n▸ {what}\n  $ {command}", flush=True)


def _lfssync(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lfssync", *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_TIMEOUT_S + 5,
    )
    print("".join(f"  {line}\n" for line in done.stdout.splitlines()), end="", flush=True)


@contextlib.contextmanager
def _daemon() -> Iterator[None]:
    child = subprocess.Popen([sys.executable, "-m", "lfssync", "run"], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        child.terminate()
        child.wait(30)


def _train(model: Path) -> None:
    """Write what a training run leaves: checkpoints that rotate, then sharded weights, their index, a tokenizer."""
    source = random.Random(201)  # noqa: S311  (weights, not secrets)
    for step in (100, 200, 300):
        temporary = model / f"tmp-checkpoint-{step}"
        temporary.mkdir()
        _write_tensors(temporary / "model.safetensors", CHECKPOINT_BYTES, source)
        (temporary / "trainer_state.json").write_text(json.dumps({"global_step": step, "loss": round(3 / step, 4)}))
        temporary.rename(model / f"checkpoint-{step}")
        old = model / f"checkpoint-{step - 200}"
        if old.exists():
            for file in old.iterdir():
                file.unlink()
            old.rmdir()
        print(f"  checkpoint-{step} saved", flush=True)
        time.sleep(1.5)
    names = [f"model-{number:05d}-of-{SHARDS:05d}.safetensors" for number in range(1, SHARDS + 1)]
    for name in names:
        _write_tensors(model / name, SHARD_BYTES, source)
    index = {
        "metadata": {"total_size": SHARDS * SHARD_BYTES},
        "weight_map": {f"layer.{i}": name for i, name in enumerate(names)},
    }
    (model / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
    (model / "config.json").write_text(json.dumps({"architectures": ["DemoModel"], "hidden_size": 64}, indent=2))
    (model / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {chr(97 + i): i for i in range(26)}}}))
    print(f"  {SHARDS} shards, their index and a tokenizer saved", flush=True)


def _write_tensors(path: Path, size_bytes: int, source: random.Random) -> None:
    """A real safetensors file with one tensor. Source: the safetensors format: header length, JSON header, data."""
    header = json.dumps(
        {"weight": {"dtype": "F32", "shape": [size_bytes // 4], "data_offsets": [0, size_bytes]}}
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + source.randbytes(size_bytes))


def _compare(model: Path, clone: Path) -> int:
    """Compare the directory with the clone, byte for byte, and say so."""
    ours, theirs = (_digests(folder) for folder in (model, clone))
    theirs.pop(".gitattributes", None)
    size_bytes = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    if ours != theirs:
        different = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        print(f"\n✗ the clone differs: {', '.join(different)}")
        return 1
    what = f"{len(ours)} files, {human_bytes(size_bytes)}"
    print(f"\n✓ {what}: the clone of {VERSION} equals the directory, byte for byte\n")
    print("The same with your own directory:\n")
    print("  .venv/bin/lfssync add ~/outputs/my-model     # or add a remote: ... hf:me/my-model")
    print("  .venv/bin/lfssync run                        # keeps it mirrored until you press Ctrl-C")
    print(f"  .venv/bin/lfssync tag {VERSION}                 # a release")
    return 0


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


if __name__ == "__main__":
    sys.exit(main())
