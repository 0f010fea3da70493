"""Where the contestants deliver to: a bare repository, and a git host whose LFS server is not the limit.

The LFS server answers the batch API itself, in a few lines, and lets nginx take and give the objects: `PUT` and `GET`
of files in memory. Source: ngx_http_dav_module; git-lfs docs/api/batch.md.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_WAIT_S = 10.0
_NGINX = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  client_max_body_size 0;
  client_body_buffer_size 1m;
  server {{
    listen 127.0.0.1:{port};
    location / {{ root {objects}; dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class LfsPlace:
    """An LFS server.

    Args:
        url: For `lfs.url` and `lfs_url`.
        store: Where objects are put with plain HTTP.
        objects: The folder they lie in.
    """

    url: str
    store: str
    objects: Path

    def clear(self) -> None:
        """Take away what others have brought: it is in memory, which the next one needs."""
        for name in os.listdir(self.objects):
            shutil.rmtree(self.objects / name)


@contextmanager
def lfs_server() -> Iterator[LfsPlace]:
    """An LFS server on the loopback with its objects in memory."""
    with tempfile.TemporaryDirectory(prefix="lfssync-bench-", dir="/dev/shm") as name, _nginx(Path(name)) as store:
        place = LfsPlace("", store, Path(name) / "objects")
        http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(place))
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield LfsPlace(f"http://127.0.0.1:{http.server_port}/info/lfs", store, place.objects)
        finally:
            http.shutdown()
            thread.join()
            http.server_close()


@contextmanager
def _nginx(folder: Path) -> Iterator[str]:
    (folder / "objects").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    text = _NGINX.format(folder=folder, port=port, objects=folder / "objects")
    if os.geteuid() == 0:
        text = "user root;\n" + text
    (folder / "nginx.conf").write_text(text)
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        raise RuntimeError("nginx is not installed; run make bench, which does it")
    child = subprocess.Popen(
        [program, "-c", folder / "nginx.conf", "-p", folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + _WAIT_S
        while child.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(_WAIT_S)


def _handler(place: LfsPlace) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path.endswith("/objects/batch"):
                rows = [_answer(place, asked["operation"], one["oid"], one["size"]) for one in asked["objects"]]
                status, body = 200, {"transfer": "basic", "objects": rows}
            else:
                status, body = 404, {"message": "not here"}
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.git-lfs+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _answer(place: LfsPlace, operation: str, oid: str, size: int) -> dict[str, object]:
    file = place.objects / oid[:2] / oid
    there = file.is_file() and file.stat().st_size == size
    row: dict[str, object] = {"oid": oid, "size": size, "authenticated": True}
    if operation == "download" and not there:
        row["error"] = {"code": 404, "message": "not here"}
    elif operation == "download" or not there:
        row["actions"] = {operation: {"href": f"{place.store}/{oid[:2]}/{oid}"}}
    return row
