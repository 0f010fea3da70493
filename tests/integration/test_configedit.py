"""Changing a real configuration file: what is written, what stays, and what happens when it cannot be written."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.configuration.config import load
from lfssync.configuration.configedit import add_mirror, remove_mirror
from lfssync.errors import UserError
from lfssync.places import Places

TEXT = """\
# my mirrors
[defaults]   # for all
quiet = "5s"   # short

# the first model
[[mirror]]
  name = 'a'
path = "/data/a"     # here
# remote = "gh:me/a"

# the second model
[[mirror]]
path = "/data/b"

  # odd, but mine
  ignore = [
     "x",   # why
  ]
# end of b

[[mirror]]
path = "/data/many/*"
# the end
"""


def identity(file: Path) -> tuple[int, ...]:
    """What tells a file that was written from one that was only read."""
    status = file.stat()
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@pytest.fixture
def file() -> Path:
    path = Places.from_environment(os.environ).config_file
    path.parent.mkdir(parents=True)
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names_in(file: Path) -> list[str]:
    return [mirror.name for mirror in load(Places.from_environment(os.environ, file)).mirrors]


def test_the_first_mirror_makes_the_file_and_its_folders_for_the_user_alone() -> None:
    file = Places.from_environment(os.environ).config_file
    assert not file.parent.parent.exists()
    add_mirror(file, {"name": "m", "path": "~/m", "remote": "hf:me/m", "quiet": "1s"})
    assert file.read_text() == '[[mirror]]\nname = "m"\npath = "~/m"\nremote = "hf:me/m"\nquiet = "1s"\n'
    assert mode_of(file) == 0o600
    assert mode_of(file.parent) == mode_of(file.parent.parent) == 0o700
    assert os.listdir(file.parent) == [file.name]


def test_an_addition_comes_last_and_nothing_else_changes(file: Path) -> None:
    file.write_text(TEXT)
    add_mirror(file, {"path": "/data/c", "ignore": ["*.tmp", 'a"b']})
    assert file.read_text() == TEXT + '\n[[mirror]]\npath = "/data/c"\nignore = ["*.tmp", "a\\"b"]\n'
    assert names_in(file) == ["a", "b", "c"]


def test_other_tables_between_and_after_mirrors_stay_where_they_are(file: Path) -> None:
    text = (
        '[[mirror]]\npath = "/a"\n\n# all\n[defaults]\nquiet = "1s"\n\n# b\n[[mirror]]\npath = "/b"\n\n[defaults.x]\n'
    )
    text = text.replace("\n[defaults.x]\n", "")
    file.write_text(text)
    add_mirror(file, {"path": "/c"})
    assert file.read_text() == text + '\n[[mirror]]\npath = "/c"\n'
    remove_mirror(file, "b")
    assert (
        file.read_text()
        == '[[mirror]]\npath = "/a"\n\n# all\n[defaults]\nquiet = "1s"\n\n# b\n\n[[mirror]]\npath = "/c"\n'
    )


def test_a_file_without_a_last_line_end_gets_one(file: Path) -> None:
    file.write_text('[[mirror]]\npath = "/a"')
    add_mirror(file, {"path": "/b"})
    assert file.read_text() == '[[mirror]]\npath = "/a"\n\n[[mirror]]\npath = "/b"\n'


def test_line_ends_of_windows_are_kept(file: Path) -> None:
    text = TEXT.replace("\n", "\r\n").encode()
    file.write_bytes(text)
    add_mirror(file, {"name": "c", "path": "/data/c"})
    assert file.read_bytes() == text + b'\r\n[[mirror]]\r\nname = "c"\r\npath = "/data/c"\r\n'
    remove_mirror(file, "c")
    assert file.read_bytes() == text


def test_a_removal_takes_the_table_and_leaves_the_comments_around_it(file: Path) -> None:
    file.write_text(TEXT)
    remove_mirror(file, "b")
    first, last = TEXT.index("[[mirror]]\npath"), TEXT.index("# end of b")
    assert file.read_text() == TEXT[:first] + TEXT[last:]
    assert names_in(file) == ["a"]


def test_a_removed_table_does_not_leave_two_blank_lines(file: Path) -> None:
    file.write_text('[[mirror]]\npath = "/a"\n\n[[mirror]]\npath = "/b"\n\n[[mirror]]\npath = "/c"\n')
    remove_mirror(file, "b")
    assert file.read_text() == '[[mirror]]\npath = "/a"\n\n[[mirror]]\npath = "/c"\n'
    remove_mirror(file, "a")
    assert file.read_text() == '[[mirror]]\npath = "/c"\n'
    remove_mirror(file, "c")
    assert file.read_text() == ""


def test_a_pattern_is_removed_by_its_path(file: Path) -> None:
    file.write_text(TEXT)
    remove_mirror(file, "/data/many/*")
    assert file.read_text() == TEXT.replace('\n[[mirror]]\npath = "/data/many/*"\n', "")


@pytest.mark.parametrize("text", ["", "# only this\n", "\n# c\n\n", TEXT, TEXT + "\n\n", '[defaults]\nquiet = "1s"\n'])
def test_adding_and_removing_gives_the_file_back(file: Path, text: str) -> None:
    file.write_text(text)
    add_mirror(file, {"name": "new", "path": "/data/new"})
    remove_mirror(file, "new")
    assert file.read_text() == text


def test_mirrors_written_in_one_line_can_be_changed_too(file: Path) -> None:
    file.write_text('mirror = [{path = "/a"}, {path = "/b"}] # mine\n')
    add_mirror(file, {"path": "/c"})
    assert names_in(file) == ["a", "b", "c"]
    remove_mirror(file, "b")
    assert names_in(file) == ["a", "c"]
    assert "# mine" in file.read_text()
    file.write_text("mirror = []\n")
    add_mirror(file, {"path": "/c"})
    assert names_in(file) == ["c"]


VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(VALUES, st.sampled_from(["name", "remote", "branch", "into", "ignore", "quiet", "x", "päth", "a b"]))
def test_no_value_can_break_out_of_its_place(tmp_path_factory: pytest.TempPathFactory, value: str, key: str) -> None:
    file = tmp_path_factory.mktemp("c") / "config.toml"
    file.write_text(TEXT)
    before = tomllib.loads(TEXT)
    keys: dict[str, str | list[str]] = {"path": "/data/new", key: [value] if key == "ignore" else value}
    try:
        add_mirror(file, keys)
    except UserError:
        assert file.read_text() == TEXT
    else:
        assert tomllib.loads(file.read_text()) == before | {"mirror": [*before["mirror"], keys]}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"path": "/data/c", "branch": "a..b"}, "branch 'a..b' has '..'"),
        ({"path": "/data/c", "quite": "5s"}, 'unknown key "quite" in [[mirror]]'),
        ({"path": "/x/a"}, "two mirrors are called 'a': /data/a and /x/a"),
        ({"path": "/data/a/x"}, "the directory of mirror 'x', /data/a/x, is inside that of mirror 'a', /data/a"),
        ({"name": "x"}, "[[mirror]] has no path"),
        ({"path": "relative"}, "path: 'relative' is not absolute"),
    ],
)
def test_a_bad_mirror_is_refused_and_nothing_is_written(file: Path, keys: dict[str, str], message: str) -> None:
    file.write_text(TEXT)
    before = identity(file)
    with pytest.raises(UserError) as caught:
        add_mirror(file, keys)
    assert caught.value.message == message
    assert caught.value.remedy
    assert (file.read_text(), identity(file)) == (TEXT, before)
    assert os.listdir(file.parent) == [file.name]


def test_a_bad_mirror_makes_no_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        add_mirror(tmp_path / "no/such/config.toml", {"path": "relative"})
    assert os.listdir(tmp_path) == []


def test_directories_that_meet_through_a_symlink_are_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "real/inner").mkdir(parents=True)
    (tmp_path / "way").symlink_to("real")
    add_mirror(file, {"path": str(tmp_path / "real")})
    before = file.read_text()
    with pytest.raises(UserError, match="is inside that of mirror 'real'"):
        add_mirror(file, {"path": str(tmp_path / "way/inner")})
    assert file.read_text() == before


def test_a_broken_file_is_not_touched(file: Path) -> None:
    for text, line in (("[[mirror]]\npath = \n", 2), ('quite = "5s"\n', 1)):
        file.write_text(text)
        with pytest.raises(UserError) as added:
            add_mirror(file, {"path": "/data/c"})
        with pytest.raises(UserError) as removed:
            remove_mirror(file, "a")
        assert added.value.message == removed.value.message
        assert added.value.message.startswith(f"{file}:{line}: ")
        assert file.read_text() == text


def test_an_unknown_name_is_refused_with_the_nearest(file: Path) -> None:
    file.write_text('[[mirror]]\npath = "/data/my-model"\n')
    with pytest.raises(UserError) as caught:
        remove_mirror(file, "my-modle")
    assert str(caught.value) == f"no mirror 'my-modle' in {file}; did you mean \"my-model\"?"
    with pytest.raises(UserError, match="no mirror at all"):
        remove_mirror(file.with_name("missing.toml"), "a")
    assert not file.with_name("missing.toml").exists()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_mode_is_kept(file: Path, mode: int) -> None:
    file.write_text(TEXT)
    file.chmod(mode)
    add_mirror(file, {"path": "/data/c"})
    assert mode_of(file) == mode


def test_a_symlink_stays_and_its_target_is_replaced(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles/config.toml"
    target.parent.mkdir()
    target.write_text(TEXT)
    file.symlink_to(target)
    add_mirror(file, {"path": "/data/c"})
    assert file.is_symlink()
    assert target.read_text().startswith(TEXT)
    assert names_in(target) == ["a", "b", "c"]
    assert os.listdir(target.parent) == [target.name]
    assert os.listdir(file.parent) == [file.name]


def test_a_symlink_whose_target_is_missing_gets_one(file: Path, tmp_path: Path) -> None:
    file.symlink_to(tmp_path / "new/config.toml")
    add_mirror(file, {"path": "/data/c"})
    assert file.is_symlink()
    assert mode_of(tmp_path / "new/config.toml") == 0o600


def test_readers_never_see_half_a_file(file: Path) -> None:
    file.write_text(TEXT)
    with open(file) as reader:
        old = file.stat().st_ino
        add_mirror(file, {"path": "/data/c"})
        assert reader.read() == TEXT
    assert file.stat().st_ino != old


@pytest.mark.parametrize("unwritable", ["/proc/lfssync/config.toml", "/dev/null/config.toml"])
def test_a_place_that_cannot_be_written_is_named(unwritable: str) -> None:
    with pytest.raises(UserError) as caught:
        add_mirror(Path(unwritable), {"path": "/data/c"})
    assert unwritable in caught.value.message
    assert caught.value.remedy


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


FULL_DISK = """
import resource, sys
from pathlib import Path
from lfssync.configuration.configedit import add_mirror
from lfssync.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    add_mirror(Path(sys.argv[1]), {"path": "/data/c"})
except UserError as error:
    print(error)
