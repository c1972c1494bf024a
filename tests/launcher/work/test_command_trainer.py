"""Programs of a user's own: what they may say, how they may end, and that none is left behind."""

import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.contract.backend import Order, Task
from launcher.drive.sweep import run_sweep
from launcher.settings.request import LocalCluster, Request, TrainerSpec
from launcher.work import command_trainer
from launcher.work.command_trainer import ProgramError, check_command, describe, train
from launcher.work.desk import Desk
from launcher.work.program_events import EVENTS, read_event
from sweeps.budget import Budget
from sweeps.canonical import to_jsonable
from sweeps.certificate import EpochSamples, fault
from sweeps.errors import StudyError
from sweeps.nfnet_shape import NFNetShape
from sweeps.record import Outcome, Progress, Status
from sweeps.study import Model, Study
from sweeps.trial import Trial
from tracking.journal import read_journals
from tracking.paths import ProjectPaths
from tracking.run_table import read_records

CHECKOUT = Path(__file__).resolve().parents[3]
EXAMPLE = CHECKOUT / "docs" / "examples" / "any_trainer.py"
PAGE = CHECKOUT / "docs" / "any-trainer.md"
PRELUDE = """
import json, os, signal, subprocess, sys, time
def write(text):
    with open(os.environ["LOGLOG_JOURNAL"], "a") as journal:
        journal.write(text)
def tell(event, **fields):
    write(json.dumps({"event": event, **fields}) + "\\n")
"""
MakeTasks = Callable[..., tuple[Task, ...]]
Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As workers have it: threads of NumPy get in each other's way on small matrices."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture
def trial(make_tasks: MakeTasks) -> Trial:
    """Eight steps of eight images."""
    return make_tasks()[0].trial


@pytest.fixture
def points() -> list[Progress]:
    """What the last run has reported."""
    return []


@pytest.fixture
def run(trial: Trial, tmp_path: Path, points: list[Progress]) -> Run:
    """Trains with a program of this text."""

    def run_text(text: str, *, should_stop: Callable[[], bool] = lambda: False) -> Outcome:
        script = tmp_path / "program.py"
        script.write_text(PRELUDE + text)
        return train(
            trial,
            data_dir=tmp_path / "data",
            checkpoint_dir=tmp_path / "checkpoint",
            report=points.append,
            should_stop=should_stop,
            command=("{python}", str(script)),
        )

    return run_text


def is_running(pid: int) -> bool:
    """Returns whether the process runs; a zombie does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    try:
        return ") Z" not in state.read_text()
    except FileNotFoundError:  # gone meanwhile, or no Linux
        return not Path("/proc/self/stat").exists()


def wait_for(happened: Callable[[], bool]) -> None:
    """Waits until something has happened."""
    for _ in range(600):
        if happened():
            return
        time.sleep(0.05)
    raise AssertionError("it does not happen")


def pids_in(path: Path, count: int) -> list[int]:
    """Returns the process numbers that a program has written, once they are all there."""
    wait_for(lambda: path.exists() and len(path.read_text().split()) == count)
    return [int(word) for word in path.read_text().split()]


# ---- what a program may say ------------------------------------------------------------------------------------------


def test_success(run: Run, points: list[Progress], capsys: pytest.CaptureFixture[str]) -> None:
    """Points are passed on with the images they stand for; the end is the outcome; what is printed is copied."""
    outcome = run("""
