"""Closed-form counts against the published tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeps.errors import StudyError
from sweeps.nfnet_shape import NFNetShape

# arXiv:2102.06171 table 1, F7 from the same formula: blocks a quarter stage, test px, params [M], MACs at test px [G].
PUBLISHED = [
    (1, 256, "71.5", "12.38"),
    (2, 320, "132.6", "35.54"),
    (3, 352, "193.8", "62.59"),
    (4, 416, "254.9", "114.76"),
    (5, 512, "316.1", "215.24"),
    (6, 544, "377.2", "289.76"),
    (7, 576, "438.4", "377.28"),
    (8, 608, "499.5", "478.78"),
]

# The reference study at 224 px with 30,000 classes: depth factor, wide, partial_group, GMAC, params [M].
AT_224_PX = [
    (1, False, "dense", "9.58", "161"),
    (2, False, "dense", "17.53", "222"),
    (4, False, "dense", "33.43", "344"),
    (4, True, "floor", "51.84", "542"),
    (4, True, "dense", "57.04", "544"),
    (8, False, "dense", "65.23", "589"),
    (8, True, "floor", "100.86", "948"),
    (8, True, "dense", "111.30", "952"),
]

SMALL = st.integers(1, 24)


def nfnet(depth: int, *, is_wide: bool = False, partial_group: str = "dense") -> NFNetShape:
    """Returns F(depth - 1), or its wider "+" variant."""
    return NFNetShape(
        stage_depths=(depth, 2 * depth, 6 * depth, 3 * depth),
        stage_widths=(384, 768, 2048, 2048) if is_wide else (256, 512, 1536, 1536),
        stem_widths=(16, 32, 64, 192 if is_wide else 128),
        partial_group=partial_group,
    )


@pytest.mark.parametrize(("depth", "test_px", "params_m", "gmac"), PUBLISHED)
def test_counts_equal_the_published_table(depth: int, test_px: int, params_m: str, gmac: str) -> None:
    """Parameters and MACs of F0 to F7 equal the published ones to their last digit."""
    shape = nfnet(depth)
    assert f"{shape.params() / 1e6:.1f}" == params_m
    assert f"{shape.forward_macs(image_px=test_px) / 1e9:.2f}" == gmac


@pytest.mark.parametrize(("depth", "is_wide", "partial_group", "gmac", "params_m"), AT_224_PX)
def test_counts_of_the_reference_study(depth: int, is_wide: bool, partial_group: str, gmac: str, params_m: str) -> None:
    """At 224 px with 30,000 classes the counts are those the study's FLOPs were derived from, in both readings of +."""
    shape = nfnet(depth, is_wide=is_wide, partial_group=partial_group)
    assert f"{shape.forward_macs(image_px=224, classes=30_000) / 1e9:.2f}" == gmac
    assert f"{shape.params(classes=30_000) / 1e6:.0f}" == params_m


@pytest.mark.parametrize(
    ("partial_group", "params_m", "gmac"), [("dense", "527.0", "367.4"), ("floor", "525.0", "333.4")]
)
def test_f4_plus_in_both_readings(partial_group: str, params_m: str, gmac: str) -> None:
    """F4+ at 512 px: dense gives the published pair 527M and 367 G, floor the released code's."""
    shape = nfnet(5, is_wide=True, partial_group=partial_group)
    assert f"{shape.params() / 1e6:.1f}" == params_m
    assert f"{shape.forward_macs(image_px=512) / 1e9:.1f}" == gmac