"""


def test_when_the_disk_takes_only_a_part_the_old_file_stays(file: Path) -> None:
    file.write_text(TEXT)
    with python(FULL_DISK, str(file)) as process:
        output, errors = process.communicate(timeout=60)
    assert output.startswith(f"cannot write {file}: File too large; "), errors
    assert file.read_text() == TEXT
    assert os.listdir(file.parent) == [file.name]


AS_NOBODY = """
import os, sys
from pathlib import Path
import tomlkit
from lfssync.configuration.configedit import add_mirror
from lfssync.errors import UserError
from lfssync.places import Places
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
file = Path(sys.argv[1])
try:
    add_mirror(file, {"path": "/data/c"}, Places(file, Path("/s"), Path("/d"), Path("/r"), Path("/h")))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o777), (0o666, 0o555)])
def test_permissions_are_respected(file_mode: int, folder_mode: int) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        file = folder / "in" / "config.toml"
        file.parent.mkdir()
        file.write_text(TEXT)
        file.chmod(file_mode)
        file.parent.chmod(folder_mode)
        with python(AS_NOBODY, str(file)) as process:
            output, errors = process.communicate(timeout=60)
        assert output.startswith(f"cannot write {file}: "), errors
        assert "make it writable" in output
        assert file.read_text() == TEXT
        assert os.listdir(file.parent) == [file.name]
        file.parent.chmod(0o755)


ADD_MANY = """
import sys
from pathlib import Path
from lfssync.configuration.configedit import add_mirror
for number in range(10):
    add_mirror(Path(sys.argv[1]), {"name": f"{sys.argv[2]}{number}", "path": f"/data/{sys.argv[2]}{number}"})
"""


def test_additions_at_the_same_time_are_all_there(file: Path) -> None:
    processes = [python(ADD_MANY, str(file), letter) for letter in "abc"]
    for process in processes:
        with process:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
    assert sorted(names_in(file)) == sorted(f"{letter}{number}" for letter in "abc" for number in range(10))


def test_tomlkit_is_loaded_only_to_write() -> None:
    code = "import sys, lfssync.configuration.config, lfssync.configuration.configedit; print('tomlkit' in sys.modules)"
    with python(code) as process:
        assert process.communicate(timeout=60)[0] == "False\n"
