"""FLOPs of the convolutions and matrix products of a traced program, loops counted as often as they run.

A compiler's own count (`compiled.cost_analysis()`) takes the body of a loop once, so that blocks which are stacked and
scanned would count as one. Here a scan counts its length; a loop whose length is known at run time alone counts once.
"""

import math
from collections.abc import Iterator
from typing import Any


def traced_flops(jaxpr: Any) -> float:
    """Returns the FLOPs of a jaxpr, two for each multiply-accumulate."""
    return sum(times * 2.0 * _macs(equation) for equation, times in _equations(jaxpr, 1))


def _equations(jaxpr: Any, times: int) -> Iterator[tuple[Any, int]]:
    """Yields every equation, those of inner programs too, with how often it runs."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation, times
        name, settings = equation.primitive.name, equation.params
        inside = times * (settings["length"] if name == "scan" else 1)
        for key, value in settings.items():
            if name == "while" and key == "cond_jaxpr":
                continue
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                if hasattr(getattr(inner, "jaxpr", inner), "eqns"):
                    yield from _equations(inner, inside)


def _macs(equation: Any) -> float:
    match equation.primitive.name:
        case "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            return _made(equation) * math.prod(left[axis] for axis in contracted)
        case "conv_general_dilated":
            weight = equation.invars[1].aval.shape
            outputs = weight[equation.params["dimension_numbers"].rhs_spec[0]]
            # What dilation puts between the pixels of the input is zeros, which nobody multiplies.
            filled = math.prod(equation.params["lhs_dilation"])
            return _made(equation) * math.prod(weight) / outputs / filled
        case _:
            return 0.0


def _made(equation: Any) -> int:
    return math.prod(equation.outvars[0].aval.shape)
