"""Studies with a known law, as records and as tables, shared by the tests of this folder."""

import csv
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from analysis.estimators.best_rate import Cell, cells_of
from analysis.estimators.rows import Rows, compute_rows, surface_rows
from analysis.laws import LAWS, SURFACE
from analysis.tables.points import Point, PointSet, points_from_records
from analysis.tables.table_file import points_from_table
from sweeps.certificate import faultless
from sweeps.cost import Cost
from sweeps.nfnet_shape import NFNetShape
from sweeps.record import Outcome, RunRecord, Status
from sweeps.trial import DataSpec, RecipeSpec, ScheduleSpec, Trial

REFERENCE = Path(__file__).resolve().parents[2] / "sweeps" / "reference" / "jft4b_nfnet_loss.csv"
SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CHINCHILLA = SHARED_DATA / "chinchilla_isoflop_points.csv"
PORIAN_POINTS = SHARED_DATA / "porian_isoflop_points.csv"
PORIAN_OPTIMA = SHARED_DATA / "porian_isoflop_optima.csv"
PORIAN_PUBLISHED = SHARED_DATA / "porian_published_exponents.csv"
REFERENCE_COLUMNS = {"loss": "loss", "core_hours": "core_hours", "epochs": "epochs", "group": "model"}

SLOPE, COEFFICIENT, BEST_LR = -0.1, 6.0, 0.1
FLOPS_PER_CORE_HOUR = 3.6e6
MODELS = {"f0": (4, 1600.0), "f1": (6, 2700.0), "f3": (10, 4900.0), "f7": (16, 9600.0)}
"""Stage width and core-hours per epoch."""
EPOCHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
RATES = (0.05, 0.1, 0.2)

_DATA = DataSpec(
    name="parts", image_px=16, channels=3, classes=10, images_per_epoch=1024, held_out_images=512, selection_images=512
)


def true_loss(core_hours: float, model_core_hours: float) -> float:
    """Returns a loss whose envelope over models is COEFFICIENT C^SLOPE: each model touches it at its own compute."""
    # A model is best where it has seen about two epochs; away from there it loses quadratically in log compute.
    distance = math.log(core_hours / (2.0 * model_core_hours))
    return COEFFICIENT * core_hours**SLOPE * math.exp(0.01 * distance**2)


def record(
    *,
    model: str = "f0",
    epochs: float = 1.0,
    peak_lr: float = BEST_LR,
    seed: int = 0,
    loss: float | None = 2.0,
    selection_loss: float | None = None,
    status: Status = Status.FINISHED,
    core_hours: float | None = None,
) -> RunRecord:
    """Returns the record of one run."""
    width, per_epoch = MODELS[model]
    hours = per_epoch * epochs if core_hours is None else core_hours
    trial = Trial(
        model=model,
        family="nfnet",
        shape=NFNetShape(
            stage_depths=(1, 1),
            stage_widths=(width, 2 * width),
            stage_strides=(1, 2),
            stem_widths=(4,),
            stem_strides=(2,),
        ),
        data=_DATA,
        epochs=epochs,
        batch_images=32,
        peak_lr=peak_lr,
        schedule=ScheduleSpec(name="cosine", warmup_steps=20),
        recipe=RecipeSpec(),
        seed=seed,
    )
    outcome = Outcome(
        status=status,
        steps=trial.steps,
        val_loss=loss,
        selection_loss=loss if selection_loss is None else selection_loss,
        train_loss=loss,
        wall_s=1.0,
        compile_s=0.0,
        certificate=faultless(images=trial.images, images_per_epoch=_DATA.images_per_epoch),
    )
    return RunRecord(
        trial=trial,
        cost=Cost(flops=hours * FLOPS_PER_CORE_HOUR, core_hours=hours, wall_hours=None, relative_spread=0.0),
        budget_core_hours=10_000.0,
        status=status,
        outcome=outcome if status is Status.FINISHED else None,
        curve=(),
        attempts=1,
        code_version="abc1234",
        device="cpu",
        started_unix_s=0.0,
        ended_unix_s=1.0,
    )


def tainted(run: RunRecord) -> RunRecord:
    """Returns the record of a run that cannot show what it has sampled."""
    return replace(run, outcome=run.outcome and replace(run.outcome, certificate=()))


def study_records(
    *,
    models: Sequence[str] = tuple(MODELS),
    epochs: Sequence[float] = EPOCHS,
    rates: Sequence[float] = RATES,
    seeds: int = 3,
    noise: float = 0.0,
    best_lr: float = BEST_LR,
    random_seed: int = 0,
) -> list[RunRecord]:
    """Returns every run of a study whose best loss is COEFFICIENT C^SLOPE, with relative seed noise."""
    rng = np.random.default_rng(random_seed)
    records: list[RunRecord] = []
    for model in models:
        for epoch in epochs:
            hours = MODELS[model][1] * epoch
            for rate in rates:
                for seed in range(seeds):
                    loss = true_loss(hours, MODELS[model][1]) * math.exp(0.02 * math.log2(rate / best_lr) ** 2)
                    loss *= math.exp(noise * rng.normal())
                    records.append(record(model=model, epochs=epoch, peak_lr=rate, seed=seed, loss=loss))
    return records


