"""`make rehearse`: a study's strategy in many worlds, so that its price and its honesty are known beforehand."""

import contextlib
import dataclasses
import json
import math
import multiprocessing
import signal
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from launcher.rehearse.rehearsal import Rehearsed, rehearse
from launcher.settings.conditions import Conditions
from launcher.settings.request import Request
from launcher.work.worker_environment import usable_cores
from sweeps.budget import format_core_hours

if TYPE_CHECKING:
    from rich.console import Console

_ALONE = 6
"""So few rehearsals are over before another process has loaded its libraries."""
_WORST = 0.9


def run_rehearsals(requests: Sequence[Request], seeds: int, conditions: Conditions) -> int:
    """Prints how the strategy fares for each budget over all seeds; returns the exit code."""
    jobs = [(request, seed, conditions) for request in requests for seed in range(seeds)]
    as_json = requests[0].json
    found = tuple(_progress(_results(jobs), len(jobs), is_silent=as_json))
    if as_json:
        print(json.dumps(rehearsals_as_json(found), allow_nan=False))
    else:
        from analysis.report.narrow_table import printing_console

        print_rehearsals(requests[0], found, conditions, printing_console())
    return 0


def rehearsals_as_json(found: Sequence[Rehearsed]) -> dict[str, Any]:
    """Returns every rehearsal and, for each budget, the means and the worst decile."""
    return {
        "seeds": [dataclasses.asdict(one) for one in found],
        "means": [_means(own) for own in _by_budget(found)],
    }


def _means(own: Sequence[Rehearsed]) -> dict[str, Any]:
    """Returns the figures of one budget."""
    regrets = _column(own, "regret")
    errors = np.abs(np.log(_column(own, "predicted_loss") / _column(own, "true_loss")))
    held = [one.low <= one.true_loss <= one.high for one in own]
    trained, within = (sum(getattr(one, name) for one in own) for name in ("predictions_trained", "predictions_within"))
    return {
        "budget_core_hours": own[0].budget_core_hours,
        "seeds": len(own),
        "spent_core_hours": float(_column(own, "spent_core_hours").mean()),
        "grid_core_hours": float(_column(own, "grid_core_hours").mean()),
        "spent_share": float((_column(own, "spent_core_hours") / _column(own, "grid_core_hours")).mean()),
        "regret": float(regrets.mean()),
        "regret_worst_decile": float(np.quantile(regrets, _WORST)),
        "regret_largest_cell": float(_column(own, "regret_largest_cell").mean()),
        "predicted_loss_error": float(errors.mean()),
        "interval_held": float(np.mean(held)),
        "runs": float(_column(own, "runs").mean()),
        "rounds": float(_column(own, "rounds").mean()),
        "preemptions": float(_column(own, "preemptions").mean()),
        "wall_h": float(_column(own, "wall_h").mean()),
        "predictions_held": within / trained if trained else None,
    }


def print_rehearsals(request: Request, found: Sequence[Rehearsed], conditions: Conditions, console: "Console") -> None:
    """Prints a row for each budget, and what its columns mean."""
    from rich.text import Text

    from analysis.report.narrow_table import Column, print_fitted, print_line

    study, strategy = request.study, request.strategy.name
    head = f" rehearsed with strategy={strategy}: nothing was trained"
    print_line(console, Text.assemble((study.name, "bold"), head))
    console.print()
    columns = [
        Column(header=header, wanted=wanted)
        for header, wanted in (
            ("budget", 0),
            ("core-hours", 4),
            ("of grid", 6),
            ("regret", 0),
            ("worst 10%", 2),
            ("largest", 3),
            ("loss off", 5),
            ("held", 7),
            ("days", 1),
        )
    ]
    rows: list[tuple[str, ...]] = []
    for own in _by_budget(found):
        mean = _means(own)
        rows.append(
            (
                format_core_hours(mean["budget_core_hours"]),
                format_core_hours(mean["spent_core_hours"]),
                f"{mean['spent_share']:.0%}",
                f"{mean['regret']:.2%}",
                f"{mean['regret_worst_decile']:.2%}",
                f"{mean['regret_largest_cell']:.2%}",
                f"{mean['predicted_loss_error']:.2%}",
                f"{mean['interval_held']:.0%}",
                f"{mean['wall_h'] / 24:.3g}",
            )
        )
    print_fitted(console, columns, rows)
    console.print()
    for line in _legend(found, conditions):
        print_line(console, line, style="dim")


def _legend(found: Sequence[Rehearsed], conditions: Conditions) -> Iterator[str]:
    seeds = len({one.seed for one in found})
    yield f"means over {seeds} worlds, each with another law, other best learning rates, noise and pre-emptions"
    yield "regret: true loss of the choice above that of the best cell and rate within the budget"
    yield "largest: likewise of the largest model that fits, as long as fits, at the cheapest cell's best rate"
    yield "loss off, held: predicted best loss against the true one, and how often its 90 % interval held it"
    yield (
        f"days: on {conditions.slots} slots of {conditions.cores_per_run} cores, {conditions.queue_wait_h:g} h in the "
        f"queue, {conditions.preemptions_per_h:g} pre-emptions an hour (settings rehearse.*)"
    )
    example = found[-1]
    yield f"for example world {example.seed} at {format_core_hours(example.budget_core_hours)}: {example.choice}"


def _by_budget(found: Sequence[Rehearsed]) -> list[list[Rehearsed]]:
    budgets = dict.fromkeys(one.budget_core_hours for one in found)
    return [[one for one in found if one.budget_core_hours == budget] for budget in budgets]


def _column(own: Sequence[Rehearsed], name: str) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return np.array([getattr(one, name) for one in own], dtype=np.float64)


def _results(jobs: Sequence[tuple[Request, int, Conditions]]) -> Iterator[Rehearsed]:
    """Yields the rehearsals in order, several at the same time where there are many."""
    workers = min(len(usable_cores()), math.ceil(len(jobs) / _ALONE))
    if workers < 2:
        yield from map(_rehearse, jobs)
        return
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        with _ctrl_c_is_ours():
            results = pool.map(_rehearse, jobs)
        yield from results
    finally:  # after Ctrl-C what is at work ends its rehearsal, which takes seconds, and no other is begun
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _ctrl_c_is_ours() -> Generator[None]:
    """Processes started meanwhile pass over Ctrl-C, which a terminal sends to every process of the command."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _rehearse(job: tuple[Request, int, Conditions]) -> Rehearsed:
    request, seed, conditions = job
    return rehearse(request, seed, conditions=conditions)


def _progress(results: Iterator[Rehearsed], total: int, *, is_silent: bool) -> Iterator[Rehearsed]:
    """Yields the results while a bar on stderr shows how many there are."""
    if is_silent:
        yield from results
        return
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    is_dull = not console.is_terminal
    yield from track(results, "rehearsing", total=total, console=console, transient=True, disable=is_dull)
