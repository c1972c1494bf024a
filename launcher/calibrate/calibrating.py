"""`make calibrate`: measures every model of a study on the devices at hand and keeps it as a hardware for plans."""

import contextlib
import json
import shlex
from collections.abc import Callable, Generator

from launcher.calibrate.calibration_table import calibrations_as_json, print_calibrations, said_of
from launcher.calibrate.measuring import measure, slot_of, tasks_of
from launcher.calibrate.session import Session
from launcher.settings.calibrations import (
    file_of,
    hardware_name,
    read_calibration,
    this_machine,
    write_calibration,
)
from launcher.settings.request import ClusterSpec
from sweeps.calibration import CalibrationTask, Unmeasured, with_measured, with_one_peak
from sweeps.compute import ComputeSpec
from sweeps.hardware import Hardware
from sweeps.study import Study
from tracking.paths import ProjectPaths


def run_calibration(
    study: Study,
    paths: ProjectPaths,
    *,
    compute: ComputeSpec,
    cluster: ClusterSpec,
    as_json: bool,
    words: list[str],
    shorten: Callable[[CalibrationTask], CalibrationTask] = lambda task: task,
) -> int:
    """Returns the exit code; what was measured is on disk after each model, and stays there on Ctrl-C.

    Args:
        study: whose models, data, recipe and batch.
        paths: of the project.
        compute: how the step is spread over the devices.
        cluster: a local one says how many devices train one trial.
        as_json: whether the answer is one JSON object.
        words: of the command line, for the record.
        shorten: for tests, makes a task take less time.

    Raises:
        StudyError: there is no device of that kind here.
    """
    session = Session(study=study.name, command=shlex.join(["python", "-m", "launcher", *words]))
    tasks, slot = [shorten(task) for task in tasks_of(study, compute)], slot_of(cluster)
    before: Hardware | None = None
    with contextlib.suppress(KeyboardInterrupt), _progress(len(tasks), is_silent=as_json) as (stage, done):
        session.is_interrupted = True  # until all of it is done
        for task in tasks:
            stage(task.trial.model, "starting")
            found = measure(task, slot, paths, say=lambda what, name=task.trial.model: stage(name, what))
            done(said_of(found))
            if isinstance(found, Unmeasured):
                session.unmeasured.append(found)
                continue
            name = hardware_name(found.device)
            if not session.measured:
                before = _before(name, paths)
            session.measured = with_one_peak([*session.measured, found], before)
            session.hardware = _keep(session, before, name, paths)
        session.is_interrupted = False
    if as_json:
        file = None if session.hardware is None else str(file_of(session.hardware.name, paths))
        print(json.dumps({"study": session.study, "file": file, **calibrations_as_json(session)}, allow_nan=False))
    else:
        print_calibrations(session, paths)
    return session.exit_code


def _before(name: str, paths: ProjectPaths) -> Hardware | None:
    path = file_of(name, paths)
    return read_calibration(path) if path.exists() else None


def _keep(session: Session, before: Hardware | None, name: str, paths: ProjectPaths) -> Hardware:
    """Returns what is known of the hardware now that one more model is measured, as written to disk."""
    sources = [(one, session.source(one)) for one in session.measured]
    hardware = with_measured(before, sources, name=name, machine=this_machine())
    about = (
        f"Measured by make calibrate, last on {session.today}. A core is one device as JAX counts them.",
        f"Peak: {session.measured[-1].peak_source}.",
        "The assumed MFU, for models that are not below, is the median of those measured last.",
    )
    write_calibration(hardware, paths, about=about)
    return hardware


@contextlib.contextmanager
def _progress(models: int, *, is_silent: bool) -> Generator[tuple[Callable[[str, str], None], Callable[[str], None]]]:
    """Yields what shows a stage of a model, and what shows that a model is done; stdout is left alone."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=is_silent or not console.is_terminal) as progress:
        bar = progress.add_task("", total=models)

        def stage(model: str, what: str) -> None:
            progress.update(bar, description=f"{model}: {what}")

        def done(line: str) -> None:
            progress.advance(bar)
            if not is_silent:
                progress.console.print(line, markup=False, soft_wrap=True)

        yield stage, done
