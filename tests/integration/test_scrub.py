"""A scrub finds what the remote lost or damaged, mends what can be mended, and names the rest until it is back."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lfssync.commandline.documents import status_document
from lfssync.commandline.statuslines import status_lines
from lfssync.errors import TransientError
from lfssync.line.pipeline import Order, run_pass
from lfssync.line.scrub import scrub
from lfssync.line.workbench import Session
from lfssync.model import LfsObject, State
from lfssync.records.report import Report, last_scrub, read_status
from lfssync.records.store import Store
from lfssync.results import Scrubbed
from lfssync.rules.scrubplan import DAY_S
from lfssync.service import delivering
from lfssync.service.operations import DaemonInfo
from lfssync.versions.releases import release
from tests.contract.lfsserver import LfsServer, serving
from tests.helpers import assert_whole, random_bytes
from tests.integration.daemons import Pair, configure, lfssync, status
from tests.integration.site import Site

SIZE = 1 << 20
OLD, NEW = random_bytes(1, SIZE), random_bytes(2, SIZE)


def lfs(content: bytes) -> LfsObject:
    return LfsObject(hashlib.sha256(content).hexdigest(), len(content))


def object_file(objects: Path, content: bytes) -> Path:
    oid = lfs(content).oid
    return objects / oid[:2] / oid[2:4] / oid


def remove(file: Path) -> None:
    file.unlink()


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[SIZE // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A repository on a disk, with an object that only the history has, and one that the directory still has."""
    site = Site.make(tmp_path, headroom_bytes=0)
    site.put({b"model.safetensors": OLD})
    site.put({b"model.safetensors": NEW, b"config.json": b"{}"})
    return site


@pytest.fixture
def served(tmp_path: Path, site: Site) -> Iterator[LfsServer]:
    """The same, with the objects on a server that believes names and sizes."""
    with serving(tmp_path / "served", is_checking=False) as server:
        site.configure(lfs_url=f"{server.address}/model.git/info/lfs")
        site.lay({b"model.safetensors": OLD})
        site.sync()
        site.lay({b"model.safetensors": NEW})
        site.sync()
        yield server


def scrubbed(site: Site, sample: int | None = None) -> Scrubbed:
    return scrub(site.mirror, site.state, sample, Session())


def objects_of(site: Site) -> Path:
    return site.remote / "lfs/objects"


# -- a repository on a disk ------------------------------------------------------------------------------------------


def test_a_remote_in_order_is_said_to_be(site: Site) -> None:
    began = time.time()
    found = scrubbed(site, 3)
    assert (found.objects, found.looked, found.sampled) == (2, 2, 0)
    assert (found.missing, found.damaged, found.lost) == ((), (), ())
    assert found.since is not None
    assert found.since >= began
    assert read_status(site.mirror, site.state).scrubbed_at == found.since


@pytest.mark.parametrize("damage", [remove, flip])
def test_what_the_directory_still_has_is_sent_again(site: Site, damage: Callable[[Path], None]) -> None:
    damage(object_file(objects_of(site), NEW))
    found = scrubbed(site)
    assert found.missing == found.mended == (lfs(NEW),)
    assert found.lost == ()
    assert_whole(site.remote)
    assert read_status(site.mirror, site.state).state is State.IDLE
    assert scrubbed(site).missing == ()


@pytest.mark.parametrize("damage", [remove, flip])
def test_what_is_nowhere_is_named_until_it_is_back(site: Site, damage: Callable[[Path], None]) -> None:
    damage(object_file(objects_of(site), OLD))
    found = scrubbed(site)
    assert found.mended == ()
    assert [(one.oid, one.path) for one in found.lost] == [(lfs(OLD).oid, "model.safetensors")]
    assert found.since is None
    for _ in range(2):
        shown = read_status(site.mirror, site.state)
        assert shown.state is State.BLOCKED
        assert shown.error
        assert f"model.safetensors ({lfs(OLD).oid[:10]})" in shown.error["message"]
        assert "put the file back" in shown.error["remedy"]
        site.sync()  # nothing keeps new work from being delivered
    site.put({b"found/again.safetensors": OLD})
    assert read_status(site.mirror, site.state).state is State.IDLE
    assert scrubbed(site).lost == ()
    assert_whole(site.remote)


