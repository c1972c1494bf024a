import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from analysis.estimators.bootstrap import case_weights
from analysis.fitting import FitBatch, Prior, fit_law, fit_many, huber
from analysis.laws import LAWS, SURFACE, Law, Power, Term
from analysis.solver.quantiles import interval
from tests.analysis.synthetic import CHINCHILLA, DAMAGES, FORMULAS, TRUTHS, read_csv, sample, variables

HELD = [(law, name) for law in LAWS for name in LAWS[law].parameters]
EXPONENTS = {"b": (0.1, 0.6), "c": (0.15, 0.6), "alpha": (0.15, 0.6), "beta": (0.15, 0.6), "eta": (0.1, 0.3)}
SHAPES = {"d": (3e3, 5e4), "f": (0.1, 0.4), "R_params": (2.0, 8.0), "R_data": (2.0, 20.0)}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("law", LAWS)
def test_every_law_is_recovered_from_every_kind_of_sample(law: str, damage: str) -> None:
    """The Huber fit returns the true parameters, closely wherever nothing but the law made the rows."""
    rows = DAMAGES[damage](law)
    fit = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=1e-3)
    assert fit.converged.all()
    tolerance = {"noisy": 0.1, "outlier": 0.02}.get(damage, 1e-8)
    for name, value in rows.truth.items():
        assert fit.parameters[name][0] == pytest.approx(value, rel=tolerance), name


@settings(max_examples=8)
@given(data=st.data())
@pytest.mark.parametrize("delta", [None, 1e-3])
@pytest.mark.parametrize("law", LAWS)
def test_any_truth_is_recovered_from_rows_without_noise(law: str, delta: float | None, data: st.DataObject) -> None:
    """Whatever the exponents, shapes and sizes of the terms: exponents come back to 1e-8, coefficients to 1e-6.

    A bend may have a flat direction: such a curve comes back to 1e-6, its parameters to 1e-3.
    """
    truth = random_truth(law, data)
    rows = sample(law, truth=truth)
    fit = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=delta)
    found = {name: float(values[0]) for name, values in fit.parameters.items()}
    assert LAWS[law].log_loss(found, rows.log_values) == pytest.approx(rows.log_loss, abs=1e-6)
    assert fit.converged.all() or LAWS[law].shapes
    for name, value in truth.items():
        tolerance = 1e-3 if LAWS[law].shapes else 1e-8 if name in LAWS[law].exponents else 1e-6
        assert fit.parameters[name][0] == pytest.approx(value, rel=tolerance), name


def random_truth(law: str, data: st.DataObject) -> dict[str, float]:
    """Exponents, shapes, and coefficients that make each term between a fifth of and three times the floor."""
    known = LAWS[law]
    truth = {name: data.draw(st.floats(*EXPONENTS[name]), label=name) for name in known.exponents}
    truth |= {name: data.draw(st.floats(*SHAPES[name]), label=name) for name in known.shapes}
    middle = {name: math.exp(np.log(x).mean()) for name, x in variables(law).items()}
    for name in known.coefficients:
        alone = FORMULAS[law](truth | dict.fromkeys(known.coefficients, 0.0) | {name: 1.0}, middle)
        truth[name] = data.draw(st.floats(0.2, 3.0), label=f"size of {name}") / float(alone)
    return truth


@pytest.mark.parametrize("delta", [None, 1e-3])
@pytest.mark.parametrize("law", LAWS)
def test_true_parameters_lie_in_their_intervals(law: str, delta: float | None) -> None:
    """The case bootstrap of noisy rows covers what generated them."""
    rows = sample(law, noise=0.003, random_seed=3)
    fit = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=delta)
    weights = case_weights(len(rows.log_loss), 200, np.random.default_rng(0))
    drawn = fit_many(LAWS[law], rows.log_values, rows.log_loss[None], weights, start=fit, delta=delta)
    assert drawn.converged.mean() > 0.95
    for name, value in rows.truth.items():
        bounds = interval(drawn.parameters[name], level=0.95)
        assert bounds is not None
        assert bounds[0] < value < bounds[1], name


