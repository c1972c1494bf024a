"""Which part of an image is looked at: a random one in training, the middle in evaluation."""

import math
from collections.abc import Sequence
from typing import NamedTuple

_TRIES = 10
CHANCES = 4 * _TRIES + 1
"""Uniforms in [0, 1) that one training image takes."""
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
EVALUATION_MARGIN_PX = 32
"""An image is resized so that its short side exceeds the evaluated square by so much (arXiv:2102.06171, appendix A)."""


class Box(NamedTuple):
    """A part of an image [pixels of the original]."""

    left: float
    top: float
    width: float
    height: float


def random_box(width: int, height: int, chances: Sequence[float]) -> Box:
    """Returns a box of random area and aspect ratio within the image (arXiv:1409.4842, sec. 6).

    The area is 0.08 to 1 of the image's, the ratio of the sides 3/4 to 4/3, uniform in its logarithm. Where ten tries
    do not fit into the image, it is the largest middle box whose ratio is allowed.

    Args:
        width: of the image [pixels].
        height: of the image [pixels].
        chances: CHANCES uniforms in [0, 1), of which the last is left for the caller.
    """
    for area, aspect, across, down in zip(*(chances[start : 4 * _TRIES : 4] for start in range(4)), strict=True):
        box_area = (_AREA[0] + area * (_AREA[1] - _AREA[0])) * width * height
        ratio = _ASPECT[0] * (_ASPECT[1] / _ASPECT[0]) ** aspect
        box_width, box_height = round(math.sqrt(box_area * ratio)), round(math.sqrt(box_area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            left = math.floor(across * (width - box_width + 1))
            return Box(left, math.floor(down * (height - box_height + 1)), box_width, box_height)
    box_width = min(width, round(height * _ASPECT[1]))
    box_height = min(height, round(width / _ASPECT[0]))
    return Box((width - box_width) // 2, (height - box_height) // 2, box_width, box_height)


def middle_box(width: int, height: int, px: int) -> Box:
    """Returns the middle square that is `px` wide when the image's short side is px + EVALUATION_MARGIN_PX."""
    side = min(width, height) * px / (px + EVALUATION_MARGIN_PX)
    return Box((width - side) / 2, (height - side) / 2, side, side)
