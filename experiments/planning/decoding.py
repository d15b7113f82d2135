"""What an LLM step of joint decoding takes on a device that need not be there: memory, kernels, bytes."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from experiments.planning.estimate import capacity_of
from experiments.planning.gpu_kernels import KernelGroup, gpu_kernels
from experiments.planning.step import refused_bytes
from experiments.planning.topologies import Topology
from fac_jax.generation.engine import advance, prefill
from fac_jax.generation.prepared import prepare
from fac_jax.generation.slots import Decoding, requests
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat, empty_batch, init_shapes
from fac_jax.parallel.kernels import Quantized
from fac_jax.parallel.mesh import make_layout
from fac_jax.training.overview import compiled_memory
from fac_jax.types import Params

PROMPT = 16  # LLM positions of the prompts that make the shapes of the slots


@dataclasses.dataclass(frozen=True)
class DecodingPlan:
    """What was found.

    Attributes:
      topology: name of the device.
      weights: form of the kernels; tables are int8 where these are quantised.
      slots: replies side by side.
      positions: LLM positions of the caches of each.
      fits: whether the peak is within the memory of the device.
      weight_bytes: of the weights in the form of generation.
      slot_bytes: of the state of all slots, nearly all of it caches.
      peak_bytes: both, and what the compiled program adds; what the compiler asked for where it refused.
      device_bytes: that a program can have of the device's memory.
      kernels: of an LLM step, by kind, where the program is for a GPU.
      compile_seconds: tracing and compilation.
    """

    topology: str
    weights: str
    slots: int
    positions: int
    fits: bool
    weight_bytes: int
    slot_bytes: int
    peak_bytes: float
    device_bytes: float
    kernels: list[KernelGroup]
    compile_seconds: float


def make_decoding_plan(
    config: ModelConfig,
    topology: Topology,
    slots: int,
    positions: int,
    quantize: Quantized | None = None,
    hbm: float | None = None,
) -> DecodingPlan:
    """Compiles the steps of `slots` spoken replies for one device; no array is made.

    Args:
      positions: LLM positions of the caches of each reply.
      hbm: bytes of the device, if not the table's.

    Raises:
      InputError: `quantize` is no form.
    """
    layout = make_layout({"fsdp": 1}, devices=topology.devices[:1])
    whole = NamedSharding(layout.mesh, PartitionSpec())

    def there(tree: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole), tree)

    found: list[FunAudioChat] = []

    def prepared(params: Params) -> Params:
        model, formed = prepare(config, params, layout, quantize, quantize is not None)
        found.append(model)
        return formed

    params = there(jax.eval_shape(prepared, init_shapes(config)))
    (model,), steps = found, positions - PROMPT
    decoding = Decoding("joint", steps)
    prompt = there(empty_batch(config, slots, PROMPT, slots))
    request = there(jax.eval_shape(lambda: requests(decoding, jax.random.split(jax.random.key(0), slots))))
    sizes: Any = {"length": positions, "max_steps": steps, "joint": True, "draws": False, "layout": layout}
    state = there(jax.eval_shape(lambda *given: prefill(model, *given, **sizes), params, prompt, request))
    start = time.perf_counter()
    most = there(jax.ShapeDtypeStruct((), jnp.int32))
    lowered = advance.lower(model, params, state, most, False, draws=False, layout=layout)
    weight_bytes, slot_bytes = (_bytes(tree) for tree in (params, state))
    used, kernels = float(weight_bytes + slot_bytes), []
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        used = max(used, refused_bytes(error))
    else:
        used += compiled_memory(compiled)["temporaries"]
        kernels = gpu_kernels(compiled.as_text() or "") if layout.platform == "gpu" else []
    seconds = time.perf_counter() - start
    device = hbm or capacity_of(topology)
    return DecodingPlan(
        topology=topology.name,
        weights=quantize or config.dtype,
        slots=slots,
        positions=positions,
        fits=used <= device,
        weight_bytes=weight_bytes,
        slot_bytes=slot_bytes,
        peak_bytes=used,
        device_bytes=device,
        kernels=kernels,
        compile_seconds=seconds,
    )


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
