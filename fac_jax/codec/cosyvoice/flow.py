"""Flow matching: speech ids and a speaker become a log-mel at 50 frames a second (docs/codec_model.md, section 2).

There are two masks. Without chunks every frame sees every other, as the release always calls it. With chunks a frame
sees its own chunk and some earlier ones, so that `sample_chunk` can compute chunk by chunk as tokens arrive.
"""

import dataclasses
import functools
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from fac_jax import axes
from fac_jax.codec.cosyvoice.config import FlowConfig
from fac_jax.codec.cosyvoice.dit import Conditions, DiT, Past
from fac_jax.layers.conv import Conv1d
from fac_jax.layers.linear import Embedding, Linear
from fac_jax.types import Array, Params

ABSENT: int = -1  # an id where there is no token
BEFORE: int = 2  # earlier tokens that the second convolution of the look-ahead layer reads
ALL: int = -1  # every chunk to the left is seen


class Lookahead(nn.Module):
    """Adds to each token what follows it: `config.lookahead` tokens."""

    config: FlowConfig

    @nn.compact
    def __call__(
        self, embedded: Float[Array, "B padded mel_bins"], present: Bool[Array, "B padded"]
    ) -> Float[jax.Array, "B T mel_bins"]:
        """Returns T tokens from `padded = 2 + T + lookahead`: two before the first, T, and those ahead.

        Args:
          embedded: embeddings, zero where a token is absent.
          present: which tokens there are.
        """
        embedded = jnp.asarray(embedded)
        c, kept = self.config, slice(0, embedded.shape[1] - self.config.lookahead)
        wide = Conv1d(c.lookahead_width, c.lookahead + 1, (axes.CONV, axes.MEL, axes.MLP), name="conv1")(embedded)
        wide = jnp.where(present[:, kept, None], jax.nn.leaky_relu(wide), 0)
        narrow = Conv1d(c.mel_bins, BEFORE + 1, (axes.CONV, axes.MLP, axes.MEL), name="conv2")(wide)
        return narrow + embedded[:, kept][:, BEFORE:]


class Flow(nn.Module):
    """The flow with its parts; `sample` solves it."""

    config: FlowConfig

    def setup(self) -> None:
        c = self.config
        self.embed = Embedding(c.vocab_size, c.mel_bins, (axes.CODEBOOK, axes.MEL))
        self.speaker_proj = Linear(c.mel_bins, (axes.EMBED, axes.MEL), True)
        self.lookahead = Lookahead(c)
        self.dit = DiT(c.dit, c.mel_bins)

    def mu(self, ids: Int[Array, "B padded"]) -> Float[jax.Array, "B M mel_bins"]:
        """Embeds the ids of `Lookahead`, ABSENT for none, and repeats each for its frames: M = `T * token_frames`."""
        present = ids != ABSENT
        embedded = jnp.where(present[..., None], self.embed(jnp.maximum(jnp.asarray(ids), 0)), 0)
        return jnp.repeat(self.lookahead(embedded, present), self.config.token_frames, axis=1)

    def speaker(self, embedding: Float[Array, "B speaker_width"]) -> Float[jax.Array, "B mel_bins"]:
        """Normalises and projects a speaker embedding."""
        embedding = jnp.asarray(embedding)
        norm = jnp.linalg.norm(embedding, axis=-1, keepdims=True)
        return self.speaker_proj(embedding / jnp.maximum(norm, 1e-12))

    def conditions(
        self, ids: Int[Array, " padded"], embedding: Float[Array, " speaker_width"], cond: Float[Array, "M mel_bins"]
    ) -> Conditions:
        """Returns what guidance needs for one row, B = 2: first the conditions, then zeros."""
        mu, speaker = self.mu(jnp.asarray(ids)[None]), self.speaker(jnp.asarray(embedding)[None])
        return with_and_without(Conditions(mu, jnp.asarray(cond)[None], speaker))

    def direction(self, *inputs: Any) -> tuple[jax.Array, Past | None]:
        """Applies the estimator (`DiT`)."""
        return self.dit(*inputs)

    def __call__(
        self, ids: Int[Array, "B padded"], embedding: Float[Array, "B speaker_width"]
    ) -> Float[jax.Array, "B M mel_bins"]:
        """Uses every parameter, for initialisation."""
        mu = self.mu(ids)
        frames = mu.shape[1]
        conditions = Conditions(mu, jnp.zeros_like(mu), self.speaker(embedding))
        mask = jnp.ones((frames, frames), bool)
        return self.dit(jnp.zeros_like(mu), jnp.zeros(len(mu)), conditions, jnp.arange(frames), mask)[0]


