"""A mirrored directory that is a git working copy itself: what its user sees, does in between, and has planted."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lfssync.errors import BlockedError, LfssyncError, TransientError, UserError
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
from lfssync.model import Mirror, PassResult
from lfssync.service import delivering
from tests.helpers import assert_whole, clone, git, make_bare, objects_of_history, random_bytes, tree, write

ROOT = Path(__file__).parents[2]
LFS_LINES = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.bin filter=lfs diff=lfs merge=lfs -text\n"
ODD_NAMES = [
    b"a b",
    b"tab\there",
    b"line\nfeed",
    b'quo"te',
    b"back\\slash",
    b"\xff\xfe",
    "ünï".encode(),
    b"-rf",
    b":(top)x",
    b"*",
]


@dataclass
class Desk:
    """A user's working copy, mirrored to a bare remote."""

    base: Path
    mirror: Mirror
    state: Path

    @property
    def directory(self) -> Path:
        return self.mirror.path

    @property
    def remote(self) -> Path:
        return Path(self.mirror.remote)

    def git(self, *words: str) -> str:
        """What the user types there."""
        return os.fsdecode(git(*words, cwd=self.directory)).strip()

    def fails(self, *words: str) -> None:
        """What the user types there and what does not go through (a merge with conflicts)."""
        with pytest.raises(subprocess.CalledProcessError):
            git(*words, cwd=self.directory)

    def write(self, name: str | bytes, content: bytes) -> Path:
        return write(self.directory / os.fsdecode(name), content)

    def sync(self) -> PassResult:
        return delivering.sync(self.mirror, self.state, Order(), Session())

    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def tip(self) -> str:
        """The commit that the remote's branch points at."""
        return git("rev-parse", f"refs/heads/{self.mirror.branch}", cwd=self.remote).decode().strip()

    def status(self) -> str:
        """What `git status` shows, without writing down what it found."""
        return os.fsdecode(git("--no-optional-locks", "status", "--porcelain", cwd=self.directory))

    def read_by_status(self) -> set[str]:
        """What of the work tree `git status` has to open: its folders, and files it cannot tell to be unchanged."""
        traced = self.base / "strace"
        command = ["strace", "-f", "-qq", "-e", "trace=open,openat", "-o", str(traced), "git"]
        subprocess.run([*command, "--no-optional-locks", "status"], cwd=self.directory, check=True, capture_output=True)
        opened = re.findall(r'openat\(AT_FDCWD, "([^/][^"]*)", O_RDONLY[^)]*\) = \d', traced.read_text())
        plain = (name.encode().decode("unicode_escape").encode("latin-1") for name in opened)
        return {os.fsdecode(name) for name in plain if not name.startswith(b".git")}

    def assert_clean(self) -> None:
        """All is committed and pushed."""
        assert self.status() == ""
        assert self.head() == self.tip()
        self.assert_sound()

    def assert_sound(self) -> None:
        self.git("fsck", "--full", "--strict", "--no-dangling")
        assert_whole(self.remote)

    def assert_mirrored(self) -> None:
        """A stock clone equals the directory, but for the attributes that lfssync composes."""
        copy = clone(self.remote, self.base / f"clone-{len(list(self.base.glob('clone-*')))}", self.mirror.branch)
        there, here = tree(copy), tree(self.directory)
        there.pop(b".gitattributes", None)
        here.pop(b".gitattributes", None)
        assert there == here


def desk(base: Path, directory: Path, remote: Path, branch: str = "main") -> Desk:
    mirror = Mirror("model", directory, str(remote), branch, quiet_s=0.05)
    return Desk(base, mirror, base / f"state of {directory.name}")


@pytest.fixture
def fresh(tmp_path: Path) -> Desk:
    """`git init` in a folder with files; nothing committed yet."""
    made = desk(tmp_path, tmp_path / "work", make_bare(tmp_path / "remote.git"))
    made.write("config.json", b"{}\n")
    made.git("init", "--quiet")
    return made


@pytest.fixture
def cloned(tmp_path: Path) -> Desk:
    """A clone of a remote with some history, LFS objects included."""
    remote = make_bare(tmp_path / "remote.git")
    seed = tmp_path / "seed"
    seed.mkdir()
    git("init", "--quiet", cwd=seed)
    write(seed / ".gitattributes", LFS_LINES)
    write(seed / "README.md", b"# model\n")
    write(seed / "old.bin", random_bytes(1, 50_000))
    write(seed / "sub/notes.txt", b"notes\n")
    commit_and_push(seed, remote)
    git("clone", "--quiet", remote, "work", cwd=tmp_path)
    return desk(tmp_path, tmp_path / "work", remote)


