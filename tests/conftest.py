"""What holds around every test: no setting of the user's own reaches it, and it leaves nothing running or open."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import leaks

# A failure prints what replays it; how long an example takes says nothing on a busy machine.
hypothesis.settings.register_profile("lfssync", deadline=None, print_blob=True)
hypothesis.settings.load_profile("lfssync")

# Whoever starts the tests in the background of a script has them ignore Ctrl-C, and so would every program they try;
# nohup does the same with a closed terminal. A handler is not inherited, but what is ignored is.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

_FOREIGN_PREFIXES = ("GIT_", "HF_", "KEYRING_", "LFSSYNC_", "LISTEN_", "WATCHDOG_", "XDG_")
_FOREIGN_NAMES = frozenset({
    # other ways to credentials and to the user's own session
    "DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "PYTHON_KEYRING_BACKEND", "SSH_ASKPASS", "SSH_AUTH_SOCK", "WAYLAND_DISPLAY",
    # a proxy would get between a test and its server on the loopback
    "ALL_PROXY", "FTP_PROXY", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY",
    "all_proxy", "ftp_proxy", "http_proxy", "https_proxy", "no_proxy",
    # what changes the form of the output
    "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
    # systemd's words to the program that runs the tests
    "INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET",
})  # fmt: skip

# The filters are those that `git lfs install` writes, so that a stock clone fetches LFS content. Housekeeping in the
# background would outlive the test that caused it.
_GITCONFIG = """\
[user]
\tname = Test User
\temail = test.user@example.org
[init]
\tdefaultBranch = main
[filter "lfs"]
\tclean = git-lfs clean -- %f
\tsmudge = git-lfs smudge -- %f
\tprocess = git-lfs filter-process
\trequired = true
[gc]
\tautoDetach = false
[maintenance]
\tautoDetach = false
"""

_passed = pytest.StashKey[bool]()
_numbers = itertools.count()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes whether the test itself passed, for the fixtures that judge it afterwards."""
    report = yield
    if report.when == "call":
        item.stash[_passed] = report.passed
    return report


@pytest.fixture(autouse=True)
def private_environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home of its own for each test, as on a fresh machine; returns its path.

    The names are short because a Unix socket's path has room for 107 bytes. Only HOME and the runtime folder exist: the
    other folders are for the program to make, as after a first login.
    """
    base = tmp_path_factory.getbasetemp() / f"e{next(_numbers)}"
    home, runtime, gitconfig = base / "home", base / "run", base / "gitconfig"
    home.mkdir(parents=True)
    runtime.mkdir(mode=0o700)
    gitconfig.write_text(_GITCONFIG)
    with pytest.MonkeyPatch.context() as environment:
        for name in tuple(os.environ):
            if name.startswith(_FOREIGN_PREFIXES) or name in _FOREIGN_NAMES:
                environment.delenv(name)
        environment.setenv("HOME", str(home))
        environment.setenv("XDG_CONFIG_HOME", str(base / "config"))
        environment.setenv("XDG_STATE_HOME", str(base / "state"))
        environment.setenv("XDG_DATA_HOME", str(base / "data"))
        environment.setenv("XDG_CACHE_HOME", str(base / "cache"))
        environment.setenv("XDG_RUNTIME_DIR", str(runtime))
        environment.setenv("GIT_CONFIG_NOSYSTEM", "1")
        environment.setenv("GIT_CONFIG_GLOBAL", str(gitconfig))
        yield home
    if request.node.stash.get(_passed, False):
        # What a test made unremovable goes with pytest's own folder at the end.
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest, private_environment: Path) -> Iterator[None]:
    """Fails a test that passed but left threads, child processes or open descriptors behind."""
    home = str(private_environment)
    before = leaks.census(home)
    yield
    left = leaks.leaks(before, home)
    described = left.describe()
    leaks.end(left.processes)
    if described and request.node.stash.get(_passed, False):
        pytest.fail("left behind: " + "; ".join(described))
