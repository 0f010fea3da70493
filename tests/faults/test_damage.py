"""What is broken in lfssync's own git dir is made anew from the remote and the directory, also once it is packed.

Fault 11. Damage to refs and to loose objects is in `tests/integration/test_first_sync.py` and `test_safeguards.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lfssync.line.outofreach import OutOfReachError
from tests.helpers import git, random_bytes
from tests.integration.site import Site


def cut(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def empty(file: Path) -> None:
    os.truncate(file, 0)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    for at in range(len(content) // 3, len(content), max(len(content) // 7, 1)):
        content[at] ^= 0x55
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {"cut": cut, "empty": empty, "flipped": flip, "gone": Path.unlink}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", ["objects/pack/*.pack", "objects/pack/*.idx", "packed-refs"])
def test_a_damaged_pack(tmp_path: Path, what: str, damage: str) -> None:
    site = Site.make(tmp_path)
    for number in range(2):
        site.put({b"%d.bin" % number: random_bytes(number, 5000), b"config.json": b"%d" % number})
    git("gc", "--quiet", "--prune=now", cwd=site.state / "repo.git")
    if damage in ("cut", "flipped"):  # a commit is only here
        site.remote.rename(tmp_path / "away")
        site.lay({b"waits.bin": random_bytes(20, 5000)})
        with pytest.raises(OutOfReachError):
            site.sync()
        (tmp_path / "away").rename(site.remote)
    files = list((site.state / "repo.git").glob(what))
    assert files
    for file in files:
        file.chmod(0o644)
        DAMAGES[damage](file)
    site.lay({b"new.bin": random_bytes(10, 5000)})
    site.sync()
    site.assert_mirrored()
