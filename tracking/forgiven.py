"""Which trials that ran out of memory somebody wants tried again: the machine may be another one by now."""

import json
import os
from collections.abc import Iterable
from typing import cast

from sweeps.record import RunRecord, Status
from tracking.paths import ProjectPaths

_FILE = "forgiven.json"


def forgive(paths: ProjectPaths, study: str, records: Iterable[RunRecord]) -> int:
    """Returns how many of the records ran out of memory and are owed another attempt from now on."""
    again = {record.trial.id: record.attempts for record in records if record.status is Status.OUT_OF_MEMORY}
    if again:
        path = paths.study_dir(study) / _FILE
        unfinished = path.with_name(f"{_FILE}.{os.getpid()}")
        unfinished.write_text(json.dumps({**forgiven_attempts(paths, study), **again}))
        unfinished.replace(path)
    return len(again)


def forgiven_attempts(paths: ProjectPaths, study: str) -> dict[str, int]:
    """Returns, for each trial that was forgiven, how many attempts at it were: a later one counts again."""
    try:
        found: object = json.loads((paths.study_dir(study) / _FILE).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return cast("dict[str, int]", found) if isinstance(found, dict) else {}
