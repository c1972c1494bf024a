"""The Hydra application: `python -m launcher action=plan study=jft budget=110k`."""

import functools
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import hydra
from omegaconf import DictConfig

from launcher.settings import schema
from launcher.settings.calibrations import typed_words, with_calibrations
from launcher.settings.compose import (
    CONFIG_DIR,
    CONFIG_NAME,
    action_of,
    full_size_models,
    is_json,
    load_data,
    named_family,
    rehearsal_from,
    request_from,
    study_from,
    with_study_of_pick,
)
from launcher.settings.conditions import Conditions
from launcher.settings.config_errors import READING_ERRORS, explain
from launcher.settings.request import ClusterSpec, Request
from launcher.show.root_trouble import root_trouble
from sweeps.compute import ComputeSpec
from sweeps.errors import StudyError
from sweeps.plan import make_plan
from sweeps.study import Model, Study
from sweeps.trial import DataSpec
from tracking.paths import project_paths

INTERRUPTED = 130
"""What a shell reports for a command that was ended by Ctrl-C: 128 + 2."""

USER_ERROR = 2
"""Exit code where the person at the keyboard can mend it."""

SIGPIPE_EXIT = 141
"""What a shell reports for a command whose reader has gone: 128 + 13."""

REFERENCE_DATA = "jft4b"
"""Models at full size are counted with the reference study's image size and classes."""

ATTENDING = ("status", "watch", "stop", "retry")
"""Actions that look at a study or have a word with its driver, and need no budget."""

Job = Callable[[], int]


def main() -> int:
    """Returns the exit code of the command in sys.argv; a user's mistake is one message on stderr and code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without UTF-8 shows ? for what it has no letter for
    try:
        return max((job() for job in _read_jobs()), default=0)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressed again, it ends as calmly
        print(f"interrupted; nothing recorded is lost. Again: {_typed()}", file=sys.stderr)
        return INTERRUPTED
    except StudyError as error:
        if "HYDRA_FULL_ERROR" in os.environ:
            traceback.print_exc()
        print(f"loglog: {error}", file=sys.stderr)
        return USER_ERROR
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SIGPIPE_EXIT
    except OSError as error:
        if (told := root_trouble(error, project_paths())) is None:
            raise
        print(f"loglog: {told}", file=sys.stderr)
        return USER_ERROR


def _typed() -> str:
    from launcher.show.typed_command import typed_command

    return typed_command(typed_words(sys.argv[1:]), os.environ)


def _read_jobs() -> list[Job]:
    """Returns what the command line asks for; Hydra itself answers --help, --cfg and tab completion."""
    schema.register(named_family(sys.argv[1:]))
    words = with_study_of_pick(sys.argv[1:])
    sys.argv[1:] = with_calibrations(words, project_paths())  # there Hydra reads them
    jobs: list[Job] = []

    @hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=CONFIG_NAME)
    def application(config: DictConfig) -> None:
        try:
            jobs.append(_job(config))
        except READING_ERRORS as error:  # Hydra would put a line of its own before the message
            jobs.append(functools.partial(_refuse, explain(error, CONFIG_DIR)))

    full_error = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints errors in its own words and exits with 1
    try:
        application()
    except READING_ERRORS as error:
        raise explain(error, CONFIG_DIR) from error
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
        if full_error is not None:
            os.environ["HYDRA_FULL_ERROR"] = full_error
    return jobs


def _refuse(error: StudyError) -> int:
    raise error


def _job(config: DictConfig) -> Job:
    action = action_of(config)
    if action == "models":
        data = load_data(REFERENCE_DATA)
        return functools.partial(show_models, full_size_models(data), data, as_json=is_json(config))
    if action in ATTENDING:
        return functools.partial(attend, action, str(config.study.name), as_json=is_json(config))
    if action == "calibrate":
        return functools.partial(calibrate, *study_from(config), as_json=is_json(config))
    if action == "rehearse":
        return functools.partial(rehearse, *rehearsal_from(config))
    request = request_from(config)
    make_plan(request.study, request.budget).require_cells()  # before anything slow is opened
    _ = request.inquiry  # what cannot be asked is refused here
    acts = {"plan": show_plan, "sweep": sweep, "finetune": finetune}
    return functools.partial(acts[action], request)


def show_plan(request: Request) -> int:
    """Prints the plan of a request, counting what is recorded already; returns the exit code."""
    from analysis.report.narrow_table import printing_console
    from launcher.drive.conclusion import intention
    from launcher.drive.expected_time import time_line
    from launcher.show.plan_table import plan_as_json, print_plan
    from tracking.ledger import load_records

    paths = project_paths()
    records = load_records(paths, request.study.name)
    plan = request.plan(records)
    if request.json:
        _print_json(plan_as_json(plan))
    else:
        print_plan(plan, printing_console(), time=time_line(request, plan, records, paths))
        # What an unfinished run has used is in its curve; only a strategy by rounds asks for it.
        told = load_records(paths, request.study.name, curves=True) if request.strategy.is_by_rounds else records
        for line in intention(request, told):
            print(line)
    return 0


def sweep(request: Request) -> int:
    """Runs the sweep of a request; returns the exit code."""
    from launcher.drive.sweep import run_sweep

    return run_sweep(request, project_paths())


def rehearse(requests: tuple[Request, ...], seeds: int, conditions: Conditions) -> int:
    """Rehearses a study where the law is known; returns the exit code."""
    from launcher.rehearse.rehearsing import run_rehearsals

    return run_rehearsals(requests, seeds, conditions)


def finetune(request: Request) -> int:
    """Fine-tunes the checkpoints of the request's study; returns the exit code."""
    from launcher.drive.finetuning import run_finetuning

    return run_finetuning(request, project_paths())


def calibrate(study: Study, compute: ComputeSpec, cluster: ClusterSpec, *, as_json: bool) -> int:
    """Measures how fast every model of a study trains here; returns the exit code."""
    from launcher.calibrate.calibrating import run_calibration

    words, paths = typed_words(sys.argv[1:]), project_paths()
    return run_calibration(study, paths, compute=compute, cluster=cluster, as_json=as_json, words=words)


def attend(action: str, study: str, *, as_json: bool) -> int:
    """Looks at a study or has a word with its driver; returns the exit code."""
    from launcher.attend import attending

    acts = {
        "status": attending.show_status,
        "watch": attending.watch,
        "stop": attending.stop,
        "retry": attending.retry,
    }
    return acts[action](project_paths(), study, as_json=as_json)


def show_models(models: tuple[Model, ...], data: DataSpec, *, as_json: bool) -> int:
    """Prints every architecture at full size; returns the exit code."""
    from analysis.report.narrow_table import printing_console
    from launcher.show.model_table import models_as_json, print_models

    if as_json:
        _print_json(models_as_json(models, data))
    else:
        print_models(models, data, printing_console())
    return 0


def _print_json(answer: dict[str, Any]) -> None:
    print(json.dumps(answer, allow_nan=False))


if __name__ == "__main__":
    exit_code = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is said and done
    sys.exit(exit_code)
