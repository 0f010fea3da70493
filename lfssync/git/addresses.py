"""What the user's git configuration says, and where git really goes for an address: `insteadOf` and `pushInsteadOf`.

Below `gitcommand`, which reads the configuration once and hands it out; what is decided from it costs nothing. The one
thing to know: git follows `url.<base>.insteadOf` by itself, so only who does not go through git has to ask here; and
what comes out has to be checked like any address.

Source: git-config(1), `--list --show-scope --show-origin -z` and `url.<base>.insteadOf`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Setting(NamedTuple):
    """One value: whose it is (`system`, `global`, `local`, `command`), its key as git writes it, and the value."""

    scope: str
    key: str
    value: str


def settings_of(listed: bytes) -> list[tuple[str, Setting]]:
    """What `git config --list --show-scope --show-origin -z` printed: where each setting stands, and the setting.

    A key without a value has an empty one.
    """
    words = listed.decode("utf-8", "surrogateescape").split("\0")
    rows = zip(words[::3], words[1::3], words[2::3], strict=False)
    return [
        (origin, Setting(scope, key, value))
        for scope, origin, line in rows
        for key, _, value in (line.partition("\n"),)
    ]


def last_value(settings: Sequence[Setting], key: str) -> str:
    """The value that counts for a key: the last one; empty when there is none."""
    return next((one.value for one in reversed(settings) if one.key == key), "")


def fetched_from(url: str, settings: Sequence[Setting]) -> str:
    """Where git fetches from for an address: the longest `insteadOf` that fits decides."""
    return _rewritten(url, settings, ".insteadof") or url


def pushed_to(url: str, settings: Sequence[Setting]) -> str:
    """Where git pushes to for an address: the longest `pushInsteadOf` that fits decides, else `insteadOf` does."""
    return _rewritten(url, settings, ".pushinsteadof") or fetched_from(url, settings)


def _rewritten(url: str, settings: Sequence[Setting], ending: str) -> str:
    fitting = [
        one
        for one in settings
        if one.key.startswith("url.") and one.key.endswith(ending) and one.value and url.startswith(one.value)
    ]
    if not fitting:
        return ""
    best = max(fitting, key=lambda one: len(one.value))
    return best.key.removeprefix("url.").removesuffix(ending) + url.removeprefix(best.value)
