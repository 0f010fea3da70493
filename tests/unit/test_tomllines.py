"""Where things stand in a TOML text, however it is written."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfssync.configuration.tomllines import Steps, line_of, span_of, syntax_error_line

TEXT = '''\
# a comment with [[mirror]]
title = """
[[mirror]]
name = "not this"
"""

[defaults]
quiet = "5s" # quiet = 1
"ig\\u006Eore" = [
  "a", # ]
  "b",
]

  [[mirror]]
  name = 'a'

  # in between
  path = "/a"
# after

[[ mirror ]] # another
path = "/b"
retry.times = 3
'''


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        (("title",), 2),
        (("defaults",), 7),
        (("defaults", "quiet"), 8),
        (("defaults", "ignore"), 9),
        (("mirror",), 14),
        (("mirror", 0, "name"), 15),
        (("mirror", 0, "path"), 18),
        (("mirror", 1), 21),
        (("mirror", 1, "path"), 22),
        (("mirror", 1, "retry", "times"), 23),
    ],
)
def test_every_value_has_its_line(steps: Steps, line: int) -> None:
    assert line_of(TEXT, steps) == line
    assert line_of(TEXT.replace("\n", "\r\n"), steps) == line
    assert line_of(TEXT.rstrip("\n"), steps) == line


def test_a_table_spans_its_statements_and_no_comments_around_it() -> None:
    assert span_of(TEXT, ("mirror", 0)) == (14, 18)
    assert span_of(TEXT, ("mirror", 1)) == (21, 23)
    assert span_of(TEXT.rstrip("\n"), ("mirror", 1)) == (21, 23)
    assert span_of(TEXT, ("defaults", "ignore")) == (9, 12)


def test_an_inline_array_is_one_statement() -> None:
    text = 'mirror = [\n {path = "/a"},\n {path = "/b"},\n]\n'
    assert line_of(text, ("mirror", 1, "path")) == 1
    assert span_of(text, ("mirror", 1)) == (1, 4)


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = \n", 1), ("a = 1\nb = [1,\n", 2), ("a = 1\n\nb b\n", 3), ('a = """\n\n', 1), ("a = 1\na = 2", 2), ("=", 1)],
)
def test_syntax_errors_have_a_line(text: str, line: int) -> None:
    with pytest.raises(tomllib.TOMLDecodeError) as caught:
        tomllib.loads(text)
    found, message = syntax_error_line(caught.value, text)
    assert found == line
    assert "(at" not in message
    assert message


@given(
    st.lists(st.sampled_from(["", "# c", 'x = """\n[[m]]\n"""', "y = [1,\n\n2]", "z.a = 1"]), max_size=8), st.booleans()
)
def test_the_line_is_right_after_anything(above: list[str], final_newline: bool) -> None:
    tables = [f"[t{number}]\n{text}" for number, text in enumerate(above)]
    head = "\n".join(tables)
    text = f"{head}\n[[m]]\nkey = [\n1]" + ("\n" if final_newline else "")
    header = head.count("\n") + 2
    assert line_of(text, ("m", 0)) == header
    assert line_of(text, ("m", 0, "key")) == header + 1
    assert span_of(text, ("m", 0)) == (header, header + 2)
