"""Patterns on a real disk: which folders become mirrors, and where to look for new ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lfssync.configuration.config import Configuration, check_directories, load, parse
from lfssync.configuration.patterns import escape, expand, survey, watch_points
from lfssync.errors import UserError
from lfssync.places import Places
from tests.helpers import write
from tests.integration.daemons import lfssync


@pytest.fixture
def places() -> Places:
    return Places.from_environment(os.environ)


def configured(places: Places, *tables: str) -> Configuration:
    return parse("\n".join(f"[[mirror]]\n{table}" for table in tables), places.config_file, places)


def pattern(path: Path | str, keys: str = "") -> str:
    return f"path = '{path}'\n{keys}"


def folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)


def names_of(configuration: Configuration, places: Places) -> list[str]:
    return [mirror.name for mirror in expand(configuration.patterns[0], places)]


def test_every_sub_folder_becomes_a_mirror_and_nothing_else(tmp_path: Path, places: Places) -> None:
    out = tmp_path / "out"
    folders(out, "b", "a", "my run", ".hidden", "tmp-checkpoint-5", "tmp_x", "x.tmp", "lost+found", "__pycache__", "B")
    (out / "file").write_text("x")
    (out / "link").symlink_to(out / "a")
    os.mkfifo(out / "pipe")
    configuration = configured(
        places, pattern(out / "*", 'remote = "hf:me/{name}"\nbranch = "of-{name}"\nquiet = "1s"')
    )
    found = expand(configuration.patterns[0], places)
    assert [mirror.name for mirror in found] == ["B", "a", "b", "my_0x20run"]
    assert [mirror.path for mirror in found] == [out / "B", out / "a", out / "b", out / "my run"]
    assert found[3].remote == "https://huggingface.co/me/my_0x20run"
    assert found[3].branch == "of-my_0x20run"
    assert found[3].quiet_s == 1.0
    assert not found[3].embedded


def test_without_a_remote_each_gets_its_own_embedded_one(tmp_path: Path, places: Places) -> None:
    folders(tmp_path, "a", "b")
    found = expand(configured(places, pattern(tmp_path / "*")).patterns[0], places)
    assert [mirror.remote for mirror in found] == [str(places.embedded_remote("a")), str(places.embedded_remote("b"))]
    assert all(mirror.embedded for mirror in found)


def test_wild_cards_in_several_parts(tmp_path: Path, places: Places) -> None:
    folders(tmp_path, "x/run-1/final", "x/run-2/final", "x/other/final", "y/run-1/final", "y/run-3", ".z/run-1/final")
    (tmp_path / "y/run-4").mkdir()
    (tmp_path / "y/run-4/final").symlink_to(tmp_path / "x")
    (tmp_path / "y/run-5").mkdir()
    (tmp_path / "y/run-5/final").write_text("a file")
    configuration = configured(places, pattern(tmp_path / "[xy]/run-?/final"))
    assert names_of(configuration, places) == ["x_0x2frun-1", "x_0x2frun-2", "y_0x2frun-1"]
    assert watch_points(configuration.patterns[0]) == [
        tmp_path,
        tmp_path / "x",
        tmp_path / "y",
        *(tmp_path / name for name in ("x/run-1", "x/run-2", "y/run-1", "y/run-3", "y/run-4", "y/run-5")),
    ]


def test_a_folder_after_the_wild_card_does_not_belong_to_the_name(tmp_path: Path, places: Places) -> None:
    folders(tmp_path, "run-1/checkpoints", "run-2/checkpoints")
    assert names_of(configured(places, pattern(tmp_path / "*/checkpoints")), places) == ["run-1", "run-2"]


def test_what_is_watched_moves_its_mtime_when_a_folder_comes(tmp_path: Path, places: Places) -> None:
    out = tmp_path / "out"
    configuration = configured(places, pattern(out / "*"))
    assert watch_points(configuration.patterns[0]) == [out]
    assert names_of(configuration, places) == []
    out.mkdir()
    os.utime(out, ns=(0, 0))
    (out / "new").mkdir()
    assert out.stat().st_mtime_ns > 0
    assert names_of(configuration, places) == ["new"]


def test_literal_brackets_before_the_wild_card(tmp_path: Path, places: Places) -> None:
    folders(tmp_path, "a[1]/x", "a1/y")
    configuration = configured(places, pattern(escape(str(tmp_path / "a[1]")) + "/*"))
    assert names_of(configuration, places) == ["x"]


def test_an_explicit_mirror_keeps_its_directory(tmp_path: Path, places: Places) -> None:
    folders(tmp_path, "out/a", "out/b")
    (tmp_path / "way").symlink_to(tmp_path / "out")
    for explicit in ("out/a", "way/a"):
        configuration = configured(
            places, pattern(tmp_path / "out/*"), f"path = '{tmp_path / explicit}'\nname = 'mine'"
        )
        assert names_of(configuration, places) == ["b"]


def test_a_folder_that_meets_an_explicit_mirror_is_refused_and_the_others_are_not(
    tmp_path: Path, places: Places
) -> None:
    folders(tmp_path, "out/a/deep", "out/b", "out/c")
    configuration = configured(
        places,
        pattern(tmp_path / "out/*"),
        f"path = '{tmp_path / 'out/a/deep'}'",
        f"path = '{tmp_path / 'elsewhere'}'\nname = 'c'",
    )
    found = survey(configuration.patterns, places)
    assert [mirror.name for mirror in found.mirrors] == ["b"]
    inside, called = found.refused
    assert inside.message.startswith(f"{places.config_file}:1: folder '{tmp_path / 'out/a'}': ")
    assert "is inside that of mirror 'a'" in inside.message
    assert "called 'c'" in called.message
    with pytest.raises(UserError, match="is inside"):
        expand(configuration.patterns[0], places)


def test_two_folders_of_one_name_get_no_mirror(tmp_path: Path, places: Places) -> None:
    folders(tmp_path, "one/a", "one/b", "two/b", "two/c")
    configuration = configured(places, pattern(tmp_path / "one/*"), pattern(tmp_path / "two/*"))
    found = survey(configuration.patterns, places)
    assert [mirror.name for mirror in found.mirrors] == ["a", "c"]
    assert [error.message.partition("': ")[2] for error in found.refused] == [
        "several folders would make a mirror called 'b'"
    ] * 2
    assert all(error.remedy for error in found.refused)


@pytest.mark.parametrize("bad", [b"line\nfeed", b"\xff", b"a\x1b[31m"])
def test_a_folder_with_an_impossible_name_is_said_and_the_others_go_on(
    tmp_path: Path, places: Places, bad: bytes
) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/" + bad)
    folders(tmp_path, "good")
    found = survey(configured(places, pattern(tmp_path / "*")).patterns, places)
    assert [mirror.name for mirror in found.mirrors] == ["good"]
    (refused,) = found.refused
    assert str(refused).isprintable()
    assert "rename the folder" in refused.remedy


def test_a_branch_is_checked_when_it_is_filled(tmp_path: Path, places: Places) -> None:
    folders(tmp_path, "a..b", "a.lock", "fine")
    found = survey(configured(places, pattern(tmp_path / "*", 'branch = "{name}"')).patterns, places)
    assert [mirror.branch for mirror in found.mirrors] == ["fine"]
    assert ["has '..'" in found.refused[0].message, "ends with '.lock'" in found.refused[1].message] == [True, True]


def test_a_folder_with_our_own_state_in_it_is_refused(tmp_path: Path) -> None:
    places = Places.from_environment({"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "out/var")})
    folders(tmp_path, "out/var", "out/a")
    found = survey(configured(places, pattern(tmp_path / "out/*")).patterns, places)
    assert [mirror.name for mirror in found.mirrors] == ["a"]
    assert "where lfssync itself writes" in found.refused[0].message


def test_a_missing_base_is_no_error_and_one_that_is_no_folder_neither(tmp_path: Path, places: Places) -> None:
    (tmp_path / "file").write_text("x")
    for base in ("missing", "file"):
        configuration = configured(places, pattern(tmp_path / base / "*"))
        assert expand(configuration.patterns[0], places) == []
        assert watch_points(configuration.patterns[0]) == [tmp_path / base]


def test_a_folder_that_cannot_be_looked_into_is_said(tmp_path: Path, places: Places) -> None:
    (tmp_path / "loop").symlink_to("loop")
    found = survey(configured(places, pattern(tmp_path / "loop/*")).patterns, places)
    assert found.mirrors == ()
    assert f"cannot look into {tmp_path / 'loop'}" in found.refused[0].message


def test_directories_that_meet_through_a_symlink_are_refused(tmp_path: Path, places: Places) -> None:
    folders(tmp_path, "real/inner", "other")
    (tmp_path / "way").symlink_to("real")
    one, outer, inner, same, other = (
        configured(
            places, f"path = '{tmp_path / path}'\nname = '{name}'\nremote = '/srv/{'e' if name == 'e' else 'r'}.git'"
        ).mirrors[0]
        for name, path in [("a", "real"), ("b", "way"), ("c", "way/inner"), ("d", "way"), ("e", "other")]
    )
    check_directories([one, other])
    with pytest.raises(UserError, match=r"mirror 'c', .*way/inner, is inside that of mirror 'a'"):
        check_directories([one, inner])
    with pytest.raises(UserError, match=r"mirror 'c', .* is inside that of mirror 'b'"):
        check_directories([inner, other, outer])
    with pytest.raises(UserError, match="'a' and 'd' are the same"):
        check_directories([one, same])


def test_the_file_is_read(places: Places) -> None:
    assert load(places) == Configuration(places.config_file)
    places.config_file.parent.mkdir(parents=True)
    places.config_file.write_text('[[mirror]]\npath = "~/größe"\nname = "m"')
    assert load(places).mirrors[0].path == places.home / "größe"


def test_a_file_that_cannot_be_read_is_an_error(places: Places) -> None:
    places.config_file.parent.mkdir(parents=True)
    places.config_file.write_bytes(b"# one\n# \xff\n")
    with pytest.raises(UserError, match=f"{places.config_file}:2: is not UTF-8"):
        load(places)
    places.config_file.unlink()
    places.config_file.mkdir()
    with pytest.raises(UserError, match=r"cannot read .*: Is a directory"):
        load(places)
    places.config_file.rmdir()
    places.config_file.parent.rmdir()
    places.config_file.parent.write_text("a file")
    with pytest.raises(UserError, match=r"cannot read .*: Not a directory"):
        load(places)


def test_a_relative_remote_that_exists_is_taken_from_the_current_folder(tmp_path: Path) -> None:
    from lfssync.rules.remotes import parse_remote

    folders(tmp_path, "bare")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert parse_remote("bare", tmp_path).url == str(tmp_path / "bare")
        with pytest.raises(UserError, match="not a remote that lfssync knows"):
            parse_remote("missing", tmp_path)


def test_wait_and_sync_do_not_say_that_all_is_well_while_a_folder_is_no_mirror(tmp_path: Path) -> None:
    """Whoever shuts the machine down after `wait` trusts the exit code and not the warning above it."""
    for folder in ("one/model", "other/model"):
        write(tmp_path / folder / "file", b"x")
    write(
        Places.from_environment(os.environ).config_file,
        f'[[mirror]]\npath = "{tmp_path}/one/model"\n[[mirror]]\npath = "{tmp_path}/other/*"\n'.encode(),
    )
    for command in ("sync", "wait"):
        done = lfssync(command)
        assert done.returncode == 2
        assert "two mirrors are called 'model'" in done.stderr
        assert "model: " in done.stdout
        assert lfssync(command, "model").returncode == 0
