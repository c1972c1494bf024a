"""The numbers of a transformer behind a convolutional stem, and its parameters and multiply-accumulates.

"Early convolutions help transformers see better" (arXiv:2106.14881): stride-2 3x3 convolutions and one 1x1 in place of
patches, and one block fewer. Its batch normalisation is LayerNorm over channels here, which has as many parameters and
knows no other images.
"""

import itertools
from dataclasses import dataclass

from sweeps.errors import StudyError
from sweeps.vit_shape import Encoder


@dataclass(frozen=True, kw_only=True)
class HybridShape:
    """Stem of 3x3 convolutions, each with LayerNorm and GELU, a 1x1 convolution to tokens; then as a ViT."""

    stem_widths: tuple[int, ...]
    """Output channels of the 3x3 convolutions."""
    stem_strides: tuple[int, ...]
    """Their strides; the product is the side of what a token stands for [pixels]."""
    width: int
    """Numbers of a token."""
    depth: int
    """Transformer blocks."""
    heads: int
    """Of attention; each is width / heads wide."""
    mlp_width: int
    """Hidden units of a block's MLP."""
    pooling: str = "token"
    """What the classifier reads: a class `token`, attention pooling (`map`) or the `mean` of all tokens."""

    def __post_init__(self) -> None:
        if len(self.stem_widths) != len(self.stem_strides) or not self.stem_widths:
            raise StudyError(
                "stem_widths and stem_strides must name the same number of convolutions, at least one; "
                f"got {len(self.stem_widths)} and {len(self.stem_strides)} (two: stem_widths=[8,16] stem_strides=[2,2])"
            )
        if min(*self.stem_widths, *self.stem_strides) <= 0:
            raise StudyError(f"every number of a shape must be above zero; got {self}")
        _ = self.encoder  # refuses what no transformer can have

    @property
    def encoder(self) -> Encoder:
        """The transformer behind the stem."""
        return Encoder(
            width=self.width, depth=self.depth, heads=self.heads, mlp_width=self.mlp_width, pooling=self.pooling
        )

    def grid(self, image_px: int) -> int:
        """Returns the tokens along a side of an image, padding SAME."""
        for stride in self.stem_strides:
            image_px = -(-image_px // stride)
        return image_px

    def params(self, *, image_px: int, classes: int = 1000, channels: int = 3) -> int:
        """Returns all trainable numbers; image_px is that of training, to which the table of positions is cut.

        The 3x3 convolutions have no bias of their own, for their LayerNorm has one.
        """
        widths = (channels, *self.stem_widths)
        stem = sum(9 * before * after + 2 * after for before, after in itertools.pairwise(widths))
        embedding = (widths[-1] + 1) * self.width
        return stem + embedding + self.encoder.params(grid=self.grid(image_px)) + (self.width + 1) * classes

    def forward_macs(self, *, image_px: int, classes: int = 1000, channels: int = 3) -> int:
        """Returns the multiply-accumulates of one image's forward pass: stem, blocks, pooling, classifier."""
        macs, px, before = 0, image_px, channels
        for after, stride in zip(self.stem_widths, self.stem_strides, strict=True):
            px = -(-px // stride)
            macs += px**2 * 9 * before * after
            before = after
        return macs + px**2 * before * self.width + self.encoder.forward_macs(grid=px) + self.width * classes
