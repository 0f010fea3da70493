"""Uploads files in a process of its own, which a test may kill or take rights from; prints the error, if there is one.

python -m tests.contract.operate KIND URL GIT_DIR FILE...
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from lfssync.errors import LfssyncError
from lfssync.model import LfsObject, silent
from lfssync.transfer import Source
from tests.contract.places import transfer_to


def main(kind: str, url: str, git_dir: str, *files: str) -> None:
    """Upload the files."""
    sources = []
    for file in files:
        fd = os.open(file, os.O_RDONLY)
        with open(file, "rb") as content:
            oid = hashlib.file_digest(content, "sha256").hexdigest()
        sources.append(Source(LfsObject(oid, os.fstat(fd).st_size), fd, os.fsencode(file)))
    try:
        transfer_to(kind, url, Path(git_dir)).upload(sources, silent)
    except LfssyncError as error:
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
