"""Measures one model in a process of its own, as a worker would train it: what it uses is its own, and so is a crash.

Started as `python -m launcher.work.calibration_desk --data DIR [--core N]` with a task as one line on stdin, which then
stays open: its end ends the process. Answers go to stdout, one JSON line each: stages, then a calibration or a reason.
Everything that is printed goes to stderr.
"""

import argparse
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from launcher.work.failures import is_out_of_memory
from sweeps.calibration import CalibrationTask
from sweeps.canonical import from_jsonable, to_jsonable
from sweeps.errors import StudyError


def main(argv: list[str] | None = None) -> int:
    """Measures what stdin names; returns the exit code, 0 also where it could not be measured and that was said."""
    parser = argparse.ArgumentParser(prog="python -m launcher.work.calibration_desk", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="where image files lie")
    parser.add_argument("--core", type=int, help="the processor core to stay on")
    args = parser.parse_args(argv)
    if args.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {args.core})
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    task = from_jsonable(CalibrationTask, json.loads(sys.stdin.readline()))
    threading.Thread(target=_end_with_stdin, daemon=True).start()

    def answer(**fields: Any) -> None:
        print(json.dumps(fields), file=answers)

    from training.calibration import calibrate

    try:
        found = calibrate(task, data_dir=args.data, say=lambda stage: answer(stage=stage))
        answer(calibration=to_jsonable(found))
    except Exception as error:
        traceback.print_exc()
        answer(reason=_reason(error))
    return 0


def _end_with_stdin() -> None:
    """Ends this process with the one that started it, in the middle of a compilation too."""
    sys.stdin.read()
    os._exit(0)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if is_out_of_memory(error):
        return f"out of memory: {lines[0]}"
    return lines[0] if isinstance(error, StudyError) else f"{type(error).__name__}: {lines[-1]}"


if __name__ == "__main__":
    sys.exit(main())
