"""Compares synthetic families with a known compute multiplier: does its 90 % interval hold it, is a draw called one?"""

import os
import sys
from pathlib import Path

# One process on one core; BLAS reads this when it is loaded.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from result_file import RESULTS, Figure, write_result
from rich.progress import track

from analysis.compare.comparison import compare
from analysis.compare.family import families_of
from sweeps.certificate import faultless
from sweeps.cost import Cost
from sweeps.nfnet_shape import NFNetShape
from sweeps.record import Outcome, RunRecord, Status
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial

LEVEL, BAR, DRAW_BAR = 0.9, (0.85, 0.95), 0.85
STUDIES, RESAMPLES = 300, 400
MULTIPLIERS = (1.0, 1.2, 2.0)
BUDGET = 10_000.0
PER_EPOCH = (1600.0, 2700.0, 4900.0, 7060.0, 9600.0, 13350.0)
"""Core-hours of an epoch: six sizes, the ratios of arXiv:2310.16764."""
EPOCHS = tuple(0.25 * 2 ** (k / 2) for k in range(11))
WIDTHS = (8, 12, 16, 20, 24, 28)
NOISE = (0.003, 0.03)
"""Relative standard deviation of a loss over seeds, log-uniform between these."""
RATES = (0.05, 0.1, 0.2)
PENALTY = 0.02
"""Relative excess of loss an octave off the best learning rate; four times that at two."""
_DATA = DataSpec(
    name="synthetic", image_px=16, channels=3, classes=10, images_per_epoch=1_048_576, held_out_images=512,
    selection_images=512,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Truth:
    """L = E + A n^-alpha + B d^-beta, in units of the middle size and of one epoch."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    @classmethod
    def of(cls, rng: np.random.Generator) -> "Truth":
        """Returns a surface of about 2.5 nats in the middle, whose best split lies near the middle of the grid."""
        alpha, beta, floor = rng.uniform(0.25, 0.5), rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.75)
        part = beta * math.exp(rng.normal(0, 0.2))
        part = part / (part + alpha)
        return cls(E=2.5 * floor, A=2.5 * (1 - floor) * part, B=2.5 * (1 - floor) * (1 - part), alpha=alpha, beta=beta)

    def loss(self, n: float, d: float) -> float:
        """Returns the loss of a size after so many epochs."""
        return self.E + self.A * n**-self.alpha + self.B * d**-self.beta


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one study said."""

    noise: float
    seeds: int
    covers: bool
    is_draw: bool
    is_free: bool
    """Whether both families' best sizes lay between those that were run; otherwise the report says that they do not."""
    width: float
    """Of the interval: log of high over low."""
    error: float
    """log of the multiplier over the true one."""


def study(rng: np.random.Generator, *, multiplier: float, noise: float, seeds: int, quirk: float) -> list[RunRecord]:
    """Returns the runs of two families, of which `b` needs `multiplier` times the compute of `a` at every loss.

    Where b has n and d, it is as good as a with n / m^s and d / m^(1 - s): of all splits of a compute the best one then
    costs m times as much, for any s. The grids are finite and b's sizes are not a's, so envelopes hand over elsewhere.

    Args:
        rng: draws everything.
        multiplier: m.
        noise: relative standard deviation over seeds; up to half its variance is what both families share.
        seeds: of each cell and rate.
        quirk: relative standard deviation of each size's own offset, which no law knows of.
    """
    truth, split, shared = Truth.of(rng), rng.uniform(0.2, 0.8), rng.uniform(0.0, 0.5)
    common = rng.normal(size=(len(PER_EPOCH), len(EPOCHS), len(RATES), seeds))
    records: list[RunRecord] = []
    for name, m in (("a", 1.0), ("b", multiplier)):
        costs = np.array(PER_EPOCH) * np.exp(rng.normal(0, 0.1, len(PER_EPOCH)))
        tuned = rng.uniform(-0.6, 0.6)
        quirks = rng.normal(0, quirk, len(PER_EPOCH))
        for rank, cost in enumerate(costs.tolist()):
            for place, epochs in enumerate(EPOCHS):
                if cost * epochs > 1.01 * BUDGET:
                    continue
                base = math.log(truth.loss(cost / 5600.0 / m**split, epochs / m ** (1 - split))) + quirks[rank]
                # The best rate falls slowly with size and epochs.
                best = tuned - 0.08 * rank - 0.08 * math.log2(epochs)
                own = rng.normal(size=(len(RATES), seeds))
                for k, rate in enumerate(RATES):
                    for seed in range(seeds):
                        mixed = math.sqrt(shared) * common[rank, place, k, seed] + math.sqrt(1 - shared) * own[k, seed]
                        log_loss = base + PENALTY * (math.log2(rate / RATES[1]) - best) ** 2 + noise * mixed
                        losses = math.exp(log_loss), math.exp(log_loss + 0.1 * noise * rng.normal())
                        records.append(record(name, rank, epochs, rate, seed, losses, cost * epochs))
    return records


def record(
    family: str, rank: int, epochs: float, peak_lr: float, seed: int, losses: tuple[float, float], core_hours: float
) -> RunRecord:
    """Returns one finished run with its held-out loss and its selection loss."""
    width = WIDTHS[rank]
    trial = Trial(
        model=f"{family}{rank}",
        family=family,
        shape=NFNetShape(
            stage_depths=(1,), stage_widths=(width,), stage_strides=(1,), stem_widths=(4,), stem_strides=(2,)
        ),
        data=_DATA,
        epochs=epochs,
        batch_images=32,
        peak_lr=peak_lr,
        schedule=ScheduleSpec(name="cosine", warmup_steps=20),
        recipe=RecipeSpec(),
        seed=seed,
    )
    return RunRecord(
        trial=trial,
        cost=Cost(flops=3.6e6 * core_hours, core_hours=core_hours, wall_hours=None, relative_spread=0.0),
        budget_core_hours=BUDGET,
        status=Status.FINISHED,
        outcome=Outcome(
            status=Status.FINISHED,
            steps=trial.steps,
            val_loss=losses[0],
            selection_loss=losses[1],
            train_loss=losses[0],
            wall_s=1.0,
            compile_s=0.0,
            certificate=faultless(images=trial.images, images_per_epoch=_DATA.images_per_epoch),
        ),
        curve=(),
        attempts=1,
        code_version="synthetic",
        device="cpu",
        started_unix_s=0.0,
        ended_unix_s=1.0,
    )


def one_study(number: int, *, multiplier: float, resamples: int, quirk: float = 0.0) -> Found:
    """Returns what the comparison of one study's families says of the multiplier."""
    rng = np.random.default_rng([round(100 * multiplier), round(1e5 * quirk), number])
    noise, seeds = math.exp(rng.uniform(*np.log(NOISE))), 1 + number % 2
    runs = study(rng, multiplier=multiplier, noise=noise, seeds=seeds, quirk=quirk)
    families = families_of(runs, study="synthetic", source="synthetic")
    main = compare(families, others=False, resamples=resamples, level=LEVEL).main
    found, is_free = main.duels[0], all(best.is_free for best in main.bests)
    mean = found.mean_multiplier
    if mean is None or mean.low is None or mean.high is None:
        return Found(
            noise=noise, seeds=seeds, covers=False, is_draw=False, is_free=is_free, width=math.inf, error=math.inf
        )
    return Found(
        noise=noise,
        seeds=seeds,
        covers=mean.low <= multiplier <= mean.high,
        is_draw=found.winner is None and not (found.meeting and found.meeting.is_sure),
        is_free=is_free,
        width=math.log(mean.high / mean.low),
        error=math.log(mean.value / multiplier),
    )


def figures_of(label: str, found: Sequence[Found], *, is_draw: bool) -> list[Figure]:
    """Returns the shares of one multiplier, and how wide its intervals are."""
    bar = f"{BAR[0]} to {BAR[1]}"
    unit = f"of {len(found)} studies"
    figures = [Figure(name=f"{label}/covers", value=float(np.mean([one.covers for one in found])), bar=bar, unit=unit)]
    middle = math.sqrt(NOISE[0] * NOISE[1])
    for name, some in (
        ("one_seed", [one for one in found if one.seeds == 1]),
        ("two_seeds", [one for one in found if one.seeds == 2]),
        ("little_noise", [one for one in found if one.noise < middle]),
        ("best_size_at_edge", [one for one in found if not one.is_free]),
        ("much_noise", [one for one in found if one.noise >= middle]),
    ):
        share = float(np.mean([one.covers for one in some])) if some else None
        figures.append(Figure(name=f"{label}/covers/{name}", value=share, bar=None, unit=f"of {len(some)} studies"))
    if is_draw:
        share = float(np.mean([one.is_draw for one in found]))
        figures.append(Figure(name=f"{label}/indistinguishable", value=share, bar=f"at least {DRAW_BAR}", unit=unit))
    else:
        share = float(np.mean([not one.is_draw for one in found]))
        figures.append(Figure(name=f"{label}/told_apart", value=share, bar=None, unit=unit))
    width = float(np.median([math.exp(one.width) for one in found]))
    bias = float(np.median([one.error for one in found]))
    figures.append(Figure(name=f"{label}/high_over_low", value=width, bar=None, unit="median"))
    return [*figures, Figure(name=f"{label}/log_error", value=bias, bar=None, unit="median")]


def main() -> None:
    """Measures, prints and writes benchmarks/results/family_multiplier.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=STUDIES, help=f"of each multiplier (default: {STUDIES})")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help=f"of each study (default: {RESAMPLES})")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    words = parser.parse_args()
    figures: list[Figure] = []
    for multiplier, quirk in (*((m, 0.0) for m in MULTIPLIERS), (1.0, 0.001)):
        label = f"{multiplier:g}" + (f"_sizes_off_by_{quirk:.1%}" if quirk else "")
        numbers = track(range(words.studies), description=f"{label:<24}")
        found = [one_study(n, multiplier=multiplier, resamples=words.resamples, quirk=quirk) for n in numbers]
        figures += figures_of(label, found, is_draw=multiplier == 1.0)
    write_result("family_multiplier", figures, command="make bench NAME=family_multiplier", folder=words.out)


if __name__ == "__main__":
    main()
