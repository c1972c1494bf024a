"""The numbers of an NFNet, and its parameters and multiply-accumulates in closed form.

Counts follow the released code (google-deepmind/deepmind-research, nfnets/): every scaled weight-standardised
convolution carries a gain and a bias per output channel, squeeze-excite and the classifier are plain linear layers
with biases, and each block has one SkipInit scalar. Pooling, activations and standardisation are not counted as MACs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sweeps.errors import StudyError

PARTIAL_GROUP_CHOICES = ("dense", "floor")


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """One scaled weight-standardised convolution of a network, at a given image size."""

    name: str
    """Where it sits: stem.0, stage0.block0.reduce, head."""
    kernel_px: int
    in_width: int
    out_width: int
    groups: int
    stride: int
    out_px: int
    """Side of its output [pixels], padding SAME."""

    @property
    def weights(self) -> int:
        """Weights without gain and bias."""
        return self.kernel_px**2 * (self.in_width // self.groups) * self.out_width

    @property
    def params(self) -> int:
        """Weights, and a gain and a bias for each output channel."""
        return self.weights + 2 * self.out_width

    @property
    def macs(self) -> int:
        """Forward multiply-accumulates for one image."""
        return self.weights * self.out_px**2


@dataclass(frozen=True, kw_only=True)
class Block:
    """One residual block: reduce 1x1, two grouped 3x3, expand 1x1, squeeze-excite, SkipInit, shortcut."""

    stage: int
    index: int
    """Position within its stage; block 0 is the transition."""
    in_width: int
    out_width: int
    bottleneck_width: int
    groups: int
    se_width: int
    stride: int
    """Of the first 3x3 convolution; the shortcut takes it as average pooling."""

    @property
    def is_transition(self) -> bool:
        """Whether the shortcut is a 1x1 convolution: the first block of every stage, also where widths agree."""
        return self.index == 0

    @property
    def name(self) -> str:
        """Its place in the network, stage0.block0."""
        return f"stage{self.stage}.block{self.index}"

    @property
    def se_params(self) -> int:
        """Both linear layers of squeeze-excite, with their biases."""
        return 2 * self.out_width * self.se_width + self.se_width + self.out_width


@dataclass(frozen=True, kw_only=True)
class NFNetShape:
    """An NFNet (arXiv:2102.06171): stem, stages of bottleneck blocks, final 1x1 convolution, classifier."""

    stage_depths: tuple[int, ...]
    """Blocks of each stage."""
    stage_widths: tuple[int, ...]
    """Output channels of each stage."""
    stage_strides: tuple[int, ...] = (1, 2, 2, 2)
    stem_widths: tuple[int, ...] = (16, 32, 64, 128)
    """Output channels of the 3x3 stem convolutions; an activation between them, none after the last."""
    stem_strides: tuple[int, ...] = (2, 1, 1, 2)
    group_width: int = 128
    """Channels of a group in the 3x3 convolutions."""
    bottleneck_ratio: float = 0.5
    """Channels inside a block over its output channels."""
    partial_group: str = "dense"
    """A bottleneck that is no multiple of group_width: kept as one `dense` group, or cut down to it (`floor`)."""
    se_ratio: float = 0.5
    """Hidden units of squeeze-excite over the block's output channels."""
    head_ratio: float = 2.0
    """Channels of the final 1x1 convolution over the last stage's."""

    def __post_init__(self) -> None:
        stages = (len(self.stage_depths), len(self.stage_widths), len(self.stage_strides))
        if len(set(stages)) != 1 or not stages[0]:
            raise StudyError(
                "stage_depths, stage_widths and stage_strides must name the same number of stages, at least one; "
                f"got {stages[0]}, {stages[1]} and {stages[2]} (a two-stage net: stage_strides=[1,2])"
            )
        if len(self.stem_widths) != len(self.stem_strides) or not self.stem_widths:
            raise StudyError(
                "stem_widths and stem_strides must name the same number of convolutions, at least one; "
                f"got {len(self.stem_widths)} and {len(self.stem_strides)} (one: stem_widths=[8] stem_strides=[2])"
            )
        counts = (*self.stage_depths, *self.stage_widths, *self.stage_strides, *self.stem_widths, *self.stem_strides)
        if min(*counts, self.group_width, self.bottleneck_ratio, self.se_ratio, self.head_ratio) <= 0:
            raise StudyError(f"every number of a shape must be above zero; got {self}")
        if self.partial_group not in PARTIAL_GROUP_CHOICES:
            raise StudyError(f"partial_group {self.partial_group!r} is unknown; choose dense or floor")

    def bottleneck_width(self, stage: int) -> int:
        """Returns the channels of the 3x3 convolutions of a stage, counted from 0."""
        width = max(1, int(self.bottleneck_ratio * self.stage_widths[stage]))
        if self.partial_group == "floor" and width > self.group_width:
            return width // self.group_width * self.group_width
        return width

    def groups(self, stage: int) -> int:
        """Returns the groups of the 3x3 convolutions of a stage; a bottleneck of no whole groups is one dense group."""
        width = self.bottleneck_width(stage)
        return width // self.group_width if width % self.group_width == 0 else 1

    def se_width(self, stage: int) -> int:
        """Returns the hidden units of squeeze-excite in a stage."""
        return max(1, int(self.se_ratio * self.stage_widths[stage]))

    @property
    def head_width(self) -> int:
        """Channels of the final 1x1 convolution, which the classifier reads."""
        return max(1, int(self.head_ratio * self.stage_widths[-1]))

    def blocks(self) -> Iterator[Block]:
        """Yields the residual blocks in order."""
        in_width = self.stem_widths[-1]
        for stage, (depth, width) in enumerate(zip(self.stage_depths, self.stage_widths, strict=True)):
            for index in range(depth):
                yield Block(
                    stage=stage,
                    index=index,
                    in_width=in_width,
                    out_width=width,
                    bottleneck_width=self.bottleneck_width(stage),
                    groups=self.groups(stage),
                    se_width=self.se_width(stage),
                    stride=self.stage_strides[stage] if index == 0 else 1,
                )
                in_width = width

    def convolutions(self, *, image_px: int, channels: int = 3) -> Iterator[Convolution]:
        """Yields every convolution of the network in order, with the side of its output at this image size.

        This is the one list of layers: params() and forward_macs() sum over it.
        """
        px, width = image_px, channels

        def conv(name: str, kernel_px: int, out_width: int, *, groups: int = 1, stride: int = 1) -> Convolution:
            nonlocal px, width
            px, in_width, width = -(-px // stride), width, out_width
            return Convolution(
                name=name,
                kernel_px=kernel_px,
                in_width=in_width,
                out_width=out_width,
                groups=groups,
                stride=stride,
                out_px=px,
            )

        for index, (stem_width, stride) in enumerate(zip(self.stem_widths, self.stem_strides, strict=True)):
            yield conv(f"stem.{index}", 3, stem_width, stride=stride)
        for block in self.blocks():
            yield conv(f"{block.name}.reduce", 1, block.bottleneck_width)
            yield conv(f"{block.name}.grouped0", 3, block.bottleneck_width, groups=block.groups, stride=block.stride)
            yield conv(f"{block.name}.grouped1", 3, block.bottleneck_width, groups=block.groups)
            yield conv(f"{block.name}.expand", 1, block.out_width)
            if block.is_transition:  # pooled first, so it runs at the block's output size
                width = block.in_width
                yield conv(f"{block.name}.shortcut", 1, block.out_width)
        yield conv("head", 1, self.head_width)

    def params(self, *, image_px: int = 1, classes: int = 1000, channels: int = 3) -> int:
        """Returns all trainable numbers: convolutions with gains and biases, squeeze-excite, SkipInit, classifier.

        They are the same for every image_px, which other families need.
        """
        convolutions = sum(conv.params for conv in self.convolutions(image_px=image_px, channels=channels))
        blocks = sum(block.se_params + 1 for block in self.blocks())
        return convolutions + blocks + (self.head_width + 1) * classes

    def forward_macs(self, *, image_px: int, classes: int = 1000, channels: int = 3) -> int:
        """Returns the multiply-accumulates of one image's forward pass: convolutions, squeeze-excite, classifier."""
        convolutions = sum(conv.macs for conv in self.convolutions(image_px=image_px, channels=channels))
        squeeze_excite = sum(2 * block.out_width * block.se_width for block in self.blocks())
        return convolutions + squeeze_excite + self.head_width * classes
