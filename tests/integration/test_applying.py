"""Release rules on real repositories: what they make is there, is made once, is never moved, and blocks nothing."""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lfssync.errors import TransientError
from lfssync.line.delivery import Delivery
from lfssync.line.pipeline import Order
from lfssync.line.workbench import Session
from lfssync.records.report import read_status
from lfssync.records.store import Store
from lfssync.service import delivering
from lfssync.versions import applying, history
from lfssync.wishes import Rule, When
from tests.helpers import git, write
from tests.integration.site import Content, Site

STEPS = Rule(When.CHECKPOINT, "step-{step}")
BEST = Rule(When.BEST, "best-{step}", "best", "eval_loss")
LATEST = Rule(When.PUSH, "", "latest")
MARKER = Rule(When.MARKER)


def checkpoint(step: int, loss: float | None = None) -> dict[bytes, Content]:
    log = [] if loss is None else [{"step": step, "eval_loss": loss}]
    state = json.dumps({"global_step": step, "log_history": log}).encode()
    return {b"checkpoint-%d/trainer_state.json" % step: state, b"checkpoint-%d/w" % step: b"%d" % step}


def gone(step: int) -> dict[bytes, Content]:
    return {b"checkpoint-%d/trainer_state.json" % step: None, b"checkpoint-%d/w" % step: None}


def refs(site: Site, kind: str = "tags") -> dict[str, str]:
    form = "%(refname:strip=2) %(objectname) %(*objectname)"
    lines = git("for-each-ref", f"--format={form}", f"refs/{kind}", cwd=site.remote).decode().splitlines()
    return {words[0]: words[-1] for line in lines if (words := line.split())}


def refused(site: Site) -> list[str]:
    entries = history.log(site.mirror, site.state, 50)
    return [entry.text for entry in entries if entry.kind.value == "refused"]


def forget(site: Site) -> None:
    with Store(site.state / "state.db") as store, store.transaction():
        store.record_facts({"releases": None})


def commit_of(site: Site, subject: str) -> str:
    [found] = git("log", "--format=%H", f"--grep=^{subject}", "main", cwd=site.remote).decode().split()
    return found


def test_checkpoints_and_the_best_of_them_are_released_and_rotation_changes_nothing(tmp_path: Path) -> None:
    site = Site.make(tmp_path, tag=(STEPS, BEST, LATEST), into="models/a", lfs_threshold_bytes=60)
    site.put({**checkpoint(100, 2.0), **checkpoint(200, 1.5)})
    assert set(refs(site)) == {"step-100", "step-200", "best-200"}  # of what was there before the rule, the best alone
    assert refs(site)["step-200"] == refs(site)["best-200"] == refs(site, "heads")["best"]
    site.put({**checkpoint(300, 1.7), **gone(100)})
    site.put({**checkpoint(400, 1.2), **gone(200)})
    site.put({b"notes": b"1", **gone(300)})
    wanted = {f"step-{step}" for step in (100, 200, 300, 400)} | {"best-200", "best-400"}
    tags = refs(site)
    assert set(tags) == wanted
    for step in (100, 300, 400):
        assert tags[f"step-{step}"] == commit_of(site, f"Add checkpoint-{step}")
    assert refs(site, "heads") == {"main": site.tip(), "latest": site.tip(), "best": tags["step-400"]}
    assert set(read_status(site.mirror, site.state).tags) == wanted
    text = git("for-each-ref", "--format=%(contents)", "refs/tags/best-400", cwd=site.remote).decode()
    assert text.startswith("checkpoint-400: the best eval_loss so far, 1.2\n\n")
    forget(site)  # killed before it was noted, or lost
    site.sync()
    assert (refs(site), refused(site)) == (tags, [])
    site.put(checkpoint(500, 1.3))  # what was best is known again
    assert set(refs(site)) == wanted | {"step-500"}


def test_a_marker_releases_and_a_version_that_exists_is_said_once(tmp_path: Path) -> None:
    site = Site.make(tmp_path, tag=(MARKER,))
    site.put({b"a": b"1", b"RELEASE": b"v1.0.0\n\nLonger context\n"})
    first = site.tip()
    assert refs(site) == {"v1.0.0": first}
    text = git("for-each-ref", "--format=%(contents)", "refs/tags/v1.0.0", cwd=site.remote).decode()
    assert text.startswith("Longer context\n\n3 files")
    assert (site.directory / "RELEASE").is_file()
    assert site.put({b"a": b"2"}).warnings == ()  # the same words once more are no new release
    forget(site)
    assert site.sync().warnings == ()
    git("tag", "v2.0.0", first, cwd=site.remote)
    words = f"the tag v2.0.0 is on {first[:7]} already, so it is not put on "
    warned = site.put({b"RELEASE": b"v2.0.0"}).warnings
    assert [warning.startswith(words) for warning in warned] == [True]
    assert site.sync().warnings == warned  # for as long as nothing new comes
    assert read_status(site.mirror, site.state).warnings == warned
    assert refs(site) == {"v1.0.0": first, "v2.0.0": first}
    assert len(refused(site)) == 1
    assert site.put({b"RELEASE": b"v 3"}).warnings[0].startswith("a release rule cannot name")
    assert site.put({b"RELEASE": b"v3.0.0"}).warnings == ()
    assert refs(site)["v3.0.0"] == site.tip()


