"""The ledger of predictions: one file of JSON lines a study, to which lines are only ever appended."""

import dataclasses
import fcntl
import json
import logging
import os
import time
from collections.abc import Iterable

from sweeps.canonical import from_jsonable, to_jsonable
from sweeps.prediction import Prediction
from tracking.code_version import code_version
from tracking.paths import ProjectPaths

_log = logging.getLogger(__name__)


def freeze(paths: ProjectPaths, study: str, predictions: Iterable[Prediction]) -> tuple[Prediction, ...]:
    """Returns the predictions with the time and the code version; they are on the disk when this returns.

    One that was frozen before, of the same run from the same data by the same maker, is not written again.
    """
    path = paths.predictions_file(study)
    stamped = [dataclasses.replace(one, code_version=code_version(), made_unix_s=time.time()) for one in predictions]
    if not stamped:
        return ()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        known = {_identity(one) for one in read_predictions(paths, study)}
        fresh = tuple(one for one in stamped if _identity(one) not in known)
        if file.tell() and not path.read_bytes().endswith(b"\n"):
            file.write(b"\n")  # whoever wrote last was killed within a line
        for one in fresh:
            file.write(json.dumps(to_jsonable(one), allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return fresh


def read_predictions(paths: ProjectPaths, study: str) -> tuple[Prediction, ...]:
    """Returns all predictions of a study in the order in which they were made; a torn line is passed over."""
    try:
        lines = paths.predictions_file(study).read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    found: list[Prediction] = []
    for line in lines:
        try:
            found.append(from_jsonable(Prediction, json.loads(line)))
        except ValueError:
            if line.strip():
                _log.warning("a line of %s is no prediction and is passed over", paths.predictions_file(study))
    return tuple(found)


def _identity(one: Prediction) -> tuple[object, ...]:
    return (one.model, one.epochs, one.batch_images, one.peak_lr, one.cohort, one.made_by, one.data_digest)