def commit_and_push(work: Path, remote: Path) -> None:
    git("add", "--all", cwd=work)
    git("commit", "--quiet", "-m", "by hand", cwd=work)
    git("config", "remote.there.url", f"file://{remote}", cwd=work)
    git("-c", "lfs.allowincompletepush=true", "lfs", "push", "there", "HEAD", cwd=work)  # of history, only what is here
    git("push", "--quiet", "--no-verify", "there", "HEAD:main", cwd=work)


def elsewhere(made: Desk, changes: dict[str, bytes], name: str = "colleague") -> Path:
    """Somebody else clones, changes files, and pushes."""
    work = clone(made.remote, made.base / name, "main")
    git("switch", "--quiet", "-C", "main", cwd=work)
    for path, content in changes.items():
        write(work / path, content)
    commit_and_push(work, made.remote)
    return work


def assert_stat_data_is_the_files(made: Desk, names: Iterable[bytes]) -> None:
    """The index tells of each file exactly what `lstat` does."""
    listed = git("ls-files", "--debug", "-z", cwd=made.directory)
    for name in names:
        told = listed[listed.index(name + b"\0  ctime") :].partition(b"flags")[0].decode("ascii", "replace")
        numbers = {key: int(value) for key, value in re.findall(r"(\w+): (\d+)", told)}
        status = os.lstat(os.path.join(os.fsencode(made.directory), name))
        seen = (numbers["ino"], numbers["uid"], numbers["gid"], numbers["size"])
        assert seen == (status.st_ino & 0xFFFFFFFF, status.st_uid, status.st_gid, status.st_size), name


def test_every_kind_of_change_leaves_a_clean_status(cloned: Desk) -> None:
    rounds: list[dict[str, bytes]] = [
        {
            "model.safetensors": random_bytes(2, 3_000_000),
            "config.json": b"{}\n",
            "checkpoint-1/weights.bin": b"w" * 5000,
        },
        {"model.safetensors": random_bytes(3, 3_000_000), "README.md": b"# better\n"},
        {os.fsdecode(name): name for name in ODD_NAMES},
    ]
    for changes in rounds:
        for name, content in changes.items():
            cloned.write(name, content)
        assert cloned.sync().committed
        cloned.assert_clean()
        assert not set(changes) & cloned.read_by_status()
        assert_stat_data_is_the_files(cloned, [os.fsencode(name) for name in changes])
        cloned.assert_mirrored()
    (cloned.directory / "README.md").unlink()
    shutil.rmtree(cloned.directory / "checkpoint-1")
    (cloned.directory / "config.json").chmod(0o755)
    (cloned.directory / "latest").symlink_to("model.safetensors")
    assert cloned.sync().committed
    cloned.assert_clean()
    cloned.assert_mirrored()
    assert not cloned.sync().committed


def test_a_file_takes_the_place_of_a_folder_and_back(cloned: Desk) -> None:
    shutil.rmtree(cloned.directory / "sub")
    cloned.write("sub", b"a file now\n")
    cloned.sync()
    cloned.assert_clean()
    (cloned.directory / "sub").unlink()
    cloned.write("sub/a/b", b"a folder again\n")
    cloned.sync()
    cloned.assert_clean()
    cloned.assert_mirrored()


def test_the_first_commit_of_all(fresh: Desk) -> None:
    fresh.write("model.bin", random_bytes(4, 2_000_000))
    assert fresh.sync().committed
    fresh.assert_clean()
    fresh.assert_mirrored()
    assert objects_of_history(fresh.remote) != []
    assert fresh.git("symbolic-ref", "HEAD") == "refs/heads/main"


def test_history_goes_on_from_the_users_commits(cloned: Desk) -> None:
    before = cloned.head()
    cloned.write("config.json", b"{}\n")
    cloned.sync()
    assert cloned.git("rev-parse", "HEAD^") == before
    assert "lfssync" in cloned.git("reflog", "-1", "--format=%gs")
    assert cloned.git("log", "-1", "--format=%an <%ae>") == "Test User <test.user@example.org>"


def test_the_users_own_commits_are_pushed_with_their_objects(cloned: Desk) -> None:
    cloned.sync()
    content = random_bytes(5, 400_000)
    cloned.write("mine.bin", content)
    cloned.git("add", "mine.bin")
    cloned.git("commit", "--quiet", "-m", "mine")
    (cloned.directory / "mine.bin").unlink()
    cloned.git("commit", "--quiet", "-a", "-m", "and gone again")
    cloned.sync()
    cloned.assert_clean()
    assert len(objects_of_history(cloned.remote)) == 2
    cloned.write("next.bin", content[:-1])
    cloned.git("add", "next.bin")
    cloned.git("commit", "--quiet", "-m", "next")
    cloned.write("config.json", b"{}\n")
    cloned.sync()
    cloned.assert_clean()
    cloned.assert_mirrored()


