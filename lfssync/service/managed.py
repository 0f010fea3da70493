"""What every service manager can say about the service, in the same words.

Between `systemd`, `launchd` and the commands `service ...`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lfssync.service.unit import Wish


@dataclass(frozen=True, slots=True)
class Condition:
    """How the service is.

    Args:
        name: What its manager calls it.
        file: What tells the manager about it; empty when it is not installed.
        starts_by_itself: Whether it starts with the login, or with the machine.
        state: The manager's own word, such as `active`, `activating` or `failed`.
        since: Since when it runs, in seconds since the epoch; None when it does not.
        pid: Its process, or 0.
        memory_bytes: What it and its children take; None when that is not counted.
        restarts: How often it was restarted after a failure.
        ended: How its last run ended, when that was not in order.
        says: What it says about itself.
        additions: Files of the user's that change it.
        changed: Whether its own file is not as we wrote it.
    """

    name: str
    file: str
    starts_by_itself: bool = False
    state: str = "inactive"
    since: float | None = None
    pid: int = 0
    memory_bytes: int | None = None
    restarts: int = 0
    ended: str = ""
    says: str = ""
    additions: tuple[str, ...] = ()
    changed: bool = False

    @property
    def is_active(self) -> bool:
        """Whether it runs, or is on the way there."""
        return self.state in ("active", "activating", "reloading")


class Service(Protocol):
    """The service of one user, as its manager keeps it. See `systemd.Systemd`."""

    @property
    def name(self) -> str:
        """What the manager calls it."""

    @property
    def shipped(self) -> str:
        """What comes with lfssync for this manager."""

    def install(self, wish: Wish) -> list[str]:
        """Install and start it; says what was done."""

    def uninstall(self) -> list[str]:
        """Stop and remove it; says what was done."""

    def start(self) -> list[str]:
        """Start it; says what was done."""

    def stop(self) -> list[str]:
        """Stop it; says what was done."""

    def condition(self) -> Condition:
        """How it is."""

    def log_command(self, count: str, follow: bool) -> list[str]:
        """The command that shows what it logged."""

    def lingers(self) -> bool:
        """Whether it runs while its user is not logged in."""

    def command(self, action: str) -> str:
        """How people ask for an action on it."""
