"""The figures of surfaces, valleys, allocations, residuals, back-tests, profiles and learning rates."""

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.options import FitOptions
from analysis.report.allocation_figure import allocation_figure
from analysis.report.backtest_figure import backtest_figure
from analysis.report.figure_style import plain_text, spread_out
from analysis.report.figures import FIGURES, write_figures
from analysis.report.isoflop_figure import isoflop_figure
from analysis.report.law_figure import law_line
from analysis.report.loss_figure import loss_figure
from analysis.report.profile_figure import profile_figure
from analysis.report.rate_surface_figure import rate_surface_figure
from analysis.report.residual_figure import residual_figure
from analysis.result import ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.points import Point, PointSet
from analysis.trust.sensitivity import outliers

E, A, B, ALPHA, BETA = 1.6, 400.0, 1200.0, 0.34, 0.36


def _point(params: float, flops: float, noise: float, **more: object) -> Point:
    tokens = flops / 6.0 / params
    loss = (E + A * params**-ALPHA + B * tokens**-BETA) * float(np.exp(noise))
    return replace(Point(model=f"{params:.3g}", loss=loss, flops=flops, params=params, tokens=tokens), **more)


def _isoflop_points(source: str = "valleys.csv") -> PointSet:
    """Seven budgets, nine sizes about the best one; at the last budget only sizes below the best, and one bad run."""
    rng = np.random.default_rng(0)
    points: list[Point] = []
    for i, flops in enumerate(np.geomspace(1e18, 1e21, 7)):
        best = (ALPHA * A / BETA / B) ** (1 / (ALPHA + BETA)) * (flops / 6) ** (BETA / (ALPHA + BETA))
        reach = np.geomspace(0.05, 0.6, 9) if i == 6 else np.geomspace(0.2, 5.0, 9)
        points += [_point(float(best * k), float(flops), float(0.002 * rng.normal())) for k in reach]
    points[3] = replace(points[3], loss=points[3].loss * 1.06)
    return PointSet(points=tuple(points), set_aside=(), source=source, columns=(("params", "N"), ("flops", "C")))


@functools.cache
def fit() -> ScalingFit:
    """The surface fitted to the valleys, asked ten times farther than any run."""
    return fit_study(_isoflop_points(), FitOptions(resamples=200, budgets=(1e19, 1e21, 8e21)))


def _words(figure: object) -> str:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    assert isinstance(figure, Figure)
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_a_surface_draws_all_its_figures(tmp_path: Path) -> None:
    """Everything but learning rates is known of a table of sizes, FLOPs and losses."""
    written = write_figures(fit(), tmp_path)
    stems = [path.stem for path in written if path.suffix == ".png"]
    assert stems == ["loss_vs_compute", "isoflop_valleys", "optimal_allocation", "residuals", "backtest", "profiles"]


def test_the_loss_figure_carries_a_surface_to_its_farthest_pick() -> None:
    """The line is the surface's best loss: never below the floor, within its band, and drawn beyond the runs."""
    line = law_line(fit())
    assert line is not None and line.low is not None and line.high is not None
    assert line.compute[-1] > 8e21 > line.sampled_top
    assert (np.diff(line.loss) < 0).all() and line.loss.min() > fit().fit.values["E"]
    assert ((line.low <= line.loss) & (line.loss <= line.high)).all()
    pick = fit().picks[-1]
    assert np.interp(np.log(pick.budget), np.log(line.compute), line.loss) == pytest.approx(
        pick.predicted_loss, rel=1e-3
    )
    assert "dotted: extrapolated" in _words(loss_figure(fit()))


def test_sizes_without_names_are_a_cloud_coloured_by_size() -> None:
    """Forty-five sizes are no curves: they share one scale of colours, with ticks that people read."""
    figure = loss_figure(fit())
    assert figure is not None and len(figure.axes) == 2
    assert figure.axes[1].get_ylabel() == "parameters"
    assert "1B" in [label.get_text() for label in figure.axes[1].get_yticklabels()]


def test_each_budget_has_a_valley_with_its_minimum() -> None:
    """A budget whose optimum was not seen is dashed, open and said to be at the edge."""
    result = fit()
    assert result.isoflop is not None
    words = _words(isoflop_figure(result))
    assert words.count(r"10^{18}") + words.count(r"10^{19}") + words.count(r"10^{20}") + words.count(r"10^{21}") == 7
    assert words.count("edge") == len(result.isoflop.budgets) - len(result.isoflop.used) == 1


