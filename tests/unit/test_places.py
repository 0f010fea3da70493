"""Where lfssync's own files lie, and the names that mirrors may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lfssync.errors import UserError
from lfssync.places import NAME_CHARACTERS_MAX, SOCKET_BYTES_MAX, Places, check_name, mirror_name

HOME = {"HOME": "/home/ann"}


def test_defaults_follow_the_xdg_specification() -> None:
    assert Places.from_environment(HOME) == Places(
        config_file=Path("/home/ann/.config/lfssync/config.toml"),
        state_dir=Path("/home/ann/.local/state/lfssync"),
        data_dir=Path("/home/ann/.local/share/lfssync"),
        runtime_dir=Path("/home/ann/.local/state/lfssync/run"),
        home=Path("/home/ann"),
    )


def test_xdg_folders_are_honoured() -> None:
    environ = HOME | {
        "XDG_CONFIG_HOME": "/c",
        "XDG_STATE_HOME": "/s",
        "XDG_DATA_HOME": "/d",
        "XDG_RUNTIME_DIR": "/run/user/1000",
    }
    places = Places.from_environment(environ)
    assert places.config_file == Path("/c/lfssync/config.toml")
    assert places.state_dir == Path("/s/lfssync")
    assert places.data_dir == Path("/d/lfssync")
    assert places.control_socket == Path("/run/user/1000/lfssync/control.sock")


@pytest.mark.parametrize("value", ["", "relative", "./x", "~/x"])
def test_empty_and_relative_xdg_values_are_ignored(value: str) -> None:
    variables = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR")
    assert Places.from_environment(HOME | dict.fromkeys(variables, value)) == Places.from_environment(HOME)


def test_own_variables_beat_xdg_and_the_command_line_beats_both() -> None:
    environ = HOME | {"LFSSYNC_CONFIG": "~/my.toml", "LFSSYNC_STATE_DIR": "/big/state", "XDG_STATE_HOME": "/s"}
    places = Places.from_environment(environ)
    assert places.config_file == Path("/home/ann/my.toml")
    assert places.state_dir == Path("/big/state")
    assert places.runtime_dir == Path("/big/state/run")
    assert Places.from_environment(environ, "/other.toml").config_file == Path("/other.toml")
    assert Places.from_environment(environ, Path("near.toml")).config_file == Path.cwd() / "near.toml"


def test_empty_own_variables_count_as_unset() -> None:
    environ = HOME | {"LFSSYNC_CONFIG": "", "LFSSYNC_STATE_DIR": ""}
    assert Places.from_environment(environ) == Places.from_environment(HOME)


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "ann"}])
def test_a_home_is_needed(environ: dict[str, str]) -> None:
    with pytest.raises(UserError, match="HOME is not set") as caught:
        Places.from_environment(environ)
    assert caught.value.remedy


def test_what_belongs_to_a_mirror() -> None:
    places = Places.from_environment(HOME)
    assert places.mirror_state("my-model") == Path("/home/ann/.local/state/lfssync/mirrors/my-model")
    assert places.embedded_remote("my-model") == Path("/home/ann/.local/share/lfssync/remotes/my-model.git")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "-rf", ".hidden", "a\n", "ä", "a b", "x" * 101])
def test_no_name_leads_out_of_the_state_folder(name: str) -> None:
    places = Places.from_environment(HOME)
    for question in (check_name, places.mirror_state, places.embedded_remote):
        with pytest.raises(UserError) as caught:
            question(name)
        assert caught.value.remedy
        assert str(caught.value).isprintable()


def test_the_remedy_for_a_bad_name_is_a_good_one() -> None:
    with pytest.raises(UserError, match="such as 'my_0x20model'"):
        check_name("my model")


@given(st.integers(min_value=1, max_value=200))
def test_a_socket_path_always_fits(length: int) -> None:
    runtime_dir = Path("/" + "é" * length)
    socket = Places(Path("/c"), Path("/s"), Path("/d"), runtime_dir, Path("/h")).control_socket
    own = runtime_dir / "control.sock"
    assert len(os.fsencode(socket)) <= SOCKET_BYTES_MAX
    assert (socket == own) == (len(os.fsencode(own)) <= SOCKET_BYTES_MAX)


def test_long_runtime_folders_do_not_share_a_socket() -> None:
    sockets = {
        Places(Path("/c"), Path("/s"), Path("/d"), Path("/" + "r" * n), Path("/h")).control_socket
        for n in range(90, 200)
    }
    assert len(sockets) == 110


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("my-model", "my-model"),
        ("Llama_3.1-8B", "Llama_3.1-8B"),
        ("model_x86", "model_x86"),
        ("my model", "my_0x20model"),
        ("_private", "0x5fprivate"),
        ("-rf", "0x2drf"),
        ("größe", "gr_0xc3_0xb6_0xc3_0x9fe"),
        ("a\n", "a_0x0a"),
        ("run/1", "run_0x2f1"),
        ("\udcff", "0xff"),
        ("my_0x20model", "my_0x5f0x20model"),
        ("0xff", "0x30xff"),
    ],
)
def test_names_made_from_folders(folder: str, name: str) -> None:
    assert mirror_name(folder) == name


FOLDER_NAMES = st.binary(min_size=1, max_size=255).map(os.fsdecode)
CONFUSING_NAMES = st.lists(
    st.sampled_from(["_", "0", "x", "5", "f", "2", "_0x5f", "0x", " ", "-", "a"]), min_size=1
).map("".join)


@given(st.one_of(FOLDER_NAMES, CONFUSING_NAMES))
@example("x" * 100)
@example("x" * 101)
def test_every_folder_name_gives_a_valid_name(folder: str) -> None:
    assert check_name(mirror_name(folder)) == mirror_name(folder)


@given(st.one_of(FOLDER_NAMES, CONFUSING_NAMES), st.one_of(FOLDER_NAMES, CONFUSING_NAMES))
@example(" " * 200, " " * 201)
@example("_", "0x5f")
def test_two_folder_names_never_give_the_same_name(one: str, other: str) -> None:
    assert (mirror_name(one) == mirror_name(other)) == (one == other)
    if len(mirror_name(one)) < NAME_CHARACTERS_MAX:
        assert mirror_name(mirror_name(one)) != mirror_name(one) or mirror_name(one) == one