print("hello from the program"); print("über", file=sys.stderr)
tell("progress", step=2, train_loss=2.5)
tell("progress", step=4, train_loss=2, val_loss=2.25, images=40)
tell("ended", val_loss=1.5, selection_loss=1.6, train_loss=1.4)
tell("nothing after the end is read")
""")
    assert [(p.step, p.images, p.train_loss, p.val_loss) for p in points] == [(2, 16, 2.5, None), (4, 40, 2.0, 2.25)]
    assert 0 < points[0].wall_s <= points[1].wall_s <= outcome.wall_s
    expected = Outcome(
        status=Status.FINISHED,
        steps=8,
        val_loss=1.5,
        selection_loss=1.6,
        train_loss=1.4,
        wall_s=outcome.wall_s,
        compile_s=0.0,
    )
    assert outcome == expected
    printed = capsys.readouterr()
    assert "hello from the program" in printed.err and "über" in printed.err
    assert printed.out == ""  # there a sweep answers a program with one JSON object


def test_what_was_sampled_is_kept(run: Run) -> None:
    """A certificate is part of the outcome, in either spelling of its digits; without one it is empty."""
    entry = '{"epoch": 0, "images": 64, "digest": "0123456789ABCDEF"}'
    outcome = run(f'tell("ended", val_loss=1, sampling=[{entry}])')
    assert outcome.certificate == (EpochSamples(epoch=0, images=64, digest="0123456789abcdef"),)
    assert run('tell("ended", val_loss=1)').certificate == ()


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        ("{}", "no list"),
        ("7", "no list"),
        ('["x"]', "'x' is no epoch"),
        ('[{"epoch":0,"images":64}]', "is no epoch"),
        ('[{"epoch":0,"images":64,"digest":"12"}]', "sixteen hexadecimal digits"),
        ('[{"epoch":0,"images":64,"digest":12}]', "sixteen hexadecimal digits"),
        ('[{"epoch":-1,"images":64,"digest":"0123456789abcdef"}]', "`epoch` is -1"),
        ('[{"epoch":0,"images":1.5,"digest":"0123456789abcdef"}]', "`images` is 1.5"),
    ],
)
def test_a_certificate_that_is_none_is_refused(sampling: str, said: str) -> None:
    """The message says what is wrong with it; a run is not tainted for a slip of the pen."""
    with pytest.raises(ValueError, match=said):
        read_event(f'{{"event":"ended","val_loss":1,"sampling":{sampling}}}')


def test_missing_numbers_are_missing(run: Run) -> None:
    """A selection loss that was not told is absent; the training loss is then that of the last point."""
    outcome = run('tell("progress", step=4, train_loss=2.0); tell("ended", val_loss=1.5, selection_loss=None)')
    assert (outcome.selection_loss, outcome.train_loss) == (None, 2.0)


def test_the_trial_is_told(run: Run, trial: Trial, tmp_path: Path) -> None:
    """The file holds every field of the trial and what follows from them; the folders are there and are the trial's."""
    run(
        """
trial = json.load(open(os.environ["LOGLOG_TRIAL"]))
places = {name: os.environ["LOGLOG_" + name] for name in ("DATA_DIR", "CHECKPOINT_DIR")}
is_there = [os.path.isdir(place) and not os.listdir(place) for place in places.values()]
print(json.dumps([trial, places, is_there, os.getcwd()]), file=open("%s", "w"))
tell("ended", val_loss=1)
"""
        % (tmp_path / "told.json")
    )
    told, places, is_there, folder = json.loads((tmp_path / "told.json").read_text())
    assert told == describe(trial) == json.loads(json.dumps(describe(trial)))
    assert to_jsonable(trial).items() <= told.items()
    assert (told["id"], told["name"], told["steps"], told["images"]) == (trial.id, "steady-e1-lr0.1-s0", 8, 64)
    assert told["params"] == trial.shape.params(classes=8) > 0
    assert told["forward_macs"] == trial.shape.forward_macs(image_px=16, classes=8) > 0
    assert Path(places["CHECKPOINT_DIR"]).is_relative_to(tmp_path / "checkpoint")
    assert places["DATA_DIR"] == str(tmp_path / "data") and is_there == [True, True]
    assert Path(folder) == CHECKOUT


@pytest.mark.parametrize(
    "end",
    [
        'tell("diverged", step=5)',
        'tell("diverged"); time.sleep(30)',
        'tell("progress", step=5, train_loss=float("nan")); time.sleep(30)',
        'tell("ended", val_loss=float("inf"))',
        r"""write('{"event": "progress", "step": 5, "train_loss": -nan}\n')""",
        r"""write('{"event":"progress","train_loss":inf,"step":5}\n')""",
    ],
)
def test_divergence(run: Run, points: list[Progress], end: str) -> None:
    """A program that says so, or tells a loss that is no finite number, has diverged and is not waited for."""
    began_s = time.monotonic()
    outcome = run('tell("progress", step=4, train_loss=9.0)\n' + end)
    assert outcome.status is Status.DIVERGED and outcome.val_loss is None
    assert outcome.steps == (5 if "5" in end else 4) and len(points) == 1
    assert time.monotonic() - began_s < 20