@pytest.mark.parametrize("law", LAWS)
def test_no_descent_from_the_fit_is_left(law: str) -> None:
    """SciPy, started at the fit and beside it, finds nothing lower: the objective is at its minimum."""
    rows = sample(law, noise=0.01, random_seed=5)
    fit = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=1e-3)
    best = np.array([fit.parameters[name][0] for name in LAWS[law].parameters])

    def objective(scale: np.ndarray) -> float:
        values = dict(zip(LAWS[law].parameters, best * np.exp(scale), strict=True))
        return 1e3 * float(huber(np.log(FORMULAS[law](values, variables(law))) - rows.log_loss, 1e-3).sum())

    assert objective(np.zeros(len(best))) == pytest.approx(1e3 * fit.objective[0])
    for start in (np.zeros(len(best)), 0.02 * np.random.default_rng(1).normal(size=len(best))):
        found = minimize(objective, start, method="Nelder-Mead", options={"maxiter": 2000, "xatol": 1e-10})
        assert found.fun >= objective(np.zeros(len(best))) * (1 - 1e-6)


@pytest.mark.parametrize("random_seed", [0, 3])
def test_twenty_starts_of_lbfgs_find_nothing_better(random_seed: int) -> None:
    """The field's own recipe, L-BFGS-B with the analytic gradient from twenty starts, ends no lower."""
    rows = sample("surface", noise=0.02, random_seed=random_seed)
    log_n, log_d = rows.log_values["params"], rows.log_values["data"]

    def objective(theta: np.ndarray) -> tuple[float, np.ndarray]:
        a, b, e, alpha, beta = theta
        terms = np.stack([a - alpha * log_n, b - beta * log_d, np.full_like(log_n, e)])
        predicted = np.logaddexp(np.logaddexp(terms[0], terms[1]), terms[2])
        share = np.exp(terms - predicted)
        residual = predicted - rows.log_loss
        slope = np.clip(residual, -1e-3, 1e-3)
        by_theta = np.stack([share[0], share[1], share[2], -share[0] * log_n, -share[1] * log_d])
        return 1e3 * float(huber(residual, 1e-3).sum()), 1e3 * (by_theta * slope).sum(axis=1)

    rng = np.random.default_rng(random_seed)
    starts = rng.uniform([0, 0, -1, 0, 0], [25, 25, 1, 2, 2], size=(20, 5))
    theirs = min(minimize(objective, start, jac=True, method="L-BFGS-B").fun for start in starts)
    ours = fit_law(SURFACE, rows.log_values, rows.log_loss, delta=1e-3)
    assert 1e3 * ours.objective[0] <= theirs * (1 + 1e-9)


def test_a_straight_line_is_ordinary_least_squares() -> None:
    """The power law by least squares is the line that numpy fits in log-log."""
    rows = sample("power", noise=0.02)
    fit = fit_law(LAWS["power"], rows.log_values, rows.log_loss, delta=None)
    slope, intercept = np.polyfit(rows.log_values["compute"], rows.log_loss, 1)
    assert fit.parameters["b"][0] == pytest.approx(-slope)
    assert np.log(fit.parameters["a"][0]) == pytest.approx(intercept)
    weights = np.ones((3, len(rows.log_loss)))
    drawn = fit_many(LAWS["power"], rows.log_values, weights * rows.log_loss, weights, start=fit, delta=None)
    assert drawn.parameters["b"] == pytest.approx(np.full(3, -slope))
    squares = 0.5 * ((rows.log_loss - intercept - slope * rows.log_values["compute"]) ** 2).sum()
    assert drawn.objective == pytest.approx(np.full(3, squares))


