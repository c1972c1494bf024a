"""What a person sees of a running sweep: a live display on a terminal, a plain line for each finished run elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Protocol

from launcher.contract.backend import Ended, Event, Lost, Paused, Started, TrunkGone
from launcher.show.durations import about, format_duration
from launcher.show.tally import Running, Tally
from sweeps.budget import format_core_hours
from sweeps.record import Outcome, Status

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

NARROWEST_COLUMNS = 40
"""Below this a live display would be cut everywhere; plain lines wrap instead."""


class View(Protocol):
    """Somewhere to show events, after the tally has counted them."""

    def show(self, event: Event) -> None:
        """Shows an event."""
        ...

    def say(self, line: str) -> None:
        """Shows a line that stays."""
        ...


class SilentView:
    """Shows nothing: stdout belongs to one JSON object."""

    def show(self, event: Event) -> None:
        """Does nothing."""

    def say(self, line: str) -> None:
        """Does nothing."""


class LineView:
    """A plain line for the first run that starts and for each that ended: for pipes, logs, terminals without colour."""

    def __init__(self, tally: Tally, console: "Console") -> None:
        self._tally, self._console = tally, console
        self._has_started = False

    def show(self, event: Event) -> None:
        """Prints a line where the event ends an attempt, and where it is the first to start one."""
        line = ending(self._tally, event)
        if isinstance(event, Started) and not self._has_started:
            self._has_started = True
            line = f"{headline(self._tally)}: {self._tally.task(event.trial_id).trial.name} started"
        if line is not None:
            self.say(line)

    def say(self, line: str) -> None:
        """Prints the line."""
        print(line, file=self._console.file, flush=True)


class LiveView:
    """A bar, the running trials and the figures, redrawn in place; what went wrong stays above them."""

    def __init__(self, tally: Tally, console: "Console") -> None:
        self._tally, self._console = tally, console

    def show(self, event: Event) -> None:
        """Keeps a line of every attempt that did not finish; the rest is in the redrawn part."""
        is_good = isinstance(event, Ended) and event.outcome.status is Status.FINISHED
        line = None if is_good else ending(self._tally, event)
        if line is not None:
            self._console.print(line, markup=False, highlight=False, overflow="ellipsis", no_wrap=True)

    def say(self, line: str) -> None:
        """Prints the line above the part that is redrawn."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __rich__(self) -> "RenderableType":
        """Returns the part that is redrawn."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        # A thread draws this while events arrive.
        running = list(self._tally.running.values())
        # In a table, since a bar by itself ends no line.
        head = Table.grid(expand=True)
        head.add_column()
        head.add_row(ProgressBar(total=self._tally.core_hours, completed=self._tally.spent_core_hours))
        head.add_row(Text(headline(self._tally)))
        rows = Table.grid(padding=(0, 2))
        rows.add_column(no_wrap=True, overflow="ellipsis")
        rows.add_column(justify="right", no_wrap=True)
        rows.add_column(no_wrap=True, overflow="ellipsis")
        for item in running:
            rows.add_row(f"  {item.task.trial.name}", f"{item.fraction:.0%}", state(item))
        return Group(head, rows)


@contextlib.contextmanager
def open_view(tally: Tally, *, is_silent: bool, console: "Console | None" = None) -> Generator[View]:
    """Yields the view that suits `console` (default: stdout); the terminal is left in order however it ends."""
    if is_silent:
        yield SilentView()
        return
    from rich.console import Console
    from rich.live import Live

    console = console or Console()
    is_plain = not console.is_terminal or console.is_dumb_terminal or console.no_color
    if is_plain or console.width < NARROWEST_COLUMNS:
        yield LineView(tally, console)
        return
    view = LiveView(tally, console)
    # Warnings would tear the redrawn part; those that go to a file stay there.
    is_shared = sys.stderr.isatty()
    with Live(view, console=console, refresh_per_second=4, redirect_stdout=False, redirect_stderr=is_shared):
        yield view


def headline(tally: Tally) -> str:
    """Returns the figures in one line, the most wanted first."""
    eta_s = tally.eta_s()
    of_round = " of this round" if tally.is_by_rounds else ""
    left = "" if eta_s is None or tally.done == tally.runs else f", {about(eta_s)} left{of_round}"
    spent, total = format_core_hours(tally.spent_core_hours), format_core_hours(tally.core_hours)
    return f"{tally.done}/{tally.runs} runs{left}, {spent} of {total} core-hours"


def state(running: Running) -> str:
    """Returns what a running trial is doing."""
    if running.last is None:
        return "compiling" if running.is_compiling else "starting"
    if running.last.val_loss is not None:
        return f"held-out loss {running.last.val_loss:.4g}"
    return f"train loss {running.last.train_loss:.4g}"


def ending(tally: Tally, event: Event) -> str | None:
    """Returns the line of an event that ended an attempt; None for other events."""
    match event:
        case Ended():
            name = tally.task(event.trial_id).trial.name
            return f"{headline(tally)}: {name} {verdict(event.outcome)}"
        case Lost():
            return f"{tally.task(event.trial_id).trial.name} will be repeated: {event.reason}"
        case Paused():
            return f"{tally.task(event.trial_id).trial.name} is saved and waits: {event.reason}"
        case TrunkGone():
            return f"{tally.task(event.trial_id).trial.name} begins anew: the steps it was to take over are gone"
        case Started() | _:
            return None


def verdict(outcome: Outcome) -> str:
    """Returns how an attempt ended, in a few words."""
    if outcome.status is Status.FINISHED and outcome.val_loss is not None:
        return f"finished, held-out loss {outcome.val_loss:.4g} in {format_duration(outcome.wall_s)}"
    if outcome.error is not None:
        return f"{outcome.status.value}: {last_line(outcome.error)}"
    return f"{outcome.status.value} after {outcome.steps} steps"


def last_line(trace: str) -> str:
    """Returns the line of a traceback that names the exception."""
    lines = [line for line in trace.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no traceback"


class SilenceTeller:
    """Says once what keeps a cluster from answering, and once that it answers again."""

    def __init__(self, silence: Callable[[], str | None], view: View) -> None:
        self._silence, self._view = silence, view
        self._told: str | None = None

    def turn(self) -> None:
        """Looks, and says what is new."""
        silence = self._silence()
        if silence == self._told:
            return
        self._told = silence
        if silence is None:
            self._view.say("the cluster answers again")
        else:
            self._view.say(f"waiting for the cluster: {silence.splitlines()[0]}")