def test_out_of_memory(run: Run) -> None:
    """A program that says so is out of memory, which is known of the trial from then on."""
    with pytest.raises(MemoryError):
        run('tell("out_of_memory"); sys.exit(1)')


def test_torn_lines(run: Run, points: list[Progress]) -> None:
    """Half a line is waited for; at the very end a line may lack its line end."""
    outcome = run("""
write('{"event":"progress","step":'); time.sleep(0.5)
write('3,"train_loss":2.0}\\n\\n{"event":"en'); time.sleep(0.5)
write('ded","val_loss":1.25}')
""")
    assert [point.step for point in points] == [3] and outcome.val_loss == 1.25


NONSENSE = {
    "loss 2.3": r"line 2 .*'loss 2.3'.* is refused:\nit is not JSON, one object on a line of its own; allowed are",
    '{"event":"ended","val_loss":1}{"event":"ended","val_loss":1}': "one object on a line of its own",
    "[1]": "it is not a JSON object; allowed are",
    '{"event":"progres","step":3}': r"its `event` is 'progres'; allowed are \{\"event\":\"progress\"",
    '{"step":3}': "its `event` is None",
    '{"event":"progress","step":3}': "train_loss is missing",
    '{"event":"progress","step":3,"train_loss":null}': "train_loss is missing",
    '{"event":"progress","step":3,"train_loss":1,"vall_loss":2}': r"vall_loss is no key .*optional: val_loss, images",
    '{"event":"progress","step":3,"train_loss":"2"}': "`train_loss` is '2'; write a number",
    '{"event":"progress","step":true,"train_loss":2}': "`step` is True; write a number",
    '{"event":"progress","step":2.5,"train_loss":2}': "`step` is 2.5; write a whole number",
    '{"event":"progress","step":Infinity,"train_loss":2}': "`step` is inf; write a whole number",
    '{"event":"progress","step":0,"train_loss":2}': "step 0 is outside 1 to 8",
    '{"event":"progress","step":9,"train_loss":2}': "step 9 is outside 1 to 8, the trial's `steps`",
    '{"event":"progress","step":2,"train_loss":2}': "step 2 follows step 2; .* steps must increase",
    '{"event":"ended"}': "val_loss is missing",
}


@pytest.mark.parametrize("line", NONSENSE)
def test_nonsense(run: Run, line: str) -> None:
    """A line that is no event ends the attempt at once; the error says which line, what is wrong, what is allowed."""
    began_s = time.monotonic()
    with pytest.raises(ProgramError, match=NONSENSE[line]):
        run(f'tell("progress", step=2, train_loss=1); write({line!r} + "\\n"); time.sleep(30)')
    assert time.monotonic() - began_s < 20


def test_a_journal_that_is_written_anew(run: Run) -> None:
    """A program that opens its journal for writing instead of appending is told so."""
    with pytest.raises(ProgramError, match=r"has become shorter: open \$LOGLOG_JOURNAL for appending"):
        run("""
tell("progress", step=2, train_loss=1); time.sleep(1)
open(os.environ["LOGLOG_JOURNAL"], "w").close(); time.sleep(30)
""")


@pytest.mark.parametrize("kind", EVENTS)
def test_the_examples_are_events(kind: str) -> None:
    """What messages offer as an example is allowed, and so is each key they name."""
    event = read_event(EVENTS[kind].example)
    assert event.event == kind and event.is_finite
    fields: dict[str, object] = dict.fromkeys((*EVENTS[kind].required, *EVENTS[kind].optional), 1)
    fields |= {"sampling": []} if "sampling" in fields else {}
    assert read_event(json.dumps({"event": kind, **fields})).event == kind


