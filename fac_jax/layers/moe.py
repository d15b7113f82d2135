"""Dropless mixture of SwiGLU experts with an injected `experts` function (docs/model.md, section 5).

Tokens are sorted by expert for one grouped matrix product. Shapes: R tokens in a row, k picks of a token, F hidden
width of an expert.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from flax import struct
from jaxtyping import Bool, Float, Int

from fac_jax import axes
from fac_jax.layers.frozen import FrozenKernel
from fac_jax.layers.linear import LORA, LORA_A, Linear
from fac_jax.layers.param import Typed, kernel_init, param
from fac_jax.types import Array, RouterStats


@struct.dataclass
class ExpertAdapter:
    """Low-rank adapters of one kernel of all experts, with their scales in `b`."""

    a: Float[jax.Array, "E D r"]
    b: Float[jax.Array, "E r F"]


@struct.dataclass
class ExpertKernels:
    """Kernels of all SwiGLU experts, and the adapters of those that have one, by the kernel's name."""

    gate: Float[jax.Array, "E D F"]
    up: Float[jax.Array, "E D F"]
    down: Float[jax.Array, "E F D"]
    adapters: Mapping[str, ExpertAdapter] = dataclasses.field(default_factory=dict)


# Computes, for every token, the weighted sum of the outputs of the experts it is sent to, with the shapes of
# `SortedExperts`. The weights are float32, the result has the dtype of the tokens.
Experts: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array, ExpertKernels], jax.Array]
# Multiplies the first `sizes[0]` of the rows `[R, D]` with the first of the kernels `[E, D, F]`, the next `sizes[1]`
# with the second, and so on, to `[R, F]`, which is 0 behind them: `jax.lax.ragged_dot`, or a device's own.
GroupedProduct: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]


def grouped_swiglu(
    rows: Float[jax.Array, "R D"],
    sizes: Int[jax.Array, " E"],
    kernels: ExpertKernels,
    product: GroupedProduct = jax.lax.ragged_dot,
) -> Float[jax.Array, "R D"]:
    """Sends the first `sizes[0]` rows through expert 0, the next `sizes[1]` through expert 1, and so on."""

    def multiplied(rows: jax.Array, name: str) -> jax.Array:
        y, adapter = product(rows, getattr(kernels, name), sizes), kernels.adapters.get(name)
        return y if adapter is None else y + product(product(rows, adapter.a, sizes), adapter.b, sizes)

    return multiplied(jax.nn.silu(multiplied(rows, "gate")) * multiplied(rows, "up"), "down")


@dataclasses.dataclass(frozen=True)
class SortedExperts:
    """Runs all experts on one device: a copy of every token for each of its picks, in the order of the experts."""

    product: GroupedProduct = jax.lax.ragged_dot

    def __call__(
        self,
        x: Float[jax.Array, "B T D"],
        picks: Int[jax.Array, "B T k"],
        weights: Float[jax.Array, "B T k"],
        kernels: ExpertKernels,
    ) -> Float[jax.Array, "B T D"]:
        """See `Experts`."""
        flat, top_k = picks.reshape(-1), picks.shape[-1]
        order = jnp.argsort(flat, stable=True)
        inverse = inverse_of(order)
        sizes = jnp.bincount(flat, length=kernels.gate.shape[0]).astype(jnp.int32)
        copies = permuted(repeat(x, "b t d -> (b t k) d", k=top_k), order, inverse)
        made = permuted(grouped_swiglu(copies, sizes, kernels, self.product), inverse, order)
        return weighted_sum(made, weights).reshape(x.shape)


def inverse_of(order: Int[jax.Array, " R"]) -> Int[jax.Array, " R"]:
    """Inverts a permutation."""
    return jnp.zeros_like(order).at[order].set(jnp.arange(len(order), dtype=order.dtype), unique_indices=True)


@jax.custom_vjp
def permuted(
    rows: Float[jax.Array, "R D"], order: Int[jax.Array, " R"], inverse: Int[jax.Array, " R"]
) -> Float[jax.Array, "R D"]:
    """Returns the rows in another order; `inverse` is the inverse permutation.

    The gradient is permuted back. That of an indexed array would be a sum by atomic operations on a GPU, which takes
    longer and whose order, and so its rounding, is another in every run.
    """
    return rows[order]


def _permuted_forward(rows: jax.Array, order: jax.Array, inverse: jax.Array) -> tuple[jax.Array, jax.Array]:
    return rows[order], inverse


