"""Fits synthetic studies whose law is known: how often does a 90 % interval hold what it is an interval of?"""

import os
import sys
from pathlib import Path

# Two processes share the cores; BLAS reads this when it is loaded.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

import argparse
import functools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from result_file import RESULTS, Figure, write_result
from rich.progress import track

from analysis.options import FitOptions
from analysis.refusal import FitRefused
from analysis.result import ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.points import Point, PointSet

LEVEL, BAR = 0.9, (0.85, 0.95)
STUDIES, RESAMPLES = 500, 1000
FLOPS = (6e18, 3e21)
FACTOR = 10.0
"""How far beyond the dearest run is asked."""

Covered = dict[str, bool | None]
"""Whether the interval of each ESTIMATOR/QUANTITY held the truth; None where there was no interval."""


@dataclass(frozen=True, kw_only=True)
class Truth:
    """L = E + A N^-alpha + B D^-beta at 6 N D FLOPs."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    @property
    def exponent(self) -> float:
        """The a of N* ~ C^a."""
        return self.beta / (self.alpha + self.beta)

    def best_params(self, flops: float) -> float:
        """Returns N*."""
        balance = self.alpha * self.A / (self.beta * self.B)
        return balance ** (1 / (self.alpha + self.beta)) * (flops / 6) ** self.exponent

    def loss(self, params: float, flops: float) -> float:
        """Returns the mean loss of so many parameters at a budget."""
        return self.E + self.A * params**-self.alpha + self.B * (flops / 6 / params) ** -self.beta

    def point(self, model: str, params: float, flops: float) -> Point:
        """Returns a run without noise."""
        return Point(model=model, loss=self.loss(params, flops), params=params, tokens=flops / 6 / params, flops=flops)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Runs with a law behind them."""

    truth: Truth
    points: PointSet
    without_noise: PointSet
    noise_at: Callable[[float], float]
    """Draws the log noise of a new run of so many parameters."""

    @classmethod
    def of(cls, truth: Truth, plain: Sequence[Point], noise_at: Callable[[float], float], **words: str) -> "Study":
        """Returns the study of runs, with noise and without."""
        noisy = [replace(point, loss=point.loss * math.exp(noise_at(point.params or 1.0))) for point in plain]
        both = [PointSet(points=tuple(p), set_aside=(), source="synthetic", **words) for p in (noisy, plain)]
        return cls(truth=truth, points=both[0], without_noise=both[1], noise_at=noise_at)

    @property
    def asked(self) -> tuple[float, float]:
        """The middle of the sampled compute, and ten times its end [FLOPs]."""
        flops = [point.flops or 1.0 for point in self.points.points]
        return math.sqrt(min(flops) * max(flops)), FACTOR * max(flops)


def isoflop(
    rng: np.random.Generator, *, noise: float, budgets: int = 8, sizes: int = 7, has_tails: bool = False
) -> Study:
    """Returns a grid of budgets and sizes about the best one, as people guess it: off by a factor, and not even.

    Args:
        rng: draws everything.
        noise: standard deviation of log loss.
        budgets: how many, log-spaced.
        sizes: how many for each, from a sixth of the best to six times it.
        has_tails: noise after Student's t(3), 1.5 times as large for the smallest model and 0.7 for the largest.
    """
    truth = Truth(
        E=rng.uniform(1.5, 2.0), A=rng.uniform(300, 600), B=rng.uniform(600, 2500),
        alpha=rng.uniform(0.32, 0.37), beta=rng.uniform(0.32, 0.38),
    )  # fmt: skip
    flops = np.repeat(np.geomspace(*FLOPS, budgets), sizes)
    spread = np.tile(np.geomspace(1 / 6, 6, sizes), budgets) * np.exp(rng.normal(0, 0.1, budgets * sizes))
    params = np.array([truth.best_params(c) for c in flops]) * np.exp(rng.normal(0, 0.3)) * spread
    ends = np.log([params.min(), params.max()])

    def noise_at(size: float) -> float:
        if not has_tails:
            return rng.normal(0, noise)
        scale = math.exp(np.interp(math.log(size), ends, np.log([1.5, 0.7])))
        return noise * scale * rng.standard_t(3) / math.sqrt(3)

    runs = zip(params.tolist(), flops.tolist(), strict=True)
    return Study.of(truth, [truth.point(f"{n:.3g}", n, c) for n, c in runs], noise_at)


def ladder(rng: np.random.Generator, *, noise: float) -> Study:
    """Returns six named models, six durations and two seeds, on a surface without a floor: its best loss is a power."""
    alpha, beta = rng.uniform(0.15, 0.3, 2).tolist()
    sizes, epochs, images = 1e5 * 2.2 ** np.arange(6), 0.25 * 2.0 ** np.arange(6), 50_000.0
    # In the middle of the grid, give or take, the best split is that of the middle.
    middle_n = math.exp(float(np.log(sizes).mean()) + rng.normal(0, 0.3))
    middle_d = math.exp(float(np.log(epochs * images).mean()))
    part = rng.uniform(0.6, 1.5)
    truth = Truth(
        E=0.0, A=part * middle_n**alpha, B=alpha / beta * part * middle_d**beta, alpha=alpha, beta=beta
    )  # fmt: skip
    plain = [
        replace(truth.point(f"f{model}", n, 6 * n * e * images), epochs=e, seed=seed)
        for model, n in enumerate(sizes.tolist())
        for e in epochs.tolist()
        for seed in range(2)
    ]
    return Study.of(truth, plain, lambda _: rng.normal(0, noise), study="synthetic", data_unit="images")


