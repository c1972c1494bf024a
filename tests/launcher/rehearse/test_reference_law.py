import numpy as np
import pytest

from launcher.rehearse.reference_law import IMAGES_PER_EPOCH, PARAMS, reference_law
from launcher.settings.compose import compose
from strategy.field import Field


def test_params_are_those_of_the_study() -> None:
    """F0 to F7+ as the study counts them, to a part in a thousand, and its epochs."""
    study = compose(["study=jft", "budget=110k"]).study
    field = Field(study=study, budget_core_hours=1e9)
    params = {model.name: rate.params for model, rate in zip(study.models, field.grid.rates, strict=True)}
    ours = {name.lower().replace("+", "p"): count for name, count in PARAMS.items()}
    assert ours == {name: pytest.approx(count, rel=1e-3) for name, count in params.items()}
    assert study.data.images_per_epoch == pytest.approx(IMAGES_PER_EPOCH, rel=0.01)


def test_the_law_is_that_of_the_figures() -> None:
    """It meets the 36 published losses within a few per cent, and is resampled with its uncertainty."""
    law = reference_law()
    assert len(law.residuals) == 36 and np.abs(law.residuals).max() < 0.03
    assert law.resamples.shape[1] == 5 and len(law.resamples) > 1000
    assert (law.resamples > 0.0).all()
    assert 0.0 < law.resamples[:, 3].std() / law.resamples[:, 3].mean() < 1.0
    assert (np.diff(law.core_hours_per_epoch) > 0.0).all() and (np.diff(law.params) > 0.0).all()


def test_best_rates_are_the_published_ones() -> None:
    """1.6 for short runs of F0, an octave above the middle of the grid."""
    law = reference_law()
    assert law.rate_octaves.shape == (3, 6) == (len(law.rate_core_hours_per_epoch), len(law.rate_epochs))
    assert law.rate_octaves[0].tolist() == pytest.approx([1.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    assert (np.diff(law.rate_octaves, axis=1) <= 0.0).all()
