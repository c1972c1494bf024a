import math
from collections.abc import Sequence

import numpy as np
import pytest

from analysis.estimators.best_rate import Cell, cells_of
from analysis.estimators.rows import Rows, surface_rows
from analysis.fitting import Prior
from analysis.laws import LAWS, OVER_TRAINING, POWER, POWER_FLOOR, REPEATED, SURFACE, Law
from analysis.trust.forms import FormScore, score_forms
from tests.analysis.synthetic import TRUTHS, cells_on, compute_rows_of, runs_of_surface, surface_rows_of, table

SIZES, DATA = np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e10, 6)
CONTAINED = {
    "power": {"power"},
    "power_floor": {"power", "power_floor"},
    "saturating": {"power", "power_floor", "saturating"},
    "broken": {"power", "power_floor", "saturating", "broken"},
}
"""Each form of compute with those it has as special cases; a break of width 1 with b = 0 is a shift."""


def of_compute(
    fitted: Law, law: str, noise: float, *, priors: tuple[Prior, ...] = (), random_seed: int = 0
) -> dict[str, FormScore]:
    """The forms on cells of a law of compute, in their order."""
    some = cells_on(law, noise=noise, random_seed=random_seed)
    scores = score_forms(
        fitted, some, "flops", compute_rows_of, delta=None, priors=priors, level=0.9, has_repeats=False
    )
    return {score.name: score for score in scores}


@pytest.mark.parametrize("law", CONTAINED)
def test_the_true_form_of_compute_predicts_best(law: str) -> None:
    """On clean losses it predicts exactly and has the best criterion; only forms that contain it may come before."""
    found = of_compute(POWER, law, 0.0)
    before = list(found)[: list(found).index(law)]
    assert all(law in CONTAINED[name] for name in before)
    assert found[law].held_out_rms == pytest.approx(0.0, abs=1e-5)
    assert found[law].aicc == 0.0
    assert found[next(iter(found))].converged
    assert [name for name, score in found.items() if score.is_fitted] == ["power"]
    for name, score in found.items():
        if law not in CONTAINED[name]:
            assert (score.held_out_rms or 0) > 0.01


@pytest.mark.parametrize(("law", "noise"), [("power_floor", 1e-4), ("saturating", 1e-3)])
def test_forms_are_compared_on_the_same_held_out_runs(law: str, noise: float) -> None:
    """A form whose fit failed below some cuts is not judged by the easier runs that are left."""
    found = of_compute(POWER, law, noise)
    assert len({score.held_out_predictions for score in found.values() if score.held_out_rms is not None}) == 1


def test_a_straight_line_needs_no_more_than_a_line() -> None:
    """On noisy power-law losses the line has the best criterion, though richer forms of it fit at least as closely."""
    found = of_compute(POWER, "power", 0.01, random_seed=4)
    assert found["power"].aicc == 0.0
    for name in ("power_floor", "saturating"):
        assert found[name].batch.objective[0] <= found["power"].batch.objective[0] * (1 + 1e-6), name


@pytest.mark.parametrize("delta", [None, 1e-3])
def test_the_true_form_of_size_and_data_comes_first(delta: float | None) -> None:
    """A surface with two exponents is told from one with one and from one without a floor."""
    some = cells_of(table(runs_of_surface(SIZES, DATA, noise=1e-4, truth=TRUTHS["surface"] | {"beta": 0.25})))
    found = score_forms(SURFACE, some, "flops", surface_rows_of, delta=delta, priors=(), level=0.9, has_repeats=False)
    assert found[0].name == "surface"
    assert {score.name for score in found} == {"surface", "surface, E = 0", "over_training"}
    assert found[0].is_fitted and found[0].weight == pytest.approx(1.0, abs=1e-6)
    floorless = next(score for score in found if score.name == "surface, E = 0")
    assert floorless.free_parameters == 4 and "E" not in floorless.formula
    assert floorless.batch.parameters["E"][0] < 1e-6
    assert next(s for s in found if s.name == "over_training").law == OVER_TRAINING


def test_repetition_competes_where_data_were_repeated() -> None:
    """Only then is its law among the forms."""
    some = cells_of(table(runs_of_surface(SIZES, DATA, noise=1e-3)))
    names: dict[bool, set[str]] = {}
    for has in (False, True):
        scores = score_forms(
            SURFACE, some, "flops", repeated_rows_of, delta=1e-3, priors=(), level=0.9, has_repeats=has
        )
        names[has] = {score.name for score in scores}
    assert names[True] - names[False] == {"repeated"}


def repeated_rows_of(cells: Sequence[Cell]) -> tuple[Rows, Rows]:
    """Every cell as a row of the law of repeated data."""
    rows = surface_rows(cells, "flops", REPEATED)
    return rows, rows


def test_the_criterion_is_aicc() -> None:
    """n log(mean square) + 2k + 2k(k + 1)/(n - k - 1) less the least, the scale a parameter; weights add to 1."""
    found = of_compute(POWER_FLOOR, "power_floor", 0.01)
    x = np.log([c.flops or 0 for c in cells_on("power_floor")])
    y = np.log([c.loss for c in cells_on("power_floor", noise=0.01)])
    raw: dict[str, float] = {}
    for name, score in found.items():
        values = {key: float(value[0]) for key, value in score.batch.parameters.items()}
        residual = LAWS[name].log_loss(values, {"compute": x}) - y
        k, n = score.free_parameters + 1, len(y)
        raw[name] = n * math.log((residual**2).mean()) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    least = min(raw.values())
    total = sum(math.exp((least - value) / 2) for value in raw.values())
    for name, score in found.items():
        assert score.aicc == pytest.approx(raw[name] - least, abs=1e-6)
        assert score.weight == pytest.approx(math.exp((least - raw[name]) / 2) / total, rel=1e-6)


def test_priors_hold_for_the_fitted_form_alone() -> None:
    """What is known of the floor of the fitted law is not forced on its rivals."""
    found = of_compute(POWER_FLOOR, "power_floor", 0.001, priors=(Prior(parameter="E", value=1.0),))
    assert found["power_floor"].batch.parameters["E"][0] == pytest.approx(1.0)
    assert found["power_floor"].free_parameters == 2
    assert found["saturating"].batch.parameters["E"][0] != pytest.approx(1.0, abs=1e-3)


def test_forms_come_in_the_order_of_what_they_predict() -> None:
    """Never in that of r2, which every further parameter raises; a form without a back-test is last."""
    scores = list(of_compute(POWER, "broken", 0.01).values())
    known = [score.held_out_rms for score in scores if score.held_out_rms is not None]
    assert known == sorted(known)
    assert [score.held_out_rms is None for score in scores] == sorted(score.held_out_rms is None for score in scores)


def test_forms_with_more_parameters_than_rows_allow_do_not_compete() -> None:
    """Seven rows carry a line and a floor, and no break."""
    few = cells_on("power_floor", noise=0.01)[::4]
    scores = score_forms(POWER, few, "flops", compute_rows_of, delta=None, priors=(), level=0.9, has_repeats=False)
    assert len(few) == 7
    assert {score.name for score in scores} == {"power", "power_floor", "saturating"}