def test_what_is_staged_and_not_committed(cloned: Desk) -> None:
    cloned.sync()
    cloned.write("same.txt", b"as it is on disk\n")
    cloned.write("later.txt", b"first\n")
    cloned.write("weights.bin", b"w" * 3000)
    cloned.git("add", ".")
    cloned.write("later.txt", b"second\n")
    cloned.sync()
    cloned.assert_clean()
    assert cloned.git("show", "HEAD:later.txt") == "second"
    cloned.assert_mirrored()


def test_a_staged_folder_that_became_a_file(cloned: Desk) -> None:
    """An index that names both would be refused by every later git command."""
    cloned.sync()
    cloned.write("made/of/parts", b"staged\n")
    cloned.write("whole", b"staged\n")
    cloned.git("add", ".")
    shutil.rmtree(cloned.directory / "made")
    (cloned.directory / "whole").unlink()
    cloned.write("made", b"a file\n")
    cloned.write("whole/parts", b"a folder\n")
    cloned.sync()
    cloned.assert_clean()
    cloned.assert_mirrored()


def test_a_file_changed_right_after_the_users_commit_still_shows(cloned: Desk) -> None:
    """Git keeps whole seconds: what changed within the second of the last index must not pass for unchanged."""
    cloned.sync()
    deadline = time.monotonic() + 30
    while True:
        while time.time() % 1 > 0.1:  # a second has just begun
            assert time.monotonic() < deadline
        second = int(time.time())
        file = cloned.write("log.txt", b"%d\n" % second)
        cloned.git("add", "log.txt")
        cloned.git("commit", "--quiet", "-m", "log")
        with file.open("r+b") as writer:  # held open, so it is not ours to take yet
            writer.write(b"%d\n" % (second + 1))
            writer.flush()
            if int(file.stat().st_mtime) == second and int((cloned.directory / ".git/index").stat().st_mtime) == second:
                cloned.write("config.json", b"{}\n")
                assert cloned.sync().deferred
                assert cloned.status() == " M log.txt\n"
                break
    cloned.sync()
    cloned.assert_clean()


def test_a_file_that_the_user_takes_out_of_the_index_stays_out_of_it(cloned: Desk) -> None:
    cloned.sync()
    cloned.git("rm", "--quiet", "--cached", "sub/notes.txt")
    cloned.write("config.json", b"{}\n")
    cloned.sync()
    assert cloned.status() == "D  sub/notes.txt\n?? sub/\n"


IN_PROGRESS = {
    "merge": "a merge",
    "rebase": "a rebase",
    "cherry-pick": "a cherry-pick",
    "revert": "a revert",
    "am": "a rebase or an am",
    "bisect": "a bisection",
    "pick": "a series of cherry-picks",
}


def begin(made: Desk, what: str) -> None:
    """Bring the working copy to where a person has to go on."""
    made.git("switch", "--quiet", "-c", "other")
    made.write("README.md", b"theirs\n")
    made.git("commit", "--quiet", "-am", "theirs")
    made.git("switch", "--quiet", "main")
    made.write("README.md", b"ours\n")
    made.git("commit", "--quiet", "-am", "ours")
    if what == "merge":
        made.fails("merge", "other")
    elif what == "rebase":
        made.fails("rebase", "other")
    elif what == "cherry-pick":
        made.fails("cherry-pick", "other")
    elif what == "pick":
        made.fails("cherry-pick", "other", "main")
        made.git("checkout", "--quiet", "--theirs", "README.md")
        made.git("commit", "--quiet", "-am", "resolved, and the next one still to come")
        made.fails("cherry-pick", "--continue") if not (made.directory / ".git/sequencer").exists() else None
    elif what == "revert":
        made.write("README.md", b"later\n")
        made.git("commit", "--quiet", "-am", "later")
        made.fails("revert", "HEAD^")
    elif what == "am":
        patch = made.git("format-patch", "--stdout", "-1", "other") + "\n"
        write(made.base / "patch", os.fsencode(patch))
        made.fails("am", str(made.base / "patch"))
    elif what == "bisect":
        made.git("bisect", "start")


