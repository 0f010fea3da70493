"""Looking at a whole tree that has not changed, and what nobody can do without: to list it and lstat every file.

`python -m tests.benchmarks.walks {ours|bare} DIRECTORY [STATE]` does one of them and prints how many seconds it took,
so that the start of the interpreter does not count.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.benchmarks.contestants import PROJECT, Prepare
from tests.benchmarks.daemons import Mirrored
from tests.benchmarks.harness import Meter, Prepared, write_tree


def walk(files: int, whose: str) -> Prepare:
    """One look at everything; `whose` is `ours` or `bare`."""

    def prepare(folder: Path, meter: Meter) -> Prepared:
        mirrored = Mirrored.make(folder, meter, "0s")
        write_tree(mirrored.directory / "small", files)
        if whose == "ours":
            mirrored.sync(meter)
        state = folder / "state" / "mirrors" / "model" / "state.db"
        command = [sys.executable, "-m", "tests.benchmarks.walks", whose, str(mirrored.directory), str(state)]
        return lambda: float(meter.run(command, PROJECT))

    return prepare


def _ours(directory: str, state: str) -> None:
    from lfssync.line.scan import scan
    from lfssync.records.store import Store

    with Store(Path(state)) as store:
        changes = scan(os.fsencode(directory), None, store, ())
    if changes.changed or changes.removed:
        raise SystemExit("it did change")


def _bare(directory: str) -> None:
    folders = [os.fsencode(directory)]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    os.lstat(entry.path)


def main(whose: str, directory: str, state: str) -> None:
    """Walk once."""
    if whose == "ours":
        from lfssync.line import scan  # noqa: F401  (importing is not what is timed)
    began = time.perf_counter()
    if whose == "ours":
        _ours(directory, state)
    else:
        _bare(directory)
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
