"""The trainer of a user's own program: hands it the trial, follows the journal it writes, and ends it when asked.

docs/any-trainer.md is the contract as users read it.
"""

import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from launcher.work.program_events import EVENTS, ProgramEvent, read_event
from launcher.work.user_program import UserProgram
from sweeps.canonical import to_jsonable
from sweeps.errors import StudyError
from sweeps.record import Outcome, Progress, Status
from sweeps.trial import Trial
from tracking.paths import CHECKOUT

PYTHON = "{python}"
"""In a command: the Python that loglog runs on."""
GRACE_S = 50.0
"""A program asked to save gets this long [s]: less than the local back end waits before it kills a hanging worker."""
LEAVE_S = 5.0
"""A program whose trial is over badly gets this long to go [s]: it has nothing to save."""
LOOK_S = 0.2
"""Between two looks at a silent program [s]."""
CLOCK_EVERY_S = 10.0
"""A kill -9 of the worker loses at most this much of the measured time [s]."""


class ProgramError(RuntimeError):
    """A program ended, or wrote something, against the contract."""


def check_command(command: str) -> tuple[str, ...]:
    """Returns the words of a program's command line, split as a shell would; `{python}` is left for the worker.

    Variables and wildcards are not expanded, a leading `~/` is. Relative paths count from the checkout, for that is
    where programs are started, on whatever machine.

    Raises:
        StudyError: it has unbalanced quotes, or its program or its Python file does not exist.
    """
    try:
        split = shlex.split(command)
    except ValueError as error:
        raise StudyError(
            f"trainer.command {command!r} cannot be split into words ({str(error).lower()}); "
            "write it as a shell would read it, every quote closed"
        ) from error
    words = tuple(str(Path(word).expanduser()) if word.startswith("~/") else word for word in split)
    if not words:
        raise StudyError(f"trainer.command is empty (try: trainer.command='{PYTHON} train.py')")
    program = _with_python(words)[0]
    if shutil.which(CHECKOUT / program if os.sep in program else program) is None:
        raise StudyError(
            f"trainer.command {command!r}: there is no program {program!r}; give one that is on PATH, its absolute "
            f"path, or {PYTHON} for the Python that loglog runs on (try: trainer.command=\"'{PYTHON} train.py'\")"
        )
    if Path(program).name.startswith("python") and len(words) > 1 and words[1].endswith(".py"):
        _check_script(command, words[1])
    return words


def _check_script(command: str, script: str) -> None:
    if (CHECKOUT / script).is_file():
        return
    here = Path.cwd() / script
    advice = str(here) if here.is_file() else "an absolute path"
    raise StudyError(
        f"trainer.command {command!r}: there is no file {CHECKOUT / script}; relative paths count from the folder of "
        f"the Makefile (try: {advice})"
    )


def _with_python(command: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word.replace(PYTHON, sys.executable) for word in command)


def train(
    trial: Trial,
    *,
    data_dir: Path,
    checkpoint_dir: Path | None,
    report: Callable[[Progress], None],
    should_stop: Callable[[], object],
    command: tuple[str, ...],
) -> Outcome:
    """Returns how the trial ended in the user's program; a loss that is not finite ends it as diverged.

    Args:
        data_dir: named to the program; made where it is missing.
        checkpoint_dir: holds the trial, the program's journals and clock, and the folder named to the program for its
            checkpoints. None: nowhere, the program begins anew every time.
        report: called with each point the program writes, in order.
        should_stop: asked several times a second; once it says yes, the program gets SIGTERM and GRACE_S to save.
        command: the program's words, of `check_command`.

    Raises:
        ProgramError: the program ended without saying how the trial ended, or wrote what is no event.
        MemoryError: the program says that the trial does not fit into memory.
    """
    with _folder(checkpoint_dir) as root:
        folder = _Folder(root)
        journal = folder.begin_attempt(trial)
        data_dir.mkdir(parents=True, exist_ok=True)
        environment = {
            "LOGLOG_TRIAL": str(folder.trial),
            "LOGLOG_JOURNAL": str(journal),
            "LOGLOG_CHECKPOINT_DIR": str(folder.checkpoints),
            "LOGLOG_DATA_DIR": str(data_dir.absolute()),
        }
        clock = _Clock(folder.clock)
        attempt = _Attempt(trial, journal, clock, report)
        with UserProgram(_with_python(command), environment, folder=CHECKOUT) as program:
            try:
                return _follow(program, attempt, should_stop)
            finally:
                clock.save()
                program.end(LEAVE_S)


