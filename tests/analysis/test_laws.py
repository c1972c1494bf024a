import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.bends import Bend, Bent
from analysis.laws import LAWS
from tests.analysis.synthetic import FORMULAS, TRUTHS, variables

BENT = [name for name, law in LAWS.items() if law.bends]
COMPUTE = np.log(np.geomspace(1e-3, 1e12, 40))


def log_variables(law: str) -> dict[str, np.ndarray]:
    """The log of every variable of a law's 48 rows."""
    return {name: np.log(values) for name, values in variables(law).items()}


@pytest.mark.parametrize("law", LAWS)
def test_the_terms_add_up_to_the_formula_of_the_paper(law: str) -> None:
    """Log loss from the table of terms is the log of the law as its source writes it."""
    found = LAWS[law].log_loss(TRUTHS[law], log_variables(law))
    assert np.exp(found) == pytest.approx(FORMULAS[law](TRUTHS[law], variables(law)), rel=1e-13)


@pytest.mark.parametrize("law", LAWS)
def test_a_law_names_its_parameters_variables_and_source(law: str) -> None:
    """The parameters are those of the truth, each once; the variables suffice; the source can be looked up."""
    known = LAWS[law]
    assert known.name == law
    assert sorted(known.parameters) == sorted(TRUTHS[law])
    assert known.parameters == known.coefficients + known.exponents + known.shapes
    only = {name: log_variables(law)[name] for name in known.variables}
    assert np.isfinite(known.log_loss(TRUTHS[law], only)).all()
    assert known.source.startswith("arXiv:")
    assert known.fits_frontier == (known.variables == ("compute",))


@pytest.mark.parametrize("law", LAWS)
def test_draws_broadcast_against_rows(law: str) -> None:
    """Parameters of shape (3, 1) against 48 rows give (3, 48), each row of it as it would be alone."""
    draws = {name: value * np.array([[0.9], [1.0], [1.1]]) for name, value in TRUTHS[law].items()}
    together = LAWS[law].log_loss(draws, log_variables(law))
    assert together.shape == (3, 48)
    for i, scale in enumerate((0.9, 1.0, 1.1)):
        alone = LAWS[law].log_loss({name: value * scale for name, value in TRUTHS[law].items()}, log_variables(law))
        assert together[i] == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("law", [name for name, law in LAWS.items() if "E" in law.coefficients])
def test_a_floor_of_zero_is_no_floor(law: str) -> None:
    """E = 0 leaves the other terms, without a warning."""
    x, truth = variables(law), TRUTHS[law] | {"E": 0.0}
    assert np.exp(LAWS[law].log_loss(truth, log_variables(law))) == pytest.approx(FORMULAS[law](truth, x), rel=1e-12)


@given(data=st.data())
@pytest.mark.parametrize("law", LAWS)
def test_no_law_rises_with_what_is_spent(law: str, data: st.DataObject) -> None:
    """With exponents above zero more compute, parameters or data never raise the loss."""
    values = {name: data.draw(st.floats(0.05, 3.0), label=name) for name in LAWS[law].parameters}
    names = ["compute"] if LAWS[law].fits_frontier else ["params", "data"]
    for name in names:
        x = log_variables(law)
        before = LAWS[law].log_loss(values, _derived(law, x))
        after = LAWS[law].log_loss(values, _derived(law, x | {name: x[name] + 0.7}))
        assert (after <= before + 1e-12).all()


