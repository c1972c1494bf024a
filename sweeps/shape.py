"""The families of architectures: each is the shape of a file `sweeps/FAMILY_shape.py`, found by its name.

Its network is `training/networks/FAMILY.py`, its models lie in conf/model: nothing else knows which families there are.
"""

import functools
import importlib
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

_ENDING = "_shape"


class AnyShape(Protocol):
    """What every shape can be asked: the numbers of an architecture are a frozen dataclass with these two methods."""

    def params(self, *, image_px: int, classes: int = ..., channels: int = ...) -> int:
        """Returns all trainable numbers, image_px being the side of the training images."""
        ...

    def forward_macs(self, *, image_px: int, classes: int = ..., channels: int = ...) -> int:
        """Returns the multiply-accumulates of one image's forward pass."""
        ...


def shape_of(family: str) -> type[Any]:
    """Returns the class of a family's file: the one public class of its own whose name ends in Shape."""
    module = importlib.import_module(f"sweeps.{family}{_ENDING}")
    named = (item for name, item in vars(module).items() if name.endswith("Shape"))
    found = [item for item in named if item.__module__ == module.__name__]
    if len(found) != 1:
        names = ", ".join(item.__name__ for item in found) or "none"
        raise TypeError(f"{module.__name__} must hold one class whose name ends in Shape; it holds {names}")
    return found[0]


FAMILIES: dict[str, type[Any]] = {
    family: shape_of(family)
    for family in sorted(path.stem.removesuffix(_ENDING) for path in Path(__file__).parent.glob(f"*{_ENDING}.py"))
}
"""The shape of a family, under the word that conf/model and a trial's `family` hold."""

if TYPE_CHECKING:
    Shape = AnyShape
else:
    Shape = functools.reduce(operator.or_, FAMILIES.values())
"""Any of them. Where JSON is read back, the keys of a shape tell which."""


def family_of(shape: Shape) -> str:
    """Returns the family that a shape is of."""
    return next(family for family, kind in FAMILIES.items() if type(shape) is kind)