def _permuted_backward(inverse: jax.Array, grads: jax.Array) -> tuple[jax.Array, None, None]:
    return grads[inverse], None, None


permuted.defvjp(_permuted_forward, _permuted_backward)


def weighted_sum(made: Float[jax.Array, "R D"], weights: Float[jax.Array, "*T k"]) -> Float[jax.Array, "T D"]:
    """Adds up what the experts made of the copies of a token, which stand one behind the other."""
    made = rearrange(made, "(t k) d -> t k d", k=weights.shape[-1])
    return jnp.sum(made * weights.reshape(made.shape[:2])[..., None].astype(made.dtype), axis=1)


class MoE(Typed):
    """Top-k routed experts; no token is dropped.

    The kernels "gate", "up" and "down" may have adapters, "gate_lora_a" `[E, D, r]`, "gate_lora_b" `[E, r, F]` and
    "gate_lora_scale" `[E]`, and so on, which add their product as in `layers.linear`.

    Attributes:
      num_experts: E.
      top_k: experts that a token is sent to.
      hidden: hidden width F of one expert.
      normalize_top_k: renormalise the picked probabilities to sum to 1.
      experts: function that runs the experts.
    """

    num_experts: int
    top_k: int
    hidden: int
    normalize_top_k: bool
    experts: Experts = SortedExperts()

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "B T D"], keep: Bool[Array, "B T"]
    ) -> tuple[Float[jax.Array, "B T D"], RouterStats]:
        """Returns the mixture's output and the router's statistics over the tokens that `keep` marks."""
        width, experts = x.shape[-1], self.num_experts
        router = Linear(experts, (axes.EMBED, axes.EXPERTS), name="router", **self.dtypes)
        probs = jax.nn.softmax(router(x).astype(jnp.float32), axis=-1)
        weights, picks = jax.lax.top_k(probs, self.top_k)
        if self.normalize_top_k:
            weights = weights / jnp.sum(weights, axis=-1, keepdims=True)

        def kernel(name: str, shape: tuple[int, int], names: tuple[str, str]) -> jax.Array:
            frozen = self.get_variable("params", name)
            if isinstance(frozen, FrozenKernel):
                return jax.vmap(lambda each: each.wide(self.dtype))(frozen)
            names_of_all, shape_of_all = (axes.EXPERTS, *names), (experts, *shape)
            return param(self, name, _per_expert_init, names_of_all, shape_of_all, self.param_dtype).astype(self.dtype)

        def adapter(name: str) -> dict[str, ExpertAdapter]:
            if not self.has_variable("params", f"{name}_{LORA_A}"):
                return {}
            a, b, scale = (jnp.asarray(self.get_variable("params", f"{name}_{leaf}")) for leaf in LORA)
            return {name: ExpertAdapter(a.astype(self.dtype), (b * scale[:, None, None]).astype(self.dtype))}

        kernels = ExpertKernels(
            gate=kernel("gate", (width, self.hidden), (axes.EMBED, axes.MLP)),
            up=kernel("up", (width, self.hidden), (axes.EMBED, axes.MLP)),
            down=kernel("down", (self.hidden, width), (axes.MLP, axes.EMBED)),
            adapters=adapter("gate") | adapter("up") | adapter("down"),
        )
        mixed = self.experts(x.astype(self.dtype), picks, weights, kernels)
        return mixed, _statistics(probs, picks, keep)


def _per_expert_init(key: jax.Array, shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Initialises every expert as a matrix of its own."""
    return jax.vmap(lambda k: kernel_init(k, shape[1:], dtype))(jax.random.split(key, shape[0]))


def _statistics(
    probs: Float[jax.Array, "B T E"], picks: Int[jax.Array, "B T k"], keep: Bool[Array, "B T"]
) -> RouterStats:
    """Sums over kept tokens."""
    kept = keep.astype(jnp.float32)
    counts = jax.nn.one_hot(picks, probs.shape[-1], dtype=jnp.float32).sum(axis=2)
    picked, prob = (jnp.einsum("bt,bte->e", kept, each, precision="highest") for each in (counts, probs))
    entropy = -jnp.sum(kept * jnp.sum(jax.scipy.special.xlogy(probs, probs), axis=-1))
    return RouterStats(picks=picked, probs=prob, tokens=jnp.sum(kept), entropy=entropy)
