"""Which metrics there are, and how they come from what the daemon knows.

Pure but for `of_process`. The one thing to know: the only label that comes from outside is a mirror's name. Paths,
remotes and messages stay out: they would make ever more series, and may hold what is nobody else's business.
"""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lfssync import __version__
from lfssync.answers import MirrorStatus
from lfssync.model import State
from lfssync.telling.exposition import Family, Kind, Sample

FAILURES = ("offline", "blocked", "unauthorized", "usage", "failed")
"""Kinds of errors that are told apart; any other counts as the last."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known about a mirror at a moment; what is counted is counted since the daemon began with it.

    Args:
        status: What `status` says.
        pending_since: When the oldest change that waits was noticed, in seconds since the epoch; None if none waits.
        passes: How many passes ended.
        failures: How many of them failed, by the kind of the error.
        releases: How many releases were verified.
        read_bytes: How much was read to be hashed.
        sent_bytes: How much of LFS objects was sent.
        lost_events: How often it had to look at everything because events were lost, or watching began.
        rescans: How often it looked at everything because it was time.
    """

    status: MirrorStatus
    pending_since: float | None = None
    passes: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    releases: int = 0
    read_bytes: int = 0
    sent_bytes: int = 0
    lost_events: int = 0
    rescans: int = 0


def of_mirrors(mirrors: Sequence[Measured], now: float) -> list[Family]:
    """The metrics about mirrors.

    Args:
        mirrors: What is known about each.
        now: Seconds since the epoch.
    """
    found = [
        Family("lfssync_state", Kind.GAUGE, "1 for the state that the mirror is in, 0 for all others.", tuple(
            Sample(float(one.status.state is state), {"mirror": one.status.name, "state": state.value})
            for one in mirrors
            for state in State
        )),
        Family("lfssync_pass_failures", Kind.COUNTER, "Passes that failed, by the kind of the error.", tuple(
            Sample(one.failures.get(kind, 0), {"mirror": one.status.name, "kind": kind})
            for one in mirrors
            for kind in FAILURES
        )),
    ]  # fmt: skip
    for name, kind, help_, unit, value in _COLUMNS:
        numbers = ((one.status.name, value(one, now)) for one in mirrors)
        samples = tuple(Sample(number, {"mirror": mirror}) for mirror, number in numbers if number is not None)
        found.append(Family(name, kind, help_, samples, unit))
    return found


def _age_s(one: Measured, now: float) -> float:
    return 0.0 if one.pending_since is None else max(now - one.pending_since, 0.0)


_Value = Callable[[Measured, float], float | None]
_COLUMNS: tuple[tuple[str, Kind, str, str, _Value], ...] = (
    ("lfssync_pending_files", Kind.GAUGE, "Files not delivered yet.", "", lambda one, _: one.status.pending_files),
    (
        *("lfssync_pending_bytes", Kind.GAUGE, "Size of the files not delivered yet.", "bytes"),
        lambda one, _: one.status.pending_bytes,
    ),
    (
        *(
            "lfssync_pending_age_seconds",
            Kind.GAUGE,
            "How long the oldest change has waited; 0 if none does.",
            "seconds",
        ),
        _age_s,
    ),
    (
        *("lfssync_verified_timestamp_seconds", Kind.GAUGE, "When the remote last confirmed what it holds.", "seconds"),
        lambda one, _: one.status.verified_at,
    ),
    ("lfssync_passes", Kind.COUNTER, "Passes that ended, however.", "", lambda one, _: one.passes),
    ("lfssync_releases", Kind.COUNTER, "Releases verified on the remote.", "", lambda one, _: one.releases),
    ("lfssync_read_bytes", Kind.COUNTER, "Bytes read and hashed.", "bytes", lambda one, _: one.read_bytes),
    ("lfssync_sent_bytes", Kind.COUNTER, "Bytes of LFS objects sent.", "bytes", lambda one, _: one.sent_bytes),
    (
        *("lfssync_lost_events", Kind.COUNTER, "How often events were lost, or watching began.", ""),
        lambda one, _: one.lost_events,
    ),
    ("lfssync_rescans", Kind.COUNTER, "Looks at everything that were due.", "", lambda one, _: one.rescans),
)


def of_daemon(mirrors: int, complaints: int, began_at: float) -> list[Family]:
    """The metrics about the daemon.

    Args:
        mirrors: How many it has.
        complaints: How many things are wrong with the daemon itself.
        began_at: When it began, in seconds since the epoch.
    """

    def gauge(name: str, help: str, value: float, unit: str = "") -> Family:
        return Family(name, Kind.GAUGE, help, (Sample(value),), unit)

    build = Sample(1, {"version": __version__, "python": platform.python_version()})
    return [
        Family("lfssync_build", Kind.INFO, "Which lfssync this is.", (build,)),
        gauge("lfssync_start_timestamp_seconds", "When the daemon began.", began_at, "seconds"),
        gauge("lfssync_mirrors", "Mirrors that the daemon looks after.", mirrors),
        gauge("lfssync_complaints", "Things that are wrong with the daemon itself; `status` names them.", complaints),
    ]


def of_process() -> list[Family]:
    """The metrics about the process, as far as the system tells. Source: proc(5), getrusage(2)."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    found: list[tuple[str, Kind, str, float, str]] = [
        ("process_cpu_seconds", Kind.COUNTER, "Processor time.", usage.ru_utime + usage.ru_stime, "seconds")
    ]
    try:
        with open("/proc/self/statm", "rb") as file:
            resident = int(file.read().split()[1]) * resource.getpagesize()
        found.append(("process_resident_memory_bytes", Kind.GAUGE, "Resident memory.", resident, "bytes"))
        descriptors = len(os.listdir("/proc/self/fd")) - 1  # one of them is the listing's own
        found.append(("process_open_fds", Kind.GAUGE, "Open descriptors.", descriptors, ""))
    except (OSError, ValueError, IndexError):
        pass  # another system than Linux
    return [Family(name, kind, help, (Sample(value),), unit) for name, kind, help, value, unit in found]


def families(
    mirrors: Mapping[str, Measured], complaints: int, began_at: float, now: float | None = None
) -> list[Family]:
    """All metrics.

    Args:
        mirrors: What is known about each, by name.
        complaints: How many things are wrong with the daemon itself.
        began_at: When it began, in seconds since the epoch.
        now: Seconds since the epoch; None for this moment.
    """
    moment = time.time() if now is None else now
    known = [mirrors[name] for name in sorted(mirrors)]
    return [*of_daemon(len(known), complaints, began_at), *of_mirrors(known, moment), *of_process()]