# ---- how a program may end -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'tell("progress", step=1, train_loss=1); print("no such column"); sys.exit(3)',
            "ended with code 3 before it said how the trial ended; it printed at last: no such column",
        ),
        ("", "ended with code 0 before it said how the trial ended"),
        (
            'print("step 7"); os.kill(os.getpid(), 9)',
            r"was killed by signal 9 \(SIGKILL\) before it said .* ended",
        ),
        ("""write('{"event":"ended","val_loss"')""", "its journal ends with half a line"),
    ],
)
def test_ends_in_silence(run: Run, text: str, message: str) -> None:
    """A program that ends without saying how the trial ended has failed; trials of one cause end in the same line."""
    with pytest.raises(ProgramError, match=message) as raised:
        run(text)
    assert '{"event":"ended","val_loss":1.9}' in str(raised.value)
    if "half" not in message:
        assert re.search(f"the program {message}$", str(raised.value).splitlines()[-1])


def test_a_program_that_cannot_be_started(trial: Trial, tmp_path: Path) -> None:
    """On a machine that lacks the program, the reason is in the error."""
    with pytest.raises(ProgramError, match="'no-such-program' cannot be started: No such file or directory"):
        train(
            trial,
            data_dir=tmp_path / "data",
            checkpoint_dir=None,
            report=lambda point: None,
            should_stop=lambda: False,
            command=("no-such-program",),
        )


def test_the_end_counts_once_it_is_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that hangs after its end, or ends badly, has finished; nothing of it is left."""
    monkeypatch.setattr(command_trainer, "GRACE_S", 0.5)
    monkeypatch.setattr(command_trainer, "LEAVE_S", 0.2)
    assert run('tell("ended", val_loss=1); sys.exit(7)').status is Status.FINISHED
    hangs = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "300"])
print(os.getpid(), child.pid, file=open("%s", "w"))
tell("ended", val_loss=1); time.sleep(300)
""" % (tmp_path / "pids")
    assert run(hangs).status is Status.FINISHED
    for pid in pids_in(tmp_path / "pids", 2):
        wait_for(lambda pid=pid: not is_running(pid))


def test_what_a_program_leaves_behind_is_killed(run: Run, tmp_path: Path) -> None:
    """A child that outlives its program, and holds its output open, is killed and not waited for."""
    began_s = time.monotonic()
    run(
        """
child = subprocess.Popen(["sleep", "300"])
print(child.pid, file=open("%s", "w")); tell("ended", val_loss=1)
"""
        % (tmp_path / "pids")
    )
    (pid,) = pids_in(tmp_path / "pids", 1)
    wait_for(lambda: not is_running(pid))
    assert time.monotonic() - began_s < 20


def test_a_report_that_raises_ends_the_program(trial: Trial, tmp_path: Path) -> None:
    """An error of ours is passed on as it is, and takes the program along."""

    def report(point: Progress) -> None:
        raise ValueError("the journal is closed")

    script = tmp_path / "program.py"
    script.write_text(PRELUDE + f"print(os.getpid(), file=open({str(tmp_path / 'pids')!r}, 'w'))\n")
    script.write_text(script.read_text() + 'tell("progress", step=1, train_loss=1); time.sleep(300)\n')
    with pytest.raises(ValueError, match="the journal is closed"):
        train(
            trial,
            data_dir=tmp_path,
            checkpoint_dir=tmp_path / "checkpoint",
            report=report,
            should_stop=lambda: False,
            command=("{python}", str(script)),
        )
    (pid,) = pids_in(tmp_path / "pids", 1)
    assert not is_running(pid)


def test_signals_of_clusters(run: Run) -> None:
    """SIGUSR2, which Slurm sends to all processes of a job, does not end a program that does not know it."""
    assert run('os.kill(os.getpid(), signal.SIGUSR2); tell("ended", val_loss=1)').status is Status.FINISHED


# ---- asked to stop, and resumed --------------------------------------------------------------------------------------


