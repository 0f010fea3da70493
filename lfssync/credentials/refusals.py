"""Which logins a host refused, so that nobody tries them again and again (faults 38).

Used by `ladder`. A small file in the state folder: where and when, and a salted, slow hash of the secret, from which
nobody gets the secret back. The one thing to know: a host also says 401 for a repository that is not there (the
Hugging Face Hub does), so what is refused is a secret at one repository; only one that several repositories of a host
refused is of no use there at all. A refusal lapses soon, for hosts that were themselves in trouble; until then the
daemon's own pauses after a refused login have grown longer than that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

LAPSE_S = 300.0
EVERYWHERE = 3
"""A secret that so many repositories of a host refused is refused by the host."""

_KEPT_MAX = 200


@dataclass(frozen=True, slots=True)
class Refusal:
    """A host said no: to which secret (its digest), where, and when in seconds since the epoch."""

    host: str
    path: str
    digest: str
    at: float


def is_refused(refusals: Sequence[Refusal], host: str, path: str, digest: str, now: float) -> bool:
    """Whether a secret is not to be offered to a repository.

    Args:
        refusals: All that are known.
        host: `host[:port]`.
        path: The repository on it.
        digest: Of the secret.
        now: Seconds since the epoch.
    """
    paths = {one.path for one in _alive(refusals, now) if (one.host, one.digest) == (host, digest)}
    return path in paths or len(paths) >= EVERYWHERE


def _alive(refusals: Sequence[Refusal], now: float) -> list[Refusal]:
    """Those that still count; a clock that was put back makes none last longer."""
    return [one for one in refusals if abs(now - one.at) < LAPSE_S]


@dataclass(slots=True)
class Refusals:
    """The refusals of one installation; several processes may use the file, and the last word wins.

    Args:
        file: Where they are kept.
        now: Gives seconds since the epoch.
    """

    file: Path
    now: Callable[[], float] = time.time
    _digests: dict[tuple[str, str], str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Differs whenever the file does: somebody logged in or out, or was refused."""
        try:
            status = self.file.stat()
        except OSError:
            return 0, 0, 0
        return status.st_ino, status.st_mtime_ns, status.st_size

    def has(self, host: str, path: str, secret: str) -> bool:
        """Whether a secret was refused at a repository, or everywhere on its host."""
        with self._lock:
            salt, refusals = self._read()
            if not any(one.host == host for one in refusals):
                return False
            return is_refused(refusals, host, path, self._digest(salt, secret), self.now())

    def add(self, host: str, path: str, secret: str) -> None:
        """Remember that a repository's host refused a secret; a disk that does not take it is no reason to fail."""
        with self._lock, contextlib.suppress(OSError):
            salt, refusals = self._read()
            digest, now = self._digest(salt, secret), self.now()
            kept = [one for one in _alive(refusals, now) if (one.host, one.path, one.digest) != (host, path, digest)]
            self._write(salt, [*kept[-_KEPT_MAX:], Refusal(host, path, digest, now)])

    def forget(self, host: str) -> None:
        """Somebody logged in or out: whatever that host refused may be tried again, and every process looks again."""
        with self._lock, contextlib.suppress(OSError):
            salt, refusals = self._read()
            self._write(salt, [one for one in refusals if one.host != host])

    def _digest(self, salt: str, secret: str) -> str:
        if (salt, secret) not in self._digests:
            self._digests = {}  # there are one or two secrets at a time
            raw = hashlib.scrypt(secret.encode(), salt=salt.encode(), n=1 << 12, r=8, p=1, dklen=16)
            self._digests[salt, secret] = raw.hex()
        return self._digests[salt, secret]

    def _read(self) -> tuple[str, list[Refusal]]:
        """The salt and what is known; a file that is none counts as empty."""
        try:
            document = json.loads(self.file.read_bytes())
            return str(document["salt"]), [
                Refusal(str(one["host"]), str(one["path"]), str(one["digest"]), float(one["at"]))
                for one in document["refused"]
            ]
        except (OSError, ValueError, TypeError, KeyError):
            return secrets.token_hex(16), []

    def _write(self, salt: str, refusals: list[Refusal]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = json.dumps({"salt": salt, "refused": [asdict(one) for one in refusals]})
        fd, name = tempfile.mkstemp(prefix=f".{self.file.name}.", dir=self.file.parent)  # readable for nobody else
        try:
            with open(fd, "w") as file:
                file.write(text)
            os.replace(name, self.file)
        except OSError:
            os.unlink(name)
            raise
