"""A whole delivery to a git host over HTTP: few requests, nothing copied, and a stock clone that has all of it."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import lfssync
from lfssync.commandline.cli import main
from lfssync.credentials import Credential
from lfssync.credentials.ladder import Ladder
from lfssync.errors import AuthError, BlockedError, LfssyncError, UserError
from lfssync.git.gitcommand import Git
from lfssync.line.pipeline import Order, run_pass
from lfssync.line.transfers import transfer_for
from lfssync.line.workbench import Session
from lfssync.model import LfsObject, Mirror, PassResult, TransferKind, silent
from lfssync.places import Places
from lfssync.rules.remotes import parse_remote
from lfssync.transfer import Transfer, Uploaded
from lfssync.transfer.ahead import Ahead, getting_ready
from lfssync.transfer.endpoint import OnlyOverSshError
from lfssync.transfer.gitlfs import GitLfsTransfer
from lfssync.transfer.http import open_http
from lfssync.transfer.overssh import StockIfNeeded
from tests.contract.lfsserver import Reply, serving
from tests.helpers import clone, git, lfs_fsck, make_bare, random_bytes, tree, write
from tests.servers import githost
from tests.servers.giftless import giftless
from tests.servers.githost import TOKEN, GitHost


@pytest.fixture
def host(tmp_path: Path) -> Iterator[GitHost]:
    with giftless(tmp_path / "giftless") as lfs, githost.serve(GitHost(tmp_path / "host", lfs)) as there:
        yield there


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFSSYNC_TOKEN", TOKEN)
    with open(os.environ["GIT_CONFIG_GLOBAL"], "a") as file:  # for the stock clone
        file.write(f'[credential]\n\thelper = "!f() {{ echo username=me; echo password={TOKEN}; }}; f"\n')


def lfs_requests(host: GitHost) -> list[tuple[str, str]]:
    return [(one.method, one.path.rpartition("/")[2]) for one in host.asked if "/info/lfs/" in one.path]


@pytest.mark.usefixtures("login")
def test_a_model_arrives_and_stock_git_gets_it_back(host: GitHost, tmp_path: Path) -> None:
    host.create("me/model")
    model = tmp_path / "model"
    for number in range(5):
        write(model / f"part-{number}.bin", random_bytes(number, 4_000_000))
    write(model / "config.json", b"{}")
    result = lfssync.push(model, host.url("me/model"))
    assert result.receipt is not None
    assert result.receipt.objects == 5
    asked = [method_path for method_path in lfs_requests(host) if method_path[1] != "verify"]
    batches = [one for one in asked if one == ("POST", "batch")]
    assert len(batches) == 2, "one to ask what is missing and where it goes, one to have it confirmed"
    assert sum(method == "PUT" for method, _ in asked) == 5
    copy = clone(host.url("me/model"), tmp_path / "clone")
    lfs_fsck(copy)
    there = tree(copy)
    assert there.pop(b".gitattributes")
    assert there == tree(model)


@pytest.mark.usefixtures("login")
def test_what_is_there_is_not_sent_again(host: GitHost, tmp_path: Path) -> None:
    host.create("me/model")
    host.create("me/other")
    model = tmp_path / "model"
    write(model / "model.bin", random_bytes(1, 2_000_000))
    lfssync.push(model, host.url("me/model"))
    host.asked.clear()
    write(model / "more.bin", random_bytes(2, 2_000_000))
    lfssync.push(model, host.url("me/model"))
    assert sum(method == "PUT" for method, _ in lfs_requests(host)) == 1


@pytest.mark.usefixtures("login")
def test_links_that_lead_elsewhere_get_no_token(host: GitHost, tmp_path: Path) -> None:
    host.links_lead_elsewhere = True
    host.create("me/model")
    write(tmp_path / "model" / "model.bin", random_bytes(1, 2_000_000))
    lfssync.push(tmp_path / "model", host.url("me/model"))
    assert {method for method, _ in lfs_requests(host)} == {"POST"}
    assert TOKEN not in (host.lfs.log.read_text() if host.lfs else "")


def test_a_wrong_token_is_one_error(
    host: GitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LFSSYNC_TOKEN", "wrong-token")
    host.create("me/model")
    write(tmp_path / "model" / "model.bin", random_bytes(1, 2_000_000))
    assert main(["push", str(tmp_path / "model"), host.url("me/model")]) == 5
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert "wrong-token" not in said
    assert len(host.asked) < 20


@pytest.mark.usefixtures("login")
def test_a_quota_stops_before_the_commit(host: GitHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = host.create("me/model")
    write(tmp_path / "model" / "model.bin", random_bytes(1, 2_000_000))
    host.interfere = lambda asked: (
        githost.Reply(507, (("Content-Type", "application/json"),), b'{"message": "storage is full"}')
        if asked.method == "PUT"
        else None
    )
    assert main(["push", str(tmp_path / "model"), host.url("me/model")]) == 4
    said = capsys.readouterr().err
    assert "HTTP 507 (storage is full)" in said
    assert "model.bin" in said
    assert "quota" in said
    assert git("for-each-ref", cwd=repository) == b""


@pytest.mark.usefixtures("login")
def test_a_server_that_lies_gets_its_commit_only_when_the_objects_are_there(host: GitHost, tmp_path: Path) -> None:
    """It takes the object and loses it: the confirmation finds out, everything is sent again, and then it is right."""
    repository = host.create("me/model")
    write(tmp_path / "model" / "model.bin", random_bytes(1, 2_000_000))
    assert host.lfs
    objects = host.lfs.storage

    def loses_once(asked: githost.Asked) -> githost.Reply | None:
        if asked.path.endswith("/git-receive-pack") and "POST" in asked.method and not lost:
            for file in objects.rglob("*"):
                if file.is_file():
                    lost.append(file)
                    file.unlink()
        return None

    lost: list[Path] = []
    host.interfere = loses_once
    result = lfssync.push(tmp_path / "model", host.url("me/model"))
    assert lost
    assert result.receipt is not None
    assert all(file.exists() for file in lost)
    assert git("rev-parse", "main", cwd=repository).decode().strip() == result.commit


# ---- files that are touched while they are sent (faults 21, 22)


class Sent(NamedTuple):
    """A model of one file, of which something happens as soon as the host is about to take it."""

    file: Path
    content: bytes
    host: GitHost

    def touched(self, touch: Callable[[Path], object]) -> PassResult:
        """Deliver it; gives what the pass says that met the touch."""
        touched: list[str] = []

        def interfere(asked: githost.Asked) -> None:
            if asked.method == "PUT" and not touched:
                touched.append(asked.path)
                touch(self.file)

        self.host.interfere = interfere
        mirror = Mirror("model", self.file.parent, self.host.url("me/model"), quiet_s=0.0)
        state = self.file.parent.parent / "state"
        session = Session(login=Ladder.configured(Places.from_environment(os.environ), os.environ))
        result = run_pass(mirror, state, Order(), session)
        assert touched
        return result

    @property
    def there(self) -> list[bytes]:
        """What the LFS server holds in full length."""
        assert self.host.lfs
        files = [file for file in self.host.lfs.storage.rglob("*") if file.is_file()]
        return [content for file in files if len(content := file.read_bytes()) == len(self.content)]


@pytest.fixture
def sent(host: GitHost, login: None, tmp_path: Path) -> Sent:
    host.create("me/model")
    content = random_bytes(1, 30_000_000)  # more than is under way in buffers
    return Sent(write(tmp_path / "model" / "model.bin", content), content, host)


def _through_memory(file: Path) -> None:
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        mapped[len(mapped) // 2] ^= 0xFF


def _in_place(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(29_999_000)
        opened.write(b"something else")


@pytest.mark.parametrize("touch", [_through_memory, _in_place])
def test_what_is_written_while_it_is_sent_waits(sent: Sent, touch: Callable[[Path], object]) -> None:
    result = sent.touched(touch)
    assert [one.path for one in result.deferred] == [b"model.bin"]
    assert sent.there == []


@pytest.mark.parametrize("touch", [lambda file: file.rename(file.with_suffix(".old")), Path.unlink, os.utime])
def test_what_is_renamed_or_deleted_while_it_is_sent_arrives(sent: Sent, touch: Callable[[Path], object]) -> None:
    result = sent.touched(touch)
    assert (result.added, result.deferred) == (1, ())
    assert sent.there == [sent.content]


# ---- which transfer it is


def chosen(remote: str, kind: TransferKind, tmp_path: Path, **keys: str) -> Transfer:
    git_dir = tmp_path / "mirror.git"
    return transfer_for(
        Mirror("model", tmp_path, remote, transfer=kind, **keys),  # type: ignore[arg-type]
        Git(git_dir if git_dir.exists() else make_bare(git_dir)),
    )


@pytest.mark.parametrize(
    ("remote", "kind", "expected"),
    [
        ("https://host.example.org/me/model.git", TransferKind.AUTO, Ahead),
        ("https://host.example.org/me/model.git", TransferKind.HTTP, Ahead),
        ("https://host.example.org/me/model.git", TransferKind.GIT_LFS, GitLfsTransfer),
        ("http://127.0.0.1:1/me/model.git", TransferKind.AUTO, Ahead),
        ("ssh://git@host.example.org/me/model.git", TransferKind.AUTO, StockIfNeeded),
        ("git@host.example.org:me/model.git", TransferKind.HTTP, Ahead),
        ("git@host.example.org:me/model.git", TransferKind.GIT_LFS, GitLfsTransfer),
    ],
)
def test_the_remote_and_the_configuration_choose(
    remote: str, kind: TransferKind, expected: type, tmp_path: Path
) -> None:
    """Nothing is asked of the network for that."""
    assert type(chosen(remote, kind, tmp_path)) is expected


def test_what_is_made_later_bears_the_name_that_evidence_is_recorded_under(tmp_path: Path) -> None:
    remote, lfs_url = "https://host.example.org/me/model", "https://lfs.example.org/me"
    git, where = Git(make_bare(tmp_path / "mirror.git")), parse_remote(remote, tmp_path)
    for mirror in (Mirror("m", tmp_path, remote), Mirror("m", tmp_path, remote, lfs_url=lfs_url)):
        assert transfer_for(mirror, git).endpoint == open_http(mirror, where, git).endpoint


def test_a_login_that_is_known_to_be_wanted_is_looked_for_before_anything_is_asked(tmp_path: Path) -> None:
    """So a keyring has its time while files are read; a server of which nobody knows is no reason to ask it."""
    looks: list[str] = []

    class Notes(Knows):
        def find(self, url: str) -> Credential:
            looks.append(threading.current_thread().name)
            return super().find(url)

    with serving(tmp_path / "served") as server:
        server.interfere = lambda asked: None if "Authorization" in asked.headers else Reply(401)
        git = Git(make_bare(tmp_path / "m.git"), login=Notes())
        mirror = Mirror("m", tmp_path, f"{server.address}/me/model")
        for has_wanted_one in (False, True):
            transfer = transfer_for(mirror, git)
            with getting_ready(transfer):
                pass
            assert (looks, server.asked) == (["ahead"] if has_wanted_one else [], [])
            transfer.missing([LfsObject("1" * 64, 1)])
            assert len(looks) == 1
            looks.clear()
            server.asked.clear()


def test_http_needs_a_server(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='transfer = "http"'):
        chosen(str(make_bare(tmp_path / "remote.git")), TransferKind.HTTP, tmp_path)


class Steps:
    """A transfer that notes what it is told to do."""

    def __init__(self, name: str, error: LfssyncError | None = None) -> None:
        self.name = name
        self.error = error
        self.done: list[str] = []

    @property
    def endpoint(self) -> str:
        return self.name

    def _do(self, what: str) -> None:
        self.done.append(what)
        if self.error:
            raise self.error

    def missing(self, objects: object) -> list[LfsObject]:
        self._do("missing")
        return [LfsObject("1" * 64, 1)]

    def locked(self) -> None:
        self._do("locked")

    def upload(self, sources: object, monitor: object) -> Uploaded:
        self._do("upload")
        return Uploaded(5)

    def confirm(self, objects: object) -> None:
        self._do("confirm")

    def download(self, lfs: object, destination: object, monitor: object) -> None:
        self._do("download")

    def part(self, lfs: object, offset: object, count: object) -> bytes:
        self._do("part")
        return b""


Job = Callable[[Transfer], object]
JOBS: dict[str, Job] = {
    "missing": lambda transfer: transfer.missing([]),
    "upload": lambda transfer: transfer.upload([], silent),
    "confirm": lambda transfer: transfer.confirm([]),
    "download": lambda transfer: transfer.download(LfsObject("1" * 64, 1), Path("back"), silent),
    "part": lambda transfer: transfer.part(LfsObject("1" * 64, 1), 0, 1),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_server_that_speaks_lfs_over_ssh_alone_is_left_to_stock_git_lfs(name: str) -> None:
    first, stock = Steps("http", OnlyOverSshError("only ssh")), Steps("git-lfs")
    both = StockIfNeeded(first, stock)
    JOBS[name](both)
    JOBS[name](both)
    assert (first.done, stock.done) == ([name], [name, name])
    assert both.endpoint == "http", "evidence stays what it is about"


def test_other_errors_are_errors() -> None:
    for error in (AuthError("no"), BlockedError("no")):
        both = StockIfNeeded(Steps("http", error), stock := Steps("git-lfs"))
        with pytest.raises(type(error)):
            both.missing([])
        assert stock.done == []
    with pytest.raises(OnlyOverSshError):
        StockIfNeeded(Steps("http", OnlyOverSshError("1")), Steps("git-lfs", OnlyOverSshError("2"))).missing([])


# ---- how a login is sent


class Knows:
    def find(self, url: str) -> Credential:
        return Credential("me", "hf_token")

    def refused(self, url: str, credential: Credential) -> None:
        pass


@pytest.mark.parametrize("is_hub", [True, False])
def test_the_hub_gets_a_bearer_and_others_a_basic_login(
    is_hub: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "served") as server:
        if is_hub:
            monkeypatch.setenv("HF_ENDPOINT", server.address)
        remote = f"{server.address}/me/model"
        transfer = transfer_for(Mirror("m", tmp_path, remote), Git(make_bare(tmp_path / "m.git"), login=Knows()))
        server.interfere = lambda asked: None if "Authorization" in asked.headers else Reply(401)
        transfer.missing([LfsObject("1" * 64, 1)])
        del transfer
    *before, asked = server.asked
    assert len(before) == (0 if is_hub else 1), "the Hub is not asked as a stranger"
    assert asked.path == "/me/model.git/info/lfs/objects/batch"
    assert asked.headers["Authorization"].split()[0] == ("Bearer" if is_hub else "Basic")
