"""One call to the system's keyring, in a process of its own: chooses the backend, does one thing, answers, ends.

Started by `keyrings`, which ends it when it does not come back: a keyring asks people questions, and nobody may be
there. Request and answer are JSON over pipes. The one thing to know: the backend comes from the list below and from
nowhere else. keyring's own choice may be plain text (keyrings.alt brings that), a file of the user's may name any code,
and so may the environment; none of the three is looked at.

A user name is kept beside the secret, in the same service, under `USER_NAME`: not every backend can list what it has.

Source: keyring/core.py and keyring/backends of keyring 25.7; keyrings/alt/file.py of keyrings.alt 5.0.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from typing import Any

FILE = "encrypted file"
BACKENDS = (
    ("Secret Service", "keyring.backends.SecretService", "Keyring"),
    ("KWallet", "keyring.backends.kwallet", "DBusKeyring"),
    ("macOS keychain", "keyring.backends.macOS", "Keyring"),
    ("Windows credential store", "keyring.backends.Windows", "WinVaultKeyring"),
    (FILE, "keyrings.alt.file", "EncryptedKeyring"),
)
"""What may keep a secret: a name for people, and the class."""

_ONLY_ON = {"macOS keychain": "darwin", "Windows credential store": "win32"}
"""Elsewhere not even looked at: macOS's has Python look for its libraries, which runs the compiler and the linker."""

USER_NAME = "lfssync:username"
"""The entry that holds the user name; no real one has a colon, since HTTP logins end there."""

_SHUT = ("KeyringLocked", "InitError", "PromptDismissedException", "LockedException")
"""What backends raise when a question was not answered, or answered with no."""

_NEEDS_BUS = ("Secret Service", "KWallet")
NO_BUS = "there is no D-Bus session bus"

FILE_PLACE = ("python_keyring", "crypted_pass.cfg")
"""Where the encrypted file is, beneath the user's `XDG_DATA_HOME`."""

Answer = dict[str, Any]


class Nowhere(Exception):
    """There is no keyring that may keep a secret."""


class Locked(Exception):
    """The keyring is there, and stays shut."""


def choose(phrase: str) -> tuple[str, Any]:
    """The best backend of those that are there; keyring's own order decides among them.

    Args:
        phrase: What opens an encrypted file, or empty.

    Raises:
        Nowhere: There is none; says why.
        Locked: It is there, but needs a password.
    """
    has_bus = bool(os.environ.get("DBUS_SESSION_BUS_ADDRESS"))
    found: list[tuple[float, str, Any]] = []
    for name, module, kind in BACKENDS:
        if (name in _NEEDS_BUS and not has_bus) or _ONLY_ON.get(name, sys.platform) != sys.platform:
            continue
        with contextlib.suppress(Exception):  # a backend that is not for this machine says so in many ways
            backend = getattr(importlib.import_module(module), kind)
            found.append((float(backend.priority), name, backend))
    for _, name, backend in sorted(found, key=lambda one: one[0], reverse=True):
        made = backend()
        if name == FILE:
            if not os.path.exists(made.file_path):
                continue  # making one takes a person who chooses its password
            _open_file(made, phrase)
        return name, made
    raise Nowhere("no Secret Service answers" if has_bus else NO_BUS)


def _open_file(backend: Any, phrase: str) -> None:
    if not phrase:
        raise Locked
    backend.keyring_key = phrase
    try:
        opened = backend.get_password("keyring-setting", "password reference") == "password reference value"
    except (AssertionError, ValueError):
        opened = False
    if not opened:
        raise Locked


def handle(request: dict[str, str], backend: Any) -> Answer:
    """Do what is asked for.

    Args:
        request: `action` is `look`, `find`, `keep` or `forget`; `service`, `username` and `secret` go with it.
        backend: A keyring.
    """
    from keyring.errors import PasswordDeleteError

    action, service = request["action"], request.get("service", "")
    if action == "look":
        backend.get_password("lfssync", USER_NAME)  # a locked one shows itself only when it is asked for something
        return {}
    username = backend.get_password(service, USER_NAME)
    if action == "find":
        secret = backend.get_password(service, username) if username else None
        return {"username": username, "secret": secret} if secret else {}
    gone = [username, USER_NAME] if username else []
    if action == "keep":
        backend.set_password(service, request["username"], request["secret"])
        backend.set_password(service, USER_NAME, request["username"])
        gone = [username] if username and username != request["username"] else []
    for entry in gone:
        with contextlib.suppress(PasswordDeleteError):  # half of it was gone before
            backend.delete_password(service, entry)
    return {"was_there": bool(username)}


def _say(answer: Answer) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _is_empty(name: str) -> bool:
    """Whether a Secret Service holds nothing yet: asking it would have the user make a keyring only to find that out.

    Says at once that it is locked, or not even made, since the answer to the question that follows may never come.
    """
    if name != "Secret Service":
        return False
    secretstorage = importlib.import_module("secretstorage")
    with contextlib.closing(secretstorage.dbus_init()) as bus:
        try:
            is_empty, is_locked = False, secretstorage.get_collection_by_alias(bus, "default").is_locked()
        except secretstorage.ItemNotFoundException:
            is_empty = is_locked = True
    if is_locked:
        _say({"state": "locked", "backend": name})
    return is_empty


def answer(request: dict[str, str]) -> Answer:
    """Choose a backend and do what is asked for; every failure is an answer as well."""
    name = FILE
    try:
        name, backend = choose(request.get("phrase", ""))
        if _is_empty(name) and request["action"] != "keep":
            return {"state": "ready", "backend": name}
        return {"state": "ready", "backend": name} | handle(request, backend)
    except Nowhere as error:
        return {"state": "missing", "reason": str(error)}
    except Locked:
        return {"state": "locked", "backend": name}
    except Exception as error:  # noqa: BLE001 (whatever a backend raises is its answer)
        if type(error).__name__ in _SHUT:
            return {"state": "locked", "backend": name}
        secret, words = request.get("secret", ""), str(error)
        told = "" if secret and secret in words else f" {words}"
        return {"state": "failed", "backend": name, "reason": f"{type(error).__name__}{told}"}


def main() -> None:
    """Answer one request on standard input."""
    request = json.loads(sys.stdin.buffer.read())
    sys.path += [entry for entry in request.pop("path") if entry not in sys.path]
    _say(answer(request))


if __name__ == "__main__":
    main()