def times(steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns times and lengths of the Euler steps, float32 `[steps]` each, rounded as the release rounds them."""
    grid = (1 - np.cos(np.linspace(0, 1, steps + 1, dtype=np.float32) * np.float32(0.5 * np.pi))).astype(np.float32)
    t, dt = [grid[0]], [grid[1] - grid[0]]
    for step in range(1, steps):
        t.append(np.float32(t[-1] + dt[-1]))
        dt.append(np.float32(grid[step + 1] - t[-1]))
    return np.array(t, np.float32), np.array(dt, np.float32)


def with_and_without(conditions: Conditions) -> Conditions:
    """Appends a row of zeros to the conditions of one row: B = 2."""
    return jax.tree.map(lambda a: jnp.concatenate([a, jnp.zeros_like(a)]), conditions)


def mask_of(
    frames: int, length: Int[Array, ""] | int, chunk: int | None, left: int
) -> Bool[jax.Array, "{frames} {frames}"]:
    """Returns which of M frames (rows) see which (columns).

    Args:
      length: number of valid frames; no frame sees a later one.
      chunk: frames of a chunk; None if every frame sees every valid frame.
      left: earlier chunks that a frame sees besides its own, or ALL.
    """
    frame = jnp.arange(frames)
    seen = jnp.broadcast_to(frame < length, (frames, frames))
    if chunk is not None:
        chunks_back = (frame // chunk)[:, None] - frame // chunk
        seen &= chunks_back >= 0
        if left != ALL:
            seen &= chunks_back <= left
    return seen


def _solve(
    config: FlowConfig,
    params: Params,
    conditions: Conditions,
    positions: Array,
    mask: Array,
    noise: Array,
    past: Past | None = None,
) -> tuple[jax.Array, Past | None]:
    """Solves the flow by Euler steps under classifier-free guidance.

    The leaves of `past` and of the keys and values that it returns have a leading axis of steps.
    """
    t, dt = (jnp.asarray(a) for a in times(config.steps))

    def step(x: jax.Array, at: tuple[jax.Array, jax.Array, Past | None]) -> tuple[jax.Array, Past | None]:
        t, dt, before = at
        both = jnp.broadcast_to(x, (2, *x.shape)), jnp.broadcast_to(t, (2,))
        inputs = (*both, conditions, positions, mask, before)
        direction, kept = cast(Any, Flow(config).apply({"params": params}, *inputs, method="direction"))
        guided = (1 + config.guidance) * direction[0] - config.guidance * direction[1]
        return x + dt * guided, kept

    return jax.lax.scan(step, jnp.asarray(noise), (t, dt, past))


@functools.partial(jax.jit, static_argnames=("config", "chunk", "left"))
def sample(
    config: FlowConfig,
    params: Params,
    ids: Int[Array, " padded"],
    length: Int[Array, ""],
    embedding: Float[Array, " speaker_width"],
    cond: Float[Array, "M mel_bins"],
    noise: Float[Array, "M mel_bins"],
    chunk: int | None = None,
    left: int = ALL,
) -> Float[jax.Array, "M mel_bins"]:
    """Solves the flow of a speaker from noise to log-mel float32, M = `T * token_frames` frames.

    Args:
      ids: `padded = 2 + T + lookahead` ids: two ABSENT, the tokens (the prompt's first), then the tokens that follow,
        or ABSENT where the speech ends. ABSENT also fills a bucket.
      length: number of frames to speak; frames after it are meaningless.
      cond: log-mel of the prompt, zero after it.
      chunk: frames of a chunk; None for the whole.
      left: earlier chunks that a frame sees.
    """
    conditions: Any = Flow(config).apply({"params": params}, ids, embedding, cond, method="conditions")
    frames = len(noise)
    return _solve(config, params, conditions, jnp.arange(frames), mask_of(frames, length, chunk, left), noise)[0]


def empty_past(config: FlowConfig, chunk: int, left: int) -> Past:
    """Returns the past of a new stream, one for each Euler step; keys are a ring of W = `chunk * left` frames."""
    c = config.dit
    keys = jnp.zeros((config.steps, c.depth, 2, chunk * left, c.num_heads * c.head_dim))
    return Past(keys, keys.copy(), jnp.zeros((config.steps, 2, 2, c.conv_width - 1, c.width)))


@functools.partial(jax.jit, static_argnames="config", donate_argnames="pool")
def sample_chunks(
    config: FlowConfig,
    params: Params,
    pool: Past,
    at: Int[Array, " B"],
    number: Int[Array, " B"],
    ids: Int[Array, "B padded"],
    length: Int[Array, " B"],
    embedding: Float[Array, "B speaker_width"],
    noise: Float[Array, "B M mel_bins"],
) -> tuple[Float[jax.Array, "B M mel_bins"], Past]:
    """Solves the next chunk of B streams, each as `sample_chunk`.

    Args:
      pool: pasts of P streams, one behind the other along a leading axis; its buffers are donated.
      at: place of each stream in the pool, from 0; P for a row that is left out.
    """
    past = jax.tree.map(lambda leaf: leaf.at[at].get(mode="clip"), pool)
    begins = (number == 0)[:, None, None, None, None, None]
    past = dataclasses.replace(past, tails=jnp.where(begins, 0, past.tails))  # keys of the stream before are not seen
    every = (None, 0, 0, 0, 0, 0, 0)
    mel, past = jax.vmap(functools.partial(sample_chunk, config), every)(
        params, past, number, ids, length, embedding, noise
    )
    return mel, jax.tree.map(lambda old, new: old.at[at].set(new, mode="drop"), pool, past)


@functools.partial(jax.jit, static_argnames="config", donate_argnames="past")
def sample_chunk(
    config: FlowConfig,
    params: Params,
    past: Past,
    number: Int[Array, ""],
    ids: Int[Array, " padded"],
    length: Int[Array, ""],
    embedding: Float[Array, " speaker_width"],
    noise: Float[Array, "M mel_bins"],
) -> tuple[Float[jax.Array, "M mel_bins"], Past]:
    """Solves the next chunk of a stream as `sample` under the chunk mask solves the whole, at a constant cost.

    Args:
      past: past of the earlier chunks (`empty_past` at first); its buffers are donated.
      number: number of this chunk, from 0.
      ids: `padded = 2 + T + lookahead` ids: two tokens before the chunk, its own, those that follow; ABSENT for none.
      length: number of frames to speak; fewer than M only at the end.

    Returns:
      log-mel float32, and the past of the next chunk.
    """
    cond = jnp.zeros_like(noise)  # there is no prompt
    conditions: Any = Flow(config).apply({"params": params}, ids, embedding, cond, method="conditions")
    chunk, window = len(noise), past.k.shape[3]
    positions = number * chunk + jnp.arange(chunk)
    filled, own = jnp.arange(window) < number * chunk, jnp.arange(chunk) < length
    mask = jnp.broadcast_to(jnp.concatenate([filled, own]), (chunk, window + chunk))
    mel, kept = cast(tuple[jax.Array, Past], _solve(config, params, conditions, positions, mask, noise, past))
    place = (0, 0, 0, number * chunk % window, 0)
    k, v = (jax.lax.dynamic_update_slice(old, new, place) for old, new in ((past.k, kept.k), (past.v, kept.v)))
    return mel, Past(k, v, kept.tails)