def test_the_allocation_figure_says_both_exponents() -> None:
    """What parameters and data grow by adds up to one, each in its panel, beyond the sampled range as well."""
    figure = allocation_figure(fit())
    assert figure is not None
    left, right = figure.axes
    rows = {row.approach: row for row in fit().allocations}
    for approach, name in (("surface", "surface"), ("isoflop", "isoFLOP")):
        a, b = rows[approach].exponent_params, rows[approach].exponent_data
        assert a is not None and b is not None and a.value + b.value == pytest.approx(1.0)
        assert any(text.get_text().startswith(f"{name}  {a.value:.3f}") for text in left.texts)
        assert any(text.get_text().startswith(f"{name}  {b.value:.3f}") for text in right.texts)
    assert left.get_xlim()[1] > 10 * fit().fit.sampled[1]


def test_outliers_are_ringed() -> None:
    """The run whose loss was spoilt stands 6 % above the law, in a ring."""
    result = fit()
    figure = residual_figure(result)
    assert figure is not None
    assert outliers(result.fit.residuals).sum() == 1
    assert "1 outlier, beyond" in figure.get_supxlabel()
    highest = max(float(np.asarray(dots.get_offsets())[:, 1].max()) for dots in figure.axes[0].collections)
    assert highest == pytest.approx(6.0, abs=0.8)
    assert figure.axes[2].get_ylabel() == "tokens per parameter"


def test_the_back_test_shows_every_prediction_and_each_coverage() -> None:
    """As many marks as predictions, and the share inside above every range."""
    result = fit()
    assert result.trust.backtest is not None
    figure = backtest_figure(result)
    assert figure is not None
    axes = figure.axes[0]
    marks = [line for line in axes.lines if line.get_marker() in ("o", "x")]
    assert sum(len(np.asarray(line.get_xdata())) for line in marks) == len(result.trust.backtest.predictions)
    words = _words(figure)
    assert all(f"{b.coverage:.0%}\n{b.predictions:,}" in words for b in result.trust.backtest.bins)


def test_profiles_have_a_panel_each_and_say_their_interval() -> None:
    """The floor and both exponents are named as papers do."""
    titles = [axes.get_title(loc="left") for axes in profile_figure(fit()).axes]  # pyright: ignore[reportOptionalMemberAccess]
    assert {title.split()[0] for title in titles if title} >= {"E", "α", "β"}
    assert any(" to " in title for title in titles)


def _rates(*, law: bool) -> ScalingFit:
    points: list[Point] = []
    for n in (1e6, 1e7, 1e8):
        for d in (1e8, 1e9, 1e10):
            for rate in (0.0005, 0.001, 0.002, 0.004, 0.008):
                off = float(np.log2(rate / (0.4 * n**-0.3)))
                flops = 6.0 * n * d * (1 + 1e-3 * n**0.1)  # no two cells cost the same
                points.append(_point(n, flops, 0.01 * off**2, peak_lr=rate, model=f"m{n:.0e}"))
    columns = (("group", "model"), ("params", "N"))
    result = fit_study(
        PointSet(points=tuple(points), set_aside=(), source="rates.csv", columns=columns), FitOptions(resamples=50)
    )
    return result if law else replace(result, rate_law=None)


@pytest.mark.parametrize("law", [True, False])
def test_learning_rates_are_drawn_over_size_and_data(law: bool) -> None:
    """Contours are there where there is a law; without rates there is no figure."""
    result = _rates(law=law)
    assert (result.rate_law is not None) == law
    figure = rate_surface_figure(result)
    assert figure is not None
    assert ("lr^*" in figure.axes[0].get_title(loc="left")) == law
    assert rate_surface_figure(fit()) is None


NAMES = (
    "$x^2$", "$", r"\frac{$", "</svg><script>alert(1)</script>", "a\x00b\x1b[31m\u202e", "模型-é-\U0001f600", "w" * 400,
    "--><script", " ",
)  # fmt: skip


