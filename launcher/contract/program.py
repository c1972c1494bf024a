"""Which trials run on one compiled program."""

import dataclasses

from sweeps.canonical import short_hash
from sweeps.trial import Trial


def program_of(trial: Trial) -> str:
    """Returns the identity of the compiled program: all of a trial but what the program takes as traced arguments."""
    return short_hash(dataclasses.replace(trial, epochs=1.0, peak_lr=1.0, seed=0, trunk_id=None))