def test_a_tiny_network_counted_by_hand() -> None:
    """A net of one stem convolution and one block has the numbers that a pencil gives."""
    shape = NFNetShape(stage_depths=(1,), stage_widths=(8,), stage_strides=(2,), stem_widths=(4,), stem_strides=(2,))
    gains_and_biases = 2 * (4 + 4 + 4 + 4 + 8 + 8 + 16)
    convolutions = 9 * 3 * 4 + 4 * 4 + 9 * 4 * 4 + 9 * 4 * 4 + 4 * 8 + 4 * 8 + 8 * 16
    squeeze_excite = 8 * 4 + 4 + 4 * 8 + 8
    assert shape.params(classes=10) == convolutions + gains_and_biases + squeeze_excite + 1 + 16 * 10 + 10
    # 16 px -> stem 8 px -> reduce at 8 px -> the rest at 4 px.
    macs = 64 * (9 * 3 * 4 + 4 * 4) + 16 * (9 * 4 * 4 * 2 + 4 * 8 + 4 * 8 + 8 * 16) + 2 * 8 * 4 + 16 * 10
    assert shape.forward_macs(image_px=16, classes=10) == macs


def test_layer_listing_follows_the_network() -> None:
    """The convolutions come in order, the transition's shortcut reads what the block reads, sizes round up."""
    shape = NFNetShape(
        stage_depths=(1, 2), stage_widths=(8, 16), stage_strides=(1, 2), stem_widths=(8,), stem_strides=(2,)
    )
    convolutions = list(shape.convolutions(image_px=15))
    names = [conv.name for conv in convolutions]
    assert names[0] == "stem.0"
    assert names[-1] == "head"
    assert [name for name in names if name.endswith("shortcut")] == ["stage0.block0.shortcut", "stage1.block0.shortcut"]
    shortcut = convolutions[names.index("stage1.block0.shortcut")]
    assert (shortcut.in_width, shortcut.out_width, shortcut.out_px) == (8, 16, 4)
    assert [conv.out_px for conv in convolutions if conv.name.startswith("stage1.block0")] == [8, 4, 4, 4, 4]


@pytest.mark.parametrize(
    ("width", "partial_group", "bottleneck", "groups"),
    [
        (8, "dense", 4, 1),
        (8, "floor", 4, 1),
        (11, "dense", 5, 1),
        (256, "dense", 128, 1),
        (384, "dense", 192, 1),
        (384, "floor", 128, 1),
        (768, "dense", 384, 3),
        (1536, "floor", 768, 6),
    ],
)
def test_bottleneck_and_groups(width: int, partial_group: str, bottleneck: int, groups: int) -> None:
    """A bottleneck of no whole groups stays one dense group, or is cut to whole groups where there is one."""
    shape = NFNetShape(stage_depths=(1,), stage_widths=(width,), stage_strides=(1,), partial_group=partial_group)
    assert (shape.bottleneck_width(0), shape.groups(0)) == (bottleneck, groups)
    assert shape.se_width(0) == width // 2


@given(widths=st.tuples(SMALL, SMALL), depths=st.tuples(SMALL, SMALL), image_px=SMALL, channels=st.integers(1, 3))
def test_every_size_of_network_counts(
    widths: tuple[int, int], depths: tuple[int, int], image_px: int, channels: int
) -> None:
    """Any two-stage net, however narrow, counts above zero, and one more block costs more."""
    few = NFNetShape(
        stage_depths=depths, stage_widths=widths, stage_strides=(1, 2), stem_widths=widths[:1], stem_strides=(2,)
    )
    more = NFNetShape(
        stage_depths=(depths[0], depths[1] + 1),
        stage_widths=widths,
        stage_strides=(1, 2),
        stem_widths=widths[:1],
        stem_strides=(2,),
    )
    assert 0 < few.params(channels=channels) < more.params(channels=channels)
    macs = [shape.forward_macs(image_px=image_px, channels=channels) for shape in (few, more)]
    assert 0 < macs[0] < macs[1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage_strides": (1, 2)}, "same number of stages"),
        ({"stem_widths": (8, 8)}, "same number of convolutions"),
        ({"stage_depths": (0,)}, "above zero"),
        ({"se_ratio": 0.0}, "above zero"),
        ({"partial_group": "half"}, "choose dense or floor"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, object], message: str) -> None:
    """A shape that no network can have is refused with what is wrong."""
    fields: dict[str, object] = {"stage_depths": (1,), "stage_widths": (8,), "stage_strides": (1,)} | changes
    with pytest.raises(StudyError, match=message):
        NFNetShape(**fields)  # pyright: ignore[reportArgumentType]
