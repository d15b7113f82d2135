"""What no CPU runs, through the TPU compiler for a slice that is not there; `make test-tpu` runs it."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from fac_jax.layers.attention import self_visibility
from fac_jax.layers.moe import ExpertKernels
from fac_jax.parallel.experts import ShardedExperts
from fac_jax.parallel.mesh import make_layout
from fac_jax.parallel.splash import SplashAttend


def test_a_pod_that_is_not_there_compiles_both() -> None:
    """The ragged exchange and the splash kernel, which no CPU runs, through the TPU compiler."""
    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4").devices
    on = make_layout({"fsdp": 2, "expert": 2, "tensor": 2}, devices=devices)

    def like(array, names, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(array.shape, dtype, sharding=on.sharding(names, array.shape, "test"))

    rng = np.random.default_rng(0)
    x, picks, weights = rng.random((8, 256, 256)), rng.random((8, 256, 2)), rng.random((8, 256, 2))
    wide, tall = rng.random((8, 256, 128)), rng.random((8, 128, 256))
    grid, inward, outward = ("batch", "length", None), ("experts", "embed", "mlp"), ("experts", "mlp", "embed")
    kernels = ExpertKernels(like(wide, inward), like(wide, inward), like(tall, outward))
    arguments = (like(x, grid), like(picks, grid, jnp.int32), like(weights, grid, jnp.float32), kernels)
    compiled = jax.jit(jax.grad(lambda *a: jnp.sum(ShardedExperts(on)(*a).astype(jnp.float32)), allow_int=True))
    assert "ragged-all-to-all(" in compiled.lower(*arguments).compile().as_text()

    on = make_layout({"fsdp": 2, "context": 2, "tensor": 2}, devices=devices)
    q, k = rng.random((4, 512, 4, 128)), rng.random((4, 512, 2, 128))
    whole = ("batch", "length", "kv_heads", None)
    segments = like(q[..., 0, 0], ("batch", "length"), jnp.int32)

    def attended(q, k, v, segments):
        seen = self_visibility(segments, segments, causal=True)
        return jnp.sum(SplashAttend(on)(q, k, v, seen).astype(jnp.float32))

    arrays = (like(q, ("batch", "length", "heads", None)), like(k, whole), like(k, whole), segments)
    text = jax.jit(jax.grad(attended, argnums=(0, 1, 2))).lower(*arrays).compile().as_text()
    assert text.count("custom-call(") >= 3  # forward, and backward for queries and for keys
