"""What would keep metrics and notifications from reaching anybody; a part of `doctor`.

Under `doctor`. The one thing to know: nothing is sent here. `lfssync notify` does that, when somebody wants it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from lfssync.configuration.config import Configuration
from lfssync.configuration.telling import Target
from lfssync.errors import LfssyncError, UserError
from lfssync.line.findings import Finding, failure
from lfssync.telling.senders import address_of, program_of


def findings_of(configuration: Configuration, environment: Mapping[str, str]) -> Iterator[Finding]:
    """What is to be said about the metrics and notifications of a configuration.

    Args:
        configuration: What is configured.
        environment: Usually `os.environ`.
    """
    telling = configuration.telling
    if telling.metrics is not None:
        message = f"to be had at http://{telling.metrics}/metrics"
        remedy = ""
        if not telling.metrics.is_loopback:
            message += " by everybody who reaches this machine"
            remedy = "choose 127.0.0.1, or have a firewall in front, unless that is meant"
        yield Finding("metrics", True, message, remedy)
    if telling.metrics_file is not None:
        yield _of_file(telling.metrics_file)
    for target in telling.targets:
        yield _of_target(target, environment)
    secrets = [configuration.file] if any(one.webhook for one in telling.targets) else []
    secrets += [one.webhook_file for one in telling.targets if one.webhook_file is not None]
    for file in secrets:
        if _is_open(file):
            yield Finding(
                "notify", True, f"other users can read the webhook's address in {file}", f"close it: chmod 600 {file}"
            )


def _of_file(file: Path) -> Finding:
    if os.access(file.parent, os.W_OK | os.X_OK):
        return Finding("metrics", True, f"written into {file}")
    error = UserError(f"{file.parent} cannot be written", "make it, or mend its permissions")
    return failure("metrics", error)


def _of_target(target: Target, environment: Mapping[str, str]) -> Finding:
    try:
        if target.webhook or target.webhook_file:
            address_of(target)
        else:
            program_of(target, environment)
    except LfssyncError as error:
        return failure("notify", error)
    return Finding("notify", True, f"{target.words}: {', '.join(sorted(target.on))}; lfssync notify tries it out")


def _is_open(file: Path) -> bool:
    try:
        return bool(stat.S_IMODE(file.stat().st_mode) & 0o044)
    except OSError:
        return False
