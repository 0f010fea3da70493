"""`git-credential-lfssync`: answers the user's own git and git-lfs for the remotes of configured mirrors.

Stands beside the command line; git starts it once it is named in `credential.helper`. The one thing to know: it
answers for the repositories of the configuration and for nothing else, asked for with their exact path, so git must
have `credential.useHttpPath`. Everything it does not like gets no answer and exit status 0: git then asks elsewhere.

`store` is not for us: `lfssync login` keeps logins, after a check. `erase` is noted as a refusal; nothing is deleted.

Source: gitcredentials(7), "CUSTOM HELPERS".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from lfssync.configuration import config, patterns
from lfssync.credentials import Credential, nobody
from lfssync.credentials.answering import QUERY_BYTES_MAX, fits, parse
from lfssync.credentials.ladder import Ladder
from lfssync.credentials.variables import ANYBODY
from lfssync.errors import LfssyncError
from lfssync.places import Places


def main() -> int:
    """Answer one query on standard input; the console script `git-credential-lfssync`."""
    query = parse(sys.stdin.buffer.read(QUERY_BYTES_MAX + 1))
    try:
        places = Places.from_environment(os.environ)
        sys.stdout.write(answer(sys.argv[1:], query, places))
        sys.stdout.flush()
    except (LfssyncError, OSError) as error:
        sys.stderr.write(f"lfssync: {error}\n")
    return 0


def answer(words: Sequence[str], query: dict[str, str], places: Places) -> str:
    """What to write on standard output; empty for no answer.

    Args:
        words: What git asks for: `get`, `store` or `erase`.
        query: The attributes that git sent.
        places: Where the configuration is.
    """
    if list(words) not in (["get"], ["erase"]):
        return ""
    address = next((one for one in _addresses(places) if fits(query, one)), None)
    if address is None:
        return ""
    ladder = Ladder.configured(places, os.environ, last=nobody().find)  # git asks its other helpers by itself
    if words[0] == "erase":
        if "password" in query:
            ladder.refused(address, Credential(query.get("username", ""), query["password"], "git"))
        return ""
    found = ladder.find(address)
    if found is None:
        return ""
    username = query.get("username", found.username)
    return f"username={username}\npassword={found.secret}\n" if found.username in (username, ANYBODY) else ""


def _addresses(places: Places) -> list[str]:
    """Every address that a mirror logs in at, now: remotes, and LFS servers that were named."""
    found = config.load(places)
    mirrors = [*found.mirrors, *(patterns.survey(found.patterns, places).mirrors if found.patterns else ())]
    return [address for mirror in mirrors for address in (mirror.remote, mirror.lfs_url) if address]


if __name__ == "__main__":
    sys.exit(main())
