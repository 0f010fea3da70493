"""A machine of the tests' own: a real systemd that boots on a copy-on-write view of this one's root file system.

For the tests of the service. Nothing that happens in it reaches the machine: what is written goes to memory, the
namespaces are its own (processes, mounts, network, host name, control groups), the kernel's settings can only be read,
and no unit of this machine's own is started in it. The one thing to know: leaving the block kills it, whatever went on
in it; and so does the end of the thread that started it. Needs root.

Source: systemd's CONTAINER_INTERFACE; unshare(1), nsenter(1), reboot(2) about PID namespaces.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 90.0
BOOT_S = 240.0
"""All inotify instances that root may have can be taken for a while, by other tests too; none boots then."""

POLL_S = 0.05
ROOT = Path(__file__).parents[1]

_KILLED_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}

_CONTROL_GROUP = """\
set -eu
mount -t tmpfs -o mode=700 none "$1"
mkdir "$1/groups"
mount -t cgroup2 none "$1/groups"
mkdir -p "$1/groups$2"
echo $$ > "$1/groups$2/cgroup.procs"
shift 2
exec "$@"
"""

# What is made anew at each boot is mounted then; what a disk would hold stays, so that a reboot finds it.
_KEEP = """\
set -eu
box=$1; root=$1/root
umount "$box/groups"
mkdir "$box/upper" "$box/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$box/upper,workdir=$box/work" none "$root"
mount -t sysfs -o ro none "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 none "$root/dev"
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0; do
    name=${device%%:*}; numbers=${device#*:}
    mknod -m 666 "$root/dev/$name" c "${numbers%:*}" "${numbers#*:}"
done
ln -s /proc/self/fd "$root/dev/fd"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs -o mode=1777 none "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 none "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
rm -rf "$root/var/log/journal"
mkdir -p "$root/var/log/journal" "$root/etc/systemd/journald.conf.d"
printf '[Journal]\\nReadKMsg=no\\nAudit=no\\n' > "$root/etc/systemd/journald.conf.d/box.conf"
for kind in system user; do
    mount -t tmpfs -o mode=755 none "$root/etc/systemd/$kind"
done
cat > "$root/etc/systemd/system/box.target" << END
[Unit]
Requires=basic.target
Wants=dbus.service systemd-logind.service systemd-user-sessions.service
After=basic.target dbus.service systemd-logind.service systemd-user-sessions.service
AllowIsolate=yes
END
for unit in getty.target systemd-hwdb-update.service ldconfig.service systemd-journal-catalog-update.service \\
    systemd-sysctl.service systemd-modules-load.service systemd-binfmt.service systemd-udevd.service \\
    systemd-udev-trigger.service dev-hugepages.mount dev-mqueue.mount timers.target; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
done
shift
for folder in "$@"; do  # what is on another file system than the root
    mkdir -p "$root$folder"
    mount --bind -o ro "$folder" "$root$folder"
done
while true; do
    setpriv --pdeathsig KILL -- unshare --pid --fork --kill-child --mount --propagation private \\
        sh -eu -c "$BOOT" sh "$root" &
    status=0
    wait $! || status=$?
    case $status in
        129) ;;  # it was rebooted: the kernel ends its first process with SIGHUP then
        255) sleep 0.5 ;;  # it did not come up: somebody else has all inotify instances of root's at the moment
        *) exit "$status" ;;
    esac
done
"""

_BOOT = """\
mount -t proc none "$1/proc"
for place in sys sysrq-trigger irq bus; do
    [ ! -e "$1/proc/$place" ] || mount --bind "$1/proc/$place" "$1/proc/$place"
    [ ! -e "$1/proc/$place" ] || mount -o remount,bind,ro "$1/proc/$place"
done
for place in run tmp var/tmp; do
    mount -t tmpfs -o mode=1777 none "$1/$place"
done
chmod 755 "$1/run"
mkdir "$1/run/lock"
cd "$1"
pivot_root . mnt  # a program under chroot(2) may not make user namespaces
umount --lazy /mnt
mount --make-rshared /  # within the box, as systemd expects it
exec setpriv --bounding-set -sys_module,-sys_rawio,-sys_time,-syslog -- \\
    env -i container=lfssync-test "PATH=$PATH" /lib/systemd/systemd --system --unit=box.target --show-status=false
