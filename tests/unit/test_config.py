"""The configuration file's text: what it means, and what is refused with file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.configuration.config import Configuration, parse
from lfssync.configuration.settings import duration_s, size_bytes
from lfssync.errors import UserError
from lfssync.model import DeletePolicy, IncompletePolicy, Mirror, TransferKind
from lfssync.places import Places
from lfssync.rules.windows import Window

FILE = Path("/home/ann/.config/lfssync/config.toml")
PLACES = Places.from_environment({"HOME": "/home/ann"})


def read(text: str) -> Configuration:
    return parse(text, FILE, PLACES)


def refusal(text: str) -> UserError:
    with pytest.raises(UserError) as caught:
        read(text)
    return caught.value


def mirror(keys: str) -> str:
    return f'[[mirror]]\npath = "/data/m"\n{keys}\n'


def test_nothing_is_a_configuration_too() -> None:
    assert read("") == read("# nothing yet\n") == Configuration(FILE)


def test_the_built_in_values() -> None:
    assert read('[[mirror]]\npath = "/data/m"\nremote = "hf:me/m"').mirrors == (
        Mirror(name="m", path=Path("/data/m"), remote="https://huggingface.co/me/m"),
    )


def test_every_key() -> None:
    text = """
        [[mirror]]
        name = "my-model"
        path = "~/outputs/my-model"
        remote = "hf:me/my-model"
        branch = "dev"
        into = "models/small"
        ignore = ["*.tmp", "runs/"]
        groups = ["round-*"]
        delete = "keep"
        incomplete = "commit"
        transfer = "http"
        quiet = "250ms"
        max_wait = "1h30m"
        min_interval = "1m"
        only_between = "22:00-07:00, 12:00-13:00"
        commits_per_hour = 30
        rescan = "1d"
        lfs_threshold = "512KiB"
        lfs_url = "https://lfs.example.org/me/my-model/info/lfs"
        rate_limit = "1.5MB/s"
    """
    assert read(text).mirrors == (
        Mirror(
            name="my-model",
            path=Path("/home/ann/outputs/my-model"),
            remote="https://huggingface.co/me/my-model",
            branch="dev",
            into="models/small",
            ignore=("*.tmp", "runs/"),
            groups=("round-*",),
            delete=DeletePolicy.KEEP,
            incomplete=IncompletePolicy.COMMIT,
            transfer=TransferKind.HTTP,
            quiet_s=0.25,
            max_wait_s=5400.0,
            min_interval_s=60.0,
            only_between=(Window(1320, 420), Window(720, 780)),
            commits_per_hour=30,
            rescan_s=86400.0,
            lfs_threshold_bytes=512 * 1024,
            lfs_url="https://lfs.example.org/me/my-model/info/lfs",
            rate_limit_bytes=1_500_000,
        ),
    )


def test_defaults_stand_in_and_the_mirror_beats_them() -> None:
    text = """
        [[mirror]]
        path = "/data/a"
        [[mirror]]
        path = "/data/b"
        remote = "gh:me/other"
        quiet = "1s"
        ignore = []
        [defaults]
        remote = "hf:me/{name}"
        branch = "runs/{name}"
        quiet = "7s"
        ignore = ["x"]
        delete = "keep"
    """
    one, other = read(text).mirrors
    assert (one.remote, one.branch, one.quiet_s, one.ignore) == ("https://huggingface.co/me/a", "runs/a", 7.0, ("x",))
    assert (other.remote, other.branch, other.quiet_s, other.ignore) == (
        "https://github.com/me/other.git",
        "runs/b",
        1.0,
        (),
    )
    assert one.delete == other.delete == DeletePolicy.KEEP


def test_no_remote_means_an_embedded_one() -> None:
    (found,) = read(mirror("")).mirrors
    assert found.embedded
    assert found.remote == "/home/ann/.local/share/lfssync/remotes/m.git"
    assert not read(mirror('remote = "/srv/m.git"')).mirrors[0].embedded


def test_a_pattern_keeps_its_templates() -> None:
    text = """
        [[mirror]]
        path = "/data/m"

        [[mirror]]
        path = "~/outputs/*"
        remote = "hf:me/{name}"
        branch = "b-{name}"
        quiet = "1s"
    """
    found = read(text)
    (pattern,) = found.patterns
    assert pattern.glob == "/home/ann/outputs/*"
    assert (pattern.template.remote, pattern.template.branch) == ("hf:me/{name}", "b-{name}")
    assert pattern.template.quiet_s == 1.0
    assert pattern.origin == f"{FILE}:5"
    assert pattern.explicit == found.mirrors
    assert [m.name for m in found.mirrors] == ["m"]


def test_a_path_with_escaped_wild_cards_is_no_pattern() -> None:
    found = read('[[mirror]]\nname = "m"\npath = "/data/a[[]1]"')
    assert not found.patterns
    assert found.mirrors[0].path == Path("/data/a[1]")


def test_a_home_with_a_bracket_is_no_pattern() -> None:
    places = PLACES._replace(home=Path("/home/a[b]"))
    assert parse('[[mirror]]\npath = "~/m"', FILE, places).mirrors[0].path == Path("/home/a[b]/m")


def test_one_directory_may_go_to_two_remotes() -> None:
    text = '[[mirror]]\npath = "/m"\nremote = "hf:me/m"\n[[mirror]]\nname = "n"\npath = "/m"\nremote = "gh:me/m"'
    assert [m.path for m in read(text).mirrors] == [Path("/m"), Path("/m")]


def test_the_error_of_a_mis_spelt_key() -> None:
    error = refusal('[defaults]\nquiet = "5s"\n\n[[mirror]]\npath = "/data/m"\n# quite\nquite = "5s"\n')
    assert str(error) == f'{FILE}:7: unknown key "quite" in [[mirror]]; did you mean "quiet"?'


@pytest.mark.parametrize(
    ("text", "line", "what", "remedy"),
    [
        # the shape of the file
        ("[[mirror]\n", 1, "Expected", "TOML"),
        ('a = "x\n', 1, "Illegal character", "TOML"),
        ("[[mirror]]\nx = [\n", 2, "Invalid value", "TOML"),
        ("x = " + "[" * 5000, 1, "", "TOML"),
        ('[mirror]\npath = "/m"', 1, "array of tables", "[[mirror]]"),
        ("mirror = [1]", 1, "array of tables", "[[mirror]]"),
        ("[[defaults]]", 1, "defaults: must be a table", "single brackets"),
        ("[[mirrors]]\n", 1, 'unknown key "mirrors" at the top of the file', 'did you mean "mirror"'),
        ('quiet = "5s"', 1, 'unknown key "quiet" at the top', "[defaults]"),
        ('"\\u001b" = 1', 1, 'unknown key "\\x1b"', "there are defaults, daemon, mirror, notify"),
        ('[defaults]\n\nmaxwait = "5s"', 3, 'unknown key "maxwait" in [defaults]', '"max_wait"'),
        (mirror('[mirror.x]\ny = "5s"'), 3, 'unknown key "x" in [[mirror]]', "there are name, path"),
        ('[[mirror]]\nname = "m"', 1, "has no path", "path ="),
        # types and words
        (mirror("quiet = 5"), 3, 'quiet: must be a duration such as "5s", not an integer', "unit"),
        (mirror("\n\nmax_wait = 1.5"), 5, "not a float", "unit"),
        (mirror("lfs_threshold = 0"), 3, "not an integer", "unit"),
        (mirror("branch = true"), 3, "branch: must be a string, not a boolean", "quotes"),
        (mirror("remote = []"), 3, "remote: must be a string, not an array", "quotes"),
        (mirror("into = 2026-01-01"), 3, "not a date", "quotes"),
        (mirror('ignore = "*.tmp"'), 3, "ignore: must be an array of strings", "*.tmp"),
        (mirror('ignore = [\n"a",\n1]'), 3, "ignore: must be an array of strings", "*.tmp"),
        (mirror('ignore = ["a\\nb"]'), 3, "control character", "one string"),
        (mirror('delete = "mirorr"'), 3, 'must be "mirror" or "keep", not \'mirorr\'', '"mirror"'),
        (mirror('incomplete = "skip"'), 3, '"wait" or "commit"', "wait"),
        (mirror('transfer = "scp"'), 3, '"auto", "bare", "http" or "git-lfs"', "auto"),
        (mirror('rate_limit = "50MB"'), 3, "rate_limit: '50MB' is not a rate", "50MB/s"),
        (mirror("rate_limit = 50"), 3, "rate_limit: must be a string", "quotes"),
        (mirror('lfs_url = "git@host:a/b"'), 3, "is not the address of an LFS server", "/info/lfs"),
        (mirror('lfs_url = "http://host/a/info/lfs"'), 3, "in clear over the network", "https://"),
        (mirror('lfs_url = "https://me:secret@host/a"'), 3, "has a password in it", "leave it out"),
        # values
        (mirror('quiet = "5 minutes"'), 3, "quiet: '5 minutes' is not a duration", "10m"),
        (mirror('rescan = "0s"'), 3, "rescan: '0s' is too short", "100ms"),
        (mirror('only_between = "at night"'), 3, "only_between: 'at night' is no time of day", "22:00-07:00"),
        (mirror("only_between = 22"), 3, "only_between: must be a string", "quotes"),
        (
            mirror('commits_per_hour = "30"'),
            3,
            "commits_per_hour: must be a number of commits, not a string",
            "like 30",
        ),
        (mirror("commits_per_hour = true"), 3, "not a boolean", "like 30"),
        (mirror("commits_per_hour = -1"), 3, "-1 is no number from 0 to 1000", "like 30"),
        (mirror('lfs_threshold = "1 MiB"'), 3, "not a size", "1MiB"),
        (mirror('branch = "a..b"'), 3, "branch 'a..b' has '..'", "such as"),
        (mirror('branch = "HEAD"'), 3, "branch 'HEAD'", "such as"),
        (mirror('branch = "-f"'), 3, "branch '-f'", "such as"),
        (mirror('branch = "{nme}"'), 3, "branch: '{nme}' has braces", "{name}"),
        (mirror('remote = "hf:me/{name}{"'), 3, "braces", "{name}"),
        (mirror('remote = ""'), 3, ": remote is empty", "hf:owner/name"),
        (mirror('remote = "ext::sh -c x"'), 3, "program", "https://"),
        (mirror('remote = "../m.git"'), 3, "relative", "whole path"),
        (mirror('remote = "my-model"'), 3, "relative", "hf:owner/name"),
        (mirror('remote = "--upload-pack=x"'), 3, "option", "hf:owner/name"),
        (mirror('remote = "https://me:s3cr3t@h/x"'), 3, "https://***@h/x", "credential helper"),
        (mirror('into = "/a"'), 3, "into '/a' is not a plain relative path", "models/small"),
        (mirror('into = "a/"'), 3, "plain relative", "models/small"),
        (mirror('into = "a//b"'), 3, "plain relative", "models/small"),
        (mirror('into = "a/../b"'), 3, "plain relative", "models/small"),
        (mirror('into = "."'), 3, "plain relative", "models/small"),
        (mirror('into = "a/.git/b"'), 3, "plain relative", "models/small"),
        (mirror('into = ".GIT"'), 3, "plain relative", "models/small"),
        (mirror('into = "a\\nb"'), 3, "plain relative", "models/small"),
        (mirror('name = "../x"'), 3, "name: '../x' cannot be the name", "letters"),
        (mirror(f'name = "{"x" * 101}"'), 3, "too long", "100"),
        (mirror('name = ""'), 3, "'' cannot be the name", "letters"),
        ('[[mirror]]\npath = "/data/my model"', 2, "'my model' cannot be the name", 'name = "my_0x20model"'),
        ('[[mirror]]\npath = "outputs"', 2, "path: 'outputs' is not absolute", "~/"),
        ('[[mirror]]\npath = "~bob/x"', 2, "not absolute", "~/"),
        ('[[mirror]]\npath = ""', 2, "not absolute", "~/"),
        ('[[mirror]]\npath = "/"', 2, "plain path", "write it out"),
        ('[[mirror]]\npath = "/a/../b"', 2, "plain path", ".."),
        ('[[mirror]]\npath = "/a\\nb"', 2, "control character", "rename"),
        ('[[mirror]]\nname = "m"\npath = "~"', 3, "where lfssync itself writes", "mirror a folder"),
        ('[[mirror]]\nname = "m"\npath = "/srv"\nremote = "/srv/m.git"', 3, "where lfssync itself writes", "mirror a"),
        # what goes with what
        (mirror('rate_limit = "1MB/s"\ntransfer = "git-lfs"'), 3, "rate_limit has no effect with transfer", '"0"'),
        ('[defaults]\nrate_limit = "1MB/s"\n' + mirror('transfer = "git-lfs"'), 5, "no effect", '"0"'),
        (mirror('quiet = "10m"'), 3, "quiet (600 s) is longer than max_wait (300 s)", "max_wait"),
        ('[defaults]\nquiet = "1m"\n' + mirror('max_wait = "1s"'), 5, "longer than max_wait", "max_wait"),
        ('[defaults]\nquiet = "10m"\n' + mirror(""), 2, "longer than max_wait", "max_wait"),
        ('[defaults]\nquiet = "x"', 2, "quiet: 'x' is not a duration", "10m"),
        ('[defaults]\nremote = "http://h/{name}"', 2, "in clear", "https"),
        ('[[mirror]]\npath = "/a/m"\n[[mirror]]\npath = "/b/m"', 3, "called 'm': /a/m and /b/m", "another name"),
        (
            '[[mirror]]\npath = "/a/m"\n\n[[mirror]]\nname = "n"\npath = "/a/m/n"',
            4,
            "inside that of mirror 'm'",
            "one of",
        ),
        (
            '[[mirror]]\nname = "n"\npath = "/a/m/n/o"\n[[mirror]]\npath = "/a/m"',
            4,
            "inside that of mirror 'm'",
            "one of",
        ),
        (
            mirror('remote = "gh:me/m"') + '[[mirror]]\nname = "n"\npath = "/data//m/"\nremote = "gh:me/m.git"',
            4,
            "'m' and 'n' are the same",
            "another remote",
        ),
        # patterns
        ('[[mirror]]\npath = "/a/**"', 2, "** is not a wild card", "one *"),
        ('[[mirror]]\nname = "n"\npath = "/a/*"', 2, "called after their folders", "leave it out"),
        ('[[mirror]]\npath = "/a/*"\nremote = "hf:me/m"', 3, "same place", "{name}"),
        ('[[mirror]]\npath = "/a/*"\nremote = "xy:{name}"', 3, "not a remote", "hf:owner/name"),
        ('[[mirror]]\npath = "/a/*"\nbranch = "{name}..x"', 3, "has '..'", "such as"),
        ('[[mirror]]\npath = "/a/*"\nquiet = "1h"', 3, "longer than max_wait", "quiet"),
    ],
)
def test_refusals_name_the_line_and_the_remedy(text: str, line: int, what: str, remedy: str) -> None:
    error = refusal(text)
    assert error.message.startswith(f"{FILE}:{line}: ")
    assert what in error.message
    assert remedy in error.remedy
    assert str(error).isprintable()
    assert "s3cr3t" not in str(error)


def test_a_pattern_may_differ_by_branch_or_folder_alone() -> None:
    for key in ("branch", "into"):
        (pattern,) = read(f'[[mirror]]\npath = "/a/*"\nremote = "hf:me/m"\n{key} = "{{name}}"').patterns
        assert getattr(pattern.template, key) == "{name}"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("5s", 5.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        ("1d2h3m4s5ms", 93784.005),
        ("1m1ms", 60.001),
        ("366d", 366 * 86400.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "-5s",
        "+5s",
        "5S",
        "5 s",
        " 5s",
        "5s\n",
        "1m1h",
        "1s1s",
        "1e3s",
        "\u0665s",
        "inf",
        "nan",
        ".5s",
        "367d",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(UserError) as caught:
        duration_s(text)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("100", 100),
        ("100B", 100),
        ("1kB", 1000),
        ("50MB", 50_000_000),
        ("512KiB", 524_288),
        ("1MiB", 1 << 20),
        ("1.5GiB", 3 << 29),
        ("2tib", 2 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["", "M", "1M", "1iB", "-1", "1 MB", "1MB\n", "0x10", "1e6", "\u0665", "9" * 400, "inf"]
)
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UserError) as caught:
        size_bytes(text)
    assert caught.value.remedy


PIECES = [
    "[[mirror]]", "[defaults]", "\n", "\n", "path", "quiet", "remote", "=", '"/m"', '"hf:{name}"', '"5s"',
    "[", "]", "{", "}", '"""', "1", "#", "\r\n", "\r", "into", "mirror", ".",
]  # fmt: skip


