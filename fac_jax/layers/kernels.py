"""Functions that a device computes in its own way, injected into the model; the defaults are the references."""

import dataclasses

from fac_jax.layers.attention import MERGED, Attend, CacheDims, einsum_attend
from fac_jax.layers.moe import Experts, SortedExperts


@dataclasses.dataclass(frozen=True)
class Kernels:
    """The kernels of a model, comparable by value, so that a model with equal kernels is compiled once.

    Attributes:
      attend: attention of the Shared LLM and of the refined head.
      encoder_attend: attention inside the windows of the audio encoder.
      experts: mixture of experts.
      cache: dimensions of the caches of decoding.
    """

    attend: Attend = einsum_attend
    encoder_attend: Attend = einsum_attend
    experts: Experts = SortedExperts()
    cache: CacheDims = MERGED
