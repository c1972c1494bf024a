import jax
import jax.numpy as jnp
import numpy as np
import pytest

from training.pod.hlo_text import parse
from training.pod.hlo_traffic import Traffic, by_instruction, traffic

X, W = np.ones((64, 96), np.float32), np.ones((96, 96), np.float32)
IMAGES, KERNEL = np.ones((2, 8, 8, 3), np.float32), np.ones((3, 3, 3, 5), np.float32)


def convolution(x: jax.Array, w: jax.Array) -> jax.Array:
    """A 3x3 convolution."""
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


LOOP_FREE = {
    "products": (lambda x, w: jnp.tanh(x @ w) @ w.T, (X, W)),
    "gradient": (jax.grad(lambda w: jnp.mean(jax.nn.gelu(X @ w) ** 2)), (W,)),
    "reduction": (lambda x: jnp.sum(x**2, axis=0) / jnp.max(x), (X,)),
    "slice": (lambda x, i: jax.lax.dynamic_slice(x, (i, 0), (4, 96)) * 2, (X, 3)),
    "update": (lambda x, i: jax.lax.dynamic_update_slice(x, jnp.ones((4, 96)), (i, 0)), (X, 3)),
    "convolution": (convolution, (IMAGES, KERNEL)),
    "gather": (lambda x, i: x[i], (X, np.arange(5))),
    "softmax": (jax.nn.softmax, (X,)),
}


@pytest.mark.parametrize("name", LOOP_FREE)
def test_it_counts_as_xla_does_where_there_is_no_loop(name: str) -> None:
    """To the byte, on programs that XLA counts rightly."""
    function, arguments = LOOP_FREE[name]
    compiled = jax.jit(function).lower(*arguments).compile()
    assert traffic(parse(compiled.as_text())).touched_bytes == compiled.cost_analysis()["bytes accessed"]


@pytest.mark.parametrize("trips", [2, 7])
def test_the_body_of_a_loop_counts_as_often_as_it_runs(trips: int) -> None:
    """Each trip reads its own weight and no other; XLA counts one trip, whatever their number."""

    def chain(ws: jax.Array, x: jax.Array) -> jax.Array:
        return jax.lax.scan(lambda x, w: (x @ w, None), x, ws)[0]

    def moved(trips: int) -> float:
        ws = jax.ShapeDtypeStruct((trips, 96, 96), jnp.float32)
        return traffic(parse(jax.jit(chain).lower(ws, X).compile().as_text())).touched_bytes

    a_trip = moved(4) - moved(3)
    assert moved(trips + 1) - moved(trips) == pytest.approx(a_trip, abs=64)
    smallest, largest = W.nbytes + 2 * X.nbytes, 4 * (W.nbytes + 2 * X.nbytes)
    assert smallest <= a_trip <= largest


NESTED = """HloModule nested

%inner_body (p: (s32[], f32[256])) -> (s32[], f32[256]) {
  %p = (s32[], f32[256]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %x = f32[256]{0} get-tuple-element(%p), index=1
  %y = f32[256]{0} negate(%x)
  ROOT %t = (s32[], f32[256]{0}) tuple(%i, %y)
}

%inner_condition (q: (s32[], f32[256])) -> pred[] {
  %q = (s32[], f32[256]{0}) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %bound = s32[] constant(3)
  ROOT %less = pred[] compare(%j, %bound), direction=LT
}

%outer_body (r: (s32[], f32[256])) -> (s32[], f32[256]) {
  %r = (s32[], f32[256]{0}) parameter(0)
  ROOT %w = (s32[], f32[256]{0}) while(%r), condition=%inner_condition, body=%inner_body
}

ENTRY %main (a: (s32[], f32[256])) -> (s32[], f32[256]) {
  %a = (s32[], f32[256]{0}) parameter(0)
  ROOT %w2 = (s32[], f32[256]{0}) while(%a), condition=%inner_condition, body=%outer_body, KNOWN
}
"""


def test_loops_within_loops_multiply_and_a_noted_count_goes_first() -> None:
    """Inner: 3 trips from its condition; outer: 5 from XLA's note."""
    noted = 'backend_config={"known_trip_count":{"n":"5"}}'
    counted = list(by_instruction(parse(NESTED.replace("KNOWN", noted))))
    negations = [moved for one, moved in counted if one.opcode == "negate"]
    assert negations == [Traffic(touched_bytes=15 * 2048, main_memory_bytes=15 * 2048)]


def test_a_loop_of_unknown_length_is_refused() -> None:
    """Better no figure than one that holds the body once."""
    with pytest.raises(ValueError, match="cannot tell how often w2 in main runs"):
        traffic(parse(NESTED.replace("direction=LT", "direction=NE").replace("KNOWN", "x={}")))


ON_CHIP = """HloModule on_chip

ENTRY %main (p: f32[8,128]) -> f32[8,128] {
  %p = f32[8,128]{1,0:T(8,128)} parameter(0)
  %s = (f32[8,128]{1,0:T(8,128)S(3)}, f32[8,128]{1,0:T(8,128)}, u32[]{:S(2)}) copy-start(%p)
  %d = f32[8,128]{1,0:T(8,128)S(3)} copy-done(%s)
  ROOT %n = f32[8,128]{1,0:T(8,128)} negate(%d)
}
"""


def test_what_stays_on_the_chip_is_no_traffic_of_main_memory() -> None:
    """The prefetch reads main memory once, the negation writes it once; between them the array is on the chip."""
    one = 8 * 128 * 4
    assert traffic(parse(ON_CHIP)) == Traffic(touched_bytes=4 * one, main_memory_bytes=2 * one)


@pytest.mark.parametrize(
    ("kind", "size_bytes"),
    [
        ("f32[3,5]{1,0}", 60),
        ("f32[3,5]{1,0:T(8,128)}", 4 * 8 * 128),
        ("bf16[16,112,112,64]{0,3,2,1:T(8,128)(2,1)}", 2 * 112 * 112 * 64 * 128),
        ("f32[30]{0:T(1024)S(3)}", 4096),
        ("pred[]", 1),
        ("u4[7]{0}", 3),
        ("f8e4m3fn[7]{0}", 7),
    ],
)
def test_arrays_take_whole_tiles(kind: str, size_bytes: int) -> None:
    """A TPU lays the two innermost axes out in tiles, so that narrow arrays take more than their numbers."""
    text = f"ENTRY %main (p: f32[1]) -> f32[1] {{\n  ROOT %p = {kind} parameter(0)\n}}"
    assert parse(text).entry.instructions["p"].size_bytes == size_bytes


def test_a_text_that_is_no_program_is_refused() -> None:
    """The text of something else has no entry."""
    with pytest.raises(ValueError, match="no ENTRY computation"):
        parse("hello")
