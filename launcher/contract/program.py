"""Which trials run on one compiled program."""

from sweeps.canonical import short_hash
from sweeps.trial import Trial


def program_of(trial: Trial) -> str:
    """Returns the identity of the compiled program: all of a trial but what the program takes as traced arguments."""
    return short_hash(trial.of_program)