@pytest.mark.parametrize("what", IN_PROGRESS)
def test_what_the_user_is_in_the_middle_of_is_left_alone(what: str, cloned: Desk) -> None:
    begin(cloned, what)
    cloned.write("config.json", b"{}\n")
    before = (cloned.head(), cloned.status(), cloned.tip(), (cloned.directory / ".git/index").read_bytes())
    with pytest.raises(BlockedError, match=f"{IN_PROGRESS[what]}.* in progress"):
        cloned.sync()
    assert (cloned.head(), cloned.status(), cloned.tip(), (cloned.directory / ".git/index").read_bytes()) == before
    cloned.git(*({"bisect": ["bisect", "reset"], "pick": ["cherry-pick", "--abort"]}.get(what) or [what, "--abort"]))
    cloned.sync()
    cloned.assert_clean()


def test_conflicts_of_a_stash_are_for_the_user(cloned: Desk) -> None:
    cloned.write("README.md", b"stashed\n")
    cloned.git("stash", "--quiet")
    cloned.write("README.md", b"meanwhile\n")
    cloned.git("commit", "--quiet", "-am", "meanwhile")
    cloned.fails("stash", "pop")
    before = (cloned.head(), cloned.status())
    with pytest.raises(BlockedError, match=r"README\.md has conflicts"):
        cloned.sync()
    assert (cloned.head(), cloned.status()) == before
    cloned.write("README.md", b"both\n")
    cloned.git("add", "README.md")
    cloned.sync()
    cloned.assert_clean()
    cloned.assert_mirrored()


def test_no_branch_checked_out(cloned: Desk) -> None:
    cloned.git("switch", "--quiet", "--detach")
    with pytest.raises(BlockedError, match="no branch checked out"):
        cloned.sync()


def test_another_branch_checked_out(cloned: Desk) -> None:
    cloned.git("switch", "--quiet", "-c", "experiment")
    cloned.write("config.json", b"{}\n")
    with pytest.raises(BlockedError, match="is on branch experiment, but main is mirrored"):
        cloned.sync()
    assert cloned.status() == "?? config.json\n"


def test_a_linked_worktree(cloned: Desk) -> None:
    cloned.git("worktree", "add", "--quiet", "-b", "experiment", str(cloned.base / "linked"))
    linked = desk(cloned.base, cloned.base / "linked", cloned.remote, "experiment")
    for number, made in enumerate((linked, cloned, linked, cloned)):
        made.write(f"new-{number}.bin", random_bytes(number, 10_000))
        assert made.sync().committed
        made.assert_clean()
    cloned.git("gc", "--quiet", "--prune=now")
    for number, made in enumerate((linked, cloned)):
        made.write(f"new-{number}.bin", random_bytes(number + 10, 10_000))
        made.sync()
        made.assert_clean()
        made.assert_mirrored()


def test_a_submodule(cloned: Desk) -> None:
    above = cloned.base / "above"
    above.mkdir()
    git("init", "--quiet", cwd=above)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(cloned.remote), "model", cwd=above)
    made = desk(cloned.base, above / "model", cloned.remote)
    made.write("model.bin", random_bytes(6, 10_000))
    made.sync()
    made.assert_clean()
    made.assert_mirrored()


@pytest.mark.parametrize(
    "settings",
    [
        ("index.version=4",),
        ("feature.manyFiles=true",),
        ("core.untrackedCache=true", "index.threads=2", "core.preloadIndex=true"),
    ],
)
def test_other_forms_of_the_index(settings: tuple[str, ...], cloned: Desk) -> None:
    for setting in settings:
        cloned.git("config", *setting.split("="))
    cloned.git("read-tree", "HEAD")
    cloned.git("update-index", "--index-version", "4" if "4" in settings[0] or "many" in settings[0] else "2")
    cloned.git("status")
    version = (cloned.directory / ".git/index").read_bytes()[7]
    for name in ODD_NAMES:
        cloned.write(b"sub/deep/" + name, name * 1000)
        cloned.write(b"stays/" + name, name * 1000)
    cloned.write("long-" + "x" * 240, b"a long name\n")
    cloned.sync()
    assert (cloned.directory / ".git/index").read_bytes()[7] == version
    cloned.assert_clean()
    cloned.git("add", "--all")
    assert cloned.status() == ""
    assert not {
        name for name in cloned.read_by_status() if name.startswith(("stays/", "sub/deep/")) and name[-1] != "/"
    }
    shutil.rmtree(cloned.directory / "sub/deep")
    cloned.sync()
    cloned.assert_clean()
    cloned.assert_mirrored()


