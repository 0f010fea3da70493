"""The connections under `client`: large blocks, a limit for every wait, and a way to break them off from outside.

Below the line. The one thing to know: a thread that waits for a server cannot be interrupted, but its socket can be
shut down, and that is how a transfer ends at once when it is told to stop.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from lfssync import __version__

BLOCK_BYTES = 1 << 20
"""Bodies go out and come in by blocks of this size: with 16 KiB, the default, a fifth of the speed."""

STALL_TIMEOUT_S = 60.0
"""An upload that makes no progress for so long has lost its connection."""


def session(live: Live) -> requests.Session:
    """A session that takes nothing from the environment and sends no header of its own but these three.

    Args:
        live: Receives its connections.
    """
    made = _Session()
    made.trust_env = False  # ~/.netrc would take the place of the Authorization header
    made.headers = CaseInsensitiveDict(
        {"User-Agent": f"lfssync/{__version__}", "Accept-Encoding": "identity", "Accept": "*/*"}
    )
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        made.mount(scheme, _Adapter(live))
    return made


class _Session(requests.Session):
    """Leaves redirects to `client`: even when it shall not follow them, `requests` reads all that comes with one."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class Live:
    """The connections that there are, for breaking them off from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._is_shut = False

    def add(self, connection: object) -> None:
        """Note a connection, for as long as there is one."""
        with self._lock:
            self._connections.add(connection)

    def shut(self) -> None:
        """Have whoever sends or waits on one of them, now or later, find it closed."""
        with self._lock:
            self._is_shut = True
            connections = list(self._connections)
        for connection in connections:
            _shut(connection)

    def connected(self, connection: object) -> None:
        """A connection is there: after `shut`, which could not have seen it, that is its end."""
        with self._lock:
            is_shut = self._is_shut
        if is_shut:
            _shut(connection)


def _shut(connection: object) -> None:
    sock = getattr(connection, "sock", None)
    if isinstance(sock, socket.socket):
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)  # the plain one: TLS would want to say goodbye


class _Adapter(HTTPAdapter):
    """Large blocks, and connections that can be found while they are in use.

    Args:
        live: Receives every connection.
    """

    def __init__(self, live: Live) -> None:
        self._live = live
        super().__init__(pool_connections=16, pool_maxsize=16)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, blocksize=BLOCK_BYTES)
        self._watch(self.poolmanager)

    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs, blocksize=BLOCK_BYTES)
        self._watch(manager)
        return manager

    def _watch(self, manager: Any) -> None:
        manager.pool_classes_by_scheme = {
            "http": _watched(urllib3.HTTPConnectionPool, self._live),
            "https": _watched(urllib3.HTTPSConnectionPool, self._live),
        }


def _watched(pool: type[urllib3.HTTPConnectionPool], live: Live) -> type[urllib3.HTTPConnectionPool]:
    made: Any = pool.ConnectionCls

    class Connection(made):  # type: ignore[misc]  # its base is chosen at run time
        """Waits longer for a send than for a connection, and can be broken off from elsewhere."""

        def connect(self) -> None:
            live.add(self)
            super().connect()
            self.sock.settimeout(STALL_TIMEOUT_S)
            live.connected(self)

        def request(self, *args: Any, **kwargs: Any) -> None:
            if self.sock is not None:  # one that was used before, to which urllib3 gives this
                self.timeout = STALL_TIMEOUT_S
            super().request(*args, **kwargs)

    class Pool(pool):  # type: ignore[misc,valid-type]
        ConnectionCls = Connection

    return Pool
