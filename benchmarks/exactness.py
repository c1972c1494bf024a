"""Kills training fifty times with kill -9; final weights, curves and losses must be those of unbroken runs, bit by bit.

Two architectures, alone and as two processes that train together with their parameters spread over both. Half of the
kills come from outside at random moments; the others from inside: right after a step was sent to the devices, while a
checkpoint is being written beside the training, and right after one was completed.
"""

import argparse
import dataclasses
import itertools
import random
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

from killed_training import SHAPES, Bench, Cell, Ending, random_deaths
from result_file import RESULTS, Figure, write_result

KILLS_A_RUN = {1: 5, 2: 3}
"""By the number of processes: two take longer to begin."""
SEEDS = 3
"""Of each architecture on each number of processes; a longer benchmark comes back to the first."""
_LOCK = threading.Lock()


@dataclasses.dataclass(kw_only=True)
class Tally:
    """What all runs together have shown."""

    kinds: Counter[str] = dataclasses.field(default_factory=Counter)
    runs: int = 0
    different: int = 0
    """Runs whose weights, curve or losses are not those of the unbroken run to the last bit."""
    other_samples: int = 0
    """Runs whose certificate is another or has a fault."""
    lost_s: float = 0.0
    uncounted: int = 0
    """Runs that were killed and count nothing as lost."""
    failed_starts: int = 0
    """Times that two processes did not meet, before anything was trained."""

    def add(self, ending: Ending, whole: Ending, met: Sequence[str]) -> None:
        """Counts a killed run, held against the whole one."""
        with _LOCK:
            self.kinds.update(met)
            self.runs += 1
            same = (ending.weights, ending.curve, ending.losses) == (whole.weights, whole.curve, whole.losses)
            self.different += not same
            self.other_samples += ending.certificate != whole.certificate or ending.fault is not None
            self.lost_s += ending.lost_s
            self.uncounted += bool(met) and ending.lost_s <= 0


def measure(folder: Path, *, kills: int, seed: int, cells: Sequence[Cell], kills_a_run: int | None = None) -> Tally:
    """Returns what so many kills, spread over the cells in turn, have done; each program has a thread of its own."""
    plan: dict[tuple[str, int], list[tuple[Cell, int]]] = {}
    left = kills
    for cell in itertools.cycle(cells):
        of_cell = min(kills_a_run or KILLS_A_RUN[cell.processes], left)
        plan.setdefault((cell.family, cell.processes), []).append((cell, of_cell))
        left -= of_cell
        if not left:
            break
    bench, tally = Bench(folder), Tally()
    with ThreadPoolExecutor(len(plan)) as pool:
        for future in [pool.submit(_fire_at, bench, runs, seed, tally) for runs in plan.values()]:
            future.result()
    tally.failed_starts = bench.failed_starts
    return tally


def _fire_at(bench: Bench, runs: Sequence[tuple[Cell, int]], seed: int, tally: Tally) -> None:
    """Kills runs of one program so often each, one after the other."""
    bench.compile(runs[0][0])
    rng = random.Random(f"{seed} {runs[0][0]}")
    for cell, kills in runs:
        whole, attempt_s = bench.unbroken(cell)
        left = kills
        while left:  # a run may end before it has met all of them
            ending, met = bench.under_fire(cell, random_deaths(rng, cell, attempt_s), left)
            left -= len(met)
            tally.add(ending, whole, met)
            print(f"{cell}: {', '.join(met)}; {'the same' if ending == whole else 'DIFFERENT'}", flush=True)


def cells_of(families: Sequence[str], processes: Sequence[int]) -> list[Cell]:
    """Returns these architectures on so many processes, with each seed."""
    numbers = itertools.product(range(SEEDS), processes, families)
    return [Cell(family=family, processes=processes, seed=seed) for seed, processes, family in numbers]


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0 where every killed run equals its unbroken one, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments and kinds of the kills")
    parser.add_argument("--kills-a-run", type=int)
    parser.add_argument("--families", nargs="+", choices=tuple(SHAPES), default=tuple(SHAPES))
    parser.add_argument("--processes", nargs="+", type=int, default=(1, 2))
    parser.add_argument("--folder", type=Path, help="where runs and programs stay, for a closer look; else nowhere")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="loglog-exactness-") as temporary:
        folder, cells = args.folder or Path(temporary), cells_of(args.families, args.processes)
        tally = measure(folder, kills=args.kills, seed=args.seed, cells=cells, kills_a_run=args.kills_a_run)
    kinds = [Figure(name=f"kills_{kind}", value=count, bar=None, unit="kills") for kind, count in tally.kinds.items()]
    write_result(
        "exactness",
        [
            Figure(name="kills", value=tally.kinds.total(), bar=args.kills, unit="kills"),
            *sorted(kinds, key=lambda figure: figure.name),
            Figure(name="runs", value=tally.runs, bar=None, unit="runs"),
            Figure(name="different", value=tally.different, bar=0, unit="runs"),
            Figure(name="other_samples", value=tally.other_samples, bar=0, unit="runs"),
            Figure(name="without_lost_s", value=tally.uncounted, bar=None, unit="runs"),
            Figure(name="failed_starts", value=tally.failed_starts, bar=None, unit="attempts"),
            Figure(name="lost", value=tally.lost_s, bar=None, unit="s"),
        ],
        command=f"make bench NAME=exactness EXTRA='--kills {args.kills} --seed {args.seed}'",
        folder=args.out,
    )
    return 1 if tally.different or tally.other_samples else 0


if __name__ == "__main__":
    sys.exit(main())
