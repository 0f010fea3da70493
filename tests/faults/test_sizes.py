"""Files of sizes that others stumble over: nothing, exactly 4 GiB, more than 5 GB.

Fault 25. They are holes, on a file system that can clone, so they are read and take no room.
"""

from __future__ import annotations

from pathlib import Path

from tests.faults.mounts import disk, own_mounts
from tests.helpers import git
from tests.integration.site import Site

SIZES_BYTES = {"empty": 0, "4GiB.bin": 4 << 30, "5GB.bin": 5_000_000_001}
OIDS = {  # of so many zeros, by sha256sum
    "4GiB.bin": "8479e43911dc45e89f934fe48d01297e16f51d17aa561d4d1c216b1ae0fcddca",
    "5GB.bin": "ae9fd3925375ae14a46deff72adf3dab28e753dbf14759922119af386b7bdc68",
}


def test_nothing_and_exactly_4_gib_and_more_than_5_gb(tmp_path: Path) -> None:
    with own_mounts(), disk("xfs", tmp_path / "image", tmp_path / "disk"):
        site = Site.make(tmp_path / "disk")
        for name, size in SIZES_BYTES.items():
            with (site.directory / name).open("wb") as file:
                file.truncate(size)
        result = site.sync()
        assert result.receipt
        assert result.receipt.object_bytes == sum(SIZES_BYTES.values())
        assert git("cat-file", "blob", "main:empty", cwd=site.remote) == b""
        for name, oid in OIDS.items():
            pointer = git("cat-file", "blob", f"main:{name}", cwd=site.remote).decode()
            assert f"oid sha256:{oid}\nsize {SIZES_BYTES[name]}\n" in pointer
            stored = site.remote / "lfs/objects" / oid[:2] / oid[2:4] / oid
            assert stored.stat().st_size == SIZES_BYTES[name]
        again = site.sync()
        assert (again.added, again.changed, again.sent_bytes) == (0, 0, 0)