def test_what_only_a_release_names_is_looked_at(site: Site) -> None:
    release(site.mirror, site.state, "v1", None, None, Session())
    site.put({b"model.safetensors": random_bytes(3, SIZE)})
    assert scrubbed(site).objects == 3


def test_a_copy_kept_here_mends(site: Site) -> None:
    copy = object_file(site.state / "repo.git/lfs/objects", OLD)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(OLD)
    remove(object_file(objects_of(site), OLD))
    assert scrubbed(site).mended == (lfs(OLD),)


def test_a_text_like_a_pointer_is_no_object(site: Site) -> None:
    site.put({b"note.txt": lfs(b"nothing of the kind").pointer()})
    found = scrubbed(site)
    assert not found.lost
    assert not found.missing


def test_a_remote_out_of_reach_is_no_loss(site: Site) -> None:
    site.remote.rename(site.base / "away.git")
    with pytest.raises(TransientError):
        scrubbed(site)


def test_an_empty_remote_has_nothing(tmp_path: Path) -> None:
    site = Site.make(tmp_path)
    assert scrubbed(site).objects == 0


# -- a server --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [OLD, NEW])
def test_a_server_that_lost_an_object(site: Site, served: LfsServer, content: bytes) -> None:
    remove(object_file(served.objects, content))
    found = scrubbed(site, 0)
    assert found.missing == (lfs(content),)
    is_here = content == NEW
    assert found.mended == ((lfs(content),) if is_here else ())
    assert len(found.lost) == (0 if is_here else 1)
    assert object_file(served.objects, content).exists() == is_here


def test_a_server_that_gives_other_bytes_is_found_out_by_the_sample(site: Site, served: LfsServer) -> None:
    flip(object_file(served.objects, NEW))
    assert not scrubbed(site, 0).damaged, "it says that it has it"
    found = scrubbed(site, None)
    assert found.sampled == 2
    assert found.damaged == (lfs(NEW),)
    assert found.mended == (), "it takes nothing that it says it has"
    assert "have it deleted there" in found.lost[0].remedy
    shown = read_status(site.mirror, site.state)
    assert shown.state is State.BLOCKED
    site.sync()
    assert read_status(site.mirror, site.state).state is State.BLOCKED, "its word counts for nothing any more"
    remove(object_file(served.objects, NEW))
    found = scrubbed(site, None)
    assert found.mended == (lfs(NEW),)
    assert read_status(site.mirror, site.state).state is State.IDLE


def test_a_sample_is_a_sample(site: Site, served: LfsServer) -> None:
    assert scrubbed(site, 1).sampled == 1
    assert scrubbed(site, 100).sampled == 2


# -- a little each day -----------------------------------------------------------------------------------------------


def pass_of_the_daemon(site: Site) -> None:
    run_pass(site.mirror, site.state, Order(verify=True, scrubs=True), Session())


def let_a_day_pass(site: Site) -> None:
    """As if the last look had been a day ago."""
    with Store(site.state / "state.db") as store:
        report = Report(store, site.mirror)
        endpoint = str(objects_of(site))
        report.scrubbed(endpoint, time.time() - DAY_S - 1, None, (), ())


def test_the_daemon_looks_once_a_day(site: Site) -> None:
    pass_of_the_daemon(site)  # everything has just been delivered
    began = read_status(site.mirror, site.state).scrubbed_at
    with Store(site.state / "state.db") as store:
        last = last_scrub(store, site.mirror)
    assert began is not None
    remove(object_file(objects_of(site), NEW))
    run_pass(site.mirror, site.state, Order(scrubs=True), Session())
    assert not object_file(objects_of(site), NEW).exists(), "it is not time yet"
    with Store(site.state / "state.db") as store:
        assert last_scrub(store, site.mirror) == last, "what did not happen does not put off what is to"
    let_a_day_pass(site)
    run_pass(site.mirror, site.state, Order(scrubs=True), Session())
    assert object_file(objects_of(site), NEW).read_bytes() == NEW
    later = read_status(site.mirror, site.state).scrubbed_at
    assert later is not None
    assert later >= began


