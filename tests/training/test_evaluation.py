import functools
import math

import jax
import jax.numpy as jnp
import pytest

from sweeps.trial import RecipeSpec, ScheduleSpec
from tests.training.small_nets import changed
from tests.training.small_pool import DATA, IMAGES, TARGETS, TOKENS, logits_of, pool, sharp_params
from tests.training.small_streams import SmallStream
from training.data import fed_source
from training.evaluation import score
from training.source import HELD_OUT, SELECTION
from training.step import Programs, TrainState, divergence, make_programs

FED = changed(DATA, name="small", held_out_images=300, selection_images=40)
RECIPE = RecipeSpec(label_smoothing=0.3)
SCHEDULE = ScheduleSpec(name="cosine", warmup_steps=0)


def state() -> TrainState:
    """What is scored: a network that is far from uniform."""
    return TrainState(sharp_params(), (), None, jnp.int32(0), jnp.float32(0))


@functools.cache
def fed_programs() -> Programs:
    """The programs of a set whose images come from the host."""
    return make_programs(TOKENS, FED, RECIPE, SCHEDULE, fed_source(SmallStream(FED), FED))


def test_the_score_is_the_mean_over_the_held_out_images() -> None:
    """The compiled evaluation equals loss and top-1 error computed outside of it, without smoothing."""
    programs = make_programs(TOKENS, DATA, RECIPE, SCHEDULE, pool())
    logits = logits_of(sharp_params(), IMAGES)
    got = score(programs, pool(), state(), DATA, HELD_OUT)
    assert got.loss == pytest.approx(float(jnp.mean(divergence(logits, TARGETS))), rel=1e-5)
    assert got.error == float(jnp.mean(jnp.argmax(logits, -1) != jnp.argmax(TARGETS, -1)))


@pytest.mark.parametrize("part", [HELD_OUT, SELECTION])
def test_rows_that_fill_up_the_last_batch_count_nothing(part: int) -> None:
    """Of a streamed set every image counts once, though 300 are no whole number of batches."""
    source = fed_source(SmallStream(FED), FED)
    name, count = ("held_out", 300) if part == HELD_OUT else ("selection", 40)
    (batch,) = SmallStream(FED).held_out(part=name, batch_images=count, rows=slice(0, count))
    images, targets = source.draw(
        (batch.images, batch.labels, batch.is_good), jnp.zeros(1, jnp.uint32), jnp.zeros(1, jnp.uint32)
    )
    logits = logits_of(sharp_params(), images)
    got = score(fed_programs(), source, state(), FED, part)
    assert got.loss == pytest.approx(float(jnp.mean(divergence(logits, targets))), rel=1e-5)
    assert got.error == pytest.approx(float(jnp.mean(jnp.argmax(logits, -1) != batch.labels)))


def test_a_set_of_which_nothing_can_be_read_has_no_score() -> None:
    """Missing is missing, not 0."""
    nothing = changed(FED, held_out_images=0)
    got = score(fed_programs(), fed_source(SmallStream(nothing), nothing), state(), nothing, HELD_OUT)
    assert math.isnan(got.loss) and math.isnan(got.error)


def test_the_average_is_what_is_scored() -> None:
    """Where the recipe has an average of weights, the others do not matter."""
    now, source = state(), fed_source(SmallStream(FED), FED)
    averaged = TrainState(jax.tree.map(jnp.zeros_like, now.params), (), now.params, now.step, now.loss_sum)
    assert score(fed_programs(), source, averaged, FED, SELECTION) == score(fed_programs(), source, now, FED, SELECTION)
