"""An HTTP proxy on the loopback: tunnels for https (CONNECT), and passes plain requests on.

Source: RFC 9110, sections 7.6 and 9.3.6.
"""

from __future__ import annotations

import contextlib
import http.client
import selectors
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.servers.githttp import BLOCK_BYTES, TIMEOUT_S, Handler, Server, serving


@dataclass
class Proxy:
    """A running proxy.

    Args:
        login: The `Proxy-Authorization` that it wants; empty for none.
        asked: Method and target of what came in.
    """

    login: str = ""
    address: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def proxying(login: str = "") -> Iterator[Proxy]:
    """Pass on until the block ends."""
    proxy = Proxy(login)
    with serving(_Server(proxy), "proxy") as server:
        proxy.address = server.address
        yield proxy


class _Server(Server):
    def __init__(self, proxy: Proxy) -> None:
        super().__init__(_Handler)
        self.proxy = proxy


class _Handler(Handler):
    server: _Server

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        if not self._is_known():
            return
        with socket.create_connection((host, int(port)), TIMEOUT_S) as target:
            self.send_response(200)
            self.end_headers()
            _tunnel(self.connection, target)
        self.close_connection = True

    def handle_request(self) -> None:
        body = self.body()
        if not self._is_known():
            return
        target = urlsplit(self.path)
        assert target.hostname
        with contextlib.closing(http.client.HTTPConnection(target.hostname, target.port, timeout=TIMEOUT_S)) as onward:
            headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
            onward.request(self.command, target.path, body, headers)
            answer = onward.getresponse()
            self.answer(answer.status, answer.read(), answer.headers["Content-Type"])

    def _is_known(self) -> bool:
        proxy = self.server.proxy
        proxy.asked.append((self.command, self.path))
        if proxy.login and self.headers.get("Proxy-Authorization") != proxy.login:
            self.answer(407, b"", "text/plain", ("Proxy-Authenticate", "Basic"))
            return False
        return True


def _tunnel(one: socket.socket, other: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while ready := selector.select(TIMEOUT_S):
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                with contextlib.suppress(ConnectionError):
                    if block := key.fileobj.recv(BLOCK_BYTES):
                        key.data.sendall(block)
                        continue
                return
