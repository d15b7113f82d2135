"""What a stage trains and where, as text for the start of a run: parameters, mesh, kernels, memory of the program."""

import io
import math
from collections.abc import Sequence
from typing import Any

import jax
from flax import traverse_util
from jax.sharding import NamedSharding
from rich import box
from rich.console import Console
from rich.table import Table

from fac_jax.layers.attention import CAUSAL
from fac_jax.layers.frozen import FrozenKernel
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.matrices import Int8Rows
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.compiler import compiler_options
from fac_jax.parallel.kernels import attention_choice, expanded_experts, kernel_name
from fac_jax.parallel.mesh import Layout
from fac_jax.training.flops import trainable_paths
from fac_jax.training.trainable import SEP
from fac_jax.types import Params

WIDTH = 160  # characters of a line of the table
GIB = 2**30


def parameter_table(params: Params, patterns: Sequence[str] = ("",)) -> str:
    """A table of all parameters: path, shape, dtype, sharding, number of scalars, and whether they train.

    Stacked layers are one line, as they are one array. The last lines have the sums of what trains and of all.

    Raises:
      InputError: a pattern matches no parameter.
    """
    trains = trainable_paths(params, patterns)
    table = Table(box=box.SIMPLE, pad_edge=False)
    for heading in ("parameter", "shape", "dtype", "sharding"):
        table.add_column(heading, no_wrap=True)
    table.add_column("scalars", justify="right", no_wrap=True)
    table.add_column("trains", no_wrap=True)
    leaves: dict[str, Any] = traverse_util.flatten_dict(params, sep=SEP)
    for name, leaf in sorted(leaves.items()):
        shape = " x ".join(map(str, leaf.shape)) or "scalar"
        held, size = getattr(leaf, "form", None) or str(leaf.dtype), math.prod(leaf.shape)
        table.add_row(name, shape, held, _spec(leaf), f"{size:,}", "yes" if name in trains else "")
    table.add_section()
    for what, chosen in (("trains", trains), ("frozen", leaves.keys() - trains), ("all", leaves.keys())):
        kept = [leaves[name] for name in chosen]
        size = sum(math.prod(leaf.shape) for leaf in kept)
        device = sum(_device_bytes(part) for leaf in kept for part in jax.tree.leaves(leaf))
        table.add_row(f"{what}: {len(kept)} arrays, {device / GIB:.2f} GiB on a device", "", "", "", f"{size:,}", "")
    text = io.StringIO()
    Console(file=text, width=WIDTH, highlight=False, color_system=None).print(table)
    return "\n".join(line.strip() for line in text.getvalue().strip().splitlines())


def describe(
    params: Params,
    patterns: Sequence[str],
    model: ModelConfig,
    kernels: Kernels,
    layout: Layout | None,
    rows: int,
    length: int,
) -> str:
    """The table of parameters, a line for the devices, one for a step, one for the attention of each decoder.

    A line says so if XLA expands the products of experts. A last one has what XLA is told for these devices
    (`parallel.compiler`), if there is something.

    Args:
      params: real or abstract parameters, with their shardings.
      rows: rows of a step over all hosts and micro-batches.
      length: S, LLM positions of a row.

    Raises:
      InputError: a pattern matches no parameter.
    """
    if layout is None:
        devices = f"one {jax.devices()[0].device_kind}"
    else:
        sizes = " x ".join(f"{axis}={size}" for axis, size in layout.mesh.shape.items() if size > 1)
        many = f"{layout.mesh.size} x {layout.mesh.devices.flat[0].device_kind}"
        devices = f"{many} in {jax.process_count()} processes, mesh {sizes or 'without an axis'}"
    lines = [
        parameter_table(params, patterns),
        f"devices: {devices}",
        f"a step: {rows} rows of {length} LLM positions, activations in {model.dtype}, remat {model.remat}",
    ]
    decoders = (
        ("Shared LLM", model.text, length, model.limits),
        ("refined head", model.head, length * model.group_size, model.head_limits),
    )
    for name, decoder, positions, limits in decoders:
        if decoder.depth:
            heads = (decoder.num_heads, decoder.num_kv_heads, decoder.head_dim)
            choice = (kernels.attend, heads, model.dtype, positions, layout, CAUSAL._replace(**limits))
            kernel, reason = attention_choice(*choice)
            why = f", {reason}" if reason else ""
            lines.append(f"attention of the {name}: {kernel_name(kernel)}{why}")
    moe = model.text.moe
    why = expanded_experts(layout, model.dtype, (model.text.width, moe.expert_width)) if moe else None
    if why:
        lines.append(f"experts: every one for every row, {why}")
    options = ", ".join(f"{name}={value}" for name, value in compiler_options(layout).items())
    if options:
        lines.append(f"compiler options: {options}")
    return "\n".join(lines)


def compiled_memory(compiled: jax.stages.Compiled) -> dict[str, int]:
    """Bytes that a compiled step needs on a device: "arguments", "outputs" (not donated), "temporaries", "total"."""
    stats: Any = compiled.memory_analysis()
    parts = {
        "arguments": stats.argument_size_in_bytes,
        "outputs": max(stats.output_size_in_bytes - stats.alias_size_in_bytes, 0),
        "temporaries": stats.temp_size_in_bytes,
    }
    return parts | {"total": sum(parts.values())}


def device_bytes() -> int | None:
    """Bytes of the first device's memory that programs may have; None for a device that does not tell, as a CPU."""
    stats = jax.local_devices()[0].memory_stats()
    return None if stats is None else stats.get("bytes_limit")


def memory_line(compiled: jax.stages.Compiled, limit: int | None = None) -> str:
    """The memory of a compiled step on a device in one line, and of how many bytes (`limit`), if that is known."""
    sizes = compiled_memory(compiled)
    total = sizes.pop("total")
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in sizes.items())
    room = "" if limit is None else f" of {limit / GIB:.2f}"
    return f"memory of a step on a device: {total / GIB:.2f}{room} GiB ({parts})"


def _spec(leaf: Any) -> str:
    """Mesh axes of every dimension, "-" for one that is whole."""
    if isinstance(leaf, FrozenKernel):  # its codes have the kernel's last two dimensions the other way round
        parts = _spec(leaf.codes).split(" x ")
        return " x ".join((*parts[:-2], *parts[:-3:-1]))
    sharding = getattr(leaf.codes if isinstance(leaf, Int8Rows) else leaf, "sharding", None)
    if not isinstance(sharding, NamedSharding):
        return "one device"
    mesh = sharding.mesh.shape
    taken = [(axes,) if isinstance(axes, str) else axes or () for axes in sharding.spec]
    kept = ["+".join(axis for axis in axes if mesh[axis] > 1) or "-" for axes in taken]
    return " x ".join([*kept, *["-"] * (len(leaf.shape) - len(kept))]) or "-"


def _device_bytes(leaf: Any) -> int:
    sharding = getattr(leaf, "sharding", None)
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize
