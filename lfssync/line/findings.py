"""What `doctor` finds: one line for each check, whether anything would fail, and what exactly to do about it.

Stands beside the line, below `doctor`, which gathers the facts. Every judgement here is pure. The one thing to know:
what is not `ok` will fail; what is merely worth knowing is `ok` and has a remedy all the same.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from lfssync.errors import LfssyncError
from lfssync.line.settle import Writer
from lfssync.model import human_bytes

HEADROOM_BYTES = 256 << 20
"""So much room a disk should have besides what is known to be written to it."""

FEW_INODES = 1000
CLOCK_S = 300.0
"""Signed addresses and tokens of hosts bear no larger difference between two clocks."""

KEYRING = "keyring"
SHELL = frozenset({"LFSSYNC_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
"""Sources of logins: the first asks for a session of the user's, the others are variables."""

SAMPLE = 3
"""So many names are told of many."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one check.

    Args:
        check: What was looked at: one word.
        ok: False when something would fail.
        message: What was found.
        remedy: What to do about it; empty when there is nothing to do.
        mirror: The mirror that it is about; empty for what is about all of them.
        kind: What kind of error it would be, as `LfssyncError.kind`; empty when it is `ok`.
    """

    check: str
    ok: bool
    message: str
    remedy: str = ""
    mirror: str = ""
    kind: str = ""


def failure(check: str, error: LfssyncError, mirror: str = "") -> Finding:
    """What an error says about a check."""
    return Finding(check, False, error.message, error.remedy, mirror, error.kind)


@dataclass(frozen=True, slots=True)
class Tree:
    """What there is to mirror in a directory.

    Args:
        files: How many files and links.
        size_bytes: Of all of them.
        largest_bytes: Of the largest.
        folders: How many folders have to be watched.
        unreadable: What may not be read, by name.
        writers: What the kernel says about writers of one of the files; None when there is none to ask about.
    """

    files: int
    size_bytes: int
    largest_bytes: int
    folders: int
    unreadable: tuple[str, ...]
    writers: Writer | None


def of_directory(tree: Tree, mirror: str) -> Finding:
    """Whether all of a directory can be read."""
    if tree.unreadable:
        names = ", ".join(tree.unreadable[:SAMPLE])
        more = f" and {len(tree.unreadable) - SAMPLE} more" if len(tree.unreadable) > SAMPLE else ""
        remedy = "mend their permissions, or leave them out with `ignore`"
        return Finding("directory", False, f"{names}{more} may not be read", remedy, mirror, "offline")
    counted = f"{_count(tree.files, 'file')} in {_count(tree.folders, 'folder')}"
    found = f"{counted}, {human_bytes(tree.size_bytes)}, all can be read"
    return Finding("directory", True, found, mirror=mirror)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'s'[: number != 1]}"


def of_writers(tree: Tree, quiet: str, mirror: str) -> Finding | None:
    """Whether the kernel can tell about programs that still write; None when there was no file to try it with."""
    if tree.writers is None:
        return None
    if tree.writers is Writer.UNKNOWN:
        message = f"who writes cannot be told there: a file is taken once it has stood still for {quiet}"
        remedy = "run lfssync as the owner of the files, or make `quiet` longer than the pauses of whoever writes"
        return Finding("writers", True, message, remedy, mirror)
    return Finding("writers", True, "the kernel tells who still writes a file", mirror=mirror)


def of_file_system(reason: str | None, rescan: str, mirror: str) -> Finding:
    """Whether changes are noticed at once.

    Args:
        reason: Why not, see `watch.polling_reason`.
        rescan: How often the whole tree is looked at instead, in words.
        mirror: Whose directory it is.
    """
    if reason:
        remedy = "make `rescan` shorter if that is too seldom"
        return Finding("changes", True, f"{reason}: the whole tree is looked at every {rescan}", remedy, mirror)
    return Finding("changes", True, "changes are noticed at once", mirror=mirror)


def of_pause(words: str, mirror: str) -> Finding:
    """What it means that somebody paused a mirror."""
    return Finding("paused", True, f"nothing is committed or sent: it is {words}", f"lfssync resume {mirror}", mirror)


