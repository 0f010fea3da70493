"""What simple sync scripts do: watch a directory, and add, commit and push whatever changed. A contestant's program."""

from __future__ import annotations

import queue
import subprocess
import sys

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer


class _Changes(FileSystemEventHandler):
    def __init__(self) -> None:
        self.seen: queue.SimpleQueue[str] = queue.SimpleQueue()

    def on_any_event(self, event: FileSystemEvent) -> None:
        path = str(event.src_path)
        if "/.git" not in path and event.event_type in ("created", "modified", "moved", "deleted"):
            self.seen.put(path)


def main(work: str) -> None:
    """Watch until killed."""
    changes = _Changes()
    observer = Observer()
    observer.schedule(changes, work, recursive=True)
    observer.start()
    print("watching", flush=True)
    while True:
        changes.seen.get()
        while not changes.seen.empty():
            changes.seen.get()
        subprocess.run(["git", "add", "--all"], cwd=work, check=True)
        if subprocess.run(["git", "commit", "--quiet", "-m", "changes"], cwd=work, check=False).returncode == 0:
            subprocess.run(["git", "push", "--quiet", "origin", "main"], cwd=work, check=True)


if __name__ == "__main__":
    main(sys.argv[1])
