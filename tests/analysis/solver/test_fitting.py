import numpy as np
import pytest
from scipy.optimize import minimize

from analysis.trust.bootstrap import case_weights, interval
from analysis.fitting import fit_law, fit_many, huber
from analysis.laws import LAWS
from tests.analysis.synthetic import CHINCHILLA, DAMAGES, TRUTHS, sample


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("law", LAWS)
def test_every_law_is_recovered_from_every_kind_of_sample(law: str, damage: str) -> None:
    """The Huber fit returns the true parameters, closely wherever nothing but the law made the rows."""
    rows = DAMAGES[damage](law)
    fit = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=1e-3)
    assert fit.converged.all()
    tolerance = {"noisy": 0.4, "outlier": 0.05}.get(damage, 1e-6)
    for name, value in rows.truth.items():
        assert fit.parameters[name][0] == pytest.approx(value, rel=tolerance), name


@pytest.mark.parametrize("delta", [None, 1e-3])
@pytest.mark.parametrize("law", LAWS)
def test_true_exponents_lie_in_their_intervals(law: str, delta: float | None) -> None:
    """The case bootstrap of noisy rows covers what generated them."""
    rows = sample(law, noise=0.003, random_seed=3)
    fit = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=delta)
    weights = case_weights(len(rows.log_loss), 400, np.random.default_rng(0))
    drawn = fit_many(
        LAWS[law], rows.log_values, np.broadcast_to(rows.log_loss, weights.shape), weights, start=fit, delta=delta
    )
    assert drawn.converged.mean() > 0.99
    for name, value in rows.truth.items():
        bounds = interval(drawn.parameters[name])
        assert bounds is not None
        assert bounds[0] < value < bounds[1], name


@pytest.mark.parametrize("law", LAWS)
def test_no_descent_from_the_fit_is_left(law: str) -> None:
    """SciPy, started at the fit and around it, finds nothing lower: the objective is at its minimum."""
    rows = sample(law, noise=0.01, random_seed=5)
    fit = fit_law(LAWS[law], rows.log_values, rows.log_loss, delta=1e-3)
    best = np.array([fit.parameters[name][0] for name in LAWS[law].parameters])

    def objective(scale: np.ndarray) -> float:
        values = dict(zip(LAWS[law].parameters, best * np.exp(scale), strict=True))
        return 1e3 * float(huber(LAWS[law].log_loss(values, rows.log_values) - rows.log_loss, 1e-3).sum())

    assert objective(np.zeros(len(best))) == pytest.approx(1e3 * fit.objective[0])
    for start in (np.zeros(len(best)), 0.02 * np.random.default_rng(1).normal(size=len(best))):
        found = minimize(objective, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-10})
        assert found.fun >= objective(np.zeros(len(best))) * (1 - 1e-6)


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


@pytest.mark.parametrize("law", LAWS)
def test_read_only_and_single_precision_rows_are_fitted(law: str) -> None:
    """Input that pandas or a file hands over as it is does not need a copy."""
    rows = sample(law)
    log_values = {name: values.astype(np.float32).astype(np.float64) for name, values in rows.log_values.items()}
    for values in (*log_values.values(), rows.log_loss):
        values.setflags(write=False)
    fit = fit_law(LAWS[law], log_values, rows.log_loss, delta=1e-3)
    for name, value in TRUTHS[law].items():
        assert fit.parameters[name][0] == pytest.approx(value, rel=1e-2)


@pytest.mark.skipif(not CHINCHILLA.is_file(), reason="the digitised Chinchilla points are not shipped with the project")
def test_the_chinchilla_points_give_the_best_known_objective() -> None:
    """On 240 rows the sum of Huber reaches the least value known, with the parameters published for it."""
    import csv

    with CHINCHILLA.open() as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: float(row["loss"]))[:240]
    log_n = np.log([float(row["Model Size"]) for row in rows])
    log_c = np.log([float(row["Training FLOP"]) for row in rows])
    log_loss = np.log([float(row["loss"]) for row in rows])
    log_values = {"params": log_n, "data": log_c - np.log(6) - log_n}
    fit = fit_law(LAWS["surface"], log_values, log_loss, delta=1e-3)
    assert fit.objective[0] <= 1.01827401780e-3 * (1 + 1e-9)
    wanted = {"A": 477.82587, "B": 2143.4173, "E": 1.81721810, "alpha": 0.34731050, "beta": 0.36717243}
    for name, value in wanted.items():
        assert fit.parameters[name][0] == pytest.approx(value, rel=1e-6)
