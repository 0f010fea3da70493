"""The house: which modules there are, in which order they stand, and what none of them may do.

A module imports only what stands above it in `HOUSE`; imports inside functions and under TYPE_CHECKING count as well.
The one thing to know: a new module needs a row here, as near to the top of the list as its imports let it.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = (
    # words and rules, without I/O
    "lfssync.errors",
    "lfssync.rules",
    "lfssync.rules.windows",
    "lfssync.rules.signatures",
    "lfssync.wishes",
    "lfssync.shares",
    "lfssync.model",
    "lfssync.answers",
    "lfssync.results",
    "lfssync.lifeline",
    "lfssync.rules.refnames",
    "lfssync.rules.remotes",
    "lfssync.rules.ignore",
    "lfssync.rules.attributes",
    "lfssync.rules.commitmessage",
    "lfssync.rules.trainerstate",
    "lfssync.rules.versionnumbers",
    "lfssync.rules.releaserules",
    "lfssync.rules.releasenotes",
    "lfssync.rules.told",
    "lfssync.rules.groups",
    "lfssync.rules.retention",
    "lfssync.rules.cardmark",
    "lfssync.rules.weights",
    "lfssync.rules.debounce",
    "lfssync.rules.backoff",
    "lfssync.rules.closing",
    "lfssync.rules.pace",
    "lfssync.rules.budget",
    "lfssync.rules.scrubplan",
    "lfssync.credentials",
    "lfssync.credentials.answering",
    "lfssync.credentials.passing",
    "lfssync.credentials.refusals",
    "lfssync.credentials.variables",
    "lfssync.credentials.keyring_process",
    "lfssync.web",
    "lfssync.web.messages",
    "lfssync.web.retrying",
    "lfssync.web.statuses",
    # what the user wants
    "lfssync.places",
    "lfssync.configuration",
    "lfssync.configuration.patterns",
    "lfssync.configuration.settings",
    "lfssync.configuration.releasesettings",
    "lfssync.configuration.tomllines",
    "lfssync.configuration.tables",
    "lfssync.configuration.telling",
    "lfssync.configuration.config",
    "lfssync.configuration.configedit",
    # what is recorded, here and in git
    "lfssync.records",
    "lfssync.records.lock",
    "lfssync.records.pausing",
    "lfssync.records.store",
    "lfssync.records.told",
    "lfssync.records.trimming",
    "lfssync.records.report",
    "lfssync.records.roster",
    "lfssync.git",
    "lfssync.git.giterrors",
    "lfssync.git.leash",
    "lfssync.git.addresses",
    "lfssync.git.facts",
    "lfssync.git.asked",
    "lfssync.git.gitcommand",
    "lfssync.git.programs",
    "lfssync.git.sshcommand",
    "lfssync.credentials.keyrings",
    "lfssync.credentials.ladder",
    "lfssync.credentials.helper",
    "lfssync.web.trust",
    "lfssync.web.connections",
    "lfssync.web.failures",
    "lfssync.web.client",
    "lfssync.telling",
    "lfssync.telling.exposition",
    "lfssync.telling.measures",
    "lfssync.telling.endpoint",
    "lfssync.telling.metricsfile",
    "lfssync.telling.notices",
    "lfssync.telling.letters",
    "lfssync.telling.senders",
    "lfssync.hosts",
    "lfssync.hosts.preflight",
    "lfssync.hosts.api",
    "lfssync.hosts.forge",
    "lfssync.hosts.huggingface",
    "lfssync.hosts.github",
    "lfssync.hosts.gitea",
    "lfssync.hosts.gitlab",
    "lfssync.hosts.plain",
    "lfssync.hosts.known",
    "lfssync.credentials.login",
    "lfssync.hosts.creating",
    "lfssync.git.fastimport",
    "lfssync.git.gitindex",
    "lfssync.git.workingcopy",
    "lfssync.git.upkeep",
    "lfssync.git.reffiles",
    "lfssync.git.repository",
    "lfssync.git.reconcile",
    "lfssync.git.healing",
    # the steps of the line
    "lfssync.line",
    "lfssync.line.inotify",
    "lfssync.line.watchedtree",
    "lfssync.line.watch",
    "lfssync.line.entries",
    "lfssync.line.scan",
    "lfssync.line.glance",
    "lfssync.formats.reading",
    "lfssync.formats.safetensors",
    "lfssync.formats.archives",
    "lfssync.formats.arrays",
    "lfssync.formats.hdf5",
    "lfssync.formats.gguf",
    "lfssync.formats.columns",
    "lfssync.formats.texts",
    "lfssync.formats",
    "lfssync.line.settle",
    "lfssync.line.pins",
    "lfssync.line.waiting",
    "lfssync.line.opening",
    "lfssync.line.stage",
    "lfssync.line.classification",
    "lfssync.line.findings",
    "lfssync.line.plan",
    "lfssync.line.assembly",
    "lfssync.line.holdings",
    "lfssync.line.composing",
    "lfssync.transfer",
    "lfssync.transfer.ahead",
    "lfssync.transfer.batch",
    "lfssync.transfer.body",
    "lfssync.transfer.uploaders",
    "lfssync.transfer.parts",
    "lfssync.transfer.unfinished",
    "lfssync.transfer.multipart",
    "lfssync.transfer.copying",
    "lfssync.transfer.bare",
    "lfssync.transfer.gitlfs",
    "lfssync.transfer.endpoint",
    "lfssync.transfer.logins",
    "lfssync.transfer.api",
    "lfssync.transfer.locks",
    "lfssync.transfer.sending",
    "lfssync.transfer.fetching",
    "lfssync.transfer.http",
    "lfssync.transfer.overssh",
    "lfssync.line.transfers",
    "lfssync.line.embedded",
    "lfssync.line.keeping",
    "lfssync.line.outofreach",
    "lfssync.line.securing",
    "lfssync.git.merging",
    "lfssync.git.pushing",
    "lfssync.line.delivery",
    "lfssync.line.workbench",
    "lfssync.line.upkeep",
    "lfssync.line.intake",
    "lfssync.line.scrub",
    "lfssync.line.pipeline",
    "lfssync.cards",
    "lfssync.cards.words",
    "lfssync.cards.licences",
    "lfssync.cards.facts",
    "lfssync.cards.tasks",
    "lfssync.cards.weights",
    "lfssync.cards.training",
    "lfssync.cards.reading",
    "lfssync.cards.metadata",
    "lfssync.cards.body",
    "lfssync.cards.drafting",
    "lfssync.cards.checking",
    "lfssync.cards.desk",
    "lfssync.versions",
    "lfssync.versions.contents",
    "lfssync.versions.looking",
    "lfssync.versions.trees",
    "lfssync.versions.training",
    "lfssync.versions.tensors",
    "lfssync.versions.history",
    "lfssync.versions.tags",
    "lfssync.versions.releases",
    "lfssync.versions.restore",
    "lfssync.versions.happenings",
    "lfssync.versions.branches",
    "lfssync.versions.applying",
    "lfssync.versions.retiring",
    # who runs the line, and when
    "lfssync.service",
    "lfssync.service.journal",
    "lfssync.service.firstpass",
    "lfssync.service.protocol",
    "lfssync.service.delivering",
    "lfssync.service.control",
    "lfssync.service.standing",
    "lfssync.service.gauge",
    "lfssync.service.inbox",
    "lfssync.service.tally",
    "lfssync.service.sayings",
    "lfssync.service.surroundings",
    "lfssync.service.lookout",
    "lfssync.service.pacing",
    "lfssync.service.patience",
    "lfssync.service.attempting",
    "lfssync.service.worker",
    "lfssync.service.crew",
    "lfssync.service.herald",
    "lfssync.service.unit",
    "lfssync.service.managed",
    "lfssync.service.systemd",
    "lfssync.service.launchd",
    "lfssync.service.notifying",
    "lfssync.service.passes",
    "lfssync.service.memory",
    "lfssync.service.process",
    "lfssync.service.daemon",
    "lfssync.service.executors",
    "lfssync.service.adding",
    "lfssync.service.saving",
    "lfssync.service.operations",
    # what training libraries call
    "lfssync.integrations",
    "lfssync.integrations.ranks",
    "lfssync.integrations.companion",
    "lfssync.integrations.partner",
    "lfssync.integrations.session",
    "lfssync.integrations.callback",
    "lfssync.integrations.transformers",
    "lfssync.integrations.keras",
    "lfssync.integrations.lightning",
    # what people see
    "lfssync.commandline",
    "lfssync.commandline.examination",
    "lfssync.commandline.tellingcheck",
    "lfssync.commandline.doctor",
    "lfssync.commandline.terminal",
    "lfssync.commandline.documents",
    "lfssync.commandline.output",
    "lfssync.commandline.versiondocuments",
    "lfssync.commandline.versionoutput",
    "lfssync.commandline.statuslines",
    "lfssync.commandline.progress",
    "lfssync.commandline.syntax",
    "lfssync.commandline.versiongrammar",
    "lfssync.commandline.cardgrammar",
    "lfssync.commandline.grammar",
    "lfssync.commandline.completion",
    "lfssync.commandline.addcommand",
    "lfssync.commandline.logincommands",
    "lfssync.commandline.choosing",
    "lfssync.commandline.pacecommands",
    "lfssync.commandline.scrubcommand",
    "lfssync.commandline.versioncommands",
    "lfssync.commandline.cardcommand",
    "lfssync.commandline.statuscommand",
    "lfssync.commandline.notifycommand",
    "lfssync.commandline.servicecommands",
    "lfssync.commandline.commands",
    "lfssync.commandline.cli",
    "lfssync.demo",
    "lfssync.__main__",
    "lfssync",
)

LINE_LIMIT = 400
HEAVY = frozenset({"git", "huggingface_hub", "keyring", "requests", "rich", "tomlkit", "watchdog"})
"""Libraries whose import takes longer than the whole of `lfssync status` may."""

NOT_FOR_STATUS = frozenset({
    # of the standard library, a few milliseconds each
    "asyncio", "concurrent.futures", "dataclasses", "difflib", "email", "hashlib", "http", "inspect", "logging",
    "random", "shlex", "shutil", "socket", "ssl", "subprocess", "tempfile", "textwrap", "traceback", "uuid",
    # of our own, with all that they import in turn: what other commands do, and what asks a daemon
    "lfssync.configuration.releasesettings", "lfssync.git", "lfssync.line.pipeline", "lfssync.results",
    "lfssync.rules.closing", "lfssync.rules.releaserules", "lfssync.service.control", "lfssync.service.operations",
    "lfssync.commandline.addcommand", "lfssync.commandline.servicecommands", "lfssync.commandline.versioncommands",
})  # fmt: skip
"""What `lfssync status` gets along without while no daemon runs, so that it answers at once."""

NOT_FOR_SYNC = frozenset({
    "asyncio", "difflib", "email", "http", "socket", "ssl", "uuid",
    "lfssync.cards", "lfssync.commandline.progress", "lfssync.configuration.releasesettings", "lfssync.line.scrub",
    "lfssync.results", "lfssync.rules.releaserules", "lfssync.service.control", "lfssync.transfer.batch",
    "lfssync.transfer.endpoint", "lfssync.transfer.gitlfs", "lfssync.transfer.http", "lfssync.transfer.parts",
    "lfssync.versions", "lfssync.web.client",
})  # fmt: skip
"""What an ordinary `lfssync sync` to a disk gets along without: hosts, releases, scrubs, the daemon."""

VERSION = "lfssync.__version__"
"""The one name of the package itself that every module may use: it is a fact, and not a room of the house."""

ROOT = Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "lfssync").rglob("*.py"))
}


def imported(source: str, module: str, modules: frozenset[str], *, is_package: bool = False) -> set[str]:
    """The modules among `modules` that a module's source imports, wherever in it the import stands.

    Args:
        source: The text of the module.
        module: Its full name; relative imports start there.
        modules: The full names that count as modules; `from a import b` means `a.b` where that is one, else `a`.
        is_package: Whether the source is that of an `__init__.py`.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found.update(name.name for name in names)
            case ast.ImportFrom(module=base, names=names, level=level):
                parents = module.split(".")[: len(module.split(".")) - level + is_package] if level else []
                origin = ".".join([*parents, *([base] if base else [])])
                targets = (f"{origin}.{name.name}" for name in names)
                found.update(target if target in modules or target == VERSION else origin for target in targets)
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(target)), *_],
            ):
                found.add(target)
            case _:
                pass
    return found & modules


