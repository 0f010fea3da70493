"""Whether an LFS server wants a login, and which: asked without one first, as git and git-lfs do.

Stands under `api`. The one thing to know: hosts hide what a stranger may not see, so to a request without a login not
only 401 means that there has to be one, but 403, 404 and 429 as well. Only then is anybody asked for it, since a
keyring takes its time and may have a question; and what a server wanted once it gets at once from then on.

Source: git-lfs docs/man/git-lfs-config.adoc, `lfs.<url>.access`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from lfssync.credentials import Credential, Credentials

WANTED = frozenset({401, 403, 404, 429})
"""Statuses that to a request without a login may mean that it takes one."""

WANTED_FILE = "logins-wanted"
_KEPT_MAX = 20


class Wishes:
    """The servers that wanted a login, in a small file: addresses, one a line.

    Args:
        file: Where; None where nothing is kept. What cannot be read or written is as if nobody had asked before.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._known = self._read()

    def has(self, url: str) -> bool:
        """Whether the server at an address wanted one."""
        return url in self._known

    def add(self, url: str) -> None:
        """The server at an address wanted one, and was content with it."""
        if self._file is None or url in self._known:
            return
        self._known = [*self._known, url][-_KEPT_MAX:]
        new = self._file.with_name(f"{self._file.name}.new")
        with contextlib.suppress(OSError):
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_text("".join(f"{one}\n" for one in self._known))
            os.replace(new, self._file)

    def _read(self) -> list[str]:
        try:
            return self._file.read_text().splitlines() if self._file else []
        except (OSError, UnicodeDecodeError):
            return []


class Login:
    """Which login is used for an address now; asked by several threads, of which one looks for the next.

    Args:
        credentials: Who knows logins.
        form: Makes an `Authorization` header of one, for an address.
        wishes: Who wanted one before.
        always: Tells of an address that nobody need be asked there without one.
    """

    def __init__(
        self,
        credentials: Credentials,
        form: Callable[[str, Credential], str],
        wishes: Wishes | None = None,
        always: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._credentials = credentials
        self._form = form
        self._wishes = wishes or Wishes()
        self._always = always
        self._lock = threading.Lock()
        self._current: dict[str, Credential | None] = {}

    def first(self, url: str) -> dict[str, str]:
        """What to send with a question: a login where one was looked for or is known to be wanted, else nothing."""
        return {} if self.is_open(url) else self.headers(url)

    def is_open(self, url: str) -> bool:
        """Whether nobody knows yet if there has to be a login."""
        with self._lock:
            return not (url in self._current or self._wishes.has(url) or self._always(url))

    def headers(self, url: str) -> dict[str, str]:
        """What to send along to who wants a login; nothing when nobody knows one."""
        with self._lock:
            if url not in self._current:
                self._current[url] = self._credentials.find(url)
            credential = self._current[url]
        return {} if credential is None else {"Authorization": self._form(url, credential)}

    def helped(self, url: str) -> None:
        """With a login the server answers what it did not answer without."""
        with self._lock:
            self._wishes.add(url)

    def refused(self, url: str, headers: Mapping[str, str]) -> bool:
        """Take note that these headers were not good enough.

        Returns:
            Whether there is another login to try.
        """
        with self._lock:
            credential = self._current.get(url)
            if credential is None:
                return False
            if headers.get("Authorization") == self._form(url, credential):  # else another thread was here before
                self._credentials.refused(url, credential)
                self._current[url] = self._credentials.find(url)
            return self._current[url] is not None
