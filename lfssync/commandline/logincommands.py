"""The commands about logins: `login`, `logout`, `whoami`.

They stand beside `commands`, which lists them. The one thing to know: a token is asked for without showing it, or read
from standard input; never from an argument, which every other user of the machine can see.
"""

from __future__ import annotations

import sys
from argparse import Namespace

from lfssync.commandline import terminal
from lfssync.errors import UserError
from lfssync.places import Places

_TOKEN_CHARACTERS_MAX = 16384


def login(arguments: Namespace, places: Places) -> int:
    """Keep a token for a host."""
    from lfssync.commandline import output
    from lfssync.service import operations

    done = operations.login(places, arguments.host, token, arguments.username, terminal.warn)
    terminal.emit(output.login_lines(done))
    return 0


def logout(arguments: Namespace, places: Places) -> int:
    """Delete a host's token."""
    from lfssync.commandline import output
    from lfssync.service import operations

    terminal.emit(output.logout_lines(operations.logout(places, arguments.host)))
    return 0


def whoami(arguments: Namespace, places: Places) -> int:
    """Ask a host who one is there."""
    from lfssync.commandline import output
    from lfssync.service import operations

    terminal.emit(output.whoami_lines(operations.whoami(places, arguments.host)))
    return 0


def token(host: str) -> str:
    """A token for a host: from a prompt on a terminal, else all of standard input.

    Raises:
        UserError: There is none, or the terminal would show it.
    """
    if sys.stdin is not None and not terminal.is_terminal(sys.stdin):
        given = sys.stdin.read(_TOKEN_CHARACTERS_MAX)
    else:
        given = typed_token(host)
    if not given.strip():
        raise UserError("no token was given", f"type it, or pipe it in: lfssync login {host} < FILE")
    return given


def typed_token(host: str) -> str:
    """Ask for a token, without showing it.

    Raises:
        UserError: There is nobody to ask, or the terminal would show it.
    """
    import getpass
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass(f"Token for {host}: ")
    except EOFError:
        return ""
    except getpass.GetPassWarning:
        raise UserError("this terminal would show the token", f"pipe it in: lfssync login {host} < FILE") from None
