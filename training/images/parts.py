"""`parts`: an endless procedural image set whose skills follow a power law, drawn by index inside the training step.

An image is a grid of parts from a Zipf-distributed dictionary, rolled, dimmed and noised. A fixed teacher reads the
parts and the neighbour pairs and gives soft labels; the loss is the Kullback-Leibler divergence to the teacher, so the
irreducible part of the cross entropy (the teacher's entropy) is known exactly and taken off.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from sweeps.trial import DataSpec
from training.images.counter_random import hashed, standardised, uniform

PARTS = 512
"""Dictionary size."""
ZIPF_EXPONENT = 2.0
"""p(k) ~ k^-exponent: sets how fast the rare skills thin out, and so the slope of the law."""
TILE_PX = 4
TEACHER_SCALE = 4.0
PAIR_WEIGHT = 0.5
GAIN_SPREAD = 0.2
NOISE_STD = 0.1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class World:
    """The fixed dictionary and teacher of one generator seed."""

    tiles: jax.Array
    """(parts, tile pixels, channels)."""
    cumulative: jax.Array
    """(parts,): cumulative probability of the parts."""
    votes: jax.Array
    """(parts, classes): what a part says by itself."""
    left: jax.Array
    right: jax.Array
    """(parts, classes): their product is what a horizontal neighbour pair says."""


def make_world(data: DataSpec) -> World:
    """Returns the dictionary and teacher of `data.generator_seed`."""
    rng = np.random.Generator(np.random.Philox(key=data.generator_seed + 1))
    side, channels = TILE_PX, data.channels
    colour = rng.normal(size=(PARTS, 1, 1, channels))
    blocks = rng.normal(size=(PARTS, 2, 2, channels)).repeat(side // 2, axis=1).repeat(side // 2, axis=2)
    pixels = rng.normal(size=(PARTS, side, side, channels))
    tiles = colour + 0.6 * blocks + 0.4 * pixels
    probability = np.arange(1, PARTS + 1) ** -ZIPF_EXPONENT
    probability /= probability.sum()
    votes = rng.normal(size=(PARTS, data.classes))
    return World(
        tiles=jnp.asarray(tiles.reshape(PARTS, side * side, channels), jnp.float32),
        cumulative=jnp.asarray(np.cumsum(probability), jnp.float32),
        votes=jnp.asarray(votes - probability @ votes, jnp.float32),
        left=jnp.asarray(rng.normal(size=(PARTS, data.classes)), jnp.float32),
        right=jnp.asarray(rng.normal(size=(PARTS, data.classes)), jnp.float32),
    )


def draw(world: World, indices: jax.Array, stream: jax.Array, *, image_px: int) -> tuple[jax.Array, jax.Array]:
    """Returns images (batch, px, px, channels) and teacher log-probabilities (batch, classes) of uint32 indices.

    The same (stream, index) gives the same image on every machine: all randomness is an integer hash of it.
    """
    seeds = hashed(indices, stream)
    grid = image_px // TILE_PX
    slots = grid * grid
    chance = uniform(seeds, slots + 3)
    parts = jnp.searchsorted(world.cumulative, chance[:, :slots]).astype(jnp.int32)
    parts = jnp.minimum(parts, PARTS - 1).reshape(-1, grid, grid)
    images = _paint(world, parts, chance[:, slots], chance[:, slots + 1], image_px)
    gain = jnp.exp(GAIN_SPREAD * standardised(chance[:, slots + 2]))
    noise = standardised(uniform(seeds ^ jnp.uint32(0x9E3779B9), images[0].size)).reshape(images.shape)
    return gain[:, None, None, None] * images + NOISE_STD * noise, jax.nn.log_softmax(_teach(world, parts))


def _paint(world: World, parts: jax.Array, roll_x: jax.Array, roll_y: jax.Array, px: int) -> jax.Array:
    """Returns the grid of tiles, rolled round by an even number of pixels along each axis."""
    places = jnp.arange(px)
    rows = (places[None, :] + 2 * jnp.floor(roll_y * (px // 2)).astype(jnp.int32)[:, None]) % px
    columns = (places[None, :] + 2 * jnp.floor(roll_x * (px // 2)).astype(jnp.int32)[:, None]) % px
    image = jnp.arange(parts.shape[0])[:, None, None]
    tile = parts[image, rows[:, :, None] // TILE_PX, columns[:, None, :] // TILE_PX]
    inside = (rows % TILE_PX)[:, :, None] * TILE_PX + (columns % TILE_PX)[:, None, :]
    return world.tiles[tile, inside]


def _teach(world: World, parts: jax.Array) -> jax.Array:
    """Returns the teacher's logits: the parts' votes plus those of horizontal neighbours (wrapping round)."""
    slots = parts.shape[1] * parts.shape[2]
    votes = jnp.sum(world.votes[parts], axis=(1, 2))
    pairs = jnp.sum(world.left[parts] * world.right[jnp.roll(parts, -1, axis=2)], axis=(1, 2))
    scale = TEACHER_SCALE / math.sqrt(slots * (1.0 + PAIR_WEIGHT**2))
    return scale * (votes + PAIR_WEIGHT * pairs)