def _derived(law: str, x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if law != "over_training":
        return x
    return x | {
        "six_params_squared": math.log(6) + 2 * x["params"],
        "six_data_squared": math.log(6) + 2 * x["data"],
    }


def test_over_training_is_a_surface_with_one_exponent() -> None:
    """a (6 N^2)^-eta + b (6 D^2)^-eta is a surface with alpha = beta = 2 eta."""
    truth = TRUTHS["over_training"]
    eta = truth["eta"]
    surface = {"E": truth["E"], "A": truth["a"] * 6**-eta, "B": truth["b"] * 6**-eta, "alpha": 2 * eta, "beta": 2 * eta}
    x = log_variables("over_training")
    assert LAWS["over_training"].log_loss(truth, x) == pytest.approx(LAWS["surface"].log_loss(surface, x), rel=1e-12)


def test_a_break_has_two_slopes() -> None:
    """Far below the break the excess falls as C^-b, far above as C^-(b + c); without c there is no break."""
    truth = TRUTHS["broken"] | {"E": 0.0}
    below, above = (LAWS["broken"].log_loss(truth, {"compute": np.log(truth["d"]) + np.array(at)}) for at in
                    ((-21.0, -20.0), (20.0, 21.0)))  # fmt: skip
    assert np.diff(below)[0] == pytest.approx(-truth["b"], abs=1e-12)
    assert np.diff(above)[0] == pytest.approx(-truth["b"] - truth["c"], abs=1e-12)
    straight = {name: truth[name] for name in ("a", "b")}
    assert LAWS["broken"].log_loss(truth | {"c": 0.0}, {"compute": COMPUTE}) == pytest.approx(
        LAWS["power"].log_loss(straight, {"compute": COMPUTE}), rel=1e-12
    )


def test_saturation_ends_at_a_shift_of_nothing() -> None:
    """(C + d)^-b is C^-b where d is small, and d^-b where C is."""
    floor = {"E": 1.2, "a": 6.0, "b": 0.2}
    saturating = LAWS["saturating"].log_loss
    assert saturating(floor | {"d": 1e-30}, {"compute": COMPUTE}) == pytest.approx(
        LAWS["power_floor"].log_loss(floor, {"compute": COMPUTE}), rel=1e-12
    )
    assert math.exp(saturating(floor | {"d": 1e5}, {"compute": math.log(1e-9)})) == pytest.approx(1.2 + 6 * 1e5**-0.2)


def test_repetitions_are_worth_less_and_less() -> None:
    """Unrepeated data are a plain surface, a second pass is nearly new, and endless passes end at U (1 + R)."""
    truth, law = TRUTHS["repeated"], LAWS["repeated"]
    x = log_variables("repeated")
    fresh = x | {"unique_data": x["data"], "useful_params": x["params"]}
    assert law.log_loss(truth, fresh) == pytest.approx(LAWS["surface"].log_loss(truth, fresh), rel=1e-13)
    once = {"params": 18.0, "useful_params": 18.0, "unique_data": 20.0}
    at = [float(law.log_loss(truth, once | {"data": 20.0 + math.log(passes)})) for passes in (1, 1.001, 1e9)]
    surface = LAWS["surface"].log_loss
    assert at[1] - at[0] == pytest.approx(
        float(surface(truth, {"params": 18.0, "data": 20.0 + math.log(1.001)})) - at[0], rel=1e-3
    )
    most = 20.0 + math.log1p(truth["R_data"])
    assert at[2] == pytest.approx(float(surface(truth, {"params": 18.0, "data": most})), rel=1e-12)


@pytest.mark.parametrize(("law", "at"), [(name, i) for name in BENT for i in range(len(LAWS[name].bends))])
def test_derivatives_of_a_bend_are_those_of_finite_differences(law: str, at: int) -> None:
    """First and second derivatives by the log of every shape agree with central differences of the value."""
    bend = LAWS[law].bends[at]
    x = log_variables(law)
    shapes = np.array([math.log(TRUTHS[law][shape.name]) for shape in bend.shapes])
    here = _bend_at(bend, x, shapes)
    step = 1e-4
    for i in range(len(shapes)):
        move = step * np.eye(len(shapes))[i]
        up, down = _bend_at(bend, x, shapes + move), _bend_at(bend, x, shapes - move)
        assert here.first[i] == pytest.approx((up.value - down.value) / (2 * step), abs=1e-6)
        for j in range(len(shapes)):
            assert here.second[i][j] == pytest.approx((up.first[j] - down.first[j]) / (2 * step), abs=1e-6)


def _bend_at(bend: Bend, x: dict[str, np.ndarray], shapes: np.ndarray) -> Bent:
    return bend.of(x, tuple(np.array([[value]]) for value in shapes))


@pytest.mark.parametrize("law", BENT)
def test_the_search_for_a_shape_begins_within_its_bounds(law: str) -> None:
    """The values tried rise evenly from the low to the high multiple of the variable that scales them."""
    x = log_variables(law)
    for shape in (shape for bend in LAWS[law].bends for shape in bend.shapes):
        tried = np.exp(shape.tried(5, x))
        low, high = (1.0, 1.0) if shape.scale is None else np.exp([x[shape.scale].min(), x[shape.scale].max()])
        assert tried == pytest.approx(np.geomspace(low * shape.low, high * shape.high, 5))
