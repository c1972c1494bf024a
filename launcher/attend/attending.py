"""`make status`, `watch`, `stop` and `retry`: looking at a sweep and having a word with it, from any terminal."""

import contextlib
import json
import time
from collections.abc import Callable

from launcher.attend.status_table import state_as_json, state_lines
from launcher.attend.study_state import StudyState, read_state
from launcher.drive import requests_file
from launcher.drive.driver_lock import StudyIsRunError, driver_lock, is_driven
from launcher.drive.requests_file import Ask
from tracking.ledger import load_records
from tracking.paths import ProjectPaths

WATCH_S = 2.0
STOP_PATIENCE_S = 90.0
"""A driver takes a request at its next turn and then ends its workers; longer than this it is busy writing."""


def show_status(paths: ProjectPaths, study: str, *, as_json: bool) -> int:
    """Prints where a study stands; returns the exit code."""
    state = read_state(paths, study)
    if as_json:
        print(json.dumps(state_as_json(state)), flush=True)
        return 0
    from analysis.report.narrow_table import print_line, printing_console

    console = printing_console()
    for line in state_lines(state):
        print_line(console, line)
    return 0


def watch(paths: ProjectPaths, study: str, *, as_json: bool) -> int:
    """Shows where a study stands until nothing of it moves any more; Ctrl-C ends the looking and nothing else."""
    from rich.console import Console

    console = Console(highlight=False)
    try:
        if as_json or not console.is_terminal:
            _watch_lines(paths, study, as_json=as_json)
        else:
            from rich.live import Live
            from rich.text import Text

            def drawn(state: StudyState) -> Text:
                return Text("\n".join(state_lines(state)))

            with Live(console=console, auto_refresh=False) as live:
                _until_still(paths, study, lambda state: live.update(drawn(state), refresh=True))
    except KeyboardInterrupt:
        print("the sweep goes on; make stop would end it")
    return 0


def _watch_lines(paths: ProjectPaths, study: str, *, as_json: bool) -> None:
    """Prints a state whenever it has changed."""
    said = ""

    def say(state: StudyState) -> None:
        nonlocal said
        text = json.dumps(state_as_json(state)) if as_json else "\n".join(state_lines(state))
        if text != said:
            print(text, flush=True)
        said = text

    _until_still(paths, study, say)


def _until_still(paths: ProjectPaths, study: str, show: Callable[[StudyState], None]) -> None:
    while True:
        state = read_state(paths, study)
        show(state)
        if not state.is_moving:
            return
        time.sleep(WATCH_S)


def stop(paths: ProjectPaths, study: str, *, as_json: bool) -> int:
    """Ends a sweep, driver or no driver; returns 0 once nothing is queued or trains, 1 where it goes on."""
    study_dir = paths.study_dir(study)
    read_state(paths, study)  # says so where there is no such study
    from launcher.on_slurm.left_behind import cancel_open_batches

    deadline = time.monotonic() + STOP_PATIENCE_S
    while time.monotonic() < deadline:
        if is_driven(study_dir):
            requests_file.ask(study_dir, Ask.STOP)
            time.sleep(0.2)
            continue
        with contextlib.suppress(StudyIsRunError), driver_lock(study_dir, study):  # so that no driver starts meanwhile
            requests_file.take(study_dir)
            cancelled = cancel_open_batches(study_dir / "batches")
            break
    else:
        print("the driver has been told to stop and is still at it; look again with make status")
        return 1
    if as_json:
        return show_status(paths, study, as_json=True)
    said = f"; {cancelled} packs were taken out of Slurm's queue" if cancelled else ""
    print(f"nothing of study {study} is queued or trains{said}; the same make sweep command goes on from here")
    return 0


def retry(paths: ProjectPaths, study: str, *, as_json: bool) -> int:
    """Gives what failed, was left or ran out of memory another go; returns the exit code."""
    from tracking.forgiven import forgive

    state = read_state(paths, study)
    forgiven = forgive(paths, study, load_records(paths, study))
    if state.driver is not None:
        requests_file.ask(paths.study_dir(study), Ask.RETRY)
    if as_json:
        return show_status(paths, study, as_json=True)
    failed = state.counts.get("failed", 0)
    if state.driver is None and not failed and not forgiven:
        print(f"nothing of study {study} has failed or run out of memory: there is nothing to try again")
        return 0
    what = f"{failed} runs that failed and {forgiven} that ran out of memory"
    if state.driver is not None:
        print(f"the driver ({state.driver}) gives what was given up another go: {what}")
    else:
        print(f"the next make sweep gives another go to {what}")
    return 0