def test_a_split_index(cloned: Desk) -> None:
    cloned.git("config", "core.splitIndex", "true")
    cloned.git("update-index", "--split-index")
    cloned.write("model.bin", random_bytes(7, 10_000))
    cloned.write("config.json", b"{}\n")
    cloned.sync()
    assert cloned.status() == ""
    assert cloned.head() == cloned.tip()
    (cloned.directory / "config.json").unlink()
    cloned.sync()
    assert cloned.status() == ""
    cloned.assert_mirrored()


def test_a_sparse_checkout_is_no_picture_of_the_whole(cloned: Desk) -> None:
    cloned.git("sparse-checkout", "set", "sub")
    with pytest.raises(BlockedError, match="sparse"):
        cloned.sync()
    cloned.git("sparse-checkout", "disable")
    cloned.sync()
    cloned.assert_mirrored()


def test_a_lock_of_the_users_is_never_removed(cloned: Desk) -> None:
    cloned.sync()
    lock = write(cloned.directory / ".git/index.lock", b"")
    cloned.write("model.bin", random_bytes(8, 10_000))
    before = cloned.head()
    with pytest.raises(TransientError, match=r"index\.lock exists"):
        cloned.sync()
    assert lock.exists()
    assert cloned.head() == before
    assert cloned.status() == "?? model.bin\n"
    cloned.git("gc", "--quiet", "--prune=now")
    lock.unlink()
    assert cloned.sync().committed
    cloned.assert_clean()
    cloned.assert_mirrored()


SYNC = """
import sys
from pathlib import Path
from lfssync.service import delivering
from lfssync.model import Mirror
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
delivering.sync(Mirror("model", Path(sys.argv[1]), sys.argv[2], quiet_s=0.05), Path(sys.argv[3]), Order(), Session())
"""