def test_the_closed_form_of_lines_is_where_newton_ends() -> None:
    """Weighted lines of many members in closed form equal those that are minimised one by one."""
    rows = sample("power", noise=0.02)
    x = rows.log_values["compute"]
    weights = np.random.default_rng(0).integers(0, 4, size=(5, 48)).astype(float)
    start = fit_law(LAWS["power"], rows.log_values, rows.log_loss, delta=None)
    drawn = fit_many(LAWS["power"], rows.log_values, rows.log_loss[None], weights, start=start, delta=None)
    for i in range(5):
        slope, intercept = np.polyfit(x, rows.log_loss, 1, w=np.sqrt(weights[i]))
        assert drawn.parameters["b"][i] == pytest.approx(-slope)
        assert np.log(drawn.parameters["a"][i]) == pytest.approx(intercept)


def test_a_line_through_one_compute_is_not_converged() -> None:
    """A resample that drew one compute only has no slope, and says so."""
    rows = sample("power", noise=0.02)
    start = fit_law(LAWS["power"], rows.log_values, rows.log_loss, delta=None)
    weights = np.zeros((2, 48))
    weights[0, 5], weights[1] = 48.0, 1.0
    drawn = fit_many(LAWS["power"], rows.log_values, rows.log_loss[None], weights, start=start, delta=None)
    assert drawn.converged.tolist() == [False, True]


@pytest.mark.parametrize("delta", [None, 1e-3])
@pytest.mark.parametrize(("law", "name"), HELD)
def test_pins_hold_exactly(law: str, name: str, delta: float | None) -> None:
    """A parameter with a standard deviation of zero is its value in the fit, and in every resample of it."""
    rows = sample(law, noise=0.003, random_seed=3)
    prior = Prior(parameter=name, value=1.02 * TRUTHS[law][name])
    fit = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=delta, priors=(prior,))
    assert fit.parameters[name][0] == pytest.approx(prior.value, rel=1e-9)
    weights = case_weights(48, 3, np.random.default_rng(0))
    drawn = fit_many(LAWS[law], rows.log_values, rows.log_loss[None], weights, start=fit, delta=delta, priors=(prior,))
    assert drawn.parameters[name] == pytest.approx(np.full(3, prior.value), rel=1e-9)


@pytest.mark.parametrize(("law", "name"), HELD)
def test_a_pin_at_the_estimate_changes_nothing(law: str, name: str) -> None:
    """Holding a parameter where the free fit has it gives the other parameters and the objective of the free fit."""
    rows = sample(law, noise=0.003, random_seed=3)
    free = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=1e-3)
    prior = Prior(parameter=name, value=float(free.parameters[name][0]))
    held = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=1e-3, priors=(prior,))
    assert held.objective[0] == pytest.approx(free.objective[0], rel=1e-6)
    for other in LAWS[law].parameters:
        assert held.parameters[other][0] == pytest.approx(free.parameters[other][0], rel=1e-3), other


@pytest.mark.parametrize("delta", [None, 1e-3])
@pytest.mark.parametrize("name", SURFACE.parameters)
def test_a_tight_prior_pulls_and_a_loose_one_does_not(name: str, delta: float | None) -> None:
    """What is known to a thousandth is kept, what is known to a factor of a hundred is left to the rows."""
    rows = sample("surface", noise=0.003, random_seed=3)
    free = fit_law(SURFACE, rows.log_values, rows.log_loss, delta=delta)
    value = 1.05 * float(free.parameters[name][0])

    def pulled(sd: float) -> float:
        priors = (Prior(parameter=name, value=value, sd=sd),)
        return float(fit_law(SURFACE, rows.log_values, rows.log_loss, delta=delta, priors=priors).parameters[name][0])

    assert pulled(1e-4 * value) == pytest.approx(value, rel=1e-3)
    assert pulled(100 * value) == pytest.approx(float(free.parameters[name][0]), rel=1e-3)
    low, high = sorted((float(free.parameters[name][0]), value))
    assert low < pulled(0.02 * value) < high


