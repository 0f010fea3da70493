"""A wire on the loopback that can be cut: passes bytes on between a client and a server, and counts them.

What shall happen is said for each connection by its number, after how many bytes in which direction, so that a test
sees the same every time. The one thing to know: exactly that many bytes are passed on, and not one more.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import urlsplit

_BLOCK_BYTES = 1 << 16
_LOOK_S = 0.02
_CONNECT_S = 10.0


class Direction(Enum):
    """Whose bytes."""

    UP = "from the client to the server"
    DOWN = "from the server to the client"


class End(Enum):
    """What becomes of the connection."""

    CUT = "both sides see its end"
    RESET = "the client sees a reset"
    STALL = "nothing more comes through in that direction"
    DRIP = "only a byte now and then comes through in that direction"


@dataclass(frozen=True)
class Fault:
    """What happens to one connection.

    Args:
        direction: Whose bytes are counted.
        after_bytes: So many of them come through.
        end: What happens then.
        drip_s: Seconds between two bytes of `DRIP`.
    """

    direction: Direction
    after_bytes: int
    end: End
    drip_s: float = 0.05


Plan = Callable[[int], Fault | None]
"""What happens to the connection of a number; they are counted from 0."""


def all_well(_: int) -> Fault | None:
    """Nothing happens to any."""
    return None


def first(count: int, fault: Fault) -> Plan:
    """It happens to the first `count` connections."""
    return lambda number: fault if number < count else None


@dataclass
class Wire:
    """A wire to one server.

    Args:
        url: The server's address as it is reached through the wire.
        plan: What happens to the next connections; may be changed at any time.
        connections: How many there were.
    """

    url: str
    plan: Plan = all_well
    connections: int = 0
    _passed: dict[Direction, int] = field(default_factory=lambda: dict.fromkeys(Direction, 0))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def _next(self) -> Fault | None:
        with self._lock:
            self.connections += 1
            return self.plan(self.connections - 1)

    def _pass(self, direction: Direction, lane: _Lane) -> None:
        """Pass on and count in one step: whoever got the bytes finds them counted."""
        with self._lock:
            self._passed[direction] += lane.write()

    @property
    def passed(self) -> dict[Direction, int]:
        """How many bytes came through, by direction."""
        with self._lock:
            return dict(self._passed)


@contextmanager
def wire(url: str, plan: Plan = all_well) -> Iterator[Wire]:
    """Lay a wire to a server, `http://127.0.0.1:4711` or with any other scheme, until the block ends."""
    target = urlsplit(url)
    ended = threading.Event()
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.settimeout(_LOOK_S)
        laid = Wire(target._replace(netloc=f"127.0.0.1:{listener.getsockname()[1]}").geturl(), plan)

        def accept() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    client = listener.accept()[0]
                    arguments = (client, (target.hostname, target.port), laid, ended)
                    threads.append(threading.Thread(target=_connect, args=arguments, name="wire"))
                    threads[-1].start()

        accepting = threading.Thread(target=accept, name="end of the wire")
        accepting.start()
        try:
            yield laid
        finally:
            ended.set()
            for thread in (accepting, *threads):
                thread.join()


def _connect(client: socket.socket, target: tuple[str, int], laid: Wire, ended: threading.Event) -> None:
    fault = laid._next()
    with client:
        try:
            with socket.create_connection(target, timeout=_CONNECT_S) as server:
                is_reset = _Connection(client, server, laid, fault).run(ended)
        except OSError:
            is_reset = True
        if is_reset:  # a close with something left to say is a reset; the option says so for any close
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class _Lane:
    """One direction of a connection: what is under way, and what may still come through."""

    def __init__(self, source: socket.socket, sink: socket.socket, fault: Fault | None) -> None:
        self.source, self.sink, self.fault = source, sink, fault
        self.left = fault.after_bytes if fault else None
        self.pending = b""
        self.is_closed = False
        self.next_drip_s = 0.0

    def wish(self) -> int:
        """How many bytes may be read now."""
        if self.is_closed or self.pending:
            return 0
        if self.left is None:
            return _BLOCK_BYTES
        if self.left == 0 and self.fault and self.fault.end is End.DRIP:
            return 1 if time.monotonic() >= self.next_drip_s else 0
        return min(self.left, _BLOCK_BYTES)

    def is_over(self) -> bool:
        """Whether what shall happen to the whole connection is due."""
        return self.left == 0 and not self.pending and self.fault is not None and self.fault.end in (End.CUT, End.RESET)

    def read(self, size: int) -> None:
        self.pending = self.source.recv(size)
        if not self.pending:
            self.is_closed = True
            self.sink.shutdown(socket.SHUT_WR)

    def write(self) -> int:
        """Pass on what is under way; gives how many bytes went."""
        size = self.sink.send(self.pending)
        self.pending = self.pending[size:]
        if self.left:
            self.left -= size
        if self.left == 0 and self.fault:
            self.next_drip_s = time.monotonic() + self.fault.drip_s
        return size


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket, laid: Wire, fault: Fault | None) -> None:
        self._wire = laid
        self._fault = fault
        self._lanes = {
            Direction.UP: _Lane(client, server, fault if fault and fault.direction is Direction.UP else None),
            Direction.DOWN: _Lane(server, client, fault if fault and fault.direction is Direction.DOWN else None),
        }
        for end in (client, server):
            end.setblocking(False)

    def run(self, ended: threading.Event) -> bool:
        """Pass on until both sides are done or the fault says so; tells whether the client shall see a reset."""
        while not ended.is_set() and not all(lane.is_closed for lane in self._lanes.values()):
            if any(lane.is_over() for lane in self._lanes.values()):
                return self._fault is not None and self._fault.end is End.RESET
            for direction, lane in self._ready():
                with contextlib.suppress(BlockingIOError):
                    if lane.pending:
                        self._wire._pass(direction, lane)
                    elif size := lane.wish():
                        lane.read(size)
        return False

    def _ready(self) -> list[tuple[Direction, _Lane]]:
        with selectors.DefaultSelector() as selector:
            wanted: dict[socket.socket, int] = {}
            for lane in self._lanes.values():
                if lane.pending:
                    wanted[lane.sink] = wanted.get(lane.sink, 0) | selectors.EVENT_WRITE
                elif lane.wish():
                    wanted[lane.source] = wanted.get(lane.source, 0) | selectors.EVENT_READ
            for end, events in wanted.items():
                selector.register(end, events)
            ready = {key.fileobj for key, _ in selector.select(_LOOK_S)}
        return [
            (direction, lane)
            for direction, lane in self._lanes.items()
            if (lane.sink if lane.pending else lane.source) in ready
        ]