def example(trial: Trial, root: Path, points: list[Progress], should_stop: Callable[[], bool]) -> Outcome:
    """Trains with the example of the docs."""
    return train(
        trial,
        data_dir=root / "data",
        checkpoint_dir=root / "checkpoint",
        report=points.append,
        should_stop=should_stop,
        command=("{python}", "docs/examples/any_trainer.py"),
    )


def test_resume_equals_unbroken(make_tasks: MakeTasks, tmp_path: Path) -> None:
    """The example, stopped at any step, saves; started again it goes on to the very losses of an unbroken run."""
    trial = make_tasks(epochs=375.0)[0].trial
    unbroken: list[Progress] = []
    whole = example(trial, tmp_path / "whole", unbroken, lambda: False)
    first: list[Progress] = []
    stopped = example(trial, tmp_path / "broken", first, lambda: len(first) >= 4)
    assert stopped.status is Status.KILLED and stopped.val_loss is None
    assert 8 <= stopped.steps == first[-1].step < trial.steps
    second: list[Progress] = []
    resumed = example(trial, tmp_path / "broken", second, lambda: False)
    assert resumed.status is Status.FINISHED and second[0].step > first[-1].step
    told = {"images": trial.images, "images_per_epoch": trial.data.images_per_epoch}
    assert fault(whole.certificate, **told) is None
    assert resumed.wall_s > stopped.wall_s > 0 and second[0].wall_s > stopped.wall_s
    assert dataclasses.replace(resumed, wall_s=0.0) == dataclasses.replace(whole, wall_s=0.0)
    curves = [[(point.step, point.train_loss) for point in curve] for curve in (first + second, unbroken)]
    assert curves[0] == curves[1]


def test_a_second_start_may_repeat_steps(run: Run, points: list[Progress], tmp_path: Path) -> None:
    """Each start has a journal of its own: a program without checkpoints begins anew, and its clock goes on."""
    with pytest.raises(ProgramError):
        run('tell("progress", step=4, train_loss=1); time.sleep(0.5)')
    outcome = run('tell("progress", step=2, train_loss=1); tell("ended", val_loss=1)')
    assert [point.step for point in points] == [4, 2] and outcome.wall_s > points[1].wall_s > 0.5
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == [
        *("clock.json", "journal-1.jsonl", "journal-2.jsonl", "program", "trial.json"),
    ]


def test_a_broken_clock_begins_anew(run: Run, tmp_path: Path) -> None:
    """A clock that cannot be read costs nothing but the time it had counted."""
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "clock.json").write_text('{"wall')
    assert run('tell("ended", val_loss=1)').wall_s < 60


def test_an_end_during_the_grace_counts(run: Run, points: list[Progress]) -> None:
    """A program that is asked to stop and comes to its end instead has finished."""
    outcome = run(
        """
signal.signal(signal.SIGTERM, lambda *_: (tell("ended", val_loss=1.0), sys.exit()))
tell("progress", step=1, train_loss=1); time.sleep(300)
""",
        should_stop=lambda: bool(points),
    )
    assert outcome.status is Status.FINISHED


def test_a_program_that_ignores_the_request(
    run: Run, points: list[Progress], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the grace it is killed with its children, and the attempt counts as killed."""
    monkeypatch.setattr(command_trainer, "GRACE_S", 0.5)
    text = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "300"])
print(os.getpid(), child.pid, file=open("%s", "w"))
tell("progress", step=3, train_loss=1)
while True: time.sleep(1)
""" % (tmp_path / "pids")
    outcome = run(text, should_stop=lambda: bool(points))
    assert outcome.status is Status.KILLED and outcome.steps == 3
    for pid in pids_in(tmp_path / "pids", 2):
        wait_for(lambda pid=pid: not is_running(pid))


@pytest.mark.parametrize("is_group", [False, True])
def test_kill_9_of_the_worker(trial: Trial, tmp_path: Path, is_group: bool) -> None:
    """Neither the program nor what it has started outlives the process that trains, killed alone or as a group."""
    program = tmp_path / "program.py"
    program.write_text(
        PRELUDE
        + f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "300"])