def test_a_prior_counts_against_the_scatter_of_the_rows() -> None:
    """For a line the pulled slope is the precision-weighted mean of the rows' slope and the prior's."""
    rows = sample("power", noise=0.02)
    x = rows.log_values["compute"] - rows.log_values["compute"].mean()
    slope = -float(np.polyfit(x, rows.log_loss, 1)[0])
    residual = rows.log_loss - np.polyval(np.polyfit(x, rows.log_loss, 1), x)
    precision = float(x @ x) / (float(residual @ residual) / 46)
    sd = 1.5 / math.sqrt(precision)
    prior = Prior(parameter="b", value=slope + 0.01, sd=sd)
    found = fit_law(LAWS["power"], rows.log_values, rows.log_loss, delta=None, priors=(prior,))
    share = (1 / sd**2) / (1 / sd**2 + precision)
    # The curve is a straight line in log-log, so this is exact; the objective leaves the prior out.
    assert found.parameters["b"][0] == pytest.approx(slope + 0.01 * share, rel=1e-6)
    without = 0.5 * ((residual + (found.parameters["b"][0] - slope) * x) ** 2).sum()
    assert found.objective[0] == pytest.approx(without, rel=1e-6)


@pytest.mark.parametrize("delta", [None, 1e-3])
@pytest.mark.parametrize("law", LAWS)
def test_integer_weights_are_repeated_rows(law: str, delta: float | None) -> None:
    """A row that counts thrice is a row that stands there three times, and one that counts nothing is not there."""
    rows = sample(law, noise=0.003, random_seed=3)
    weights = np.random.default_rng(0).integers(0, 4, 48)
    one = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=delta, weights=weights.astype(float))
    repeated = {name: np.repeat(x, weights) for name, x in rows.log_values.items()}
    other = fit_law(LAWS[law], repeated, np.repeat(rows.log_loss, weights), delta=delta)
    assert one.objective[0] == pytest.approx(other.objective[0], rel=1e-8)
    for name in LAWS[law].exponents:
        assert one.parameters[name][0] == pytest.approx(other.parameters[name][0], rel=1e-4), name


def test_a_row_without_weight_may_have_no_loss() -> None:
    """Losses that are missing where nothing is drawn leave the fit as it is."""
    rows = sample("power_floor", noise=0.003)
    start = fit_law(LAWS["power_floor"], rows.log_values, rows.log_loss, delta=None)
    weights, y = np.ones((1, 48)), rows.log_loss[None].copy()
    weights[0, 7] = 0.0
    kept = fit_many(LAWS["power_floor"], rows.log_values, y, weights, start=start, delta=None)
    y[0, 7] = np.inf
    found = fit_many(LAWS["power_floor"], rows.log_values, y, weights, start=start, delta=None)
    assert found.converged.all()
    assert found.parameters["b"] == pytest.approx(kept.parameters["b"], rel=1e-9)


@pytest.mark.parametrize("law", LAWS)
def test_the_order_of_rows_does_not_matter(law: str) -> None:
    """Rows in another order give the same fit."""
    rows = sample(law, noise=0.01, random_seed=5)
    order = np.random.default_rng(0).permutation(48)
    one = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=1e-3)
    turned = {name: x[order] for name, x in rows.log_values.items()}
    other = fit_law(LAWS[law], turned, rows.log_loss[order], delta=1e-3)
    assert other.objective[0] == pytest.approx(one.objective[0], rel=1e-9)
    for name in LAWS[law].exponents:
        assert other.parameters[name][0] == pytest.approx(one.parameters[name][0], rel=1e-5), name


@given(st.sampled_from([1e-9, 1e-3, 1e3, 1e6]), st.sampled_from([1e-9, 1e-3, 1.0, 1e6]))
def test_units_change_coefficients_and_nothing_else(per_n: float, per_d: float) -> None:
    """Sizes and data counted in other units change A by the unit to the power alpha, B likewise."""
    rows = sample("surface", noise=0.003, random_seed=3)
    one = fit_law(SURFACE, rows.log_values, rows.log_loss, delta=1e-3)
    moved = {"params": rows.log_values["params"] + math.log(per_n), "data": rows.log_values["data"] + math.log(per_d)}
    other = fit_law(SURFACE, moved, rows.log_loss, delta=1e-3)
    was = {name: float(value[0]) for name, value in one.parameters.items()}
    now = {name: float(value[0]) for name, value in other.parameters.items()}
    for name in ("E", "alpha", "beta"):
        assert now[name] == pytest.approx(was[name], rel=1e-6)
    assert now["A"] == pytest.approx(was["A"] * per_n ** was["alpha"], rel=1e-4)
    assert now["B"] == pytest.approx(was["B"] * per_d ** was["beta"], rel=1e-4)
    assert other.objective[0] == pytest.approx(one.objective[0], rel=1e-9)


