"""Ten thousand simulated studies under a spend cap: pre-emptions, silent deaths, wrong prices, drivers that die.

Each goes through the real reconcile loop and the real spend ledger, whose figures are read at every turn of the loop.
What was really trained, to the last step that nobody was told of, is known to the simulated cluster alone and is held
against the cap. Some jobs die without a word and are begun again by the cluster itself; runs go on without a driver.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from result_file import Figure, write_result

from launcher.contract.backend import Task
from launcher.drive.reconcile import Surroundings, run
from launcher.drive.spending import SpendLedger
from launcher.drive.trunks import with_trunks
from launcher.rehearse.simulated_backend import SimulatedBackend
from launcher.rehearse.simulated_surroundings import surroundings_of
from launcher.rehearse.world import World
from launcher.settings.compose import compose
from launcher.settings.conditions import Conditions
from strategy.field import Field
from sweeps.plan import packs_of
from sweeps.pricing import price_trial
from sweeps.study import Study

STUDIES, CHUNK = 10_000, 50
_ROUNDING = 1.0 + 1e-8


class DriverDiedError(Exception):
    """The driver is gone; the cluster goes on."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """How one study ended."""

    cap: float
    counted: float
    """By the last ledger."""
    most_counted: float
    """By any ledger at any turn."""
    most_promised: float
    """Likewise, with what was reserved."""
    trained: float
    """The price of every step that was really trained."""
    true_core_hours: float
    """The same by the time it really took, prices being wrong."""
    runs: int
    drivers: int
    preemptions: int
    left: int
    """Trials that the cap did not hold."""

    @property
    def is_over(self) -> bool:
        """Whether more than the cap was trained, or ever counted."""
        return max(self.trained, self.most_counted) > self.cap * _ROUNDING


class Watched:
    """What drivers saw of their ledgers."""

    def __init__(self) -> None:
        self.counted = self.promised = 0.0

    def look(self, ledger: SpendLedger) -> None:
        """Keeps the most that was counted, and promised besides."""
        self.counted = max(self.counted, ledger.spent_core_hours)
        self.promised = max(self.promised, ledger.spent_core_hours + ledger.reserved_core_hours)


def spend(number: int, study: Study) -> Spent:
    """Returns how the study of a number ended; everything random depends on the number alone."""
    rng = np.random.default_rng([number, 8])
    schedule = replace(study.schedule, name=("cosine", "wsd")[int(rng.integers(2))])
    some = replace(
        study,
        schedule=schedule,
        models=tuple(study.models[i] for i in sorted(rng.choice(6, size=int(rng.integers(1, 4)), replace=False))),
        epochs=tuple(sorted(float(e) for e in rng.choice(study.epochs, size=int(rng.integers(1, 5)), replace=False))),
        peak_lrs=study.peak_lrs[: int(rng.integers(1, 4))],
        seeds=(0,),
    )
    field = Field(study=some, budget_core_hours=1e9)
    world = World.drawn(field, number)
    conditions = Conditions(
        slots=int(rng.integers(1, 7)),
        cores_per_run=64,
        queue_wait_h=float(rng.exponential(5.0)),
        preemptions_per_h=float(10 ** rng.uniform(-3.5, -1.5)),
        graceful_share=float(rng.uniform()),
        requeued_share=float(rng.choice([0.0, 0.5])),
        checkpoint_every_h=float(10 ** rng.uniform(-1, 1.5)),
        speed_spread=0.3,
        failures_per_run=float(rng.choice([0.0, 0.1])),
        out_of_memory_per_model=float(rng.choice([0.0, 0.1])),
    )
    backend = SimulatedBackend(losses=world.losses, conditions=conditions, seed=number)
    trials = [field.trial(c, int(r), 0) for c in range(len(field.cells)) for r in field.asked_rates]
    price = sum(price_trial(trial, some.hardware).core_hours for trial in trials)
    cap = float(price * rng.uniform(0.05, 1.3))
    drivers, left, watched = 0, 0, Watched()
    while True:
        drivers += 1
        records = backend.records()
        ledger = SpendLedger(cap, records)
        settled = {record.trial.id for record in records if record.is_settled}
        pending = packs_of([trial for trial in trials if trial.id not in settled], some)
        packs = [tuple(Task(trial=t, cost=price_trial(t, some.hardware)) for t in pack.trials) for pack in pending]
        dies_after = int(rng.integers(1, 60)) if rng.uniform() < 0.5 and drivers < 5 else None
        try:
            chained = with_trunks(packs, lambda trunk: ())
            left = len(run(chained, backend, around(chained, backend, ledger, watched, dies_after)).left)
        except DriverDiedError:
            backend.pass_unheard(float(rng.choice([0.0, rng.exponential(20.0)])))
            continue
        break
    assert not backend.underway()
    return Spent(
        cap=cap,
        counted=ledger.spent_core_hours,
        most_counted=watched.counted,
        most_promised=watched.promised,
        trained=backend.trained_core_hours,
        true_core_hours=backend.true_core_hours,
        runs=len(backend.records()),
        drivers=drivers,
        preemptions=backend.preemptions,
        left=left,
    )


def around(
    packs: list[tuple[Task, ...]],
    backend: SimulatedBackend,
    ledger: SpendLedger,
    watched: Watched,
    dies_after: int | None,
) -> Surroundings:
    """Returns the surroundings of one driver, which dies after so many turns of its loop."""
    turns, pending = 0, [task for pack in packs for task in pack]

    def on_turn() -> None:
        nonlocal turns
        turns += 1
        watched.look(ledger)
        if turns == dies_after:
            raise DriverDiedError

    return surroundings_of(backend, ledger, pending, on_turn=on_turn)


def work(numbers: range) -> list[Spent]:
    """Returns some studies."""
    study = compose(["study=scale_model", "budget=110k"]).study
    return [spend(number, study) for number in numbers]


def main() -> None:
    """Runs all studies on all cores and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=STUDIES)
    studies = parser.parse_args().studies
    began = time.perf_counter()
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=multiprocessing.get_context("spawn")) as pool:
        chunks = [range(first, min(first + CHUNK, studies)) for first in range(0, studies, CHUNK)]
        found = [one for some in pool.map(work, chunks) for one in some]
    promised = sum(one.most_promised > one.cap * _ROUNDING for one in found)
    unseen = sum(one.trained > one.counted * _ROUNDING for one in found)
    figures = [
        Figure(name="studies", value=len(found), bar=STUDIES, unit="studies"),
        Figure(name="cap exceeded", value=sum(one.is_over for one in found), bar=0, unit="studies"),
        Figure(name="more trained than counted", value=unseen, bar=0, unit="studies"),
        Figure(name="more promised than the cap", value=promised, bar=0, unit="studies"),
        Figure(name="caps that held", value=sum(one.left > 0 for one in found), bar=None, unit="studies"),
        Figure(name="runs", value=sum(one.runs for one in found), bar=None, unit="runs"),
        Figure(name="pre-emptions", value=sum(one.preemptions for one in found), bar=None, unit="attempts"),
        Figure(name="drivers that died", value=sum(one.drivers - 1 for one in found), bar=None, unit="drivers"),
        Figure(name="highest trained / cap", value=max(one.trained / one.cap for one in found), bar=1.0, unit="of cap"),
        Figure(
            name="mean counted / trained",
            value=float(np.mean([one.counted / one.trained for one in found if one.trained])),
            bar=None,
            unit="x",
        ),
        Figure(
            name="highest true core-hours / cap",
            value=max(one.true_core_hours / one.cap for one in found),
            bar=None,
            unit="of cap, by wrong prices",
        ),
        Figure(name="time of a study", value=1e3 * (time.perf_counter() - began) / len(found), bar=None, unit="ms"),
    ]
    write_result("spend_cap", figures, command=" ".join(["make bench NAME=spend_cap", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
