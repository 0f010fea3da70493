"""What the README shows and tells, done for real: a user's home on a fresh machine, and a session on a terminal there.

`test_readme` runs the README's commands in such a home. Run as a program (`.venv/bin/python -m tests.readme_session`),
this draws the README's picture anew, `.readme/session.svg`. The one thing to know: the picture shows a session that
took place, and the only words that are changed in it are the path of its home, which becomes `/home/me`.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

import numpy
from rich.console import Console
from rich.text import Text
from safetensors.numpy import save_file

from tests.terminals import terminal

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / ".readme" / "session.svg"
SHOWN_HOME = "/home/me"
COMMANDS = (
    "lfssync add ~/outputs/my-model",
    "lfssync sync",
    "lfssync tag v2.0.1 -m 'Longer context'",
    "lfssync log",
    "lfssync status",
)
COLUMNS = 120
TIMEOUT_S = 120.0

_WEIGHTS = 6 << 20
_CHARACTER_WIDTH = 12.2
"""Of rich's SVG, in its own units: 0.61 of the height of 20."""

_PROMPT = "[bold green]$[/] [bold]{}[/]"

# Rich's own format without its fonts from a foreign host.
_SVG_FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" xml:space="preserve">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def move_in(home: Path) -> None:
    """Makes a home as it is after this tree was installed the way the README says, with a new model in it."""
    programs = _programs(home)
    programs.mkdir(parents=True)
    _runtime(home).mkdir(mode=0o700)
    command = programs / "lfssync"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lfssync "$@"\n')
    command.chmod(0o755)
    _write_model(home / "outputs" / "my-model")


def user_environment(home: Path) -> dict[str, str]:
    """The environment of the user who lives there.

    Nothing of the machine's own settings is in it: no XDG folders, no git configuration, no credentials.
    """
    return {
        "HOME": str(home),
        "PATH": f"{_programs(home)}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "GIT_CONFIG_NOSYSTEM": "1",
        "XDG_RUNTIME_DIR": str(_runtime(home)),
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm-256color",
    }


def _write_model(directory: Path) -> None:
    """Writes a small model as a training run leaves it: weights, configuration, tokenizer."""
    directory.mkdir(parents=True)
    weights = numpy.random.default_rng(201).random(_WEIGHTS, numpy.float32)
    save_file({"layer.0": weights}, directory / "model.safetensors")
    (directory / "config.json").write_text('{"hidden_size": 64}\n')
    (directory / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 1}}}\n')


def _programs(home: Path) -> Path:
    return home / ".local" / "bin"


def _runtime(home: Path) -> Path:
    return home / ".run"


def session(home: Path) -> str:
    """Moves into a home, runs the commands there, and gives the picture of what the terminal showed."""
    move_in(home)
    with io.StringIO() as nowhere:
        screen = Console(record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="truecolor")
        for command in COMMANDS:
            screen.print(_PROMPT.format(command), highlight=False)
            screen.print(Text.from_ansi(_shown(command, home).replace(str(home), SHOWN_HOME)))
        return screen.export_svg(title="lfssync", code_format=_SVG_FORMAT, unique_id="session")


def words(picture: str) -> list[str]:
    """What stands in a picture, line by line."""
    lines: dict[float, list[tuple[float, str]]] = defaultdict(list)
    for element in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text"):
        if "clip-path" in element.attrib:
            lines[float(element.attrib["y"])].append((float(element.attrib["x"]), "".join(element.itertext())))
    return [_line(sorted(lines[y])) for y in sorted(lines)]


def _line(pieces: list[tuple[float, str]]) -> str:
    """Puts the pieces of a line into their columns; what is blank has no piece."""
    line = ""
    for x, text in pieces:
        line = line.ljust(round(x / _CHARACTER_WIDTH)) + text.replace("\xa0", " ")
    return line.rstrip()


def _shown(command: str, home: Path) -> str:
    """What a command shows on a terminal; progress bars, which come and go on standard error, are left out."""
    with terminal() as (screen, theirs):
        done = subprocess.Popen(
            ["bash", "-c", command], stdout=theirs, stderr=subprocess.PIPE, cwd=home, env=user_environment(home)
        )
        theirs.close()
        shown = screen.rest()
        _, complaint = done.communicate(timeout=TIMEOUT_S)
        assert done.returncode == 0, complaint.decode()
    return re.sub(r"\r", "", shown).removesuffix("\n")


def main() -> None:
    """Draws the picture anew."""
    with tempfile.TemporaryDirectory(prefix="lfssync-") as folder:
        PICTURE.parent.mkdir(exist_ok=True)
        PICTURE.write_text(session(Path(folder)))
    print("\n".join(words(PICTURE.read_text())))


if __name__ == "__main__":
    main()