@settings(max_examples=20)
@given(st.floats(1e-3, 1e3))
def test_the_unit_of_loss_changes_coefficients_alone(unit: float) -> None:
    """Losses in other units (nats, bits) multiply floor and coefficients, for relative errors are what counts."""
    rows = sample("surface", noise=0.003, random_seed=3)
    one = fit_law(SURFACE, rows.log_values, rows.log_loss, delta=1e-3)
    other = fit_law(SURFACE, rows.log_values, rows.log_loss + math.log(unit), delta=1e-3)
    for name in ("E", "A", "B"):
        assert other.parameters[name][0] == pytest.approx(unit * one.parameters[name][0], rel=1e-4)
    for name in ("alpha", "beta"):
        assert other.parameters[name][0] == pytest.approx(one.parameters[name][0], rel=1e-5)


@pytest.mark.parametrize("law", LAWS)
def test_read_only_and_single_precision_rows_are_fitted(law: str) -> None:
    """Input that pandas or a file hands over as it is does not need a copy, and is not written to."""
    rows = sample(law)
    log_values = {name: values.astype(np.float32) for name, values in rows.log_values.items()}
    log_loss = rows.log_loss.astype(np.float32)
    for values in (*log_values.values(), log_loss):
        values.setflags(write=False)
    fit = fit_law(LAWS[law], log_values, log_loss, delta=1e-3)  # pyright: ignore[reportArgumentType]
    assert all(value.dtype == np.float64 for value in fit.parameters.values())
    # Rounding a log of 20 to single precision moves it by a millionth.
    for name in LAWS[law].exponents:
        assert fit.parameters[name][0] == pytest.approx(TRUTHS[law][name], rel=1e-3), name


@pytest.mark.parametrize("delta", [None, 1e-3])
def test_twenty_thousand_rows_are_fitted(delta: float | None) -> None:
    """Many rows are no special case: the exponents come out to the thousandth that their noise allows."""
    rng = np.random.default_rng(0)
    n, d = np.exp(rng.uniform(np.log(1e6), np.log(1e9), 20_000)), np.exp(rng.uniform(np.log(1e7), np.log(1e10), 20_000))
    truth = TRUTHS["surface"]
    y = np.log(FORMULAS["surface"](truth, {"params": n, "data": d})) + 0.01 * rng.normal(size=20_000)
    fit = fit_law(SURFACE, {"params": np.log(n), "data": np.log(d)}, y, delta=delta)
    assert fit.converged.all()
    assert fit.parameters["alpha"][0] == pytest.approx(truth["alpha"], rel=0.02)
    assert fit.parameters["beta"][0] == pytest.approx(truth["beta"], rel=0.02)
    assert fit.parameters["E"][0] == pytest.approx(truth["E"], rel=0.02)


def test_one_member_of_a_batch() -> None:
    """A member is a batch of one with its own numbers."""
    rows = sample("power_floor", noise=0.003)
    start = fit_law(LAWS["power_floor"], rows.log_values, rows.log_loss, delta=None)
    weights = case_weights(48, 4, np.random.default_rng(0))
    batch = fit_many(LAWS["power_floor"], rows.log_values, rows.log_loss[None], weights, start=start, delta=None)
    third: FitBatch = batch.member(2)
    assert {name: value.tolist() for name, value in third.parameters.items()} == {
        name: [value[2]] for name, value in batch.parameters.items()
    }
    assert third.objective.tolist() == [batch.objective[2]]
    assert third.converged.tolist() == [batch.converged[2]]