@pytest.mark.parametrize("names", [NAMES[:3], NAMES[3:6], NAMES[6:]])
def test_names_of_strangers_are_printed_as_they_are(names: tuple[str, ...], tmp_path: Path) -> None:
    """No mathtext, no control character, no missing glyph, no tag: as a table's name, a study's and a curve's."""
    rng = np.random.default_rng(1)
    points = tuple(
        _point(1e7 * 4**i, 1e17 * 4**i * 3**k, float(0.003 * rng.normal()), model=name)
        for i, name in enumerate(names)
        for k in range(5)
    )
    columns = (("group", "name"), ("params", "N"))
    table = PointSet(points=points, set_aside=(), source=f"{names[0]}.csv", columns=columns)
    result = fit_study(table, FitOptions(resamples=50))
    loss_figure(result)
    result = replace(result, points=replace(result.points, study=names[1]))
    for path in write_figures(result, tmp_path):
        if path.suffix == ".svg":
            text = path.read_text()
            assert "<script" not in text.lower()
            assert not {chr(c) for c in range(32) if c not in (9, 10, 13)} & set(text)


def test_plain_text_escapes_and_shortens() -> None:
    """Dollars lose their meaning, long names keep both ends, glyphs that the font lacks become boxes."""
    assert plain_text("a$b") == r"a\$b"
    assert plain_text("模a") == "\N{WHITE SQUARE}a"
    assert len(plain_text("w" * 300)) == 40
    assert plain_text("a\nb\x07c") == "a b c"


def test_labels_keep_apart_and_in_order() -> None:
    """Labels move as little as they must."""
    placed = spread_out([10.0, 0.0, 1.0, 50.0], 5.0)
    assert placed == pytest.approx([10.0, -2.0, 3.0, 50.0])


def _with(result: ScalingFit, **changes: object) -> ScalingFit:
    return replace(result, **changes)  # pyright: ignore[reportArgumentType]


def _equal_losses(result: ScalingFit) -> ScalingFit:
    cells = tuple(replace(c, best=replace(c.best, losses=(2.0,)), tried=()) for c in result.cells)
    return _with(result, cells=cells, frontier=cells[:1], fit=replace(result.fit, residuals=np.zeros(len(cells))))


def _not_a_number(result: ScalingFit) -> ScalingFit:
    cells = tuple(replace(c, best=replace(c.best, losses=(float("nan"),))) for c in result.cells)
    draws = {name: np.full(30, np.nan) for name in result.fit.draws}
    residuals = np.full(len(cells), np.nan)
    return _with(result, cells=cells, fit=replace(result.fit, residuals=residuals, draws=draws))


def _bare(result: ScalingFit) -> ScalingFit:
    trust = replace(result.trust, backtest=None, forms=(), variants=(), profiles=())
    fit = replace(result.fit, draws={}, residuals=np.zeros(0))
    return _with(result, picks=(), allocations=(), isoflop=None, rate_law=None, trust=trust, fit=fit)


def _one_budget(result: ScalingFit) -> ScalingFit:
    assert result.isoflop is not None
    compute = result.fit.sampled[0]
    fit = replace(result.fit, sampled=(compute, compute))
    return _with(result, isoflop=replace(result.isoflop, budgets=result.isoflop.budgets[:1]), fit=fit)


def _no_optimum(result: ScalingFit) -> ScalingFit:
    parameters = {n: replace(e, value=-0.1 if n == "alpha" else e.value) for n, e in result.fit.parameters.items()}
    return _with(result, fit=replace(result.fit, parameters=parameters))


@pytest.mark.parametrize("spoil", [_equal_losses, _not_a_number, _bare, _one_budget, _no_optimum])
@pytest.mark.parametrize("source", ["valleys", "rates"])
def test_what_cannot_be_drawn_is_left_out(spoil: object, source: str) -> None:
    """No figure raises or warns, whatever is missing or worth nothing."""
    assert callable(spoil)
    result = fit() if source == "valleys" else _rates(law=True)
    if spoil is _one_budget and result.isoflop is None:
        return
    for draw in FIGURES.values():
        figure = draw(spoil(result))
        if figure is not None:
            figure.draw_without_rendering()


def test_many_dots_become_a_picture(tmp_path: Path) -> None:
    """A table of thousands of rows makes no vector file of many megabytes."""
    rng = np.random.default_rng(2)
    points = tuple(
        _point(float(n), float(c), float(0.003 * rng.normal()))
        for n, c in zip(np.exp(rng.uniform(14, 21, 6000)), np.exp(rng.uniform(41, 50, 6000)), strict=True)
    )
    table = PointSet(points=points, set_aside=(), source="large.csv", columns=(("params", "N"),))
    result = fit_study(table, FitOptions(resamples=0, has_trust=False))
    for path in write_figures(result, tmp_path):
        assert path.stat().st_size < 2_000_000, path.name
    drawing = (tmp_path / "loss_vs_compute.svg").read_text()
    assert "data:image/png" in drawing and drawing.count("<use") < 1_000
