import io

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from analysis.compare.published_families import compare_published
from analysis.compare.published_out import print_published, published_figure, published_json, write_published
from analysis.transfer.published import reference_rows


@pytest.fixture(scope="module")
def result():
    """The published comparison."""
    return compare_published(resamples=500)


def test_flops_are_those_of_the_papers(result):
    """SoViT: 40 billion images x 221 GFLOP x 3; ViT-g/14: 16 billion x 533 GFLOP x 3."""
    spent = {one.b: one.spent for one in result.rivalries if one.axis == "flops"}

    assert spent == pytest.approx({"ViT-g/14": 2.558e22, "SoViT-400m/14": 2.652e22}, rel=1e-3)


def test_flops_of_an_epoch_agree_with_the_shapes_own_count():
    """As the models of conf/ are priced: F0 2.30e20, F7+ 2.42e21 FLOPs an epoch."""
    per_epoch = {row["model"]: 6e9 * float(row["forward_gmacs"]) * float(row["images"]) for row in rows()}

    assert per_epoch["F0"] == pytest.approx(2.30e20, rel=0.01)
    assert per_epoch["F7+"] == pytest.approx(2.42e21, rel=0.01)


def rows() -> list[dict[str, str]]:
    """Returns the rows of the file of pre-training compute."""
    return reference_rows("pretraining_compute.csv")


def test_the_two_giants_are_told_apart_by_more_than_their_case(result):
    """ViT-g/14 and ViT-G/14 differ in one letter; the FLOPs of the latter are not known."""
    by_axis = {axis: [one.b for one in result.rivalries if one.axis == axis] for axis in ("core_hours", "flops")}

    assert by_axis["core_hours"] == ["ViT-g/14", "SoViT-400m/14", "ViT-G/14"]
    assert by_axis["flops"] == ["ViT-g/14", "SoViT-400m/14"]


def test_intervals_hold_their_value_and_every_form_of_law(result):
    """A form of the law that lay outside would not be allowed for."""
    for one in (*result.rivalries, *result.yardsticks):
        assert one.multiplier.low < one.multiplier.value < one.multiplier.high
        assert all(one.multiplier.low < ratio < one.multiplier.high for ratio in one.by_form.values())
        assert set(one.by_form) == {"power", "power_floor"}


def test_the_dearest_nfnet_lies_as_far_off_its_own_law_as_its_interval_allows(result):
    """An interval that left it out would be too narrow for single runs."""
    assert all(one.is_draw and one.extrapolation_factor == 1.0 for one in result.yardsticks)


def test_a_wider_first_stage_makes_nfnets_dearer(result):
    """So the transformers compare better, by as much as is said."""
    in_flops = [one for one in result.rivalries if one.axis == "flops"]

    assert all(one.other_width is not None and one.other_width < one.multiplier.value for one in in_flops)


def test_json_has_the_keys_of_every_comparison(result):
    """And what cannot be said besides."""
    found = published_json(result)

    for name in ("gap", "compute_multiplier"):
        assert [row["b"] for row in found[name]] == ["ViT-g/14", "SoViT-400m/14", "ViT-G/14"]
        assert all(set(row) == {"a", "b", "budget_core_hours", "value", "low", "high"} for row in found[name])
    assert found["verdict"] and found["cannot_say"]


def test_the_terminal_says_what_cannot_be_said(result):
    """With the yardstick: how far one NFNet lies off the law of its family."""
    out = io.StringIO()
    print_published(result, console=Console(file=out, width=100))

    assert "What this cannot say" in out.getvalue()
    assert "F7+ for 8 epochs, an NFNet, took" in " ".join(out.getvalue().split())


def test_the_figure_has_a_row_for_every_number(result, tmp_path):
    """It is written where told, beside compare.json."""
    figure = published_figure(result)

    assert isinstance(figure, Figure)
    assert len(figure.axes[0].get_yticks()) == len(result.rivalries) + len(result.yardsticks)
    assert {path.name for path in write_published(result, tmp_path)} == {
        "compare.json", "published_families.png", "published_families.svg",
    }  # fmt: skip
