"""The numbers of a depthwise-separable ConvNet, and its parameters and multiply-accumulates in closed form.

Counts follow ConvNeXt (arXiv:2201.03545): every convolution has a bias, every LayerNorm a gain and a bias, every block
a layer scale. MACs count convolutions and the classifier; LayerNorm, GELU and scales are not counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sweeps.errors import StudyError


@dataclass(frozen=True, kw_only=True)
class SeparableStage:
    """Blocks of one width at one image size, and the strided convolution before them."""

    in_width: int
    width: int
    depth: int
    entry_px: int
    """Kernel and stride of the convolution that enters the stage: patches without overlap [pixels]."""
    out_px: int
    """Side of its activations [pixels]."""


@dataclass(frozen=True, kw_only=True)
class SeparableShape:
    """Stages of residual blocks: depthwise convolution, LayerNorm, pointwise up, GELU, pointwise down, layer scale."""

    stage_depths: tuple[int, ...]
    """Blocks of each stage."""
    stage_widths: tuple[int, ...]
    """Channels of each stage."""
    kernel_px: int
    """Side of the depthwise kernels [pixels], odd: 7 (ConvNeXt), 3 (MobileNet)."""
    stem_px: int = 4
    """Side of the patches that the first stage reads [pixels]; each later stage halves the image."""
    expansion: int = 4
    """Channels inside a block over its channels."""

    def __post_init__(self) -> None:
        if len(self.stage_depths) != len(self.stage_widths) or not self.stage_depths:
            raise StudyError(
                "stage_depths and stage_widths must name the same number of stages, at least one; "
                f"got {len(self.stage_depths)} and {len(self.stage_widths)} (two: stage_depths=[1,1] "
                "stage_widths=[8,16])"
            )
        if min(*self.stage_depths, *self.stage_widths, self.kernel_px, self.stem_px, self.expansion) <= 0:
            raise StudyError(f"every number of a shape must be above zero; got {self}")
        if self.kernel_px % 2 == 0:
            raise StudyError(
                f"kernel_px must be odd, so that a kernel has a middle; got {self.kernel_px} "
                f"(try: model.shape.kernel_px={self.kernel_px + 1})"
            )

    def stages(self, *, image_px: int, channels: int = 3) -> Iterator[SeparableStage]:
        """Yields the stages in order; a rest at the edge of the image is not seen.

        Raises:
            StudyError: the image is too small for the last stage.
        """
        px, before = image_px, channels
        for index, (depth, width) in enumerate(zip(self.stage_depths, self.stage_widths, strict=True)):
            entry_px = 2 if index else self.stem_px
            px //= entry_px
            if px == 0:
                least = self.stem_px * 2 ** (len(self.stage_depths) - 1)
                raise StudyError(
                    f"{len(self.stage_depths)} stages behind patches of {self.stem_px} px need an image of {least} px; "
                    f"it has {image_px} (fewer stages, or a smaller model.shape.stem_px)"
                )
            yield SeparableStage(in_width=before, width=width, depth=depth, entry_px=entry_px, out_px=px)
            before = width

    @property
    def blocks(self) -> int:
        """Residual blocks of all stages."""
        return sum(self.stage_depths)

    def params(self, *, image_px: int, classes: int = 1000, channels: int = 3) -> int:
        """Returns all trainable numbers; they do not depend on the size of the image."""
        total = 0
        for index, stage in enumerate(self.stages(image_px=image_px, channels=channels)):
            norm = 2 * (stage.in_width if index else stage.width)  # after the stem, before every later entry
            entry = (stage.entry_px**2 * stage.in_width + 1) * stage.width
            total += norm + entry + stage.depth * self._block_params(stage.width)
        return total + 2 * self.stage_widths[-1] + (self.stage_widths[-1] + 1) * classes

    def forward_macs(self, *, image_px: int, classes: int = 1000, channels: int = 3) -> int:
        """Returns the multiply-accumulates of one image's forward pass: convolutions and classifier."""
        total = self.stage_widths[-1] * classes
        for stage in self.stages(image_px=image_px, channels=channels):
            entry = stage.entry_px**2 * stage.in_width * stage.width
            block = self.kernel_px**2 * stage.width + 2 * self.expansion * stage.width**2
            total += stage.out_px**2 * (entry + stage.depth * block)
        return total

    def _block_params(self, width: int) -> int:
        depthwise, inner = (self.kernel_px**2 + 1) * width, self.expansion * width
        pointwise = (width + 1) * inner + (inner + 1) * width
        return depthwise + 2 * width + pointwise + width