def upward(source: str, module: str, house: tuple[str, ...], *, is_package: bool = False) -> set[str]:
    """The imports of a module that do not point down in that house; importing oneself counts too."""
    below = house[: house.index(module)]
    return imported(source, module, frozenset(house), is_package=is_package) - set(below)


def run_python(*args: str) -> subprocess.CompletedProcess[str]:
    """Runs this Python on the tree under test."""
    return subprocess.run([sys.executable, *args], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_every_module_is_in_the_house_and_the_house_has_no_empty_rooms() -> None:
    assert sorted(HOUSE) == sorted(FILES)


@pytest.mark.parametrize("module", FILES)
def test_imports_point_down(module: str) -> None:
    path = FILES[module]
    assert upward(path.read_text(), module, HOUSE, is_package=path.name == "__init__.py") == set()


@pytest.mark.parametrize("module", FILES)
def test_a_module_says_what_it_is_for(module: str) -> None:
    docstring = ast.get_docstring(ast.parse(FILES[module].read_text()))
    assert docstring, f"{module} has no docstring"


@pytest.mark.parametrize("module", FILES)
def test_a_module_can_be_read_in_one_sitting(module: str) -> None:
    lines = len(FILES[module].read_text().splitlines())
    assert lines <= LINE_LIMIT


def test_the_command_line_starts_without_heavy_libraries() -> None:
    done = run_python("-c", "import sys, lfssync.commandline.cli; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    assert HEAVY.isdisjoint(done.stdout.split())


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with one mirror, of a directory with one file, to a bare repository."""
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "there.git")], check=True, timeout=60)
    file = tmp_path / "config.toml"
    monkeypatch.setenv("LFSSYNC_CONFIG", str(file))
    (tmp_path / "my-model").mkdir()
    (tmp_path / "my-model" / "config.json").write_text("{}")
    file.write_text(f'[[mirror]]\npath = "{tmp_path}/my-model"\nremote = "{tmp_path}/there.git"\n')
    return file


def loaded_by(*words: str) -> tuple[str, set[str]]:
    """Runs a command that must succeed; gives what it printed, and every module that it loaded."""
    done = run_python("-X", "importtime", "-m", "lfssync", *words)
    lines = done.stderr.splitlines()
    assert done.returncode == 0, [line for line in lines if not line.startswith("import time:")]
    return done.stdout, {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_status_loads_only_what_it_needs(options: list[str]) -> None:
    told, loaded = loaded_by("status", *options)
    assert "my-model" in told
    assert "settling" in told or "new" in told  # the look at its directory is part of it
    assert "lfssync.line.glance" in loaded
    assert loaded & (HEAVY | NOT_FOR_STATUS) == set()


@pytest.mark.usefixtures("configured")
def test_sync_to_a_disk_loads_only_what_it_needs() -> None:
    told, loaded = loaded_by("sync")
    assert "1 file added" in told
    assert "lfssync.line.pipeline" in loaded
    assert loaded & (HEAVY | NOT_FOR_SYNC) == set()


def test_the_library_is_imported_without_what_delivers() -> None:
    done = run_python("-c", "import sys, lfssync; print(*sys.modules); from lfssync import *; print(Release, Login)")
    assert done.returncode == 0, done.stderr
    before, _, after = done.stdout.partition("\n")
    assert (HEAVY | NOT_FOR_STATUS).isdisjoint(before.split())
    assert "lfssync.results.Release" in after


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import house.high", {"house.high"}),
        ("import house.low, os", set()),
        ("from house import high", {"house.high"}),
        ("from house import low, high as other", {"house.high"}),
        ("from house.high import thing", {"house.high"}),
        ("from house.low import thing", set()),
        ("from house import thing", {"house"}),
        ("import house", {"house"}),
        ("from . import high", {"house.high"}),
        ("from .high import thing", {"house.high"}),
        ("from .low import thing", set()),
        ("def work():\n    from house.high import thing", {"house.high"}),
        ("if TYPE_CHECKING:\n    import house.high", {"house.high"}),
        ("import importlib\nimportlib.import_module('house.high')", {"house.high"}),
        ("import house.middle", {"house.middle"}),
    ],
)
def test_an_upward_import_is_seen(source: str, expected: set[str]) -> None:
    assert upward(source, "house.middle", ("house.low", "house.middle", "house.high", "house")) == expected


def test_relative_imports_of_a_package_start_at_the_package() -> None:
    house = ("house.inner.low", "house.inner", "house.high")
    assert upward("from .low import thing\nfrom ..high import other", "house.inner", house, is_package=True) == {
        "house.high"
    }


def test_every_module_may_know_the_version() -> None:
    assert upward("from lfssync import __version__", "lfssync.errors", HOUSE) == set()