print(os.getpid(), child.pid, file=open({str(tmp_path / "pids")!r}, "w"), flush=True)
time.sleep(300)
"""
    )
    worker = tmp_path / "worker.py"
    worker.write_text(f"""
import json, pathlib
from launcher.work.command_trainer import train
from tracking.record_json import trial_from
train(
    trial_from(json.loads({json.dumps(to_jsonable(trial))!r})),
    data_dir=pathlib.Path({str(tmp_path)!r}),
    checkpoint_dir=pathlib.Path({str(tmp_path / "checkpoint")!r}),
    report=print,
    should_stop=lambda: False,
    command=("{{python}}", {str(program)!r}),
)
""")
    process = subprocess.Popen([sys.executable, str(worker)], cwd=CHECKOUT, start_new_session=True)
    try:
        pids = pids_in(tmp_path / "pids", 2)
        assert all(is_running(pid) for pid in pids)
        (os.killpg if is_group else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        for pid in pids:
            wait_for(lambda pid=pid: not is_running(pid))
    finally:
        process.kill()
        process.wait()


# ---- places, commands, and the whole ---------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["a space", "a 'quote\" ; echo foo", "a\nnewline", "über %41 $HOME"])
def test_odd_paths(trial: Trial, tmp_path: Path, folder: str) -> None:
    """Spaces, quotes and newlines in any path, the program's own too, change nothing."""
    root = tmp_path / folder
    root.mkdir()
    script = root / "my program.py"
    script.write_text(EXAMPLE.read_text())
    outcome = train(
        trial,
        data_dir=root / "data",
        checkpoint_dir=root / "checkpoint",
        report=lambda point: None,
        should_stop=lambda: False,
        command=check_command(f"{{python}} {shlex.quote(str(script))}"),
    )
    assert outcome.status is Status.FINISHED


def test_commands_are_split_as_a_shell_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotes hold words together, ~ is the home, {python} stays for the worker; a path counts from the checkout."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_command("sh -c 'echo  $HOME' ~/x") == ("sh", "-c", "echo  $HOME", f"{tmp_path}/x")
    assert check_command("{python} docs/examples/any_trainer.py --a=b") == (
        *("{python}", "docs/examples/any_trainer.py", "--a=b"),
    )
    monkeypatch.chdir(tmp_path)
    assert check_command("{python} docs/examples/any_trainer.py")
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    assert check_command("~/tool") == (str(tmp_path / "tool"),)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sh -c 'echo", "cannot be split into words .no closing quotation.; .* every quote closed"),
        ("", "trainer.command is empty"),
        ("no-such-program x", "there is no program 'no-such-program'; give one that is on PATH"),
        ("./no/such x", "there is no program './no/such'"),
        (
            "{python} nowhere.py",
            r"no file \S+nowhere.py; relative paths count from .* \(try: an absolute path\)",
        ),
        ("{python} mine.py", r"there is no file \S+mine.py; .* \(try: \S+mine.py\)"),
    ],
)
def test_commands_that_cannot_run(command: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be started is refused before anything is launched, with what to type."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").touch()
    with pytest.raises(StudyError, match=message):
        check_command(command)


def test_the_desk_knows_its_failures(
    make_order: Callable[..., Order], make_tasks: MakeTasks, paths: ProjectPaths, tmp_path: Path
) -> None:
    """Through the desk a failed program is a failed attempt, and one that is out of memory is known as such."""
    script = tmp_path / "program.py"
    order = make_order(paths, trainer="launcher.work.command_trainer:train")
    desk = Desk(dataclasses.replace(order, command=("{python}", str(script))), name="desk")
    for text, status in (("sys.exit(3)", Status.FAILED), ('tell("out_of_memory")', Status.OUT_OF_MEMORY)):
        script.write_text(PRELUDE + text)
        desk.run(make_tasks()[0], lambda event: None)
        (record,) = read_journals(paths, "small")
        assert record.status is status and record.outcome is not None and record.outcome.error
    assert not paths.checkpoint_dir("small", record.trial.id).exists()


