"""What is printed when a stage starts: parameters, mesh, kernels, memory."""

import jax
import pytest
from mesh_run import DENSE, layout

from fac_jax.models.presets import preset
from fac_jax.parallel.kernels import training_kernels
from fac_jax.training.overview import compiled_memory, describe, memory_line, parameter_table
from fac_jax.training.program import abstract_params
from fac_jax.types import InputError


def test_every_parameter_is_a_line_with_its_shape_dtype_sharding_and_count() -> None:
    params = abstract_params(DENSE, layout("4x2"))
    lines = parameter_table(params, ("encoder/",)).splitlines()
    kernel = next(line for line in lines if line.startswith("backbone/decoder/layers_0/attention/q/kernel"))
    assert kernel.split()[1:] == "2 x 32 x 64 float32 - x fsdp x tensor 4,096".split()
    bias = next(line for line in lines if line.startswith("encoder/proj/bias"))
    assert bias.split()[-1] == "yes"
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in params.items()}
    leaves = len(jax.tree.leaves(params))
    assert any(line.startswith("trains: ") and line.endswith(f"{sizes['encoder']:,}") for line in lines)
    frozen = sum(sizes.values()) - sizes["encoder"]
    assert any(line.startswith("frozen: ") and line.endswith(f"{frozen:,}") for line in lines)
    assert any(line.startswith(f"all: {leaves} arrays") and line.endswith(f"{sum(sizes.values()):,}") for line in lines)
    with pytest.raises(InputError, match='"vocoder/" matches no parameter'):
        parameter_table(params, ("vocoder/",))


def test_a_stage_is_described_with_its_mesh_and_kernels() -> None:
    on = layout("4x2")
    told = describe(abstract_params(DENSE, on), ("",), DENSE, training_kernels(on, "auto"), on, 64, 128).splitlines()
    assert told[-4:] == [
        "devices: 8 x cpu in 1 processes, mesh fsdp=4 x tensor=2",
        "a step: 64 rows of 128 LLM positions, activations in float32, remat none",
        "attention of the Shared LLM: blocked_attend, not flash: it runs on a GPU or a TPU, not on a cpu",
        "attention of the refined head: blocked_attend, not flash: it runs on a GPU or a TPU, not on a cpu",
    ]


def test_the_table_of_a_released_size_is_short() -> None:
    """Stacked layers are one line; nothing is allocated."""
    table = parameter_table(abstract_params(preset("8b"), None))
    assert len(table.splitlines()) < 80 and max(map(len, table.splitlines())) <= 160
    assert "one device" in table and "backbone/decoder/layers_0/mlp/gate/kernel" in table


def test_memory_of_a_compiled_program() -> None:
    state = jax.ShapeDtypeStruct((1024,), "float32")
    compiled = jax.jit(lambda x: x + 1, donate_argnums=0).lower(state).compile()
    found = compiled_memory(compiled)
    assert found["arguments"] == 4096 and found["outputs"] == 0  # the output takes the place of the donated argument
    assert found["total"] == found["arguments"] + found["temporaries"]
    assert memory_line(compiled).startswith("memory of a step on a device: 0.00 GiB (arguments 0.00")
    assert memory_line(compiled, 24 * 2**30).startswith("memory of a step on a device: 0.00 of 24.00 GiB (arguments")
