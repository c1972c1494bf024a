import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from analysis.estimators import rows as rows_file
from analysis.estimators.best_rate import Cell, cells_of
from analysis.estimators.rows import compute_rows, surface_rows
from analysis.fitting import Prior
from analysis.laws import OVER_TRAINING, POWER, REPEATED, SURFACE
from analysis.tables.points import Point
from tests.analysis.synthetic import (
    FORMULAS,
    TRUTHS,
    best_size,
    runs_of_surface,
    sample,
    study_points,
    study_records,
    table,
    tainted,
)

SIZES, DATA = np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e10, 5)


def test_rows_of_compute() -> None:
    """Each loss is a row of its own."""
    rows = compute_rows(np.array([1.0, 2.0]), np.array([0.5, 0.4]))
    assert rows.count == 2
    assert rows.log_values["compute"].tolist() == rows.log_compute.tolist() == [1.0, 2.0]
    assert rows.owner.tolist() == [0, 1]
    assert rows.only(np.array([False, True])).log_loss.tolist() == [0.4]


def test_every_run_is_a_row_in_the_order_it_was_given() -> None:
    """Whatever the compute, the rows of a surface come as the table had them."""
    points = runs_of_surface(SIZES, DATA)
    order = np.random.default_rng(0).permutation(len(points))
    shuffled = [points[i] for i in order]
    rows = surface_rows(cells_of(table(shuffled)), "flops", SURFACE)
    assert np.exp(rows.log_loss) == pytest.approx([p.loss for p in shuffled])
    assert np.exp(rows.log_values["params"]) == pytest.approx([p.params for p in shuffled])
    assert np.exp(rows.log_values["data"]) == pytest.approx([p.tokens for p in shuffled])
    assert np.exp(rows.log_compute) == pytest.approx([p.flops for p in shuffled])


def test_seeds_of_a_cell_are_rows_with_one_owner() -> None:
    """Each seed at the best rate counts, and all of a cell are resampled together."""
    cells = cells_of(study_points(study_records(seeds=3, noise=0.01)))
    rows = surface_rows(cells, "core_hours", SURFACE)
    assert rows.count == 3 * len(cells)
    assert np.bincount(rows.owner).tolist() == [3] * len(cells)
    for i in range(len(cells)):
        assert len(set(rows.log_values["params"][rows.owner == i])) == 1


