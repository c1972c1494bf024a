"""Counts of transformers behind a convolutional stem against those of arXiv:2106.14881."""

from pathlib import Path

import pytest
import yaml

from sweeps.canonical import from_jsonable
from sweeps.errors import StudyError
from sweeps.hybrid_shape import HybridShape
from sweeps.vit_shape import ViTShape

CONF = Path(__file__).resolve().parents[2] / "conf" / "model" / "hybrid"

# Parameters in millions and GMAC that arXiv:2106.14881 gives its ViT_C models at 224 px.
PUBLISHED = [
    ("vitc_1gf", "4.6", "1.1"),
    ("vitc_4gf", "17.8", "4.0"),
    ("vitc_18gf", "81.6", "17.7"),
    ("vitc_36gf", "167.8", "35.0"),
]


@pytest.mark.parametrize(("name", "millions", "gmac"), PUBLISHED)
def test_counts_round_to_the_published_ones(name: str, millions: str, gmac: str) -> None:
    """Parameters and MACs equal the published ones to their last digit; LayerNorm counts as batch normalisation."""
    shape = from_jsonable(HybridShape, yaml.safe_load((CONF / f"{name}.yaml").read_text())["shape"])
    assert f"{shape.params(image_px=224) / 1e6:.1f}" == millions
    assert f"{shape.forward_macs(image_px=224) / 1e9:.1f}" == gmac


def test_it_is_a_vit_but_for_the_stem() -> None:
    """With a ViT of the same grid it shares all numbers behind the tokens; the stem's are those of a pencil."""
    hybrid = HybridShape(stem_widths=(4, 8), stem_strides=(2, 2), width=6, depth=2, heads=2, mlp_width=12)
    vit = ViTShape(patch_px=4, width=6, depth=2, heads=2, mlp_width=12)
    stem = (9 * 3 * 4 + 8) + (9 * 4 * 8 + 16) + 8 * 6 + 6
    patches = 16 * 3 * 6 + 6
    assert hybrid.params(image_px=16) - vit.params(image_px=16) == stem - patches
    macs = 64 * 9 * 3 * 4 + 16 * 9 * 4 * 8 + 16 * 8 * 6
    assert hybrid.forward_macs(image_px=16) - vit.forward_macs(image_px=16) == macs - 16 * 48 * 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stem_strides": (2,)}, "same number of convolutions"),
        ({"stem_widths": (4, 0)}, "above zero"),
        ({"heads": 4}, "multiple of heads"),
        ({"pooling": "first"}, "choose token, map or mean"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, object], message: str) -> None:
    """A shape that no network can have is refused with what is wrong."""
    fields: dict[str, object] = {
        "stem_widths": (4, 8),
        "stem_strides": (2, 2),
        "width": 6,
        "depth": 1,
        "heads": 2,
        "mlp_width": 8,
    } | changes
    with pytest.raises(StudyError, match=message):
        HybridShape(**fields)  # pyright: ignore[reportArgumentType]
