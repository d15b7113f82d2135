"""What a device can do at best: large products by dtype and precision, of experts too, and copies of its memory."""

import jax

from experiments.benchmarks.measure import copy_bandwidth, grouped_rate, product_rate
from fac_jax.parallel.chips import peak_flops_of
from fac_jax.precision import EXACT, products


def card_figures() -> dict[str, float]:
    """Measures the default device; TFLOP are 10^12 floating-point operations, GB 10^9 bytes read or written."""
    fast, plain = product_rate("bfloat16"), product_rate("float32")
    with products(EXACT):
        exact = product_rate("float32")
    peak = peak_flops_of(jax.devices()[:1])
    return {
        "bfloat16 TFLOP/s": fast / 1e12,
        "float32 TFLOP/s": plain / 1e12,
        "float32, exact, TFLOP/s": exact / 1e12,
        "grouped TFLOP/s": grouped_rate(1) / 1e12,
        "grouped and back, TFLOP/s": grouped_rate(3) / 1e12,
        "copied GB/s": copy_bandwidth() / 1e9,
        **({"share of peak, bfloat16": fast / peak} if peak else {}),
    }
