"""Fits one table of 240 runs here and with SciPy from 500 random starts, resamples it, and runs the whole command."""

import os
import sys
from pathlib import Path

# One thread each, so that processor seconds compare; BLAS reads this when it is loaded.
os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))
sys.path.insert(0, str(Path(__file__).resolve().parent))  # so that it runs the same from make and by its own path

import csv
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from result_file import Figure, write_result
from scipy.optimize import minimize

from analysis.fitting import FitBatch, fit_law, fit_many, huber
from analysis.laws import SURFACE
from analysis.options import FitOptions
from analysis.study_fit import fit_study
from analysis.tables.points import Point, PointSet

Found = TypeVar("Found")

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = ROOT.parent / "shared" / "data" / "chinchilla_isoflop_points.csv"
"""The 245 points of arXiv:2404.10102, where somebody has put them; the figures of them are missing elsewhere."""
DELTA, NOISE = 1e-3, 0.01
TRUTH = {"E": 1.82, "A": 482.0, "B": 2085.0, "alpha": 0.348, "beta": 0.366}
"""Near the published fit of arXiv:2404.10102."""
ROWS, MANY_ROWS, REPEATS, STARTS, RESAMPLES = 240, 100_000, 20, 500, 4000
RANGES = np.array([(0.0, 25.0), (0.0, 25.0), (-1.0, 1.0), (0.0, 2.0), (0.0, 2.0)])
"""Log A, log B, log E, alpha, beta: the span of the starting grid of arXiv:2203.15556 sec. 3.3."""


@dataclass(frozen=True, kw_only=True)
class Runs:
    """A table of runs: parameters, tokens, losses."""

    params: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray

    @property
    def log_values(self) -> dict[str, np.ndarray]:
        """What a surface reads."""
        return {"params": np.log(self.params), "data": np.log(self.tokens)}


def synthetic(rows: int, *, has_budgets: bool = True) -> Runs:
    """Returns runs of nine compute budgets, or of any compute, and sizes about the best one, with 1 % noise."""
    rng = np.random.default_rng(0)
    steps = rng.integers(0, 9, rows) / 8 if has_budgets else rng.uniform(0, 1, rows)
    flops = 6e18 * 500.0**steps
    params = 0.1 * flops**0.5 * np.exp(rng.uniform(-2, 2, rows))
    tokens = flops / (6 * params)
    loss = TRUTH["E"] + TRUTH["A"] * params ** -TRUTH["alpha"] + TRUTH["B"] * tokens ** -TRUTH["beta"]
    return Runs(params=params, tokens=tokens, loss=loss * np.exp(NOISE * rng.normal(size=rows)))


def published() -> Runs | None:
    """Returns the published points less the five highest losses, as their authors fit them; None where they are not."""
    if not PUBLISHED.is_file():
        return None
    with PUBLISHED.open(newline="") as lines:
        table = [(float(r["Model Size"]), float(r["Training FLOP"]), float(r["loss"])) for r in csv.DictReader(lines)]
    params, flops, loss = np.array(sorted(table, key=lambda row: row[2])[:-5]).T
    return Runs(params=params, tokens=flops / (6 * params), loss=loss)


def cpu_seconds(work: Callable[[], Found]) -> tuple[float, Found]:
    """Returns the processor seconds of this process that `work` takes, and what it returns."""
    start_s = time.process_time()
    found = work()
    return time.process_time() - start_s, found


def fit(runs: Runs) -> FitBatch:
    """Returns our fit."""
    return fit_law(SURFACE, runs.log_values, np.log(runs.loss), delta=DELTA)


