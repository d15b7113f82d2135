"""Attention by device: the same numbers as `einsum_attend`, in the form that a device runs fast."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.sharding import PartitionSpec
from jaxtyping import Bool, Float

from fac_jax import axes
from fac_jax.layers.attention import CAUSAL, Attend, Limits, Visibility, masked_softmax
from fac_jax.parallel.blocked import blocked_attend
from fac_jax.parallel.mesh import Layout
from fac_jax.parallel.rules import spec_of
from fac_jax.types import Array, InputError

Operand: TypeAlias = jax.Array | jax.ShapeDtypeStruct  # queries or keys; the choice of a kernel needs no values


# Shares of a cache that may be read in place of all of it. A part is copied first: for a step half of it gains nothing.
STEP_PREFIXES: Final = (8, 4)
PROMPT_PREFIXES: Final = (4, 2)
LEAST_PREFIX: Final = 128  # places: each prefix is compiled by itself


def check(refusal: str | None) -> None:
    """Raises what a flash kernel says against its inputs.

    Raises:
      InputError: it says something.
    """
    if refusal:
        raise InputError(f'{refusal}, or take attention "einsum"')


def stepwise_attend(q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
    """Attention to a cache, of which a short prefix is read if that holds all that the positions of any sample see.

    A single new position (a step of decoding) attends by matrix-vector products alone, more of them (a prompt) as
    `blocked_attend`. XLA's CPU backend transposes a copy of the whole cache for the einsums of the reference. A batch
    of products of one (sample, kv head)'s `[T', H]` with one vector it runs in place, if the cache stores them so
    (`KVCache`).
    """
    heads = k.shape[2]
    if q.shape[1] == k.shape[1] > 1:  # no cache, or a prompt that fills it
        return blocked_attend(q, k, v, visibility)
    if q.shape[1] > 1:

        def some(places: int) -> jax.Array:
            there = {name: getattr(visibility, name)[:, :places] for name in ("k_segments", "k_positions")}
            return blocked_attend(q, k[:, :places], v[:, :places], dataclasses.replace(visibility, **there))

        return _of_prefix(some, visibility.k_segments > 0, PROMPT_PREFIXES)

    keys, values = rearrange(k, "b s k h -> (b k) s h"), rearrange(v, "b s k h -> (b k) s h")
    mask = visibility.mask()[:, 0]
    grouped = rearrange(q, "b 1 (k g) h -> g (b k) h", k=heads)

    def within(places: int) -> jax.Array:
        seen = jnp.repeat(mask[:, :places], heads, axis=0)

        def one(q: jax.Array) -> jax.Array:
            scores = jnp.einsum("nh,nsh->ns", q, keys[:, :places], preferred_element_type=jnp.float32)
            weights = masked_softmax(scores * q.shape[-1] ** -0.5, seen).astype(v.dtype)
            return jnp.einsum("ns,nsh->nh", weights, values[:, :places])

        return jnp.stack([one(q) for q in grouped])

    out = _of_prefix(within, mask, STEP_PREFIXES)
    return rearrange(out, "g (b k) h -> b 1 (k g) h", k=heads)


def _of_prefix(
    attend: Callable[[int], jax.Array], seen: Bool[Array, "B S"], shares: Sequence[int]
) -> Float[jax.Array, "..."]:
    """Attends to the shortest prefix that holds all places that are `seen`: one of the shares, or all."""
    total = seen.shape[1]
    shorter = np.array([total // share for share in shares if total // share >= LEAST_PREFIX], np.int32)
    filled = jnp.max(jnp.where(jnp.any(seen, axis=0), jnp.arange(1, total + 1), 0))
    branches = [functools.partial(attend, int(size)) for size in (*shorter, total)]
    return jax.lax.switch(jnp.sum(filled > shorter), branches)


def places_refusal(limits: Limits, keys: int) -> str | None:
    """Says in one line why a kernel cannot attend to `keys` keys that goes by their places; None if it can."""
    if limits.by_place(keys):
        return None
    window = f"no window of {limits.window} positions with {limits.sinks} sinks"
    return f"it goes by places, which tell {window} and no block of {limits.block}"


@dataclasses.dataclass(frozen=True)
class AutoAttend:
    """Flash attention where it takes the shapes and the dtype, plain attention elsewhere; chosen during tracing.

    Attributes:
      flash: fast kernel.
      plain: kernel that takes everything.
      refusal: says why `flash` cannot take given queries and keys; None if it can.
      masks: whether `flash` reads a mask, so that it takes any limits; if not, it goes by places.
    """

    flash: Attend
    plain: Attend
    refusal: Callable[[Operand, Operand], str | None]
    masks: bool = False

    def refused(self, q: Operand, k: Operand, limits: Limits = CAUSAL) -> str | None:
        """Why `flash` does not run for queries `[B, T, N, H]` and keys `[B, T', K, H]`, abstract or real."""
        return self.refusal(q, k) or (None if self.masks else places_refusal(limits, k.shape[1]))

    def chosen(self, q: Operand, k: Operand, limits: Limits = CAUSAL) -> Attend:
        """The kernel that runs for queries `[B, T, N, H]` and keys `[B, T', K, H]`, abstract or real."""
        return self.plain if self.refused(q, k, limits) else self.flash

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
        """See `layers.attention.Attend`."""
        return self.chosen(q, k, visibility.limits)(q, k, v, visibility)


@dataclasses.dataclass(frozen=True)
class ShardedAttend:
    """Another attention under `shard_map`: rows, positions and heads of the queries stay on their devices.

    Along the axis `context` every device gathers the keys and values of whole rows.

    Attributes:
      local: what every device computes.
      names: logical names of the dimensions of q `[B, T, N, H]`, without the last.
      kv_heads: logical name of the heads of k and v.
    """

    layout: Layout
    local: Attend
    names: tuple[str, str | None, str] = (axes.BATCH, axes.LENGTH, axes.HEADS)
    kv_heads: str = axes.KV_HEADS

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
        """See `layers.attention.Attend`.

        Raises:
          InputError: the mesh does not divide rows, positions or heads.
        """
        rows, length, heads = self.names
        called = {"q": (rows, length, heads, None), "k": (rows, length, self.kv_heads, None)}
        specs = {what: spec_of(names, self.layout.rules) for what, names in called.items()}
        for what, array in (("q", q), ("k", k)):
            self.layout.sharding(called[what], array.shape, f"attention, {what}")
        grid = PartitionSpec(*specs["q"][:2])
        context = self.layout.axes(length) if length else ()

        def local(q: jax.Array, k: jax.Array, v: jax.Array, seen: Visibility) -> jax.Array:
            if context:
                k, v = (jax.lax.all_gather(array, context, axis=1, tiled=True) for array in (k, v))
                whole = {
                    name: jax.lax.all_gather(getattr(seen, name), context, axis=1, tiled=True)
                    for name in ("k_segments", "k_positions")
                }
                seen = dataclasses.replace(seen, **whole)
            return self.local(q, k, v, seen)

        return jax.shard_map(
            local,
            mesh=self.layout.mesh,
            in_specs=(specs["q"], specs["k"], specs["k"], jax.tree.map(lambda _: grid, visibility)),
            out_specs=specs["q"],
            check_vma=False,
        )(q, k, v, visibility)