def _follow(program: UserProgram, attempt: "_Attempt", should_stop: Callable[[], object]) -> Outcome:
    """Returns how the trial ended, once the program has said so or has been stopped."""
    asked_s: float | None = None
    while True:
        # In this order: what it wrote just before it ended is read.
        is_running = program.look(LOOK_S)
        outcome = attempt.read(is_over=not is_running)
        if outcome is not None:
            if outcome.status is Status.FINISHED:
                program.wait(GRACE_S)  # whatever it still has to put away
            return outcome
        if not is_running:
            if asked_s is not None or should_stop():  # a cluster may tell all processes of a job at once
                return attempt.outcome(Status.KILLED)
            raise ProgramError(_last_words(program, attempt))
        if asked_s is None and should_stop():
            asked_s = time.monotonic()
            program.ask_to_end()
        elif asked_s is not None and time.monotonic() - asked_s > GRACE_S:
            program.end(0.0)


def _last_words(program: UserProgram, attempt: "_Attempt") -> str:
    """Returns what is known of a program that ended in silence; causes that trials share end in the same line."""
    lines = [line for line in program.printed.splitlines() if line.strip()]
    known = ["the end of what the program printed:", *(f"  {line}" for line in lines[-20:])] if lines else []
    if attempt.rest:
        known.append(f"its journal ends with half a line: {attempt.rest[:200]!r}")
    known.append(f"(a program says how the trial ended with a line like {EVENTS['ended'].example} in $LOGLOG_JOURNAL)")
    said = f"the program {program.end_in_words()} before it said how the trial ended"
    # What a crash interrupts is no cause, and another line in every trial.
    known.append(f"{said}; it printed at last: {lines[-1].strip()}" if lines and program.code > 0 else said)
    return "\n".join(known)


class _Attempt:
    """One start of the program: what it has said so far, checked and passed on."""

    def __init__(self, trial: Trial, journal: Path, clock: "_Clock", report: Callable[[Progress], None]) -> None:
        self._trial, self._clock, self._report = trial, clock, report
        self._lines = _Lines(journal)
        self._step = 0
        self._train_loss: float | None = None

    @property
    def rest(self) -> str:
        """What follows the last whole line of the journal."""
        return self._lines.rest.decode(errors="replace").strip()

    def read(self, *, is_over: bool) -> Outcome | None:
        """Passes new points on; returns how the trial ended where the program has said so.

        Args:
            is_over: whether the program has ended, so that a last line without a line end is whole.

        Raises:
            ProgramError: a line is no event.
            MemoryError: the trial does not fit into memory.
        """
        self._clock.tick()
        for number, line in self._lines.read(is_over=is_over):
            try:
                event = read_event(line)
                self._check_step(event)
            except ValueError as error:
                refusal = f"line {number} of the program's journal, {line[:200]!r}, is refused:\n{error}"
                raise ProgramError(refusal) from None
            outcome = self._take(event)
            if outcome is not None:
                return outcome
        return None

    def _check_step(self, event: ProgramEvent) -> None:
        if event.step is None:
            return
        if not 1 <= event.step <= self._trial.steps:
            raise ValueError(f"step {event.step} is outside 1 to {self._trial.steps}, the trial's `steps`")
        if event.event == "progress" and event.step <= self._step:
            raise ValueError(
                f"step {event.step} follows step {self._step}; within one start of the program steps must increase"
            )

    def _take(self, event: ProgramEvent) -> Outcome | None:
        if event.event == "out_of_memory":
            raise MemoryError("the program says that the trial does not fit into memory")
        self._step = max(self._step, event.step or 0)
        if event.event == "diverged" or not event.is_finite:
            return self.outcome(Status.DIVERGED)
        if event.event == "ended":
            self._step = self._trial.steps
            return self.outcome(Status.FINISHED, event)
        assert event.train_loss is not None
        self._train_loss = event.train_loss
        self._report(
            Progress(
                step=self._step,
                images=self._step * self._trial.batch_images if event.images is None else event.images,
                train_loss=event.train_loss,
                val_loss=event.val_loss,
                wall_s=self._clock.wall_s(),
            )
        )
        return None

    def outcome(self, status: Status, event: ProgramEvent | None = None) -> Outcome:
        """Returns the outcome of this moment; losses are those of `event`."""
        train_loss = None
        if event is not None:
            train_loss = self._train_loss if event.train_loss is None else event.train_loss
        return Outcome(
            status=status,
            steps=self._step,
            val_loss=event.val_loss if event else None,
            selection_loss=event.selection_loss if event else None,
            train_loss=train_loss,
            wall_s=self._clock.wall_s(),
            compile_s=0.0,
            certificate=event.sampling if event else (),
        )


