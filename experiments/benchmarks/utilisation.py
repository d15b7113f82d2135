"""Model FLOPs utilisation (MFU) of a training step, by attention kernel."""

import jax
import numpy as np

from experiments.benchmarks.measure import once, product_rate
from experiments.benchmarks.step_program import step_parts, step_program
from experiments.benchmarks.workloads import Utilisation, packed_batch, seconds_of_audio
from fac_jax.models.config import ModelConfig, replace
from fac_jax.parallel.chips import peak_flops_of
from fac_jax.parallel.kernels import Attention
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.types import Batch

DTYPE = "bfloat16"  # dtype of the products


def utilisation_figures(config: ModelConfig, work: Utilisation, updates: int) -> dict[Attention, dict[str, float]]:
    """Measures a training step with products in bfloat16, with every attention kernel of the default device.

    "needed TFLOP/s" does not count recomputation. It is compared with a large matrix product in the same process, and,
    as MFU, with the manufacturer's peak if `parallel.chips` knows the device.

    Args:
      config: model config; its `dtype` is replaced.
      work: rows, and the dtype of the optimizer's moments.
      updates: steps, whose median is reported.
    """
    config = replace(config, dtype=DTYPE)
    batch = packed_batch(config, work.rows, work.packed, work.conversation)
    attentions = ("einsum",) if jax.default_backend() == "cpu" else ("einsum", "flash")
    rate = product_rate(DTYPE)
    return {attention: _figures(config, batch, work, attention, updates, rate) for attention in attentions}


def _figures(
    config: ModelConfig, batch: Batch, work: Utilisation, attention: Attention, updates: int, rate: float
) -> dict[str, float]:
    """Measures one attention kernel; its train state is freed on return."""
    program, run = step_program(config, batch, attention, OptimizerConfig(peak=1e-5, moments=work.moments))
    loss = float(run()["loss"])
    seconds = float(np.median([once(run) for _ in range(updates)]))
    needed, peak = sum(step_parts(config, batch).values()) / seconds, peak_flops_of(jax.devices()[:1])
    return {
        "seconds a step": seconds,
        "LLM positions/s": batch.kind.size / seconds,
        "audio seconds/s": seconds_of_audio(config, batch) / seconds,
        "needed TFLOP/s": needed / 1e12,
        "products TFLOP/s": rate / 1e12,
        "share of products": needed / rate,
        **({"share of peak (MFU)": needed / peak} if peak else {}),
        "first loss": loss,
        "compile seconds": program.compile_seconds,
        "bytes": program.bytes,
    }
