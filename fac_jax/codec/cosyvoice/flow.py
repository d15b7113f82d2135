"""Flow matching: speech ids and a speaker to log-mel at 50 frames a second (codec.md section 2).

Two masks: "whole", every frame sees every other, as the release always calls it; "chunks", a frame sees its own chunk
and some before it, which can be computed chunk by chunk as tokens come (`fac_jax/codec/cosyvoice/flow_stream.py`).
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fac_jax import axes
from fac_jax.codec.cosyvoice.config import FlowConfig
from fac_jax.codec.cosyvoice.dit import Conditions, DiT, Past
from fac_jax.layers.conv import Conv1d
from fac_jax.layers.linear import Embedding, Linear
from fac_jax.types import Array, Params

ABSENT: int = -1  # an id where there is no token
AHEAD: int = 2  # tokens before the first that the second convolution of the look-ahead hears
ALL: int = -1  # chunks to the left that are seen: all of them


class Lookahead(nn.Module):
    """Lets a token hear the next ones."""

    config: FlowConfig

    @nn.compact
    def __call__(self, embedded: jax.Array, present: jax.Array) -> jax.Array:
        """Embeddings `[B, 2 + T + lookahead, 80]`, from two tokens before the first on -> `[B, T, 80]`.

        `present` is bool `[B, 2 + T + lookahead]`; embeddings of absent tokens are zero.
        """
        c, kept = self.config, slice(0, embedded.shape[1] - self.config.lookahead)
        wide = Conv1d(c.lookahead_width, c.lookahead + 1, (axes.CONV, axes.MEL, axes.MLP), name="conv1")(embedded)
        wide = jnp.where(present[:, kept, None], jax.nn.leaky_relu(wide), 0)
        narrow = Conv1d(c.mel_bins, AHEAD + 1, (axes.CONV, axes.MLP, axes.MEL), name="conv2")(wide)
        return narrow + embedded[:, kept][:, AHEAD:]


class Flow(nn.Module):
    """Parameters of the flow and its parts; `sample` solves it."""

    config: FlowConfig

    def setup(self) -> None:
        c = self.config
        self.embed = Embedding(c.vocab_size, c.mel_bins, (axes.CODEBOOK, axes.MEL))
        self.speaker_proj = Linear(c.mel_bins, (axes.EMBED, axes.MEL), True)
        self.lookahead = Lookahead(c)
        self.dit = DiT(c.dit, c.mel_bins)

    def mu(self, ids: jax.Array) -> jax.Array:
        """int32 `[B, 2 + T + lookahead]`, ABSENT where there is no token -> float32 `[B, T * token_frames, 80]`."""
        present = ids != ABSENT
        embedded = jnp.where(present[..., None], self.embed(jnp.maximum(ids, 0)), 0)
        return jnp.repeat(self.lookahead(embedded, present), self.config.token_frames, axis=1)

    def speaker(self, embedding: jax.Array) -> jax.Array:
        """Speaker embedding float32 `[B, 192] -> [B, 80]`."""
        norm = jnp.linalg.norm(embedding, axis=-1, keepdims=True)
        return self.speaker_proj(embedding / jnp.maximum(norm, 1e-12))

    def conditions(self, ids: Array, embedding: Array, cond: Array) -> Conditions:
        """What guidance needs of one row, ids as in `mu`, embedding `[192]`, cond `[M, 80]`: it, then none (B = 2)."""
        mu, speaker = self.mu(jnp.asarray(ids)[None]), self.speaker(jnp.asarray(embedding)[None])
        return with_and_without(Conditions(mu, jnp.asarray(cond)[None], speaker))

    def direction(self, *inputs: Any) -> tuple[jax.Array, Past | None]:
        """`DiT` of its arguments."""
        return self.dit(*inputs)

    def __call__(self, ids: jax.Array, embedding: jax.Array, frames: int) -> jax.Array:
        """Touches every parameter, for initialisation."""
        mu, speaker = self.mu(ids), self.speaker(embedding)
        zeros, positions = jnp.zeros_like(mu), jnp.arange(frames)
        mask = jnp.ones((frames, frames), bool)
        return self.direction(zeros, jnp.zeros(len(mu)), Conditions(mu, zeros, speaker), positions, mask)[0]


def times(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Times of the Euler steps and their lengths, float32 `[steps]` each, with the release's running sum."""
    grid = (1 - np.cos(np.linspace(0, 1, steps + 1, dtype=np.float32) * np.float32(0.5 * np.pi))).astype(np.float32)
    t, dt = [grid[0]], [grid[1] - grid[0]]
    for step in range(1, steps):
        t.append(np.float32(t[-1] + dt[-1]))
        dt.append(np.float32(grid[step + 1] - t[-1]))
    return np.array(t, np.float32), np.array(dt, np.float32)


def guided(direction: jax.Array, guidance: float) -> jax.Array:
    """Directions with and without conditions `[2, M, 80]` -> the one that is gone `[M, 80]`."""
    return (1 + guidance) * direction[0] - guidance * direction[1]


def with_and_without(conditions: Conditions) -> Conditions:
    """Conditions of one row beside none: B = 2."""
    return jax.tree.map(lambda a: jnp.concatenate([a, jnp.zeros_like(a)]), conditions)


def mask_of(frames: int, length: jax.Array, chunk: int | None, left: int) -> jax.Array:
    """Bool `[M, M]`: which frames see which.

    Args:
      frames: M.
      length: frames that there are; nobody sees beyond them.
      chunk: frames of a chunk; None for all frames.
      left: chunks before its own that a frame sees, or ALL.
    """
    frame = jnp.arange(frames)
    seen = jnp.broadcast_to(frame < length, (frames, frames))
    if chunk is not None:
        behind = (frame // chunk)[:, None] - frame // chunk
        seen &= behind >= 0
        if left != ALL:
            seen &= behind <= left
    return seen


@functools.partial(jax.jit, static_argnames=("config", "chunk", "left"))
def sample(
    config: FlowConfig,
    params: Params,
    ids: Array,
    length: Array,
    embedding: Array,
    cond: Array,
    noise: Array,
    chunk: int | None = None,
    left: int = ALL,
) -> jax.Array:
    """Solves the flow from noise to log-mel.

    Args:
      config: sizes.
      params: of `Flow`.
      ids: int32 `[2 + T + lookahead]`: two ABSENT, the tokens (a prompt's first), those that are only heard ahead, or
        ABSENT where the speech ends. ABSENT fills a bucket.
      length: int32, frames that are spoken; what the others hold is meaningless.
      embedding: of the speaker, float32 `[192]`.
      cond: log-mel of the prompt, zero behind it, float32 `[M, 80]`, M = `T * token_frames`.
      noise: float32 `[M, 80]`.
      chunk: frames of a chunk; None for the whole.
      left: chunks before its own that a frame sees.

    Returns:
      log-mel float32 `[M, 80]`.
    """
    model, variables = Flow(config), {"params": params}
    conditions = model.apply(variables, ids, embedding, cond, method="conditions")
    frames = len(noise)
    positions, mask = jnp.arange(frames), mask_of(frames, length, chunk, left)

    def step(x: jax.Array, at: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        t, dt = at
        both = jnp.broadcast_to(x, (2, *x.shape)), jnp.broadcast_to(t, (2,))
        direction, _ = model.apply(variables, *both, conditions, positions, mask, method="direction")
        return x + dt * guided(direction, config.guidance), None

    mel, _ = jax.lax.scan(step, noise, tuple(map(jnp.asarray, times(config.steps))))
    return mel