def test_what_is_no_marker_makes_no_tag_and_is_said(tmp_path: Path) -> None:
    site = Site.make(tmp_path, tag=(MARKER, Rule(When.MARKER, file="meta/NEXT")), into="models/a")
    site.put({b"a": b"1", b"RELEASE": "\ufeffv1\n".encode()})
    site.put({b"a": b"2", b"RELEASE": b"\nv1\n"})
    (site.directory / "RELEASE").unlink()
    (site.directory / "RELEASE").symlink_to("v1")
    link = site.sync().warnings
    assert link == ("RELEASE makes no release: it is a symbolic link; make it a file",)
    assert site.sync().warnings == link
    (site.directory / "RELEASE").unlink()
    pointed = site.put({b".gitattributes": b"NEXT filter=lfs diff=lfs merge=lfs -text\n", b"meta/NEXT": b"v2\n"})
    assert pointed.warnings == (
        "meta/NEXT makes no release: it is stored in LFS; keep it out of that, such as with -filter in .gitattributes",
    )
    assert refs(site) == {}
    assert [words.partition(": ")[2].partition(";")[0] for words in reversed(refused(site))] == [
        "it begins with a byte order mark",
        "its first line is empty",
        "it is a symbolic link",
        "it is stored in LFS",
    ]
    site.put({b"RELEASE": b"v1", b"meta/NEXT": b"v2\n", b".gitattributes": b"NEXT -filter\n"})
    assert refs(site) == {"v1": site.tip(), "v2": site.tip()}


def test_a_marker_waits_for_what_is_still_written(tmp_path: Path) -> None:
    site = Site.make(tmp_path, tag=(MARKER,))
    site.lay({b"RELEASE": b"v1", b"log": b""})
    with (site.directory / "log").open("ab") as file:
        file.write(b"more")
        file.flush()
        assert "nothing else waits" in site.sync().warnings[0]
        assert refs(site) == {}
    assert site.sync().warnings == ()
    assert refs(site) == {"v1": site.tip()}


def is_within(repository: Path, old: str, new: str) -> bool:
    command = ["git", "merge-base", "--is-ancestor", old, new]
    return subprocess.run(command, cwd=repository, check=False).returncode == 0


def test_two_machines_release_by_their_markers_at_once(tmp_path: Path) -> None:
    """Each tag is made once, by whoever comes first; nothing is moved and nothing is blocked."""
    one = Site.make(tmp_path, "one", tag=(MARKER,), into="one")
    other = Site.make(tmp_path, "other", remote=one.remote, tag=(MARKER,), into="other")
    before: dict[str, str] = {}
    for number in range(4):
        version = f"v{number}"
        for each in (one, other):
            each.lay({b"RELEASE": version.encode(), b"w": f"{each.mirror.name} {number}".encode()})
        with ThreadPoolExecutor(2) as pool:
            results = [end.result() for end in [pool.submit(each.sync) for each in (one, other)]]
        tags = refs(one)
        assert set(tags) == {*before, version}
        assert all(tags[name] == commit for name, commit in before.items())
        for result in results:
            # A release whose commit has the other's, because that was merged before, has released that as well.
            is_released = is_within(one.remote, str(result.commit), tags[version])
            lost = [] if is_released else [f"the tag {version} is on {tags[version][:7]} already"]
            assert [warning.partition(",")[0] for warning in result.warnings] == lost
        assert all(read_status(each.mirror, each.state).error is None for each in (one, other))
        before = tags
    git("fsck", "--strict", cwd=one.remote)


