"""Which process of a training with several is the one that acts. Pure.

The one thing to know: launchers say it in the environment, each in its own way; the first that says anything counts.
"""

from __future__ import annotations

from collections.abc import Mapping

VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
"""Of torchrun and accelerate, of Slurm, of Open MPI, of MPICH and Intel MPI; all count over all machines."""


def is_first(environ: Mapping[str, str]) -> bool:
    """Whether this is rank 0, or the only process.

    Args:
        environ: The environment of the process.
    """
    given = next((environ[name] for name in VARIABLES if environ.get(name)), "0")
    return not given.isdigit() or int(given) == 0
