"""Mixture of experts on a mesh: every device sorts its own tokens and sends them to the devices of their experts.

No token is dropped and shapes are static, so a device has room for all copies of all tokens of its expert group. To
bound this memory, tokens are exchanged in chunks.
"""

import dataclasses
import math
from typing import Any, cast

import jax
import jax.numpy as jnp
from einops import rearrange, repeat

from fac_jax import axes
from fac_jax.layers.moe import (
    ExpertAdapter,
    ExpertKernels,
    GroupedProduct,
    SortedExperts,
    grouped_swiglu,
    inverse_of,
    permuted,
    weighted_sum,
)
from fac_jax.parallel.mesh import Layout
from fac_jax.parallel.rules import spec_of

TOKENS = 2048  # of a device that are exchanged at once


@dataclasses.dataclass(frozen=True)
class ShardedExperts:
    """`Experts` under `shard_map`: rows and positions stay on their devices, hidden widths are summed over `tensor`.

    Attributes:
      tokens: number of tokens of a device that are exchanged at the same time.
      product: grouped product of a device.
    """

    layout: Layout
    tokens: int = TOKENS
    product: GroupedProduct = jax.lax.ragged_dot

    def __call__(self, x: jax.Array, picks: jax.Array, weights: jax.Array, kernels: ExpertKernels) -> jax.Array:
        """Computes the output of the experts. See `layers.moe.Experts`.

        Raises:
          InputError: the mesh does not divide rows, positions, experts or their hidden width.
        """
        rules = self.layout.rules
        over = {name: self.layout.axes(name) for name in (axes.EXPERTS, axes.MLP)}
        names = {"x": (axes.BATCH, axes.LENGTH, None), "gate": (axes.EXPERTS, None, axes.MLP)}
        for what, array in (("x", x), ("gate", kernels.gate)):
            self.layout.sharding(names[what], array.shape, f"mixture of experts, {what}")
        tokens, gate = spec_of(names["x"], rules), spec_of(names["gate"], rules)
        down, whole = (spec_of(each, rules) for each in ((axes.EXPERTS, axes.MLP, None), (axes.EXPERTS, None, None)))
        inward, outward = (ExpertAdapter(*cast(Any, pair)) for pair in ((whole, gate), (down, whole)))
        adapters = {name: outward if name == "down" else inward for name in kernels.adapters}

        def local(x: jax.Array, picks: jax.Array, weights: jax.Array, kernels: ExpertKernels) -> jax.Array:
            out = self._exchanged(x, picks, weights, kernels, over[axes.EXPERTS])
            return jax.lax.psum(out, over[axes.MLP]) if over[axes.MLP] else out

        return jax.shard_map(
            local,
            mesh=self.layout.mesh,
            in_specs=(tokens, tokens, tokens, ExpertKernels(*cast(Any, (gate, gate, down, adapters)))),
            out_specs=tokens,
            check_vma=False,
        )(x, picks, weights, kernels)

    def _exchanged(
        self, x: jax.Array, picks: jax.Array, weights: jax.Array, kernels: ExpertKernels, over: tuple[str, ...]
    ) -> jax.Array:
        if math.prod(self.layout.mesh.shape[axis] for axis in over) == 1:
            return SortedExperts(self.product)(x, picks, weights, kernels)
        ragged = self.layout.platform != "cpu"  # XLA's CPU backend has no ragged exchange
        flat = tuple(rearrange(a, "b t d -> (b t) d") for a in (x, picks, weights))
        count = len(flat[0])
        size = next(size for size in range(min(self.tokens, count), 0, -1) if count % size == 0)
        parts = tuple(rearrange(a, "(c t) d -> c t d", t=size) for a in flat)

        @jax.checkpoint
        def some(part: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            return travelling_experts(*part, kernels, over, ragged, self.product)

        return jax.lax.map(some, parts).reshape(x.shape)


def travelling_experts(
    x: jax.Array,
    picks: jax.Array,
    weights: jax.Array,
    kernels: ExpertKernels,
    over: tuple[str, ...],
    ragged: bool,
    product: GroupedProduct,
) -> jax.Array:
    """Computes the experts' outputs for the tokens of one device, inside `shard_map`.

    The experts are divided evenly, in order, over the mesh axes `over`.

    Args:
      x: tokens of the device, `[T, D]`.
      picks: int32 `[T, k]`, indices into all experts.
      weights: float32 `[T, k]`.
      kernels: those of the device's own experts, `[E / devices, ..]`.
      over: mesh axes of the experts.
      ragged: True sends only the copies; False sends every device a buffer with room for all copies.
      product: grouped product of a device.

    Returns:
      `[T, D]`.
    """
    devices, own, top_k = jax.lax.axis_size(over), kernels.gate.shape[0], picks.shape[-1]
    order = jnp.argsort(picks.reshape(-1), stable=True)
    inverse = inverse_of(order)
    copies = permuted(repeat(x, "t d -> (t k) d", k=top_k), order, inverse)
    sizes = jnp.bincount(picks.reshape(-1), length=devices * own).astype(jnp.int32).reshape(devices, own)
    counts = jax.lax.all_to_all(sizes, over, 0, 0, tiled=True)  # [devices, own]: what each device sends to my experts
    sent, taken, room = sizes.sum(axis=1), counts.sum(axis=1), len(copies)
    slots = jnp.cumsum(taken) - taken if ragged else jnp.arange(devices, dtype=jnp.int32) * room
    route = _Route(sent, jnp.cumsum(sent) - sent, taken, slots, room, over, ragged)

    received = route.send(copies)
    mine = _expert_of_slots(route.slots, counts, len(received))
    by_expert = jnp.argsort(mine, stable=True)
    by_slot = inverse_of(by_expert)
    made = grouped_swiglu(permuted(received, by_expert, by_slot), counts.sum(axis=0), kernels, product)
    made = jnp.where((mine < own)[by_expert][:, None], made, 0)
    returned = route.back(permuted(made, by_slot, by_expert))
    return weighted_sum(permuted(returned, inverse, order), weights)


def _expert_of_slots(first: jax.Array, counts: jax.Array, slots: int) -> jax.Array:
    """Returns the index among own experts of every received copy, int32 `[slots]`; their number where there is no copy.

    Args:
      first: int32 `[devices]`, slot of the first copy of each sender, ascending.
      counts: int32 `[devices, own]`, number of copies of each sender by expert; copies are in this order.
      slots: number of slots.
    """
    own = counts.shape[1]
    starts = (first[:, None] + jnp.cumsum(counts, axis=1) - counts).reshape(-1)
    at = jnp.arange(slots)
    # Of runs that begin at one slot the last is the one that is not empty.
    run = jnp.searchsorted(starts, at, side="right") - 1
    there = (run >= 0) & (at < (starts + counts.reshape(-1))[run])
    return jnp.where(there, run % own, own).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class _Route:
    """How many copies each device sends to each other device, and the slots of the copies.

    Attributes:
      sent: int32 `[devices]`, copies that are sent to each device; they are stored one after the other.
      starts: int32 `[devices]`, index of the first copy for each device.
      taken: int32 `[devices]`, copies that are received from each device.
      slots: int32 `[devices]`, slot of the first copy from each device.
      room: greatest number of copies that one device sends.
      over: mesh axes of the experts.
      ragged: see `travelling_experts`.
    """

    sent: jax.Array
    starts: jax.Array
    taken: jax.Array
    slots: jax.Array
    room: int
    over: tuple[str, ...]
    ragged: bool

    def send(self, copies: jax.Array) -> jax.Array:
        """Sends copies `[room, D]` to the devices of their experts; returns those received, `[devices * room, D]`."""
        if self.ragged:
            out = jnp.zeros((len(self.sent) * self.room, copies.shape[1]), copies.dtype)
            theirs = self._swap(self.slots)
            return jax.lax.ragged_all_to_all(
                copies, out, self.starts, self.sent, theirs, self.taken, axis_name=self.over
            )
        at = self.starts[:, None] + jnp.arange(self.room)
        padded = jnp.take(copies, at, axis=0, mode="fill", fill_value=0)
        return jax.lax.all_to_all(padded, self.over, 0, 0, tiled=True).reshape(-1, copies.shape[1])

    def back(self, made: jax.Array) -> jax.Array:
        """Returns what the experts made of the copies, `[devices * room, D]`, to the senders as `[room, D]`."""
        if self.ragged:
            out = jnp.zeros((self.room, made.shape[1]), made.dtype)
            theirs = self._swap(self.starts)
            return jax.lax.ragged_all_to_all(made, out, self.slots, self.taken, theirs, self.sent, axis_name=self.over)
        returned = jax.lax.all_to_all(made.reshape(len(self.sent), self.room, -1), self.over, 0, 0, tiled=True)
        device = jnp.searchsorted(self.starts, jnp.arange(self.room), side="right") - 1
        return returned[device, jnp.arange(self.room) - self.starts[device]]

    def _swap(self, numbers: jax.Array) -> jax.Array:
        """Transposes numbers between devices: number i of device j becomes number j of device i."""
        return jax.lax.all_to_all(numbers, self.over, 0, 0, tiled=True)
