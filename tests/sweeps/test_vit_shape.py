"""Counts of ViTs against published ones."""

import dataclasses
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sweeps.canonical import from_jsonable
from sweeps.errors import StudyError
from sweeps.vit_shape import ViTShape

CONF = Path(__file__).resolve().parents[2] / "conf" / "model" / "vit"


def vit(name: str, **changes: object) -> ViTShape:
    """Returns the shape of a file in conf/model/vit, with other values of some fields."""
    shape = from_jsonable(ViTShape, yaml.safe_load((CONF / f"vit_{name}.yaml").read_text())["shape"])
    return dataclasses.replace(shape, **changes)  # pyright: ignore[reportArgumentType]


# Exact counts with 1,000 classes (0 where the source has none) at 224 px.
PUBLISHED = [
    # torchvision's documentation of vit_b_16, vit_l_16 and vit_h_14 (num_params of its weights)
    ("b16", {}, 1000, 86_567_656),
    ("l16", {}, 1000, 304_326_632),
    ("h14", {}, 1000, 632_045_800),
    # timm 1.0.31, vit_small_patch16_224, vit_giant_patch14_224 and vit_gigantic_patch14_224, class token
    ("s16", {}, 1000, 22_050_664),
    ("g14", {"pooling": "token"}, 1000, 1_012_611_432),
    ("gg14", {"pooling": "token"}, 1000, 1_844_440_680),
    # timm 1.0.31, the same with class_token=False and global_pool="map", as arXiv:2106.04560 has them
    ("g14", {}, 1000, 1_037_857_384),
    ("gg14", {}, 1000, 1_882_797_416),
    # timm 1.0.31, vit_so400m_patch14_siglip_224
    ("so400m14", {}, 1000, 428_833_704),
    ("so400m14", {}, 0, 427_680_704),
]

# Millions as the papers round them, and the reading under which they agree: with attention pooling or without.
ROUNDED = [
    ("g14", {"pooling": "mean"}, "1011"),  # arXiv:2106.04560 table 2: without pooling and classifier
    ("gg14", {"pooling": "mean"}, "1843"),  # likewise
    ("so400m14", {}, "428"),  # arXiv:2305.13035: with attention pooling, without classifier
]

# GMAC ("GFLOPS") of torchvision's documentation, 1,000 classes, to its three decimals; image sizes of fine-tuning too.
PUBLISHED_GMAC = [
    ("b16", 224, "17.564"),
    ("b16", 384, "55.484"),
    ("l16", 224, "61.555"),
    ("l16", 512, "361.986"),
    ("h14", 224, "167.295"),
    ("h14", 518, "1016.717"),
]


@pytest.mark.parametrize(("name", "changes", "classes", "params"), PUBLISHED)
def test_parameters_equal_the_published_ones(name: str, changes: dict[str, object], classes: int, params: int) -> None:
    """Parameters equal those of the libraries that people load these models from, to the last one."""
    assert vit(name, **changes).params(image_px=224, classes=classes) == params


@pytest.mark.parametrize(("name", "changes", "millions"), ROUNDED)
def test_parameters_round_to_those_of_the_papers(name: str, changes: dict[str, object], millions: str) -> None:
    """The papers' own figures come out where pooling is read as they counted it."""
    assert f"{vit(name, **changes).params(image_px=224, classes=0) / 1e6:.0f}" == millions


@pytest.mark.parametrize(("name", "image_px", "gmac"), PUBLISHED_GMAC)
def test_macs_equal_the_published_ones(name: str, image_px: int, gmac: str) -> None:
    """MACs, those of attention included, equal the published ones at every image size."""
    assert f"{vit(name).forward_macs(image_px=image_px) / 1e9:.3f}" == gmac


def test_a_table_of_positions_is_as_large_as_the_image() -> None:
    """At 384 px ViT-B/16 has the published 86,859,496 parameters: the same but for 380 more positions."""
    shape = vit("b16")
    assert shape.params(image_px=384) == 86_859_496
    assert shape.params(image_px=384) - shape.params(image_px=224) == (24**2 - 14**2) * 768


def test_a_tiny_transformer_counted_by_hand() -> None:
    """One block of width 4 on four patches has the numbers that a pencil gives."""
    shape = ViTShape(patch_px=2, width=4, depth=1, heads=2, mlp_width=8, pooling="mean")
    patches, positions, norms = 2 * 2 * 3 * 4 + 4, 4 * 4, 3 * 2 * 4
    attention, mlp = 4 * 16 + 16, 4 * 8 + 8 + 8 * 4 + 4
    assert shape.params(image_px=4, classes=10) == patches + positions + norms + attention + mlp + 4 * 10 + 10
    macs = 4 * (12 * 4) + 4 * (4 * 16 + 2 * 32) + 2 * 4 * 4 * 4 + 40
    assert shape.forward_macs(image_px=4, classes=10) == macs


@given(
    width=st.integers(1, 8),
    depth=st.integers(1, 6),
    patch_px=st.integers(1, 8),
    image_px=st.integers(8, 64),
    pooling=st.sampled_from(["token", "map", "mean"]),
)
def test_more_of_anything_costs_more(width: int, depth: int, patch_px: int, image_px: int, pooling: str) -> None:
    """Another block, a wider token, a larger image by a patch: each has more MACs, and no fewer parameters."""
    shape = ViTShape(patch_px=patch_px, width=width, depth=depth, heads=1, mlp_width=4 * width, pooling=pooling)
    params, macs = shape.params(image_px=image_px), shape.forward_macs(image_px=image_px)
    assert params > 0 and macs > 0
    for more in (dataclasses.replace(shape, depth=depth + 1), dataclasses.replace(shape, width=width + 1)):
        assert more.params(image_px=image_px) > params
        assert more.forward_macs(image_px=image_px) > macs
    assert shape.params(image_px=image_px + patch_px) > params
    assert shape.forward_macs(image_px=image_px + patch_px) > macs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, r"multiple of heads.*width=770"),
        ({"pooling": "max"}, "choose token, map or mean"),
        ({"depth": 0}, "above zero"),
        ({"patch_px": 0}, "above zero"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, object], message: str) -> None:
    """A shape that no transformer can have is refused with what is wrong."""
    with pytest.raises(StudyError, match=message):
        vit("b16", **changes)


def test_an_image_smaller_than_a_patch_is_refused() -> None:
    """No patch fits: the message says which sizes meet."""
    with pytest.raises(StudyError, match="patch of 16 px does not fit into an image of 8 px"):
        vit("b16").params(image_px=8)
