"""Counts of depthwise-separable nets against ConvNeXt's."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweeps.canonical import from_jsonable
from sweeps.errors import StudyError
from sweeps.separable_shape import SeparableShape

CONF = Path(__file__).resolve().parents[2] / "conf" / "model" / "separable"

# torchvision's documentation of convnext_tiny, _small and _base: num_params and GFLOPS (MACs) at 224 px.
PUBLISHED = [
    ("convnext_t", 28_589_128, "4.456"),
    ("convnext_s", 50_223_688, "8.684"),
    ("convnext_b", 88_591_464, "15.355"),
]


@pytest.mark.parametrize(("name", "params", "gmac"), PUBLISHED)
def test_counts_equal_the_published_ones(name: str, params: int, gmac: str) -> None:
    """Parameters equal the published ones exactly, MACs to their last digit."""
    shape = from_jsonable(SeparableShape, yaml.safe_load((CONF / f"{name}.yaml").read_text())["shape"])
    assert shape.params(image_px=224) == params
    assert f"{shape.forward_macs(image_px=224) / 1e9:.3f}" == gmac


def test_a_tiny_net_counted_by_hand() -> None:
    """Two stages of one block have the numbers that a pencil gives."""
    shape = SeparableShape(stage_depths=(1, 1), stage_widths=(2, 3), kernel_px=3, stem_px=2)
    first = 4 * 3 * 2 + 2 + 4 + (9 * 2 + 2) + 4 + (2 * 8 + 8) + (8 * 2 + 2) + 2
    second = 4 + 4 * 2 * 3 + 3 + (9 * 3 + 3) + 6 + (3 * 12 + 12) + (12 * 3 + 3) + 3
    assert shape.params(image_px=8, classes=10) == first + second + 6 + 3 * 10 + 10
    macs = 16 * (4 * 3 * 2 + 9 * 2 + 2 * 16) + 4 * (4 * 2 * 3 + 9 * 3 + 2 * 36) + 30
    assert shape.forward_macs(image_px=8, classes=10) == macs


@given(
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    kernel_px=st.sampled_from([1, 3, 7]),
    image_px=st.integers(16, 64),
)
def test_parameters_know_no_image_and_blocks_cost(widths: list[int], kernel_px: int, image_px: int) -> None:
    """Parameters are the same for every image that fits; one more block has more of both."""
    shape = SeparableShape(stage_depths=(1,) * len(widths), stage_widths=tuple(widths), kernel_px=kernel_px, stem_px=2)
    assert shape.params(image_px=image_px) == shape.params(image_px=64)
    more = dataclasses.replace(shape, stage_depths=(2, *shape.stage_depths[1:]))
    assert more.params(image_px=image_px) > shape.params(image_px=image_px)
    assert more.forward_macs(image_px=image_px) > shape.forward_macs(image_px=image_px)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage_depths": (1, 1)}, "same number of stages"),
        ({"stage_depths": (), "stage_widths": ()}, "at least one"),
        ({"kernel_px": 4}, r"must be odd.*kernel_px=5"),
        ({"expansion": 0}, "above zero"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, object], message: str) -> None:
    """A shape that no network can have is refused with what is wrong."""
    fields: dict[str, object] = {"stage_depths": (1,), "stage_widths": (8,), "kernel_px": 3} | changes
    with pytest.raises(StudyError, match=message):
        SeparableShape(**fields)  # pyright: ignore[reportArgumentType]


def test_an_image_too_small_for_the_last_stage_is_refused() -> None:
    """Four stages behind patches of 4 px halve the image thrice: 32 px is the least."""
    shape = SeparableShape(stage_depths=(1,) * 4, stage_widths=(8,) * 4, kernel_px=3)
    assert shape.forward_macs(image_px=32) > 0
    with pytest.raises(StudyError, match="need an image of 32 px; it has 31"):
        shape.forward_macs(image_px=31)
