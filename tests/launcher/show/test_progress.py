import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from launcher.contract.backend import Ended, Lost, Moved, Started, Task
from launcher.show.progress import LineView, LiveView, SilentView, headline, last_line, open_view
from launcher.show.tally import Tally
from sweeps.record import Outcome, Progress, Status

MakeTasks = Callable[..., tuple[Task, ...]]


class Clock:
    """A clock that is moved by hand."""

    now_s = 0.0

    def __call__(self) -> float:
        """Returns the time [s]."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """A clock at zero."""
    return Clock()


@pytest.fixture
def tasks(make_tasks: MakeTasks) -> tuple[Task, ...]:
    """Four equal runs."""
    return make_tasks(seeds=4)


@pytest.fixture
def tally(tasks: tuple[Task, ...], clock: Clock) -> Tally:
    """A plan of six equal runs, two of them settled before."""
    return Tally(pending=tasks, runs=6, core_hours=6 * tasks[0].cost.core_hours, clock=clock)


def outcome(status: Status = Status.FINISHED, error: str | None = None) -> Outcome:
    """Returns the end of an attempt."""
    loss = 0.5 if status is Status.FINISHED else None
    return Outcome(
        status=status,
        steps=8,
        val_loss=loss,
        selection_loss=loss,
        train_loss=loss,
        wall_s=3.25,
        compile_s=1.0,
        error=error,
    )


def start(task: Task) -> Started:
    """Returns the start of a run whose program is new to its worker."""
    return Started(trial_id=task.trial.id, worker="worker-0", is_compiling=True)


def move(task: Task, step: int = 4, val_loss: float | None = None) -> Moved:
    """Returns a report of step 4 of 8."""
    progress = Progress(step=step, images=step * 8, train_loss=1.25, val_loss=val_loss, wall_s=1.0)
    return Moved(trial_id=task.trial.id, progress=progress)


def test_tally_counts(tally: Tally, tasks: tuple[Task, ...], clock: Clock) -> None:
    """Settled and half-run trials count."""
    one = tasks[0].cost.core_hours
    assert (tally.done, tally.eta_s()) == (2, None)
    tally.take(start(tasks[0]))
    assert tally.running[tasks[0].trial.id].is_compiling and tally.eta_s() is None
    clock.now_s = 10.0
    tally.take(move(tasks[0]))
    assert not tally.running[tasks[0].trial.id].is_compiling
    assert tally.spent_core_hours == pytest.approx(2.5 * one)
    assert tally.eta_s() is None  # one report says no pace
    clock.now_s = 15.0
    tally.take(Ended(trial_id=tasks[0].trial.id, outcome=outcome()))
    tally.settle(tasks[0].trial.id)
    assert (tally.done, tally.running) == (3, {})


def test_lost_run_is_still_owed(tally: Tally, tasks: tuple[Task, ...]) -> None:
    """A trial whose worker died leaves the display and stays to be done."""
    tally.take(start(tasks[0]))
    tally.take(Lost(trial_id=tasks[0].trial.id, reason="killed"))
    assert (tally.done, tally.running) == (2, {})


def test_run_settled_elsewhere(tally: Tally, tasks: tuple[Task, ...], clock: Clock) -> None:
    """A trial that another process settled counts as done, and says no pace."""
    tally.take(start(tasks[0]))
    clock.now_s = 10.0
    tally.settle(tasks[1].trial.id)
    assert tally.done == 3 and tally.eta_s() is None


def live_text(tally: Tally, width: int) -> list[str]:
    """Returns the lines of the live display in a window of this width."""
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")
    console.print(LiveView(tally, console))
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue()).splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_live_display_fits_any_width(tally: Tally, tasks: tuple[Task, ...], width: int) -> None:
    """No line is wider than the window, and the run's name and count survive."""
    tally.take(start(tasks[0]))
    tally.take(start(tasks[1]))
    tally.take(move(tasks[1]))
    lines = live_text(tally, width)
    assert max(map(len, lines)) <= width
    assert "━━━━" in lines[0] and lines[1].startswith("2/6 runs")
    assert any("compiling" in line for line in lines)
    assert any("steady-e1" in line and "50%" in line for line in lines)


def test_live_display_says_what_is_known(tally: Tally, tasks: tuple[Task, ...]) -> None:
    """Where a held-out loss was measured it is shown, else the training loss."""
    tally.take(start(tasks[0]))
    tally.take(move(tasks[0]))
    assert any("train loss 1.25" in line for line in live_text(tally, 100))
    tally.take(move(tasks[0], step=6, val_loss=0.75))
    assert any("held-out loss 0.75" in line for line in live_text(tally, 100))


@pytest.mark.parametrize("width", [1, 10, 40, 200])
@pytest.mark.parametrize("kind", ["pipe", "no colour", "dumb"])
def test_plain_line_for_each_end(
    tally: Tally, tasks: tuple[Task, ...], width: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a capable terminal each end of a run is one plain line, and nothing else is printed."""
    monkeypatch.setenv("TERM", "dumb" if kind == "dumb" else "xterm")
    console = Console(file=io.StringIO(), width=width, force_terminal=kind != "pipe", no_color=kind == "no colour")
    with open_view(tally, is_silent=False, console=console) as view:
        assert isinstance(view, LineView)
        for event in (start(tasks[0]), move(tasks[0]), start(tasks[1])):
            tally.take(event)
            view.show(event)
        end = Ended(trial_id=tasks[0].trial.id, outcome=outcome())
        tally.take(end)
        tally.settle(tasks[0].trial.id)
        view.show(end)
    first, line = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first.startswith("2/6 runs") and first.endswith("core-hours: steady-e1-lr0.1-s0 started")
    assert line.startswith("3/6 runs") and line.endswith("steady-e1-lr0.1-s0 finished, held-out loss 0.5 in 3.2 s")
    assert "\x1b" not in line


def test_live_view_keeps_what_went_wrong(tally: Tally, tasks: tuple[Task, ...]) -> None:
    """On a terminal, failures stay above the redrawn part and finished runs do not."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with open_view(tally, is_silent=False, console=console) as view:
        assert isinstance(view, LiveView)
        for task, end in ((tasks[0], outcome()), (tasks[1], outcome(Status.FAILED, "Trace\nValueError: why\n"))):
            view.show(Ended(trial_id=task.trial.id, outcome=end))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "s1 failed: ValueError: why" in text
    assert "s0 finished" not in text


def test_silent_view(tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    """For a program nothing is printed."""
    with open_view(tally, is_silent=True) as view:
        assert isinstance(view, SilentView)
    assert capsys.readouterr() == ("", "")


def test_headline(tally: Tally) -> None:
    """The headline of a sweep that has not begun promises no end."""
    assert headline(tally).startswith("2/6 runs, ")


@pytest.mark.parametrize(("trace", "line"), [("", "no traceback"), ("a\n  b: c \n\n", "b: c")])
def test_last_line(trace: str, line: str) -> None:
    """The line that names the exception is the last that is not empty."""
    assert last_line(trace) == line