def test_what_the_host_refuses_stops_nothing(tmp_path: Path) -> None:
    site = Site.make(tmp_path, tag=(STEPS, BEST))
    write(
        site.remote / "hooks/update", b'#!/bin/sh\ncase $1 in refs/tags/*) echo "no tags here"; exit 1;; esac\n'
    ).chmod(0o755)
    result = site.put(checkpoint(100, 1.0))
    assert result.commit == site.tip()
    assert [warning.partition(":")[0] for warning in result.warnings] == ["step-100", "best-100"]
    assert all("no tags here" in warning for warning in result.warnings)
    status = read_status(site.mirror, site.state)
    assert (status.state.value, status.error) == ("idle", None)
    assert status.warnings == result.warnings
    assert len(refused(site)) == 2
    assert refs(site, "heads")["best"] == site.tip()
    site.put({b"more": b"1"})
    assert len(refused(site)) == 2
    assert read_status(site.mirror, site.state).warnings == ()


def test_what_cannot_be_made_just_now_is_made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site.make(tmp_path, tag=(STEPS,))
    with monkeypatch.context() as patch:
        patch.setattr(applying, "tagged", unreached)
        assert site.put(checkpoint(100)).warnings == ("release rules: no answer; wait",)
        site.put({b"more": b"1"})
    assert refs(site) == {}
    site.sync()
    assert refs(site) == {"step-100": commit_of(site, "Add checkpoint-100")}
    assert refused(site) == []


def unreached(*_: object, **__: object) -> None:
    raise TransientError("no answer", "wait")


def test_days_are_released_when_they_are_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site.make(tmp_path, tag=(Rule(When.DAILY, "{date}"),))
    site.put({b"a": b"1"})
    site.put({b"a": b"2"})
    assert refs(site) == {}
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 86400)
    site.sync()
    assert refs(site) == {time.strftime("%Y-%m-%d", time.gmtime(now)): site.tip()}
    site.sync()
    assert len(refs(site)) == 1


# ---- branches that move


def test_one_branch_goes_from_run_to_run(tmp_path: Path) -> None:
    one = Site.make(tmp_path, "one", tag=(LATEST,), branch="run/one")
    other = Site.make(tmp_path, "other", remote=one.remote, tag=(LATEST,), branch="run/other")
    for number in range(2):
        for each in (one, other):
            assert each.put({b"w": f"{each.mirror.name} {number}".encode()}).warnings == ()
            assert refs(each, "heads")["latest"] == each.tip()
    assert set(refs(one, "heads")) == {"run/one", "run/other", "latest"}


def test_a_branch_with_commits_of_its_own_is_left_alone(tmp_path: Path) -> None:
    site = Site.make(tmp_path, tag=(LATEST,))
    site.put({b"a": b"1"})
    work = site.clone()
    write(work / "theirs", b"1")
    git("add", ".", cwd=work)
    git("commit", "--quiet", "-m", "theirs", cwd=work)
    git("push", "--quiet", "--no-verify", "origin", "HEAD:latest", cwd=work)
    theirs = refs(site, "heads")["latest"]
    for number in (2, 3):
        [warning] = site.put({b"a": b"%d" % number}).warnings
        assert warning.startswith(f"latest: the branch latest is on {theirs[:7]}, which no other")
        assert refs(site, "heads")["latest"] == theirs
    git("tag", "kept", theirs, cwd=site.remote)
    assert site.put({b"a": b"4"}).warnings == ()
    assert refs(site, "heads")["latest"] == site.tip()


def test_a_branch_that_somebody_moves_in_the_same_moment_is_not_run_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Site.make(tmp_path, "one", tag=(LATEST,), branch="run/one")
    other = Site.make(tmp_path, "other", remote=one.remote, branch="run/other")
    other.put({b"b": b"1"})
    one.put({b"a": b"1"})
    git("update-ref", "refs/heads/latest", other.tip(), cwd=one.remote)
    side = git("commit-tree", "-m", "side", f"{other.tip()}^{{tree}}", cwd=one.remote).decode().strip()
    push = Delivery.push_branch

    def late(self: Delivery, name: str, commit: str, there: str | None, force: bool) -> None:
        git("update-ref", "refs/heads/latest", side, cwd=one.remote)
        push(self, name, commit, there, force)

    monkeypatch.setattr(Delivery, "push_branch", late)
    [warning] = one.put({b"a": b"2"}).warnings
    assert "which no other branch or tag has" in warning
    assert refs(one, "heads")["latest"] == side


def test_the_rules_of_a_mirror_that_is_asked_to_stop_wait(tmp_path: Path) -> None:
    site = Site.make(tmp_path, tag=(LATEST,))
    result = site.put({b"a": b"1"})
    session = Session()
    session.stop.set()
    site.configure(tag=(Rule(When.PUSH, "{commit}"),))
    assert applying.apply(site.mirror, site.state, result, session) == result
    assert refs(site) == {}
    delivering.sync(site.mirror, site.state, Order(), Session())
    assert refs(site) == {site.tip()[:7]: site.tip()}
    assert os.listdir(site.directory) == ["a"]
