"""The power goes at any call: what was not synced is lost, and what was promised is still there.

Fault 2. Directory, state and remote are on a file system in a file. When all stands still at a call, that file is
copied: it has what the file system has brought to its disk until then, and nothing of what is only in memory. The copy
is mounted in its place, and lfssync starts again. The one thing to know: the file system is told to write nothing by
itself for minutes, and ext4 not to be kind to those who rename without syncing.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.dice import spread, tally
from tests.faults.mounts import disk, mounted, own_mounts
from tests.faults.places import site, sync
from tests.faults.scenes import SCENES, besides
from tests.faults.tracing import Traced
from tests.integration.daemons import LFSSYNC

OPTIONS = {"ext4": ("commit=300", "noauto_da_alloc"), "xfs": ()}
LOSSES_EACH = 5


def copy(image: Path, to: Path) -> None:
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", image, to], check=True, timeout=60)


@contextmanager
def copied(start: Path, image: Path, folder: Path, *options: str) -> Iterator[None]:
    """Mount a copy of a disk that was put away in order."""
    copy(start, image)
    with mounted(image, folder, *options):
        yield


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("kind", OPTIONS)
def test_after_a_loss_of_power(kind: str, scene: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, start, lost, log = tmp_path / "disk", tmp_path / "start", tmp_path / "lost", tmp_path / "log"
    monkeypatch.setenv("XDG_STATE_HOME", str(base / "state"))
    monkeypatch.setenv("TMPDIR", str(base / "tmp"))
    with own_mounts():
        with disk(kind, start, base, *OPTIONS[kind]), site("bare", base) as place:
            SCENES[scene](place, base)
        with copied(start, tmp_path / "image", base, *OPTIONS[kind]):
            whole = Traced([*LFSSYNC, "sync"], log).run()
            assert whole.status == 0, log.read_text()
            place.assert_mirrored(besides(scene))
        for at in spread(len(whole.calls), LOSSES_EACH):

            def lose(traced: Traced) -> None:
                traced.freeze()
                copy(tmp_path / "image", lost)
                traced.kill_all()

            tally("losses of power")
            with copied(start, tmp_path / "image", base, *OPTIONS[kind]):
                cut = Traced([*LFSSYNC, "sync"], log, at, lose).run()
            with mounted(lost, base, *OPTIONS[kind]):
                try:
                    place.assert_whole()
                    place.grow_old()
                    sync()
                    place.assert_mirrored(besides(scene))
                except BaseException as error:
                    error.add_note(f"power lost at call {at} of {len(whole.calls)}: {cut.calls[-1]}")
                    raise
