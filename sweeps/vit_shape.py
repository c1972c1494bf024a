"""The numbers of a vision transformer (arXiv:2010.11929), and its parameters and multiply-accumulates in closed form.

Counts follow the released code (google-research/big_vision, models/vit.py): every projection has a bias, queries, keys
and values are as wide as the tokens, and a LayerNorm carries a gain and a bias. MACs count every matrix product, also
the two of attention; LayerNorm, softmax, GELU and additions are not counted.
"""

from dataclasses import dataclass

from sweeps.errors import StudyError

POOLING_CHOICES = ("token", "map", "mean")


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Transformer blocks on a square grid of tokens, and what makes one vector of their output."""

    width: int
    """Numbers of a token."""
    depth: int
    """Blocks, all alike."""
    heads: int
    mlp_width: int
    """Hidden units of a block's MLP."""
    pooling: str
    """token | map | mean."""

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.mlp_width) <= 0:
            raise StudyError(f"every number of a shape must be above zero; got {self}")
        if self.width % self.heads:
            raise StudyError(
                f"width must be a multiple of heads, for every head is as wide as the others; got width {self.width} "
                f"and {self.heads} heads (try: model.shape.width={-(-self.width // self.heads) * self.heads})"
            )
        if self.pooling not in POOLING_CHOICES:
            raise StudyError(f"pooling {self.pooling!r} is unknown; choose token, map or mean")

    def tokens(self, grid: int) -> int:
        """Returns the tokens that the blocks see on a grid of this side: its squares, and the class token if any."""
        return grid**2 + (self.pooling == "token")

    @property
    def block_params(self) -> int:
        """Attention, MLP and the two LayerNorms of a block."""
        return self._attention_params + self._mlp_params + 4 * self.width

    @property
    def pooling_params(self) -> int:
        """The class token; or the query, attention, LayerNorm and MLP of attention pooling (arXiv:2106.04560)."""
        learned = {"token": self.width, "mean": 0}
        head = self.width + self._attention_params + 2 * self.width + self._mlp_params
        return learned.get(self.pooling, head)

    def params(self, *, grid: int) -> int:
        """Returns positions, blocks, final LayerNorm and pooling; neither embedding nor classifier."""
        positions = self.tokens(grid) * self.width
        return positions + self.depth * self.block_params + 2 * self.width + self.pooling_params

    def forward_macs(self, *, grid: int) -> int:
        """Returns the multiply-accumulates of blocks and pooling for one image."""
        tokens, width = self.tokens(grid), self.width
        mlp = 2 * width * self.mlp_width
        block = tokens * (4 * width**2 + mlp) + 2 * tokens**2 * width
        head = 2 * (tokens + 1) * width**2 + 2 * tokens * width + mlp  # one query, keys and values of all tokens
        return self.depth * block + (head if self.pooling == "map" else 0)

    @property
    def _attention_params(self) -> int:
        return 4 * (self.width + 1) * self.width

    @property
    def _mlp_params(self) -> int:
        return 2 * self.width * self.mlp_width + self.mlp_width + self.width


@dataclass(frozen=True, kw_only=True)
class ViTShape:
    """A vision transformer: patches become tokens, learned positions, pre-norm blocks, pooling, classifier."""

    patch_px: int
    """Side of a patch [pixels]."""
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
        if self.patch_px <= 0:
            raise StudyError(f"every number of a shape must be above zero; got {self}")
        _ = self.encoder  # refuses what no transformer can have

    @property
    def encoder(self) -> Encoder:
        """The transformer behind the patches."""
        return Encoder(
            width=self.width, depth=self.depth, heads=self.heads, mlp_width=self.mlp_width, pooling=self.pooling
        )

    def grid(self, image_px: int) -> int:
        """Returns the patches along a side of an image; a rest at the edge is not seen."""
        if image_px < self.patch_px:
            raise StudyError(
                f"a patch of {self.patch_px} px does not fit into an image of {image_px} px "
                f"(try: model.shape.patch_px={max(1, image_px // 4)})"
            )
        return image_px // self.patch_px

    def params(self, *, image_px: int, classes: int = 1000, channels: int = 3) -> int:
        """Returns all trainable numbers; image_px is that of training, to which the table of positions is cut."""
        patches = (self.patch_px**2 * channels + 1) * self.width
        return patches + self.encoder.params(grid=self.grid(image_px)) + (self.width + 1) * classes

    def forward_macs(self, *, image_px: int, classes: int = 1000, channels: int = 3) -> int:
        """Returns the multiply-accumulates of one image's forward pass: patches, blocks, pooling, classifier."""
        grid = self.grid(image_px)
        patches = grid**2 * self.patch_px**2 * channels * self.width
        return patches + self.encoder.forward_macs(grid=grid) + self.width * classes
