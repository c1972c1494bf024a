import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sweeps.nfnet_shape import NFNetShape
from training.networks import nfnet
from training.networks.convolution import convolve
from training.networks.forward import Forward
from training.pod.matrix_flops import matrix_flops

DEEP = NFNetShape(
    stage_depths=(1, 4),
    stage_widths=(8, 16),
    stage_strides=(1, 2),
    stem_widths=(4,),
    stem_strides=(2,),
    group_width=4,
)


def of(function: object, *arguments: object) -> int:
    """FLOPs of a function."""
    return matrix_flops(jax.make_jaxpr(function)(*arguments).jaxpr)  # type: ignore[arg-type]


def test_products_and_their_gradients() -> None:
    """A product is 2 m k n; its gradients for both operands are as much again each."""
    x, w = jnp.ones((4, 5)), jnp.ones((5, 6))
    assert of(lambda x, w: x @ w, x, w) == 240
    assert of(jax.grad(lambda x, w: jnp.sum((x @ w) ** 2), (0, 1)), x, w) == 3 * 240


def brute_force(px: int, kernel: int, stride: int) -> int:
    """Pairs of output and kernel place that meet a pixel, along both axes, by walking over them."""
    out = -(-px // stride)
    pad = max((out - 1) * stride + kernel - px, 0) // 2
    one_axis = sum(0 <= o * stride + k - pad < px for o in range(out) for k in range(kernel))
    return one_axis**2


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_count_what_meets_a_pixel_forward_and_backward(stride: int, groups: int) -> None:
    """Both gradients meet the pairs of the convolution, whatever padding and dilation they are written with."""
    x, w = jnp.ones((4, 7, 7, 3)), jnp.ones((3, 3, 4 // groups, 6))

    def loss(x: jax.Array, w: jax.Array) -> jax.Array:
        return jnp.sum(convolve(x, w, stride=stride, groups=groups, path="xla") ** 2)

    forward = 2 * 3 * 6 * (4 // groups) * brute_force(7, 3, stride)
    assert of(loss, x, w) == forward
    assert of(jax.grad(loss, (0, 1)), x, w) == 3 * forward


def test_loops_count_every_trip() -> None:
    """A scan of n products is n products; a loop of unknown length is refused where it holds any."""
    x, ws = jnp.ones((4, 4)), jnp.ones((7, 4, 4))
    assert of(lambda x, ws: jax.lax.scan(lambda x, w: (x @ w, None), x, ws)[0], x, ws) == 7 * 128
    with pytest.raises(ValueError, match="unknown length"):
        of(lambda x, n: jax.lax.fori_loop(0, n, lambda _, x: x @ x, x), x, np.int32(3))
    assert of(lambda x, n: jax.lax.fori_loop(0, n, lambda _, x: x + 1, x), x, np.int32(3)) == 0


def test_a_network_counts_its_closed_form_less_the_padding() -> None:
    """The closed form counts every tap of a 3x3; at 32 px those that fall off the edge are a tenth of them at most."""
    params = jax.eval_shape(lambda key: nfnet.init(key, DEEP, channels=3, classes=10, skip_init=1.0), jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    flops = of(lambda p, x: nfnet.apply(p, x, DEEP, forward=Forward(path="xla")), params, images)
    closed = 2 * 2 * DEEP.forward_macs(image_px=32, classes=10)
    assert 0.85 * closed < flops <= closed
