"""The families of architectures: every shape gives `params` and `forward_macs` for an image size, classes, channels."""

from sweeps.hybrid_shape import HybridShape
from sweeps.nfnet_shape import NFNetShape
from sweeps.separable_shape import SeparableShape
from sweeps.vit_shape import ViTShape

Shape = NFNetShape | ViTShape | SeparableShape | HybridShape
"""Where JSON is read back, the keys of a shape tell which of them it is."""

FAMILIES: dict[str, type[Shape]] = {
    "nfnet": NFNetShape,
    "vit": ViTShape,
    "separable": SeparableShape,
    "hybrid": HybridShape,
}
"""The shape of a family, under the word that conf/model and a trial's `family` hold."""
