"""The process that mirrors a training's folder where no daemon does; started by `partner`, it ends with the training.

It is the daemon itself, with a configuration and a state folder of its own. A process and not a thread, so that hashing
and sending never keep the training from Python's lock. The one thing to know: when the training is killed, this goes on
for as long as the training would have waited at its end, so the last checkpoint arrives all the same.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from lfssync.errors import BlockedError, LfssyncError
from lfssync.places import Places
from lfssync.service.daemon import Daemon

LOG = "log"
_LOOK_EVERY_S = 0.5
_OTHER_ENDS_S = 60.0
"""So long a companion of an earlier training in the same folder, which still delivers, is waited for."""


def places_in(folder: Path, places: Places) -> Places:
    """The places of a companion: all of its own, but for what holds data.

    Args:
        folder: Where its configuration and its state are.
        places: Those of the user.
    """
    return places._replace(config_file=folder / "config.toml", state_dir=folder, runtime_dir=folder / "run")


def main(folder: Path, parent: int) -> int:
    """Run the daemon until it is told to end, or the training has ended.

    Args:
        folder: See `places_in`.
        parent: The process of the training.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("lfssync").setLevel(logging.INFO)
    threading.Thread(target=_follow, args=(parent,), name="parent", daemon=True).start()
    places = places_in(folder, Places.from_environment(os.environ))
    deadline = time.monotonic() + _OTHER_ENDS_S
    while True:
        try:
            return Daemon(places).run()
        except LfssyncError as error:
            if not isinstance(error, BlockedError) or time.monotonic() >= deadline:
                logging.getLogger("lfssync").error("%s", error)
                return 1
            time.sleep(_LOOK_EVERY_S)


def _follow(parent: int) -> None:
    """Tell this process to end, once the training is gone."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
