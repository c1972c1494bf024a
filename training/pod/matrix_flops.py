"""Arithmetic of a traced program: its matrix products and convolutions, loops counted as often as they run.

Read from the traced program, where every loop states its length, and not from the compiled one, whose compiler counts
the body of a loop once. What is done element by element is left out: it does not run on the matrix units, whose peak
the count is held against.
"""

import math
from typing import Any

import numpy as np


def matrix_flops(jaxpr: Any) -> int:
    """Returns the FLOPs (2 a multiply-accumulate) of one run of a jaxpr, over all devices together.

    Raises:
        ValueError: a loop of unknown length holds matrix products.
    """
    return sum(_of_equation(equation) for equation in jaxpr.eqns)


def _of_equation(equation: Any) -> int:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _of_product(equation)
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    if name == "cond":
        return max(matrix_flops(branch.jaxpr) for branch in params["branches"])
    inside = sum(matrix_flops(inner) for inner in _inner(params))
    if name == "scan":
        return params["length"] * inside
    if name == "while" and inside:
        raise ValueError("a loop of unknown length holds matrix products; compile a step without one")
    return inside


def _inner(params: dict[str, Any]) -> list[Any]:
    found = []
    for value in params.values():
        jaxpr = getattr(value, "jaxpr", value)  # closed or open
        if hasattr(jaxpr, "eqns"):
            found.append(jaxpr)
    return found


def _of_product(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)


def _of_convolution(equation: Any) -> int:
    """Counts multiplications by real numbers alone: not those by padding or by the zeros between spread-out inputs."""
    params, numbers = equation.params, equation.params["dimension_numbers"]
    x, kernel, out = (one.aval.shape for one in (*equation.invars, *equation.outvars))
    taps = 1
    for axis, (low, _) in enumerate(params["padding"]):
        taps *= _taps(
            length=x[numbers.lhs_spec[2 + axis]],
            kernel=kernel[numbers.rhs_spec[2 + axis]],
            out=out[numbers.out_spec[2 + axis]],
            low=low,
            stride=params["window_strides"][axis],
            spread=params["lhs_dilation"][axis],
            kernel_spread=params["rhs_dilation"][axis],
        )
    batch, features = (out[numbers.out_spec[axis]] for axis in (0, 1))
    return 2 * taps * batch * features * kernel[numbers.rhs_spec[1]]


def _taps(*, length: int, kernel: int, out: int, low: int, stride: int, spread: int, kernel_spread: int) -> int:
    """Returns how many pairs of an output place and a kernel place meet an input along one axis."""
    place = np.arange(out)[:, None] * stride + np.arange(kernel)[None, :] * kernel_spread - low
    return int(np.sum((place >= 0) & (place <= (length - 1) * spread) & (place % spread == 0)))