def test_a_tainted_run_is_a_row_of_less_weight() -> None:
    """Beside untainted seeds too: the mean of a cell leaves it out, a surface counts it a quarter."""
    records = study_records(seeds=3, noise=0.01)
    rows = surface_rows(
        cells_of(study_points(tainted(run) if run.trial.seed == 0 else run for run in records)), "core_hours", SURFACE
    )
    assert rows.count == len(records) / 3
    for cell in range(int(rows.owner.max()) + 1):
        assert sorted(rows.weights[rows.owner == cell]) == [0.25, 1.0, 1.0]
    assert rows.only(rows.weights < 1).weights.tolist() == [0.25] * (rows.count // 3)


def test_cells_without_size_or_data_are_left_out() -> None:
    """They cannot carry a surface, and their neighbours keep their owners."""
    points = runs_of_surface(SIZES, DATA)
    lame = [replace(points[0], params=None), replace(points[1], tokens=None), *points[2:]]
    rows = surface_rows(cells_of(table(lame)), "flops", SURFACE)
    assert rows.count == len(points) - 2
    assert sorted(set(rows.owner.tolist())) == list(range(len(points) - 2))


def test_a_fit_of_rows_is_the_fit_of_the_law() -> None:
    """Rows of a known surface give it back, by every law that it obeys, and priors are passed on."""
    rows = surface_rows(cells_of(table(runs_of_surface(SIZES, DATA))), "flops", SURFACE)
    found = rows.fit(SURFACE, delta=1e-3)
    for name, value in TRUTHS["surface"].items():
        assert found.parameters[name][0] == pytest.approx(value, rel=1e-6), name
    pinned = rows.fit(SURFACE, delta=1e-3, priors=(Prior(parameter="E", value=1.4),))
    assert pinned.parameters["E"][0] == pytest.approx(1.4)
    even = TRUTHS["surface"] | {"alpha": 0.3, "beta": 0.3}
    rows = surface_rows(cells_of(table(runs_of_surface(SIZES, DATA, truth=even))), "flops", OVER_TRAINING)
    assert rows.fit(OVER_TRAINING, delta=None).parameters["eta"][0] == pytest.approx(0.15, rel=1e-6)


def test_the_design_reads_the_rows() -> None:
    """The solver sees the same variables."""
    known = sample("power")
    rows = compute_rows(known.log_values["compute"], known.log_loss)
    design = rows.design(POWER, delta=None)
    assert design.log_values["compute"].tolist() == known.log_values["compute"].tolist()


def repeated_runs(where: Iterable[tuple[float, float, float]]) -> tuple[Cell, ...]:
    """Cells of (size, data, pool) on the law of repeated data, U_N being the best size for what is distinct."""
    points: list[Point] = []
    for n, d, pool in where:
        unique = min(d, pool)
        x = {"params": n, "data": d, "unique_data": unique, "useful_params": min(n, _size_for(unique))}
        loss = float(FORMULAS["repeated"](TRUTHS["repeated"], x))
        points.append(Point(model=f"n{n:g}", loss=loss, flops=6 * n * d, params=n, tokens=d, unique_tokens=unique))
    return cells_of(table(points))


def test_useful_params_and_the_law_of_repeated_data_are_found_together() -> None:
    """U_N is the size whose best amount of data is U, never more than the run's own (arXiv:2305.16264 sec. 3.1)."""
    where = [
        (share * _size_for(pool), passes * pool, pool)
        for pool in (1e8, 1e9, 1e10)
        for share in np.geomspace(0.1, 10.0, 5)
        for passes in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    ]
    rows = surface_rows(repeated_runs(where), "flops", REPEATED)
    wanted = np.minimum(np.exp(rows.log_values["params"]), [_size_for(min(d, pool)) for _, d, pool in where])
    assert np.exp(rows.log_values["useful_params"]) == pytest.approx(wanted, rel=0.01)
    found = rows.fit(REPEATED, delta=1e-3)
    for name, value in TRUTHS["repeated"].items():
        assert found.parameters[name][0] == pytest.approx(value, rel=0.01), name


@pytest.mark.parametrize(("amounts", "pool"), [(7, 1e9), (5, 3e8)])
def test_the_search_for_useful_params_ends_no_worse_than_it_began(
    amounts: int, pool: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a wide grid of sizes, most of them in excess, the law fits after the rounds as well as after none."""
    cells = repeated_runs((n, d, pool) for n in SIZES for d in np.geomspace(1e7, 1e10, amounts))
    ended = surface_rows(cells, "flops", REPEATED).fit(REPEATED, delta=1e-3).objective[0]
    monkeypatch.setattr(rows_file, "_ROUNDS", 0)
    began = surface_rows(cells, "flops", REPEATED).fit(REPEATED, delta=1e-3).objective[0]
    assert ended <= began


def _size_for(data: float) -> float:
    """The N whose compute-optimal D is `data`, by bisection on the budget."""
    low, high = 1.0, 1e40
    for _ in range(200):
        budget = math.sqrt(low * high)
        wanted = budget / 6 / best_size(TRUTHS["surface"], budget)
        low, high = (budget, high) if wanted < data else (low, budget)
    return best_size(TRUTHS["surface"], low)


def test_distinct_data_are_never_more_than_all_data() -> None:
    """A table that names a pool larger than what was seen repeats nothing."""
    points = [replace(p, unique_tokens=1e12) for p in runs_of_surface(SIZES, DATA)]
    rows = surface_rows(cells_of(table(points)), "flops", SURFACE)
    assert (rows.log_values["unique_data"] == rows.log_values["data"]).all()
