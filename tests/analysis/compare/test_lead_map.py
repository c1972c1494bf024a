import numpy as np
import pytest

from analysis.compare.axes import AXES
from analysis.compare.comparison import compare
from analysis.compare.lead_map import STEPS, lead_map
from analysis.compare.smooth import shared_draws, smooth
from tests.analysis.synthetic_families import RESAMPLES, comparison, families, family_records


def maps(*records, others=True):
    """Returns the maps of families with these runs, by their limit."""
    return {one.limit.name: one for one in comparison(*records, others=others).maps}


@pytest.fixture(scope="module")
def tilted():
    """Maps of two families of which the second is ahead with little compute and behind with much."""
    return maps(family_records("a", noise=0.003), family_records("b", tilt=0.3, noise=0.003, random_seed=1))


def test_the_better_family_leads_everywhere():
    """What needs twice the compute is behind at every limit, for sure on nearly all of the map."""
    found = maps(family_records("a", noise=0.003), family_records("b", multiplier=2.0, noise=0.003, random_seed=1))
    for one in found.values():
        assert (one.leader == 0).all()
        assert one.area(0, is_sure=True) > 0.95
        assert one.area(1, is_sure=True) == 0.0
        assert [corner.leader for corner in one.corners] == [0, 0, 0, 0]


def test_equal_families_are_nowhere_told_apart_for_long():
    """Nine tenths of what is said to be sure would be a lot of map for two families that are the same."""
    found = maps(family_records("a", noise=0.01), family_records("b", noise=0.01, random_seed=3))
    for one in found.values():
        assert sum(one.area(k, is_sure=True) for k in (0, 1)) < 0.5


def test_each_leads_where_it_is_better(tilted):
    """Small budgets go to one, large ones to the other, at every size."""
    one = tilted["macs"]
    assert (one.leader[0] == 1).all() and one.is_sure[0].all()
    assert one.leader[-1, -1] == 0 and one.is_sure[-1, -1]
    small_and_cheap, _, _, large_and_dear = one.corners
    assert (small_and_cheap.leader, large_and_dear.leader) == (1, 0)
    assert small_and_cheap.size < large_and_dear.size and small_and_cheap.compute < large_and_dear.compute


@pytest.mark.parametrize("limit", ["macs", "params"])
def test_no_limit_hurts_by_being_looser(tilted, limit):
    """Losses never rise with the size or the compute that is allowed."""
    losses = tilted[limit].log_losses
    assert losses.shape == (2, STEPS, STEPS)
    assert (np.diff(losses, axis=1) <= 1e-12).all()
    assert (np.diff(losses, axis=2) <= 1e-12).all()


def test_the_least_loss_of_all_is_that_of_the_surface(tilted):
    """With everything allowed the map has the least loss of the family's smoothed cells, or less between them."""
    found = compare(families(family_records("a"), family_records("b", tilt=0.3)), resamples=RESAMPLES, others=True)
    for k, smoothed in enumerate(found.smoothed):
        least = float(smoothed.cells[0].min())
        assert float(found.maps[0].log_losses[k, -1, -1]) == pytest.approx(least, abs=0.01)
        assert float(found.maps[0].log_losses[k, -1, -1]) <= least + 1e-9


def test_shares_are_parts_of_a_whole(tilted):
    """In every resample somebody leads."""
    for one in tilted.values():
        assert one.share.sum(axis=0) == pytest.approx(1.0)
        assert sum(one.area(k, is_sure=sure) for k in (0, 1) for sure in (True, False)) == pytest.approx(1.0)


def test_compute_is_what_the_comparison_is_about():
    """By measured core-hours, where those are asked for and known; by core-hours where a size is held equal."""
    own = [family_records(name, billed=lambda hours: hours / 7) for name in ("a", "b")]
    billed = comparison(*own, axis="billed", others=True)
    assert {one.compute.name for one in billed.maps} == {"billed"}
    assert {one.compute.name for one in comparison(*own, axis="params", others=True).maps} == {"core_hours"}


def test_no_map_without_amounts():
    """Where what was spent is not known for every run, nothing is drawn over it."""
    own = families(family_records("a"), family_records("b"))
    shared = shared_draws(own, RESAMPLES, np.random.default_rng(0))
    smoothed = [smooth(family, shared) for family in own]
    assert lead_map(own, smoothed, AXES["macs"], AXES["billed"], level=0.9) is None
    assert lead_map(own, smoothed, AXES["macs"], AXES["flops"], level=0.9) is not None
    assert comparison(family_records("a"), family_records("b")).maps == ()