def own_study(make_study: Callable[..., Study], program: str) -> Study:
    """Returns two sizes x three numbers of epochs, trained by a program."""
    study = make_study("small", "large", epochs=(2.0, 8.0, 32.0))
    stem = {"stem_widths": (8,), "stem_strides": (2,)}
    shapes = {
        name: NFNetShape(stage_depths=(1,), stage_widths=(width,), stage_strides=(1,), group_width=8, **stem)
        for name, width in (("small", 8), ("large", 64))
    }
    models = tuple(Model(name=name, family="nfnet", shape=shape) for name, shape in shapes.items())
    return dataclasses.replace(study, models=models, peak_lrs=(1.0,), program=program)


def test_a_sweep_with_the_example(
    make_study: Callable[..., Study], paths: ProjectPaths, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole sweep trains with the example of the docs, records every run and fits a law; again it trains nothing."""
    command = "{python} docs/examples/any_trainer.py"
    study = own_study(make_study, command)
    request = Request(
        study=study,
        budget=Budget.parse("100k", hardware=study.hardware.name),
        spend_cap_core_hours=None,
        cluster=LocalCluster(workers=2),
        trainer=TrainerSpec(name="command", command=command),
        json=True,
    )
    assert run_sweep(request, paths) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["runs"]["finished"] == answer["runs"]["total"] == 6 and answer["law"]
    records = read_records(paths, "small")
    assert len(records) == 6 and {record.status for record in records} == {Status.FINISHED}
    assert [record.taint for record in records] == [None] * 6
    losses = {(record.trial.model, record.trial.epochs): record.val_loss or 0.0 for record in records}
    for model in ("small", "large"):
        assert losses[model, 2.0] > losses[model, 8.0] > losses[model, 32.0] > 0
    assert losses["large", 32.0] < losses["small", 32.0]
    assert not list(paths.study_dir("small").glob("checkpoints/*"))
    assert run_sweep(request, paths) == 0
    assert json.loads(capsys.readouterr().out)["runs"]["finished"] == 0


def test_a_sweep_with_a_command_that_is_not_there(make_study: Callable[..., Study], paths: ProjectPaths) -> None:
    """Nothing is launched, and the message says what is missing."""
    request = Request(
        study=own_study(make_study, "no-such-program"),
        budget=Budget.parse("100k", hardware="imagined"),
        spend_cap_core_hours=None,
        cluster=LocalCluster(workers=2),
        trainer=TrainerSpec(name="command", command="no-such-program"),
        json=True,
    )
    with pytest.raises(StudyError, match="there is no program 'no-such-program'"):
        run_sweep(request, paths)
    assert not read_journals(paths, "small")


def test_the_page_is_typed_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer file on the page, and the command line without one, ask for the example and can be started."""
    from launcher.settings import compose

    conf = tmp_path / "conf"
    shutil.copytree(compose.CONFIG_DIR, conf)
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (conf / "trainer" / "mine.yaml").write_text(block)
    monkeypatch.setattr(compose, "CONFIG_DIR", conf)
    (line,) = re.findall(r"`(python -m launcher [^`]+)`", PAGE.read_text())
    for words in (["budget=1k", "trainer=mine"], shlex.split(line)[3:]):
        request = compose.compose(words)
        assert request.trainer == TrainerSpec(name="command", command="{python} docs/examples/any_trainer.py")
        assert request.study.program == request.trainer.command
        assert check_command(request.trainer.command or "")


def test_the_page_says_it_all() -> None:
    """docs/any-trainer.md has the example as it is, each line a program may write, and each variable it is given."""
    page = PAGE.read_text()
    assert f"```python\n{EXAMPLE.read_text()}```" in page
    for kind in EVENTS.values():
        assert kind.example in page
        assert all(f"`{key}`" in page for key in kind.optional)
    for name in ("TRIAL", "JOURNAL", "CHECKPOINT_DIR", "DATA_DIR"):
        assert f"`LOGLOG_{name}`" in page
    assert f"{command_trainer.GRACE_S:.0f} seconds" in page
