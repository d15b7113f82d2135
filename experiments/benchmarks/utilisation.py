"""How much of what a device can multiply a training step uses (MFU), by the attention that it runs."""

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

DTYPE = "bfloat16"  # of the products


def utilisation_figures(config: ModelConfig, work: Utilisation, updates: int) -> dict[Attention, dict[str, float]]:
    """A training step with products in bfloat16, by the attentions that the default device has.

    "needed TFLOP/s" leave out what is computed again. They are held against a large matrix product of the same process,
    and, as MFU, against the maker's figure where `parallel.chips` has the device.

    Args:
      config: the model; its `dtype` is overridden.
      work: rows, and how moments are kept.
      updates: steps, of which the median counts.
    """
    config = replace(config, dtype=DTYPE)
    batch = packed_batch(config, work.rows, work.packed, work.conversation)
    attentions = ("einsum",) if jax.default_backend() == "cpu" else ("einsum", "flash")
    rate = product_rate(DTYPE)
    return {attention: _figures(config, batch, work, attention, updates, rate) for attention in attentions}


def _figures(
    config: ModelConfig, batch: Batch, work: Utilisation, attention: Attention, updates: int, rate: float
) -> dict[str, float]:
    """Of one attention, whose state goes when this returns."""
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