def study_points(records: Iterable[RunRecord]) -> PointSet:
    """Returns the points of records, under a study's name."""
    return points_from_records(list(records), study="synthetic")


def reference_points() -> PointSet:
    """Returns the 36 points read off Fig. 2 of arXiv:2310.16764."""
    return points_from_table(REFERENCE, columns=REFERENCE_COLUMNS)


def write_csv(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """Returns the path of a CSV file that holds `rows`."""
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    """Returns the rows of a CSV file as they are written."""
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


Values = Mapping[str, float | np.ndarray]


def _repeated(whole: float | np.ndarray, fresh: float | np.ndarray, worth: float | np.ndarray) -> np.ndarray:
    """arXiv:2305.16264 eq. 5: U (1 + R (1 - exp(-(D/U - 1)/R)))."""
    repetitions = np.maximum(np.asarray(whole) / fresh - 1, 0)
    return np.minimum(whole, fresh) * (1 + worth * (1 - np.exp(-repetitions / worth)))


FORMULAS: dict[str, Callable[[Values, Values], np.ndarray]] = {
    "power": lambda v, x: v["a"] * x["compute"] ** -v["b"],
    "power_floor": lambda v, x: v["E"] + v["a"] * x["compute"] ** -v["b"],
    "saturating": lambda v, x: v["E"] + v["a"] * (x["compute"] + v["d"]) ** -v["b"],
    "broken": lambda v, x: (
        v["E"] + v["a"] * x["compute"] ** -v["b"] * (1 + (x["compute"] / v["d"]) ** (1 / v["f"])) ** (-v["c"] * v["f"])
    ),
    "surface": lambda v, x: v["E"] + v["A"] * x["params"] ** -v["alpha"] + v["B"] * x["data"] ** -v["beta"],
    "repeated": lambda v, x: (
        v["E"]
        + v["A"] * _repeated(x["params"], x["useful_params"], v["R_params"]) ** -v["alpha"]
        + v["B"] * _repeated(x["data"], x["unique_data"], v["R_data"]) ** -v["beta"]
    ),
    "over_training": lambda v, x: (
        v["E"]
        + (v["a"] * (x["data"] / x["params"]) ** v["eta"] + v["b"] * (x["data"] / x["params"]) ** -v["eta"])
        * (6 * x["params"] * x["data"]) ** -v["eta"]
    ),
}
"""Every law as its paper writes it, (parameters, variables) -> loss: what the terms of LAWS must add up to."""

TRUTHS = {
    "power": {"a": 5.0, "b": 0.08},
    "power_floor": {"E": 1.2, "a": 6.0, "b": 0.2},
    "saturating": {"E": 1.0, "a": 20.0, "b": 0.3, "d": 3000.0},
    "broken": {"E": 1.0, "a": 8.0, "b": 0.15, "c": 0.25, "d": 2e4, "f": 0.2},
    "surface": {"E": 1.5, "A": 300.0, "B": 900.0, "alpha": 0.35, "beta": 0.33},
    "repeated": {"E": 1.5, "A": 300.0, "B": 900.0, "alpha": 0.35, "beta": 0.33, "R_params": 5.0, "R_data": 15.0},
    "over_training": {"E": 1.5, "a": 300.0, "b": 500.0, "eta": 0.17},
}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows (log variables, log losses) drawn from a law with known parameters."""

    log_values: dict[str, np.ndarray]
    log_loss: np.ndarray
    truth: dict[str, float]


def variables(law: str) -> dict[str, np.ndarray]:
    """Returns 48 rows of every variable that a law reads, over three decades of each."""
    if LAWS[law].fits_frontier:
        return {"compute": np.geomspace(400, 1e6, 48)}
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e6, 1e9, 8), np.geomspace(1e7, 1e10, 6)))
    found = {"params": n, "data": d}
    if law == "repeated":
        found |= {"unique_data": np.minimum(d, 3e8), "useful_params": np.minimum(n, 3e7)}
    return found | {"six_params_squared": 6 * n**2, "six_data_squared": 6 * d**2} if law == "over_training" else found


def sample(law: str, *, noise: float = 0.0, random_seed: int = 0, truth: Mapping[str, float] | None = None) -> Sample:
    """Returns 48 rows of a law, with relative noise."""
    rng = np.random.default_rng(random_seed)
    truth = TRUTHS[law] if truth is None else dict(truth)
    x = variables(law)
    log_loss = np.log(FORMULAS[law](truth, x)) + noise * rng.normal(size=48)
    return Sample(log_values={name: np.log(values) for name, values in x.items()}, log_loss=log_loss, truth=truth)


def _with_outlier(clean: Sample) -> Sample:
    log_loss = clean.log_loss.copy()
    log_loss[20] += 0.3
    return replace(clean, log_loss=log_loss)


def _without_a_row(clean: Sample) -> Sample:
    return replace(
        clean,
        log_values={k: np.delete(v, 7) for k, v in clean.log_values.items()},
        log_loss=np.delete(clean.log_loss, 7),
    )


DAMAGES: dict[str, Callable[[str], Sample]] = {
    "clean": sample,
    "noisy": lambda law: sample(law, noise=0.003, random_seed=3),
    "outlier": lambda law: _with_outlier(sample(law)),
    "one_missing": lambda law: _without_a_row(sample(law)),
}


def table(points: Iterable[Point], **known: object) -> PointSet:
    """Returns points as a table without groups gives them, unless something else is known."""
    return PointSet(**({"points": tuple(points), "set_aside": (), "source": "rows", "has_models": False} | known))  # type: ignore[arg-type]


def runs_of_surface(
    sizes: Iterable[float],
    data: Iterable[float],
    *,
    truth: Mapping[str, float] = TRUTHS["surface"],
    noise: float = 0.0,
    random_seed: int = 0,
) -> list[Point]:
    """Returns a run of every size with every amount of data, whose loss is a surface and whose compute is 6 N D."""
    return runs_at(((n, d) for n in sizes for d in data), truth=truth, noise=noise, random_seed=random_seed)


def runs_at(
    where: Iterable[tuple[float, float]],
    *,
    truth: Mapping[str, float] = TRUTHS["surface"],
    noise: float = 0.0,
    random_seed: int = 0,
) -> list[Point]:
    """Returns a run of a surface for each (size, data), each size a model of its own."""
    rng = np.random.default_rng(random_seed)
    found: list[Point] = []
    for n, d in where:
        loss = float(FORMULAS["surface"](truth, {"params": n, "data": d})) * math.exp(noise * rng.normal())
        found.append(Point(model=f"n{n:.3g}", loss=loss, flops=float(6 * n * d), params=float(n), tokens=float(d)))
    return found


def budgets_of_surface(
    budgets: Iterable[float],
    *,
    truth: Mapping[str, float] = TRUTHS["surface"],
    sizes: int = 9,
    span: float = 30.0,
    off_centre: float = 1.0,
    noise: float = 0.0,
    random_seed: int = 0,
) -> list[Point]:
    """Returns isoFLOP runs: for each budget sizes over a factor of `span`, centred `off_centre` times the best one."""
    where: list[tuple[float, float]] = []
    for budget in budgets:
        best = best_size(truth, budget)
        where += [(n, budget / 6 / n) for n in best * off_centre * np.geomspace(span**-0.5, span**0.5, sizes)]
    return runs_at(where, truth=truth, noise=noise, random_seed=random_seed)


def best_size(truth: Mapping[str, float], budget: float) -> float:
    """Returns the size with the least loss for a budget of 6 N D, arXiv:2203.15556 eq. 4."""
    alpha, beta = truth["alpha"], truth["beta"]
    g = (alpha * truth["A"] / (beta * truth["B"])) ** (1 / (alpha + beta))
    return g * (budget / 6) ** (beta / (alpha + beta))


def cells_on(law: str, *, noise: float = 0.0, random_seed: int = 0) -> tuple[Cell, ...]:
    """Returns 25 cells on a law of compute, over four decades."""
    rng = np.random.default_rng(random_seed)
    compute = np.geomspace(1e3, 1e7, 25)
    losses = FORMULAS[law](TRUTHS[law], {"compute": compute}) * np.exp(noise * rng.normal(size=len(compute)))
    pairs = zip(compute.tolist(), losses.tolist(), strict=True)
    return cells_of(table(Point(model="", loss=loss, flops=flops) for flops, loss in pairs))


def compute_rows_of(cells: Sequence[Cell]) -> tuple[Rows, Rows]:
    """Returns every cell as a row of a law of compute, to be fitted and to be predicted."""
    rows = compute_rows(np.log([cell.flops or 0 for cell in cells]), np.log([cell.loss for cell in cells]))
    return rows, rows


def surface_rows_of(cells: Sequence[Cell]) -> tuple[Rows, Rows]:
    """Returns every cell as a row of a surface, to be fitted and to be predicted."""
    rows = surface_rows(cells, "flops", SURFACE)
    return rows, rows