def test_resamples_may_differ_in_losses_or_in_weights() -> None:
    """Losses of shape (1, n) with many weights, and weights of shape (1, n) with many losses, are both many fits."""
    rows = sample("surface", noise=0.003)
    start = fit_law(SURFACE, rows.log_values, rows.log_loss, delta=1e-3)
    ones = np.ones((1, 48))
    by_weight = fit_many(SURFACE, rows.log_values, rows.log_loss[None], np.ones((3, 48)), start=start, delta=1e-3)
    by_loss = fit_many(SURFACE, rows.log_values, np.tile(rows.log_loss, (3, 1)), ones, start=start, delta=1e-3)
    for found in (by_weight, by_loss):
        assert found.objective == pytest.approx(np.full(3, start.objective[0]), rel=1e-9)


def test_a_new_law_is_only_its_terms() -> None:
    """A law of one's own, two powers of compute over no floor, is fitted without a word to the solver."""
    mine = Law(
        name="mine",
        formula="L = a C^-b + g C^-h",
        source="arXiv:0000.00000",
        terms=tuple(
            Term(coefficient=c, powers=(Power(exponent=e, variable="compute"),)) for c, e in (("a", "b"), ("g", "h"))
        ),
        fits_frontier=True,
    )
    x = np.log(np.geomspace(1.0, 1e6, 60))
    y = np.log(3.0 * np.exp(-0.05 * x) + 4.0 * np.exp(-0.6 * x))
    fit = fit_law(mine, {"compute": x}, y, delta=None)
    found = sorted(zip((fit.parameters[e][0] for e in "bh"), (fit.parameters[c][0] for c in "ag"), strict=True))
    assert np.ravel(found) == pytest.approx([0.05, 3.0, 0.6, 4.0], rel=1e-6)


def test_nothing_depends_on_a_laws_name() -> None:
    """A line that is not called power goes the general way and ends at the same parameters."""
    rows = sample("power", noise=0.02)
    renamed = replace(LAWS["power"], name="line")
    weights = case_weights(48, 5, np.random.default_rng(0))

    def drawn(law: Law) -> Mapping[str, np.ndarray]:
        start = fit_law(law, rows.log_values, rows.log_loss, delta=None)
        return fit_many(law, rows.log_values, rows.log_loss[None], weights, start=start, delta=None).parameters

    assert drawn(renamed)["b"] == pytest.approx(drawn(LAWS["power"])["b"], rel=1e-8)


@pytest.mark.skipif(not CHINCHILLA.is_file(), reason="the digitised Chinchilla points are not shipped with the project")
def test_the_chinchilla_points_give_the_best_known_objective() -> None:
    """On 240 rows the sum of Huber reaches the least value known, with the parameters published for it."""
    rows = sorted(read_csv(CHINCHILLA), key=lambda row: float(row["loss"]))[:240]
    log_n = np.log([float(row["Model Size"]) for row in rows])
    log_c = np.log([float(row["Training FLOP"]) for row in rows])
    log_loss = np.log([float(row["loss"]) for row in rows])
    fit = fit_law(SURFACE, {"params": log_n, "data": log_c - np.log(6) - log_n}, log_loss, delta=1e-3)
    assert fit.objective[0] <= 1.0182740180e-3
    wanted = {"A": 477.82587, "B": 2143.4173, "E": 1.81721810, "alpha": 0.34731050, "beta": 0.36717243}
    for name, value in wanted.items():
        assert fit.parameters[name][0] == pytest.approx(value, rel=1e-6)
    squares = fit_law(SURFACE, {"params": log_n, "data": log_c - np.log(6) - log_n}, log_loss, delta=None)
    least = {"A": 593.32, "B": 4875.6, "E": 1.8645501, "alpha": 0.360253, "beta": 0.405883}
    for name, value in least.items():
        assert squares.parameters[name][0] == pytest.approx(value, rel=1e-5)