DESIGNS: dict[str, tuple[Callable[[np.random.Generator], Study], str]] = {
    "grid_1pc": (functools.partial(isoflop, noise=0.01), "surface"),
    "grid_0.3pc": (functools.partial(isoflop, noise=0.003, budgets=9, sizes=9), "surface"),
    "grid_tails": (functools.partial(isoflop, noise=0.01, has_tails=True), "surface"),
    "ladder_2pc": (functools.partial(ladder, noise=0.02), "power"),
}
"""How a study is made, and the law that is fitted to it."""


def covers(truth: float, low: float | None, high: float | None) -> bool | None:
    """Returns whether an interval holds the truth; None for no interval."""
    return None if low is None or high is None else bool(low <= truth <= high)


def of_picks(study: Study, result: ScalingFit, estimator: str) -> Covered:
    """Returns what the picks in range and beyond it cover."""
    found: Covered = {}
    for pick, where in zip(result.picks, ("in_range", "at_10x"), strict=True):
        size = study.truth.best_params(pick.budget)
        best = study.truth.loss(size, pick.budget)
        found[f"{estimator}/mean_loss_{where}"] = covers(best, pick.law_low, pick.law_high)
        if estimator == "surface":
            found[f"{estimator}/best_size_{where}"] = covers(size, *(pick.params_interval or (None, None)))
        if where == "at_10x":
            # One new run of what is advised; a law of compute advises no size out there, and means the best.
            size = pick.params or size
            loss = study.truth.loss(size, pick.budget) * math.exp(study.noise_at(size))
            found[f"{estimator}/new_run_{where}"] = covers(loss, pick.low, pick.high)
    return found


def of_allocations(study: Study, result: ScalingFit) -> Covered:
    """Returns which approaches' exponents and best sizes are covered."""
    found: Covered = {}
    for one in result.allocations:
        a = one.exponent_params
        found[f"{one.approach}/exponent_of_size"] = covers(study.truth.exponent, a.low, a.high) if a else None
    for budget, where in zip(study.asked, ("in_range", "at_10x"), strict=True):
        line, x = result.isoflop.line if result.isoflop else None, math.log(budget)
        off = line.at(x) - math.log(study.truth.best_params(budget)) if line else 0.0
        half = line.half_width(x, LEVEL) if line else None
        found[f"isoflop/best_size_{where}"] = covers(abs(off), 0.0, half)
        bounds = result.isoflop_loss.best_loss(budget)[1] if result.isoflop_loss else None
        best = study.truth.loss(study.truth.best_params(budget), budget)
        found[f"isoflop/mean_loss_{where}"] = covers(best, *(bounds or (None, None)))
    return found


def one_study(number: int, *, design: str, resamples: int) -> Covered:
    """Returns what the intervals of one study hold; nothing when it was refused."""
    make, law = DESIGNS[design]
    study = make(np.random.default_rng([list(DESIGNS).index(design), number]))
    options = FitOptions(
        law=law, resamples=resamples, axis="flops", budgets=study.asked, level=LEVEL, has_trust=False
    )  # fmt: skip
    try:
        result = fit_study(study.points, options)
    except FitRefused:
        return {}
    fitted = result.fit.parameters
    if law == "surface":
        found = {
            f"surface/{name}": covers(getattr(study.truth, name), fitted[name].low, fitted[name].high)
            for name in ("alpha", "beta", "E")
        }
        return found | of_picks(study, result, "surface") | of_allocations(study, result)
    # What the same estimator finds without noise: the envelope of six sizes is not quite a line.
    plain = fit_study(study.without_noise, replace(options, resamples=0)).fit.values["b"]
    found: Covered = {"envelope/slope": covers(plain, fitted["b"].low, fitted["b"].high)}
    return found | of_picks(study, result, "envelope") | of_allocations(study, result)


def figures_of(design: str, studies: Sequence[Covered]) -> list[Figure]:
    """Returns the share of intervals that cover, one figure a quantity; one that was never given is left out."""
    figures: list[Figure] = []
    for name in dict.fromkeys(key for study in studies for key in study):
        known = [value for study in studies if (value := study.get(name)) is not None]
        if known:
            unit = f"of {len(known)} intervals"
            value, bar = float(np.mean(known)), f"{BAR[0]} to {BAR[1]}"
            figures.append(Figure(name=f"{design}/{name}", value=value, bar=bar, unit=unit))
    return figures


def main() -> None:
    """Measures, prints and writes benchmarks/results/coverage.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=STUDIES, help=f"of each design (default: {STUDIES})")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, help=f"of each study (default: {RESAMPLES})")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    words = parser.parse_args()
    figures: list[Figure] = []
    with ProcessPoolExecutor(words.processes) as pool:
        for design in DESIGNS:
            work = functools.partial(one_study, design=design, resamples=words.resamples)
            done = pool.map(work, range(words.studies), chunksize=max(1, min(10, words.studies // 4)))
            figures += figures_of(design, list(track(done, total=words.studies, description=f"{design:<12}")))
    inside = sum(item.value is not None and BAR[0] <= item.value <= BAR[1] for item in figures)
    summary = [
        Figure(name="within_bar", value=inside, bar=len(figures), unit="quantities"),
        Figure(name="studies", value=words.studies, bar=STUDIES, unit="of each design"),
        Figure(name="resamples", value=words.resamples, bar=None, unit="of each study"),
    ]
    write_result("coverage", [*summary, *figures], command="make bench NAME=coverage", folder=words.out)


if __name__ == "__main__":
    main()