def objective(theta: np.ndarray, log_n: np.ndarray, log_d: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns the sum of Huber of log residuals and its gradient, by log-sum-exp."""
    a, b, e, alpha, beta = theta
    terms = np.stack([a - alpha * log_n, b - beta * log_d, np.full_like(y, e)])
    top = terms.max(axis=0)
    shares = np.exp(terms - top)
    total = shares.sum(axis=0)
    residual = top + np.log(total) - y
    pull = np.clip(residual, -DELTA, DELTA) * (shares / total)
    gradient = np.array([*pull.sum(axis=1), -(pull[0] @ log_n), -(pull[1] @ log_d)])
    return float(huber(residual, DELTA).sum()), gradient


def multi_start(runs: Runs) -> np.ndarray:
    """Returns the objective that SciPy's L-BFGS-B ends at from each random start; infinite where it ends at none."""
    log_n, log_d, y = np.log(runs.params), np.log(runs.tokens), np.log(runs.loss)
    starts = np.random.default_rng(0).uniform(RANGES[:, 0], RANGES[:, 1], size=(STARTS, 5))
    tight = {"ftol": 1e-14, "gtol": 1e-12, "maxiter": 5000, "maxfun": 50_000}
    ends = [
        minimize(objective, start, args=(log_n, log_d, y), jac=True, method="L-BFGS-B", options=tight).fun
        for start in starts
    ]
    return np.nan_to_num(np.array(ends, dtype=np.float64), nan=np.inf)


def of_table(name: str, runs: Runs | None) -> list[Figure]:
    """Returns what is measured on one table of 240 runs; missing values where there is no table."""
    units = {
        "fit_cpu_seconds": (None, "s"), "scipy_cpu_seconds": (None, "s"),
        "scipy_over_fit": (300.0, "x, at least"), "fit_objective": (None, "sum of Huber"),
        "scipy_objective": (None, "sum of Huber"), "fit_above_scipy": (1e-9, "relative, at most"),
        "scipy_starts_that_succeed": (None, "of starts within 1e-6"), "resamples_cpu_seconds": (2.0, "s, at most"),
        "resamples_converged": (None, "of 4000 resamples"),
    }  # fmt: skip
    values: dict[str, float] = {}
    if runs is not None:
        assert len(runs.loss) == ROWS
        best = fit(runs)  # once for the warm-up
        # Half of them before SciPy and half after: a machine that slows down meanwhile slows both.
        times = [cpu_seconds(lambda: fit(runs))[0] for _ in range(REPEATS // 2)]
        scipy_s, ends = cpu_seconds(lambda: multi_start(runs))
        times += [cpu_seconds(lambda: fit(runs))[0] for _ in range(REPEATS // 2)]
        fit_s = statistics.median(times)
        ours, theirs = float(best.objective[0]), float(ends.min())
        draws = np.random.default_rng(1).multinomial(ROWS, np.full(ROWS, 1 / ROWS), size=RESAMPLES).astype(np.float64)
        y = np.log(runs.loss)[None]
        many_s, many = cpu_seconds(
            lambda: fit_many(SURFACE, runs.log_values, y, draws, start=best, delta=DELTA)
        )  # fmt: skip
        measured = (
            fit_s, scipy_s, scipy_s / fit_s, ours, theirs, ours / theirs - 1,
            float((ends <= min(ours, theirs) * (1 + 1e-6)).mean()), many_s, float(many.converged.mean()),
        )  # fmt: skip
        values = dict(zip(units, measured, strict=True))
    return [
        Figure(name=f"{name}_{key}", value=values.get(key), bar=bar, unit=unit) for key, (bar, unit) in units.items()
    ]


def of_many_rows() -> list[Figure]:
    """Returns what is measured on 100,000 rows."""
    runs = synthetic(MANY_ROWS, has_budgets=False)
    fit_s, _ = cpu_seconds(lambda: fit(runs))
    rows = zip(runs.params.tolist(), runs.tokens.tolist(), runs.loss.tolist(), strict=True)
    points = PointSet(
        points=tuple(Point(model=f"{n:.3g}", loss=y, params=n, tokens=d, flops=6 * n * d) for n, d, y in rows),
        set_aside=(),
        source="synthetic",
    )
    study_s, _ = cpu_seconds(lambda: fit_study(points, FitOptions(law="surface", resamples=RESAMPLES)))
    return [
        Figure(name="rows_100k_fit_cpu_seconds", value=fit_s, bar=5.0, unit="s, at most"),
        Figure(name="rows_100k_study_cpu_seconds", value=study_s, bar=None, unit="s, intervals and picks included"),
    ]


def of_command(runs: Runs) -> list[Figure]:
    """Returns what the command takes from its start to its end, figures included."""
    with tempfile.TemporaryDirectory(prefix="loglog-bench-") as folder:
        table = Path(folder) / "runs.csv"
        with table.open("w", newline="") as lines:
            writer = csv.writer(lines)
            writer.writerow(["params", "tokens", "loss"])
            writer.writerows(zip(runs.params, runs.tokens, runs.loss, strict=True))
        words = [sys.executable, str(ROOT / "analysis" / "fit_scaling.py"), "--data", str(table), "--out", folder]
        before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        wall_s, after = time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
        assert (Path(folder) / "fit.json").is_file()
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return [
        Figure(name="command_wall_seconds", value=wall_s, bar=10.0, unit="s, at most"),
        Figure(name="command_cpu_seconds", value=cpu_s, bar=None, unit="s, imports and figures included"),
    ]


def main() -> None:
    """Measures, prints and writes benchmarks/results/fit_speed.json."""
    runs = synthetic(ROWS)
    figures = of_table("synthetic", runs) + of_table("chinchilla", published()) + of_many_rows() + of_command(runs)
    write_result("fit_speed", figures, command="make bench NAME=fit_speed")


if __name__ == "__main__":
    main()