def test_a_day_s_share_does_not_keep_the_daemon_from_ending(site: Site) -> None:
    """It is told to end while it looks: the rest has its turn another day."""
    for number in range(150):
        site.lay({b"%d.bin" % number: random_bytes(100 + number, 1 << 10) * 70})
    site.sync()
    session = Session()
    session.last_call.until = time.monotonic() + 60
    found = scrub(site.mirror, site.state, 0, session)
    assert found.objects == 152
    assert found.looked == 100


def test_what_the_daemon_finds_lost_shows(site: Site) -> None:
    pass_of_the_daemon(site)
    flip(object_file(objects_of(site), OLD))
    let_a_day_pass(site)
    pass_of_the_daemon(site)
    shown = read_status(site.mirror, site.state)
    assert shown.state is State.BLOCKED
    assert shown.error


# -- what people and scripts see -------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    pair = Pair.make(tmp_path)
    (pair.directory / "model.safetensors").write_bytes(OLD)
    configure(pair.table())
    assert lfssync("sync").returncode == 0
    good = lfssync("scrub")
    assert good.returncode == 0, good.stderr
    assert good.stdout == "model: 1 LFS object on the remote: all in order\n"
    assert "scrubbed" in lfssync("status").stdout
    remove(object_file(pair.remote / "lfs/objects", OLD))
    mended = lfssync("scrub", "model", "--sample", "all")
    assert mended.stdout == "model: 1 LFS object on the remote: 1 missing, 0 damaged, 1 sent again\n"
    (pair.directory / "model.safetensors").write_bytes(NEW)
    assert lfssync("sync").returncode == 0
    flip(object_file(pair.remote / "lfs/objects", OLD))
    lost = lfssync("scrub", "--json")
    assert lost.returncode == 4
    assert lost.stderr.startswith("error: model: the remote has lost 1 LFS object, first model.safetensors; put the")
    (told,) = json.loads(lost.stdout)["mirrors"]
    assert told["missing"] == [lfs(OLD).oid]
    assert told["lost"][0]["path"] == "model.safetensors"
    assert told["scrubbed_at"] is None
    assert status().state is State.BLOCKED
    assert "lost     model.safetensors (1.0 MB, lfs " in lfssync("scrub").stdout
    pair.remote.rename(tmp_path / "away.git")
    gone = lfssync("scrub", "--json")
    assert gone.returncode == 1
    assert json.loads(gone.stdout)["mirrors"][0]["error"]["kind"] == "offline"
    assert lfssync("scrub", "--sample", "some").returncode == 2


def test_status_says_since_when_all_is_in_order(site: Site) -> None:
    found = scrubbed(site)
    shown = read_status(site.mirror, site.state)
    assert shown.scrubbed_at == found.since
    document = status_document([shown], DaemonInfo(False))
    assert document["mirrors"][0]["scrubbed_at"].endswith("Z")
    assert status_document([shown._replace(scrubbed_at=None)], DaemonInfo(False))["mirrors"][0]["scrubbed_at"] is None
    assert shown.scrubbed_at
    text = "\n".join(
        "".join(span.text for span in row) for row in status_lines([shown], DaemonInfo(False), time.time())
    )
    assert "all LFS objects were in order" in text


def test_a_pass_that_is_not_the_daemons_looks_at_nothing(site: Site) -> None:
    pass_of_the_daemon(site)
    let_a_day_pass(site)
    remove(object_file(objects_of(site), OLD))
    delivering.sync(site.mirror, site.state, Order(), Session())
    assert read_status(site.mirror, site.state).state is State.IDLE
