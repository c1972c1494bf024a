import dataclasses

import numpy as np
import pytest

from launcher.rehearse.rehearsal import MOST_IMAGES, Rehearsed, largest_cell, rehearse, scaled_down
from launcher.rehearse.world import World
from launcher.settings.compose import compose
from launcher.settings.conditions import Conditions
from strategy.field import Field
from strategy.spec import STRATEGIES
from sweeps.errors import StudyError

CALM = Conditions(preemptions_per_h=0.0)
ROUGH = Conditions(slots=3, cores_per_run=64, preemptions_per_h=0.03)


def rehearsed(*words: str, seed: int = 0, conditions: Conditions = CALM) -> Rehearsed:
    """Returns one rehearsal of the scale model."""
    return rehearse(compose(["study=scale_model", "seeds=1", *words]), seed, conditions=conditions)


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "asha"])
def test_every_strategy_but_asha_rehearses(strategy: str) -> None:
    """Each ends with a choice, its regret, a prediction and what they cost."""
    found = rehearsed(f"strategy={strategy}", "budget=3k", conditions=ROUGH)
    assert 0.0 <= found.regret < 0.1 and found.regret_largest_cell >= 0.0
    assert found.low < found.predicted_loss < found.high
    assert found.predicted_loss == pytest.approx(found.true_loss, rel=0.05)
    assert found.spent_core_hours > 0.0 and found.wall_h > 0.0 and found.runs > 3
    assert found.predictions_within <= found.predictions_trained <= found.predictions
    assert (found.predictions > 0) == (strategy in ("informed", "ladder"))


def test_a_whole_grid_costs_the_grid() -> None:
    """Without pre-emptions every cell is paid for once, and diverged runs less; trunks share their steps."""
    found = rehearsed("strategy=grid", "budget=3k")
    assert (found.runs, found.rounds) == (30, 1)
    assert found.spent_core_hours == pytest.approx(found.grid_core_hours, rel=1e-3)
    assert rehearsed("strategy=trunk", "budget=3k").spent_core_hours < 0.9 * found.spent_core_hours


@pytest.mark.parametrize(("strategy", "share"), [("informed", 0.25), ("ladder", 0.1)])
def test_a_share_is_a_share(strategy: str, share: float) -> None:
    """Where nothing is trained twice, no more than the share of the grid is used."""
    for seed in range(4):
        found = rehearsed(f"strategy={strategy}", "budget=5k", seed=seed)
        assert found.spent_core_hours <= share * found.grid_core_hours


@pytest.mark.parametrize("strategy", ["grid", "informed"])
def test_spend_is_kept(strategy: str) -> None:
    """The cap of the request is that of the rehearsal."""
    found = rehearsed(f"strategy={strategy}", "budget=3k", "spend=4k", conditions=ROUGH)
    assert 1_000.0 < found.spent_core_hours <= 4_000.0 * (1 + 1e-9)


def test_a_seed_decides_all() -> None:
    """The same seed ends alike; another one is another world."""
    words = ("strategy=informed", "budget=3k")
    one, again, other = (rehearsed(*words, seed=seed, conditions=ROUGH) for seed in (3, 3, 4))
    assert one == again
    assert one.true_loss != other.true_loss


def test_nothing_trained_is_refused() -> None:
    """A cap below the cheapest run leaves nothing to judge, and says what to change."""
    with pytest.raises(StudyError, match=r"nothing was trained in rehearsal 0.*larger SPEND"):
        rehearsed("strategy=informed", "budget=3k", "spend=10")


def test_scaled_down_studies_keep_their_prices() -> None:
    """Fewer images an epoch, the same cells at the same core-hours; small studies stay as they are."""
    study = compose(["study=jft", "budget=110k"]).study
    small = scaled_down(study)
    assert small.data.images_per_epoch <= MOST_IMAGES < study.data.images_per_epoch
    one, other = (Field(study=any_, budget_core_hours=110_000.0) for any_ in (study, small))
    assert other.core_hours == pytest.approx(one.core_hours, rel=5e-3)
    assert [other.name(k) for k in range(len(other.cells))] == [one.name(k) for k in range(len(one.cells))]
    modest = compose(["study=scale_model", "budget=110k"]).study
    assert scaled_down(modest) is modest


def test_the_largest_cell_is_the_largest_model_s_longest() -> None:
    """Within the budget, at the rate that is best for the cheapest cell."""
    field = Field(study=compose(["study=jft", "budget=110k"]).study, budget_core_hours=30_000.0)
    flat = np.zeros(len(field.cells))
    largest = field.log_params == field.log_params.max()
    longest = int(np.flatnonzero(largest)[field.epochs[largest].argmax()])
    flat[longest] = 0.5
    best = np.full(len(field.cells), field.octaves[0, 2])
    world = World(field=field, seed=0, log_loss=flat, best_octave=best, kappa=0.01)
    assert largest_cell(world) == pytest.approx(0.5)
    moved = dataclasses.replace(world, best_octave=np.where(np.arange(len(best)) == 0, field.octaves[0, 3], best))
    assert largest_cell(moved) == pytest.approx(0.51)
