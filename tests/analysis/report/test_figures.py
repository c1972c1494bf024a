import functools
from pathlib import Path

import numpy as np
import pytest

from analysis.options import FitOptions
from analysis.report.axis_ticks import compute_ticks, loss_ticks
from analysis.report.figure_style import model_title
from analysis.report.figures import write_figures
from analysis.report.loss_figure import loss_figure
from analysis.report.rate_figure import rate_figure
from analysis.result import ScalingFit
from analysis.study_fit import fit_study
from analysis.tables.points import Point, PointSet
from sweeps.record import Status
from tests.analysis.synthetic import record, reference_points, study_points, study_records

FAST = FitOptions(resamples=100)


def _many_models() -> PointSet:
    points = tuple(
        Point(model=f"m{i}", core_hours=400.0 * 1.5**i * 2**e, loss=5.0 * (400.0 * 1.5**i * 2**e) ** -0.1 + 0.01 * e)
        for i in range(12)
        for e in range(4)
    )
    return PointSet(points=points, set_aside=(), source="many.csv")


def _edges() -> PointSet:
    diverged = [record(model="f1", epochs=8.0, peak_lr=0.4, status=Status.DIVERGED, loss=None)]
    return study_points([*study_records(noise=0.01, best_lr=0.15), *diverged])


STUDIES = {"study": _edges, "reference": reference_points, "many": _many_models}
DRAWN = {
    "study": [
        "loss_vs_compute",
        "optimal_allocation",
        "residuals",
        "backtest",
        "best_peak_lr",
        "learning_rate_surface",
    ],
    "reference": ["loss_vs_compute", "residuals", "backtest"],
    "many": ["loss_vs_compute", "residuals", "backtest"],
}


@functools.cache
def fit(name: str) -> ScalingFit:
    """The fit of one of the shared studies."""
    return fit_study(STUDIES[name](), FAST)


@pytest.mark.parametrize("name", STUDIES)
def test_figures_are_written_and_hold_ink(name: str, tmp_path: Path) -> None:
    """PNG, SVG and PDF of each figure are there, and the PNG is neither blank nor mostly ink."""
    from matplotlib.image import imread

    written = write_figures(fit(name), tmp_path)
    assert [path.name for path in written] == [
        f"{stem}.{kind}" for stem in DRAWN[name] for kind in ("png", "svg", "pdf")
    ]
    for path in written:
        if path.suffix == ".svg":
            assert path.read_text().rstrip().endswith("</svg>")
        elif path.suffix == ".pdf":
            assert path.read_bytes().startswith(b"%PDF")
        else:
            pixels = np.asarray(imread(path))[..., :3]
            ink = (pixels < 0.9).any(axis=-1).mean()
            assert 0.005 < ink < 0.5
            assert min(pixels.shape[:2]) > 500


def test_the_same_fit_draws_the_same_files(tmp_path: Path) -> None:
    """No date, no random identifiers: a report under version control changes only with its data."""
    result = fit("reference")
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        write_figures(result, folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_loss_figure_names_every_model_and_the_law() -> None:
    """Curves are labelled where they end; the law and its slope stand in the figure; the scale below it."""
    figure = loss_figure(fit("study"))
    (axes,) = figure.axes[:1]
    words = [text.get_text() for text in axes.texts]
    assert {"F0", "F1", "F3", "F7"} <= set(words)
    assert any("slope −0." in word for word in words)
    assert "1 core-hour = 3.6e+06 FLOPs" in figure.get_supxlabel()
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert len(axes.child_axes) == 1


def test_the_reference_figure_has_no_axis_of_flops() -> None:
    """Where FLOPs are unknown there is no second axis that would invent them."""
    assert not loss_figure(fit("reference")).axes[0].child_axes


def test_the_rate_figure_has_a_panel_for_each_model() -> None:
    """Each panel bears its model's name and marks what diverged."""
    figure = rate_figure(fit("study"))
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in shown] == ["F0", "F1", "F3", "F7"]
    assert len(shown[1].collections) > len(shown[0].collections)


@pytest.mark.parametrize(("low", "high"), [(2.2, 3.1), (0.2, 1.2), (0.9, 1.0), (0.01, 9.0), (1.5, 1.52)])
def test_losses_get_enough_round_ticks(low: float, high: float) -> None:
    """Any range of losses gets four to twelve different labels within it."""
    ticks, labels = loss_ticks(low, high)
    assert 4 <= len(ticks) <= 12
    assert len(set(labels)) == len(labels)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
    assert all(float(label) == pytest.approx(tick) for tick, label in zip(ticks, labels, strict=True))


def test_compute_is_labelled_as_people_write_it() -> None:
    """Core-hours as 500, 1k, 20k; FLOPs as powers of ten."""
    assert compute_ticks(400, 110_000, in_core_hours=True)[1] == ["500", "1k", "2k", "5k", "10k", "20k", "50k", "100k"]
    assert compute_ticks(1e18, 1e22, in_core_hours=False)[1][0] == "$10^{18}$"


def test_models_are_titled_as_in_papers() -> None:
    """f3p is F3+; other names stay as they are."""
    assert [model_title(name) for name in ("f3p", "F7+", "f0", "vit_s", "1.2e+08")] == [
        "F3+",
        "F7+",
        "F0",
        "vit_s",
        "1.2e+08",
    ]