@given(st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=20).map("".join))
def test_no_text_gives_another_error(text: str) -> None:
    error = None
    try:
        read(text)
    except UserError as caught:
        error = caught
    assert error is None or (error.message.startswith(f"{FILE}:") and error.remedy)


def test_a_rule_never_moves_a_branch_that_is_mirrored() -> None:
    error = refusal(mirror('branch = "run/{name}"\ntag = {when = "push", branch = "run/{name}"}'))
    assert f"{FILE}:4: tag: 'run/{{name}}' is the branch that is mirrored" in str(error)
    other = '[[mirror]]\npath = "/data/n"\nremote = "hf:me/m"\nbranch = "best"\n'
    error = refusal(other + mirror('remote = "hf:me/m"\ntag = {when = "best loss", branch = "best"}'))
    assert "'best' is the branch that mirror 'n' mirrors" in str(error)
    rules = read(mirror('tag = [{when = "marker"}, {when = "daily", name = "{date}"}]')).mirrors[0].tag
    assert [rule.when.value for rule in rules] == ["marker", "daily"]


def test_keep_is_for_those_who_keep_what_is_deleted() -> None:
    error = refusal(mirror("keep = {last = 3}"))
    assert f'{FILE}:3: keep: means nothing with delete = "mirror"' in str(error)
    assert read(mirror('delete = "keep"\nkeep = {last = 3}')).mirrors[0].keep.last == 3
