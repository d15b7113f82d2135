"""Sharding as a table: ordered rules from logical axes (`fac_jax/axes.py`) to the axes of a mesh.

The rules of a preset are applied in order. A rule gives its mesh axes to its logical axis if the array has that axis,
no earlier rule gave it any, and none of the mesh axes is taken by another axis of the array. So a width that is sharded
in a parameter is not sharded in an activation, whose rows have the mesh axis already.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from flax.linen import spmd
from jax.sharding import PartitionSpec

from fac_jax import axes

Rules: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]

DCN_DATA: Final = "dcn_data"  # slices joined by the data-centre network: rows alone
DATA: Final = "data"  # rows; parameters whole
FSDP: Final = "fsdp"  # rows; parameters in shards, gathered layer by layer
EXPERT: Final = "expert"  # rows, and experts, to which tokens travel
CONTEXT: Final = "context"  # positions of a row
TENSOR: Final = "tensor"  # heads and hidden widths

# From the slowest network to the fastest: neighbours on the last axis are neighbours in the machine.
MESH_AXES: Final = (DCN_DATA, DATA, FSDP, EXPERT, CONTEXT, TENSOR)


def _rows(*over: str) -> Rules:
    return ((axes.BATCH, over), (axes.WINDOWS, over))


_TENSOR: Final[Rules] = tuple(
    (name, (TENSOR,)) for name in (axes.VOCAB, axes.HEADS, axes.KV_HEADS, axes.MLP, axes.GROUP)
)
_EXPERTS: Final[Rules] = ((axes.EXPERTS, (EXPERT,)),)

# No rule names the codebook (6565 = 5 x 13 x 101) or the encoder's heads (20): few meshes divide them. Their arrays are
# sharded by width.
PRESETS: Final[Mapping[str, Rules]] = {
    "data": _rows(DCN_DATA, DATA),
    "fsdp": (*_rows(DCN_DATA, DATA, FSDP), (axes.EMBED, (FSDP,))),
    "fsdp_tensor": (*_rows(DCN_DATA, DATA, FSDP), (axes.EMBED, (FSDP,)), *_TENSOR),
    "fsdp_tensor_expert": (
        *_rows(DCN_DATA, DATA, FSDP, EXPERT),
        *_EXPERTS,
        (axes.EMBED, (FSDP, EXPERT)),
        (axes.EMBED, (FSDP,)),
        *_TENSOR,
    ),
    "fsdp_tensor_expert_context": (
        *_rows(DCN_DATA, DATA, FSDP, EXPERT),
        (axes.LENGTH, (CONTEXT,)),
        *_EXPERTS,
        (axes.EMBED, (FSDP, EXPERT, CONTEXT)),
        (axes.EMBED, (FSDP, CONTEXT)),
        *_TENSOR,
    ),
}


def spec_of(names: Sequence[str | None], rules: Rules) -> PartitionSpec:
    """Returns the mesh axes of every dimension of an array from their logical axes; None for one that stays whole."""
    spec = spmd.logical_to_mesh_axes(tuple(names), rules)
    assert spec is not None
    return spec
