"""Logins that lie in the environment and in files: systemd's credentials, variables, the token file of huggingface_hub.

The middle rungs of `ladder`. The one thing to know: a token is worth something at one host only, so each of these says
for which host it is; the Hub's go to the Hub, and one that names no host is `ladder`'s to give or not.

Source: systemd.exec(5), "CREDENTIALS"; huggingface_hub constants.py and utils/_auth.py.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from lfssync.credentials import Credential
from lfssync.credentials.answering import split

ANYBODY = "lfssync"
"""The user name that goes with a token that came without one: hosts that know tokens take any."""

HUB = "huggingface.co"
_BYTES_MAX = 8192


def credential(secret: str, source: str, username: str = ANYBODY) -> Credential | None:
    """A login of words that somebody wrote down; None when they cannot be one."""
    secret, username = secret.strip(), username.strip()
    if not secret or not username or not (secret + username).isprintable() or len(secret) > _BYTES_MAX:
        return None
    return Credential(username, secret, source)


def hub_host(environment: Mapping[str, str]) -> str:
    """The host that stands for the Hugging Face Hub here: that of `HF_ENDPOINT`, where that is an address to trust."""
    endpoint = environment.get("HF_ENDPOINT", "").strip()
    return split(endpoint)[2] if endpoint else HUB


def hub_variable(environment: Mapping[str, str]) -> Credential | None:
    """The token in `HF_TOKEN`, or under its older name."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if found := credential(environment.get(name, ""), name):
            return found
    return None


def hub_file(environment: Mapping[str, str], home: Path) -> Credential | None:
    """What `hf auth login` left for all programs of the user."""
    cache = environment.get("XDG_CACHE_HOME") or str(home / ".cache")
    folder = environment.get("HF_HOME") or os.path.join(cache, "huggingface")
    path = environment.get("HF_TOKEN_PATH") or os.path.join(folder, "token")
    try:
        with Path(path).expanduser().open(encoding="utf-8") as file:
            return credential(file.read(_BYTES_MAX), "huggingface_hub's token file")
    except (OSError, ValueError, RuntimeError):
        return None


def own_variable(environment: Mapping[str, str]) -> Credential | None:
    """The token in `LFSSYNC_TOKEN`, whatever host it is for."""
    return credential(environment.get("LFSSYNC_TOKEN", ""), "LFSSYNC_TOKEN")


def systemd_credential(environment: Mapping[str, str], name: str) -> Credential | None:
    """What a service manager hands over: a token, or a user name and a token on two lines.

    Args:
        environment: Says where, in `CREDENTIALS_DIRECTORY`.
        name: `lfssync.HOST`, with `_PORT` where there is one; or `lfssync`. A name may have no colon there.
    """
    *username, secret = _systemd_text(environment, name).strip().splitlines() or [""]
    if len(username) > 1:
        return None
    return credential(secret, "systemd credential", *username)


def keyring_phrase(environment: Mapping[str, str]) -> str:
    """What opens an encrypted keyring file without a question; empty when nobody left it."""
    given = environment.get("KEYRING_PROPERTY_KEYRING_KEY", "")
    return given or _systemd_text(environment, "lfssync.keyring").rstrip("\n")


def _systemd_text(environment: Mapping[str, str], name: str) -> str:
    folder = environment.get("CREDENTIALS_DIRECTORY", "")
    if not os.path.isabs(folder) or "/" in name:
        return ""
    try:
        fd = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, encoding="utf-8") as file:
            return file.read(_BYTES_MAX) if is_private(os.fstat(fd), os.geteuid()) else ""
    except (OSError, ValueError):
        return ""


def is_private(status: os.stat_result, user: int) -> bool:
    """Whether a user is the only one who reads a file.

    What systemd lets the user of a service read by an access list belongs to root, and shows as the group's right.
    """
    is_ours = status.st_uid == user
    others = 0o077 if is_ours else 0o037
    return stat.S_ISREG(status.st_mode) and (is_ours or status.st_uid == 0) and not status.st_mode & others
