from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from analysis.options import FitOptions
from analysis.picks.pick_file import write_picks
from analysis.result import Pick, ScalingFit
from analysis.study_fit import fit_study
from launcher.settings.pick_file import read_pick_file
from sweeps.errors import StudyError
from tests.analysis.synthetic import budgets_of_surface, study_points, study_records, table

FIELDS = ("model", "epochs", "peak_lr", "batch_images", "predicted_loss", "low", "high", "extrapolation_factor")
NUMBERS = st.floats(min_value=1e-300, max_value=1e300, allow_nan=False)


@pytest.fixture(scope="module")
def result() -> ScalingFit:
    """The fit of a study with a refused pick on either side of two that can be trained."""
    options = FitOptions(resamples=100, budgets=(100.0, 2000.0, 10_000.0, 1e6), has_trust=False)
    return fit_study(study_points(study_records(noise=0.002)), options)


def made(result: ScalingFit) -> list[Pick]:
    """The picks that were not refused."""
    return [pick for pick in result.picks if pick.refused is None]


def test_what_is_read_back_is_what_was_picked(result: ScalingFit, tmp_path: Path) -> None:
    """Every number is the same to the last digit; refused picks are absent."""
    content = yaml.safe_load(write_picks(result, tmp_path / "pick.yaml").read_text())
    assert content["study"] == "synthetic"
    assert [entry["budget_core_hours"] for entry in content["picks"]] == [2000.0, 10_000.0]
    for entry, pick in zip(content["picks"], made(result), strict=True):
        assert {name: entry[name] for name in FIELDS} == {name: getattr(pick, name) for name in FIELDS}


def test_the_launcher_reads_it(result: ScalingFit, tmp_path: Path) -> None:
    """Models, epochs, rates and batches are those that were picked."""
    file = read_pick_file(str(write_picks(result, tmp_path / "pick.yaml")))
    assert file.study == "synthetic"
    assert [(e.model, e.epochs, e.batch_images, e.peak_lr) for e in file.entries] == [
        (p.model, p.epochs, p.batch_images, p.peak_lr) for p in made(result)
    ]


@given(rate=NUMBERS, epochs=NUMBERS, model=st.text("abz 01'\"#:-{}[]&*%é", min_size=1, max_size=12))
def test_any_number_and_name_survives_yaml(
    result: ScalingFit, tmp_path_factory: pytest.TempPathFactory, rate: float, epochs: float, model: str
) -> None:
    """1e-05 stays a number, 1e22 too, and a name with quotes or colons stays that name."""
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    pick = replace(made(result)[0], peak_lr=rate, epochs=epochs, model=model)
    (entry,) = yaml.safe_load(write_picks(replace(result, picks=(pick,)), path).read_text(encoding="utf-8"))["picks"]
    assert (entry["peak_lr"], entry["epochs"], entry["model"]) == (rate, epochs, model)


@pytest.mark.parametrize("rate", [1e-05, 5e-324, 1e16, 1e22, 0.1, 3.0])
def test_small_and_large_rates_are_numbers(result: ScalingFit, tmp_path: Path, rate: float) -> None:
    """YAML 1.1 reads 1e-05 as text: it is written with a point, and the launcher takes it."""
    pick = replace(made(result)[0], peak_lr=rate)
    path = write_picks(replace(result, picks=(pick,)), tmp_path / "pick.yaml")
    assert read_pick_file(str(path)).entries[0].peak_lr == rate


def test_a_missing_rate_is_null(result: ScalingFit, tmp_path: Path) -> None:
    """What is not known is absent to the launcher, which then takes the study's."""
    pick = replace(made(result)[0], peak_lr=None, batch_images=None, low=None, high=None)
    (entry,) = read_pick_file(str(write_picks(replace(result, picks=(pick,)), tmp_path / "p.yaml"))).entries
    assert entry.peak_lr is None and entry.batch_images is None


def test_nothing_but_refused_picks_is_an_empty_list(result: ScalingFit, tmp_path: Path) -> None:
    """The file is there and says so; the launcher says why it trains nothing."""
    refused = tuple(pick for pick in result.picks if pick.refused is not None)
    path = write_picks(replace(result, picks=refused), tmp_path / "pick.yaml")
    assert yaml.safe_load(path.read_text()) == {"study": "synthetic", "picks": []}
    with pytest.raises(StudyError, match="nothing to train"):
        read_pick_file(str(path))


def test_picks_of_a_table_name_no_study(tmp_path: Path) -> None:
    """Their models are no study's, so that nothing of them can be launched."""
    options = FitOptions(resamples=0, budgets=(1e20,), has_trust=False)
    points = table(budgets_of_surface([1e18, 1e19, 1e20, 1e21]))
    path = write_picks(fit_study(points, options), tmp_path / "pick.yaml")
    assert yaml.safe_load(path.read_text()) == {"study": None, "picks": []}
    assert "make sweep" not in path.read_text()
    with pytest.raises(StudyError, match="made from a table"):
        read_pick_file(str(path))
