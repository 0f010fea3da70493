"""What the callbacks of all libraries have in common: their arguments, and what they can be asked.

Each adapter is a class of its library and of this one. The one thing to know: what a callback does must never reach the
training, so every hook of an adapter runs within `harmless`, and only in the process that is the first of all.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

from lfssync.integrations.ranks import is_first
from lfssync.integrations.session import FLUSH_TIMEOUT_S, Training
from lfssync.model import Receipt

_log = logging.getLogger("lfssync")


class Mirroring:
    """A training whose folder is mirrored.

    Where a running daemon mirrors the folder, that does the work. Else a process is started that does so until the
    training ends.

    Args:
        remote: Where to mirror if no daemon does so, as for `lfssync add`; None for where the configuration says.
        directory: What to mirror; None for what the library saves into, where it says so.
        timeout_s: How long the end of the training may wait until everything has arrived, in seconds.
        create: Whether the repository is created on its host if it is missing.
        keys: More keys of a `[[mirror]]`, such as `branch="runs/7"` or `quiet="30s"`, where no daemon mirrors yet.
    """

    def __init__(
        self, remote: str | None = None, *, directory: str | os.PathLike[str] | None = None,
        timeout_s: float = FLUSH_TIMEOUT_S, create: bool = False, **keys: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self._lfssync_directory = directory
        if create:
            keys = {"create": "private"} | keys
        self._lfssync = Training(remote, timeout_s, keys)

    @property
    def receipt(self) -> Receipt | None:
        """What the remote confirmed at the end of the last training; None when it did not."""
        return self._lfssync.receipt

    def close(self) -> None:
        """End what was started for this training. That happens by itself when the program ends."""
        self._lfssync.close()


@contextlib.contextmanager
def harmless() -> Iterator[None]:
    """Let nothing but an interruption by the user out of a hook."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  a training is worth more than its mirror
        _log.warning("internal: %s: %s; training goes on, please report it", type(error).__name__, error)


def acts(is_first_of_all: bool | None = None) -> bool:
    """Whether this process is the one that acts.

    Args:
        is_first_of_all: What the library says; None when it does not.
    """
    return is_first(os.environ) if is_first_of_all is None else is_first_of_all


def numbers(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """The metrics that are numbers, also those that come as tensors."""
    found = {}
    for name, value in (metrics or {}).items():
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            found[str(name)] = float(value)
    return found


def missing(module: str, package: str) -> ImportError:
    """The error where a library is not installed."""
    return ImportError(
        f"lfssync.integrations.{module} needs {package}; install it: pip install {package}", name=package
    )
