"""What other terminals ask of a running sweep: a file each in the study's folder, which the driver takes away."""

import contextlib
import enum
from pathlib import Path

_FOLDER = "requests"


class Ask(enum.StrEnum):
    """What may be asked."""

    STOP = "stop"
    """Cancel what is queued or runs, and end."""
    RETRY = "retry"
    """Give the trials that were given up another go."""


def ask(study_dir: Path, what: Ask) -> None:
    """Leaves a request for the driver of a study."""
    (study_dir / _FOLDER).mkdir(parents=True, exist_ok=True)
    (study_dir / _FOLDER / what.value).touch()


def take(study_dir: Path) -> set[Ask]:
    """Returns what has been asked since the last call, and forgets it."""
    found: set[Ask] = set()
    for what in Ask:
        with contextlib.suppress(FileNotFoundError):
            (study_dir / _FOLDER / what.value).unlink()
            found.add(what)
    return found