class _Lines:
    """The whole lines of a file that somebody else appends to."""

    def __init__(self, path: Path) -> None:
        self._path, self._place, self._count = path, 0, 0
        self.rest = b""

    def read(self, *, is_over: bool) -> Iterator[tuple[int, str]]:
        """Yields number, from 1, and text of each new line that is not blank; at the end also what has no line end."""
        with contextlib.suppress(FileNotFoundError), self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < self._place:
                raise ProgramError(
                    "the program's journal has become shorter: open $LOGLOG_JOURNAL for appending (mode 'a'), not for "
                    "writing"
                )
            file.seek(self._place)
            self.rest += file.read()
            self._place = file.tell()
        *lines, self.rest = self.rest.split(b"\n")
        if is_over and _is_json(self.rest):
            lines, self.rest = [*lines, self.rest], b""
        for line in lines:
            self._count += 1
            if line.strip():
                yield self._count, line.decode(errors="replace").strip()


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class _Clock:
    """Wall time of a trial over all starts of its program [s], kept in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._earlier_s = 0.0
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # half a file is as good as none
            self._earlier_s = float(json.loads(path.read_text())["wall_s"])
        self._began_s = self._saved_s = time.monotonic()

    def wall_s(self) -> float:
        """Returns the time until now [s]."""
        return self._earlier_s + time.monotonic() - self._began_s

    def tick(self) -> None:
        """Saves when it is time."""
        if time.monotonic() - self._saved_s >= CLOCK_EVERY_S:
            self.save()

    def save(self) -> None:
        """Writes the time until now."""
        self._saved_s = time.monotonic()
        _write(self._path, json.dumps({"wall_s": self.wall_s()}))


@dataclass(frozen=True)
class _Folder:
    """The files of one trial: the only owner of their names."""

    root: Path

    @property
    def trial(self) -> Path:
        return self.root / "trial.json"

    @property
    def clock(self) -> Path:
        return self.root / "clock.json"

    @property
    def checkpoints(self) -> Path:
        """The program's own: nothing of ours is in it."""
        return self.root / "program"

    def begin_attempt(self, trial: Trial) -> Path:
        """Writes the trial; returns the empty journal of a new start, which no program of an earlier one writes to."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        _write(self.trial, json.dumps(describe(trial), indent=2, allow_nan=False) + "\n")
        journal = self.root / f"journal-{sum(1 for _ in self.root.glob('journal-*.jsonl')) + 1}.jsonl"
        journal.touch(exist_ok=False)
        return journal


def describe(trial: Trial) -> dict[str, Any]:
    """Returns the trial as its program reads it: every field, and what follows from them."""
    data = trial.data
    of_data = {"image_px": data.image_px, "classes": data.classes, "channels": data.channels}
    fields = cast(dict[str, Any], to_jsonable(trial))
    return fields | {
        "id": trial.id,
        "name": trial.name,
        "steps": trial.steps,
        "images": trial.images,
        "params": trial.shape.params(**of_data),
        "forward_macs": trial.shape.forward_macs(**of_data),
    }


@contextlib.contextmanager
def _folder(checkpoint_dir: Path | None) -> Generator[Path]:
    if checkpoint_dir is not None:
        yield checkpoint_dir.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="loglog-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _write(path: Path, text: str) -> None:
    """Replaces a file whole or not at all."""
    unfinished = path.with_suffix(".new")
    unfinished.write_text(text)
    unfinished.replace(path)
