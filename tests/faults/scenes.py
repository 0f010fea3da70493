"""What is there and what happened before the pass that a fault meets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.faults.places import Site, sync
from tests.helpers import git, random_bytes, write


def first(place: Site, base: Path) -> None:
    """All is new: state, history, LFS objects."""
    for number in range(3):
        write(place.directory / f"weights-{number}.bin", random_bytes(number, 200_000))
    write(place.directory / "sub/config.json", b"{}")
    (place.directory / "link").symlink_to("sub")


def later(place: Site, base: Path) -> None:
    """Files changed, came and went; and somebody else has pushed meanwhile."""
    first(place, base)
    sync()
    without_lfs = ("-c", "filter.lfs.process=", "-c", "filter.lfs.smudge=cat", "-c", "filter.lfs.required=false")
    git(*without_lfs, "clone", "--quiet", place.repository, "theirs", cwd=base)
    work = base / "theirs"
    write(work / "theirs.txt", b"from the web")
    git("add", "theirs.txt", cwd=work)
    git("commit", "--quiet", "-m", "Edit on the web", cwd=work)
    git("push", "--quiet", cwd=work)
    write(place.directory / "weights-0.bin", random_bytes(10, 300_000))
    write(place.directory / "new/weights.bin", random_bytes(11, 3_000_000))
    write(place.directory / "sub/config.json", b'{"changed": true}')
    (place.directory / "weights-1.bin").unlink()


SCENES: dict[str, Callable[[Site, Path], None]] = {"first": first, "later": later}


def besides(scene: str) -> tuple[bytes, ...]:
    """What only the remote has in the end."""
    return (b"theirs.txt",) if scene == "later" else ()