def of_rate(mirror: str) -> Finding:
    """What becomes of `rate_limit` where the stock program may have to move the objects."""
    message = "rate_limit does not hold for what git-lfs itself sends, as it does where the host speaks SSH alone"
    return Finding("rate", True, message, "give the host an https address to have it hold", mirror)


def of_watches(reason: str | None, folders: int) -> Finding:
    """Whether the system allows so many watches; without them the tree is looked at from time to time only."""
    if reason:
        message, _, remedy = reason.partition("; ")
        return Finding("inotify", False, message, remedy, kind="failed")
    return Finding("inotify", True, f"enough watches for {_count(folders, 'folder')}")


def of_room(where: str, free_bytes: int, free_inodes: int | None, wanted_bytes: int, mirror: str) -> Finding:
    """Whether a disk has room.

    Args:
        where: What is there, in words.
        free_bytes: How much is free for us.
        free_inodes: How many files can still be made; None where the file system has no limit.
        wanted_bytes: How much will be written.
        mirror: Whose it is.
    """
    wanted_bytes += HEADROOM_BYTES
    if free_bytes < wanted_bytes:
        message = f"{where} has {human_bytes(free_bytes)} free, {human_bytes(wanted_bytes)} may be needed"
        return Finding("room", False, message, "free disk space there", mirror, "offline")
    if free_inodes is not None and free_inodes < FEW_INODES:
        message = f"{where} has room for {free_inodes} more files only"
        return Finding("room", False, message, "delete files there: its inodes are used up", mirror, "offline")
    return Finding("room", True, f"{where} has {human_bytes(free_bytes)} free", mirror=mirror)


def of_clock(ahead_s: float, host: str, mirror: str) -> Finding:
    """Whether our clock and a host's agree.

    Args:
        ahead_s: How far ours is ahead, in seconds.
        host: Whose clock it is compared with.
        mirror: Whose host it is.
    """
    if abs(ahead_s) > CLOCK_S:
        side = "ahead of" if ahead_s > 0 else "behind"
        message = f"this machine's clock is {abs(ahead_s):.0f} s {side} that of {host}"
        return Finding("clock", False, message, "set it: sudo timedatectl set-ntp true", mirror, "failed")
    return Finding("clock", True, f"agrees with that of {host}", mirror=mirror)


def of_certificates(is_checked: bool, host: str, mirror: str) -> Finding:
    """What becomes of `http.sslVerify`; the host has shown a certificate that convinces."""
    if is_checked:
        return Finding("host", True, f"{host} answers", mirror=mirror)
    message = f"{host} answers; lfssync checks its certificate although git's http.sslVerify is off"
    remedy = "switch it on, or name the host's authority in http.sslCAInfo: git itself trusts anybody now"
    return Finding("host", True, message, remedy, mirror)


@dataclass(frozen=True, slots=True)
class Service:
    """What a daemon finds that the user's service manager runs.

    Args:
        has_manager: Whether systemd runs here at all.
        bus: Where the user's own bus would be.
        has_bus: Whether it is there.
        lingers: Whether the user's services go on after the user has logged out.
    """

    has_manager: bool
    bus: str
    has_bus: bool
    lingers: bool


def of_service(service: Service, sources: Collection[str], user: str) -> Finding | None:
    """Whether a service of the user can do what is done here; None where there are no such services.

    Args:
        service: What it would find.
        sources: Who had the logins here, as `Credential.source`.
        user: Whose it would be.
    """
    if not service.has_manager:
        return None
    if KEYRING in sources and not service.has_bus:
        message = f"a service cannot reach the keyring that has the login: there is no {service.bus}"
        remedy = "install dbus-user-session and log in anew, or give the service a systemd credential named lfssync"
        return Finding("service", False, message, remedy, kind="unauthorized")
    if shell := sorted(source for source in sources if source in SHELL):
        message = f"{' and '.join(shell)} of this shell is not there for a service"
        return Finding("service", True, message, "keep the token in the keyring: lfssync login HOST")
    if not service.lingers:
        message = "a service of yours ends when you log out"
        return Finding("service", True, message, f"loginctl enable-linger {user}")
    return Finding("service", True, "a service of yours goes on when you log out")