def sync_killed_at(made: Desk, call: str) -> None:
    """Sync in a process of its own, which is killed when it makes a name of the index or its lock."""
    git_dir = made.directory / ".git"
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", str(git_dir / "index"), "-P", str(git_dir / "index.lock")]
    strace += ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL"]
    sync = [sys.executable, "-c", SYNC, str(made.directory), str(made.remote), str(made.state)]
    done = subprocess.run([*strace, *sync], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode != 0, "it was not killed"


@pytest.mark.parametrize("call", ["link", "rename"])
def test_killed_around_the_move_of_the_branch(call: str, cloned: Desk) -> None:
    """Before it, nothing is left; after it, our own lock is known again, and the index follows the branch."""
    cloned.sync()
    cloned.write("model.bin", random_bytes(9, 10_000))
    cloned.write("config.json", b"{}\n")
    before = cloned.head()
    sync_killed_at(cloned, call)
    assert (cloned.head() != before) == (call == "rename")
    cloned.sync()
    cloned.assert_clean()
    cloned.assert_mirrored()
    assert list((cloned.directory / ".git").glob("*lfssync*")) == []
    assert not (cloned.directory / ".git/index.lock").exists()


def test_killed_and_then_the_user_went_on(cloned: Desk) -> None:
    """A lock of ours that is found later must not put an old index in force."""
    cloned.sync()
    cloned.write("config.json", b"{}\n")
    sync_killed_at(cloned, "rename")
    (cloned.directory / ".git/index.lock").unlink()  # as git's own message advises
    cloned.git("reset", "--quiet")
    cloned.write("more.txt", b"more\n")
    cloned.git("add", "more.txt")
    cloned.git("commit", "--quiet", "-m", "more")
    cloned.sync()
    cloned.assert_sound()
    assert cloned.status() == ""
    cloned.assert_mirrored()


@pytest.mark.parametrize(
    ("typed", "kind"),
    [
        (["git commit --quiet --allow-empty -m mine"], TransientError),
        (["git switch --quiet -c other"], BlockedError),
        (["git switch --quiet --detach"], BlockedError),
        (["git bisect start --no-checkout"], BlockedError),
        (["touch .git/index.lock"], TransientError),
    ],
)
def test_what_the_user_does_while_we_read(typed: list[str], kind: type[LfssyncError], cloned: Desk) -> None:
    """Whatever happened there since the pass began: it is respected, and nothing is lost."""
    cloned.sync()
    cloned.write("model.bin", random_bytes(15, 10_000))
    before = (cloned.head(), cloned.tip())
    left = list(typed)

    def type_it(_: object) -> None:
        while left:
            subprocess.run(left.pop().split(), cwd=cloned.directory, check=True)

    with pytest.raises(kind):
        delivering.sync(cloned.mirror, cloned.state, Order(), Session(type_it))
    assert cloned.git("rev-parse", "main^" if "commit" in typed[0] else "main") == before[0]
    assert cloned.tip() == before[1]
    assert cloned.status() == "?? model.bin\n"
    (cloned.directory / ".git/index.lock").unlink(missing_ok=True)
    cloned.git("bisect", "reset")
    cloned.git("switch", "--quiet", "main")
    assert cloned.sync().committed
    cloned.assert_clean()
    cloned.assert_mirrored()


def test_what_others_pushed_is_merged_on_the_remote_only(cloned: Desk) -> None:
    cloned.sync()
    elsewhere(cloned, {"README.md": b"from the web\n", "theirs.bin": b"t" * 4000})
    before = cloned.head()
    cloned.write("config.json", b"{}\n")
    cloned.sync()
    assert cloned.git("rev-parse", "HEAD^") == before
    assert cloned.status() == ""
    assert (cloned.directory / "README.md").read_bytes() == b"# model\n"
    merged = clone(cloned.remote, cloned.base / "merged", "main")
    assert (merged / "README.md").read_bytes() == b"from the web\n"
    assert (merged / "config.json").read_bytes() == b"{}\n"
    cloned.git("pull", "--quiet", "--ff-only")
    cloned.assert_clean()
    assert (cloned.directory / "theirs.bin").read_bytes() == b"t" * 4000
    tip = cloned.tip()
    assert not cloned.sync().committed
    assert cloned.tip() == tip
    cloned.write("config.json", b"[]\n")
    cloned.sync()
    cloned.assert_clean()
    cloned.assert_mirrored()


def test_others_pushed_and_nothing_is_new_here(cloned: Desk) -> None:
    cloned.sync()
    elsewhere(cloned, {"README.md": b"from the web\n"})
    before = (cloned.head(), cloned.tip())
    assert not cloned.sync().committed
    assert (cloned.head(), cloned.tip()) == before
    cloned.git("gc", "--quiet", "--prune=now")
    cloned.write("config.json", b"{}\n")
    cloned.sync()
    assert cloned.status() == ""
    cloned.git("pull", "--quiet", "--ff-only")
    cloned.assert_clean()
    cloned.assert_mirrored()


@pytest.mark.parametrize("own", [b"", b"*.bin filter=lfs diff=lfs merge=lfs -text\n"])
def test_our_lines_for_git_lfs_are_no_change_of_the_users(own: bytes, fresh: Desk) -> None:
    """Larger files become LFS objects by lines that only the commit has; the user's own file stays as it is."""
    if own:
        fresh.write(".gitattributes", own)
    fresh.write("large.weights", random_bytes(10, 2_000_000))
    fresh.sync()
    fresh.assert_clean()
    fresh.assert_mirrored()
    assert (fresh.directory / ".gitattributes").exists() == bool(own)
    fresh.write("larger.weights", random_bytes(11, 2_000_000))
    fresh.write("notes.txt", b"notes\n")
    fresh.sync()
    fresh.assert_clean()
    fresh.assert_mirrored()
    if own:
        assert (fresh.directory / ".gitattributes").read_bytes() == own
        fresh.write(".gitattributes", own + b"*.gguf filter=lfs diff=lfs merge=lfs -text\n")
        fresh.sync()
        fresh.assert_clean()
        fresh.assert_mirrored()


@pytest.mark.parametrize("own", [b"", b"*.bin filter=lfs diff=lfs merge=lfs -text\n"])
def test_a_pull_brings_other_peoples_attributes(own: bytes, fresh: Desk) -> None:
    if own:
        fresh.write(".gitattributes", own)
    fresh.write("large.weights", random_bytes(12, 2_000_000))
    fresh.sync()
    fresh.git("remote", "add", "origin", str(fresh.remote))
    work = clone(fresh.remote, fresh.base / "colleague", "main")
    git("switch", "--quiet", "-C", "main", cwd=work)
    lines = (work / ".gitattributes").read_bytes()
    write(work / ".gitattributes", b"*.onnx filter=lfs diff=lfs merge=lfs -text\n" + lines)
    write(work / "theirs.onnx", b"o" * 5000)
    commit_and_push(work, fresh.remote)
    fresh.git("pull", "--quiet", "--ff-only", "origin", "main")
    assert (fresh.directory / "theirs.onnx").read_bytes() == b"o" * 5000
    fresh.write("notes.txt", b"notes\n")
    fresh.sync()
    assert fresh.status() == ""
    fresh.assert_sound()
    copy = clone(fresh.remote, fresh.base / "after", "main")
    assert (copy / "theirs.onnx").read_bytes() == b"o" * 5000
    assert b"*.onnx" in (copy / ".gitattributes").read_bytes()


def test_what_is_tracked_stays_so_although_it_is_ignored(cloned: Desk) -> None:
    cloned.write("run.log", b"kept on purpose\n")
    cloned.git("add", "run.log")
    cloned.git("commit", "--quiet", "-m", "a log")
    cloned.write(".gitignore", b"*.log\n")
    cloned.write("other.log", b"ignored\n")
    cloned.sync()
    cloned.assert_clean()
    cloned.write("run.log", b"and changed\n")
    cloned.sync()
    cloned.assert_clean()
    assert cloned.git("show", "HEAD:run.log") == "and changed"
    assert "other.log" not in cloned.git("ls-tree", "--name-only", "HEAD")


def plant(made: Desk, canary: Path) -> None:
    """Everything in a git dir that can name a program; each would leave its name in the canary."""
    git_dir = made.directory / ".git"

    def trap(name: str) -> str:
        file = write(made.base / "planted" / name, f"#!/bin/sh\necho {name} >> {canary}\nexit 1\n".encode())
        file.chmod(0o755)
        return str(file)

    hooks = ["applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-checkout", "post-commit", "post-index-change",
             "post-merge", "post-rewrite", "post-update", "pre-auto-gc", "pre-commit", "pre-push", "pre-receive",
             "prepare-commit-msg", "reference-transaction", "update", "sendemail-validate", "proc-receive"]  # fmt: skip
    for hook in hooks:
        shutil.copy(trap(f"hook-{hook}"), write(git_dir / "hooks" / hook, b""))
        shutil.copy(trap(f"path-{hook}"), write(made.base / "planted/hooks" / hook, b""))
    settings = {
        "core.hooksPath": str(made.base / "planted/hooks"),
        "core.fsmonitor": trap("fsmonitor"),
        "core.sshCommand": trap("ssh"),
        "core.gitProxy": trap("proxy"),
        "core.askPass": trap("askpass"),
        "core.editor": trap("editor"),
        "core.pager": trap("pager"),
        "core.alternateRefsCommand": trap("alternates"),
        "credential.helper": trap("credential"),
        "diff.external": trap("diff"),
        "gpg.program": trap("gpg"),
        "commit.gpgSign": "true",
        "tag.gpgSign": "true",
        "push.gpgSign": "true",
        "gc.auto": "1",
        "uploadpack.packObjectsHook": trap("pack"),
        "remote.origin.uploadpack": trap("uploadpack"),
        "remote.origin.receivepack": trap("receivepack"),
        "remote.origin.vcs": "ext",
        "filter.lfs.clean": trap("clean"),
        "filter.lfs.smudge": trap("smudge"),
        "filter.lfs.process": trap("process"),
        "lfs.customtransfer.evil.path": trap("agent"),
        "lfs.standalonetransferagent": "evil",
        "alias.push": f"!{trap('alias')}",
        "protocol.ext.allow": "always",
        f"url.ext::{trap('transport')} .insteadOf": str(made.remote),
    }
    for key, value in settings.items():
        made.git("config", key, value)
    write(git_dir / "more", f"[core]\n\tfsmonitor = {trap('included')}\n[trace2]\n\tnormalTarget = {canary}\n".encode())
    made.git("config", "include.path", "more")
    write(git_dir / "info/attributes", b"* filter=evil diff=evil\n")
    made.git("config", "filter.evil.clean", trap("evil-clean"))


@pytest.mark.parametrize("transfer", ["auto", "git-lfs"])
def test_nothing_that_is_planted_runs(transfer: str, cloned: Desk) -> None:
    from lfssync.model import TransferKind

    cloned.mirror = cloned.mirror._replace(transfer=TransferKind(transfer))
    cloned.sync()
    canary = cloned.base / "canary"
    plant(cloned, canary)
    cloned.write("model.bin", random_bytes(13, 2_000_000))
    cloned.write("notes.txt", b"notes\n")
    assert cloned.sync().committed
    (cloned.directory / "notes.txt").unlink()
    assert cloned.sync().committed
    delivering.tag(cloned.mirror, cloned.state, "v1", None, None, Session())
    assert not canary.exists(), canary.read_text()
    os.unlink(cloned.directory / ".git/config")
    assert_whole(cloned.remote)
    cloned.assert_mirrored()


def test_the_users_housekeeping_takes_nothing_away(cloned: Desk) -> None:
    for number in range(3):
        cloned.write(f"new-{number}.bin", random_bytes(number, 10_000))
        cloned.write("notes.txt", b"%d\n" % number)
        if number == 1:
            elsewhere(cloned, {"theirs.txt": b"theirs\n"})
        cloned.sync()
        cloned.git("reflog", "expire", "--expire=now", "--all")
        cloned.git("gc", "--quiet", "--aggressive", "--prune=now")
    assert cloned.status() == ""
    cloned.assert_sound()
    assert not list(cloned.state.glob("*damaged*"))


def test_housekeeping_while_the_remote_is_out_of_reach(cloned: Desk) -> None:
    cloned.sync()
    away = cloned.remote.rename(cloned.base / "away")
    cloned.write("model.bin", random_bytes(14, 10_000))
    cloned.write("notes.txt", b"notes\n")
    with pytest.raises(LfssyncError):
        cloned.sync()
    cloned.git("reflog", "expire", "--expire=now", "--all")
    cloned.git("gc", "--quiet", "--prune=now")
    away.rename(cloned.remote)
    cloned.sync()
    cloned.assert_clean()
    assert not list(cloned.state.glob("*damaged*"))
    cloned.assert_mirrored()


@pytest.mark.parametrize("options", [("--depth=1",), ("--filter=blob:none",)])
def test_a_clone_without_all_of_the_history(options: tuple[str, ...], cloned: Desk) -> None:
    elsewhere(cloned, {"README.md": b"second\n"})
    git("config", "uploadpack.allowFilter", "true", cwd=cloned.remote)
    git("clone", "--quiet", *options, f"file://{cloned.remote}", "part", cwd=cloned.base)
    part = desk(cloned.base, cloned.base / "part", cloned.remote)
    for number in range(2):
        part.write("model.bin", random_bytes(number, 10_000))
        part.write("README.md", b"%d\n" % number)
        part.sync()
        assert part.status() == ""
        assert part.head() == part.tip()
        elsewhere(cloned, {"theirs.txt": b"%d\n" % number}, f"colleague-{number}")
        part.write("notes.txt", b"%d\n" % number)
        part.sync()
        part.git("pull", "--quiet", "--ff-only")
        assert part.status() == ""
    assert_whole(cloned.remote)
    part.assert_mirrored()


def test_a_git_dir_that_is_made_anew(cloned: Desk) -> None:
    """Its objects went with it, and so did what our own refs pointed at."""
    cloned.write("notes.txt", b"notes\n")
    cloned.sync()
    git("clone", "--quiet", "--no-checkout", cloned.remote, "again", cwd=cloned.base)
    shutil.rmtree(cloned.directory / ".git")
    (cloned.base / "again/.git").rename(cloned.directory / ".git")
    cloned.git("reset", "--quiet")
    cloned.write("notes.txt", b"more notes\n")
    cloned.sync()
    cloned.assert_sound()
    cloned.assert_mirrored()
    assert cloned.status() == ""


def test_names_by_sha256_are_refused(tmp_path: Path) -> None:
    made = desk(tmp_path, tmp_path / "work", make_bare(tmp_path / "remote.git"))
    made.write("config.json", b"{}\n")
    made.git("init", "--quiet", "--object-format=sha256")
    with pytest.raises(UserError, match="sha256"):
        made.sync()


@pytest.mark.parametrize("content", [None, b"junk", b"gitdir: /nowhere\n", b""])
def test_a_git_entry_that_is_none(content: bytes | None, tmp_path: Path) -> None:
    made = desk(tmp_path, tmp_path / "work", make_bare(tmp_path / "remote.git"))
    made.write("config.json", b"{}\n")
    if content is None:
        (made.directory / ".git").mkdir()
    else:
        made.write(".git", content)
    with pytest.raises(UserError, match=r"\.git is no git dir"):
        made.sync()


def test_the_permissions_of_the_index_stay(cloned: Desk) -> None:
    index = cloned.directory / ".git/index"
    index.chmod(0o660)
    cloned.write("config.json", b"{}\n")
    cloned.sync()
    assert stat.S_IMODE(index.stat().st_mode) == 0o660


def test_an_index_that_is_damaged_is_not_made_worse(cloned: Desk) -> None:
    cloned.sync()
    index = cloned.directory / ".git/index"
    index.write_bytes(index.read_bytes()[:40])
    cloned.write("config.json", b"{}\n")
    before = (cloned.head(), index.read_bytes())
    with pytest.raises(LfssyncError, match="index"):
        cloned.sync()
    assert (cloned.head(), index.read_bytes()) == before
    index.unlink()
    cloned.git("reset", "--quiet")
    cloned.sync()
    cloned.assert_mirrored()
    assert cloned.status() == ""
