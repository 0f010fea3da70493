"""What the daemon tells about itself, and to whom: `[daemon]` and `[[notify]]` of the configuration file.

Stands below the line, beside `config`, which reads the mirrors. The one thing to know: the address of a webhook is as
good as a password, so no message and no repr has more of it than its host.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from lfssync.configuration.patterns import unescape
from lfssync.configuration.settings import absolute_path, choice, string
from lfssync.configuration.tables import Table
from lfssync.errors import UserError
from lfssync.places import Places
from lfssync.rules.remotes import has_control_character, is_loopback

KEYS = ("metrics", "metrics_file")
"""What may stand in `[daemon]`."""

TARGETS_MAX = 8
_KINDS = ("webhook", "webhook_file", "command", "desktop")


class Occasion(StrEnum):
    """What a notification may be about."""

    FAILURE = "failure"
    RECOVERY = "recovery"
    RELEASE = "release"


class Address(NamedTuple):
    """Where to listen: an IP address and a port."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach it."""
        return ipaddress.ip_address(self.host).is_loopback

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(NamedTuple):
    """Who is notified; one of the first four is given.

    Args:
        webhook: The address that gets a JSON document.
        webhook_file: The file that holds such an address.
        command: A program and its arguments, which gets the JSON document on its standard input.
        desktop: Whether it is shown on the user's desktop.
        on: About what.
    """

    webhook: str = ""
    webhook_file: Path | None = None
    command: tuple[str, ...] = ()
    desktop: bool = False
    on: frozenset[Occasion] = frozenset(Occasion)

    def __repr__(self) -> str:
        return f"Target({self.words})"  # the address of a webhook is a secret

    @property
    def words(self) -> str:
        """What to call it, without what is secret."""
        if self.webhook:
            return f"webhook at {host_of(self.webhook)}"
        if self.webhook_file:
            return f"webhook of {self.webhook_file}"
        return f"command {self.command[0]}" if self.command else "desktop"


class Telling(NamedTuple):
    """What the daemon tells.

    Args:
        metrics: Where it answers with metrics; None for nowhere.
        metrics_file: The file that it writes them into; None for none.
        targets: Who is notified.
    """

    metrics: Address | None = None
    metrics_file: Path | None = None
    targets: tuple[Target, ...] = ()


def telling(top: Table, places: Places) -> Telling:
    """What a configuration file says about it.

    Args:
        top: The whole file.
        places: What `~` stands for.

    Raises:
        UserError: Something in it is wrong; says where.
    """
    daemon = top.below("daemon")
    daemon.check_keys(KEYS, "in [daemon]", {})
    metrics = daemon.convert("metrics", address, None)
    file = daemon.convert("metrics_file", lambda value: _metrics_file(value, places.home), None)
    targets = tuple(_target(one, places) for one in top.each_below("notify"))
    if len(targets) > TARGETS_MAX:
        top.refuse(
            UserError(f"there are more than {TARGETS_MAX} [[notify]]", "have a command tell the others"), "notify"
        )
    return Telling(metrics, file, targets)


def address(value: Any) -> Address:
    """An IP address and a port.

    Raises:
        UserError: It is none.
    """
    text = string(value)
    host, colon, port = text.rpartition(":")
    host = {"localhost": "127.0.0.1"}.get(host, host[1:-1] if host[:1] + host[-1:] == "[]" else host)
    try:
        number = int(port) if port.isascii() and port.isdigit() else 0
        if not colon or not 0 < number < 1 << 16:
            raise ValueError
        return Address(str(ipaddress.ip_address(host)), number)
    except ValueError:
        remedy = 'write it like "127.0.0.1:9465", or "0.0.0.0:9465" for everybody who reaches this machine'
        raise UserError(f"{text!r} is not an IP address and a port", remedy) from None


def webhook(value: Any) -> str:
    """The address of a webhook.

    Raises:
        UserError: It is none that may be sent to; does not repeat it.
    """
    text = string(value)
    try:
        parts = urlsplit(text)
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        is_good = is_safe and bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or has_control_character(text) or " " in text:
        raise UserError("it is not an https:// address", "copy it from where the webhook was made")
    return text


def host_of(url: str) -> str:
    """The host of a webhook's address, which is all of it that may be shown."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _path(value: Any, home: Path) -> Path:
    return Path(unescape(absolute_path(value, home)))


def _metrics_file(value: Any, home: Path) -> Path:
    path = _path(value, home)
    if path.suffix != ".prom":
        raise UserError(f"{path} does not end in .prom", "node_exporter reads no others; call it lfssync.prom")
    return path


def _target(source: Table, places: Places) -> Target:
    source.check_keys((*_KINDS, "on"), "in [[notify]]", {})
    given = [kind for kind in _KINDS if kind in source.merged]
    if len(given) != 1:
        what = f"[[notify]] has {' and '.join(given)}" if given else "[[notify]] does not say whom"
        source.refuse(UserError(what, f"give one of {', '.join(_KINDS)}"), given[-1] if given else "")
    file = source.convert("webhook_file", lambda value: _path(value, places.home), None)
    return Target(
        source.convert("webhook", webhook, ""),
        file,
        source.convert("command", lambda value: _command(value, places.home), ()),
        source.convert("desktop", _desktop, False),
        source.convert("on", _occasions, frozenset(Occasion)),
    )


def _command(value: Any, home: Path) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(word, str) and word for word in value):
        raise UserError("must be an array of strings", 'write it like ["/usr/local/bin/tell", "--quiet"]')
    if any("\0" in word for word in value):
        raise UserError("has a NUL character", "leave it out")
    return (str(_path(value[0], home)), *value[1:])


def _desktop(value: Any) -> bool:
    if value is not True:
        raise UserError("must be true", "leave the whole [[notify]] out otherwise")
    return True


def _occasions(value: Any) -> frozenset[Occasion]:
    if not isinstance(value, list) or not value:
        raise UserError("must be an array", 'write it like ["failure", "recovery", "release"]')
    convert = choice(Occasion)
    return frozenset(Occasion(convert(word)) for word in value)