"""


@dataclass
class Box:
    """A machine that runs.

    Args:
        keeper: The process that boots it, and holds what it is made of.
    """

    keeper: subprocess.Popen[bytes]

    @property
    def init(self) -> int:
        """Its first process, by the number that it has outside."""
        return wait_for(lambda: _first_process(self.keeper), "its first process")

    def call(
        self, *words: str | Path, user: str = "", given: str = "", timeout_s: float = PATIENCE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, to its end.

        Args:
            words: The command.
            user: Whose it is, as after a login of that user; root's otherwise.
            given: What stands on its standard input.
            timeout_s: How long it may take.
        """
        spaces = ("mount", "pid", "uts", "ipc", "net", "cgroup", "root", "wd")
        inside = ["nsenter", "--target", str(self.init), *(f"--{space}" for space in spaces)]
        if user:
            login = 'cd; XDG_RUNTIME_DIR=/run/user/$(id -u) exec "$@"'
            inside += ["runuser", "--user", user, "--", "sh", "-c", login, "sh"]
        return subprocess.run(
            [*inside, *map(str, words)], input=given, capture_output=True, text=True, timeout=timeout_s, check=False,
            env=_ENVIRONMENT | {"HOME": "/root"},
        )  # fmt: skip

    def run(self, *words: str | Path, user: str = "", given: str = "") -> str:
        """The same for a command that must succeed; gives what it says on standard output."""
        done = self.call(*words, user=user, given=given)
        assert done.returncode == 0, f"{words}: exit code {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def path(self, place: str | Path) -> Path:
        """Where a file of it is seen from outside, until it boots again."""
        return Path(f"/proc/{self.init}/root", *Path(place).parts[1:])

    def is_up(self) -> bool:
        """Whether it has booted."""
        return self.call("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def reboot(self) -> None:
        """Boot it again, in order, as people do."""
        before = self.init
        self.call("systemctl", "reboot")
        wait_for(lambda: not Path(f"/proc/{before}").exists(), "its end")
        wait_for(self.is_up, "its next boot")


def wait_for(answer: Callable[[], T | None], what: str, timeout_s: float = PATIENCE_S) -> T:
    """What `answer` gives as soon as that is true.

    Raises:
        AssertionError: It did not become true in time.
    """
    deadline = time.monotonic() + timeout_s
    while not (found := answer()):
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(POLL_S)
    return found


def _first_process(keeper: subprocess.Popen[bytes]) -> int | None:
    assert keeper.poll() is None, "the box does not run"
    for child in _children(keeper.pid):
        for one in _children(child):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{one}/comm").read_text() == "systemd\n":
                    return one
    return None


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@contextmanager
def booted(folder: Path) -> Iterator[Box]:
    """Boot one in an empty folder; it is gone when the block is left."""
    group = f"{_own_group()}/lfssync-test-{os.getpid()}"
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        keeper = subprocess.Popen(
            [
                *_KILLED_WITH_US, "unshare", "--mount", "--propagation", "private",
                "sh", "-c", _CONTROL_GROUP, "sh", folder, group,
                "unshare", "--cgroup", "--net", "--uts", "--ipc", "--mount",
                "sh", "-c", _KEEP, "sh", folder, *_elsewhere(),
            ],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_ENVIRONMENT | {"BOOT": _BOOT},
        )  # fmt: skip
    try:
        box = Box(keeper)
        try:
            wait_for(box.is_up, "its boot", BOOT_S)
        except AssertionError as error:
            error.add_note(Path(log.name).read_text(errors="replace"))
            raise
        for place in dict.fromkeys((ROOT, Path(sys.prefix), Path(sys.base_prefix))):
            box.call("chmod", "o+x", place, *(parent for parent in place.parents if parent != Path("/")))
        yield box
    finally:
        keeper.kill()
        keeper.wait()
        _remove_groups(folder, group)


def _own_group() -> str:
    """Our own control group, below which there may be others; empty for the top."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return next(line.removeprefix("0::") for line in lines if line.startswith("0::")).rstrip("/")


def _elsewhere() -> list[Path]:
    """What the tests need of other file systems than the root's."""
    device = os.stat("/").st_dev
    wanted = dict.fromkeys((ROOT, Path(sys.prefix), Path(sys.base_prefix)))
    return [place for place in wanted if os.stat(place).st_dev != device]


def _remove_groups(folder: Path, group: str) -> None:
    """Take away the control groups once nothing runs in them any more."""
    subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-eu", "-c", _REMOVE, "sh", folder, group],
        env=_ENVIRONMENT, timeout=PATIENCE_S, check=True,
    )  # fmt: skip


_REMOVE = """\
mount -t cgroup2 none "$1"
for try in $(seq 200); do
    [ -e "$1$2" ] || exit 0
    find "$1$2" -depth -type d -exec rmdir {} + 2>/dev/null && exit 0
    sleep 0.05
done
exit 1
"""
