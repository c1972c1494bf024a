from dataclasses import replace

from sweeps.record import Status
from tests.analysis.synthetic_families import comparison, family_records


def codes(*records) -> dict[str, str]:
    """Returns the warnings about a study with these runs, by their codes."""
    return {notice.code: notice.text for notice in comparison(*records).notices}


def test_two_families_looked_at_alike_raise_no_warning():
    """Same device, code, cells, seeds and rates, no optimum at an edge: nothing to say."""
    assert codes(family_records("a"), family_records("b")) == {}


def test_other_software_is_named():
    """Speeds measured elsewhere do not compare, so each family is named with its device and code."""
    other = [replace(run, device="cuda", code_version="def5678") for run in family_records("b")]
    found = codes(family_records("a"), other)

    assert "a: cpu; b: cuda" in found["device_differs"]
    assert "a: abc1234; b: def5678" in found["code_differs"]


def test_best_rates_at_an_edge_are_counted_and_named():
    """An optimum at the edge of the rates tried may lie beyond it."""
    found = codes(family_records("a"), family_records("b", best_lr=0.2))

    assert "b: the best learning rate of 30 of 30 cells is censored" in found["rate_at_edge"]
    assert "30 at the high edge or above: b0 x 0.25" in found["rate_at_edge"]


def test_fewer_cells_seeds_and_rates_are_named():
    """The family that was looked at less closely is told from the other by numbers."""
    found = codes(family_records("a", seeds=2), family_records("b", sizes=3, rates=(0.05, 0.1)))

    assert "a 30, b 18" in found["cells_differ"]
    assert "a 2, b 1" in found["seeds_differ"]
    assert "a 3, b 2" in found["rates_differ"]


def test_a_family_that_diverged_more_is_named():
    """The counts stand beside the runs of each family."""
    runs = [
        replace(run, status=Status.DIVERGED, outcome=None) if run.trial.peak_lr == 0.2 else run
        for run in family_records("b")
    ]

    assert "a 0 of 90, b 30 of 90" in codes(family_records("a"), runs)["diverged_more"]


def test_unequal_noise_is_named():
    """The best of several noisy rates is too low, the more so the noisier they are."""
    found = codes(family_records("a", noise=0.002, seeds=2), family_records("b", noise=0.02, seeds=2, random_seed=1))

    assert "flatters the noisier family" in found["noise_differs"]


def test_a_family_with_two_recipes_is_named():
    """Only one of its recipes is compared, and that is said."""
    extra = [
        replace(run, trial=replace(run.trial, recipe=replace(run.trial.recipe, momentum=0.8)))
        for run in family_records("b", sizes=1)
    ]

    assert "b was run with 2 recipes" in codes(family_records("a"), [*family_records("b"), *extra])["several_cohorts"]
